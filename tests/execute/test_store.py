"""The store holds what was put first, whatever is repeated or overlaps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitune.execute.store import Store
from orbitune.timeline.activity import Payload

RANGES = st.tuples(st.integers(0, 60), st.integers(1, 40)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def payload(start: int, end: int) -> Payload:
    return Payload("update", frozenset({1, 2}), 3, start, end)


@given(st.lists(st.tuples(RANGES, st.floats(0.0, 9.0)), max_size=12), RANGES)
def test_bytes_and_moments_are_those_of_who_came_first(
    puts: list[tuple[tuple[int, int], float]], asked: tuple[int, int]
) -> None:
    store, held = Store(), dict[int, tuple[int, float]]()
    for number, ((start, end), since_s) in enumerate(puts):
        new = [place for place in range(start, end) if place not in held]
        assert store.put(5, payload(start, end), bytes([number]) * (end - start), since_s) == len(new)
        held.update((place, (number, since_s)) for place in new)
    wanted = range(*asked)
    assert len(store) == len(held)
    if all(place in held for place in wanted):
        assert store.read(5, payload(*asked)) == bytes(held[place][0] for place in wanted)
        assert store.since_s(5, payload(*asked)) == max(held[place][1] for place in wanted)
    else:
        assert store.since_s(5, payload(*asked)) is None
        with pytest.raises(KeyError, match="does not hold"):
            store.read(5, payload(*asked))
    assert store.since_s(4, payload(*asked)) is None


def test_raw_data_is_there_and_cannot_be_read() -> None:
    store = Store()
    image = Payload("image", frozenset({5}), 0, 0, 100)
    store.put(5, image, None, 0.0)
    assert store.since_s(5, image.part(20, 40)) == 0.0 and len(store) == 0
    with pytest.raises(KeyError, match="raw data"):
        store.read(5, image)
