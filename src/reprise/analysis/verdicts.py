"""The rules that turn tests into verdicts: one part, all parts of a claim, all protocols of a headline claim.

REPRODUCED      significant in the claimed direction (p <= 0.05, Holm over a paper's headline claims) and as large as
                the claim asks; or equivalent within the stated margin; or no violation
PARTLY          the direction holds, the size does not; or the protocols disagree; or some parts hold and some fail
NOT_REPRODUCED  significant in the other direction, or the claimed size lies outside the interval
INCONCLUSIVE    none of these, too few seeds, a tier below the one that may judge, or a headline claim with a protocol
                that was not run; the direction seen is kept
NOT_COMPARABLE  a number of the paper that ours cannot be held against
NOT_RUN         no statistics
INVALID         refused runs, or statistics of another config
"""

from __future__ import annotations

from reprise.analysis.evidence import Part
from reprise.analysis.inference import Test

VERDICTS = ("REPRODUCED", "PARTLY", "NOT_REPRODUCED", "INCONCLUSIVE", "NOT_COMPARABLE", "NOT_RUN", "INVALID")
ALPHA = 0.05


def part_verdict(part: Part, p: float | None) -> str:
    """The verdict of one test, ``p`` being its p-value after any correction."""
    test = part.test
    if part.kind == "count":
        return "INCONCLUSIVE" if test.n == 0 else "REPRODUCED" if test.value == 0 else "NOT_REPRODUCED"
    if part.kind == "inside":
        return _inside(test, part.bounds)
    if p is None or test.value is None:
        return "INCONCLUSIVE"
    if part.kind == "within":
        return "REPRODUCED" if p <= ALPHA else "NOT_REPRODUCED" if part.outside else "INCONCLUSIVE"
    if p <= ALPHA and test.value > part.null:
        return "REPRODUCED" if test.value >= part.size else "PARTLY"
    reversed_ = p <= ALPHA and test.value < part.null
    too_small = part.size > part.null and test.high is not None and test.high < part.size
    return "NOT_REPRODUCED" if reversed_ or too_small else "INCONCLUSIVE"


def _inside(test: Test, bounds: tuple[float, float]) -> str:
    if test.low is None or test.high is None:
        return "INCONCLUSIVE"
    if bounds[0] <= test.low and test.high <= bounds[1]:
        return "REPRODUCED"
    return "NOT_REPRODUCED" if test.high < bounds[0] or test.low > bounds[1] else "INCONCLUSIVE"


def all_of(verdicts: list[str]) -> str:
    """The verdict of a claim whose parts must all hold."""
    have = set(verdicts)
    if len(have) == 1:
        return verdicts[0]
    if "NOT_REPRODUCED" in have:
        return "PARTLY" if "REPRODUCED" in have else "NOT_REPRODUCED"
    return "INCONCLUSIVE" if "INCONCLUSIVE" in have else "PARTLY"


def over_protocols(verdicts: list[str]) -> str:
    """The verdict of a headline claim: its first protocol's, unless another one flips it (PARTLY) or has yet to be run:
    who has not looked under every protocol that matters cannot say that the claim holds, or fails, under all."""
    held, failed = {"REPRODUCED", "PARTLY"} & set(verdicts), "NOT_REPRODUCED" in verdicts
    if held and failed:
        return "PARTLY"
    settled = {"REPRODUCED", "PARTLY", "NOT_REPRODUCED"}
    if verdicts[0] in settled and {"NOT_RUN", "INVALID"} & set(verdicts[1:]):
        return "INCONCLUSIVE"
    return verdicts[0]


def direction(parts: list[Part]) -> str:
    """Which way the estimates point, whatever their certainty."""
    signs = [_points(part) for part in parts]
    if all(signs):
        return "as claimed"
    return "mixed" if any(signs) else "against the claim"


def _points(part: Part) -> bool:
    value = part.test.value
    if value is None:
        return False
    if part.kind == "within":
        return abs(value) < part.size
    if part.kind == "inside":
        return part.bounds[0] <= value <= part.bounds[1]
    return value == 0 if part.kind == "count" else value > part.null
