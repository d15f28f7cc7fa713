"""IQL's loss, recurrence and replay against plain loops and torch's own cells."""

import plain_iql
import pytest
import torch
from learners import ACTIONS, AGENTS, COPIES, STATES, STEPS, make, perturb, rollout

from reprise.algorithms.iql import IQL
from reprise.blocks.replay import EpisodeReplay
from reprise.blocks.streams import BlockUniforms, Streams


def plain_values(learner, run, agent, observations, actions):
    """Q-values [T + 1, A] of one agent along one episode's T + 1 observations and T actions."""
    if not learner.hyper.recurrent:
        one = {k: v[run : run + 1, agent : agent + 1] for k, v in learner.network.parameters.items()}
        return learner.network(one, torch.eye(STATES)[observations][None, None])[0, 0]
    own = {name: value[run, agent] for name, value in learner.network.parameters.items()}
    return plain_iql.values(own, torch.eye(STATES)[observations], actions)


def episode_rollout(runs, seed=0):
    """A rollout whose next observations are the following step's observations."""
    data = rollout(runs, seed)
    following = torch.cat([data.observations[1:], data.next_observations[-1:]])
    return data._replace(next_observations=following)


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("name", ["iql", "iql@rnn"])
def test_loss_is_the_double_q_error_over_the_sampled_episodes(name, double):
    learner = make(IQL, name, batch_episodes=2, learner_steps=1, double_q=double, gamma=0.9)
    perturb(learner)
    data = episode_rollout(2)
    learner._store(data)
    learner.target = {k: p + 0.05 for k, p in learner.network.parameters.items()}
    drawn = learner.streams.integers("replay", 0, COPIES, (2,))
    target_learner = make(IQL, name)
    target_learner.network.parameters = learner.target
    expected = torch.zeros(2)
    for run in range(2):
        for agent in range(AGENTS):
            for episode in drawn[run].tolist():
                row = run * COPIES + episode
                seen = torch.cat([data.observations[:, row, agent], data.next_observations[-1:, row, agent]])
                actions = data.actions[:, row, agent]
                online = plain_values(learner, run, agent, seen, actions)
                target = plain_values(target_learner, run, agent, seen, actions)
                for t in range(STEPS):
                    best = online[t + 1].argmax() if double else target[t + 1].argmax()
                    future = 0.0 if data.terminated[t, row] else 0.9 * target[t + 1, best]
                    error = online[t, actions[t]] - (data.reward[t, row] + future)
                    expected[run] += float(error) ** 2 / (AGENTS * 2 * STEPS)
    metrics = learner._learn(learner.replay.sample(2))
    torch.testing.assert_close(metrics["value_loss"], expected, rtol=1e-4, atol=1e-5)


def test_acting_step_by_step_equals_the_unrolled_network():
    learner = make(IQL, "iql@rnn")
    perturb(learner)
    data = episode_rollout(2)
    memory = learner.initial_memory(2 * COPIES)
    for t in range(STEPS):
        q, hidden = learner._values(data.observations[t], memory)
        memory = {"hidden": hidden, "last": data.actions[t]}
        for run, agent in ((0, 0), (1, 2)):
            seen, actions = data.observations[: t + 1, run * COPIES, agent], data.actions[:, run * COPIES, agent]
            expected = plain_values(learner, run, agent, seen, actions)[t]
            torch.testing.assert_close(q[run * COPIES, agent], expected, rtol=1e-4, atol=1e-5)


def test_exploration_falls_linearly_and_random_actions_are_uniform_over_the_available():
    learner = make(IQL, "iql", settings=[{"epsilon_decay": 100}, {"epsilon_decay": 1000}])
    assert learner.epsilon().flatten().tolist() == [1.0, 1.0]
    available = torch.tensor([True, False, True, True]).expand(2 * COPIES, AGENTS, -1)
    observations = torch.zeros(2 * COPIES, AGENTS, dtype=torch.int64)
    drawn = torch.cat([learner.act(observations, available, None)[0].flatten() for _ in range(500)])
    share = torch.bincount(drawn, minlength=ACTIONS) / len(drawn)
    torch.testing.assert_close(share, torch.tensor([1 / 3, 0.0, 1 / 3, 1 / 3]), rtol=0, atol=0.03)
    learner.env_steps = 50
    assert learner.epsilon().flatten().tolist() == pytest.approx([0.525, 0.9525])


