"""Training throughput on mpe/simple_spread (five agents), as markdown.

    python benchmarks/mpe_training.py [--seconds 4] [PART ...]

Parts: ``throughput`` (DPO and IPPO, separate networks in-128-128-out, 15 epochs, 25 steps per copy: rollout, update and
both), ``recurrent`` (IQL with PyMARL's schedule and with fewer learner steps), ``bound`` (what bounds the update: its
GFLOP/s beside those of its matrix products alone, layer by layer), ``profile`` (operator by operator). One thread,
evaluation and checkpoints left out.
"""

from __future__ import annotations

import torch
from measure import ROOT, cost, run_parts, table

from reprise.experiments import config, evaluation, resolution
from reprise.experiments.rollouts import Collector

TASK, DEVICE = "mpe/simple_spread", torch.device("cpu")
AGENTS, INPUTS, HIDDEN, ACTIONS, STEPS, EPOCHS = 5, 30, 128, 5, 25, 15


class Cohort:
    """``runs`` runs of ``copies`` environments each under training, past the filling of a replay."""

    def __init__(self, algorithm: str, runs: int, copies: int):
        cell = resolution.resolve(config.load(ROOT), TASK, algorithm, "quick").config
        values = cell["algorithm"]["hyperparameters"] | {"copies": copies}
        assert (values["hidden"], values.get("epochs", EPOCHS)) == (HIDDEN, EPOCHS)
        settings = cell | {"algorithm": cell["algorithm"] | {"hyperparameters": values}}
        seeds = list(range(runs))
        environment = evaluation.make_environment(
            settings, seeds, copies, DEVICE, "environment", ROOT / "results/cache"
        )
        assert (environment.spec.agents, environment.spec.observation_size) == (AGENTS, INPUTS)
        self.algorithm = evaluation.make_algorithm([settings] * runs, environment.spec, seeds, copies, DEVICE)
        self.collector = Collector(environment, self.algorithm, STEPS, runs * copies)
        self.steps = runs * copies * STEPS
        for _ in range(-(-values.get("batch_episodes", 0) // copies)):
            self.step()

    def step(self) -> None:
        """One rollout and one update."""
        self.algorithm.update(self.collector.collect())


def speeds(cohort: Cohort, seconds: float) -> list[float]:
    """Env steps per second, summed over runs: training, rollout and update, each by the wall and per CPU second."""
    both = cost(cohort.step, seconds)
    rollout = cost(cohort.collector.collect, seconds / 4)
    held = cohort.collector.collect()
    update = cost(lambda: cohort.algorithm.update(held), seconds / 2)
    return [cohort.steps / value for each in (both, rollout, update) for value in (each.wall, each.cpu)]


HEAD = [f"{part}: steps/s{unit}" for part in ("training", "rollout", "update") for unit in (" wall", " per CPU-s")]


def throughput(seconds: float) -> str:
    """DPO and IPPO."""
    places = [
        (algorithm, copies, runs) for algorithm in ("ippo", "dpo") for copies, runs in ((128, 1), (128, 5), (8, 5))
    ]
    rows = [[*place, *speeds(Cohort(place[0], place[2], place[1]), seconds)] for place in places]
    return table(["algorithm", "copies", "runs", *HEAD], rows)


def recurrent(seconds: float) -> str:
    """IQL: GRU over whole episodes."""
    rows = [
        [name, copies, runs, *speeds(Cohort(name, runs, copies), seconds)]
        for name, copies, runs in (("iql@pymarl", 1, 1), ("iql@pymarl", 1, 5), ("iql", 8, 5))
    ]
    return table(["algorithm", "copies", "runs", *HEAD], rows)


def bound(seconds: float) -> str:
    """The update of IPPO (128 copies, one run) against its matrix products, forward and backward."""
    samples = 128 * STEPS
    cohort = Cohort("ippo", 1, 128)
    held = cohort.collector.collect()
    update = cost(lambda: cohort.algorithm.update(held), seconds)
    rows, flops, bare = [], 0.0, 0.0
    for name, fan_in, fan_out, nets in (
        ("input", INPUTS, HIDDEN, 2 * AGENTS),
        ("hidden", HIDDEN, HIDDEN, 2 * AGENTS),
        ("output of the actors", HIDDEN, ACTIONS, AGENTS),
        ("output of the critics", HIDDEN, 1, AGENTS),
    ):
        x, w, y = (
            torch.rand(nets, samples, fan_in),
            torch.rand(nets, fan_in, fan_out),
            torch.empty(nets, samples, fan_out),
        )
        gw, gx = torch.empty_like(w), torch.empty_like(x)

        def products(x=x, w=w, y=y, gw=gw, gx=gx, last=name == "input") -> None:
            torch.bmm(x, w, out=y)
            torch.bmm(x.transpose(1, 2), y, out=gw)
            if not last:
                torch.bmm(y, w.transpose(1, 2), out=gx)

        work = EPOCHS * nets * (2 if name == "input" else 3) * 2.0 * samples * fan_in * fan_out
        spent = EPOCHS * cost(products, seconds / 4).cpu
        rows.append([name, work / cohort.steps / 1e6, work / spent / 1e9, f"{100 * spent / update.cpu:.0f} %"])
        flops, bare = flops + work, bare + spent
    rows.append(["all products", flops / cohort.steps / 1e6, flops / bare / 1e9, f"{100 * bare / update.cpu:.0f} %"])
    rows.append(["the update", flops / cohort.steps / 1e6, flops / update.cpu / 1e9, "100 %"])
    return table(["layer", "MFLOP per env step", "GFLOP per CPU-s", "time, of the update's"], rows)


def profile(_seconds: float) -> str:
    """Where the update of IPPO and the learner step of PyMARL's schedule spend their time."""
    parts = []
    for name, copies, runs in (("ippo", 128, 1), ("iql@pymarl", 1, 5)):
        cohort = Cohort(name, runs, copies)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            for _ in range(3):
                cohort.step()
        events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
        total = sum(event.self_cpu_time_total for event in events)
        rows = [[e.key[:60], e.count // 3, f"{100 * e.self_cpu_time_total / total:.1f} %"] for e in events[:10]]
        parts.append(table([f"{name}: operator", "calls per update", "share"], rows))
    return "\n\n".join(parts)


PARTS = {"throughput": throughput, "recurrent": recurrent, "bound": bound, "profile": profile}

if __name__ == "__main__":
    run_parts(PARTS, __doc__, 4.0, about=f", {TASK}")
