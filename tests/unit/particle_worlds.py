"""Particle environments as configured, for tests, and a plain-loop version of the released code's world.

The loops are written from the definitions in docs/environments/mpe.md and share nothing with the package.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from reprise.environments.mpe import ParticleEnvironment
from reprise.experiments import config

ROOT = Path(__file__).resolve().parents[2]
FORCES = np.array([[0, 0], [5, 0], [-5, 0], [0, 5], [0, -5]], dtype=float)  # stay, +x, -x, +y, -y


@cache
def project() -> config.Project:
    """The repository's own configuration."""
    return config.load(ROOT)


def parameters(task: str, **changes) -> dict:
    """The parameters of a task of config/environments/mpe.yaml, some of them changed."""
    environment, entry = project().task(f"mpe/{task}")
    values = {**environment.declared(entry), **entry.parameters}
    return {name: each.value for name, each in values.items()} | changes


def make(task="simple_spread", seeds=(0,), copies=4, dtype=torch.float32, stream="environment", **changes):
    """An environment of ``task``; ``changes`` override its parameters."""
    return ParticleEnvironment(
        parameters(task, **changes),
        task=f"mpe/{task}",
        seeds=list(seeds),
        copies=copies,
        device=torch.device("cpu"),
        stream=stream,
        dtype=dtype,
    )


def random_actions(environment, steps, seed=0):
    """Random discrete joint actions, int64 [steps, B, N]."""
    shape = (steps, environment.rows, environment.spec.agents)
    return torch.randint(0, 5, shape, generator=torch.Generator().manual_seed(seed))


class Loops:
    """One copy of a task of the released code, agent by agent and pair by pair.

    Args:
        values: the task's parameters. positions: [E, 2] at the start, agents first.
    """

    def __init__(self, values: dict, positions: np.ndarray):
        self.values, self.agents = values, values["agents"]
        self.positions = np.array(positions, dtype=float)
        self.velocities = np.zeros((self.agents, 2))

    def step(self, actions) -> None:
        """Contacts at the old positions, then velocities, then positions."""
        forces = [FORCES[action].copy() for action in actions]
        for i in range(self.agents):
            for j in range(self.agents):
                if i != j:
                    away = self.positions[i] - self.positions[j]
                    distance = np.sqrt(away @ away)
                    depth = 0.001 * np.logaddexp(0.0, (2 * self.values["agent_size"] - distance) / 0.001)
                    forces[i] += 100.0 * depth * away / distance
        for i in range(self.agents):
            self.velocities[i] = 0.75 * self.velocities[i] + 0.1 * forces[i]
            self.positions[i] += 0.1 * self.velocities[i]

    def distance(self, i: int, j: int) -> float:
        """Between two entities."""
        return float(np.linalg.norm(self.positions[i] - self.positions[j]))

    def collisions(self, i: int) -> int:
        """Agents that agent ``i`` touches, itself included."""
        return sum(self.distance(i, j) < 2 * self.values["agent_size"] for j in range(self.agents))

    def targets(self) -> list[np.ndarray]:
        """N points."""
        n, marks = self.agents, self.positions[self.agents :]
        if self.values["scenario"] == "simple_spread":
            return list(marks)
        if self.values["scenario"] == "line_control":
            return [marks[0] + i / (n - 1) * (marks[1] - marks[0]) for i in range(n)]
        seen = [self.positions[i] - marks[0] for i in range(n)]
        least = min(np.arctan2(y, x) + (2 * np.pi if y < 0 else 0) for x, y in seen)
        angles = [least + i * 2 * np.pi / n for i in range(n)]
        return [marks[0] + 0.5 * np.array([np.cos(angle), np.sin(angle)]) for angle in angles]

    def reward(self) -> float:
        """Of the whole team."""
        n, pairs = self.agents, sum(self.collisions(i) for i in range(self.agents))
        if self.values["scenario"] == "simple_spread_original":
            nearest = [min(self.distance(i, mark) for i in range(n)) for mark in range(n, 2 * n)]
            return -n * sum(nearest) - pairs
        costs = np.array([[np.linalg.norm(self.positions[i] - t) for t in self.targets()] for i in range(n)])
        rows, columns = linear_sum_assignment(costs)
        reward = -costs[rows, columns].mean() - self.values["collision_penalty"] * pairs / (2 * n)
        return float(np.clip(reward, -15, 15))

    def observations(self) -> np.ndarray:
        """[N, O]."""
        rows = []
        for i in range(self.agents):
            row = [*self.velocities[i], *self.positions[i]]
            for e in [*range(self.agents, len(self.positions)), *(j for j in range(self.agents) if j != i)]:
                hidden = 0 < self.values["vision"] <= self.distance(i, e)
                row += [0.0, 0.0] if hidden else list(self.positions[e] - self.positions[i])
            rows.append(row + [0.0, 0.0] * (self.agents - 1))
        return np.array(rows)
