"""gymnasium-robotics' mamujoco_v1 as a twin of one of our tasks, and what it once gave, frozen.

    python tests/parity/mamujoco_library.py        # writes tests/parity/mamujoco.npz anew

(with gymnasium-robotics, pettingzoo and the package on the path).
"""

from __future__ import annotations

import re
from pathlib import Path

import mujoco
import numpy as np
import torch

from reprise.environments.mamujoco.engine import STATE
from reprise.environments.mamujoco.environment import MultiAgentMujoco
from reprise.experiments import config

FROZEN = Path(__file__).with_name("mamujoco.npz")
# A task of each robot; the swimmer as the library has it.
FROZEN_TASKS = (
    *("Hopper-3x1", "HalfCheetah-3x2", "Walker2d-3x2", "Ant-4x2"),
    *("Humanoid-17x1", "HumanoidStandup-17x1", "ManyAgentSwimmer-10x2-library"),
)
SEGMENTS, LENGTH = 40, 25  # 1,000 steps; each segment starts from a recorded physics state
SAMPLED = 5  # segments per recorded single-agent observation


def make_ours(root: Path, task: str, view: str = "local") -> MultiAgentMujoco:
    """One copy of a task as configured, but for the view."""
    environment = config.load(root).environments["mamujoco"]
    entries = {**environment.parameters, **environment.tasks[task].parameters}
    parameters = {name: entry.value for name, entry in entries.items()} | {"view": view}
    return MultiAgentMujoco(parameters, task=f"mamujoco/{task}", seeds=[0], copies=1, device=torch.device("cpu"))


class Library:
    """The library's environment that belongs to a task, with the partition of ours."""

    def __init__(self, task: str, ours: MultiAgentMujoco):
        from gymnasium_robotics.envs.multiagent_mujoco import mamujoco_v1

        robot, agents, joints = re.match(r"(\w+)-(\d+)x(\d+)", task).groups()
        scenario = "ManySegmentSwimmer" if robot == "ManyAgentSwimmer" else robot
        self.env = mamujoco_v1.parallel_env(
            scenario,
            f"{agents}x{joints}",
            agent_obsk=2,
            agent_factorization=self.factorization(scenario, f"{agents}x{joints}", ours.actuators),
        )
        self.agents = self.env.possible_agents
        self.inner = self.env.single_agent_env.unwrapped

    @staticmethod
    def factorization(scenario, name, actuators):
        """The library's nodes, dealt as ``actuators`` says."""
        from gymnasium_robotics.envs.multiagent_mujoco.obsk import get_parts_and_edges

        parts, edges, roots = get_parts_and_edges(scenario, name if scenario == "ManySegmentSwimmer" else None)
        nodes = {node.act_ids: node for part in parts for node in part}
        if scenario.startswith("Humanoid"):
            # The library takes the order of the actuators for that of the joints: its abdomen_y shows the position and
            # velocity of abdomen_z, and the other way round (obsk.py; the model's first joint is abdomen_z).
            for node, index in ((nodes[0], -16), (nodes[1], -17)):
                node.qpos_ids = node.qvel_ids = index
        return {"partition": [tuple(nodes[i] for i in own) for own in actuators], "edges": edges, "globals": roots}

    def start(self, ours: MultiAgentMujoco):
        """Begin an episode where ours did."""
        features, columns = ours.features[0], ours.robot.columns
        self.env.reset()
        mujoco.mj_resetData(self.inner.model, self.inner.data)
        self.inner.set_state(features[columns["qpos"]], features[columns["qvel"]])

    def physics(self):
        """All that a step depends on, warm start included."""
        state = np.empty(mujoco.mj_stateSize(self.inner.model, STATE))
        mujoco.mj_getState(self.inner.model, self.inner.data, state, STATE)
        return state

    def step(self, controls, actuators):
        """Observations of the agents, single-agent observation, reward, terminated, truncated."""
        actions = {agent: controls[own] for agent, own in zip(self.agents, actuators, strict=True)}
        seen, reward, terminated, truncated, _ = self.env.step(actions)
        first = self.agents[0]
        return (
            [seen[agent] for agent in self.agents],
            self.env.state(),
            reward[first],
            terminated[first],
            truncated[first],
        )

    def anchor(self, ours):
        """The coordinate whose velocity is rewarded."""
        return float(ours.robot.anchor(self.inner.data)[0])


def actions_of(ours: MultiAgentMujoco, steps: int) -> torch.Tensor:
    """Random actions, some beyond their range: float64 [steps, 1, N, k]."""
    rng = np.random.default_rng(ours.robot.model.nu)
    return torch.from_numpy(rng.uniform(-1.1, 1.1, (steps, 1, ours.spec.agents, ours.spec.actions.size)))


def differences(ours, before, after, controls, seen, state, reward):
    """Largest absolute differences of ours, float64, from what the library gave after a step."""
    robot = ours.robot
    parts = zip(ours.view.parts(after)[0], seen, strict=True)
    assert [len(each) for each in seen] == ours.view.lengths
    own = np.concatenate([part[: len(theirs)] for part, theirs in parts])
    return {
        "state": np.abs(robot.state(after)[0] - state).max(),
        "reward": abs(robot.reward(before, after, robot.healthy(after), controls)[0] - reward),
        "observations": np.abs(own - np.concatenate(seen)).max(),
    }


def largest(found, more):
    """The larger of each difference."""
    return {name: max(found.get(name, 0.0), float(value)) for name, value in {**found, **more}.items()}


def record(root: Path) -> dict[str, np.ndarray]:
    """What the library gives over ``SEGMENTS`` * ``LENGTH`` steps of every robot, from its own starts."""
    made = {"mujoco": np.array(mujoco.__version__)}
    for task in FROZEN_TASKS:
        ours = make_ours(root, task)
        library = Library(task, ours)
        library.env.reset(seed=1)
        columns: dict[str, list] = {n: [] for n in ("physics", "anchor", "state", "reward", "terminated", "starts")}
        for step, action in enumerate(actions_of(ours, SEGMENTS * LENGTH)):
            if step % LENGTH == 0:
                columns["physics"].append(library.physics())
                columns["anchor"].append(library.anchor(ours))
            seen, state, reward, terminated, truncated = library.step(ours.controls(action)[0], ours.actuators)
            columns["reward"].append(reward)
            columns["terminated"].append(terminated)
            if (step + 1) % (SAMPLED * LENGTH) == 0:
                columns["state"].append(state)
            if terminated or truncated:
                library.env.reset()
                columns["starts"].append(np.concatenate([library.inner.data.qpos, library.inner.data.qvel]))
        made |= {f"{task}/{name}": np.array(values) for name, values in columns.items()}
        made[f"{task}/last"] = np.concatenate(seen)
    return made


if __name__ == "__main__":
    np.savez_compressed(FROZEN, **record(Path(__file__).resolve().parents[2]))
    print(f"{FROZEN}: {FROZEN.stat().st_size / 1e3:.0f} kB")
