"""Episodes to look at: one run's greedy policy, played beside the policy that the run began with.

Both episodes see the same start and the same random numbers, so that what differs between them was learned. Importing
this module imports no torch: the pictures (analysis/replay) take what it records, numpy arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reprise.errors import RepriseError, unknown

if TYPE_CHECKING:
    from reprise.environments.protocol import Environment
    from reprise.experiments.config import Project
    from reprise.experiments.evaluation import FinishedRun
    from reprise.experiments.grid import Cohort, Grid

STREAM = "replay"  # a random stream that neither training nor an evaluation uses


@dataclass(frozen=True)
class Episode:
    """One episode of L steps.

    Attributes:
        frames: what the environment's ``frame`` told, name: array [L + 1, ...], from the start to the last state.
        actions: [L, N] or [L, N, size]. rewards: float64 [L].
        expected: exact expected return of the policy that played, NaN where it cannot be computed.
    """

    frames: dict[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    expected: float

    @property
    def steps(self) -> int:
        """L."""
        return len(self.rewards)

    @property
    def so_far(self) -> np.ndarray:
        """Return after 0 to L steps, float64 [L + 1]."""
        return np.concatenate([[0.0], np.cumsum(self.rewards)])


@dataclass(frozen=True)
class Replay:
    """An episode of one run before and after its training, and what a picture of it has to say.

    ``kind`` is the environment's kind of frame; ``cell`` the name to train it by (`dpo@no_kl`); ``env_steps`` what it
    was trained for; ``references`` the episode returns that frame it; ``stamp`` what its tier prints on pictures.
    """

    kind: str
    task: str
    cell: str
    tier: str
    seed: int
    number: int
    env_steps: int
    hash: str
    stamp: str | None
    references: dict[str, float]
    before: Episode
    after: Episode


def play(
    project: Project,
    folder: Path,
    seed: int | None = None,
    setting: str | None = None,
    number: int = 0,
    device: str = "auto",
) -> Replay:
    """Play episode ``number`` of one run of a finished run folder, with its policy and with the one it began with.

    Args:
        project: for the stamp of the run's tier.
        folder: a complete run folder.
        seed, setting: which run; None: the first one. Only the runs of a sweep have settings.
        number: 0 is the first episode of the stream. Another one starts elsewhere.
        device: auto, cpu or cuda.

    Raises:
        RepriseError: the folder is incomplete, damaged or an exact study, has no such seed or setting, or its
            environment has nothing to see.
    """
    import torch

    from reprise.experiments import evaluation

    if number < 0:
        raise RepriseError(f"--episode {number}: must be at least 0")
    run = evaluation.open_run(folder)
    index = _index(run, seed, setting)
    cell, seed = run.members[index]
    target, copies = evaluation.resolve_device(device), number + 1
    torch.set_num_threads(1)

    def episode(trained: bool) -> Episode:
        environment = run.environment(copies, target, STREAM)
        if not hasattr(environment, "frame"):
            raise RepriseError(f"{run.manifest['task']}: nothing to draw: its environment has no method `frame`")
        algorithm = (run.trained if trained else run.untrained)(environment.spec, copies, target)
        expected = float(evaluation.expected_return(environment, algorithm, len(run.members))[index])
        return Episode(*_record(environment, algorithm, len(run.members) * copies, index * copies + number), expected)

    before, after = episode(trained=False), episode(trained=True)
    tier, key = run.manifest["tier"], f"{cell['setting']}/{seed}" if cell.get("setting") else str(seed)
    return Replay(
        kind=str(after.frames["kind"][0]),
        task=run.manifest["task"],
        cell=_name(run.manifest["name"], cell.get("setting")),
        tier=tier,
        seed=seed,
        number=number,
        env_steps=run.manifest["seeds"][key]["env_steps"],
        hash=cell["hash"],
        stamp=project.tiers[tier].stamp if tier in project.tiers else None,
        references=run.manifest.get("references", {}).get(str(seed), {}),
        before=before,
        after=after,
    )


def place(root: Path, replay: Replay, suffix: str, output: Path | None = None) -> Path:
    """Where the picture goes: ``output``, or figures/<tier>/replays/<task>/<cell>-seed<S>.<suffix> below ``root``.

    RepriseError for a run folder: what lies there is the run's alone.
    """
    if output is None:
        episode = f"-episode{replay.number}" if replay.number else ""
        name = f"{replay.cell}-seed{replay.seed}{episode}.{suffix}"
        return root / "figures" / replay.tier / "replays" / replay.task / name
    if (output.parent / "manifest.json").exists():
        raise RepriseError(f"--output {output}: inside a run folder; choose another place")
    return output


def _index(run: FinishedRun, seed: int | None, setting: str | None) -> int:
    """Which of the runs of a folder is meant."""
    settings = list(dict.fromkeys(cell["setting"] for cell, _ in run.members if cell.get("setting")))
    if setting is not None and setting not in settings:
        raise unknown("setting", setting, settings, str(run.folder))
    wanted = setting or (settings[0] if settings else None)
    found = [i for i, (cell, _) in enumerate(run.members) if (cell.get("setting") or None) == wanted]
    if seed is None:
        return found[0]
    for i in found:
        if run.members[i][1] == seed:
            return i
    raise unknown("seed", str(seed), [str(run.members[i][1]) for i in found], str(run.folder))


def _name(cohort: str, setting: str | None) -> str:
    return f"{cohort.partition('@')[0]}@{setting}" if setting else cohort


def _record(environment: Environment, algorithm: Any, rows: int, row: int) -> tuple[dict, np.ndarray, np.ndarray]:
    """Play until the first episode of ``row`` ends: its frames, actions and rewards."""
    import torch

    from reprise.experiments import evaluation

    frames, actions, rewards = [], [], []
    with torch.no_grad():
        observations, available = evaluation.start_episodes(environment)
        memory = algorithm.initial_memory(rows)
        frames.append(environment.frame(row))
        for _ in range(environment.spec.episode_limit):
            chosen, memory = algorithm.greedy(observations, available, memory)
            step = environment.step(chosen)
            actions.append(chosen[row].cpu().numpy().copy())
            rewards.append(float(step.reward[row]))
            frames.append(environment.frame(row))
            if bool(step.terminated[row] | step.truncated[row]):
                break
            observations, available = step.observations, step.available_actions
    arrays = {name: _over_time([frame[name] for frame in frames]) for name in frames[0]}
    return arrays, np.stack(actions), np.array(rewards, dtype=np.float64)


def _over_time(values: list) -> np.ndarray:
    """[L + 1, ...]; words, such as a robot's model, stay the same during an episode and are kept once."""
    if isinstance(values[0], str):
        return np.broadcast_to(np.asarray(values[0]), len(values))
    return np.stack([np.asarray(value) for value in values])


