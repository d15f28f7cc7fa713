"""HATRPO's step against dense algebra on small networks, its bound on the exact KL, exact values of tabular games."""

import pytest
import torch
from tabular_team import exact_surrogate, record_turns, team
from teams import AGENTS, make, parameters_of, perturb, plain_kl, plain_log_prob, plain_policy, rollout

from reprise.algorithms.hatrpo import HATRPO
from reprise.blocks.distributions import Categorical
from reprise.blocks.policies import CategoricalMLP, GaussianMLP
from reprise.blocks.streams import Streams
from reprise.blocks.trust_region import Flat, conjugate_gradient

WHOLE = slice(None)
TINY = {"hidden": 3, "cg_iterations": 80, "cg_tolerance": 1e-20, "damping": 0.1}


def unweighted(old, new) -> torch.Tensor:
    """The released code's sum over all actions, sum_a (u - 1 - log u)."""
    change = new.logits.log_softmax(-1) - old.logits.log_softmax(-1)
    return (change.exp() - 1 - change).sum(-1)


def dense_step(learner, batch, run: int, agent: int, factor: torch.Tensor, kl_of=plain_kl, ratio_sum: bool = False):
    """Equation 8 for one agent with the dense Hessian of the mean KL and the line search: parameters, factor, facts."""
    hyper, delta = learner.hyper, float(learner.hyper.per_run("kl_threshold")[run])
    own = parameters_of(learner.actor, run, agent)
    shapes, sizes = {k: p.shape for k, p in own.items()}, [p.numel() for p in own.values()]
    x, actions = batch.inputs[run, agent].double(), batch.actions[run, agent]
    actions = actions.double() if actions.is_floating_point() else actions
    weights = factor.double() * batch.advantages[run, agent].double()
    start = torch.cat([p.detach().double().flatten() for p in own.values()])

    def policy(vector):
        parts = vector.split(sizes)
        return plain_policy({k: p.view(s) for (k, s), p in zip(shapes.items(), parts, strict=True)}, x)

    def surrogate(vector, added=False):
        if added and actions.is_floating_point():
            ratio = (policy(vector).log_prob(actions) - policy(start).log_prob(actions)).exp().sum(-1)
        else:
            ratio = (plain_log_prob(policy(vector), actions) - plain_log_prob(policy(start), actions)).exp()
        return (ratio * weights).mean()

    gradient = torch.autograd.functional.jacobian(surrogate, start)
    hessian = torch.autograd.functional.hessian(lambda v: kl_of(policy(start), policy(v)).mean(), start)
    hessian = hessian + hyper.damping * torch.eye(len(start))
    direction = torch.linalg.solve(hessian, gradient)
    step = (2 * delta / (direction @ hessian @ direction)).sqrt() * direction
    for tried in range(hyper.line_search_steps):
        fraction = hyper.backtrack**tried
        end = start + fraction * step
        gain = float(surrogate(end, ratio_sum) - surrogate(start))
        kl = float(kl_of(policy(start), policy(end)).mean())
        if kl < delta and gain > 0 and gain > hyper.accept_ratio * fraction * float(gradient @ step):
            break
    else:
        end, fraction, gain = start, 0.0, 0.0
    change = (plain_log_prob(policy(end), actions) - plain_log_prob(policy(start), actions)).exp().float()
    parts = {k: p.view(s).float() for (k, s), p in zip(shapes.items(), end.split(sizes), strict=True)}
    true_kl = float(plain_kl(policy(start), policy(end)).mean())
    return parts, factor * change, {"fraction": fraction, "improvement": gain, "step_kl": true_kl}


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [("continuous", "hatrpo"), ("discrete", "hatrpo"), ("discrete", "unweighted"), ("continuous", "summed")],
)
def test_an_update_is_equation_8_agent_after_agent(kind, algorithm):
    """All runs at once, with thresholds of their own; with 0.4 some full steps overshoot and are shortened."""
    changes = {"unweighted": {"kl_of": "unweighted"}, "summed": {"line_search_ratio": "per_number"}}.get(algorithm, {})
    settings = [{"kl_threshold": d} for d in (0.01, 0.4, 0.1)]
    learner = make(HATRPO, "hatrpo", kind, seeds=[0, 1, 2], settings=settings, **TINY, **changes)
    perturb(learner, 0.8)
    data = rollout(learner)
    batch, orders = learner.prepare(data), learner.order(WHOLE).tolist()
    kl_of = unweighted if algorithm == "unweighted" else plain_kl
    expected, found = {}, []
    for run in range(3):
        factor, each = torch.ones(batch.advantages.shape[-1]), []
        for agent in orders[run]:
            result = dense_step(learner, batch, run, agent, factor, kl_of, algorithm == "summed")
            expected[run, agent], factor, did = result
            each.append(did)
        found.append({k: sum(did[k] for did in each) / AGENTS for k in each[0]})
    metrics = learner.update(data)
    for run in range(3):
        for agent in range(AGENTS):
            for k, p in expected[run, agent].items():
                torch.testing.assert_close(learner.actor.parameters[k][run, agent], p, rtol=0.01, atol=2e-3)
        for key, value in found[run].items():
            assert float(metrics[key][run]) == pytest.approx(value, rel=0.02, abs=1e-4), key
    if algorithm == "hatrpo":
        assert any(0 < each["fraction"] < 1 for each in found), "no step was shortened"


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("kind", ["gaussian", "bounded", "categorical", "unweighted"])
def test_curvature_is_the_hessian_of_the_mean_kl(kind, norm):
    """J' M J v by hand against autograd twice, with LayerNorm and without, in two networks at once."""
    streams, sizes = Streams([0, 1]), [4, 6, 5, 3]
    if kind in ("categorical", "unweighted"):
        net = CategoricalMLP(streams, "actor", 1, sizes, norm, 1.0)
    else:
        net = GaussianMLP(streams, "actor", 1, sizes, norm, 1.0, start=0.3, limit=0.5 if kind == "bounded" else 0.0)
    net.parameters = {k: p.double() + 0.3 * torch.randn_like(p.double()) for k, p in net.parameters.items()}
    inputs = torch.randn(2, 1, 11, 4).double()
    available = torch.rand(2, 1, 11, 3) < 0.8 if kind == "categorical" else None
    if available is not None:
        available[..., 0] = True
    leaves = {k: p.clone().requires_grad_() for k, p in net.parameters.items()}
    direction = {k: torch.randn_like(p) for k, p in leaves.items()}
    old, new = net.policy(net.parameters, inputs, available), net.policy(leaves, inputs, available)
    kl = (old.unweighted_kl(new) if kind == "unweighted" else old.kl(new)).mean(-1).sum()
    slopes = torch.autograd.grad(kl, list(leaves.values()), create_graph=True)
    along = sum((s * v).sum() for s, v in zip(slopes, direction.values(), strict=True))
    expected = torch.autograd.grad(along, list(leaves.values()))
    layers, output = net.linearise(net.parameters, inputs)
    policy = net.distribution(net.parameters, output, available).each(torch.clone)
    found = net.curvature(net.parameters, layers, policy, direction, unweighted=kind == "unweighted")
    for k, h in zip(leaves, expected, strict=True):
        torch.testing.assert_close(found[k], h, rtol=1e-9, atol=1e-12)


