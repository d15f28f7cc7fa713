"""A tiny world and a tiny learner with a replay of states, as a config of their own: for faults around archives."""

from __future__ import annotations

import json
from pathlib import Path

import small_root
import torch
import yaml

from reprise import repository
from reprise.blocks.rollout import Rollout
from reprise.blocks.state_replay import StateReplay
from reprise.blocks.streams import BlockUniforms, Streams
from reprise.environments.protocol import Box, Spec, Transition
from reprise.experiments import config, grid

CELL = ("points/two", "gatherer")
MADDPG = ("mpe/cooperative_navigation-n3", "maddpg")
SMALL_MADDPG = {"copies": 40, "replay": 300 * 25, "batch": 32, "critic_parameters": 0, "width": 8, "actor_width": 8}
STEPS, AGENTS, COPIES, CAPACITY = 5, 2, 48, 300  # episodes: 16 updates fill 12 archives, and the ring keeps some 5


def observe(states: torch.Tensor) -> torch.Tensor:
    """Each agent sees the way to its goal: [..., 8] -> [..., 2, 2]."""
    positions, goals = states.unflatten(-1, (2, AGENTS, 2)).unbind(-3)
    return goals - positions


class Points:
    """Two agents that walk to goals of their own."""

    def __init__(self, parameters, *, task, seeds, copies, device, cache, stream="environment"):
        self.device = device
        self.spec = Spec(
            name=task, agents=AGENTS, observation_size=2, one_hot=False, state_size=8, actions=Box(2, 0.0, 1.0),
            episode_limit=STEPS, backend="test", exact=False, return_bounds=(-99.0, 0.0), state_constant=4,
            observe=observe,
        )  # fmt: skip
        self._starts = BlockUniforms(Streams(seeds, device), stream, (copies, 8), 4)
        self.reset()

    def reset(self):
        self.state, self._elapsed = self._starts.next().flatten(0, 1), 0
        return observe(self.state)

    def step(self, actions):
        self.state = self.state.clone()
        self.state[:, :4] += 0.3 * (actions.flatten(1) - 0.5)
        self._elapsed += 1
        reached, ways = self.state, observe(self.state)
        never = torch.zeros(len(ways), dtype=torch.bool)
        ended = self._elapsed == STEPS
        return Transition(
            observations=self.reset() if ended else ways, next_observations=ways, state=self.state, next_state=reached,
            reward=-ways.square().sum((1, 2)), terminated=never, truncated=never | ended, available_actions=None,
            success=None,
        )  # fmt: skip

    def snapshot(self):
        return {"state": self.state.clone(), "counters": torch.tensor([self._elapsed, self._starts.counter])}

    def restore(self, snapshot):
        self.state = snapshot["state"].clone()
        self._elapsed, self._starts.counter = snapshot["counters"].tolist()
        return observe(self.state)

    def references(self, seed):
        return {}


class Gatherer:
    """Fits the reward by what the agents see, and walks by what it fitted: everything comes out of the replay."""

    tabular = False
    needs_state = True

    def __init__(self, spec, hyper, seeds, copies, device):
        self.hyper, self.runs, self.copies, self.divergences = hyper, len(seeds), copies, []
        self.alive = torch.ones(self.runs, dtype=torch.bool)
        self.weights = torch.zeros(self.runs, 2)
        self.uniforms = BlockUniforms(Streams(seeds), "action", (copies, AGENTS, 2))
        self.replay = StateReplay(Streams(seeds), hyper.replay, spec)

    def describe(self):
        return {"critic_parameters": 2}

    def rollout_length(self):
        return STEPS

    def initial_memory(self, rows):
        return None

    def greedy(self, observations, available, memory):
        pull = (observations.unflatten(0, (self.runs, -1)) * self.weights[:, None, None]).flatten(0, 1)
        return pull.sigmoid().half().float(), None

    def act(self, observations, available, memory):
        actions, _ = self.greedy(observations, available, memory)
        return (0.5 * actions + 0.5 * self.uniforms.next().flatten(0, 1)).half().float(), {}, None

    def update(self, rollout: Rollout):
        self.replay.insert(rollout)
        for _ in range(2):
            batch = self.replay.sample(32)
            moved = (batch.next_observations - batch.observations).square() + batch.actions
            features = (moved * batch.observations).sum(2)
            error = (features * self.weights[:, None]).sum(-1) - batch.reward
            self.weights = self.weights - 0.05 * (error[..., None] * features).mean(1)
        share = torch.full((self.runs,), len(rollout.reward) * self.copies / self.hyper.total_env_steps)
        return {"loss": error.square().mean(1), "share": share}

    def state_dict(self):
        counter = torch.tensor(self.uniforms.counter)
        return {"weights": self.weights, "uniforms": counter} | self.replay.state_dict()

    def load_state_dict(self, state):
        self.weights, self.uniforms.counter = state["weights"], int(state["uniforms"])
        self.replay.load_state_dict(state)

    def archives(self):
        return self.replay.archives()

    def load_archive(self, name, tensors):
        self.replay.load_archive(name, tensors)

    def policy_state(self):
        return {"weights": self.weights}

    def load_policy(self, state):
        self.weights = state["weights"]


