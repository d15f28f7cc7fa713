"""The same program on a GPU: every algorithm runs there, agrees with the CPU, and can change device between updates."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from devices import ALGORITHMS, ROOT, TASK, Cohort, waiting_forbidden

from reprise.experiments import config, grid, jobs, training
from reprise.experiments.runs import Interrupted, decode_tensors

pytestmark = pytest.mark.cuda
GPU = "cuda"
UPDATES = 3
# Adam divides by the root of the mean square gradient, so where a gradient is nearly nothing its rounding decides.
CLOSE = {"rtol": 1e-3, "atol": 1e-4}


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def on_device(tensors: dict[str, torch.Tensor]) -> bool:
    return all(tensor.device.type == GPU for tensor in tensors.values())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_rollout_update_and_policy_stay_on_the_device(name, cache):
    cohort = Cohort(name, GPU, cache)
    rollout = cohort.collector.collect()
    tensors = {key: value for key, value in rollout._asdict().items() if isinstance(value, torch.Tensor)}
    assert on_device(tensors | rollout.extras)
    metrics = cohort.algorithm.update(rollout)
    assert on_device(metrics | cohort.algorithm.policy_state())
    assert all(torch.isfinite(value).all() for value in metrics.values())
    assert cohort.algorithm.alive.all()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_first_updates_are_those_of_the_cpu(name, cache):
    cohorts = [Cohort(name, device, cache) for device in ("cpu", GPU)]
    for update in range(UPDATES):
        expected, found = (cohort.collector.collect() for cohort in cohorts)
        # Counter-based random numbers: the same uniforms, so the same actions, states and rewards.
        assert torch.equal(expected.actions, found.actions.cpu()), f"update {update}"
        assert torch.equal(expected.observations, found.observations.cpu()), f"update {update}"
        torch.testing.assert_close(found.reward.cpu(), expected.reward, rtol=0, atol=0)
        metrics = [cohort.algorithm.update(rollout) for cohort, rollout in zip(cohorts, (expected, found), strict=True)]
        for key, value in metrics[0].items():
            torch.testing.assert_close(
                metrics[1][key].cpu(), value, **CLOSE, msg=lambda text, key=key: f"{key}: {text}"
            )
    policies = [cohort.algorithm.policy_state() for cohort in cohorts]
    for key, value in policies[0].items():
        torch.testing.assert_close(policies[1][key].cpu(), value, **CLOSE, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name", ["dpo", "iql", "iql@rnn"])
def test_evaluation_on_the_device_is_that_of_the_cpu(name, cache):
    cohorts = [Cohort(name, device, cache) for device in ("cpu", GPU)]
    for cohort in cohorts:
        cohort.algorithm.update(cohort.collector.collect())
    # One policy for both, so that nothing but the evaluator is compared.
    cohorts[1].algorithm.load_policy(cohorts[0].algorithm.policy_state())
    expected, found = (cohort.evaluator.evaluate(cohort.algorithm) for cohort in cohorts)
    assert found.returns == pytest.approx(expected.returns, rel=1e-6)
    assert (found.lengths == expected.lengths).all()
    assert found.expected_return == pytest.approx(expected.expected_return, rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("name", ["dpo", "iql", "iql@rnn"])
def test_a_rollout_waits_for_nothing_but_its_random_numbers(name, cache, monkeypatch):
    cohort = Cohort(name, GPU, cache)
    cohort.collector.collect()  # what is made once is made now
    with waiting_forbidden(monkeypatch) as drawn:
        rounds = 256 // cohort.collector.length
        for _ in range(rounds):
            cohort.collector.collect()
    assert 1 <= len(drawn) <= 4  # at most 256 steps: blocks of 128 for actions and 256 for states


def test_the_guard_of_the_test_above_notices_a_transfer(monkeypatch):
    held = torch.ones(3, device=GPU)
    with waiting_forbidden(monkeypatch), pytest.raises(RuntimeError, match="synchroniz"):
        held.sum().item()


@pytest.mark.parametrize(("first", "second"), [("cpu", GPU), (GPU, "cpu")])
@pytest.mark.parametrize("algorithm", ["dpo", "iql"])
def test_a_run_started_on_one_device_goes_on_on_the_other(algorithm, first, second, tmp_path, monkeypatch):
    interrupted, whole = (configured(tmp_path / name) for name in ("interrupted", "whole"))
    with monkeypatch.context() as patch:
        signal_in_update(patch, 2)
        with pytest.raises(Interrupted):
            train(interrupted, algorithm, first)
    found, expected = train(interrupted, algorithm, second), train(whole, algorithm, "cpu")
    manifest = json.loads((found / "manifest.json").read_bytes())
    assert (manifest["resumes"], manifest["device"]) == (1, second)
    policies = [decode_tensors((folder / "policy.safetensors").read_bytes()) for folder in (found, expected)]
    for key, value in policies[1].items():
        torch.testing.assert_close(policies[0][key], value, **CLOSE, msg=lambda text, key=key: f"{key}: {text}")


def configured(root: Path) -> Path:
    """The repository's configuration with four updates per run at tier smoke."""
    root.mkdir()
    for path in (ROOT / "config").rglob("*.yaml"):
        target = root / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    tier = root / "config" / "tiers" / "smoke.yaml"
    tier.write_text(tier.read_text().replace("updates: 2", "updates: 4"))
    return root


def train(root: Path, algorithm: str, device: str) -> Path:
    """Train two seeds on the tiny game; the run folder."""
    project = config.load(root)
    (cohort,) = grid.cohort(project, "smoke", TASK, algorithm, [0, 1])
    jobs.run(project, [cohort], device, progress=False)
    return cohort.folder


def signal_in_update(patch, number: int) -> None:
    """A SIGUSR1, as a cluster sends it, in the ``number``-th update."""
    step, count = training.Training._step, [0]

    def stepped(self):
        count[0] += 1
        if count[0] == number:
            os.kill(os.getpid(), signal.SIGUSR1)
        step(self)

    patch.setattr(training.Training, "_step", stepped)
