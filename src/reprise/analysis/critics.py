"""What figures say of critics beside returns: their sizes, what a number of parameters buys, what they cost.

The numbers come from the runs themselves by way of the coverage: `described` is what an algorithm says of its networks,
`seconds` and `peak_memory_mb` are what was measured of the processes that trained.
"""

from __future__ import annotations

import math

import numpy as np

from reprise.analysis import style
from reprise.analysis.figures import legend_name, legend_text
from reprise.analysis.sheet import Sheet
from reprise.errors import RepriseError

_FIXED = "\u00a0"  # a blank at which no line is broken
CRITICS = {"mf": "MF", "mlp": "MLP", "gcn": "GCN", "mf_a": "MF-A", "vdn": "VDN"}


def covered(statistics: dict, task: str, label: str) -> dict:
    """The coverage of one curve; {} where there is none."""
    found = (statistics.get("coverage") or {}).get("curves", ())
    return next((each for each in found if (each["panel"], each["label"]) == (task, label)), {})


def count(entry: dict) -> int | None:
    """The critic's number of trainable parameters in one run; None where its runs do not tell."""
    return (entry.get("described") or {}).get("critic_parameters")


def training_speed(entry: dict) -> float | None:
    """Env steps per second of rollouts and updates alone (no evaluations, checkpoints, start-up), summed over the runs
    that one process trained together; None where the runs do not tell."""
    seconds = entry.get("seconds") or {}
    spent = seconds.get("rollout", 0.0) + seconds.get("update", 0.0)
    return entry["steps_per_second"] * entry["wall_seconds"] / spent if spent else None


def sizes(statistics: dict, task: str, curves: list[dict]) -> str:
    """ "critic parameters: MF: 41,328 · MLP: 43,877" of the curves whose runs tell and whose critics are of the kinds
    that are compared; empty when none is."""
    known = []
    for curve in curves:
        entry = covered(statistics, task, curve["label"])
        size = count(entry)
        if size is not None and (entry.get("hyperparameters") or {}).get("critic") in CRITICS:
            known.append(f"{legend_name(curve)}: {size:,}".replace(" ", _FIXED))
    return f"critic parameters: {f'{_FIXED}· '.join(known)}" if known else ""


def parameters(statistics: dict):
    """A panel per task: the final return against the critic's number of parameters, a line per kind of critic, mean
    over seeds with its 95 % interval."""
    panels = statistics["panels"]
    families = _families(statistics)
    looks = style.lines([{**found[0][1], "label": kind} for kind, found in families.items()])
    texts = [legend_text(kind, [curve for _, curve, _ in found]) for kind, found in families.items()]
    columns = min(2, len(panels))
    sheet = Sheet(statistics, math.ceil(len(panels) / columns), columns, 1.9, texts, titles=len(panels) > 1)
    handles, series = {}, []
    for i, (axes, panel) in enumerate(zip(sheet.axes, panels, strict=False)):
        for kind, found in families.items():
            here = [(size, curve) for task, curve, size in found if task == panel["task"] and size]
            here.sort(key=lambda point: point[0])
            drawn = _points([size for size, _ in here], [curve["final_interval"] for _, curve in here])
            handles.setdefault(kind, _line(axes, drawn, looks[kind]))
            n = min((curve["n"] for _, curve in here), default=0)
            series.append({"panel": panel["task"], "label": kind, "n": n, **drawn})
        _logarithmic(axes.xaxis)
        axes.set_xlabel("critic parameters")
        if i % columns == 0:
            axes.set_ylabel("final return")
        if len(panels) > 1:
            axes.set_title(panel["task"].rsplit("/", 1)[-1], loc="left", pad=4)
    sheet.hide_from(len(panels))
    sheet.legend([handles[kind] for kind in families], texts)
    return sheet.figure, series


