"""Bellman-consistent pessimism (Xie et al., 2021, regularised form) as policy evaluation: our instantiation of
section 5 and appendix D of Zhao et al.

For a policy pi, with first states of law rho and empirical means over the n transitions of the data,

    f_pi = argmin_f  E_rho f(s, pi) + weight E(f, pi),    E(f, pi) = L(f, f, pi) - min_f' L(f', f, pi),
    L(f', f, pi) = mean (f'(s, a) - r - gamma f(s', pi))^2.

With f linear and f' any linear function, E is the squared length of the Bellman residual projected on the features: a
convex quadratic. Where nothing was seen it is flat, hence the bounds: 0 <= f <= Vmax with one-hot features (`Box`), a
ball for the weights with others (`Ball`). Both are solved to rounding at every policy; ``residual`` says how well.

``weight`` should grow like the root of n: where no bound binds, f_pi is Bellman's equation with the reward lowered by
x(s, a) / (2 weight mu(s, a)), x the discounted visitation of pi under the data's model and mu = n(s, a) / n; this costs
O(1 / weight) and the noise of E adds O(weight / n).
"""

from __future__ import annotations

import numpy as np

from reprise.theory.zhao.offline import Data


def _empirical(data: Data) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """mu [B, SJ], the mean reward [B, SJ] and the law of the next state [B, SJ, S] at every pair; 0 where unseen."""
    rows = len(data.pairs)
    pairs = data.pairs.reshape(rows, -1)
    seen = np.maximum(pairs, 1.0)
    moves = data.moves.reshape(rows, pairs.shape[1], -1) / seen[..., None]
    return pairs / data.size[:, None], data.rewards.reshape(rows, -1) / seen, moves


