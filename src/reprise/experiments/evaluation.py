"""The only evaluator: greedy episodes in a second instance of the environment, and the exact return where there is one.

Its random stream has its own name and every evaluation uses the same number of steps, so evaluating never disturbs
training, and what evaluation point k of a run sees depends on the run's seed and k alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from reprise.blocks.hyper import Hyper
from reprise.environments import registry
from reprise.environments.protocol import Environment, Spec
from reprise.errors import RepriseError
from reprise.experiments import runs


class Evaluation(NamedTuple):
    """One evaluation point of R runs, E episodes each.

    returns [R, E] float64; lengths [R, E] int64 steps; success [R, E] float64, NaN where there is no such notion;
    expected_return [R] float64, the exact expectation of ``returns``, NaN where it cannot be computed.
    """

    returns: np.ndarray
    lengths: np.ndarray
    success: np.ndarray
    expected_return: np.ndarray


def resolve_device(device: str) -> torch.device:
    """``auto`` (CUDA when there is one), ``cpu`` or ``cuda``; RepriseError when CUDA is asked for and absent."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise RepriseError("device 'cuda': torch sees no CUDA device here; use --device cpu or auto")
    if device not in ("cpu", "cuda"):
        raise RepriseError(f"device '{device}': valid: auto, cpu, cuda")
    return torch.device(device)


def make_environment(
    config: Mapping[str, Any],
    seeds: Sequence[int],
    copies: int,
    device: torch.device,
    stream: str,
    cache: Path | None = None,
) -> Environment:
    """The environment of a resolved config, one run per seed; see ``registry.make``."""
    return registry.make(config["environment"], seeds, copies, device=device, cache=cache, stream=stream)


def make_algorithm(
    configs: Sequence[Mapping[str, Any]], spec: Spec, seeds: Sequence[int], copies: int, device: torch.device
) -> Any:
    """The algorithm of R runs: ``configs`` and ``seeds`` have one entry per run and differ in sweepable keys only."""
    resolved = configs[0]["algorithm"]
    module, _, class_name = resolved["module"].rpartition(".")
    try:
        algorithm = getattr(import_module(module), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RepriseError(
            f"config/algorithms/{resolved['name']}.yaml: module '{resolved['module']}' cannot be imported: {error}"
        ) from error
    return algorithm(spec, Hyper([c["algorithm"]["hyperparameters"] for c in configs], device), seeds, copies, device)


def start_episodes(environment: Environment) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Reset every row: (observations, available actions or None).

    An environment that masks actions holds the mask of its current state in ``available_actions``.
    """
    observations = environment.reset()
    return observations, getattr(environment, "available_actions", None)


class Evaluator:
    """Evaluates the greedy policies of R runs, ``episodes`` episodes each, all at once.

    Args:
        environment: an instance of its own with ``episodes`` copies per run and its own stream.
        runs: R.
        episodes: E.
    """

    def __init__(self, environment: Environment, runs: int, episodes: int):
        self.environment, self.runs, self.episodes = environment, runs, episodes

    @torch.no_grad()
    def evaluate(self, algorithm: Any) -> Evaluation:
        """Play each row's first episode to its end and compute the exact value where possible.

        Always ``episode_limit`` steps, though an episode may end sooner: the stream then stands where it stood
        whatever the other runs of the cohort did, and nothing has to be read back from the device on the way.
        """
        environment, spec = self.environment, self.environment.spec
        rows = self.runs * self.episodes
        observations, available = start_episodes(environment)
        memory = algorithm.initial_memory(rows)
        device = observations.device
        returns = torch.zeros(rows, dtype=torch.float64, device=device)
        lengths = torch.zeros(rows, dtype=torch.int64, device=device)
        success = torch.full((rows,), float("nan"), dtype=torch.float64, device=device)
        running = torch.ones(rows, dtype=torch.bool, device=device)
        for _ in range(spec.episode_limit):
            actions, memory = algorithm.greedy(observations, available, memory)
            step = environment.step(actions)
            returns += torch.where(running, step.reward.double(), 0.0)
            lengths += running
            ended = running & (step.terminated | step.truncated)
            if step.success is not None:
                success = torch.where(ended, step.success.double(), success)
            running = running & ~ended
            observations, available = step.observations, step.available_actions
        shape = (self.runs, self.episodes)
        return Evaluation(
            returns.view(shape).cpu().numpy(),
            lengths.view(shape).cpu().numpy(),
            success.view(shape).cpu().numpy(),
            self._expected(algorithm).cpu().numpy(),
        )

    def _expected(self, algorithm: Any) -> torch.Tensor:
        """[R] float64; NaN unless the environment is exact and the policy a table over its states."""
        spec = self.environment.spec
        if not (spec.exact and algorithm.tabular and spec.one_hot):
            return torch.full((self.runs,), float("nan"), dtype=torch.float64)
        states = torch.arange(spec.observation_size, device=self.environment.device)
        every = states.expand(self.runs, spec.agents, -1)
        return self.environment.exact_return(algorithm.probabilities(every)).double()


def evaluate_run(folder: Path, episodes: int, device: str = "auto") -> list[dict[str, Any]]:
    """Evaluate the policies of a finished run folder on fresh episodes.

    Returns one dict per run: ``setting``, ``seed``, ``episodes``, ``mean``, ``low``, ``high`` (Student t 95 % interval
    over the episodes) and ``expected_return`` (NaN where it cannot be computed).
    Raises RepriseError when the folder is incomplete or damaged.
    """
    if episodes < 1:
        raise RepriseError(f"--episodes {episodes}: must be at least 1")
    found = runs.faults(folder)
    if found:
        raise RepriseError(f"{found[0]}; {runs.REPAIR}" if runs.REPAIR not in found[0] else found[0])
    manifest = runs.load_manifest(folder)
    target = resolve_device(device)
    torch.set_num_threads(1)
    seeds = sorted({int(key.rpartition("/")[2]) for key in manifest["seeds"]})
    members = [(cell, seed) for cell in manifest["cells"] for seed in seeds]
    configs = [cell["config"] for cell, _ in members]
    run_seeds = [seed for _, seed in members]
    # A stream that no training run uses: these episodes are new to every policy.
    environment = make_environment(configs[0], run_seeds, episodes, target, stream="evaluate")
    algorithm = make_algorithm(configs, environment.spec, run_seeds, episodes, target)
    try:
        algorithm.load_policy(runs.decode_tensors((folder / runs.POLICY).read_bytes()))
    except (ValueError, KeyError, RuntimeError) as error:
        raise RepriseError(f"{folder / runs.POLICY}: does not fit this code ({error}); {runs.REPAIR}") from error
    result = Evaluator(environment, len(members), episodes).evaluate(algorithm)
    return [
        {"setting": cell.get("setting"), "seed": seed, "episodes": episodes, "expected_return": float(exact)}
        | _interval(returns)
        for (cell, seed), returns, exact in zip(members, result.returns, result.expected_return, strict=True)
    ]


def _interval(values: np.ndarray) -> dict[str, float]:
    mean = float(values.mean())
    if len(values) < 2:
        return {"mean": mean, "low": float("nan"), "high": float("nan")}
    from scipy.special import stdtrit  # scipy.stats takes 0.8 s to import

    half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values)))
    return {"mean": mean, "low": mean - half, "high": mean + half}
