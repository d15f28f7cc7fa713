"""Parts of claims that one panel's finals cannot tell: leads along the number of agents, and what training costs."""

from __future__ import annotations

from reprise.analysis import inference
from reprise.analysis.evidence import Absent, Panel, Part, critic_parameters, number, pairs
from reprise.analysis.inference import Test
from reprise.analysis.ledger import Claim, Reading


def parts(claim: Claim, reading: Reading, found: list[Panel]) -> list[Part]:
    """Every test that a claim of one of the `KINDS` needs. Absent when the panels cannot tell."""
    return KINDS[claim.kind](claim, reading, found)


def _gap(claim: Claim, reading: Reading, found: list[Panel]) -> list[Part]:
    """Per robot and pair: the least-squares slope of the lead (difference of mean finals) on the number of agents.

    The seeds of all its tasks are independent samples, so the slope is a contrast of their means.
    """
    made = []
    for robot, panels in _robots(found).items():
        agents = [_agents(panel, reading.names()[0]) for panel in panels]
        centre = sum(agents) / len(agents)
        spread = sum((each - centre) ** 2 for each in agents)
        if spread == 0:
            continue
        slopes = [(each - centre) / spread for each in agents]
        for one, two in pairs(reading):
            samples = [panel.samples(one, two) for panel in panels]
            groups = [each[side] for side in (0, 1) for each in samples]
            test = inference.contrast(groups, [*slopes, *(-slope for slope in slopes)], "slope per agent")
            leads = ", ".join(
                f"{sum(a) / len(a) - sum(b) / len(b):.4g} ({count} agents)"
                for count, (a, b) in sorted(zip(agents, samples, strict=True), key=lambda pair: pair[0])
            )
            made.append(Part("above", f"{robot}: lead of {one} over {two} {leads}", test))
    if not made:
        raise Absent("NOT_RUN", "no two panels differ in the number of agents alone")
    return made


def _robots(found: list[Panel]) -> dict[str, list[Panel]]:
    """The panels of tasks that differ in nothing but how the work is dealt out: `mamujoco/Ant-2x4`, `-4x2`, `-8x1`."""
    robots: dict[str, list[Panel]] = {}
    for panel in found:
        robots.setdefault(panel.task.rpartition("-")[0], []).append(panel)
    return robots


def _agents(panel: Panel, name: str) -> int:
    agents = (panel.covered[name].get("parameters") or {}).get("agents")
    if agents is None:
        raise Absent("INVALID", f"{panel.task}: the coverage does not tell the number of agents")
    return agents


def _costs(claim: Claim, reading: Reading, found: list[Panel]) -> list[Part]:
    """Per panel and pair: whether one costs more than the other, by the ratio `effect` where the claim has one.

    One process per curve and panel: a number without an interval.
    """
    made, least = [], claim.effect.value if claim.effect else 1.0
    for panel in found:
        for one, two in pairs(reading):
            a, b = (_cost(panel, name, claim.metric) for name in (one, two))
            test = Test("violations", float(a / b <= least), None, None, 1, None)
            text = f"{claim.metric} on {panel.task}: {one} {number([a])}, {two} {number([b])}, ratio {a / b:.3g}"
            made.append(Part("count", text, test))
    return made


def _cost(panel: Panel, name: str, metric: str) -> float:
    """Critic parameters of a run; seconds of updates per thousand env steps and MB of peak memory of the process."""
    if metric == "critic_parameters":
        return float(critic_parameters(panel, name))
    entry = panel.covered[name]
    if metric == "peak_memory_mb" and entry.get("peak_memory_mb"):
        return float(entry["peak_memory_mb"])
    if metric == "update_seconds" and (entry.get("seconds") or {}).get("update"):
        return entry["seconds"]["update"] / (entry["steps_per_second"] * entry["wall_seconds"]) * 1000.0
    raise Absent("INVALID", f"{panel.task}: the runs of {name} do not tell their {metric}")


KINDS = {"gap": _gap, "costs": _costs}
