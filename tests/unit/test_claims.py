"""The judge on made-up statistics: every kind, the limits on verdicts, protocols, Holm, and faults in the ledger."""

import json

import config_tree
import numpy as np
import pytest

from reprise.analysis import claims, evidence, ledger, verdicts
from reprise.analysis.inference import Test
from reprise.errors import RepriseError
from reprise.experiments import config

TASKS = ("grid_world/small", "grid_world/large")
SIZE = "{value: 0.01, unit: fraction, reason: r}"
SEEDS = range(5)


def claim(
    identity="demo-1", kind="ordering", extra="", reading="more: [alpha], less: [beta]", figure="demo/fig01", more=""
):
    needed = f"effect: {SIZE}," if kind in ("ordering", "learned") else ""
    return (
        f"  - {{id: {identity}, where: w, statement: s, kind: {kind}, lowest_tier: quick, min_seeds: 3, {needed}"
        f" {extra} comparable: ordering, readings: [{{protocol: shared, figure: {figure}, {reading}}}{more}]}}\n"
    )


@pytest.fixture
def root(tmp_path):
    config_tree.write(tmp_path)
    metrics = "metric: return\n    training_metrics: [kl]\n"
    config_tree.edit(tmp_path, "papers/demo.yaml", "metric: return\n", metrics)
    return tmp_path


def load(root, *entries):
    path = root / "config/claims/demo.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("paper: demo\nsource: s\nclaims:\n" + "".join(entries))
    return config.load(root)


def curve(project, name, task, finals, tier="quick", **other):
    cell = config.resolve(project, task, name, tier)
    per_seed = {str(seed): float(value) for seed, value in zip(SEEDS, finals, strict=False)}
    zeros = dict.fromkeys(per_seed, 0.0)
    entry = {"label": name, "cell": cell.name, "setting": cell.setting or "", "hash": cell.hash, "diverged": 0}
    entry |= {"n": len(per_seed), "n_expected": len(per_seed), "x": [0, 1000], "final": per_seed, "first": zeros}
    entry |= {"auc": per_seed, "fluctuation": per_seed, "steps_to_90": per_seed}
    entry |= {"training": {"kl": {"final": per_seed}}, "normalised": {"final": per_seed}}
    return entry | other


def write(project, finals, figure="demo/fig01", tier="quick", kind="curves", refused=(), tasks=TASKS, **other):
    panels = []
    for task in tasks:
        curves = [curve(project, name, task, values, tier, **other) for name, values in finals.items()]
        references = {"optimum": {"mean": 100.0}, "uniform": {"mean": 0.0}}
        panels.append({"task": task, "references": references, "curves": curves})
    covered = [{"panel": p["task"], "hash": c["hash"], "refused": list(refused)} for p in panels for c in p["curves"]]
    content = {"panels": panels, "coverage": {"spec": {"kind": kind}, "curves": covered}}
    path = project.root / f"results/{tier}/statistics/{figure}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return content


def judged(project, tier="quick"):
    found = json.loads(claims.judge(project, tier)[0].read_text())["claims"]
    return found[0] if len(found) == 1 else found


HIGH, LOW = [50, 52, 51, 49, 53], [30, 31, 29, 32, 30]


def test_ordering_both_ways(root):
    project = load(root, claim())
    write(project, {"alpha": HIGH, "beta": LOW})
    found = judged(project)
    assert found["verdict"] == "REPRODUCED"
    assert found["statistic"]["value"] == pytest.approx(np.mean(HIGH) - np.mean(LOW))
    assert found["statistic"]["low"] < found["statistic"]["value"] < found["statistic"]["high"]
    assert found["n"] == 5
    assert len(found["parts"]) == 2  # a part per panel
    assert found["parts"][0]["beside"]["probability of improvement"]["value"] == 1.0
    assert "alpha 51 vs beta 30.4" in found["sentence"]
    write(project, {"alpha": LOW, "beta": HIGH})
    found = judged(project)
    assert (found["verdict"], found["direction"]) == ("NOT_REPRODUCED", "against the claim")


