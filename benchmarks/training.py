"""Training throughput on stochastic_game/s100n6a5, as markdown.

    python benchmarks/training.py [--device cuda] [--seconds 3] [PART ...]

Parts: ``throughput`` (algorithm x runs x copies: rollout, update, both), ``peak`` (DPO's update against the bare matrix
products), ``cohort`` (5 runs as one cohort against 5 cohorts of 1), ``chunks`` (runs that learn together on a CPU),
``profile`` (where the time goes). Networks in-128-128-out, 15 epochs, one thread. Evaluation and checkpoints are not
in here: their shares are in overheads.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from measure import ROOT, Cost, command, cost, machine, table

from reprise.blocks import actor_critic
from reprise.experiments import config, evaluation, resolution
from reprise.experiments.rollouts import Collector

TASK = "stochastic_game/s100n6a5"
STATES, AGENTS, ACTIONS, HIDDEN, EPOCHS, EPISODE = 100, 6, 5, 128, 15, 100
FIXED = {
    "hidden": HIDDEN,
    "epochs": EPOCHS,
    "layer_norm": False,
    "learner_steps": 1,
    "batch_episodes": 32,
    "recurrent": False,
}
CACHE = ROOT / "results" / "cache"


class Cohort:
    """``runs`` runs of ``copies`` environments each, under training on ``device``."""

    def __init__(self, algorithm: str, runs: int, copies: int, device: torch.device, first_seed: int = 0):
        cell = resolution.resolve(config.load(ROOT), TASK, algorithm, "quick").config
        values = cell["algorithm"]["hyperparameters"]
        values = values | {key: value for key, value in FIXED.items() if key in values} | {"copies": copies}
        settings = cell | {"algorithm": cell["algorithm"] | {"hyperparameters": values}}
        seeds = list(range(first_seed, first_seed + runs))
        environment = evaluation.make_environment(settings, seeds, copies, device, "environment", CACHE)
        self.algorithm = evaluation.make_algorithm([settings] * runs, environment.spec, seeds, copies, device)
        self.collector = Collector(environment, self.algorithm, EPISODE, runs * copies)
        self.steps = runs * copies * EPISODE
        # An off-policy learner updates once its replay holds a batch.
        for _ in range(-(-values.get("batch_episodes", 0) // copies)):
            self.step()

    def step(self) -> None:
        """One rollout and one update, with the transfer of its metrics to the host."""
        metrics = self.algorithm.update(self.collector.collect())
        torch.stack([value.double() for value in metrics.values()]).cpu()


def finish(device: torch.device):
    """What waits for ``device``."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def throughput(device: torch.device, seconds: float) -> str:
    """Env steps per second, summed over runs, of rollout and update together and of each alone."""
    rows = []
    for algorithm in ("dpo", "ippo", "iql"):
        for copies in (1, 10):
            for runs in (1, 5, 50):
                cohort = Cohort(algorithm, runs, copies, device)
                both = cost(cohort.step, seconds, finish(device))
                rollout = cost(cohort.collector.collect, seconds / 2, finish(device))
                held = cohort.collector.collect()
                update = cost(
                    lambda cohort=cohort, held=held: cohort.algorithm.update(held), seconds / 2, finish(device)
                )
                speeds = [cohort.steps / value for each in (both, rollout, update) for value in (each.wall, each.cpu)]
                rows.append([algorithm, copies, runs, *speeds])
    head = ["algorithm", "copies", "runs"]
    head += [f"{part}: steps/s{unit}" for part in ("training", "rollout", "update") for unit in (" wall", " per CPU-s")]
    return table(head, rows)


