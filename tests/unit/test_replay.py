"""Replays: what is played is what was trained, and mistakes are one line. The pictures: test_replay_pictures.py."""

from __future__ import annotations

import base64
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from reprise import cli, repository
from reprise.analysis import replay as pictures
from reprise.analysis import report, tables
from reprise.environments import registry
from reprise.errors import RepriseError
from reprise.experiments import config, evaluation, grid, jobs, replay, resolution

TASK = "stochastic_game/s5n2a3"
SWEEP = {"low": 0.05, "high": 0.2}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The real game and DPO with small networks, one figure with a plain curve and a sweep, and a declared replay."""
    root = tmp_path_factory.mktemp("replay")
    real = repository.root(Path(__file__).parent) / "config"
    algorithm = yaml.safe_load((real / "algorithms/dpo.yaml").read_text())
    algorithm = {key: value for key, value in algorithm.items() if key not in ("variants", "environments", "sweeps")}
    for name, value in {"hidden": 8, "copies": 2, "epochs": 3, "actor_lr": 0.01, "critic_lr": 0.01}.items():
        algorithm["hyperparameters"][name]["value"] = value
    settings = {
        name: {"label": name, "set": {"d_target": {"value": value, "source": "ours"}}} for name, value in SWEEP.items()
    }
    figure = {"title": "t", "caption": "c", "kind": "curves", "tasks": [TASK], "metric": "expected_return"}
    paper = {"paper": "small", "title": "Small", "reference": "none"}
    paper["figures"] = {"fig01": figure | {"curves": [{"algorithm": "dpo"}, {"algorithm": "dpo@targets"}]}}
    paper["replays"] = [{"task": TASK, "algorithm": "dpo@high", "seed": 3}]
    budget = {"updates": 30, "seeds": "2-3", "evaluations": 2, "evaluation_episodes": 2}
    tier = {"tier": "smoke", "stamp": "thirty updates", "batches": None, "environments": {"stochastic_game": budget}}
    files = {
        "config.yaml": {"tier": "smoke", "papers": ["small"], "device": "cpu"},
        "environments/stochastic_game.yaml": yaml.safe_load((real / "environments/stochastic_game.yaml").read_text()),
        "algorithms/dpo.yaml": algorithm | {"sweeps": {"targets": {"label": "target", "settings": settings}}},
        "tiers/smoke.yaml": tier,
        "papers/small.yaml": paper,
    }
    for name, content in files.items():
        path = root / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))  # JSON is YAML
    found = config.load(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        jobs.run(found, grid.build(found, "smoke").cohorts, "cpu")
    return found


@pytest.fixture(autouse=True)
def inside(project, monkeypatch):
    monkeypatch.chdir(project.root)


@pytest.fixture
def folder(project):
    return project.root / "results/smoke/runs" / TASK / "dpo/seeds-2-3"


@pytest.fixture
def sweep(project):
    return project.root / "results/smoke/runs" / TASK / "dpo@targets/seeds-2-3"


# --------------------------------------------------------------------------------------------------- what is played


def test_before_and_after_are_the_first_and_last_policy_of_the_run(project, sweep):
    evaluations = pd.read_parquet(sweep / "evaluations.parquet")
    for setting in SWEEP:
        for seed in (2, 3):
            own = evaluations[(evaluations["setting"] == setting) & (evaluations["seed"] == seed)]
            points = own.groupby("env_steps")["expected_return"].first()
            played = replay.play(project, sweep, seed, setting, device="cpu")
            assert played.before.expected == pytest.approx(points.iloc[0], abs=1e-12)
            assert played.after.expected == pytest.approx(points.iloc[-1], abs=1e-12)
            assert (played.cell, played.seed, played.stamp) == (f"dpo@{setting}", seed, "thirty updates")
            assert played.env_steps == points.index[-1]


def test_an_episode_is_what_its_environment_did(project, folder):
    """Played again by hand from the tables: the recorded states, actions and rewards belong together."""
    played = replay.play(project, folder, 3, number=2, device="cpu")
    environment = evaluation.open_run(folder).environment(3, torch.device("cpu"), replay.STREAM)
    tables = environment._tables[0]
    for episode in (played.before, played.after):
        states, joint = episode.frames["state"], episode.actions @ np.array([3, 1])
        assert len(states) == episode.steps + 1 == 11
        assert states[0] == 0
        assert np.array_equal(episode.rewards, tables.rewards[states[:-1], joint].astype(float))
        assert (tables.transitions[states[:-1], joint, states[1:]] > 0).all()
        assert episode.so_far[-1] == pytest.approx(episode.rewards.sum())
    # The same numbers again: row 5 is episode 2 of run 1. At the end the state reached, not the next episode's start.
    environment.reset()
    states = [0]
    for step in range(10):
        moved = environment.step(torch.from_numpy(played.after.actions[step]).expand(6, 2).clone())
        states.append(int(moved.next_observations[5, 0]))
    assert states == played.after.frames["state"].tolist()
    assert int(moved.observations[5, 0]) == 0 != states[-1]


def test_the_trained_policy_answers_a_state_as_it_always_does(project, folder):
    """The actions of an episode are the greedy policy's, of the run that was asked for."""
    run = evaluation.open_run(folder)
    environment = run.environment(1, torch.device("cpu"), replay.STREAM)
    policies = run.trained(environment.spec, 1, torch.device("cpu")).probabilities(torch.arange(5).expand(2, 2, -1))
    for index, seed in enumerate((2, 3)):
        after = replay.play(project, folder, seed, device="cpu").after
        greedy = policies[index].argmax(dim=-1).numpy()  # [N, S]
        assert np.array_equal(after.actions, greedy[:, after.frames["state"][:-1]].T)