# ----------------------------------------------------------------------------------- the replays that the config names


@dataclass(frozen=True)
class Declared:
    """A replay of a paper's config at one tier: the cohort that trains its run, and which run of it is meant."""

    key: str
    cohort: Cohort
    seed: int
    setting: str | None

    @property
    def options(self) -> str:
        """What `reprise replay RUN` needs to find it."""
        return f"--seed {self.seed}" + (f" --setting {self.setting}" if self.setting else "")


def key(paper: str, task: str) -> str:
    """Where the strip of ``task`` lies below figures/<tier>, without its suffix."""
    return f"{paper}/replays/{task}"


def declared(project: Project, made: Grid) -> dict[str, Declared]:
    """The replays of all papers that are runs of standing figures of ``made``, by key; others would need training."""
    from reprise.experiments import resolution

    found = {}
    for paper, page in project.papers.items():
        for wanted in page.replays:
            cell = resolution.resolve(project, wanted.task, wanted.algorithm, made.tier)
            for curve in (curve for name in made.standing for curve in made.figures[name].curves):
                if curve.cell == cell and wanted.seed in curve.seeds:
                    cohort = next(each for each in made.cohorts_for(curve) if wanted.seed in each.seeds)
                    name = key(paper, wanted.task)
                    found.setdefault(name, Declared(name, cohort, wanted.seed, cell.setting))
    return found