def test_conjugate_gradients_solve_every_run_and_stop_where_they_are_done():
    matrix = torch.randn(3, 6, 6).double()
    matrix = matrix @ matrix.transpose(1, 2) + torch.eye(6)
    b = torch.randn(3, 6).double()
    b[1] = 0.0
    x = conjugate_gradient(lambda v: torch.einsum("rij,rj->ri", matrix, v), b, 20, 1e-20)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, b))
    assert float(x[1].abs().max()) == 0.0
    flat = Flat({"a": torch.zeros(2, 1, 2, 3), "b": torch.zeros(2, 1, 1, 3)})
    parts = {"a": torch.randn(2, 1, 2, 3), "b": torch.randn(2, 1, 1, 3)}
    assert all(torch.equal(parts[k], v) for k, v in flat.named(flat(parts)).items())


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_no_accepted_step_exceeds_the_bound_on_the_exact_kl(kind):
    """Measured with torch's own divergence on every agent's samples, over updates from small to overshooting steps."""
    seeds, settings = range(6), [{"kl_threshold": d} for d in (1e-4, 1e-3, 0.01, 0.1, 0.5, 2.0)]
    learner = make(HATRPO, "hatrpo", kind, seeds=seeds, settings=settings, damping=0.0, hidden=16)
    perturb(learner, 0.5)
    accepted = shortened = 0
    for step in range(4):
        data = rollout(learner, seed=step)
        batch = learner.prepare(data)
        before = {k: p.clone() for k, p in learner.actor.parameters.items()}
        metrics = learner.update(data)
        for run in range(6):
            moved, divergences = 0, []
            for agent in range(AGENTS):
                old, new = (
                    plain_policy(
                        {k: p[run, agent].double() for k, p in each.items()}, batch.inputs[run, agent].double()
                    )
                    for each in (before, learner.actor.parameters)
                )
                divergences.append(float(plain_kl(old, new).mean()))
                moved += any(
                    not torch.equal(p[run, agent], before[k][run, agent]) for k, p in learner.actor.parameters.items()
                )
            # The networks are evaluated in single precision, here in double.
            assert max(divergences) <= settings[run]["kl_threshold"] * (1 + 1e-4)
            assert float(metrics["step_kl"][run]) == pytest.approx(sum(divergences) / AGENTS, rel=2e-3, abs=1e-6)
            assert round(float(metrics["accepted"][run]) * AGENTS) == moved
            assert (float(metrics["improvement"][run]) > 0) == (moved > 0)
            accepted += moved
            shortened += moved > 0 and float(metrics["fraction"][run]) < float(metrics["accepted"][run]) - 1e-6
    assert accepted > 40
    assert shortened > 0


