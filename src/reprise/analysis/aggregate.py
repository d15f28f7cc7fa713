"""Scores across tasks: IQM, performance profiles and probability of improvement, with stratified bootstrap intervals.

A score table has shape [runs, tasks]. Scores are normalised by fixed references (``normalise``), never by the data at
hand. Definitions follow Agarwal et al. 2021; runs are resampled within each task.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def normalise(scores: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(score - low) / (high - low) with references per task (last axis). Raises ValueError when low >= high."""
    low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    if (low >= high).any():
        raise ValueError("the upper reference score must exceed the lower one on every task")
    return (np.asarray(scores, dtype=float) - low) / (high - low)


def interquartile_mean(scores: np.ndarray) -> float:
    """Mean of the middle half of all runs x tasks; the lowest and highest floor(n / 4) scores are left out."""
    flat = np.sort(np.asarray(scores, dtype=float), axis=None)
    cut = flat.size // 4
    return float(flat[cut : flat.size - cut].mean())


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of runs above each threshold, averaged over tasks: [len(thresholds)]."""
    scores = np.asarray(scores, dtype=float)
    return (scores[..., None] > np.asarray(thresholds, dtype=float)).mean(axis=(0, 1))


def probability_of_improvement(a: np.ndarray, b: np.ndarray) -> float:
    """P(a run of ``a`` [runs, tasks] beats one of ``b`` [runs, tasks]), ties counting half, averaged over tasks."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return float((np.sign(a[:, None, :] - b[None, :, :]).mean() + 1) / 2)


def stratified_bootstrap(
    statistic: Callable[..., float],
    *tables: np.ndarray,
    repetitions: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of ``statistic(*tables)``, runs resampled independently within every task of every table."""
    tables = [np.asarray(t, dtype=float) for t in tables]
    generator = np.random.default_rng(seed)
    values = np.empty(repetitions)
    for i in range(repetitions):
        drawn = [np.take_along_axis(t, generator.integers(0, t.shape[0], t.shape), axis=0) for t in tables]
        values[i] = statistic(*drawn)
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
