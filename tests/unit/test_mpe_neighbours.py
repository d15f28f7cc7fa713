"""Exact neighbours against sorting all distances, and starts that keep their distance."""

import pytest
import torch

from reprise.environments.mpe import cells, neighbours, placement


def planes(seed, points, rows, width=3.0):
    generator = torch.Generator().manual_seed(seed)
    return width * (2 * torch.rand(2, points, rows, generator=generator, dtype=torch.float64) - 1)


def sorted_distances(centres, points, others):
    """Indices [M, N, c] and distances of all points, by a stable sort."""
    distances = (points[:, :, None] - centres[:, None]).square().sum(0).sqrt()
    if others:
        distances.diagonal(dim1=0, dim2=1).fill_(torch.inf)
    return distances.sort(dim=0, stable=True)


@pytest.fixture(autouse=True, params=[False, True], ids=["subnormal", "flushed"])
def subnormal_numbers(request):
    """Training takes subnormal numbers for 0 (experiments/training.py)."""
    torch.set_flush_denormal(request.param)
    yield
    torch.set_flush_denormal(False)


@pytest.mark.parametrize(("agents", "marks"), [(2, 1), (3, 3), (15, 15), (30, 30), (100, 100), (500, 500), (7, 40)])
@pytest.mark.parametrize("pairs", [1, 1000, 2**16])
def test_they_are_the_nearest(monkeypatch, agents, marks, pairs):
    monkeypatch.setattr(neighbours, "PAIRS_CPU", pairs)
    centres, points = planes(0, agents, 3), planes(1, marks, 3)
    for others, there in ((True, centres), (False, points)):
        count = min(6, there.shape[1] - others)
        found = neighbours.nearest(centres, there, count, others=others, least=True)
        every = sorted_distances(centres, there, others)
        assert torch.equal(found.indices, every.indices[:count])
        torch.testing.assert_close(found.squares.sqrt(), every.values[:count], rtol=1e-12, atol=0)
        least = (there[:, :, None] - centres[:, None]).square().sum(0).amin(1)
        torch.testing.assert_close(found.least, least, rtol=1e-12, atol=0)
        seen = neighbours.gather(there, found.indices) - centres[:, None]
        torch.testing.assert_close(seen.square().sum(0).sqrt(), every.values[:count], rtol=1e-12, atol=1e-15)


def test_points_on_one_spot_come_in_order():
    centres = torch.zeros(2, 5, 2, dtype=torch.float64)
    found = neighbours.nearest(centres, centres, 3, others=True)
    assert found.indices[:, :, 0].T.tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2], [0, 1, 2]]
    assert (found.squares == neighbours.TINY).all()


def test_a_nearer_point_is_never_missed():
    """A point is moved from afar to next to each agent in turn: it must become the first neighbour at once."""
    points = planes(3, 200, 1)
    for agent in range(1, 200):
        moved = points.clone()
        moved[:, 0] = moved[:, agent] + 1e-9
        assert neighbours.nearest(moved, moved, 5, others=True).indices[0, agent, 0] == 0


def heaps(points, rows):
    """Two heaps far apart, one of them on a grid whose distances agree, and a few points on one spot."""
    there = planes(6, points, rows, width=0.01)
    there[:, ::2] += 1e4
    there[:, 1::2] = (100 * there[:, 1::2]).round()
    there[:, :5] = there[:, :1]
    return there


