"""ION contact plans: rounding never promises more, the second round trip changes nothing, foreign files are read."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from random_plans import assert_same, assert_valid, plan_of, plans

from orbitune.errors import InputError, PlanError
from orbitune.links.contacts import KINDS, ContactPlan, Nodes
from orbitune.links.ion import read_ion, write_ion
from orbitune.links.plan import find_contacts

SPEED_OF_LIGHT_M_S = 299_792_458.0
COMMAND = re.compile(r"#.*|a contact \+\d+ \+\d+ \d+ \d+ \d+|a range \+\d+ \+\d+ \d+ \d+ \d+|")

NODES = Nodes(("a", "b"), ("x",), ((0, 1),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ion")


def inside(plan: ContactPlan, contact: Any) -> list[Any]:
    """The contacts of the plan that promise at least what this one does."""
    return [
        c
        for c in plan.by_link.get((contact.source, contact.target), ())
        if c.kind == contact.kind and c.start_s <= contact.start_s and contact.end_s <= c.end_s
        and c.rate_bps >= contact.rate_bps and c.delay_s <= contact.delay_s
    ]  # fmt: skip


@given(plans(any_names=True))
def test_the_file_never_promises_more_than_the_plan(folder: Path, plan: ContactPlan) -> None:
    loss = write_ion(folder / "plan.ion", plan)
    back = read_ion(folder / "plan.ion")
    assert_valid(back)
    assert back.nodes == plan.nodes
    assert back.horizon_s == plan.horizon_s
    for contact in back:
        (original,) = inside(plan, contact)
        assert contact.start_s == math.ceil(original.start_s)
        assert contact.end_s == math.floor(original.end_s)
        assert contact.rate_bps == 8.0 * math.floor(original.rate_bps / 8.0)
        assert contact.range_m == contact.delay_s * SPEED_OF_LIGHT_M_S
    assert loss.dropped == len(plan) - len(back)
    time_s = [(one.end_s - one.start_s).sum() for one in (plan, back)]
    volume = [((one.end_s - one.start_s) * one.rate_bps / 8.0).sum() for one in (plan, back)]
    assert loss.lost_s == pytest.approx(time_s[0] - time_s[1], abs=1e-6)
    assert loss.lost_bytes == pytest.approx(volume[0] - volume[1], rel=1e-9, abs=1e-9 * volume[0] + 1e-6)


@given(plans(any_names=True))
def test_the_second_round_trip_is_equal(folder: Path, plan: ContactPlan) -> None:
    write_ion(folder / "one.ion", plan)
    once = read_ion(folder / "one.ion")
    loss = write_ion(folder / "two.ion", once)
    assert (loss.dropped, loss.lost_s, loss.lost_bytes) == (0, 0.0, 0.0)
    assert_same(read_ion(folder / "two.ion"), once)
    assert (folder / "one.ion").read_bytes() == (folder / "two.ion").read_bytes()


@given(plans(any_names=True))
def test_ionadmin_can_read_every_line(folder: Path, plan: ContactPlan) -> None:
    """Commands as in ionrc(5), ASCII, shorter than the 256 bytes of ionadmin's buffer; contacts of a link disjoint."""
    write_ion(folder / "plan.ion", plan)
    lines = (folder / "plan.ion").read_bytes().decode("ascii").split("\n")
    assert all(COMMAND.fullmatch(line) and len(line) < 256 for line in lines)
    for what in ("contact", "range"):
        commands = [list(map(int, line.split()[2:])) for line in lines if line.startswith(f"a {what}")]
        for begin, end, one, other, _ in commands:
            assert 0 <= begin < end
            assert min(one, other) >= 1
            same = [c for c in commands if c[2:4] == [one, other]]
            assert sum(c[0] < end and begin < c[1] for c in same) == 1
    ranges = [line for line in lines if line.startswith("a range")]
    assert all(int(line.split()[4]) < int(line.split()[5]) for line in ranges)  # so they hold for both directions