def test_ordering_that_holds_on_one_panel_only_is_partly(root):
    project = load(root, claim())
    write(project, {"alpha": HIGH, "beta": LOW})
    path = project.root / "results/quick/statistics/demo/fig01.json"
    content = json.loads(path.read_text())
    content["panels"][1]["curves"][0]["final"] = content["panels"][1]["curves"][1]["final"] | {"0": -500.0, "1": -600.0}
    content["panels"][1]["curves"][0]["final"] = {str(s): -50.0 - s for s in SEEDS}
    path.write_text(json.dumps(content))
    assert judged(project)["verdict"] == "PARTLY"


def test_a_difference_smaller_than_claimed_is_partly(root):
    project = load(root, claim())
    write(project, {"alpha": [30.5, 30.6, 30.4, 30.5, 30.5], "beta": [30.0, 30.1, 29.9, 30.0, 30.0]})
    assert judged(project)["verdict"] == "PARTLY"  # 0.5 of the 1.0 asked for


def test_noise_is_inconclusive(root):
    project = load(root, claim())
    write(project, {"alpha": [50, 20, 40, 10, 30], "beta": [45, 15, 35, 12, 25]})
    assert judged(project)["verdict"] == "INCONCLUSIVE"


def test_null_and_power_of_the_whole_judge(root):
    """Same algorithm twice: at most 5 % REPRODUCED. An effect of 2.25 standard deviations: at least 80 %."""
    project = load(root, claim())
    panel_of = config.resolve(project, TASKS[0], "alpha", "quick")
    rng = np.random.default_rng(0)
    spec = ledger.load(project)["demo"].claims[0]
    reading = spec.readings[0]

    def rate(shift, trials):
        passed = 0
        for _ in range(trials):
            curves = {
                "alpha": curve(project, "alpha", panel_of.task, rng.normal(50 + shift, 10, 5)),
                "beta": curve(project, "beta", panel_of.task, rng.normal(50, 10, 5)),
            }
            levels = {"optimum": {"mean": 100.0}, "uniform": {"mean": 0.0}}
            parts = evidence.parts(spec, reading, [evidence.Panel(panel_of.task, curves, levels, False)])
            passed += verdicts.all_of([verdicts.part_verdict(p, p.test.p) for p in parts]) == "REPRODUCED"
        return passed / trials

    assert rate(0.0, 400) <= 0.05
    assert rate(22.5, 400) >= 0.80


def test_below_the_lowest_tier_only_the_direction_is_told(root):
    project = load(root, claim().replace("lowest_tier: quick", "lowest_tier: paper"))
    write(project, {"alpha": HIGH, "beta": LOW})
    found = judged(project)
    assert (found["verdict"], found["direction"]) == ("INCONCLUSIVE", "as claimed")
    assert "below 'paper'" in found["reason"]


def test_missing_and_too_few_seeds_are_inconclusive(root):
    project = load(root, claim())
    write(project, {"alpha": HIGH, "beta": LOW}, n_expected=6)
    assert "5 of 6 seeds" in judged(project)["reason"]
    write(project, {"alpha": HIGH[:2], "beta": LOW[:2]})
    found = judged(project)
    assert found["verdict"] == "INCONCLUSIVE"
    assert "3 are needed" in found["reason"]


def test_refused_runs_and_stale_statistics_are_invalid(root):
    project = load(root, claim())
    write(project, {"alpha": HIGH, "beta": LOW}, refused=["sha256 differs"])
    assert judged(project)["verdict"] == "INVALID"
    write(project, {"alpha": HIGH, "beta": LOW}, hash="0" * 64)
    assert judged(project)["verdict"] == "INVALID"


def test_absent_figures_curves_and_runs_are_not_run(root):
    project = load(root, claim())
    assert judged(project)["verdict"] == "NOT_RUN"
    write(project, {"alpha": HIGH})
    assert judged(project)["verdict"] == "NOT_RUN"
    write(project, {"alpha": HIGH, "beta": []})
    assert judged(project)["verdict"] == "NOT_RUN"


def test_diverged_runs_are_flagged(root):
    project = load(root, claim())
    write(project, {"alpha": HIGH, "beta": LOW}, diverged=1)
    assert "diverged_runs" in judged(project)["flags"]


