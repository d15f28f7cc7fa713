"""Training throughput of MADDPG on mpe/cooperative_navigation at PIC's settings, as markdown.

    python benchmarks/maddpg_training.py [--seconds 8] [--critics gcn ...] [--all] [PART ...]

Parts: ``throughput`` (env steps per second of one run: rollout and update, 8 + 8 gradient steps of batch 1024 per 100
env steps, critic of width 128, local actor, a replay of 50,000 transitions), ``split`` (whose CPU time it is). N = 15,
30, 100 and 200; ``--all`` adds 500. One thread, evaluation and checkpoints left out.

The column of PIC is its own program with the same critic, measured as ``PIC`` below says.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import torch
from measure import ROOT, cost, machine, table

from reprise.experiments import config, evaluation, resolution
from reprise.experiments.rollouts import Collector

DEVICE = torch.device("cpu")
AGENTS, HUGE = (15, 30, 100, 200), 500
FILLED = 50_000  # transitions
# Env steps per CPU second of PIC's own main_vec.py (gcn_max; evaluation process left out): Intel Xeon, 2 cores, one
# thread, torch 2.13, numba 0.68; 3, 2, 1 updates at N = 15, 30 and 100; torch needs two sums of its graph network out
# of place now. N = 200 did not finish: its number is an earlier one, from where N = 15, 30 and 100 had 38, 18 and 3.2.
PIC = {15: 51.8, 30: 23.6, 100: 3.94, 200: 1.5}
AIM = {15: 1.4, 30: 1.4, 100: 2.5, 200: 2.5}  # times PIC


class Run:
    """One run under training, past the filling of its replay; ``spent`` is CPU seconds by whose they are."""

    def __init__(self, critic: str, agents: int):
        cell = resolution.resolve(
            config.load(ROOT), f"mpe/cooperative_navigation-n{agents}", f"maddpg@{critic}_local", "paper"
        ).config
        values = cell["algorithm"]["hyperparameters"] | {"critic_parameters": 0}
        sizes = [values[k] for k in ("width", "batch", "actor_updates", "critic_updates")]
        assert sizes == [128, 1024, 8, 8]
        settings = cell | {"algorithm": cell["algorithm"] | {"hyperparameters": values}}
        copies = values["copies"]
        environment = evaluation.make_environment(settings, [0], copies, DEVICE, "environment", ROOT / "results/cache")
        self.algorithm = evaluation.make_algorithm([settings], environment.spec, [0], copies, DEVICE)
        length = self.algorithm.rollout_length()
        self.collector = Collector(environment, self.algorithm, length, copies)
        self.steps = length * copies
        held = self.collector.collect()
        while len(self.algorithm.replay) < FILLED:
            self.algorithm.replay.insert(held)
        self.spent: dict[str, float] = defaultdict(float)
        for part, owner, names in (
            ("critic", self.algorithm.critic, ("values", "squared_error", "action_gradient")),
            ("actor", self.algorithm.actor, ("heads", "gradients")),
            ("replay: observations", self.algorithm.replay, ("observe",)),
            ("replay: the rest", self.algorithm.replay, ("sample", "insert")),
            ("environment", environment, ("step",)),
        ):
            for name in names:
                setattr(owner, name, self._timed(part, getattr(owner, name)))
        self._inner = 0.0

    def _timed(self, part: str, call):
        """``call``, whose CPU time goes to ``part``, but for what timed calls inside it took."""

        def timed(*args, **kwargs):
            begin, outer = time.process_time(), self._inner
            self._inner = 0.0
            try:
                return call(*args, **kwargs)
            finally:
                took = time.process_time() - begin
                self.spent[part] += took - self._inner
                self._inner = outer + took

        return timed

    def step(self) -> None:
        """One rollout and its update."""
        begin, before = time.process_time(), sum(self.spent.values())
        self.algorithm.update(self.collector.collect())
        took = time.process_time() - begin
        self.spent["the rest"] += took - (sum(self.spent.values()) - before)


def throughput(options: argparse.Namespace) -> str:
    """Env steps per second, beside PIC's own."""
    rows = []
    for critic in options.critics:
        for agents in options.agents:
            run = Run(critic, agents)
            spent = cost(run.step, options.seconds)
            speed = run.steps / spent.cpu
            known = critic == "gcn" and agents in PIC
            beside = [PIC[agents], speed / PIC[agents], AIM[agents]] if known else ["", "", ""]
            rows.append([critic, agents, run.algorithm.critic.count, run.steps / spent.wall, speed, *beside])
    head = ["critic", "N", "weights", "steps/s wall", "steps/s per CPU-s", "PIC", "times PIC", "aim"]
    return table(head, rows)


def split(options: argparse.Namespace) -> str:
    """Shares of the CPU time of training."""
    rows, parts = [], ("critic", "actor", "replay: observations", "replay: the rest", "environment", "the rest")
    for critic in options.critics:
        for agents in options.agents:
            run = Run(critic, agents)
            run.step()
            run.spent.clear()
            cost(run.step, options.seconds)
            total = sum(run.spent.values())
            shares = [run.spent[part] / total for part in parts]
            rows.append([critic, agents, *(f"{100 * each:.1f} %" for each in [*shares, sum(shares[2:])])])
    return table(["critic", "N", *parts, "outside critic and actor"], rows)


PARTS = {"throughput": throughput, "split": split}


def main() -> None:
    """Measure the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of one measurement")
    parser.add_argument(
        "--critics", nargs="+", default=["gcn"], choices=["mf", "mlp", "gcn", "vdn"], help="default: gcn"
    )
    parser.add_argument("--agents", nargs="+", type=int, default=list(AGENTS), help="N of a task; default: %(default)s")
    parser.add_argument("--all", action="store_true", help=f"N = {HUGE}, too")
    options = parser.parse_args()
    unknown = set(options.parts) - PARTS.keys()
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}; parts: {', '.join(PARTS)}")
    options.agents += [HUGE] if options.all else []
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(machine(), flush=True)
    for name in options.parts or PARTS:
        print(f"\n### {name}, mpe/cooperative_navigation\n\n{PARTS[name](options)}", flush=True)
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
