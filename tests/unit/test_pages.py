"""The claims tables in README.md and docs/ are those of the published claims.json."""

import json
import shutil

from reprise.analysis import pages
from reprise.experiments import config


def _not_tables(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".csv")]


def claim(number: int, verdict: str, direction: str | None = None, headline: bool = True) -> dict:
    return {
        "id": f"dpo-{number:02}", "paper": "dpo", "headline": headline, "where": "here", "statement": f"a | b {number}",
        "verdict": verdict, "direction": direction, "sentence": f"{verdict}: {number}",
    }  # fmt: skip


def test_tables_count_verdicts_and_show_the_headline_claims_of_each_tier():
    judged = {
        "paper": [
            claim(1, "REPRODUCED"),
            claim(2, "NOT_RUN"),
            claim(3, "NOT_RUN"),
            claim(4, "REPRODUCED", None, False),
        ],
        "quick": [claim(1, "INCONCLUSIVE", "as claimed"), claim(2, "PARTLY"), claim(3, "NOT_RUN"), claim(4, "PARTLY")],
    }
    table = pages.short_table(judged)
    assert "| paper | claims | REPRODUCED | PARTLY | NOT_RUN |" in table  # each at the highest tier that ran it
    assert "| dpo | 4 | 2 | 1 | 1 |" in table
    assert "| dpo-01 | a \\| b 1 | REPRODUCED | INCONCLUSIVE (as claimed) |" in table
    assert "| dpo-02 | a \\| b 2 | NOT_RUN | PARTLY |" in table
    assert "dpo-03" not in table
    assert "dpo-04" not in table


def test_the_pages_in_the_repository_are_filled_from_the_published_claims(repository_root, tmp_path):
    published = [t for t in pages.TIERS if (repository_root / "results" / t / "claims.json").is_file()]
    assert "quick" in published
    for name in ("config", "docs"):
        shutil.copytree(repository_root / name, tmp_path / name)
    shutil.copy(repository_root / "README.md", tmp_path)
    for tier in published:
        (tmp_path / "results" / tier).mkdir(parents=True)
        shutil.copy(repository_root / "results" / tier / "claims.json", tmp_path / "results" / tier)
    shutil.copytree(repository_root / "results" / "tuning", tmp_path / "results" / "tuning", ignore=_not_tables)
    for page in pages.fill(config.load(tmp_path)):
        name = page.relative_to(tmp_path)
        assert page.read_text() == (repository_root / name).read_text(), f"{name}: run `reprise report --pages`"
    assert json.loads((tmp_path / "results" / published[0] / "claims.json").read_text())["claims"]