def test_a_headline_that_flips_between_protocols_is_partly(root):
    tuned = ", {protocol: tuned, figure: demo/fig03, more: [alpha@no_root], less: [alpha@target1]}"
    project = load(root, claim(extra="headline: true,", more=tuned))
    write(project, {"alpha": HIGH, "beta": LOW})
    found = judged(project)
    assert (found["verdict"], found["reason"]) == ("INCONCLUSIVE", "protocol tuned not judged at this tier")
    write(project, {"alpha@no_root": LOW, "alpha@target1": HIGH}, "demo/fig03", tasks=TASKS[:1])
    found = judged(project)
    assert found["verdict"] == "PARTLY"
    assert [r["verdict"] for r in found["readings"]] == ["REPRODUCED", "NOT_REPRODUCED"]
    assert "flips_between_protocols" in found["flags"]
    assert "[shared]" in found["sentence"]
    assert "[tuned]" in found["sentence"]


def test_holm_over_headline_claims_only(root):
    alone = [40.0, 44.0, 37.0, 43.0, 41.0], [34.0, 38.0, 33.0, 36.0, 39.0]
    entries = [claim(f"demo-{i}", extra="headline: true,") for i in range(20)]
    project = load(root, *entries, claim("demo-x"))
    write(project, {"alpha": alone[0], "beta": alone[1]}, tasks=TASKS[:1])
    found = judged(project)
    assert found[-1]["verdict"] == "REPRODUCED"
    assert found[0]["verdict"] == "INCONCLUSIVE"
    assert found[0]["statistic"]["p_holm"] == pytest.approx(min(1, 20 * found[0]["statistic"]["p"]))


@pytest.mark.parametrize(
    ("kind", "extra", "reading", "good", "bad"),
    [
        ("variance", "", "more: [alpha], less: [beta]", {"alpha": [0, 90, 40, 10, 70], "beta": LOW}, None),
        ("fluctuation", "", "more: [alpha], less: [beta]", {"alpha": HIGH, "beta": LOW}, {"alpha": LOW, "beta": HIGH}),
        ("speed", "", "more: [beta], less: [alpha]", {"alpha": HIGH, "beta": LOW}, {"alpha": LOW, "beta": HIGH}),
        (
            "equivalence",
            "margin: {value: 5, unit: return, reason: r},",
            "curves: [alpha, beta]",
            {"alpha": LOW, "beta": [31, 30, 30, 29, 32]},
            {"alpha": HIGH, "beta": LOW},
        ),
        (
            "spread",
            "margin: {value: 0.05, unit: fraction, reason: r},",
            "curves: [alpha, beta]",
            {"alpha": LOW, "beta": [31, 30, 30, 29, 32]},
            {"alpha": HIGH, "beta": LOW},
        ),
        (
            "below_reference",
            "reference: optimum,",
            "curves: [alpha]",
            {"alpha": LOW},
            {"alpha": [104, 105, 106, 105, 104]},
        ),
        ("learned", "", "curves: [alpha]", {"alpha": HIGH}, {"alpha": [-9, -8, -9, -7, -8]}),
        (
            "trend",
            "metric: kl, trend: rises,",
            "curves: [beta, alpha]",
            {"alpha": HIGH, "beta": LOW},
            {"alpha": LOW, "beta": HIGH},
        ),
        (
            "trend",
            "metric: kl, trend: falls,",
            "curves: [alpha, beta]",
            {"alpha": HIGH, "beta": LOW},
            {"alpha": LOW, "beta": HIGH},
        ),
    ],
)
def test_every_kind_can_hold_and_fail(root, kind, extra, reading, good, bad):
    project = load(root, claim(kind=kind, extra=extra, reading=reading))
    write(project, good, tasks=TASKS[:1])
    assert judged(project)["verdict"] == "REPRODUCED"
    write(project, bad or {"alpha": good["beta"], "beta": good["alpha"]}, tasks=TASKS[:1])
    assert judged(project)["verdict"] == "NOT_REPRODUCED"


def test_games_are_paired_and_normalised(root):
    project = load(root, claim())
    base = np.array([0.1, 0.9, 0.4, 0.6, 0.2])
    write(
        project, {"alpha": base + np.array([0.05, 0.06, 0.04, 0.05, 0.05]), "beta": base}, kind="games", tasks=TASKS[:1]
    )
    found = judged(project)
    assert found["verdict"] == "REPRODUCED"  # unpaired, the spread over games would hide it
    assert found["statistic"]["value"] == pytest.approx(0.05)