def test_other_episodes_differ_and_the_same_one_repeats(project, folder):
    first, again, other = (replay.play(project, folder, 2, number=n, device="cpu") for n in (0, 0, 1))
    assert pictures.record(first) == pictures.record(again)
    assert not np.array_equal(first.after.frames["state"], other.after.frames["state"])


def test_the_recorded_frames_stop_where_an_episode_ends():
    class Walk:
        """Row 1 ends after its third step, row 0 never; position = steps since the row's start."""

        spec = type("Spec", (), {"episode_limit": 8})

        def reset(self):
            self.at, self.reached = np.zeros(2), np.zeros(2)
            return torch.zeros(2, 1)

        def frame(self, row):
            return {"kind": "walk", "at": self.reached[row]}

        def step(self, actions):
            self.at = self.reached = self.at + 1
            ended = torch.tensor([False, bool(self.at[1] == 3)])
            self.at = np.where(ended, 0, self.at)
            shape = torch.zeros(2, 1)
            empty = torch.zeros(2, dtype=torch.bool)
            fields = (shape, shape, shape, shape, torch.ones(2), ended, empty, None, None)
            return replay_transition(*fields)

    class Still:
        def initial_memory(self, rows):
            return None

        def greedy(self, observations, available, memory):
            return torch.zeros(2, 1, dtype=torch.int64), None

    from reprise.environments.protocol import Transition as replay_transition

    frames, actions, rewards = replay._record(Walk(), Still(), 2, 1)
    assert frames["at"].tolist() == [0, 1, 2, 3]
    assert (actions.shape, rewards.tolist()) == ((3, 1), [1.0, 1.0, 1.0])
    assert len(replay._record(Walk(), Still(), 2, 0)[2]) == 8


# ------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, "unknown seed '4'; valid: 2, 3"),
        ({"setting": "hihg"}, "unknown setting 'hihg'; nearest: 'high'"),
        ({"number": -1}, "--episode -1"),
    ],
)
def test_a_wrong_choice_names_what_there_is(project, sweep, change, message):
    with pytest.raises(RepriseError, match=message):
        replay.play(project, sweep, device="cpu", **change)


def test_an_incomplete_run_and_one_with_nothing_to_see(project, folder, tmp_path, monkeypatch):
    copy = tmp_path / "seeds-2-3"
    shutil.copytree(folder, copy)
    (copy / "manifest.json").unlink()
    with pytest.raises(RepriseError, match=r"no manifest.json: the run is not complete"):
        replay.play(project, copy, device="cpu")
    from reprise.environments.stochastic_game import StochasticGame

    monkeypatch.delattr(StochasticGame, "frame")
    with pytest.raises(RepriseError, match=r"stochastic_game/s5n2a3: nothing to draw: .* no method `frame`"):
        replay.play(project, folder, device="cpu")


def test_pictures_stay_out_of_run_folders(project, folder):
    played = replay.play(project, folder, device="cpu")
    with pytest.raises(RepriseError, match="inside a run folder"):
        replay.place(project.root, played, "png", folder / "x.png")
    assert replay.place(project.root, played, "gif") == (
        project.root / "figures/smoke/replays/stochastic_game/s5n2a3/dpo-seed2.gif"
    )


def test_drawing_imports_no_torch_and_the_plan_neither():
    """`reprise.experiments.replay` is read by the workflow and the report: only playing needs torch."""
    script = "import sys, reprise.experiments.replay, reprise.analysis.replay\n"
    script += "from reprise.analysis.replay import board, films, parts, particles\n"
    script += "print(*(name for name in ('torch', 'matplotlib', 'PIL') if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# ------------------------------------------------------------------------------------- real environments and the config


