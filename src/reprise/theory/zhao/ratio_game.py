"""Appendix E of Zhao et al.: sequential updates against independent policy gradient on the ratio game, six panels.

All panels advance together; exact gradients, no randomness. Methods, each updating both agents from the same iterate
with the panel's step eta:

released     the released code (main.py): theta_a += eta V(e_a, y), z_a[b] += eta V(e_a, e_b), y the *marginal* of agent
             2, and the plotted value is that of the product of the marginals, not of the policy that is learnt;
conditional  the same with agent 2's conditional policy z_a in agent 1's values, and the value of the true joint policy;
localised    section 4's localised action values instead of V of keeping to an action for ever: Q = r + (1 - stop) V;
independent  independent softmax policy gradient (the paper's baseline);
natural      independent agents with the released step, theta_a += eta V(e_a, y), y_b += eta V(x, e_b): not in the
             paper; it tells the step (multiplicative weights) from the policy class;
wrong_agent  planted error: as conditional, but every agent is given the other one's values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from reprise.environments import ratio_game as game
from reprise.theory.study import Parameters, Records

PANELS = "abcdef"
PARTS = np.array(
    [1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4]
)  # of the iterations: where the settings' table is kept, and the end
LEVELS = (0.9, 0.99)
DRAWN = 200  # iterations recorded per curve, and blocks of iterations of which a margin's minimum is kept


class State(NamedTuple):
    """Logits per panel: agent 1 [P, 2]; agent 2 [P, 2, 2], its rows by agent 1's action, or [P, 2] if independent."""

    first: np.ndarray
    second: np.ndarray


Step = Callable[[State, np.ndarray], tuple[np.ndarray, State]]


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def keeping(policy: np.ndarray) -> np.ndarray:
    """V(e_a, policy) [P, 2]: agent 1 keeps to action a; ``policy`` [P, 2] or, by agent 1's action, [P, 2, 2]."""
    rows = policy if policy.ndim == 3 else policy[:, None, :]
    return (rows * game.REWARD).sum(-1) / (rows * game.STOP).sum(-1)


def released(state: State, eta: np.ndarray) -> tuple[np.ndarray, State]:
    x, z = softmax(state.first), softmax(state.second)
    y = (x[:, :, None] * z).sum(axis=1)
    moved = State(state.first + eta * keeping(y), state.second + eta[..., None] * game.PURE)
    return game.value(game.product(x, y)), moved


def conditional(state: State, eta: np.ndarray) -> tuple[np.ndarray, State]:
    x, z = softmax(state.first), softmax(state.second)
    moved = State(state.first + eta * keeping(z), state.second + eta[..., None] * game.PURE)
    return game.value(x[:, :, None] * z), moved


def localised(state: State, eta: np.ndarray) -> tuple[np.ndarray, State]:
    x, z = softmax(state.first), softmax(state.second)
    joint = x[:, :, None] * z
    q = game.action_value(joint)
    moved = State(state.first + eta * (z * q).sum(-1), state.second + eta[..., None] * q)
    return game.value(joint), moved


def independent(state: State, eta: np.ndarray) -> tuple[np.ndarray, State]:
    x, y = softmax(state.first), softmax(state.second)
    slopes = game.product_gradients(x, y)
    moves = [p * (slope - (p * slope).sum(-1, keepdims=True)) for p, slope in zip((x, y), slopes, strict=True)]
    return game.value(game.product(x, y)), State(state.first + eta * moves[0], state.second + eta * moves[1])


def natural(state: State, eta: np.ndarray) -> tuple[np.ndarray, State]:
    x, y = softmax(state.first), softmax(state.second)
    second = (x @ game.REWARD) / (x @ game.STOP)  # V(x, e_b)
    return game.value(game.product(x, y)), State(state.first + eta * keeping(y), state.second + eta * second)


def wrong_agent(state: State, eta: np.ndarray) -> tuple[np.ndarray, State]:
    x, z = softmax(state.first), softmax(state.second)
    second = (x @ game.REWARD) / (x @ game.STOP)
    moved = State(state.first + eta * second, state.second + eta[..., None] * game.PURE.T)
    return game.value(x[:, :, None] * z), moved


SEQUENTIAL: dict[str, Step] = {"released": released, "conditional": conditional, "localised": localised}
INDEPENDENT: dict[str, Step] = {"independent": independent, "natural": natural}


def start(near_logit: float, conditioned: bool) -> State:
    """Panels a-c: agent 1 uniform, agent 2 at logits (0, near_logit) whatever agent 1 does; panels d-f: uniform.

    The released repository has (0, 5) for the independent agents (archive/train_softmax.py); that the sequential ones
    start from the same policy is inferred from the published curves, which it reproduces.
    """
    second = np.zeros((6, 2))
    second[:3, 1] = near_logit
    return State(np.zeros((6, 2)), np.repeat(second[:, None], 2, axis=1) if conditioned else second)