def far(points, rows):
    """Half of the points as absent agents are, the others uniform."""
    there = planes(7, points, rows)
    there[:, points // 2 :] = 1e6 * torch.arange(points - points // 2, dtype=torch.float64)[:, None]
    return there


STATES = {
    "uniform": lambda points, rows: planes(8, points, rows, width=11.0),
    "on a line": lambda points, rows: planes(9, points, rows) * torch.tensor([1.0, 0.0])[:, None, None],
    "on one spot": lambda points, rows: torch.ones(2, points, rows, dtype=torch.float64),
    "strays": lambda points, rows: planes(10, points, rows) ** 15,
    "heaps": heaps,
    "far": far,
}


def assert_same(found, expected):
    for name, value, true in zip(found._fields, found, expected, strict=True):
        assert value is true is None or torch.equal(value, true), name


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("agents", "marks"), [(8, 9), (97, 97), (203, 199), (500, 500)])
def test_cells_find_the_same_to_the_last_bit(monkeypatch, state, agents, marks):
    monkeypatch.setattr(cells, "LEAST_POINTS", 0)
    centres, points = STATES[state](agents, 32), planes(11, marks, 32, width=11.0)
    for there in (points, STATES[state](marks, 32)):
        expected = neighbours.nearest(centres, there, 6, least=True)
        assert_same(cells.nearest(centres, there, 6, least=True), expected)
    assert_same(cells.nearest(centres, centres, 5, others=True), neighbours.nearest(centres, centres, 5, others=True))
    assert_same(cells.nearest(centres, points, 0, least=True), neighbours.nearest(centres, points, 0, least=True))


@pytest.mark.parametrize("looks", [1, 3])
@pytest.mark.parametrize("part", [0.0, 1.0])
def test_cells_that_were_not_looked_at_are_not_forgotten(monkeypatch, looks, part):
    """So few cells are looked at that most neighbours must come from the comparison with all points."""
    monkeypatch.setattr(cells, "ALL", part)
    monkeypatch.setattr(cells, "LOOKS", looks)
    monkeypatch.setattr(cells, "LOOKS_NEAREST", looks)
    centres, points = planes(12, 300, 32), planes(13, 300, 32)
    for others, there in ((True, centres), (False, points)):
        expected = neighbours.nearest(centres, there, 5, others=others, least=not others)
        assert_same(cells.nearest(centres, there, 5, others=others, least=not others), expected)


def test_few_uniform_points_are_compared_with_all(monkeypatch):
    """Otherwise cells would take longer than all pairs."""
    left = []
    missing = cells._missing
    monkeypatch.setattr(cells, "_missing", lambda *arguments: left.append(missing(*arguments)) or left[-1])
    points = planes(14, 500, 32, width=11.0)
    cells.nearest(points, points, 5, others=True)
    assert 0 < len(left[0][0]) < 0.02 * 500 * 32


def test_places_keep_their_distance_and_fill_the_arena():
    darts = planes(4, 150, 200, width=2.2).permute(2, 1, 0)
    places = placement.spaced(darts, 15, 0.675)
    apart = torch.cdist(places, places) + 9 * torch.eye(15, dtype=torch.float64)
    assert apart.min() >= 0.675
    assert apart.amin() < 0.70
    assert places.abs().max() <= 2.2
    assert places.abs().amax() > 2.15
    # Each is the first dart that was allowed.
    for row in range(20):
        kept = []
        for dart in darts[row]:
            if len(kept) < 15 and all((dart - other).norm() >= 0.675 for other in kept):
                kept.append(dart)
        assert torch.equal(places[row], torch.stack(kept))


def test_places_where_darts_run_out_are_all_filled():
    darts = planes(5, 4, 3, width=0.01).permute(2, 1, 0)
    places = placement.spaced(darts, 4, 1.0)
    assert torch.equal(places[:, 0], darts[:, 0])
    assert places.isfinite().all()
    assert places.abs().max() <= 0.01


def test_first_apart():
    tries = torch.tensor([[[0.1, 0.0], [1.5, 0.0], [3.0, 0.0]], [[0.1, 0.0], [0.3, 0.0], [0.2, 0.0]]])
    point = torch.zeros(2, 2)
    assert placement.first_apart(tries, point, 1.0, to_the_end=True)[:, 0].tolist() == pytest.approx([1.5, 0.3])
    assert placement.first_apart(tries, point, 1.0, to_the_end=False)[:, 0].tolist() == pytest.approx([1.5, 0.2])
