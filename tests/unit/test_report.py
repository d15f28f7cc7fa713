"""The report: complete, self-contained, escaped, the same bytes each time, and readable by machines for people."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from test_figures import grid_of_settings, put, statistics, three

from reprise.analysis import figures, report, tables
from reprise.errors import RepriseError
from reprise.experiments import schema

PAPER = {
    "paper": "dpo",
    "title": "A paper <b>& its title</b>",
    "reference": "TMLR 2024",
    "figures": {
        name: {
            "title": f"Figure {name}",
            "caption": "What is seen.",
            "kind": "curves",
            "tasks": ["stochastic_game/s100n6a5"],
            "curves": [{"algorithm": "dpo"}],
            "metric": "expected_return",
        }
        for name in ("fig01a", "fig01b", "sensitivity")
    },
    "diagrams": [{"figure": "fig00", "title": "A sketch", "reason": "no data"}],
    "tables": {
        "table_2": {
            "title": "Table 2, hyper-parameters",
            "rows": [
                {
                    "name": "epochs",
                    "paper": 15,
                    "code": 15,
                    "ours": {"algorithm": "dpo", "key": "epochs"},
                    "source": "T2",
                },
                {
                    "name": "beta",
                    "paper": 0.01,
                    "code": 1.0,
                    "ours": {"algorithm": "dpo@code", "key": "beta"},
                    "source": "B",
                },
                {"name": "tasks", "paper": "3x2", "code": "3x2", "ours": "not run", "source": "T1"},
            ],
        }
    },
}


def claim(number, verdict="REPRODUCED", protocols=("shared",), **more):
    statistic = {
        "name": "difference of means",
        "value": 41.5,
        "low": 30.25,
        "high": 52.75,
        "n": 5,
        "p": 0.001,
        "p_holm": 0.002,
    }
    readings = [
        {"protocol": p, "verdict": verdict, "statistic": statistic, "n": 5, "direction": "as claimed"}
        for p in protocols
    ]
    return {
        "id": f"dpo-{number:02d}",
        "paper": "dpo",
        "figure": "dpo/fig01a",
        "where": "section 4.1",
        "statement": f"Statement number {number}",
        "verdict": verdict,
        "headline": number == 1,
        "flags": [],
        "sentence": f"{verdict}: DPO - IPPO: 41.5.",
        "readings": readings,
        "reason": None,
        "note": None,
        "paper_value": None,
        "comparable": "ordering",
        **more,
    }


def entry(value):
    return SimpleNamespace(value=value)


def project_at(root):
    """A project with the attributes that the report reads."""
    page = schema.Paper(**PAPER)
    keys = {f"dpo/{name}": spec for name, spec in page.figures.items()}
    budget = SimpleNamespace(env_steps=100_000, updates=None, seeds=(0, 1, 2, 3, 4))
    tier = SimpleNamespace(stamp="quick tier, 100k steps", environments={"stochastic_game": budget})
    dpo = SimpleNamespace(
        hyperparameters={"epochs": entry(15), "beta": entry(0.01)},
        variants={"code": SimpleNamespace(set={"beta": entry(1.0)})},
    )
    return SimpleNamespace(
        studies={},
        root=root,
        papers={"dpo": page},
        paper=lambda name: page,
        figures=lambda: keys,
        figure=lambda key: keys[key],
        tier=lambda name: tier,
        algorithm=lambda name: dpo,
    )


@pytest.fixture
def project(tmp_path):
    """Three figures, of which two are drawn; three claims, one of them not run."""
    whole = statistics(three())
    for row in whole["coverage"]["curves"]:
        row |= {
            "seeds_expected": [0, 1, 2, 3, 4],
            "seeds_found": [0, 1, 2, 3],
            "diverged": [2],
            "refused": ["seeds-4-4: refused: <changed>"],
            "commits": ["3fa9c2155555+"],
            "wall_seconds": 90.0,
            "steps_per_second": 12_345.6,
            "device": ["cpu"],
            "versions": [{"torch": "2.13.0"}],
            "hardware": [{"cpu": "a processor", "cores": 2}],
            "provenance": {"hyperparameters": {"actor_lr": "paper, table 2"}},
            "parameters": {"states": 100},
        }
    for key, content in (("dpo/fig01a", whole), ("dpo/sensitivity", grid_of_settings())):
        figures.draw(put(tmp_path, content, key), "quick", key)
    write_claims(tmp_path, [claim(1, protocols=("shared", "tuned")), claim(2, "NOT_REPRODUCED"), not_run(3)])
    (tmp_path / "results/tuning").mkdir()
    (tmp_path / "results/tuning/game.csv").write_text("algorithm,lr,score\ndpo,0.001,0.93\n")
    return project_at(tmp_path)


def not_run(number):
    found = claim(number, "NOT_RUN", reason="dpo/fig11 is planned, not part of this version")
    found["readings"] = [found["readings"][0] | {"statistic": None, "n": None, "direction": None}]
    return found


def write_claims(root, claims):
    path = root / "results/quick/claims.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"claims": claims}))


class Page(HTMLParser):
    """Tags with their attributes, open tags at the end, and the text."""

    VOID = ("meta", "img", "br", "link", "hr")

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words, self.crossed = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_report_is_well_formed_and_needs_nothing_from_outside(project):
    path = report.write(project, "quick")
    assert path == project.root / "results/quick/report.html"
    text = path.read_text()
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert not page.open
    assert not page.crossed
    assert not page.all("script")
    assert not page.all("link")
    links = [attrs[key] for _, attrs in page.tags for key in ("src", "href", "srcset", "action") if key in attrs]
    assert links
    assert all(link.startswith(("#", "data:image/")) for link in links)
    assert not re.search(r"url\(|@import|http-equiv", text)


def test_every_claim_stands_with_numbers_protocols_and_verdict(project):
    text = Page(report.render(project, "quick")).text
    for expected in ("dpo-01", "dpo-02", "dpo-03", "Statement number 1", "Statement number 2", "Statement number 3"):
        assert expected in text
    assert text.count("41.5 [30.25, 52.75]") == 3
    assert "tuned: reproduced" in text
    assert "is planned, not part of this version" in text
    assert "REPRODUCED 1 NOT REPRODUCED 1 NOT RUN 1" in text
    assert "3 claims of 1 paper; 2 of 3 figures drawn" in text


def test_pictures_tables_and_how_to_repeat(project):
    page = Page(report.render(project, "quick"))
    images = page.all("img")
    assert len(images) == 2
    assert all("Finals, mean and 95 % interval: " in image["alt"] for image in images)
    assert "DPO 400 [390, 410]" in images[0]["alt"]
    text = page.text
    assert "Not drawn at this tier yet: snakemake --cores all figures/quick/dpo/fig01b.svg" in text
    assert "epochs 15 15 15 T2" in text
    assert "beta 0.01 1 1 B" in text
    for expected in ("4 of 5", "3fa9c21555+", "12 346", "refused: <changed>", "paper, table 2", "torch 2.13.0", "0.93"):
        assert expected in text
    assert "A sketch" in text
    assert "snakemake --cores all --config tier=quick" in text


def test_tables_have_headers_captions_and_the_page_a_language(project):
    page = Page(report.render(project, "quick"))
    assert page.all("html") == [{"lang": "en"}]
    assert page.all("meta")[1]["name"] == "viewport"
    assert len(page.all("table")) == len(page.all("caption")) == len(page.all("thead")) > 5
    assert all("scope" in attrs for attrs in page.all("th"))
    identifiers = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(identifiers) == len(set(identifiers))
    assert {a["href"][1:] for a in page.all("a")} <= set(identifiers)


def test_names_cannot_inject_html(project):
    nasty = statistics(three())
    evil = '"><script>alert(1)</script>'
    nasty["panels"][0]["curves"][0]["label"] = nasty["coverage"]["curves"][0]["label"] = evil
    put(project.root, nasty)
    write_claims(project.root, [claim(1, statement=evil, sentence=evil)])
    text = report.render(project, "quick")
    assert "<script" not in text
    assert "A paper &lt;b&gt;" in text
    assert evil in Page(text).text


def test_same_inputs_same_bytes_and_no_run_folder_is_read(project):
    first = report.write(project, "quick").read_bytes()
    runs = project.root / "results/quick/runs/stochastic_game"
    runs.mkdir(parents=True)
    (runs / "manifest.json").write_text("not json")
    assert report.write(project, "quick").read_bytes() == first


def test_absent_or_damaged_claims_name_the_command(project):
    path = project.root / "results/quick/claims.json"
    path.write_text("[1]")
    with pytest.raises(RepriseError, match=r"damaged.*run: reprise claims --tier quick"):
        report.write(project, "quick")
    path.unlink()
    with pytest.raises(RepriseError, match="no such file; run: reprise claims --tier quick"):
        report.write(project, "quick")
    assert not (project.root / "results/quick/report.html").exists()


def test_hyperparameters_list_what_cells_change():
    found = tables.hyperparameter_tables([grid_of_settings()])
    dpo = next(table for table in found if table["algorithm"] == "dpo")
    assert ("copies", "2", "–") in dpo["rows"]
    assert ("dpo", "stochastic_game/s100n6a5", "copies", "10", "–") in dpo["changes"]
    assert not any(key == "actor_lr" for _, _, key, _, _ in dpo["changes"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (True, "yes"),
        (0.0005, "0.0005"),
        (100_000, "100\u202f000"),
        (2.0, "2"),
        (1 / 3, "0.3333"),
        ([1, "a"], "1, a"),
    ],
)
def test_numbers_for_people(value, expected):
    assert tables.number(value) == expected


def test_intervals_for_people():
    assert tables.interval({"mean": 1.5, "low": 1.0, "high": 2.0}) == "1.5 [1, 2]"
    assert tables.interval({"value": 0.25, "low": None, "high": None}) == "0.25"
    assert tables.interval(None) == "–"
