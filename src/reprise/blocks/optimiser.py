"""Adam and RMSprop for stacked parameters [R, N, ...], with one gradient norm per run and agent.

torch.optim would give the same numbers (the tests compare them) but imports torch._dynamo at its first step, which
costs more than a second per process, and clips one norm over all networks instead of one per agent.
"""

from __future__ import annotations

import torch

Tensors = dict[str, torch.Tensor]


def agent_norm(gradients: Tensors) -> torch.Tensor:
    """The gradient norm of each run's each agent: [R, N]."""
    squares = [torch.linalg.vector_norm(g.flatten(2), dim=-1).square() for g in gradients.values()]
    return torch.stack(squares).sum(0).sqrt()


def clip_by_agent(gradients: Tensors, limit: float) -> torch.Tensor:
    """Scale the gradients in place so that no agent's norm exceeds ``limit``; returns the norms before, [R, N].

    The factor is torch.nn.utils.clip_grad_norm_'s, one per agent: min(1, limit / (norm + 1e-6)).
    """
    norm = agent_norm(gradients)
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)
    # On a GPU the question would cost a synchronisation, on a processor the multiplication costs more.
    if norm.is_cuda or bool((factor < 1.0).any()):
        for g in gradients.values():
            g.mul_(factor.view(*factor.shape, *[1] * (g.dim() - 2)))
    return norm


class Adam:
    """Adam (Kingma & Ba 2015, Algorithm 1) with bias correction, over named tensors."""

    def __init__(self, parameters: Tensors, lr: float, eps: float, betas: tuple[float, float] = (0.9, 0.999)):
        self.parameters, self.lr, self.eps, self.betas = parameters, lr, eps, betas
        self.first = {k: torch.zeros_like(p) for k, p in parameters.items()}
        self.second = {k: torch.zeros_like(p) for k, p in parameters.items()}
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients: Tensors, runs: slice = slice(None), number: int | None = None) -> None:
        """One step on the runs of a chunk: ``gradients[k]`` has the shape of ``parameters[k][runs]``.

        ``number``: which step this is, from 1; chunks of the same step pass the same number and the caller
        advances ``steps`` once (None: advance here).
        """
        if number is None:
            self.steps += 1
            number = self.steps
        names = list(gradients)
        count = [torch.full((), float(number), device=self.first[names[0]].device)] * len(names)
        torch._fused_adam_(
            [self.parameters[k][runs] for k in names],
            [gradients[k] for k in names],
            [self.first[k][runs] for k in names],
            [self.second[k][runs] for k in names],
            [],
            count,
            lr=self.lr, beta1=self.betas[0], beta2=self.betas[1], weight_decay=0.0, eps=self.eps,
            amsgrad=False, maximize=False,
        )  # fmt: skip

    def state(self) -> Tensors:
        """All tensors that the optimiser changes, by name, for checkpoints and for undoing a diverged step."""
        moments = {f"first.{k}": t for k, t in self.first.items()}
        return moments | {f"second.{k}": t for k, t in self.second.items()}


class RMSprop:
    """RMSprop as torch.optim.RMSprop without momentum: v <- a v + (1-a) g^2; p <- p - lr g / (sqrt(v) + eps)."""

    def __init__(self, parameters: Tensors, lr: float, alpha: float, eps: float):
        self.parameters, self.lr, self.alpha, self.eps = parameters, lr, alpha, eps
        self.second = {k: torch.zeros_like(p) for k, p in parameters.items()}

    @torch.no_grad()
    def step(self, gradients: Tensors) -> None:
        """One step on all runs."""
        for k, g in gradients.items():
            v = self.second[k].mul_(self.alpha).addcmul_(g, g, value=1 - self.alpha)
            self.parameters[k].addcdiv_(g, v.sqrt().add_(self.eps), value=-self.lr)

    def state(self) -> Tensors:
        """All tensors that the optimiser changes, by name."""
        return {f"second.{k}": t for k, t in self.second.items()}