class Box:
    """One-hot features, 0 <= f <= Vmax.

    Given the state values V = f(., pi) and their multipliers z, f is known pair by pair; what is left are 2 S piecewise
    linear equations in the point (V, z), [B, 2 S], solved by Newton's method with a line search on their squares.
    """

    STEPS, HALVINGS, TOLERANCE = 100, 12, 1e-9
    # Unseen pairs count as this share of the data, with the target 0: it makes their f unique where the problem leaves
    # it open. Between 1e-6 and 1e-4 no mean gap changes by more than 0.001.
    UNSEEN = 1e-6

    def __init__(self, data: Data, initial: np.ndarray, *, gamma: float, weight: np.ndarray, value_limit: float):
        self.mu, self.reward, self.moves = _empirical(data)
        self.initial, self.gamma, self.value_limit = initial, gamma, value_limit
        self.stiffness = 2.0 * np.asarray(weight)[:, None] * np.maximum(self.mu, self.UNSEEN)
        self.shape = data.pairs.shape
        self.point = np.concatenate([np.full(initial.shape, 0.5 * value_limit), initial / (1 - gamma)], axis=1)
        self.residual = np.zeros(len(initial))

    def __call__(self, policy: np.ndarray) -> np.ndarray:
        """f_pi [B, S, J] for the joint policy [B, S, J], starting from the last policy's solution."""
        errors = self._errors(policy, self.point)
        for _ in range(self.STEPS):
            self.residual = np.abs(errors).max(axis=1)
            if self.residual.max() <= self.TOLERANCE:
                break
            step = self._newton(policy, errors)
            length = np.sum(errors**2, axis=1)
            share = np.ones(len(length))
            for _ in range(self.HALVINGS):
                tried = self._errors(policy, self.point + share[:, None] * step)
                worse = np.sum(tried**2, axis=1) > (1 - 1e-4 * share) * length
                if not worse.any():
                    break
                share = np.where(worse, 0.5 * share, share)
            self.point = self.point + share[:, None] * step
            errors = self._errors(policy, self.point)
        return self._pairs(policy, self.point)[0]

    def _pairs(self, policy: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """f [B, S, J] and the Bellman target r + gamma E V(s') at every pair, given the point (V, z)."""
        value, visitation = np.split(point, 2, axis=1)
        target = (self.reward + self.gamma * (self.moves @ value[..., None])[..., 0]).reshape(self.shape)
        pull = policy * visitation[..., None]
        stiffness = self.stiffness.reshape(self.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            raw = target - pull / stiffness
        return np.clip(raw, 0.0, self.value_limit), target

    def _errors(self, policy: np.ndarray, point: np.ndarray) -> np.ndarray:
        """What is left of the optimality conditions [B, 2 S]: V = f(., pi), and z = rho + gamma flow into the state."""
        value, visitation = np.split(point, 2, axis=1)
        f, target = self._pairs(policy, point)
        flow = self.stiffness * (target - f).reshape(self.mu.shape)
        arriving = self.initial + self.gamma * (flow[:, None] @ self.moves)[:, 0]
        return np.concatenate([value - (policy * f).sum(axis=2), visitation - arriving], axis=1)

    def _newton(self, policy: np.ndarray, errors: np.ndarray) -> np.ndarray:
        """The step that makes the errors zero on the current pieces."""
        rows, states, joint = self.shape
        f, _ = self._pairs(policy, self.point)
        free = ((f > 0) & (f < self.value_limit)).reshape(self.mu.shape)
        chosen = policy.reshape(self.mu.shape)
        held = self.stiffness * ~free
        softness = np.divide(chosen**2, self.stiffness, out=np.zeros_like(chosen), where=free & (self.stiffness > 0))
        carried = (chosen * free)[..., None] * self.moves
        chain = np.eye(states) - self.gamma * carried.reshape(rows, states, joint, states).sum(axis=2)
        slopes = np.zeros((rows, 2 * states, 2 * states))
        slopes[:, :states, :states] = chain
        slopes[:, range(states), range(states, 2 * states)] = softness.reshape(self.shape).sum(axis=2)
        slopes[:, states:, :states] = -(self.gamma**2) * (self.moves.swapaxes(1, 2) * held[:, None]) @ self.moves
        slopes[:, states:, states:] = chain.swapaxes(1, 2)
        return -np.linalg.solve(slopes, errors[..., None])[..., 0]


class Ball:
    """Features ``phi`` [B, SJ, d], f = phi' w with ||w|| <= ``radius``: a trust-region problem, by its eigenvalues."""

    def __init__(
        self, data: Data, initial: np.ndarray, phi: np.ndarray, *, gamma: float, weight: np.ndarray, radius: float
    ):
        mu, reward, moves = _empirical(data)
        self.phi, self.initial, self.gamma, self.radius = phi, initial, gamma, radius
        self.weight = np.asarray(weight)[:, None]
        self.shape = data.pairs.shape
        gram = np.einsum("bfd,bf,bfe->bde", phi, mu, phi, optimize=True)
        values, vectors = np.linalg.eigh(gram)
        inverse = np.where(values > 1e-10, 1.0 / np.sqrt(np.maximum(values, 1e-10)), 0.0)
        root = vectors * inverse[:, None, :] @ vectors.swapaxes(1, 2)  # gram^(-1/2), on the directions that were seen
        weighted = (phi * mu[..., None]).swapaxes(1, 2)
        self.here = root @ gram
        self.after = gamma * root @ weighted @ moves  # [B, d, S]
        self.target = (root @ weighted @ reward[..., None])[..., 0]
        self.residual = np.zeros(len(initial))

    def __call__(self, policy: np.ndarray) -> np.ndarray:
        """f_pi [B, S, J] for the joint policy [B, S, J]."""
        rows, states, joint = self.shape
        mean = (policy[..., None] * self.phi.reshape(rows, states, joint, -1)).sum(axis=2)  # phi(s, pi)
        bellman = self.here - self.after @ mean  # E(f, pi) = ||bellman w - target||^2
        start = np.einsum("bs,bsd->bd", self.initial, mean)
        curvature, basis = np.linalg.eigh(2 * self.weight[..., None] * bellman.swapaxes(1, 2) @ bellman)
        pull = 2 * self.weight * np.einsum("bed,be->bd", bellman, self.target) - start
        pull = np.einsum("bde,bd->be", basis, pull)
        curvature = np.maximum(curvature, 0.0)
        multiplier = self._multiplier(curvature, pull)
        w = np.einsum("bde,be->bd", basis, pull / (curvature + multiplier))
        norm = np.linalg.norm(w, axis=1)
        # ||w|| = radius where the multiplier is active, ||w|| <= radius elsewhere.
        self.residual = np.where(
            multiplier[:, 0] > 1e-12, np.abs(norm - self.radius), np.maximum(norm - self.radius, 0)
        )
        return (self.phi @ w[..., None])[..., 0].reshape(self.shape)

    def _multiplier(self, curvature: np.ndarray, pull: np.ndarray) -> np.ndarray:
        """The least m >= 1e-12, [B, 1], with ||pull / (curvature + m)|| <= radius, by bisection on its logarithm."""
        low = np.full((len(pull), 1), -12.0)
        high = np.log10(np.linalg.norm(pull, axis=1, keepdims=True) / self.radius + 1e-12)
        high = np.maximum(high, low)
        for _ in range(60):
            middle = 0.5 * (low + high)
            long = np.linalg.norm(pull / (curvature + 10.0**middle), axis=1, keepdims=True) > self.radius
            low, high = np.where(long, middle, low), np.where(long, high, middle)
        return 10.0**high