def curve(step: Step, state: State, steps: Sequence[float], iterations: int) -> np.ndarray:
    """V [6, iterations] before each update; ``steps`` are the three step sizes of panels a-c and again of d-f."""
    eta = np.array([*steps, *steps])[:, None]
    values = np.empty((6, iterations))
    for k in range(iterations):
        values[:, k], state = step(state, eta)
    return values


def places(iterations: int) -> np.ndarray:
    """K/16, K/8, K/4, K/2, 3K/4 and K - 1: the iterations of the table of settings."""
    return np.append((PARTS * iterations).astype(int), iterations - 1)


def first_at(values: np.ndarray, level: float) -> int:
    """The first iteration with V >= ``level``; their number if there is none."""
    reached = np.flatnonzero(values >= level)
    return int(reached[0]) if len(reached) else len(values)


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    lengths = [*parameters.near_iterations, *parameters.uniform_iterations]
    longest = max(lengths)
    curves = {}
    for name, step in {**SEQUENTIAL, "wrong agent": wrong_agent, **INDEPENDENT}.items():
        state = start(parameters.near_logit, conditioned=name not in INDEPENDENT)
        curves[name] = curve(step, state, parameters.step_sizes, longest)
    swapped = curve(released, start(parameters.near_logit, True), parameters.step_sizes[::-1], longest)
    for row, (panel, length) in enumerate(zip(PANELS, lengths, strict=True)):
        own = {name: values[row, :length] for name, values in curves.items()}
        _record_panel(records, panel, own)
        for name in ("released", "independent"):
            wanted = getattr(parameters, f"panel_{panel}_{name}")
            firsts = getattr(parameters, f"panel_{panel}_{name}_first")
            at = places(length)
            records.add("published_error", f"{panel} {name}", np.abs(own[name][at] - wanted), x=at)
            found = [first_at(own[name], level) for level in LEVELS]
            records.add("first_error", f"{panel} {name}", np.abs(np.subtract(found, firsts)), x=LEVELS)
        wanted = getattr(parameters, f"panel_{panel}_released")
        error = np.abs(swapped[row, places(length)] - wanted)
        records.add("published_error_steps_swapped", panel, error, x=places(length))
    _record_game(records)


def _record_panel(records: Records, panel: str, own: dict[str, np.ndarray]) -> None:
    length = len(own["released"])
    at = np.unique(np.r_[np.geomspace(1, length, DRAWN // 2), np.linspace(1, length, DRAWN // 2)].astype(int)) - 1
    for name, values in own.items():
        records.add("value", f"{panel} {name}", values[at], x=at)
        records.add("first_at_0.9", f"{panel} {name}", first_at(values, LEVELS[0]))
        records.add("first_at_0.99", f"{panel} {name}", first_at(values, LEVELS[1]))
        records.add("final_value", f"{panel} {name}", values[-1])
    blocks = np.linspace(0, length, DRAWN, endpoint=False).astype(int)
    for name in (*SEQUENTIAL, "wrong agent", "natural"):
        # The smallest margin of every block of iterations: no iteration is left out.
        margin = np.minimum.reduceat(own[name] - own["independent"], blocks)
        records.add("above_independent", f"{panel} {name}", margin, x=blocks)
        done = min(first_at(own[name], LEVELS[1]), length - 1)
        records.add("independent_meanwhile", f"{panel} {name}", own["independent"][done], x=done)
    for name in ("conditional", "localised"):
        records.add("change_from_released", f"{panel} {name}", np.abs(own[name] - own["released"]).max())


def _record_game(records: Records) -> None:
    """Facts about the game on a grid of product policies, x and y the probabilities of the first actions."""
    grid = np.linspace(0, 1, 101)
    y = np.stack([grid, 1 - grid], axis=-1)
    for quantity, first in (("plateau_error", 0.5), ("off_plateau_error", 0.6)):
        x = np.broadcast_to([first, 1 - first], y.shape)
        error = np.abs(game.value(game.product(x, y)) - game.PLATEAU)
        records.add(quantity, f"x = {first}", error, x=grid)
    x, y = np.broadcast_arrays(y[:, None, :], y[None, :, :])
    slope_x, slope_y = (slope[..., 0] - slope[..., 1] for slope in game.product_gradients(x, y))
    records.add("slope_of_agent_1", "smallest over y", slope_x.min(axis=1), x=grid)
    sign = np.sign(slope_y) * np.sign(grid[:, None] - 0.5)
    records.add("slope_of_agent_2", "sign is that of x - 1/2", sign.min(axis=1)[grid != 0.5], x=grid[grid != 0.5])
    joint = game.product(x, y)
    ratio = (
        game.action_value(joint)
        - game.value(joint)[..., None, None]
        - game.STOP * (game.PURE - game.value(joint)[..., None, None])
    )
    records.add("keeping_error", "Q - V = stop (V of keeping to it - V)", np.abs(ratio).max((1, 2, 3)), x=grid)
