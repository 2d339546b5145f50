"""Laws of the link gate: what passes is the integral of the rate, inside contacts, in whole chunks, once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitune.execute.gate import CHUNK_BYTES, MESSAGE_BYTES, Gate, Stretch, Window
from orbitune.timeline.rejection import TIME_TOLERANCE_S

RATES_BPS = st.sampled_from([1e6, 8e6, 5e7])


@st.composite
def contacts(draw: st.DrawFn) -> list[Window]:
    """Contacts in order, of which some touch."""
    found, time_s = [], draw(st.floats(0.0, 10.0))
    for _ in range(draw(st.integers(1, 6))):
        time_s += draw(st.sampled_from([0.0, 0.0, 0.5, 30.0]))
        length_s = draw(st.floats(0.01, 5.0))
        found.append(Window(time_s, time_s + length_s, draw(RATES_BPS), draw(st.floats(0.001, 0.1))))
        time_s += length_s
    return found


def integral(windows: list[Window], from_s: float, to_s: float) -> float:
    """Bytes that the rate allows between two moments."""
    shared_s = [(max(0.0, min(w.end_s, to_s) - max(w.start_s, from_s)), w.rate_bps) for w in windows]
    return sum(seconds * rate_bps / 8 for seconds, rate_bps in shared_s)


def sent(gate: Gate, size: int, from_s: float) -> list[Stretch]:
    """All stretches that a transfer takes, as far as there is contact."""
    found: list[Stretch] = []
    left = size
    while left and (stretch := gate.stretch(found[-1].end_s if found else from_s, left)) is not None:
        found.append(stretch)
        left -= stretch.size
    return found


@given(contacts(), st.integers(1, 5_000_000), st.floats(0.0, 40.0), st.floats(0.001, 1.0))
def test_every_byte_leaves_once_at_the_rate_of_its_contact(
    windows: list[Window], size: int, from_s: float, apart_s: float
) -> None:
    stretches = sent(Gate(windows), size, from_s)
    slack = max(w.rate_bps for w in windows) / 8 * TIME_TOLERANCE_S + 1.0
    for number, stretch in enumerate(stretches):
        assert any(w.start_s - 1e-9 <= stretch.start_s <= w.end_s for w in windows)
        assert stretch.size == pytest.approx(integral(windows, stretch.start_s, stretch.end_s), abs=slack)
        assert stretch.size % CHUNK_BYTES == 0 or number == len(stretches) - 1
        messages = list(stretch.departures(apart_s))
        assert [low for low, *_ in messages] == [0, *(high for _, high, *_ in messages)][:-1]
        assert messages[-1][1] == stretch.size and messages[-1][2] == stretch.end_s
        for low, high, leave_s, arrive_s in messages:
            assert low % CHUNK_BYTES == 0 and 0 < high - low <= MESSAGE_BYTES + CHUNK_BYTES
            assert high <= integral(windows, stretch.start_s, leave_s) + slack
            assert any(
                w.start_s < leave_s <= w.end_s + 1e-9 and arrive_s == leave_s + w.delay_s for w in windows
            )  # fmt: skip
    if sum(stretch.size for stretch in stretches) < size:
        # Only what is less than a chunk of each pass is left unused.
        assert integral(windows, from_s, 1e9) < size + len(windows) * CHUNK_BYTES


@given(contacts(), st.floats(0.0, 60.0), st.integers(1, 5_000_000))
def test_a_link_that_is_cut_carries_nothing_any_more(windows: list[Window], cut_s: float, size: int) -> None:
    gate = Gate(windows)
    gate.cut(cut_s)
    assert gate.stretch(cut_s, size) is None
    assert all(stretch.end_s <= cut_s for stretch in sent(gate, size, 0.0))


def test_a_transfer_goes_on_in_the_next_pass() -> None:
    """1 MB/s: 3 chunks and a bit fit before the cut, the rest follows from 100 s on."""
    gate = Gate([Window(0.0, 0.2, 8e6, 0.01), Window(100.0, 200.0, 8e6, 0.02)])
    first, second = sent(gate, 300_000, 0.0)
    assert (first.size, first.start_s) == (3 * CHUNK_BYTES, 0.0)
    assert first.end_s == pytest.approx(3 * CHUNK_BYTES / 1e6)
    assert (second.size, second.start_s) == (300_000 - 3 * CHUNK_BYTES, 100.0)
    assert second.end_s == pytest.approx(100.0 + (300_000 - 3 * CHUNK_BYTES) / 1e6)


def test_what_fits_to_the_last_bit_is_not_cut() -> None:
    gate = Gate([Window(0.1, 0.4, 7e6, 0.01)])
    stretch = gate.stretch(0.1 + 1e-7, int((0.4 - 0.1) * 7e6 / 8))
    assert stretch is not None and stretch.end_s <= 0.4 and stretch.size == 262_500
