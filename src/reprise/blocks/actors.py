"""Actors of a team whose actions are relaxed choices: softmax of logits, one vector per agent.

``central``: one network sees all observations and gives, for each agent, mean and log standard deviation of Gaussian
logits (MF-PPO, Li et al. 2021, section 5: mean and diagonal covariance over the joint action). ``local``: one network
that all agents share sees an agent's own observation and gives its logits (PIC, maddpg/ddpg_vec.py, Actor). Both have
two hidden layers with ReLU. Noise and softmax are the algorithm's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch

from reprise.blocks.critics.base import CHUNK, LAST_SCALE
from reprise.blocks.critics.layers import Buffers, Perceptron, Tensors, initial_layer
from reprise.blocks.streams import Streams
from reprise.errors import unknown

LAYERS = ("l0", "l1", "l2")


class Actor(ABC):
    """R actors of N agents.

    ``parameters``: ``l0``, ``l1``, ``l2`` [R, 1, in + 1, out], the bias as last row; ``count``: numbers of one run.
    """

    def __init__(self, streams: Streams, name: str, agents: int, observation_size: int, action_size: int, width: int):
        self.agents, self.actions, self.width = agents, action_size, width
        inputs, outputs = self.ends(agents, observation_size, action_size)
        sizes = (inputs, width, width, outputs)
        self.parameters: Tensors = {
            k: initial_layer(
                streams, f"{name}.{k}", sizes[i] + 1, sizes[i + 1], scale=LAST_SCALE if k == LAYERS[-1] else 1.0
            )
            for i, k in enumerate(LAYERS)
        }
        self.count = sum(p[0].numel() for p in self.parameters.values())
        self._buffers = Buffers()
        self._net = Perceptron(LAYERS, self._buffers)

    @staticmethod
    @abstractmethod
    def ends(agents: int, observation_size: int, action_size: int) -> tuple[int, int]:
        """Inputs and outputs of the network."""

    @abstractmethod
    def heads(self, parameters: Tensors, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits and log standard deviations (local: None), [R, M, N, A], at observations [R, M, N, O]."""

    @abstractmethod
    def gradients(
        self, parameters: Tensors, observations: torch.Tensor, d_logits: torch.Tensor, d_log_std: torch.Tensor | None
    ) -> Tensors:
        """Gradients in ``parameters`` of a loss with these slopes at the heads, [R, M, N, A] each.

        The forward pass is made again, chunk by chunk: cheaper than to keep its activations out of the cache. The
        gradients hold until the next call.
        """

    @torch.no_grad()
    def _outputs(self, parameters: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        """[R, rows, out] at inputs [R, rows, in]."""
        out = inputs.new_empty(*inputs.shape[:2], parameters[LAYERS[-1]].shape[-1])
        for run, rows in self._chunks(inputs):
            weights = {k: p[run, 0] for k, p in parameters.items()}
            out[run, rows] = self._net.forward(weights, [inputs[run, rows]])[-1]
        return out

    @torch.no_grad()
    def _backward(self, parameters: Tensors, inputs: torch.Tensor, slopes: torch.Tensor) -> Tensors:
        gradients = {k: self._buffers(f"{k}.gradient", p, *p.shape).zero_() for k, p in parameters.items()}
        for run, rows in self._chunks(inputs):
            weights, sums = ({k: t[run, 0] for k, t in each.items()} for each in (parameters, gradients))
            chunk = [inputs[run, rows]]
            layers = self._net.forward(weights, chunk)
            self._net.backward(weights, chunk, layers, slopes[run, rows], sums)
        return gradients

    def _chunks(self, inputs: torch.Tensor) -> Iterator[tuple[int, slice]]:
        step = max(1, CHUNK[inputs.device.type] // (4 * self.width))
        for run in range(inputs.shape[0]):
            for start in range(0, inputs.shape[1], step):
                yield run, slice(start, min(start + step, inputs.shape[1]))


class LocalActor(Actor):
    """o_i -> H -> H -> logits of agent i, the same network for all agents."""

    @staticmethod
    def ends(agents: int, observation_size: int, action_size: int) -> tuple[int, int]:
        return observation_size, action_size

    def heads(self, parameters: Tensors, observations: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self._outputs(parameters, observations.flatten(1, 2)).unflatten(1, observations.shape[1:3]), None

    def gradients(
        self, parameters: Tensors, observations: torch.Tensor, d_logits: torch.Tensor, d_log_std: None = None
    ) -> Tensors:
        return self._backward(parameters, observations.flatten(1, 2), d_logits.flatten(1, 2))


class CentralActor(Actor):
    """(o_1 .. o_N) -> H -> H -> the logits' means of all agents, then their log standard deviations."""

    @staticmethod
    def ends(agents: int, observation_size: int, action_size: int) -> tuple[int, int]:
        return agents * observation_size, 2 * agents * action_size

    def heads(self, parameters: Tensors, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = self._outputs(parameters, observations.flatten(2))
        mean, log_std = out.unflatten(-1, (2, self.agents, self.actions)).unbind(2)
        return mean, log_std

    def gradients(
        self, parameters: Tensors, observations: torch.Tensor, d_logits: torch.Tensor, d_log_std: torch.Tensor
    ) -> Tensors:
        return self._backward(parameters, observations.flatten(2), torch.stack([d_logits, d_log_std], 2).flatten(2))


ACTORS: dict[str, type[Actor]] = {"central": CentralActor, "local": LocalActor}


def make_actor(
    kind: str, streams: Streams, name: str, agents: int, observation_size: int, action_size: int, width: int
) -> Actor:
    """An actor of ``kind`` (a key of ``ACTORS``) for every run of ``streams``; sizes as for ``make_critic``.

    Raises:
        RepriseError: no such kind.
    """
    if kind not in ACTORS:
        raise unknown("kind", kind, ACTORS, "actor")
    return ACTORS[kind](streams, name, agents, observation_size, action_size, width)
