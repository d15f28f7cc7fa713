"""A study for tests: margins of a bound that holds, of one that does not, and a gap that falls like 1 / sqrt K."""

import numpy as np

from reprise.theory.study import Parameters, Records, generator


def run(parameters: Parameters, seeds, records: Records) -> None:
    for seed in seeds:
        noise = generator(seed, "noise").uniform(0.5, 1.0, parameters.games)
        games = np.arange(parameters.games)
        records.add("margin", "all", noise, game=games, seed=seed)
        records.add("margin", "planted", noise - 0.75, game=games, seed=seed)
        for power, series in ((-0.5, "root"), (0.0, "flat")):
            x = np.array(parameters.lengths, dtype=float)
            records.add("gap", series, noise[:, None] * x**power, x=x, game=games[:, None], seed=seed)