def test_a_value_of_another_environment_is_not_comparable(root):
    project = load(root, claim(kind="value", extra="interval: [40.0, 60.0],", reading="curves: [alpha]"))
    write(project, {"alpha": HIGH})
    assert judged(project)["verdict"] == "NOT_COMPARABLE"


def test_studies_count_violations_and_hold_rates_against_intervals(root):
    project = load(
        root,
        claim("demo-1", "bound", "metric: lemma,", ""),
        claim("demo-2", "rate", "metric: slope, interval: [-0.6, -0.4],", ""),
    )
    content = write(project, {"alpha": HIGH})
    path = project.root / "results/quick/statistics/demo/fig01.json"
    for violations, slope, expected in [(0, -0.5, "REPRODUCED"), (1, -0.2, "NOT_REPRODUCED")]:
        rate = {"value": slope, "low": slope - 0.02, "high": slope + 0.02, "n": 3}
        content["studies"] = {"lemma": {"violations": violations, "checked": 100}, "slope": rate}
        path.write_text(json.dumps(content))
        assert [c["verdict"] for c in judged(project)] == [expected] * 2


def test_metrics_count_every_verdict_and_bytes_repeat(root):
    project = load(root, claim(), claim("demo-2", figure="demo/later", extra="planned: true,"))
    write(project, {"alpha": HIGH, "beta": LOW})
    paths = claims.judge(project, "quick")
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in claims.judge(project, "quick")] == before
    counts = json.loads(before[1])
    assert counts["demo_REPRODUCED"] == counts["demo_NOT_RUN"] == 1
    assert sum(counts.values()) == 2


def test_hashes_say_what_was_judged_on(root):
    project = load(root, claim())
    write(project, {"alpha": HIGH, "beta": LOW})
    first = judged(project)["hashes"]
    assert set(first) == {"config/claims/demo.yaml", "statistics/demo/fig01.json"}
    write(project, {"alpha": HIGH, "beta": [1.0, *LOW[1:]]})
    assert judged(project)["hashes"]["statistics/demo/fig01.json"] != first["statistics/demo/fig01.json"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("statement: s", "statemnt: s", "nearest: 'statement'"),
        ("kind: ordering", "kind: orderin", "nearest: 'ordering'"),
        ("demo/fig01", "demo/fig1", "nearest: 'demo/fig01'"),
        ("[beta]", "[bta]", "nearest: 'beta'"),
        ("[beta]", "[alpha@slow]", "unknown curve 'alpha@slow'"),
        ("more: [alpha], ", "", "compares 'more' with 'less'"),
        (f"effect: {SIZE},", "", "needs 'effect'"),
        ("paper: demo", "paper: demi", "must be the file's name"),
    ],
)
def test_faults_in_the_ledger_are_named(root, old, new, message):
    project = load(root, claim())
    path = root / "config/claims/demo.yaml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RepriseError, match=r"config/claims/demo\.yaml") as caught:
        ledger.load(project)
    assert message in str(caught.value)


def test_ids_are_unique(root):
    project = load(root, claim(), claim())
    with pytest.raises(RepriseError, match="'demo-1' stands twice"):
        ledger.load(project)


def test_the_shipped_ledgers_load_and_cover_the_figures(repository_root):
    project = config.load(repository_root)
    pages = ledger.load(project)
    assert set(pages) == {"dpo", "hatrpo", "mfppo", "zhao"}
    named = {reading.figure for c in pages["dpo"].claims for reading in c.readings}
    assert {
        f"dpo/{name}" for name in ("fig01a", "fig01b", "fig08", "fig09", "games", "tuned", "code_vs_paper")
    } <= named
    assert all(c.lowest_tier == "paper" for c in pages["dpo"].claims if c.headline)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["REPRODUCED", "REPRODUCED"], "REPRODUCED"),
        (["REPRODUCED", "NOT_REPRODUCED"], "PARTLY"),
        (["REPRODUCED", "INCONCLUSIVE"], "INCONCLUSIVE"),
        (["NOT_REPRODUCED", "INCONCLUSIVE"], "NOT_REPRODUCED"),
        (["REPRODUCED", "PARTLY"], "PARTLY"),
    ],
)
def test_a_conjunction_is_as_strong_as_its_parts(parts, expected):
    assert verdicts.all_of(parts) == expected


