"""Steps B copies of one model and gathers what their observations and rewards are made of.

It is a loop of ``mj_step`` over the copies: MuJoCo's own ``rollout``, called a step at a time, is no faster and forgets
the solver's warm start; its ``batch.Batch``, 3 to 5 % faster on HalfCheetah with one thread, does not compute the
contact forces that gymnasium reads after a step (benchmarks/mujoco_stepping.py).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import mujoco
import numpy as np

from reprise.environments.mamujoco.robots.base import Robot

# All that a step depends on, warm start included: a state put back goes on bit by bit.
STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)
# Beyond it MuJoCo itself calls a simulation unstable (mjMAXVAL).
LARGEST = float(mujoco.mjMAXVAL)


class Engine:
    """B copies (one MjData each) of a robot's model.

    Args:
        robot: see ``robots/base.py``.
        rows: B.
        threads: how many share the copies; numbers do not depend on it.
    """

    def __init__(self, robot: Robot, rows: int, threads: int = 1):
        self.robot, self.model, self.rows = robot, robot.model, rows
        self.data = [mujoco.MjData(self.model) for _ in range(rows)]
        self._controls = [data.ctrl for data in self.data]
        self._views = [part.reshape(-1) for data in self.data for part in robot.parts(data)]
        self._contact_forces = "cfrc_ext" in robot.blocks
        self.threads = threads

    @property
    def threads(self) -> int:
        """How many threads step the copies."""
        return self._threads

    @threads.setter
    def threads(self, threads: int) -> None:
        self._threads = threads
        self._shares = [slice(int(s[0]), int(s[-1]) + 1) for s in np.array_split(range(self.rows), threads) if len(s)]
        self._pool = ThreadPoolExecutor(threads, "mujoco") if threads > 1 else None

    def step(self, controls: np.ndarray) -> np.ndarray:
        """Apply ``controls`` float64 [B, U]; features float64 [B, F], all NaN in rows whose simulation is unstable."""
        if self._pool is None:
            self._advance(slice(None), controls)
        else:
            list(self._pool.map(lambda share: self._advance(share, controls[share]), self._shares))
        features = self.read()
        largest = np.abs(features[:, : self.robot.columns["qvel"].stop])
        if not largest.max() < LARGEST:
            features[~(largest < LARGEST).all(1)] = np.nan
        return features

    def _advance(self, share: slice, controls: np.ndarray) -> None:
        model, frame_skip, step = self.model, self.robot.frame_skip, mujoco.mj_step
        for data, control, asked in zip(self.data[share], self._controls[share], controls, strict=True):
            control[:] = asked
            step(model, data, frame_skip)
        if self._contact_forces:
            for data in self.data[share]:
                mujoco.mj_rnePostConstraint(model, data)

    def read(self) -> np.ndarray:
        """The features as they are, a new array float64 [B, F]."""
        return np.concatenate(self._views).reshape(self.rows, self.robot.features)

    def start(self, row: int, positions: np.ndarray, velocities: np.ndarray) -> None:
        """Put one copy to rest and then to ``positions`` [nq] and ``velocities`` [nv], with zero control."""
        data = self.data[row]
        mujoco.mj_resetData(self.model, data)
        data.qpos[:], data.qvel[:] = positions, velocities
        mujoco.mj_forward(self.model, data)

    def state(self) -> np.ndarray:
        """The physics states, float64 [B, S]."""
        states = np.empty((self.rows, mujoco.mj_stateSize(self.model, STATE)))
        for data, state in zip(self.data, states, strict=True):
            mujoco.mj_getState(self.model, data, state, STATE)
        return states

    def set_state(self, states: np.ndarray) -> None:
        """Go on from ``states``; ``read`` is not meaningful before the next step."""
        for data, state in zip(self.data, states, strict=True):
            mujoco.mj_setState(self.model, data, state, STATE)
