"""A copy of the repository in a temporary folder, and the commands that workflow tests run in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from reprise.experiments import config, grid

MINUTES = 60


@dataclass
class Checkout:
    """A repository of the test's own. Its commands use this environment's programs and the checkout's sources."""

    root: Path
    first: str = ""  # what the first `snakemake` of the shared smoke run printed

    def run(self, *command: str, timeout: float = 5 * MINUTES) -> subprocess.CompletedProcess:
        """Run ``command`` in the checkout, with stdout and stderr apart and nothing to read from."""
        programs = Path(sys.executable).parent
        environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.root / "src"),
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.run(
            command,
            cwd=self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def ok(self, *command: str, timeout: float = 5 * MINUTES) -> str:
        """The output (both streams) of a command that must succeed."""
        done = self.run(*command, timeout=timeout)
        output = done.stdout + done.stderr
        assert done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}\n{output[-6000:]}"
        return output

    def planned(self, *arguments: str) -> dict[str, int]:
        """The jobs that `snakemake --dry-run` plans, by rule; the rows of `total` and of the targets left out."""
        output = self.ok("snakemake", "--cores", "2", "--dry-run", *arguments)
        table = re.search(r"^Job stats:\njob +count\n[- ]+\n(.*?)^total", output, re.MULTILINE | re.DOTALL)
        if table is None:
            assert "Nothing to be done" in output, output[-3000:]
            return {}
        jobs = dict(line.split() for line in table[1].splitlines())
        return {rule: int(count) for rule, count in jobs.items() if rule not in ("all", "everything", "figures")}

    def grid(self, tier: str) -> grid.Grid:
        return grid.build(config.load(self.root), tier)

    def figures(self, tier: str) -> list[Path]:
        """Every figure file that ``tier`` must have."""
        names = self.grid(tier).standing
        return [self.root / f"figures/{tier}/{name}.{end}" for name in names for end in ("svg", "png", "pdf", "json")]

    def commit(self) -> None:
        """Commit everything that git does not ignore."""
        self.ok("git", "add", "--all")
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
        self.ok("git", *identity, "-c", "commit.gpgsign=false", "commit", "--quiet", "--allow-empty", "-m", "state")

    def clone(self, folder: Path) -> Checkout:
        """A fresh clone in ``folder``, whose parent must not be this checkout's: relative remotes must not reach it."""
        assert folder.parent != self.root.parent
        self.ok("git", "clone", "--quiet", str(self.root), str(folder))
        return Checkout(folder)

    def touch_tracked(self) -> None:
        """Give every tracked file a new modification time, as `git checkout` may."""
        for name in self.ok("git", "ls-files", "-z").split("\0"):
            if (self.root / name).is_file():
                (self.root / name).touch()


def training(jobs: dict[str, int]) -> dict[str, int]:
    """The jobs among ``jobs`` that train or compute a study."""
    return {rule: count for rule, count in jobs.items() if rule.startswith(("train", "study"))}


def copy_repository(source: Path, target: Path) -> Checkout:
    """``source``'s tracked and new files, without results and published objects, as a repository of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=source,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.split("\0"):
        if not (source / name).is_file() or name.startswith(("published/", "results/", "dvc/")) or name == "dvc.lock":
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)
    checkout = Checkout(target)
    checkout.ok("git", "init", "--quiet")
    checkout.commit()
    return checkout