@pytest.mark.parametrize("name", ["simple_spread", "line_control", "circle_control", "simple_spread_v3"])
def test_frames_of_the_particle_environments(name):
    """What the reward counts can be computed from what is drawn, up to the end of an episode and at the next start."""
    real = config.load(repository.root(Path(__file__).parent))
    cell = resolution.resolve(real, f"mpe/{name}", "ippo", "quick")
    environment = registry.make(cell.config["environment"], [0, 1], 2, stream="replay")
    penalty = cell.config["environment"]["parameters"]["collision_penalty"]
    generator = torch.Generator().manual_seed(0)
    agents = environment.spec.agents
    for step in range(2 * environment.spec.episode_limit):
        actions = torch.randint(environment.spec.actions.n, (4, agents), generator=generator)
        moved = environment.step(actions)
        before = environment.snapshot()
        frame = environment.frame(2)
        assert all(torch.equal(value, before[key]) for key, value in environment.snapshot().items()), "it only looks"
        assert torch.equal(environment.scenario.observe(), moved.observations)
        positions, targets, links = (np.asarray(frame[key]) for key in ("positions", "targets", "links"))
        assert list(frame["roles"][:agents]) == ["agent"] * agents
        assert len(frame["roles"]) == len(frame["sizes"]) == len(positions)
        counted = np.linalg.norm(positions[links[:, 0]] - targets[links[:, 1]], axis=1)
        if penalty == 0:
            assert -counted.mean() == pytest.approx(float(moved.reward[2]), abs=1e-5), step
        else:
            gaps = np.linalg.norm(positions[:agents, None] - positions[None, :agents], axis=-1)
            touching = (gaps < 2 * frame["sizes"][0]).sum() - agents
            expected = -0.5 * counted.sum() - penalty * touching / agents
            assert expected == pytest.approx(float(moved.reward[2]), abs=1e-4), step


def test_declared_replays_point_at_the_run_that_the_grid_trains(project, sweep):
    made = grid.build(project, "smoke")
    (found,) = replay.declared(project, made).values()
    assert found.key == f"small/replays/{TASK}"
    assert found.cohort.folder == sweep
    assert found.options == "--seed 3 --setting high"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"algorithm": "dpo@hihg"},
            "replays.0.algorithm: unknown variant, sweep or setting of dpo 'hihg'; nearest: 'high",
        ),
        ({"algorithm": "dpo@targets"}, "'dpo@targets' is a sweep; name one of its settings"),
        ({"task": "stochastic_game/s30n3a5"}, "unknown curve on stochastic_game/s30n3a5 'dpo@high'; none is defined"),
        ({"task": "stochastic_game/s5n2a4"}, "replays.0.task: unknown task 'stochastic_game/s5n2a4'"),
        ({"seed": -1}, "replays.0.seed"),
        (None, f"replays.1: '{TASK}' stands twice"),
    ],
)
def test_a_declared_replay_that_fits_nothing(project, tmp_path, change, message):
    shutil.copytree(project.root / "config", tmp_path / "config")
    path = tmp_path / "config/papers/small.yaml"
    paper = json.loads(path.read_text())
    first = paper["replays"][0]
    paper["replays"] = [first, first] if change is None else [first | change]
    path.write_text(json.dumps(paper))
    with pytest.raises(RepriseError, match=r"papers/small\.yaml") as error:
        config.load(tmp_path)
    assert message in str(error.value)


def test_a_tier_without_the_run_has_no_replay(project, tmp_path):
    shutil.copytree(project.root / "config", tmp_path / "config")
    path = tmp_path / "config/tiers/smoke.yaml"
    path.write_text(path.read_text().replace('"2-3"', '"2"'))
    other = config.load(tmp_path)
    assert replay.declared(other, grid.build(other, "smoke")) == {}


def test_a_figure_made_on_request_has_no_replay(project):
    made = grid.build(project, "smoke")
    assert replay.declared(project, made)
    figures = {name: dataclasses.replace(figure, on_request=True) for name, figure in made.figures.items()}
    assert replay.declared(project, dataclasses.replace(made, figures=figures)) == {}


def test_the_repository_declares_a_replay_per_tier():
    real = config.load(repository.root(Path(__file__).parent))
    for tier in real.tiers:
        assert "dpo/replays/stochastic_game/s100n6a5" in replay.declared(real, grid.build(real, tier))


# ------------------------------------------------------------------------------------------------------------ report


def test_the_report_shows_the_strip_without_a_run_folder(project, sweep, tmp_path, capsys):
    """As in a clone that pulled the figures: config, claims and figures, and nothing else."""
    stem = tmp_path / f"figures/smoke/small/replays/{TASK}"
    strip = stem.with_name(f"{stem.name}.png")
    words = ["replay", str(sweep), "--seed", "3", "--setting", "high", "--output", str(strip), "--device", "cpu"]
    assert cli.main(words) == 0
    assert capsys.readouterr().out.split() == [str(strip)]
    shutil.copytree(project.root / "config", tmp_path / "config")
    (tmp_path / "results/smoke").mkdir(parents=True)
    (tmp_path / "results/smoke/claims.json").write_text('{"claims": []}')
    clone = config.load(tmp_path)
    page = report.render(clone, "smoke")
    assert base64.b64encode(strip.read_bytes()).decode() in page
    played = json.loads(strip.with_suffix(".json").read_text())
    assert f"and {tables.number(played['after']['return'])} after 600 env steps; nash" in page
    assert "One episode of dpo@high, seed 3" in page
    assert "nash_low" not in page
    assert page == report.render(clone, "smoke")

    strip.with_suffix(".json").write_text("{")
    with pytest.raises(RepriseError, match=r"s5n2a3\.json: damaged .* --forcerun replay -- figures/smoke/small"):
        report.render(clone, "smoke")
    strip.unlink()
    wanted = f"Not played at this tier yet: <code>snakemake --cores all figures/smoke/small/replays/{TASK}.png</code>"
    assert wanted in report.render(clone, "smoke")
