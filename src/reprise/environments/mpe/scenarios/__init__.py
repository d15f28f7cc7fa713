"""The tasks played in the world: what is in it, where it starts, what is seen and what is rewarded."""

from reprise.environments.mpe.scenarios.circle_control import CircleControl
from reprise.environments.mpe.scenarios.cooperative_navigation import CooperativeNavigation
from reprise.environments.mpe.scenarios.cooperative_push import CooperativePush
from reprise.environments.mpe.scenarios.line_control import LineControl
from reprise.environments.mpe.scenarios.simple_spread import SimpleSpread
from reprise.environments.mpe.scenarios.simple_spread_original import SimpleSpreadOriginal

SCENARIOS = {
    "simple_spread": SimpleSpread,
    "simple_spread_original": SimpleSpreadOriginal,
    "line_control": LineControl,
    "circle_control": CircleControl,
    "cooperative_navigation": CooperativeNavigation,
    "cooperative_push": CooperativePush,
}

__all__ = ["SCENARIOS"]
