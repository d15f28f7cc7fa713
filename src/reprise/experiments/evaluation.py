"""The only evaluator: greedy episodes in a second instance of the environment, and the exact return where there is one.

Its random stream has its own name and every evaluation uses the same number of steps, so evaluating never disturbs
training, and what evaluation point k of a run sees depends on the run's seed and k alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

# Agents that a run's evaluation has at once. Part of what a run's numbers are where it has more.
MOST_AGENTS = 2**15


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
    """The algorithm of R runs: ``configs`` and ``seeds`` have one entry per run and differ in sweepable keys only.

    From then on it reads the env steps of a run's budget as ``hyper.total_env_steps``.
    """
    resolved = configs[0]["algorithm"]
    module, _, class_name = resolved["module"].rpartition(".")
    try:
        algorithm = getattr(import_module(module), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RepriseError(
            f"config/algorithms/{resolved['name']}.yaml: module '{resolved['module']}' cannot be imported: {error}"
        ) from error
    hyper = Hyper([c["algorithm"]["hyperparameters"] for c in configs], device)
    made = algorithm(spec, hyper, seeds, copies, device)
    hyper.provide(total_env_steps=total_env_steps(configs[0]["budget"], made.rollout_length() * copies))
    return made


def total_env_steps(budget: Mapping[str, Any], steps_per_update: int) -> int:
    """Env steps of one run's budget, which counts them, or updates."""
    return budget.get("env_steps") or budget["updates"] * steps_per_update


def start_episodes(environment: Environment) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Reset every row: (observations, available actions or None).

    An environment that masks actions holds the mask of its current state in ``available_actions``.
    """
    observations = environment.reset()
    return observations, getattr(environment, "available_actions", None)


def copies_at_once(agents: int, episodes: int) -> int:
    """Copies C of a run's environment of N ``agents`` that play its evaluation ``episodes``, in equal waves.

    All at once unless they have more than ``MOST_AGENTS``: memory then stays what it is however many episodes there
    are. A function of the task alone, so that a run's evaluation does not depend on its cohort.
    """
    waves = math.ceil(agents * episodes / MOST_AGENTS)
    return math.ceil(episodes / waves)


class Evaluator:
    """Evaluates the greedy policies of R runs, ``episodes`` episodes each, as many at once as there are copies.

    Args:
        environment: an instance of its own with ``copies`` copies per run and its own stream.
        runs: R.
        episodes: E.
        copies: C, from ``copies_at_once``; all episodes if None.
    """

    def __init__(self, environment: Environment, runs: int, episodes: int, copies: int | None = None):
        self.environment, self.runs, self.episodes = environment, runs, episodes
        self.copies = episodes if copies is None else copies

    @torch.no_grad()
    def evaluate(self, algorithm: Any) -> Evaluation:
        """Play waves of episodes until there are enough, and compute the exact value where possible."""
        waves = [self._play(algorithm) for _ in range(math.ceil(self.episodes / self.copies))]
        returns, lengths, success = (
            torch.cat([part.view(self.runs, self.copies) for part in parts], 1)[:, : self.episodes].cpu().numpy()
            for parts in zip(*waves, strict=True)
        )
        exact = expected_return(self.environment, algorithm, self.runs).cpu().numpy()
        return Evaluation(returns, lengths, success, exact)

    def _play(self, algorithm: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns, lengths and success [R * C] of each row's first episode.

        Always ``episode_limit`` steps, though an episode may end sooner: the stream then stands where it stood
        whatever the other runs of the cohort did, and nothing has to be read back from the device on the way.
        """
        environment = self.environment
        rows = self.runs * self.copies
        observations, available = start_episodes(environment)
        memory = algorithm.initial_memory(rows)
        device = observations.device
        returns = torch.zeros(rows, dtype=torch.float64, device=device)
        lengths = torch.zeros(rows, dtype=torch.int64, device=device)
        success = torch.full((rows,), float("nan"), dtype=torch.float64, device=device)
        running = torch.ones(rows, dtype=torch.bool, device=device)
        for _ in range(environment.spec.episode_limit):
            actions, memory = algorithm.greedy(observations, available, memory)
            step = environment.step(actions)
            returns += torch.where(running, step.reward.double(), 0.0)
            lengths += running
            ended = running & (step.terminated | step.truncated)
            if step.success is not None:
                success = torch.where(ended, step.success.double(), success)
            running = running & ~ended
            observations, available = step.observations, step.available_actions
        return returns, lengths, success


