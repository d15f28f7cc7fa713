"""Appendix D: does noise in the advantages hurt IPPO more than DPO? Exact advantages plus noise of a known size.

DPO and IPPO share everything but their own knob, as in the paper (table 2): for each of several step sizes, d_target or
clip is the best on other games without noise, so that both are at their best where the noise is zero. Then the same
games are learned under each noise; a game's number is the mean over its draws of the noise, and for the verdict over
the step sizes. Several knobs are nearly as good as the best, so that chance picks: the games come in groups, and each
group has its own games to choose on. The noise is drawn anew at every update, the same draws for both:

    gaussian   A + sigma * sd(A_i) * N(0, 1), sd under the agent's own samples
    flips      the sign of each entry wrong with probability p (Assumption 4 of Yao et al. 2021 is that none is)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reprise.environments import markov_games
from reprise.environments.markov_games import MarkovGames
from reprise.theory import tabular
from reprise.theory.dpo.learners import History, Learner, learn
from reprise.theory.study import Parameters, Records, generator

LABELS = {"dpo": "DPO", "ippo_kl": "IPPO-KL", "ippo": "IPPO", "sign": "IPPO, signs only"}
PAIR = ("dpo", "ippo")


@dataclass(frozen=True)
class Case:
    """A size of game. ``more``: further algorithms, at their best step size only."""

    agents: int
    actions: int
    more: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"N = {self.agents}"


def cases(parameters: Parameters) -> list[Case]:
    first, *others = zip(parameters.agents, parameters.actions, strict=True)
    return [Case(*first, more=("ippo_kl", "sign")), *(Case(*size) for size in others)]


def noise(form: str, level: float, draws: np.random.Generator) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """What the agents see in place of the exact advantages, given these and their deviation."""
    if form == "gaussian":
        return lambda exact, deviation: exact + level * deviation * draws.standard_normal(exact.shape)
    return lambda exact, _: np.where(draws.random(exact.shape) < level, -exact, exact)


class Games:
    """A batch of games with what their returns are measured against: 0 = uniform policy, 1 = optimum."""

    def __init__(self, parameters: Parameters, case: Case, count: int, name: str, group: int, seed: int):
        self.seed, self.name = seed, f"{name} {group}, {case.name}"
        self.group, self.index = group, group * count + np.arange(count)
        self.replicates = parameters.replicates
        games = markov_games.draw(
            generator(seed, f"noise, {self.name}"),
            count,
            states=parameters.states,
            agents=case.agents,
            actions=case.actions,
            gamma=parameters.gamma,
        )
        self.count, self.plain = count, games
        self.repeated = games.chosen(np.repeat(np.arange(count), parameters.replicates))
        self.optimum = tabular.optimum(games)[0]

    def learn(self, learner: Learner, form: str, level: float) -> History:
        """Histories with a column per game: means over the draws of the noise. One draw will do where there is none."""
        games: MarkovGames = self.repeated if level else self.plain
        draws = generator(self.seed, f"noise, {self.name}, {form} {level}")
        history = learn(games, learner, noise(form, level, draws))
        return History(*(per.reshape(len(per), self.count, -1) for per in vars(history).values()))

    def share(self, history: History) -> np.ndarray:
        """The return after the last update as a share of the way from the uniform policy to the optimum: [games]."""
        start, end = history.returns[0].mean(axis=1), history.returns[-1].mean(axis=1)
        return (end - start) / (self.optimum - start)


def choose(
    parameters: Parameters, case: Case, kind: str, games: Games, level: float, records: Records
) -> tuple[Learner, dict[float, Learner]]:
    """The best of all trials of one algorithm, and the best knob for each step size, by the mean share under Gaussian
    noise of that level (0: none). Every algorithm has as many trials, clip or d_target times step size."""
    label = f"{LABELS[kind]}, {case.name}" + (f", chosen at σ = {level:g}" if level else "")
    common = {name: getattr(parameters, name) for name in ("updates", "epochs", "beta", "delta", "omega", "sqrt_eps")}
    scored = []
    for step in parameters.steps:
        for knob in parameters.targets if kind in ("dpo", "ippo_kl") else parameters.clips:
            trial = Learner(kind=kind, knob=knob, step=step, **common)
            scored.append((games.share(games.learn(trial, "gaussian", level)).mean(), trial))
            records.add("trial_score", f"{label}, step {step:g}", scored[-1][0], x=knob, game=games.group)
    by_step = {
        step: max((pair for pair in scored if pair[1].step == step), key=lambda pair: pair[0])[1]
        for step in parameters.steps
    }
    for step, trial in by_step.items():
        records.add("chosen_knob", label, trial.knob, x=step, game=games.group)
    return max(scored, key=lambda pair: pair[0])[1], by_step


def measure(games: Games, learner: Learner, form: str, levels: Sequence[float]) -> dict[str, np.ndarray]:
    """Learning under no noise and under each level of one form: name -> [1 + levels, games]."""
    rows = []
    for level in (0.0, *levels):
        history = games.learn(learner, form, level)
        row = {
            "share": games.share(history),
            "lowers": (np.diff(history.returns, axis=0) < 0).mean(axis=(0, 2)),
            "kl": history.kl.mean(axis=(0, 2)),
            "flipped": history.flipped.mean(axis=(0, 2)),
            "flipped_first": history.flipped[0].mean(axis=1),
        }
        rows.append(row)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def losses(share: np.ndarray) -> np.ndarray:
    """What each level of noise costs against the noise-free result, per game: [levels, games]."""
    return share[0] - share[1:]


def compare(parameters: Parameters, case: Case, found: dict, form: str, games: Games, records: Records) -> None:
    """Loss of IPPO minus loss of DPO, game by game, for each step size and in the mean over them; and what noise
    planted in one of the two alone would give, the other one's loss then being zero."""
    levels = {"gaussian": parameters.sigmas, "flips": parameters.flips}[form]
    here = {"x": np.array(levels)[:, None], "game": games.index}
    ippo, dpo = (np.array([losses(found[kind, step]) for step in parameters.steps]) for kind in ("ippo", "dpo"))
    for step, excess in zip(parameters.steps, ippo - dpo, strict=True):
        records.add(f"excess_{form}", f"{case.name}, step {step:g}", excess, **here)
    records.add(f"excess_{form}", case.name, (ippo - dpo).mean(axis=0), **here)
    records.add(f"excess_{form}_dpo_alone", case.name, -dpo.mean(axis=0), **here)
    records.add(f"excess_{form}_ippo_alone", case.name, ippo.mean(axis=0), **here)


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    """Knobs chosen without noise, then every noise; for the first case also with knobs chosen under noise."""
    for case, group in itertools.product(cases(parameters), range(parameters.groups)):
        others = Games(parameters, case, parameters.tuning_games, "tuning", group, seeds[0])
        games = Games(parameters, case, parameters.games, "games", group, seeds[0])
        kinds = (*PAIR, *case.more)
        chosen = {kind: choose(parameters, case, kind, others, 0.0, records) for kind in kinds}
        for form, levels in (("gaussian", parameters.sigmas), ("flips", parameters.flips)):
            shares = {}
            for kind, (best, by_step) in chosen.items():
                for learner in by_step.values() if kind in PAIR else (best,):
                    found = measure(games, learner, form, levels)
                    shares[kind, learner.step] = found["share"]
                    if learner is best and case.more:
                        here = {"x": np.array((0.0, *levels))[:, None], "game": games.index}
                        for name, values in found.items():
                            records.add(f"{name}_{form}", LABELS[kind], values, **here)
            compare(parameters, case, shares, form, games, records)
        if case.more:
            under_noise(parameters, case, others, games, records)


def under_noise(parameters: Parameters, case: Case, others: Games, games: Games, records: Records) -> None:
    """Both algorithms at their best for a noise, not for none: the difference of their returns there, IPPO - DPO; and
    the same with noise planted for DPO alone."""
    here = {"x": parameters.tuning_sigma, "game": games.index}
    level = parameters.tuning_sigma
    shares = {}
    for kind in PAIR:
        best, _ = choose(parameters, case, kind, others, level, records)
        shares[kind] = games.share(games.learn(best, "gaussian", level))
        records.add("share_under_noise", LABELS[kind], shares[kind], **here)
    clean = games.share(games.learn(best, "gaussian", 0.0))  # `best` is IPPO's here
    records.add("lead_under_noise", "IPPO - DPO", shares["ippo"] - shares["dpo"], **here)
    records.add("lead_under_noise_dpo_alone", "IPPO - DPO", clean - shares["dpo"], **here)
