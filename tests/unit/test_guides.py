"""The guides are followed to the letter: their files in a copy of the repository, then their commands.

And the other pages name what is there: files, hyper-parameters, figures, commands.

Markers in the markdown, each on the line before a fenced block: `<!-- file: PATH -->` (the block is that file) and
`<!-- run -->` (commands).
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from reprise.experiments import config

BLOCK = re.compile(r"^<!-- (file|run)(?:: (.+?))? -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_FILES = {"evaluations.parquet", "training.parquet", "timings.parquet", "policy.safetensors", "manifest.json"}
# One process per block of commands: importing torch takes longer than training here. The first failure ends it.
COMMANDS = """
import json, sys
from reprise import cli
for words in json.loads(sys.argv[1]):
    code = cli.main(words)
    if code:
        sys.exit(f"{words}: exit {code}")
"""


@pytest.fixture
def copy(repository_root, tmp_path):
    """The package and the config, as a repository of its own."""
    shutil.copytree(repository_root / "config", tmp_path / "config")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(repository_root / "src" / "reprise", tmp_path / "src" / "reprise", ignore=ignored)
    return tmp_path


def follow(guide, root) -> list[str]:
    """Do what ``guide`` says in ``root``; returns the `reprise` commands run."""
    commands = []
    for kind, argument, text in BLOCK.findall(guide.read_text(encoding="utf-8")):
        if kind == "file":
            assert not (root / argument).exists(), f"{argument}: the guide makes a file that is there already"
            (root / argument).write_text(text, encoding="utf-8")
        else:
            lines = [shlex.split(line) for line in text.splitlines()]
            assert all(program == "reprise" for program, *_ in lines)
            run(root, [words for _, *words in lines])
            commands += [words[0] for _, *words in lines]
    return commands


def run(root, commands: list[list[str]]) -> None:
    """Run `reprise` commands on the copied sources; all must succeed."""
    commands = [[*words, "--device", "cpu"] if words[0] == "train" else words for words in commands]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def check_run(folder, runs: int) -> None:
    """A finished run folder of ``runs`` runs that made two updates, all numbers finite."""
    assert {path.name for path in folder.iterdir()} == RUN_FILES
    training = pq.read_table(folder / "training.parquet").to_pydict()
    assert len(training["update"]) == 2 * runs
    for metric in ("policy_loss", "value_loss", "entropy", "kl", "gradient_norm"):
        assert all(math.isfinite(value) for value in training[metric]), metric
    assert any(value > 0 for value in training["gradient_norm"])
    returns = pq.read_table(folder / "evaluations.parquet").to_pydict()
    assert returns["return"]
    for metric in ("return", "expected_return"):
        assert all(math.isfinite(value) for value in returns[metric]), metric


def test_the_guide_to_an_algorithm(repository_root, copy):
    commands = follow(repository_root / "docs" / "adding-an-algorithm.md", copy)
    assert commands == ["train", "train", "train", "collect", "statistics", "plot"]
    task = copy / "results/smoke/runs/stochastic_game/s5n2a3"
    check_run(task / "ia2c" / "seeds-0-1", runs=2)
    check_run(task / "ia2c@entropy" / "seeds-0-1", runs=4)
    for suffix in ("svg", "png", "pdf", "json"):
        assert (copy / f"figures/smoke/mine/tiny.{suffix}").stat().st_size


def test_the_guide_to_an_environment(repository_root, copy):
    commands = follow(repository_root / "docs" / "adding-an-environment.md", copy)
    assert commands == ["train", "evaluate"]
    folder = copy / "results/smoke/runs/matrix_game/climbing/ippo/seeds-0-1"
    check_run(folder, runs=2)
    rows = pq.read_table(folder / "evaluations.parquet").to_pydict()
    # Greedy policies of a game without chance: what was sampled is what was expected, 25 rounds of one payoff.
    assert rows["return"] == pytest.approx(rows["expected_return"])
    assert all(value / 25 in {11.0, 7.0, 6.0, 5.0, 0.0, -30.0} for value in rows["return"])


def test_the_guide_to_a_study(repository_root, copy):
    commands = follow(repository_root / "docs" / "adding-a-study.md", copy)
    assert commands == ["train", "collect", "statistics", "plot", "claims"]
    for suffix in ("svg", "png", "pdf", "json"):
        assert (copy / f"figures/smoke/mine/pinsker.{suffix}").stat().st_size
    claims = json.loads((copy / "results/smoke/claims.json").read_text())["claims"]
    (mine,) = [claim for claim in claims if claim["paper"] == "mine"]
    assert mine["verdict"] == "REPRODUCED"
    assert mine["n"] == 3 * 3000


@pytest.fixture(scope="module")
def project(repository_root):
    return config.load(repository_root)


def test_links_lead_somewhere(repository_root):
    pages = [repository_root / "README.md", *repository_root.glob("docs/**/*.md"), repository_root / "config/README.md"]
    for page in pages:
        for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(#[^)]*)?\)", page.read_text(encoding="utf-8")):
            path = page.parent / target if target else page
            assert path.exists(), f"{page}: no {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
                anchors = {"#" + re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings}
                assert anchor in anchors, f"{page}: {target} has no heading {anchor}"


def test_every_hyperparameter_and_variant_is_on_its_page(repository_root, project):
    pages = {path.stem: path.read_text(encoding="utf-8") for path in repository_root.glob("docs/algorithms/*.md")}
    assert set(pages) == set(project.algorithms)
    for name, spec in project.algorithms.items():
        known = pages[name] if name != "ippo" else pages["ippo"] + pages["dpo"]  # they share all but a few
        missing = [key for key in [*spec.hyperparameters, *spec.variants] if f"`{key}`" not in known]
        assert not missing, f"docs/algorithms/{name}.md"


def test_every_figure_is_on_its_papers_page(repository_root, project):
    for name, paper in project.papers.items():
        pages = sorted((repository_root / "docs" / "papers").glob(f"{name}*.md"))  # dpo.md and dpo-theory.md
        page = "".join(path.read_text(encoding="utf-8") for path in pages)
        assert not [figure for figure in paper.figures if f"`{name}/{figure}`" not in page]


def test_every_task_is_on_its_environments_page(repository_root, project):
    for name, environment in project.environments.items():
        page = (repository_root / "docs" / "environments" / f"{name}.md").read_text(encoding="utf-8")
        assert not [task for task in environment.tasks if f"`{task}`" not in page]


def test_the_readme_names_every_command(repository_root):
    from reprise import cli

    readme = (repository_root / "README.md").read_text(encoding="utf-8")
    commands = [command.callback.__name__ for command in cli.app.registered_commands]
    assert not [name for name in commands if not re.search(rf"`(reprise )?{name}`", readme)]