def test_a_refused_step_leaves_the_policy_alone_and_other_runs_go_on():
    settings = [{"kl_threshold": 1e4}, {"kl_threshold": 1e-4}]
    learner = make(HATRPO, "hatrpo", settings=settings, line_search_steps=1)
    perturb(learner, 0.5)
    before = {k: p.clone() for k, p in learner.actor.parameters.items()}
    metrics = learner.update(rollout(learner))
    assert metrics["accepted"].tolist() == [0.0, 1.0]
    for key in ("step_kl", "improvement", "fraction", "kl"):
        assert float(metrics[key][0]) == 0.0
        assert float(metrics[key][1]) > 0.0
    for k, p in learner.actor.parameters.items():
        assert torch.equal(p[0], before[k][0])
        assert not torch.equal(p[1], before[k][1])


def test_the_released_codes_divergence_is_none():
    """The sum over all actions differs from the KL unless the policy is uniform, where it is A times as large."""
    uniform, other = Categorical(torch.zeros(1, 4)), Categorical(torch.tensor([[0.1, -0.2, 0.0, 0.3]]))
    skewed, moved = Categorical(torch.tensor([[3.0, 0.0, 0.0, 0.0]])), Categorical(torch.tensor([[3.0, 0.0, 1.0, 0.0]]))
    torch.testing.assert_close(uniform.unweighted_kl(other), 4 * uniform.kl(other), rtol=1e-4, atol=0)
    assert float(skewed.unweighted_kl(moved)) > 15 * float(skewed.kl(moved))


def test_reported_improvements_are_definition_2_on_tabular_games():
    """The surrogate's gain of every turn is the exact advantage of the agent's new policy given its predecessors'."""
    learner, batch, game = team(HATRPO, "hatrpo", kl_threshold=0.05)
    turns = record_turns(learner, batch)
    for place, turn in enumerate(turns):
        assert float(turn.metrics["accepted"]) == 1.0
        exact = exact_surrogate(game, turns, [t.agent for t in turns[:place]], turn.agent)
        assert exact > 1e-3
        assert float(turn.metrics["improvement"]) == pytest.approx(exact, rel=2e-3, abs=2e-5)


def test_a_step_per_minibatch():
    learner = make(HATRPO, "hatrpo", minibatches=3)
    data = rollout(learner)
    metrics = learner.update(data)
    assert bool((metrics["accepted"] * AGENTS * 3).round().eq(metrics["accepted"] * AGENTS * 3).all())
    assert float(metrics["accepted"].min()) > 0
