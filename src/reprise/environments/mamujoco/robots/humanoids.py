"""Humanoid and HumanoidStandup. Constants: gymnasium 1.4.0, envs/mujoco/humanoid_v5.py, humanoidstandup_v5.py."""

from __future__ import annotations

import numpy as np

from reprise.environments.mamujoco.robots.base import Robot, squares

WAIST = ("abdomen_x", "abdomen_y", "abdomen_z")


def side(name: str) -> tuple[tuple[str, ...], ...]:
    """Joints next to each other on one side of the body, in gymnasium-robotics' reading (obsk.py).

    It takes the waist for one joint through which the sides are connected; by the model's bodies, both hips would be
    next to each other, the shoulders likewise, and abdomen_z and abdomen_y would not touch the hips.
    """
    hips = tuple(f"{name}_hip_{axis}" for axis in "xyz")
    shoulders = (f"{name}_shoulder1", f"{name}_shoulder2")
    return (*shoulders, f"{name}_elbow"), (*hips, f"{name}_knee"), (*shoulders, *WAIST), (*WAIST, *hips)


class Humanoid(Robot):
    """Walks; an episode ends when its torso is too low or too high."""

    model_file = "humanoid.xml"
    frame_skip = 5
    hidden = 2
    blocks = ("qpos", "qvel", "cinert", "cvel", "qfrc_actuator", "cfrc_ext")
    noise = 1e-2
    edges = (*side("left"), *side("right"))
    forward = 1.25
    control_cost = 0.1
    contact_cost, largest_contact_cost = 5e-7, 10.0
    alive = 5.0
    heights = (1.0, 2.0)

    def anchor(self, data):
        """x of the centre of mass, as computed in the last physics step (one behind, as in gymnasium)."""
        return data.subtree_com[0, :1]

    def healthy(self, features):
        """The torso's height lies within its open range."""
        height = features[:, self.columns["qpos"].start + 2]
        return (self.heights[0] < height) & (height < self.heights[1])

    def costs(self, after: np.ndarray, controls: np.ndarray) -> np.ndarray:
        """Costs of control and of contact forces, the latter bounded [B]."""
        contact = self.contact_cost * squares(after[:, self.columns["cfrc_ext"]])
        return self.control_cost * squares(controls) + np.minimum(contact, self.largest_contact_cost)

    def reward(self, before, after, healthy, controls):
        """1.25 times the velocity plus 5 while healthy, minus costs."""
        progress = self.forward * self.velocity(before, after)
        return progress + self.alive * healthy - self.costs(after, controls)

    def bodies(self, joint):
        """As gymnasium-robotics has them."""
        name, _, part = joint.partition("_")
        if name == "abdomen":
            names = ("pelvis", "right_thigh", "left_thigh") if part == "x" else ("torso", "lwaist", "pelvis")
        elif part == "elbow":
            names = (f"{name}_lower_arm",)
        elif part == "knee":
            names = (f"{name}_shin", f"{name}_foot")
        elif part.startswith("hip"):
            names = (f"{name}_thigh", f"{name}_shin")
        else:
            names = ("torso", f"{name}_upper_arm", f"{name}_lower_arm")
        return tuple(self.model.body(each).id for each in names)


class HumanoidStandup(Humanoid):
    """Gets up from the floor; it cannot fall."""

    model_file = "humanoidstandup.xml"
    alive = 1.0

    def healthy(self, features):
        """Always."""
        return np.ones(len(features), dtype=bool)

    def reward(self, before, after, healthy, controls):
        """Height of the torso over the time of one physics step, plus 1, minus costs."""
        height = after[:, self.columns["qpos"].start + 2]
        return height / self.model.opt.timestep - self.costs(after, controls) + self.alive