def test_the_target_is_copied_every_interval_in_each_run():
    settings = [{"target_interval": 2}, {"target_interval": 6}]
    learner = make(IQL, "iql", settings=settings, batch_episodes=2)
    lags = []
    for step in range(3):
        learner.update(rollout(2, seed=step))
        lags.append([bool((learner.target["w0"][r] != learner.network.parameters["w0"][r]).any()) for r in range(2)])
    assert lags == [[False, True], [False, True], [False, False]]


@pytest.mark.parametrize("name", ["iql", "iql@rnn"])
def test_state_dict_resumes_exactly_replay_included(name):
    straight = make(IQL, name, batch_episodes=2, replay_episodes=5)
    for step in range(4):
        straight.update(rollout(2, seed=step))
    resumed = make(IQL, name, batch_episodes=2, replay_episodes=5)
    resumed.load_state_dict({k: t.clone() for k, t in straight.state_dict().items()})
    for step in range(4, 7):
        one, two = (learner.update(rollout(2, seed=step)) for learner in (straight, resumed))
        assert all(torch.equal(one[k], two[k]) for k in one)
    for k, t in straight.state_dict().items():
        assert torch.equal(t, resumed.state_dict()[k])


def test_a_run_does_not_depend_on_its_cohort():
    alone, among = (make(IQL, "iql", seeds=s, batch_episodes=2) for s in ([7], [3, 7, 9]))
    for step in range(4):
        among.update(rollout(3, seed=step, same=True))
        alone.update(rollout(1, seed=step, same=True))
    for k, p in among.network.parameters.items():
        torch.testing.assert_close(p[1], alone.network.parameters[k][0], rtol=1e-4, atol=1e-5)


def test_a_recurrent_learner_masters_a_memory_task_that_a_feed_forward_one_cannot():
    """The first observation says which action pays at the last step; in between everybody sees the same thing."""
    scores = {}
    for name in ("iql", "iql@rnn"):
        learner = make(
            IQL, name, seeds=[0, 1], copies=8, hidden=32, batch_episodes=32, learner_steps=4, lr=3e-3,
            epsilon_decay=2000, target_interval=40, gamma=0.9,
        )  # fmt: skip
        generator = torch.Generator().manual_seed(0)
        rows, length = 16, 4

        def play(act, learner=learner, generator=generator, rows=rows, length=length):
            cue = torch.randint(2, (rows,), generator=generator)
            seen = torch.full((length + 1, rows, AGENTS), 2)
            seen[0] = cue.unsqueeze(1)
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

        for _ in range(150):
            data, _ = play(learner.act)
            learner.update(data)
        scores[name] = sum(play(learner.greedy)[1] for _ in range(10)) / 10
    assert scores["iql@rnn"] > 0.95
    assert scores["iql"] < 0.7


def test_replay_keeps_the_last_episodes_and_draws_from_them_alone():
    replay = EpisodeReplay(Streams([4, 5]), capacity=3)
    for number in range(5):
        replay.insert({"x": torch.full((2, 1, 2), float(number))})
    assert len(replay) == 3
    assert set(replay.fields["x"].flatten().tolist()) == {2.0, 3.0, 4.0}
    drawn = replay.sample(200)["x"]
    assert drawn.shape == (2, 200, 2)
    assert set(drawn.flatten().tolist()) == {2.0, 3.0, 4.0}


def test_streams_are_functions_of_seed_name_and_step_alone():
    streams, alone = Streams([3, 4]), Streams([4])
    assert torch.equal(streams.uniform("a", 7, (5,))[1], alone.uniform("a", 7, (5,))[0])
    first = streams.uniform("a", 7, (1000,))
    for other in (streams.uniform("a", 8, (1000,)), streams.uniform("b", 7, (1000,)), first.flip(0)):
        assert not torch.equal(first, other)
        assert abs(float(torch.corrcoef(torch.stack([first[0], other[0]]))[0, 1])) < 0.15
    assert 0.0 <= float(first.min()) < float(first.max()) < 1.0


def test_block_uniforms_resume_from_their_counter():
    straight, resumed = (BlockUniforms(Streams([1]), "a", (2,), block=4) for _ in range(2))
    drawn = [straight.next().clone() for _ in range(10)]
    resumed.counter = 6
    assert all(torch.equal(resumed.next(), expected) for expected in drawn[6:])
