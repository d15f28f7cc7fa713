"""What `sensitivity` and `games` figures compare: which hyperparameters vary, and which finals are pairs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from reprise.errors import RepriseError

_NAMES = {"copies": "episodes per update", "entropy": "entropy coefficient", "gae_lambda": "GAE λ", "gamma": "γ"}


def common_name(key: str) -> str:
    """A hyperparameter's key in words."""
    return _NAMES.get(key, key.replace("_", " "))


@dataclass(frozen=True)
class Factors:
    """A full factorial reading of a figure.

    ``order``: the varied keys; ``tasks``; ``series``: curves by algorithm; ``values``: the levels of each key by curve.
    """

    order: list[str]
    tasks: list[str]
    series: dict[str, list[dict]]
    values: dict[tuple[str, str], dict]  # (task, label) -> {key: level}

    def levels(self, keys: list[str]) -> list[tuple]:
        """Every combination of the levels of ``keys``, sorted; [()] for no key."""
        found = [
            sorted({values[key] for values in self.values.values()}, key=lambda v: (str(type(v)), v)) for key in keys
        ]
        return list(product(*found))

    def points(self, task: str, name: str, first: str, places: list, others: list[str], rest: tuple) -> dict:
        """Finals of ``name`` along ``first`` with ``others`` held at ``rest``: {n, n_each, mean, low, high}, lists
        as long as ``places``, None where the figure has no such cell."""
        at = {}
        for curve in self.series[name]:
            values = self.values.get((curve["task"], curve["label"]))
            if values and curve["task"] == task and tuple(values[key] for key in others) == rest:
                at[values[first]] = curve
        finals = [(at.get(place) or {}).get("final_interval") or {} for place in places]
        counts = [int((at.get(place) or {}).get("n") or 0) for place in places]
        return {"n": min(counts, default=0), "n_each": counts} | {
            k: [f.get(k) for f in finals] for k in ("mean", "low", "high")
        }


def factors(statistics: dict) -> Factors:
    """The keys whose values form the same grid (>= 2 levels) for every algorithm compared.

    A key that only tells two algorithms apart (the KL switch of IPPO-KL beside IPPO) is no factor. Curves of one
    algorithm that share all their other varying values are one series, named by what their labels begin with.
    """
    curves = [{**curve, "task": panel["task"]} for panel in statistics["panels"] for curve in panel["curves"]]
    hyper = {
        (c["panel"], c["label"]): c["hyperparameters"] for c in (statistics.get("coverage") or {}).get("curves", ())
    }
    known = {(c["task"], c["label"]): hyper.get((c["task"], c["label"])) or {} for c in curves}
    by_algorithm: dict[str, list[dict]] = {}
    for curve in curves:
        by_algorithm.setdefault(curve["algorithm"], []).append(known[curve["task"], curve["label"]])
    keys = dict.fromkeys(key for values in known.values() for key, value in values.items() if _scalar(value))
    order = []
    for key in keys:
        seen = [{values.get(key) for values in group if _scalar(values.get(key))} for group in by_algorithm.values()]
        if len(seen[0]) >= 2 and all(levels == seen[0] for levels in seen):
            order.append(key)
    if not order:
        place = f"{statistics['paper']}/{statistics['figure']}"
        raise RepriseError(
            f"{place}: a sensitivity figure needs a hyperparameter that varies alike in all its algorithms"
        )
    series: dict[tuple, list[dict]] = {}
    for curve in curves:
        values = known[curve["task"], curve["label"]]
        rest = {
            k: v
            for k, v in values.items()
            if k not in order and len({str(g.get(k)) for g in by_algorithm[curve["algorithm"]]}) > 1
        }
        series.setdefault((curve["algorithm"], tuple(sorted((k, str(v)) for k, v in rest.items()))), []).append(curve)
    named = {_stem([curve["label"] for curve in found]) or algorithm: found for (algorithm, _), found in series.items()}
    values = {
        name: {key: value[key] for key in order} for name, value in known.items() if all(key in value for key in order)
    }
    order = sorted(order, key=lambda key: -len({v[key] for v in values.values()}))
    return Factors(order, list(dict.fromkeys(c["task"] for c in curves)), named, values)


def _scalar(value) -> bool:
    return isinstance(value, (int, float, str))


def _stem(labels: list[str]) -> str:
    """What all ``labels`` begin with, without the digits and punctuation where they part."""
    first, last = min(labels), max(labels)
    same = next((i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[:same].rstrip(" ,;:|(=-0123456789.")


def paired_games(statistics: dict) -> tuple[list[dict], list[str], list[list[float]]]:
    """(curves, games, scores): finals on the scale 0 uniform policy, 1 optimum, of every game that all curves finished.

    A game is a seed of a panel; scores[i][j] is the normalised final of curve i in game j. Games are sorted by the
    difference of the first two curves.
    """
    place = f"{statistics['paper']}/{statistics['figure']}"
    panels = statistics["panels"]
    if any("normalised" not in curve or len(panel["curves"]) < 2 for panel in panels for curve in panel["curves"]):
        raise RepriseError(f"{place}: a games figure needs two curves or more, each with normalised finals")
    curves = panels[0]["curves"] if panels else []
    games = []
    for panel in panels:
        finals = [curve["normalised"]["final"] for curve in panel["curves"]]
        for seed in finals[0]:
            scores = [final.get(seed) for final in finals]
            if None not in scores:
                name = str(seed) if len(panels) == 1 else f"{panel['task']} {seed}"
                games.append((scores[0] - scores[1], name, scores))
    games.sort(key=lambda game: game[:2])
    return curves, [name for _, name, _ in games], [[game[2][i] for game in games] for i in range(len(curves))]