def test_a_real_plan(tmp_path: Path, cases: dict[str, Any], stations: Any, link_spec: Any) -> None:
    case = cases["star"]
    plan = find_contacts(case.constellation, stations, link_spec, case.start_utc, 20_000.5)
    loss = write_ion(tmp_path / "plan.ion", plan)
    back = read_ion(tmp_path / "plan.ion")
    assert len(back) == len(plan) - loss.dropped
    assert np.array_equal(np.unique(back.delay_s), np.unique(np.ceil(plan.delay_s)))
    assert back.delay_s.max() == 1.0  # what whole light seconds make of some milliseconds
    assert loss.lost_s < 2.0 * len(plan)
    for kind in KINDS:
        assert abs(len(back.of_kind(kind)) - len(plan.of_kind(kind))) <= loss.dropped


def test_the_example_on_paper(tmp_path: Path) -> None:
    rows = [
        (0, 2, "downlink", 10.2, 20.7, 8e6 + 7.0, 1e6, 0.003),
        (2, 0, "uplink", 10.2, 20.7, 1e6, 1e6, 0.003),
        (0, 2, "downlink", 20.7, 31.0, 4e6, 2e6, 1.2),
        (1, 2, "downlink", 50.1, 50.9, 8e6, 1e6, 0.01),
        (0, 1, "isl_intra", 0.0, 99.5, 7.9, 2e6, 0.0),
        (2, 3, "backhaul", 0.0, 99.5, 1e9, 0.0, 0.0),
    ]
    loss = write_ion(tmp_path / "plan.ion", plan_of(NODES, 99.5, rows))
    assert (tmp_path / "plan.ion").read_text() == (
        "# Contact plan for ionadmin.\n"
        '# format = "orbitune contact plan 1"\n'
        "# horizon_s = 99.5\n"
        "# planes = 1\n"
        '# node 1 = ["a", "satellite", 0, 0]\n'
        '# node 2 = ["b", "satellite", 0, 1]\n'
        '# node 3 = ["x", "station"]\n'
        '# node 4 = ["server", "server"]\n'
        '# kind = "downlink"\n'
        "a contact +11 +20 1 3 1000000\n"
        "a contact +21 +31 1 3 500000\n"
        '# kind = "uplink"\n'
        "a contact +11 +20 3 1 125000\n"
        '# kind = "backhaul"\n'
        "a contact +0 +99 3 4 125000000\n"
        "a range +11 +20 1 3 1\n"
        "a range +21 +31 1 3 2\n"
        "a range +0 +99 3 4 0\n"
    )
    assert loss.dropped == 2  # less than a second, less than a byte per second
    assert loss.lost_s == pytest.approx(2 * 1.5 + 0.3 + 0.8 + 99.5 + 0.5)


FOREIGN = """## begin ionadmin
1 1 ''
s
@ 2027/01/01-00:00:00
# pass one
a contact +100 +400 10 20 1000000 0.9
a contact +100 +400 20 10 2000
a contact -1 -1 10 10 0
a contact 0 0 10 20 0
a range +0 +200 10 20 1
a range +200 +500 10 20 3
a range +100 +400 20 10 2
m production 1000000
## end ionadmin
"""


def foreign(tmp_path: Path, text: str, numbers: dict[int, int] | None = None) -> ContactPlan:
    (tmp_path / "foreign.ionrc").write_text(text)
    nodes = Nodes(("sat",), ("dish",), ((0,),))
    return read_ion(tmp_path / "foreign.ionrc", nodes, {10: 0, 20: 1} if numbers is None else numbers)