def matrix_products(runs: int, device: torch.device):
    """The matrix products of DPO's epochs and nothing else: a call that makes them, and their FLOPs.

    Per network and epoch, forward and backward: the hidden layer [S, H] x [H, H] and the output layer [S, H] x [H, out]
    three times each (output, gradient of the weights, gradient of the input). The input layer multiplies nothing: the S
    distinct observations are one-hot. Runs learn in the same chunks as in the product, actors first.
    """
    count = -(-runs // actor_critic.CPU_CHUNK) if device.type == "cpu" else 1
    networks = -(-runs // count) * AGENTS
    layers = {out: _layers(networks, out, device) for out in (ACTIONS, 1)}

    def call() -> None:
        for _ in range(count):
            for out in (ACTIONS, 1):
                for _ in range(EPOCHS):
                    for x, w, y, gx, gw in layers[out]:
                        torch.bmm(x, w, out=y)
                        torch.bmm(x.transpose(1, 2), y, out=gw)
                        torch.bmm(y, w.transpose(1, 2), out=gx)

    flops = sum(6 * STATES * HIDDEN * (HIDDEN + out) for out in (ACTIONS, 1)) * networks * count * EPOCHS
    return call, flops


def _layers(networks: int, out: int, device: torch.device) -> list[list[torch.Tensor]]:
    shapes = [
        [(STATES, HIDDEN), (HIDDEN, width), (STATES, width), (STATES, HIDDEN), (HIDDEN, width)]
        for width in (HIDDEN, out)
    ]
    return [[torch.rand(networks, *shape, device=device) - 0.5 for shape in layer] for layer in shapes]


def peak(device: torch.device, seconds: float) -> str:
    """Which share of what its matrix products alone would reach the update of DPO reaches."""
    rows = []
    for copies in (1, 10):
        for runs in (1, 5, 50):
            cohort = Cohort("dpo", runs, copies, device)
            held = cohort.collector.collect()
            update = cost(lambda cohort=cohort, held=held: cohort.algorithm.update(held), seconds, finish(device))
            call, flops = matrix_products(runs, device)
            bare = cost(call, seconds, finish(device))
            numbers = [
                flops / each.cpu / 1e9 if device.type == "cpu" else flops / each.wall / 1e9 for each in (update, bare)
            ]
            rows.append([copies, runs, *numbers, f"{100 * numbers[0] / numbers[1]:.0f} %"])
    unit = "GFLOP per CPU-s" if device.type == "cpu" else "GFLOP/s"
    return table(["copies", "runs", f"update, {unit}", f"bare products, {unit}", "share"], rows)


def cohorts(device: torch.device, seconds: float) -> str:
    """Five runs as one cohort, as five cohorts in one process, and as five processes (start-up included)."""
    rows = []
    for copies in (1, 10):
        together, alone = Cohort("dpo", 5, copies, device), [Cohort("dpo", 1, copies, device, s) for s in range(5)]
        for name, members in (("one cohort of 5", [together]), ("5 cohorts of 1, one process", alone)):
            spent = cost(lambda members=members: [each.step() for each in members], seconds, finish(device))
            rows.append([name, copies, together.steps / spent.wall, together.steps / spent.cpu])
        updates = 200 // copies
        for name, jobs in (
            ("one process of 5", [(5, 0)]),
            ("5 processes of 1, one by one", [(1, s) for s in range(5)]),
        ):
            spent = [_process(copies, runs, seed, updates, device) for runs, seed in jobs]
            wall, cpu = sum(each.wall for each in spent), sum(each.cpu for each in spent)
            rows.append([f"{name}, {updates} updates", copies, *(updates * together.steps / x for x in (wall, cpu))])
    return table(["DPO", "copies", "steps/s wall", "steps/s per CPU-s"], rows)


def _process(copies: int, runs: int, seed: int, updates: int, device: torch.device) -> Cost:
    """A process that trains ``runs`` runs for ``updates`` updates."""
    job = ["worker", "--copies", str(copies), "--runs", str(runs), "--seed", str(seed), "--updates", str(updates)]
    return command([sys.executable, str(Path(__file__)), *job, "--device", device.type]).cost


def worker(options: argparse.Namespace, device: torch.device) -> None:
    """What ``_process`` starts."""
    cohort = Cohort("dpo", options.runs, options.copies, device, options.seed)
    for _ in range(options.updates):
        cohort.step()
    finish(device)()


def chunks(device: torch.device, seconds: float) -> str:
    """The update of 50 runs of DPO in chunks of various sizes: which CPU_CHUNK is best?"""
    rows, standard = [], actor_critic.CPU_CHUNK
    for size in (1, 2, 5, standard, 25, 50):
        actor_critic.CPU_CHUNK = size
        cohort = Cohort("dpo", 50, 1, device)
        held = cohort.collector.collect()
        spent = cost(lambda cohort=cohort, held=held: cohort.algorithm.update(held), seconds, finish(device))
        rows.append([f"{size} (ours)" if size == standard else size, 1e3 * spent.wall, 1e3 * spent.cpu])
    actor_critic.CPU_CHUNK = standard
    return table(["runs per chunk", "update, ms wall", "update, ms CPU"], rows)


def profile(device: torch.device, _seconds: float) -> str:
    """Where the updates of 5 runs of DPO spend their time, operator by operator."""
    updates = 10
    activity = torch.profiler.ProfilerActivity
    kinds = [activity.CPU, activity.CUDA] if device.type == "cuda" else [activity.CPU]
    parts = []
    for copies in (1, 10):
        cohort = Cohort("dpo", 5, copies, device)
        cohort.step()
        with torch.profiler.profile(activities=kinds) as profiler:
            for _ in range(updates):
                cohort.step()
            finish(device)()
        attribute = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
        events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, attribute))
        total = sum(getattr(event, attribute) for event in events)
        rows = [[e.key[:60], e.count // updates, f"{100 * getattr(e, attribute) / total:.1f} %"] for e in events[:14]]
        parts.append(table([f"copies {copies}: operator", "calls per update", "share"], rows))
    return "\n\n".join(parts)


PARTS = {"throughput": throughput, "peak": peak, "cohort": cohorts, "chunks": chunks, "profile": profile}


def main() -> None:
    """Measure the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one measurement")
    for name, value in (("--runs", 1), ("--copies", 1), ("--seed", 0), ("--updates", 1)):
        parser.add_argument(name, type=int, default=value, help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = evaluation.resolve_device(options.device)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if options.parts == ["worker"]:
        worker(options, device)
        return
    unknown = set(options.parts) - PARTS.keys()
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}; parts: {', '.join(PARTS)}")
    print(machine(), flush=True)
    for name in options.parts or PARTS:
        if not (name == "chunks" and device.type == "cuda"):  # a GPU takes all runs at once
            print(f"\n### {name}, {device.type}\n\n{PARTS[name](device, options.seconds)}", flush=True)
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
