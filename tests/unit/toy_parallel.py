"""A parallel environment with every habit that the adapter must bear, for test_pettingzoo*.py. Imports numpy only."""

from __future__ import annotations

import os
import re
import subprocess
import time

import numpy as np

AGENTS = ("ant", "bee", "cow")
CHOICES = 4


class Space:
    """A space that has the given attributes and no others."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


class Toy:
    """Walkers on a line. The sum of the agents' rewards is the sum of their actions times 1, 2, 3.

    ``length`` steps, then all are terminated (``cut``: truncated). ``leave``: the first agent terminates after so many
    steps; ``drop``: it is truncated. ``masks``: where an action mask stands (observation, info). ``fault``: raise,
    hang, spin (hang without letting other threads run) or exit at step 3 of the second episode. ``chance``: where
    forbidden randomness comes from (global, constructor, history). ``odd``: what is unlike the other agents'
    (observation, actions). ``child``: start a process and write its number into this file.
    """

    made = 0

    def __init__(
        self,
        length=5,
        cut=False,
        leave=0,
        drop=0,
        masks=None,
        box=False,
        fault=None,
        chance=None,
        odd=None,
        high=1.0,
        child=None,
    ):
        self.possible_agents = list(AGENTS)
        self.length, self.cut, self.leave, self.drop = length, cut, leave, drop
        self.masks, self.box, self.high = masks, box, high
        self.fault, self.chance, self.odd = fault, chance, odd
        self.episodes = 0
        Toy.made += 1
        self.number = Toy.made
        if child:
            with open(child, "a") as file:
                print(subprocess.Popen(["sleep", "600"]).pid, file=file)

    def observation_space(self, agent):
        if agent == "cow" and self.odd == "observation":
            return Space(shape=None)
        if agent == "bee":
            return Space(n=3, start=1)  # seen as one-hot
        space = Space(shape=(2, 2) if agent == "ant" else (3,))
        return Space(spaces={"observation": space, "action_mask": None}) if self.masks == "observation" else space

    def action_space(self, agent):
        if self.box:
            return Space(shape=(2, 1), low=np.full((2, 1), -1.0), high=np.array([[1.0], [self.high]]), dtype=np.float64)
        return Space(n=CHOICES + (agent == "bee" and self.odd == "actions"), start=10 if agent == "cow" else 0)

    def reset(self, seed=None, options=None):
        self.agents, self.elapsed, self.seed = self.possible_agents[:], 0, seed
        self.episodes += 1
        generator = np.random.default_rng(seed)
        self.place = {agent: float(generator.random()) for agent in AGENTS}
        if self.chance == "constructor":
            self.place["ant"] += self.number
        if self.chance == "history":
            self.place["ant"] += self.episodes
        return self._observations(), self._infos()

    def step(self, actions):
        assert set(actions) == set(self.agents), f"actions of {sorted(actions)}, agents {self.agents}"
        self.elapsed += 1
        if self.fault and (self.episodes, self.elapsed) == (2, 3):
            self._fail()
        for agent, action in actions.items():
            self.place[agent] += float(np.sum(action)) - (10.0 if agent == "cow" and not self.box else 0.0)
        if self.chance == "global":
            self.place["ant"] += np.random.random()  # noqa: NPY002 - the sin in question
        rewards = {agent: (i + 1) * self._value(agent, actions) for i, agent in enumerate(AGENTS) if agent in actions}
        over = self.elapsed >= self.length
        leaves = {agent: agent == "ant" and 0 < self.leave <= self.elapsed for agent in self.agents}
        terminated = {agent: (over and not self.cut) or leaves[agent] for agent in self.agents}
        drops = 0 < self.drop <= self.elapsed
        truncated = {agent: (over and self.cut) or (agent == "ant" and drops) for agent in self.agents}
        observations, infos = self._observations(), self._infos()
        self.agents = [agent for agent in self.agents if not (terminated[agent] or truncated[agent])]
        return observations, rewards, terminated, truncated, infos

    def state(self):
        return np.array([self.elapsed, self.place["ant"]])

    def _value(self, agent, actions):
        return float(np.sum(actions[agent])) - (10.0 if agent == "cow" and not self.box else 0.0)

    def _fail(self):
        if self.fault == "raise":
            raise ZeroDivisionError("three\nlines\nof it")
        if self.fault == "hang":
            time.sleep(600)
        if self.fault == "spin":
            re.match(r"(a+)+$", 60 * "a" + "b")  # takes years, and keeps the interpreter's lock
        os._exit(7)

    def _observations(self):
        seen = {}
        for agent in self.agents:
            if agent == "bee":
                seen[agent] = 1 + self.elapsed % 3
            else:
                size = (2, 2) if agent == "ant" else (3,)
                seen[agent] = np.full(size, self.place[agent])
                if self.masks == "observation":
                    seen[agent] = {"observation": seen[agent], "action_mask": self._mask()}
        return seen

    def _infos(self):
        given = {"action_mask": self._mask()} if self.masks == "info" else {}
        return {agent: dict(given) for agent in self.agents}

    def _mask(self):
        return np.arange(CHOICES) != self.elapsed % CHOICES


class Odd(Toy):
    """A toy whose answers are wrong in one way, ``how``, from the start or from the first step on."""

    def __init__(self, how, **settings):
        super().__init__(**settings)
        self.how = how

    def reset(self, seed=None, options=None):
        seen, infos = super().reset(seed, options)
        return seen if self.how == "old reset" else (seen, [] if self.how == "list" else infos)

    def step(self, actions):
        seen, rewards, terminated, truncated, infos = super().step(actions)
        if self.how == "old step":
            return seen, rewards, terminated, infos
        if self.how == "stranger":
            self.agents = [*self.agents, "dog"]
        if self.how == "blind":
            del seen["cow"]
        seen |= {"short": {"cow": np.ones(1)}, "text": {"cow": "far away"}, "beyond": {"bee": 0}}.get(self.how, {})
        infos |= {"cow": {"action_mask": np.ones(1)}} if self.how == "mask" else {}
        rewards |= {"nan": {"bee": np.nan}, "two": {"bee": np.zeros(2)}, "one": {"bee": np.ones(1)}}.get(self.how, {})
        if self.how == "ghost":  # whoever has left goes on being told things
            seen, rewards = (
                dict.fromkeys(AGENTS, np.full(3, 9.0)) | {"ant": np.full(4, 9.0)} | seen,
                {"ant": 9.0} | rewards,
            )
        return seen, rewards, terminated, truncated, infos

    def state(self):
        return np.zeros(1 if self.how == "state" and self.elapsed else 2)


ONE = Toy()


def always_the_same():
    """A factory that makes nothing new."""
    return ONE


class Turns:
    """Not a parallel environment."""

    agent_selection = "ant"
    possible_agents = ("ant",)


def broken(**_):
    """A factory that fails."""
    raise KeyError("nothing here")
