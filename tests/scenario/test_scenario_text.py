"""The resolved scenario as text: nothing is lost, and what a new user is given works."""

from __future__ import annotations

import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitune.model.profile import load_profile, shipped_profiles
from orbitune.scenario.keys import Key, keys_of
from orbitune.scenario.learning_keys import LIVE, SHIPPED_MODEL, Method
from orbitune.scenario.load import load
from orbitune.scenario.schema import ARRAYS, SECTIONS, Scenario
from orbitune.scenario.sources import preset_names
from orbitune.scenario.text import OFFERED, describe, dump, fingerprint, new_text, rate_words
from scripts import build_schema_docs


def values_of(key: Key) -> st.SearchStrategy[Any]:
    """Anything the key allows by itself."""
    if key.choices:
        return st.sampled_from(key.choices)
    if key.kind is bool:
        return st.booleans()
    if key.kind is int:
        return st.integers(int(key.low), int(key.high))
    if key.kind is float:
        return st.floats(key.low, key.high, exclude_min=key.above)
    return {
        "name": st.from_regex(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?", fullmatch=True),
        "station": st.from_regex(r"[a-zA-Zé][a-zA-Z0-9 '-]{0,10}", fullmatch=True),
        "utc": st.datetimes(datetime(1957, 1, 1), datetime(2056, 12, 31)).map(lambda moment: moment.isoformat() + "Z"),
        "elements": st.just("planet_sample.tle"),
        "node": st.from_regex(r"[a-zA-Z][a-zA-Z0-9 '-]{0,10}[a-z]", fullmatch=True),
        "path": st.just(str(Path.cwd())),
        "source": st.from_regex(r"[a-z][a-z0-9_.-]{0,10}", fullmatch=True),
        "names": st.lists(st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True), unique=True, max_size=3).map(tuple),
        "mask": st.dictionaries(st.integers(0, 359), st.floats(0, 89), max_size=4).map(
            lambda points: tuple((float(azimuth), points[azimuth]) for azimuth in sorted(points))
        ),
    }[key.form]


@st.composite
def sections(draw: st.DrawFn, section: type, **fixed: object) -> Any:
    """One section with every key drawn that applies beside those before it."""
    values: dict[str, Any] = {}
    for key in keys_of(section):
        if not key.applies(values):
            values[key.name] = key.left_out
        else:
            values[key.name] = fixed[key.name] if key.name in fixed else draw(values_of(key))
    return section(**values)


@st.composite
def shells(draw: st.DrawFn) -> Any:
    planes = draw(st.integers(1, 40))
    return draw(
        sections(
            SECTIONS["shell"],
            kind=draw(st.sampled_from(["walker-delta", "walker-star"])),
            planes=planes,
            satellites=planes * draw(st.integers(20, 60)),
            phasing=draw(st.integers(0, planes - 1)),
            cut_after_block=draw(st.integers(-1, 4)),
            altitude_km=draw(st.floats(1100, 36000)),  # 20 in a plane see each other from 1100 km past a ray of 1000 km
        )
    )


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """A scenario without contradictions, over the whole range of every key that no other key narrows."""
    parts: dict[str, Any] = {name: draw(sections(section)) for name, section in SECTIONS.items() if name not in ARRAYS}
    model = draw(st.sampled_from((*shipped_profiles(), *LIVE)))
    blocks = 4 if model in LIVE else len(load_profile(model).blocks)
    cut = draw(st.integers(0, blocks))
    parts["model"] = draw(sections(SECTIONS["model"], name=model, cut_after_block=cut))
    data = draw(sections(SECTIONS["data"], **({} if model in (SHIPPED_MODEL, *LIVE) else {"dataset": "none"})))
    parts["data"] = data
    parts["train"] = draw(
        sections(
            SECTIONS["train"],
            batch_size=draw(st.integers(1, min(data.samples_per_satellite or 99, 65536))),
            staleness=0,
            satellites_per_round=0,
        )
    )
    parts["time"] = draw(sections(SECTIONS["time"], duration_h=draw(st.floats(1, 2160))))
    policy = draw(st.sampled_from(["grid", "nearest", "visible"]))
    parts["links"] = draw(sections(SECTIONS["links"], isl_inter_policy=policy, isl_intra_enabled=True))
    name = draw(st.sampled_from(["collaborative", "onboard", "download"]))
    parts["method"] = draw(sections(Method, name=name, cache="none"))
    stations = st.lists(
        sections(SECTIONS["ground_station"]), min_size=1, max_size=4, unique_by=lambda found: found.name
    )
    parts["ground_station"] = tuple(draw(stations))
    parts["shell"] = tuple(draw(st.lists(shells(), min_size=1, max_size=3)))
    top = {key.name: draw(values_of(key)) for key in keys_of(Scenario)}
    return Scenario(**top, **parts)


def reloaded(text: str, folder: Path) -> Scenario:
    path = folder / "resolved.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resolved")


@given(scenario=scenarios())
def test_a_resolved_scenario_loads_to_an_equal_one(folder: Path, scenario: Scenario) -> None:
    """Every bit of every float, every text: load(dump(s)) == s, whatever s is."""
    again = reloaded(dump(scenario), folder)
    assert again == scenario
    assert fingerprint(again) == fingerprint(scenario)


