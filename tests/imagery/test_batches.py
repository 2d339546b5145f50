"""Batches: known before training, fair, and the same whoever asks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orbitune.imagery.batches import batch_size_of, draw, first_uses, taking_part

sizes = st.integers(1, 40)


@given(num_samples=sizes, batch_size=sizes, step=st.integers(0, 500), seed=st.integers(0, 2**31))
def test_size_is_the_planned_size(num_samples: int, batch_size: int, step: int, seed: int) -> None:
    ids = np.arange(100, 100 + num_samples)
    drawn = draw(ids, batch_size, step, seed, 3)
    assert len(drawn) == batch_size_of(num_samples, batch_size) == len(set(drawn.tolist()))
    assert set(drawn.tolist()) <= set(ids.tolist())


@given(num_samples=sizes, batch_size=sizes, epoch=st.integers(0, 5))
def test_an_epoch_repeats_nothing_and_leaves_less_than_a_batch(num_samples: int, batch_size: int, epoch: int) -> None:
    ids = np.arange(num_samples)
    size = batch_size_of(num_samples, batch_size)
    num_batches = num_samples // size
    drawn = [draw(ids, batch_size, epoch * num_batches + k, 0, 0) for k in range(num_batches)]
    used = np.concatenate(drawn)
    assert len(set(used.tolist())) == len(used) > num_samples - size


def test_everything_is_used_in_the_long_run() -> None:
    """With 10 samples in batches of 7, three are left out of each epoch, but not always the same."""
    used = {int(sample) for step in range(20) for sample in draw(np.arange(10), 7, step, 0, 0)}
    assert used == set(range(10))


def test_streams_differ_by_satellite_epoch_and_seed() -> None:
    ids = np.arange(30)
    drawn = [draw(ids, 30, step, seed, satellite) for step in (0, 1) for seed in (0, 1) for satellite in (0, 1)]
    assert len({tuple(one.tolist()) for one in drawn}) == 8
    assert np.array_equal(drawn[0], draw(ids, 30, 0, 0, 0))


def test_a_satellite_without_samples_draws_nothing() -> None:
    assert draw(np.arange(0), 8, 3, 0, 0).size == 0 == batch_size_of(0, 8)


def test_the_given_ids_stay_in_order() -> None:
    ids = np.arange(30)
    draw(ids, 5, 0, 0, 0)
    assert np.array_equal(ids, np.arange(30))


@given(
    num_samples=st.integers(0, 40),
    batch_size=sizes,
    steps=st.integers(0, 60),
    seed=st.integers(0, 2**31),
    satellite=st.integers(0, 99),
)
def test_first_uses_are_those_of_the_batches_drawn(
    num_samples: int, batch_size: int, steps: int, seed: int, satellite: int
) -> None:
    """Whatever the ids are: where an id goes depends on its place among them alone."""
    ids = np.random.default_rng(seed).permutation(1000)[:num_samples]
    seen: set[int] = set()
    expected = []
    for step in range(steps):
        drawn = set(draw(ids, batch_size, step, seed, satellite).tolist())
        expected.append(len(drawn - seen))
        seen |= drawn
    assert first_uses(num_samples, batch_size, steps, seed, satellite).tolist() == expected


@given(num_satellites=st.integers(1, 60), round_index=st.integers(0, 50), seed=st.integers(0, 2**31), data=st.data())
def test_as_many_take_part_as_asked(num_satellites: int, round_index: int, seed: int, data: st.DataObject) -> None:
    per_round = data.draw(st.integers(1, num_satellites))
    chosen = taking_part(num_satellites, per_round, round_index, seed)
    assert len(chosen) == per_round and list(chosen) == sorted(set(chosen))
    assert set(chosen) <= set(range(num_satellites))
    assert chosen == taking_part(num_satellites, per_round, round_index, seed)


def test_everybody_takes_part_equally_often_in_the_long_run() -> None:
    """400 rounds of 5 of 20: each 100 times, and 8.7 is the standard deviation of a binomial draw."""
    times = np.zeros(20, dtype=int)
    for round_index in range(400):
        times[list(taking_part(20, 5, round_index, 0))] += 1
    assert times.sum() == 2000 and abs(times - 100).max() < 4 * 8.7
