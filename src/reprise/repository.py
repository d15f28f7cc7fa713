"""Where the repository is: found from the current folder, never from the package's own file."""

from __future__ import annotations

from pathlib import Path

from reprise.errors import RepriseError


def root(start: Path | None = None) -> Path:
    """The nearest folder at or above ``start`` (default: the current one) that holds config/config.yaml.

    Raises RepriseError when there is none.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "config" / "config.yaml").is_file():
            return folder
    raise RepriseError(f"{here}: no Reprise repository here or above (no config/config.yaml); cd into your clone")
