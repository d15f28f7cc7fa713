"""Team critics alone, as markdown: updates per CPU second, GFLOP per CPU second beside bare products, and memory.

    python benchmarks/critics.py [--agents 15 200] [--kinds gcn mf] [--batch 1024] [--seconds 0.5]

PIC's settings: batch 1024, observations of 26 and actions of 5 numbers, each critic at the width whose parameter count
is nearest to 41,345 (PIC's graph critic at width 128), one shared local actor of width 128, one run, one thread. A
critic update is target actor and target critic forward, critic forward and backward, clipping, Adam and the target's
step; an actor update is actor forward, critic forward and backward to the actions, actor backward, clipping and Adam.
A round, 8 of each, follows 100 env steps. Each number is the least of three measurements, in CPU seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from measure import cost, machine, table

from reprise.blocks.actors import Actor, make_actor
from reprise.blocks.critics import KINDS, TeamCritic, make_critic, width_for
from reprise.blocks.critics.base import CHUNK
from reprise.blocks.optimiser import Adam, clip_by_agent
from reprise.blocks.streams import Streams

AGENTS = (3, 6, 15, 30, 100, 200, 500)
OBSERVATIONS, ACTIONS, BUDGET, ACTOR_WIDTH, UPDATES = 26, 5, 41345, 128, 8
GAMMA, TAU, RATE, CLIP = 0.95, 0.01, 0.01, 0.5
ROUND_TARGETS = {15: 1.6, 30: 3.4, 100: 10.6, 200: 22.0}  # CPU seconds: 1.4 and 2.5 times PIC's rate, less 15 %
ONCE = {"mf": ("h0", "h1"), "mlp": ("l0", "l1", "l2"), "gcn": ("head",)}  # layers on samples, the others on agents
FIRST = ("phi", "l0", "others0", "self0")  # layers whose inputs need no gradient


class Learner:
    """One run's critic and actor, and a batch of random samples."""

    def __init__(self, kind: str, agents: int, batch: int):
        streams, self.kind, self.agents, self.batch = Streams([0]), kind, agents, batch
        sizes = (agents, OBSERVATIONS, ACTIONS)
        self.critic: TeamCritic = make_critic(kind, streams, "critic", *sizes, width_for(kind, *sizes, BUDGET))
        self.actor: Actor = make_actor("local", streams, "actor", *sizes, ACTOR_WIDTH)
        self.target = {k: p.clone() for k, p in self.critic.parameters.items()}
        self.optimisers = [Adam(net.parameters, RATE, 1e-8) for net in (self.critic, self.actor)]
        self.observations = streams.normal("observations", 0, (batch, agents, OBSERVATIONS))
        self.actions = streams.uniform("actions", 0, (batch, agents, ACTIONS))
        self.reward = streams.normal("reward", 0, (batch, agents) if self.critic.per_agent else (batch,))

    @torch.no_grad()
    def critic_update(self) -> None:
        """Equation 6 of MADDPG (Lowe et al. 2017)."""
        following = self.actor.heads(self.actor.parameters, self.observations)[0].softmax(-1)
        target = self.reward + GAMMA * self.critic.values(self.target, self.observations, following)
        self.step(0, self.learn(target))
        for name, p in self.critic.parameters.items():
            self.target[name].lerp_(p, TAU)

    def learn(self, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """The critic's forward and backward pass."""
        return self.critic.squared_error(self.critic.parameters, self.observations, self.actions, target)[1]

    @torch.no_grad()
    def actor_update(self) -> None:
        """Equation 5 of MADDPG."""
        actions = self.actor.heads(self.actor.parameters, self.observations)[0].softmax(-1)
        _, slope = self.critic.action_gradient(self.critic.parameters, self.observations, actions)
        slope.mul_(-1.0 / self.batch)
        at_logits = actions * (slope - (slope * actions).sum(-1, keepdim=True))
        self.step(1, self.actor.gradients(self.actor.parameters, self.observations, at_logits, None))

    def step(self, which: int, gradients: dict[str, torch.Tensor]) -> None:
        """Clip and step critic (0) or actor (1)."""
        clip_by_agent(gradients, CLIP)
        self.optimisers[which].step(gradients)

    def products(self) -> tuple[Callable[[], None], float]:
        """The matrix products of ``learn`` alone, chunk by chunk into the same memory, and their FLOP."""
        chunk = min(self.batch, max(1, CHUNK["cpu"] // self.critic.footprint(self.critic.sizes)))
        sequence, flops = [], 0.0
        for name, (rows, columns) in self.critic.shapes(self.critic.sizes).items():
            r = chunk * (1 if name in ONCE.get(self.kind, ()) else self.agents)
            x, w, y = torch.rand(r, rows), torch.rand(rows, columns), torch.empty(r, columns)
            sequence += [(x, w, y), (x.t(), y, torch.empty_like(w))]
            sequence += [] if name in FIRST else [(y, w.t(), torch.empty_like(x))]
            flops += (2 if name in FIRST else 3) * 2.0 * r * rows * columns

        def run() -> None:
            for left, right, out in sequence:
                torch.mm(left, right, out=out)

        return run, flops / chunk * self.batch


def least(call: Callable[[], object], seconds: float) -> float:
    """CPU seconds of a call, the least of three measurements."""
    return min(cost(call, seconds / 3).cpu for _ in range(3))


def measure(kind: str, agents: int, batch: int, seconds: float) -> list[object]:
    """One row of the table."""
    learner = Learner(kind, agents, batch)
    critic, actor = least(learner.critic_update, seconds), least(learner.actor_update, seconds)
    learned = least(lambda: learner.learn(learner.reward), seconds)
    products, flops = learner.products()
    chunks = batch / min(batch, max(1, CHUNK["cpu"] // learner.critic.footprint(learner.critic.sizes)))
    bare = chunks * least(products, seconds)
    both = UPDATES * (critic + actor)
    widths = [learner.critic.sizes.width, f"{learner.critic.count:,}"]
    rates = [1.0 / critic, 1.0 / actor, both, ROUND_TARGETS.get(agents, "") if kind == "gcn" else ""]
    speeds = [flops / learned / 1e9, flops / bare / 1e9, f"{100 * bare / learned:.0f} %"]
    return [kind, agents, *widths, *rates, *speeds, learner.critic.working_memory() / 2**20]


HEAD = (
    "critic", "agents", "width", "parameters", "critic updates per CPU-s", "actor updates per CPU-s",
    "8 + 8 updates, CPU s", "target", "forward + backward, GFLOP per CPU-s", "bare products", "share",
    "working memory, MiB",
)  # fmt: skip


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="*", type=int, default=AGENTS)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of one measurement")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(machine(), flush=True)
    print(f"\n{table(HEAD, [])}", flush=True)
    for agents in options.agents:
        for kind in options.kinds:
            row = table(HEAD, [measure(kind, agents, options.batch, options.seconds)]).splitlines()[-1]
            print(row, flush=True)  # the large teams take a while
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
