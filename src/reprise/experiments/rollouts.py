"""Collects rollouts: T steps of all rows into tensors allocated once."""

from __future__ import annotations

from typing import Any

import torch

from reprise.blocks.rollout import Rollout
from reprise.experiments.evaluation import start_episodes


class Collector:
    """Steps an environment with an algorithm's actions; everything stays on the device.

    The tensors of a rollout are reused by the next: an algorithm that keeps samples copies them.

    Args:
        environment: B rows.
        algorithm: acts on them; its recurrent memory (if any) has rows as its leading dimension and is put back to
            ``initial_memory`` where an episode ends.
            Where it says ``needs_state``, rollouts have the global states, too.
        length: T.
        rows: B.
    """

    def __init__(self, environment: Any, algorithm: Any, length: int, rows: int):
        self.environment, self.algorithm, self.length = environment, algorithm, length
        self.observations, self.available = start_episodes(environment)
        self.memory = algorithm.initial_memory(rows)
        self._fresh = algorithm.initial_memory(rows)
        self._held: dict[str, torch.Tensor] = {}
        self._needs_state = getattr(algorithm, "needs_state", False)

    @torch.no_grad()
    def collect(self) -> Rollout:
        """The next T steps of every row."""
        for t in range(self.length):
            actions, extras, memory = self.algorithm.act(self.observations, self.available, self.memory)
            # Stored before the step, which may overwrite the environment's own tensors.
            self._put(t, "observations", self.observations)
            self._put(t, "available_actions", self.available)
            self._put(t, "actions", actions)
            if self._needs_state:
                self._put(t, "state", self.environment.state)
            for name, value in extras.items():
                self._put(t, f"extras/{name}", value)
            step = self.environment.step(actions)
            self._put(t, "reward", step.reward)
            self._put(t, "terminated", step.terminated)
            self._put(t, "truncated", step.truncated)
            self._put(t, "next_observations", step.next_observations)
            if self._needs_state:
                self._put(t, "next_state", step.next_state)
            self.observations, self.available = step.observations, step.available_actions
            self.memory = memory if memory is None else self._reset(memory, step.terminated | step.truncated)
        extras = {k.removeprefix("extras/"): v for k, v in self._held.items() if k.startswith("extras/")}
        fields = {name: self._held.get(name) for name in Rollout._fields if name != "extras"}
        return Rollout(**fields, extras=extras)

    def _put(self, t: int, name: str, value: torch.Tensor | None) -> None:
        if value is None:
            return
        if name not in self._held:
            self._held[name] = torch.empty((self.length, *value.shape), dtype=value.dtype, device=value.device)
        self._held[name][t].copy_(value)

    def _reset(self, memory: dict[str, torch.Tensor], ended: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            name: torch.where(ended.view(-1, *[1] * (value.dim() - 1)), self._fresh[name], value)
            for name, value in memory.items()
        }

    def state(self) -> dict[str, torch.Tensor]:
        """What a resume needs beside the environment's snapshot."""
        state = {f"memory/{name}": value for name, value in (self.memory or {}).items()}
        return state if self.available is None else state | {"available": self.available}

    def restore(self, observations: torch.Tensor, state: dict[str, torch.Tensor]) -> None:
        """Go on from ``observations``, which the environment's ``restore`` returned."""
        device = observations.device
        self.observations = observations
        if self.available is not None:
            self.available = state["available"].to(device)
        if self.memory is not None:
            self.memory = {name: state[f"memory/{name}"].to(device) for name in self.memory}
