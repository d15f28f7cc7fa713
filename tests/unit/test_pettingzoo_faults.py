"""The adapter of the PettingZoo parallel API: what is wrong with an environment is one line."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import struct
from types import SimpleNamespace

import pytest
import torch
from toy_rows import make, play, same

from reprise.environments.pettingzoo import pool
from reprise.errors import RepriseError

FAULTS = {  # id: (parameters, arguments, what the message says)
    "no module": ({"factory": "no_such_package.parallel_env"}, {}, "cannot be imported: No module named"),
    "no dot": ({"factory": "toy_parallel"}, {}, "the module cannot be imported"),
    "misspelt factory": ({"factory": "toy_parallel.Toi"}, {}, "unknown factory 'Toi'; nearest: 'Toy'"),
    "takes turns": ({"factory": "toy_parallel.Turns"}, {}, "agents take turns in this environment"),
    "something else": ({"factory": "toy_parallel.Space"}, {}, "it has no possible_agents"),
    "fails": ({"factory": "toy_parallel.broken"}, {}, r"KeyError: 'nothing here' (toy_parallel.py, line "),
    "unknown argument": ({}, {"lenght": 3}, "unexpected keyword argument 'lenght'"),
    "no size": ({}, {"odd": "observation"}, "agent cow: the observation space"),
    "unlike actions": ({}, {"odd": "actions"}, "the actions of all agents must be alike: ant has"),
    "unlike bounds": ({}, {"box": True, "high": 2.0}, "agent ant: the action space"),
    "infinite bounds": ({}, {"box": True, "high": 1e999}, "nor a Box with the same finite bounds"),
    "masks unseen": ({}, {"masks": "info"}, "agent ant has an action_mask: set the parameter action_masks to true"),
    "masks of a box": ({"action_masks": True}, {"box": True}, "action_masks is for discrete actions"),
    "leaves": ({}, {"leave": 2}, "agent ant left before the others: set the parameter action_masks to true"),
    "not JSON": ({"arguments": "{N: 3}"}, None, "the parameter arguments is not JSON"),
    "a list": ({"arguments": "[3]"}, None, "must be a JSON object"),
    "global numbers": ({}, {"chance": "global"}, "not deterministic: the same seed and actions gave other"),
    "drawn when made": ({}, {"chance": "constructor"}, "not deterministic: the same seed and actions gave other"),
    "one for all": ({"factory": "toy_parallel.always_the_same"}, None, "every row needs an environment of its own"),
    "one for all, rows apart": (
        {"factory": "toy_parallel.always_the_same", "workers": 4},
        None,
        "every row needs an environment of its own",
    ),
    "a leftover": ({}, {"chance": "history"}, "at step 0; set the parameter rebuild to true if reset leaves"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_environment_are_one_line(fault):
    parameters, arguments, message = FAULTS[fault]
    given = {} if arguments is None else {"arguments": arguments}
    with pytest.raises(RepriseError) as error:
        make(**given, **parameters)
    text = str(error.value)
    factory = parameters.get("factory", "toy_parallel.Toy")
    by_exception = fault in ("fails", "unknown argument")  # then the row is named too
    assert text.startswith(f"toys/toy: {'row 0 (seed 0, copy 0): ' if by_exception else ''}{factory}: ")
    assert message in text
    assert "\n" not in text


ANSWERS = {  # how: (parameters, what the message says)
    "old reset": ({}, "reset must return dictionaries by agent (observations, infos); it gave dict"),
    "old step": ({}, "terminations, truncations, infos); it gave 4 values"),
    "list": ({}, "reset must return dictionaries by agent (observations, infos); it gave something else as infos"),
    "stranger": ({}, "agent dog is not among its possible_agents"),
    "blind": ({}, "agent cow is there and gets no observation"),
    "short": ({}, "agent cow: observes 1 numbers, its observation space has 3"),
    "text": ({}, "agent cow: an observation unlike its observation space: could not convert string to float"),
    "beyond": ({}, "agent bee: observes 0, its observation space goes from 1 to 3"),
    "mask": ({"action_masks": True}, "agent cow: an action_mask of 1 numbers for 4 actions"),
    "nan": ({}, "agent bee: its reward is nan"),
    "two": ({}, "agent bee: its reward is no number: can only convert an array of size 1"),
    "state": ({"state": "environment"}, "its state() has 1 numbers and had 2"),
}


@pytest.mark.parametrize("how", ANSWERS)
def test_wrong_answers_are_one_line_and_nothing_is_made_of_them(how):
    """numpy would spread single numbers over a row and count -1 from its end, without a word."""
    parameters, message = ANSWERS[how]
    with pytest.raises(RepriseError) as error:
        make(factory="toy_parallel.Odd", arguments={"how": how}, **parameters)
    text = str(error.value)
    assert text.startswith("toys/toy: toy_parallel.Odd: ")
    assert message in text
    assert "\n" not in text


def test_a_reward_may_be_an_array_of_one_number():
    environment = make(factory="toy_parallel.Odd", arguments={"how": "one"})
    (step,) = play(environment, 1)
    assert torch.isfinite(step.reward).all()


@pytest.mark.parametrize("cut", [False, True])
def test_whoever_has_left_neither_earns_nor_sees_whatever_the_environment_says(cut):
    settings = {"leave": 2, "cut": cut}
    plain = play(make(arguments=settings, action_masks=True), 7)
    ghost = {"how": "ghost", **settings}
    haunted = play(make(factory="toy_parallel.Odd", arguments=ghost, action_masks=True), 7)
    assert all(same(one, other) for one, other in zip(plain, haunted, strict=True))
    assert (plain[4].terminated if not cut else plain[4].truncated).all()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raise", "toy_parallel.Toy: ZeroDivisionError: three lines of it (toy_parallel.py, line "),
        ("exit", "toy_parallel.Toy: its process died (exit code 7)"),
        ("hang", "toy_parallel.Toy: does not answer within 1.5 s (the parameter timeout)"),
    ],
)
def test_a_worker_that_fails_dies_or_hangs_is_one_line(fault, message):
    environment = make(arguments={"fault": fault}, timeout=1.5, deterministic=False)
    processes = [worker.process for worker in environment._pool.workers]
    play(environment, 2)
    with pytest.raises(RepriseError) as error:
        play(environment, 9)
    # Worker 0 is asked first: its first row is where it happens. Its second episode starts after the one of `make`.
    assert str(error.value).startswith(f"toys/toy: row 0 (seed 0, copy 0): {message}")
    assert error.value.exit_code == 1
    assert all(process.poll() is not None for process in processes)
    with pytest.raises(RepriseError, match=r"its workers were ended by a fault or an interrupt; make it anew"):
        environment.reset()


def test_the_row_of_a_killed_worker_is_named():
    environment = make(workers=2)
    environment._pool.workers[1].process.send_signal(signal.SIGKILL)
    with pytest.raises(RepriseError, match=r"row 3 \(seed 1, copy 1\): .* its process died \(signal 9\)"):
        play(environment, 1)


def test_an_answer_that_breaks_off_is_a_death():
    """As where the kernel kills a worker for its memory while it sends."""
    worker = object.__new__(pool.Worker)
    worker.connection, theirs = multiprocessing.Pipe()
    worker.mark = lambda: (0, 0)
    os.write(theirs.fileno(), struct.pack("!i", 100) + b"only this")
    theirs.close()
    with pytest.raises(EOFError):
        worker.receive(5.0)


def test_a_job_that_was_suspended_has_not_hung(monkeypatch):
    """The clock jumps by an hour between two looks; the answer comes after the second one."""
    looks, clock = iter([False, False, True]), itertools.count(0.0, 3600.0)
    worker = object.__new__(pool.Worker)
    worker.mark = lambda: (0, 0)
    worker.connection = SimpleNamespace(poll=lambda seconds: next(looks), recv=lambda: "answer")
    worker.process = SimpleNamespace(poll=lambda: None)
    monkeypatch.setattr(pool.time, "monotonic", lambda: next(clock))
    assert worker.receive(60.0) == "answer"


def test_an_interrupted_call_leaves_no_answer_for_the_next(monkeypatch):
    """In a notebook: the stop button, and then the cell again."""
    environment = make()
    processes = [worker.process for worker in environment._pool.workers]

    def interrupt(self, timeout):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pool.Worker, "receive", interrupt)
        with pytest.raises(KeyboardInterrupt):
            play(environment, 1)
    with pytest.raises(RepriseError, match="toys/toy: its workers were ended by a fault or an interrupt"):
        play(environment, 1)
    assert all(process.poll() is not None for process in processes)


def test_what_is_not_deterministic_trains_and_is_not_resumed():
    environment = make(arguments={"chance": "global"}, deterministic=False)
    play(environment, 3)
    with pytest.raises(RepriseError, match="delete its folder below results/<tier>/checkpoints"):
        environment.restore(environment.snapshot())


def test_what_reset_leaves_behind_is_gone_with_a_new_instance():
    """The toy adds the number of its episodes to the ant's place: with new instances always 1."""
    arguments = {"chance": "history", "length": 3}
    environment = make(seeds=[0], copies=1, arguments=arguments, rebuild=True)
    steps = play(environment, 10, count=1)
    starts = [environment.reset()[0, 0, 0].item()] + [step.observations[0, 0, 0].item() for step in steps[2::3]]
    assert all(1.0 <= start < 2.0 for start in starts)
    leaves = make(seeds=[0], copies=1, arguments=arguments, deterministic=False)
    assert play(leaves, 3, count=1)[2].observations[0, 0, 0] > 2.0


def test_a_replay_that_leads_elsewhere_is_refused():
    first = make()
    play(first, 3)
    snapshot = first.snapshot()
    snapshot["actions"][2, 1, 0] += 1 if snapshot["actions"][2, 1, 0] == 0 else -1
    with pytest.raises(RepriseError, match=r"row 2 \(seed 1, copy 0\): the replay of 3 steps .* led elsewhere"):
        make().restore(snapshot)