def test_an_undecidable_part_is_inconclusive():
    nothing = Test("t", None, None, None, 1, None)
    assert verdicts.part_verdict(evidence.Part("above", "x", nothing), None) == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("found", "overall"),
    [
        (["REPRODUCED"], "REPRODUCED"),
        (["REPRODUCED", "REPRODUCED", "INCONCLUSIVE"], "REPRODUCED"),
        (["REPRODUCED", "NOT_REPRODUCED"], "PARTLY"),
        (["NOT_REPRODUCED", "PARTLY"], "PARTLY"),
        (["REPRODUCED", "REPRODUCED", "NOT_RUN"], "INCONCLUSIVE"),
        (["NOT_REPRODUCED", "INVALID"], "INCONCLUSIVE"),
        (["INCONCLUSIVE", "NOT_RUN"], "INCONCLUSIVE"),
        (["NOT_RUN", "NOT_RUN"], "NOT_RUN"),
    ],
)
def test_a_headline_claim_needs_every_protocol(found, overall):
    assert verdicts.over_protocols(found) == overall


def test_an_ordering_of_areas_is_judged_on_areas(root):
    project = load(root, claim(extra="metric: auc,"))
    areas = [dict(zip(map(str, SEEDS), values, strict=True)) for values in (LOW, HIGH)]
    content = write(project, {"alpha": HIGH, "beta": LOW})
    for panel in content["panels"]:
        for each, auc in zip(panel["curves"], areas, strict=True):
            each["auc"] = auc
    (project.root / "results/quick/statistics/demo/fig01.json").write_text(json.dumps(content))
    found = judged(project)
    assert (found["verdict"], found["direction"]) == ("NOT_REPRODUCED", "against the claim")
    assert "(areas under the curve)" in found["sentence"]
    assert found["parts"][0]["beside"]["difference of finals"]["value"] > 0


def test_one_to_one_compares_pairs_only(root):
    names = ["alpha@target0.1", "alpha@target0.2", "alpha@target1"]
    finals = dict(zip(names, ([50, 51, 52], [30, 31, 32], [10, 11, 12]), strict=True))
    pairs = "more: ['alpha@target0.1', 'alpha@target0.2'], less: ['alpha@target0.2', 'alpha@target1']"
    project = load(root, claim(reading=f"one_to_one: true, {pairs}", figure="demo/fig02"))
    write(project, finals, figure="demo/fig02", tasks=TASKS[:1])
    found = judged(project)
    assert found["verdict"] == "REPRODUCED"
    assert [part["compared"].split()[0] for part in found["parts"]] == names[:2]
    with pytest.raises(RepriseError, match="one_to_one: 'more' and 'less' must be equally long"):
        ledger.load(load(root, claim(reading="one_to_one: true, more: [alpha], less: [beta, alpha]")))


@pytest.mark.parametrize(("second", "verdict"), [(1099, "REPRODUCED"), (1101, "NOT_REPRODUCED")])
def test_sizes_are_the_largest_over_the_smallest(root, second, verdict):
    margin = "margin: {value: 0.1, unit: ratio, reason: r},"
    project = load(root, claim(kind="sizes", extra=margin, reading="curves: [alpha, beta]"))
    content = write(project, {"alpha": HIGH, "beta": LOW})
    for each, size in zip(content["coverage"]["curves"], [1000, second] * 2, strict=True):
        each["described"] = {"critic_parameters": size}
    path = project.root / "results/quick/statistics/demo/fig01.json"
    path.write_text(json.dumps(content))
    found = judged(project)
    assert found["verdict"] == verdict
    assert f"beta {second:,}" in found["sentence"]
    del content["coverage"]["curves"][0]["described"]
    path.write_text(json.dumps(content))
    assert judged(project)["verdict"] == "INVALID"


def test_an_ordering_of_something_else_is_refused(root):
    with pytest.raises(RepriseError, match="compares the metric 'final' or 'auc', not 'kl'"):
        ledger.load(load(root, claim(extra="metric: kl,")))