@pytest.mark.parametrize("preset", preset_names())
def test_a_resolved_preset_needs_no_other_file(preset: str, folder: Path) -> None:
    scenario = load(preset)
    text = dump(scenario)
    assert "extends" not in tomllib.loads(text)
    assert reloaded(text, folder) == scenario


def test_a_local_tle_file_is_still_found_when_the_resolved_scenario_moves(tmp_path: Path) -> None:
    (tmp_path / "mine.tle").write_text("a file\n")
    (tmp_path / "elsewhere").mkdir()
    mine = tmp_path / "mine.toml"
    mine.write_text('extends = "planet-sample"\n[[shell]]\nkind = "elements"\nelements_file = "mine.tle"\n')
    assert reloaded(dump(load(mine)), tmp_path / "elsewhere") == load(mine)


def test_one_changed_value_is_another_fingerprint() -> None:
    assert fingerprint(load("tiny")) == fingerprint(load("tiny", ["train.rounds=3"]))
    assert fingerprint(load("tiny")) != fingerprint(load("tiny", ["train.rounds=4"]))


@pytest.mark.parametrize("preset", preset_names())
def test_a_new_file_is_the_preset_under_another_name_until_it_is_changed(preset: str, folder: Path) -> None:
    text = new_text(preset)
    expected = dump(load(preset, [f"name=my-{preset}"]))
    assert dump(reloaded(text, folder)) == expected


@pytest.mark.parametrize("preset", preset_names())
def test_every_line_a_new_file_offers_can_be_taken(preset: str, folder: Path) -> None:
    """All keys in [sections] uncommented: still the preset, because they offer its own values."""
    text = new_text(preset)
    start = text.index("[time]")
    taken = text[:start] + text[start:].replace("\n# ", "\n")
    assert taken.count(" = ") > 15
    assert dump(reloaded(taken, folder)) == dump(load(preset, [f"name=my-{preset}"]))


@pytest.mark.parametrize("preset", preset_names())
def test_the_lists_a_new_file_offers_can_be_taken(preset: str, folder: Path) -> None:
    lines = [line.removeprefix("# ") if "=" in line or "[[" in line else line for line in new_text(preset).splitlines()]
    taken = reloaded("\n".join(lines), folder)
    assert taken.shell == load(preset).shell[:1]
    assert taken.ground_station == load(preset).ground_station[:1]


def test_offered_keys_exist() -> None:
    known = {f"{name}.{key.name}" for name, section in SECTIONS.items() for key in keys_of(section)}
    assert set(OFFERED) <= known


@pytest.mark.parametrize(
    ("rate_mbps", "words"),
    [(10000, "10 Gbit/s"), (0.25, "250 kbit/s"), (160, "160 Mbit/s"), (1e6, "1 Tbit/s"), (0.0001, "100 bit/s")],
)
def test_rates_in_words(rate_mbps: float, words: str) -> None:
    assert rate_words(rate_mbps) == words


def test_a_scenario_in_words() -> None:
    words = dict(describe(load("demo", ["links.isl_intra_rate_mbps=10000", "ground_station.Kiruna.antennas=2"])))
    assert words["constellation"] == "Walker star 66/6/2 at 780 km, 86.4 deg: 66 satellites"
    assert "in plane 10 Gbit/s" in words["links"]
    assert words["ground stations"].startswith("10 with 11 antennas, above 10 deg: Svalbard, Fairbanks")
    assert "planned only: 64 samples" in dict(describe(load("demo-spectralgpt")))["data"]
    assert "planet_sample.tle" in dict(describe(load("planet-sample")))["constellation"]


@given(scenario=scenarios())
def test_every_scenario_has_words(scenario: Scenario) -> None:
    assert all(label and value for label, value in describe(scenario))


def test_the_methods_are_those_that_exist() -> None:
    from orbitune.methods import METHODS  # a fault there must not hide what the other tests say of scenarios

    assert set(METHODS) == set(next(key.choices for key in keys_of(Method) if key.name == "name"))


def test_the_page_of_keys_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert build_schema_docs.main(["--check"]) == 0, capsys.readouterr().out


def test_every_key_has_a_meaning_and_a_unit_that_agrees_with_its_name() -> None:
    units = {"_h": "h", "_s": "s", "_ms": "ms", "_km": "km", "_m": "m", "_deg": "deg", "_mbps": "Mbit/s", "_w": "W",
             "_gb": "GB", "_gflops": "GFLOP/s", "_m_s": "m/s", "_deg_s": "deg/s", "_db": "dB", "_dbw": "dBW",
             "_db_k": "dB/K", "_mhz": "MHz", "_ghz": "GHz", "_nm": "nm", "_urad": "urad",
             "_percent": "%", "_px": "px", "_wh": "Wh"}  # fmt: skip
    for section in SECTIONS.values():
        for key in keys_of(section):
            assert key.doc
            suffix = max((ending for ending in units if key.name.endswith(ending)), key=len, default=None)
            assert key.unit == (units[suffix] if suffix else "")