def episodes(world: Points) -> Rollout:
    """One episode per row of actions that are all 0: what a rollout would be."""
    states, ends, rewards = [world.state], [], []
    never = torch.zeros(STEPS, len(world.state), dtype=torch.bool)
    for _ in range(STEPS):
        step = world.step(torch.zeros(len(world.state), AGENTS, 2))
        states.append(step.next_state)
        ends.append(step.truncated)
        rewards.append(step.reward)
    path, actions = torch.stack(states), torch.zeros(STEPS, len(world.state), AGENTS, 2)
    return Rollout(
        observations=observe(path[:-1]), actions=actions, reward=torch.stack(rewards), terminated=never,
        truncated=torch.stack(ends), next_observations=observe(path[1:]), available_actions=None, extras={},
        state=path[:-1], next_state=path[1:],
    )  # fmt: skip


def write(root: Path) -> Path:
    """``small_root`` with this world and learner beside its own. Returns ``root``."""
    small_root.write(root)
    source = {"source": "ours: a test"}
    files = {
        "environments/points.yaml": {
            "environment": "points", "version": 1, "module": "gatherer.Points", "actions": "continuous",
            "parameters": {}, "tasks": {"two": {"description": "d", "parameters": {}}},
        },
        "algorithms/gatherer.yaml": {
            "algorithm": "gatherer", "version": 1, "module": "gatherer.Gatherer", "title": "t", "color": "#000000",
            "actions": ["continuous"], "sweepable": [],
            "hyperparameters": {
                "copies": {"value": COPIES, "kind": "count", **source},
                "replay": {"value": CAPACITY * STEPS, "kind": "count", **source},
            },
        },
    }  # fmt: skip
    for name, content in files.items():
        (root / "config" / name).write_text(json.dumps(content))
    _set_budget(root, "points")
    return root


def write_maddpg(root: Path) -> Path:
    """``small_root`` with MADDPG, small, and its particle world. Returns ``root``."""
    small_root.write(root)
    real = repository.root(Path(__file__).parent) / "config"
    algorithm = yaml.safe_load((real / "algorithms" / "maddpg.yaml").read_text())
    for key in ("variants", "sweeps", "environments", "tasks"):
        algorithm.pop(key, None)
    for key, value in SMALL_MADDPG.items():
        algorithm["hyperparameters"][key]["value"] = value
    (root / "config" / "algorithms" / "maddpg.yaml").write_text(json.dumps(algorithm))
    world = yaml.safe_load((real / "environments" / "mpe.yaml").read_text())
    (root / "config" / "environments" / "mpe.yaml").write_text(json.dumps(world))
    _set_budget(root, "mpe")
    return root


def _set_budget(root: Path, environment: str) -> None:
    for path in (root / "config" / "tiers").iterdir():
        tier = json.loads(path.read_text())
        tier["environments"][environment] = small_root.BUDGET
        path.write_text(json.dumps(tier))


def cohort(root: Path, cell=CELL):
    """The cohort that the victims train."""
    (found,) = grid.cohort(config.load(root), "smoke", *cell, (0, 1))
    return found
