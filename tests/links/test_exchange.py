"""CSV and JSON: every bit comes back, a person can read and change the file, and nothing wrong gets in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_plans import assert_same, assert_valid, plan_of, plans

from orbitune.errors import InputError, PlanError
from orbitune.links.contacts import ContactPlan, Nodes
from orbitune.links.exchange import csv_text, read_csv, read_json, write_csv, write_json
from orbitune.links.plan import find_contacts

FORMATS = pytest.mark.parametrize(
    ("write", "read"), [(write_csv, read_csv), (write_json, read_json)], ids=["csv", "json"]
)

NODES = Nodes(("a", "b"), ("x",), ((0, 1),))
ROWS: list[Any] = [
    (0, 2, "downlink", 10.0, 20.5, 8e6, 1e6, 0.1 + 0.2),
    (2, 0, "uplink", 10.0, 20.5, 1e6, 1e6, 0.01),
    (0, 1, "isl_intra", 30.0, 40.0, 5e6, 2e6, 0.02),
    (2, 3, "backhaul", 0.0, 100.0, 1e9, 0.0, 0.005),
]


@pytest.fixture
def small() -> ContactPlan:
    return plan_of(NODES, 100.0, ROWS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plans")


@FORMATS
@given(plan=plans(any_names=True))
def test_every_bit_comes_back(write: Any, read: Any, folder: Path, plan: ContactPlan) -> None:
    write(folder / "plan", plan)
    back = read(folder / "plan")
    assert_same(back, plan)
    assert_valid(back)
    assert back.nodes.plane_of == plan.nodes.plane_of


@FORMATS
def test_a_real_plan_comes_back(
    write: Any, read: Any, tmp_path: Path, cases: dict[str, Any], stations: Any, link_spec: Any
) -> None:
    case = cases["star"]
    plan = find_contacts(case.constellation, stations, link_spec, case.start_utc, 10_000.0)
    write(tmp_path / "plan", plan)
    assert_same(read(tmp_path / "plan"), plan)


def test_the_csv_is_the_one_described(tmp_path: Path, small: ContactPlan) -> None:
    write_csv(tmp_path / "plan.csv", small)
    assert (tmp_path / "plan.csv").read_text() == csv_text(small)
    assert csv_text(small) == (
        '# format = "orbitune contact plan 1"\n'
        "# horizon_s = 100.0\n"
        '# satellites = ["a", "b"]\n'
        '# stations = ["x"]\n'
        "# planes = [[0, 1]]\n"
        "source,target,kind,start_s,end_s,rate_bps,range_m,delay_s\n"
        "x,server,backhaul,0.0,100.0,1000000000.0,0.0,0.005\n"
        "a,x,downlink,10.0,20.5,8000000.0,1000000.0,0.30000000000000004\n"
        "x,a,uplink,10.0,20.5,1000000.0,1000000.0,0.01\n"
        "a,b,isl_intra,30.0,40.0,5000000.0,2000000.0,0.02\n"
    )


def test_the_json_is_plain(tmp_path: Path, small: ContactPlan) -> None:
    write_json(tmp_path / "plan.json", small)
    content = json.loads((tmp_path / "plan.json").read_text())
    assert list(content) == ["format", "horizon_s", "satellites", "stations", "planes", "contacts"]
    assert content["contacts"]["kind"] == ["backhaul", "downlink", "uplink", "isl_intra"]
    assert content["contacts"]["source"] == [2, 0, 2, 0]


def edited(text: str) -> str:
    """The text as another hand might save it: lines and columns in another order, remarks, Windows line ends."""
    lines = text.splitlines()
    heading, names, rows = lines[:5], lines[5], lines[6:]
    turned = [",".join(reversed(line.split(","))) for line in [names, *reversed(rows)]]
    return "\ufeff" + "\r\n".join([*heading, "# a remark", "", *turned, ",,,,,,,"]) + "\r\n"


def resaved(text: str) -> str:
    """The text as a spreadsheet saves it: every line as wide as the widest, quotes around cells that hold quotes."""
    rows = [next(csv.reader([line])) for line in text.splitlines()]
    width = max(map(len, rows))
    out = io.StringIO()
    csv.writer(out).writerows([*row, *[""] * (width - len(row))] for row in rows)
    return out.getvalue()


@pytest.mark.parametrize("change", [edited, resaved])
def test_a_plan_that_a_person_saved_again_is_the_same(
    tmp_path: Path, small: ContactPlan, change: Callable[[str], str]
) -> None:
    path = tmp_path / "plan.csv"
    write_csv(path, small)
    path.write_bytes(change(path.read_text()).encode())
    assert_same(read_csv(path), small)


BAD_ROWS = [
    ("aa,x,downlink,1,2,8,1,0.1", "source 'aa' is not a node of this plan; did you mean 'a'?"),
    (
        "a,nowhere,downlink,1,2,8,1,0.1",
        "target 'nowhere' is not a node of this plan, which has 2 satellites, 1 stations",
    ),
    ("a,x,down,1,2,8,1,0.1", "kind 'down' is unknown; allowed are downlink, uplink, isl_intra, isl_inter, backhaul"),
    ("a,x,uplink,1,2,8,1,0.1", "goes from a satellite to a station, which is no uplink"),
    ("a,a,isl_intra,1,2,8,1,0.1", "goes from 'a' to itself"),
    ("a,x,downlink,2,2,8,1,0.1", "starts at 2 s and ends at 2 s; it must end after its start"),
    ("a,x,downlink,-1,2,8,1,0.1", "outside the plan, which lasts from 0 to 100 s"),
    ("a,x,downlink,99,101,8,1,0.1", "lasts from 99 to 101 s, outside the plan"),
    ("a,x,downlink,1,2,-8,1,0.1", "rate_bps = -8 must be more than 0"),
    ("a,x,downlink,1,2,0,1,0.1", "rate_bps = 0 must be more than 0"),
    ("a,x,downlink,nan,2,8,1,0.1", "start_s = nan is not a finite number"),
    ("a,x,downlink,1,2,inf,1,0.1", "rate_bps = inf is not a finite number"),
    ("a,x,downlink,1,2,8,far,0.1", "range_m = far is not a finite number"),
    ("a,x,downlink,1,2,8,1,-0.1", "delay_s = -0.1 must be 0 or more"),
    ("a,x,downlink,20,30,8,1,0.1", "overlaps line 8 on the link from a to x, which ends at 20.5 s"),
]


@pytest.mark.parametrize(("row", "words"), BAD_ROWS)
def test_each_rule_is_kept(tmp_path: Path, small: ContactPlan, row: str, words: str) -> None:
    path = tmp_path / "plan.csv"
    write_csv(path, small)
    path.write_text(path.read_text() + row + "\n")
    with pytest.raises(InputError) as error:
        read_csv(path)
    assert str(error.value).startswith(f"{path} is not a contact plan that can be used:\n  line 11: ")
    assert words in str(error.value)
    assert str(error.value).endswith("\n1 problem in all.")


def test_all_problems_are_told_at_once_in_order(tmp_path: Path, small: ContactPlan) -> None:
    path = tmp_path / "plan.csv"
    write_csv(path, small)
    path.write_text(path.read_text() + "".join(row + "\n" for row, _ in BAD_ROWS))
    with pytest.raises(InputError) as error:
        read_csv(path)
    lines = str(error.value).splitlines()[1:-1]
    for place, (_, words) in enumerate(BAD_ROWS):
        assert any(line.startswith(f"  line {11 + place}: ") and words in line for line in lines), words
    numbers = [int(line.split()[1].rstrip(":")) for line in lines]
    assert numbers == sorted(numbers)
    path.write_text(path.read_text() + "a,x,downlink,5,4,8,1,0.1\n" * 500)
    with pytest.raises(InputError, match=r"\.\.\. and 4\d\d more\n5\d\d problems in all"):
        read_csv(path)


def test_contacts_that_touch_are_no_overlap_and_a_long_one_is_seen_behind_short_ones(
    tmp_path: Path, small: ContactPlan
) -> None:
    path = tmp_path / "plan.csv"
    write_csv(path, small)
    whole = path.read_text()
    path.write_text(whole + "a,x,downlink,20.5,21,8,1,0.1\n")
    assert len(read_csv(path)) == 5
    path.write_text(whole + "b,x,downlink,0,90,8,1,0.1\nb,x,downlink,10,20,8,1,0.1\nb,x,downlink,30,40,8,1,0.1\n")
    with pytest.raises(InputError, match=r"line 12: overlaps line 11 .*\n.*line 13: overlaps line 11 "):
        read_csv(path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("# horizon_s = 100.0\n", "", "horizon_s is missing"),
        ("horizon_s = 100.0", "horizon_s = soon", 'horizon_s = "soon" must be a number of seconds, more than 0'),
        ("horizon_s = 100.0", "horizon_s = Infinity", "horizon_s = Infinity must be a number"),
        ("contact plan 1", "contact plan 2", "a later version needs a later Orbitune"),
        ("[[0, 1]]", "[[0, 0]]", "must hold each of the satellites 0 to 1 once"),
        ("[[0, 1]]", "[[0, true]]", "planes = .* must be a list of planes"),
        ('["x"]', '["b"]', "several nodes are called 'b'"),
        ("delay_s\n", "delay\n", "line 6: no column delay_s; it has source,target,"),
        ("isl_intra,30.0", "isl_intra,30.0,30.0", "line 10: 9 cells instead of 8"),
        ("a,x,", '"a"b,x,', "line 8: "),
    ],
)
def test_a_broken_heading_or_table_is_one_clear_error(
    tmp_path: Path, small: ContactPlan, old: str, new: str, words: str
) -> None:
    path = tmp_path / "plan.csv"
    write_csv(path, small)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=words):
        read_csv(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda plan: plan.pop("contacts"), "contacts must be an object with a list for each of source"),
        (lambda plan: plan["contacts"]["end_s"].pop(), "must be equally long; they have .*end_s 3"),
        (lambda plan: plan["contacts"]["source"].__setitem__(1, 9), "contact 1: source 9 is not a node of this plan"),
        (lambda plan: plan["contacts"]["source"].__setitem__(1, "a"), "contact 1: source 'a' is not a node"),
        (lambda plan: plan["contacts"]["kind"].__setitem__(2, None), "contact 2: kind None is unknown"),
        (
            lambda plan: plan["contacts"]["rate_bps"].__setitem__(3, "fast"),
            "contact 3: rate_bps = fast is not a finite",
        ),
        (lambda plan: plan.pop("satellites"), "satellites is missing"),
    ],
)
def test_wrong_json_is_one_clear_error(tmp_path: Path, small: ContactPlan, change: Any, words: str) -> None:
    path = tmp_path / "plan.json"
    write_json(path, small)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=words):
        read_json(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"1,2,3\n", b"# format = 3\n"])
@pytest.mark.parametrize("read", [read_csv, read_json])
def test_what_is_no_plan_at_all_is_refused(tmp_path: Path, read: Any, content: bytes) -> None:
    path = tmp_path / "plan"
    path.write_bytes(content)
    with pytest.raises(InputError, match=str(path)):
        read(path)
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path / "nothing here")


def test_a_csv_needs_a_name_for_each_node(tmp_path: Path) -> None:
    plan = plan_of(Nodes(("a", "a"), (), ((0, 1),)), 10.0, [])
    with pytest.raises(PlanError, match="several nodes are called 'a'"):
        write_csv(tmp_path / "plan.csv", plan)
    write_json(tmp_path / "plan.json", plan)  # there nodes are numbers
    assert_same(read_json(tmp_path / "plan.json"), plan)


@given(text=st.text(max_size=60))
def test_any_text_is_a_plan_or_an_input_error(folder: Path, text: str) -> None:
    values = {"format": '"orbitune contact plan 1"', "horizon_s": "9", "satellites": '["a"]', "stations": "[]"}
    heading = "".join(f"# {key} = {value}\n" for key, value in {**values, "planes": "[[0]]"}.items())
    for start in ("", heading, heading + "source,target,kind,start_s,end_s,rate_bps,range_m,delay_s\n"):
        (folder / "any").write_bytes((start + text).encode(errors="surrogatepass"))
        try:
            read_csv(folder / "any")
        except InputError as error:
            assert str(folder / "any") in str(error)