def expected_return(environment: Environment, algorithm: Any, count: int) -> torch.Tensor:
    """[R] float64, the exact expected episode return of the greedy policies of ``count`` = R runs.

    NaN unless the environment is exact and the policy a table over its states.
    """
    spec = environment.spec
    if not (spec.exact and algorithm.tabular and spec.one_hot):
        return torch.full((count,), float("nan"), dtype=torch.float64)
    states = torch.arange(spec.observation_size, device=environment.device)
    return environment.exact_return(algorithm.probabilities(states.expand(count, spec.agents, -1))).double()


@dataclass(frozen=True)
class FinishedRun:
    """A complete run folder, opened: ``members`` has the (cell of the manifest, seed) of each of its R runs."""

    folder: Path
    manifest: dict[str, Any]
    members: list[tuple[dict[str, Any], int]]

    @property
    def configs(self) -> list[dict[str, Any]]:
        """The resolved config of each run."""
        return [cell["config"] for cell, _ in self.members]

    @property
    def seeds(self) -> list[int]:
        """The seed of each run."""
        return [seed for _, seed in self.members]

    def environment(self, copies: int, device: torch.device, stream: str) -> Environment:
        """The environment of its runs, ``copies`` each, on the random stream ``stream``."""
        return make_environment(self.configs[0], self.seeds, copies, device, stream=stream)

    def untrained(self, spec: Spec, copies: int, device: torch.device) -> Any:
        """The algorithm as each run began: its first parameters are a function of its seed."""
        return make_algorithm(self.configs, spec, self.seeds, copies, device)

    def trained(self, spec: Spec, copies: int, device: torch.device) -> Any:
        """The algorithm with the policies that training left; RepriseError when they do not fit this code."""
        algorithm = self.untrained(spec, copies, device)
        path = self.folder / runs.POLICY
        try:
            algorithm.load_policy(runs.decode_tensors(path.read_bytes()))
        except (ValueError, KeyError, RuntimeError) as error:
            raise RepriseError(f"{path}: does not fit this code ({error}); {runs.REPAIR}") from error
        return algorithm


def open_run(folder: Path) -> FinishedRun:
    """Open a run folder to play its policies. RepriseError when it is incomplete, damaged or an exact study."""
    found = runs.faults(folder)
    if found:
        raise RepriseError(f"{found[0]}; {runs.REPAIR}" if runs.REPAIR not in found[0] else found[0])
    manifest = runs.load_manifest(folder)
    if runs.POLICY not in runs.files(manifest):
        raise RepriseError(f"{folder}: an exact study ({manifest['task']}) has no policy to play")
    seeds = sorted({int(key.rpartition("/")[2]) for key in manifest["seeds"]})
    return FinishedRun(folder, manifest, [(cell, seed) for cell in manifest["cells"] for seed in seeds])


def evaluate_run(folder: Path, episodes: int, device: str = "auto") -> list[dict[str, Any]]:
    """Evaluate the policies of a finished run folder on fresh episodes.

    Returns one dict per run: ``setting``, ``seed``, ``episodes``, ``mean``, ``low``, ``high`` (Student t 95 % interval
    over the episodes) and ``expected_return`` (NaN where it cannot be computed).
    Raises RepriseError when the folder is incomplete or damaged.
    """
    if episodes < 1:
        raise RepriseError(f"--episodes {episodes}: must be at least 1")
    run = open_run(folder)
    target = resolve_device(device)
    torch.set_num_threads(1)
    # A stream that no training run uses: these episodes are new to every policy.
    copies = copies_at_once(run.environment(1, target, stream="evaluate").spec.agents, episodes)
    environment = run.environment(copies, target, stream="evaluate")
    algorithm = run.trained(environment.spec, copies, target)
    result = Evaluator(environment, len(run.members), episodes, copies).evaluate(algorithm)
    return [
        {"setting": cell.get("setting"), "seed": seed, "episodes": episodes, "expected_return": float(exact)}
        | _interval(returns)
        for (cell, seed), returns, exact in zip(run.members, result.returns, result.expected_return, strict=True)
    ]


def _interval(values: np.ndarray) -> dict[str, float]:
    mean = float(values.mean())
    if len(values) < 2:
        return {"mean": mean, "low": float("nan"), "high": float("nan")}
    from scipy.special import stdtrit  # scipy.stats takes 0.8 s to import

    half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values)))
    return {"mean": mean, "low": mean - half, "high": mean + half}