def cost(statistics: dict):
    """Against the number of agents: env steps per second of training, and the peak memory of the process that trained,
    a line per label."""
    labels = list(dict.fromkeys(curve["label"] for panel in statistics["panels"] for curve in panel["curves"]))
    curves = {label: [] for label in labels}
    for panel in statistics["panels"]:
        for curve in panel["curves"]:
            entry = covered(statistics, panel["task"], curve["label"])
            if curve["n"]:
                curves[curve["label"]].append((entry["parameters"]["agents"], curve, entry))
    looks = style.lines([curve for panel in statistics["panels"] for curve in panel["curves"]])
    counts = {label: {_batch(entry) for _, _, entry in found} for label, found in curves.items()}
    if any(len(each) > 1 for each in counts.values()):
        place = f"{statistics['paper']}/{statistics['figure']}"
        raise RepriseError(f"{place}: the numbers of runs or the batch sizes differ along a line; costs need the same")
    texts = [legend_text(label, [curve for _, curve, _ in found] or [{}]) for label, found in curves.items()]
    sheet = Sheet(statistics, 1, 2, 1.9, texts, titles=True, between=0.62)
    measures = {
        "env steps per second of training": training_speed,
        "peak memory of the process, MB": lambda entry: entry["peak_memory_mb"],
    }
    handles, series = {}, []
    for axes, (title, measure) in zip(sheet.axes, measures.items(), strict=True):
        for label, found in curves.items():
            known = sorted((agents, value) for agents, _, entry in found if (value := measure(entry)) is not None)
            drawn = _points([agents for agents, _ in known], [{"mean": value} for _, value in known])
            handles.setdefault(label, _line(axes, drawn, looks[label]))
            n = min((curve["n"] for _, curve, _ in found), default=0)
            series.append({"panel": title, "label": label, "n": n, **drawn})
        _logarithmic(axes.xaxis, sorted({agents for found in curves.values() for agents, _, _ in found}))
        _logarithmic(axes.yaxis)
        axes.set_xlabel("agents")
        axes.set_title(title, loc="left", pad=4)
    sheet.legend([handles[label] for label in labels], texts)
    return sheet.figure, series


def _families(statistics: dict) -> dict[str, list[tuple[str, dict, int | None]]]:
    """{critic: [(task, curve, number of parameters)]}, in the order of the config."""
    families: dict[str, list] = {}
    for panel in statistics["panels"]:
        for curve in panel["curves"]:
            entry = covered(statistics, panel["task"], curve["label"])
            kind = (entry.get("hyperparameters") or {}).get("critic")
            if kind is None:
                place = f"{statistics['paper']}/{statistics['figure']}"
                raise RepriseError(f"{place}: {curve['label']} has no hyperparameter 'critic'")
            families.setdefault(CRITICS.get(kind, kind), []).append((panel["task"], curve, count(entry)))
    return families


def _batch(entry: dict) -> tuple:
    """What must not change along a line of costs."""
    return len(entry["seeds_expected"]), (entry.get("hyperparameters") or {}).get("batch")


def _points(x: list, intervals: list[dict]) -> dict:
    return {"x": x, **{key: [each.get(key) for each in intervals] for key in ("mean", "low", "high")}}


def _line(axes, drawn: dict, look: style.Line):
    """Markers joined by a line, with intervals where there are any."""
    x = np.array(drawn["x"], dtype=float)
    mean, low, high = (np.array(drawn[key], dtype=float) for key in ("mean", "low", "high"))
    axes.vlines(x, low, high, color=look.color, linewidth=0.9)
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.4}
    drawn_as = {"color": look.color, "linestyle": look.dashes, "marker": look.marker, "markersize": 4}
    return axes.plot(x, mean, **drawn_as, **edge)[0]


def _logarithmic(axis, ticks: list | None = None) -> None:
    """A logarithmic axis with plain numbers: at ``ticks``, or at 1, 2 and 5 times powers of ten."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    axis.axes.set_xscale("log") if axis.axis_name == "x" else axis.axes.set_yscale("log")
    axis.set_major_locator(FixedLocator(ticks) if ticks else LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(style.si))
    axis.set_minor_formatter(NullFormatter())
    if ticks:
        axis.set_minor_locator(NullLocator())