def test_a_foreign_file_is_read_when_the_nodes_are_given(tmp_path: Path) -> None:
    plan = foreign(tmp_path, FOREIGN)
    assert plan.horizon_s == 400.0
    assert [(c.source, c.target, c.kind, c.start_s, c.end_s, c.rate_bps, c.delay_s) for c in plan] == [
        (0, 1, "downlink", 100.0, 400.0, 8e6, 3.0),  # two ranges cover it, the longer counts
        (1, 0, "uplink", 100.0, 400.0, 16e3, 2.0),  # told for its own direction
    ]
    one_way = foreign(tmp_path, FOREIGN.replace("a range +100 +400 20 10 2\n", ""))
    assert one_way.delay_s.tolist() == [3.0, 3.0]  # a range from the lower number goes for both


def test_a_range_from_the_higher_number_says_nothing_about_the_way_back(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, re.sub(r"a range .* 10 20 \d\n", "", FOREIGN))
    assert line.strip().startswith("line 6: no 'a range' covers this contact from 10 to 20")


def refused(tmp_path: Path, text: str, numbers: dict[int, int] | None = None) -> Sequence[str]:
    with pytest.raises(InputError) as error:
        foreign(tmp_path, text, numbers)
    return str(error.value).splitlines()[1:-1]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("a contact +100 +400 20 10 2000", "a contact 2027/01/01-00:00:00 +400 20 10 2", "line 7: .*like \\+3600"),
        ("a contact +100 +400 20 10 2000", "a contact +100 +400 20 10", "line 7: .* must have 5 values"),
        ("a contact +100 +400 20 10 2000", "a contact +100 +400 20 10 2.5", "line 7: .* must be whole numbers"),
        ("a contact +100 +400 20 10 2000", "d contact +100 20 10", "line 7: .* changes the plan"),
        ("a contact +100 +400 20 10 2000", "@ +50", "line 7: '@ \\+50' moves the reference time half way"),
        ("a contact +100 +400 20 10 2000", "a contact +100 +600 20 10 2", "line 7: no 'a range' covers this contact"),
        ("a contact +100 +400 20 10 2000", "a contact +100 +400 20 10 0", "line 7: rate_bps = 0.0 must be more than 0"),
        ("a contact +100 +400 20 10 2000", "a contact +100 +400 10 20 9", "line 7: overlaps line 6 "),
        ("+0 +200 10 20 1", "+0 +199 10 20 1", "line 6: no 'a range' covers this contact from 10 to 20"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in FOREIGN
    (line,) = refused(tmp_path, FOREIGN.replace(old, new))
    assert re.search(words, line)


def test_unknown_nodes_are_told_by_their_ion_number(tmp_path: Path) -> None:
    lines = refused(tmp_path, FOREIGN, {10: 0, 20: 7})
    assert [line.split(",")[0].strip() for line in lines] == [
        "line 6: target 20 is not a node of this plan",
        "line 7: source 20 is not a node of this plan",
    ]
    assert "it has no contact" in refused(tmp_path, "## nothing\n")[0]


def test_a_foreign_file_without_nodes_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "foreign.ionrc").write_text(FOREIGN)
    with pytest.raises(InputError, match=r"which nodes are satellites and stations; give `nodes` to read_ion"):
        read_ion(tmp_path / "foreign.ionrc")
    with pytest.raises(InputError, match="cannot read"):
        read_ion(tmp_path / "nothing here")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"satellite", 0, 1', '"dish"'),
        ("# planes = 1", "# planes = 0"),
        ("# planes = 1", "# planes = many"),
        ('["server", "server"]', "9"),
        ("# horizon_s = 50.0", "# horizon_s = -1"),
    ],
)
def test_damaged_remarks_are_refused(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "plan.ion"
    write_ion(path, plan_of(NODES, 50.0, [(0, 2, "downlink", 1.0, 9.0, 8e6, 1e6, 0.1)]))
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=str(path)):
        read_ion(path)


def test_a_name_too_long_for_ionadmin_is_refused(tmp_path: Path) -> None:
    plan = plan_of(Nodes(("s" * 240,), (), ((0,),)), 50.0, [])
    with pytest.raises(PlanError, match="too long for ionadmin"):
        write_ion(tmp_path / "plan.ion", plan)
    assert not (tmp_path / "plan.ion").exists()
