"""Training on MPE: what its config promises, and the recurrent IQL on observations that are vectors."""

import plain_iql
import pytest
import torch
from learners import ACTIONS, AGENTS, COPIES, STATES, STEPS, make, perturb, project, rollout

from reprise.algorithms.iql import IQL
from reprise.analysis.evidence import Panel
from reprise.analysis.ledger import Size
from reprise.experiments import config

TASKS = ["mpe/simple_spread", "mpe/line_control", "mpe/circle_control"]


def hyperparameters(task, algorithm):
    return config.resolve(project(), task, algorithm, "paper").config["algorithm"]["hyperparameters"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("one", "two"), [("dpo", "ippo"), ("dpo@code_shuffled", "ippo@code_shuffled")])
def test_dpo_and_ippo_agree_in_everything_they_have_in_common(task, one, two):
    first, second = hyperparameters(task, one), hyperparameters(task, two)
    common = first.keys() & second.keys()
    assert {"copies", "entropy", "gamma", "actor_lr", "epochs", "bootstrap_at_limit"} <= common
    assert {key: first[key] for key in common} == {key: second[key] for key in common}


@pytest.mark.parametrize("task", TASKS)
def test_the_papers_values_for_mpe(task):
    for name in ("dpo", "dpo@no_kl", "dpo@no_sqrt", "dpo@code", "dpo@code_shuffled"):
        assert hyperparameters(task, name)["d_target"] == 0.01
    assert hyperparameters(task, "ippo")["clip"] == 0.2


def test_pymarls_schedule_is_whole():
    values = hyperparameters(TASKS[0], "iql@pymarl")
    expected = {
        "recurrent": True, "hidden": 128, "lr": 5e-4, "gamma": 0.99, "copies": 1, "learner_steps": 1,
        "batch_episodes": 32, "replay_episodes": 5000, "target_interval": 200, "epsilon_start": 1.0,
        "epsilon_end": 0.05, "epsilon_decay": 50000, "double_q": True, "gradient_clip": 10.0,
    }  # fmt: skip
    assert {key: values[key] for key in expected} == expected
    assert hyperparameters(TASKS[0], "iql")["recurrent"]


def test_a_fraction_is_of_the_scripted_policy_where_no_optimum_is_known():
    size = Size(value=0.1, unit="fraction", reason="test")

    def on(references):
        return Panel("task", {}, {k: {"mean": v} for k, v in references.items()}, paired=False).size(size)

    assert on({"uniform": -20.0, "scripted": -5.0}) == pytest.approx(1.5)
    assert on({"uniform": -20.0, "scripted": -5.0, "optimum": 0.0}) == pytest.approx(2.0)


def test_the_recurrent_loss_is_the_double_q_error_of_each_agents_own_network():
    learner = make(IQL, "iql@rnn", one_hot=False, batch_episodes=2, learner_steps=1, gamma=0.9)
    perturb(learner)
    data = rollout(2, one_hot=False)
    data = data._replace(next_observations=torch.cat([data.observations[1:], data.next_observations[-1:]]))
    learner._store(data)
    learner.target = {k: p + 0.05 for k, p in learner.network.parameters.items()}
    drawn = learner.streams.integers("replay", 0, COPIES, (2,))
    expected = torch.zeros(2)
    for run in range(2):
        for agent in range(AGENTS):
            online, target = (
                {k: v[run, agent] for k, v in p.items()} for p in (learner.network.parameters, learner.target)
            )
            for episode in drawn[run].tolist():
                row = run * COPIES + episode
                seen = torch.cat([data.observations[:, row, agent], data.next_observations[-1:, row, agent]])
                actions = data.actions[:, row, agent]
                q, q_target = (plain_iql.values(p, seen, actions) for p in (online, target))
                for t in range(STEPS):
                    future = 0.0 if data.terminated[t, row] else 0.9 * q_target[t + 1, q[t + 1].argmax()]
                    error = q[t, actions[t]] - (data.reward[t, row] + future)
                    expected[run] += float(error) ** 2 / (AGENTS * 2 * STEPS)
    metrics = learner._learn(learner.replay.sample(2))
    torch.testing.assert_close(metrics["value_loss"], expected, rtol=1e-4, atol=1e-5)


def play(act, learner, generator, rows=16, length=4):
    """Episodes in which the first observation says which action pays at the last step; then nothing more is told."""
    cue = torch.randint(2, (rows,), generator=generator)
    seen = 0.1 * torch.randn(length + 1, rows, AGENTS, STATES, generator=generator)
    seen[0, :, :, 0] += (2.0 * cue - 1.0).unsqueeze(1)
    memory, actions = learner.initial_memory(rows), []
    for t in range(length):
        result = act(seen[t], None, memory)
        actions.append(result[0])
        memory = result[-1]
    reward = torch.zeros(length, rows)
    reward[-1] = (actions[-1] == cue.unsqueeze(1)).float().mean(1)
    terminated = torch.zeros(length, rows, dtype=torch.bool)
    terminated[-1] = True
    data = rollout(2)._replace(
        observations=seen[:-1], next_observations=seen[1:], actions=torch.stack(actions), reward=reward,
        terminated=terminated, truncated=torch.zeros_like(terminated),
    )  # fmt: skip
    return data, float(reward[-1].mean())


def test_the_recurrent_learner_remembers_a_vector_and_a_feed_forward_one_cannot():
    scores = {}
    for name in ("iql", "iql@rnn"):
        learner = make(
            IQL, name, one_hot=False, copies=8, hidden=32, batch_episodes=32, learner_steps=4, lr=3e-3,
            epsilon_decay=2000, target_interval=40, gamma=0.9,
        )  # fmt: skip
        generator = torch.Generator().manual_seed(0)
        for _ in range(150):
            learner.update(play(learner.act, learner, generator)[0])
        scores[name] = sum(play(learner.greedy, learner, generator)[1] for _ in range(10)) / 10
    assert scores["iql@rnn"] > 0.95
    assert scores["iql"] < 0.7


def test_the_gradients_of_whole_episodes_are_autograds():
    learner = make(IQL, "iql@rnn", one_hot=False)
    perturb(learner)
    inputs = torch.randn(2, AGENTS, 3, STEPS, STATES + ACTIONS)
    weights = torch.randn(2, AGENTS, 3, STEPS, ACTIONS)
    leaves = {k: p.clone().requires_grad_() for k, p in learner.network.parameters.items()}
    memory, outputs = learner.network.initial(3), []
    for t in range(STEPS):
        output, memory = learner.network.step(leaves, inputs[:, :, :, t], memory)
        outputs.append(output)
    expected_loss = (torch.stack(outputs, 3) * weights).flatten(2).sum(-1)
    expected = dict(zip(leaves, torch.autograd.grad(expected_loss.sum(), list(leaves.values())), strict=True))
    loss, gradients = learner.network.loss_and_gradients(
        learner.network.parameters, inputs, lambda output: (output * weights).flatten(2).sum(-1)
    )
    torch.testing.assert_close(loss, expected_loss.detach(), rtol=1e-4, atol=1e-4)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-4)
