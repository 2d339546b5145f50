"""Files, `extends`, `--set`, and what is said when something is wrong."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitune.errors import InputError, OrbituneError, Problem, ScenarioError
from orbitune.scenario.keys import Key, keys_of
from orbitune.scenario.load import load
from orbitune.scenario.schema import ARRAYS, OPTIONAL, SECTIONS, Scenario, key_names
from orbitune.scenario.sources import preset_names, preset_text


def problems(path: str | Path, *sets: str) -> list[Problem]:
    """What is wrong with a scenario; fails where nothing is."""
    with pytest.raises(ScenarioError) as caught:
        load(path, sets)
    return list(caught.value.problems)


def only_problem(path: str | Path, *sets: str) -> Problem:
    (problem,) = problems(path, *sets)
    return problem


def write(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def declared(section: type, name: str) -> Key:
    return next(key for key in keys_of(section) if key.name == name)


SWITCHES = {
    "kind": "walker-star",
    "dataset": "brandenburg",
    "trains": "encoder",
    "name": "galileo-nano",
    "server_optimizer": "average",
}

ALL_KEYS = [("", key) for key in keys_of(Scenario)] + [
    (f"{name}.0." if name in ARRAYS else f"{name}.", key)
    for name, section in SECTIONS.items()
    for key in keys_of(section)
    if key.only_if is None or key.applies(SWITCHES)
]
"""Every key that means something in the tiny preset (and a few more), with its place."""

IN_TINY = [(place, key) for place, key in ALL_KEYS if key.name not in ("dirichlet_alpha", "momentum")]

WIDE = """extends = "tiny"
[links]
downlink_rate_model = "rf"
downlink_eirp_dbw = 13
downlink_g_over_t_db_k = 30
downlink_frequency_ghz = 8.2
downlink_bandwidth_mhz = 100
uplink_rate_model = "rf"
uplink_eirp_dbw = 50
uplink_g_over_t_db_k = -10
uplink_frequency_ghz = 2.05
uplink_bandwidth_mhz = 10
weather = "itu"
weather_availability_percent = 99
isl_rate_model = "optical"
optical_power_w = 1
optical_aperture_m = 0.1
optical_photons_per_bit = 100
optical_max_rate_mbps = 10000
isl_inter_policy = "nearest"
[[fault]]
node = "Svalbard"
"""
"""The tiny preset with every switch of its links turned, for the keys that mean nothing in it."""


def base_for(place: str, key: Key, folder: Path) -> str | Path:
    """A scenario in which a key means something."""
    links = load("tiny").links
    values = {one.name: getattr(links, one.name) for one in keys_of(SECTIONS["links"])}
    in_tiny = place != "fault.0." and (place != "links." or key.applies(values))
    return "tiny" if in_tiny else write(folder, WIDE, "wide.toml")


def label(value: object) -> str:
    return value.name if isinstance(value, Key) else str(value)


# -- presets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_is_a_scenario(preset: str) -> None:
    assert load(preset).name == preset


def test_the_presets_are_those_promised() -> None:
    assert {"demo", "tiny", "demo-spectralgpt", "planet-sample", "reconstructed"} <= set(preset_names())


def test_every_number_of_the_demo_is_written_and_nothing_rests_on_a_silent_default() -> None:
    """All keys without a default, and those with a sourced value, stand in the file where their comments are."""
    table = tomllib.loads(preset_text("demo"))
    for name, section in SECTIONS.items():
        for written in table.get(name, []) if name in ARRAYS else [table[name]]:
            values = {key.name: key.left_out for key in keys_of(section)} | written
            required = {key.name for key in keys_of(section) if key.required and key.applies(values)}
            assert required <= set(written)


def test_reconstructed_is_the_one_way_ring_with_maximum_flow_and_nothing_compressed() -> None:
    method = load("reconstructed").method
    assert (method.intra_orbit, method.satellite_ground, method.codec) == ("ring", "max_flow", "fp32")
    assert load("reconstructed").train.trains == "head"


# -- extends -----------------------------------------------------------------------------------------------------------


def test_a_file_changes_what_it_writes_and_keeps_the_rest(tmp_path: Path) -> None:
    mine = load(write(tmp_path, 'name = "mine"\nextends = "tiny"\n[train]\nrounds = 9\n'))
    tiny = load("tiny")
    assert (mine.name, mine.train.rounds) == ("mine", 9)
    assert (mine.links, mine.shell, mine.train.batch_size) == (tiny.links, tiny.shell, tiny.train.batch_size)


def test_chains_of_files_count_from_their_own_folders(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    write(tmp_path / "base", 'name = "root"\nextends = "tiny"\n[train]\nrounds = 4\nbatch_size = 3\n', "root.toml")
    write(tmp_path / "base", 'extends = "root.toml"\n[train]\nrounds = 5\n', "middle.toml")
    leaf = load(write(tmp_path, 'extends = "base/middle.toml"\n'))
    assert (leaf.name, leaf.train.rounds, leaf.train.batch_size) == ("root", 5, 3)


def test_a_list_replaces_the_whole_list(tmp_path: Path) -> None:
    text = 'extends = "demo"\n[[ground_station]]\nname = "Here"\nlatitude_deg = 1\nlongitude_deg = 2\n'
    (station,) = load(write(tmp_path, text)).ground_station
    assert (station.name, station.antennas, station.min_elevation_deg) == ("Here", 1, 10.0)


@pytest.mark.parametrize("first", ["a.toml", "./a.toml"])
def test_a_circle_is_refused(tmp_path: Path, first: str) -> None:
    write(tmp_path, 'extends = "b.toml"\n', "a.toml")
    write(tmp_path, f'extends = "{first}"\n', "b.toml")
    problem = only_problem(tmp_path / "a.toml")
    assert problem.key == "extends"
    assert "circle" in problem.message
    assert problem.message.count("a.toml") == 2


def test_extending_nothing_names_the_nearest(tmp_path: Path) -> None:
    assert "did you mean tiny?" in only_problem(write(tmp_path, 'extends = "tinny"\n')).message
    assert "no file" in only_problem(write(tmp_path, 'extends = "other.toml"\n')).message
    assert "shipped preset" in only_problem(write(tmp_path, "extends = 3\n")).message


# -- files that cannot be read -----------------------------------------------------------------------------------------


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, 'extends = "tiny"\n', "mission.toml")
    with pytest.raises(InputError, match=r"did you mean .*mission\.toml"):
        load(tmp_path / "misson.toml")
    with pytest.raises(InputError, match="did you mean demo"):
        load("demmo")
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path)


def test_text_that_is_not_toml_is_placed(tmp_path: Path) -> None:
    problem = only_problem(write(tmp_path, 'name = "x"\n[time\nduration_h = 3\n'))
    assert "line 2" in problem.key
    assert problem.message.startswith("not valid TOML")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"\n')
    with pytest.raises(InputError, match="UTF-8"):
        load(tmp_path / "latin.toml")


# -- single values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "key"), IN_TINY, ids=label)
def test_a_wrong_type_is_named(place: str, key: Key, tmp_path: Path) -> None:
    value, words = ("3", "not a whole number") if key.kind is tuple else ("[1]", "not a list")
    problem = only_problem(base_for(place, key, tmp_path), f"{place}{key.name}={value}")
    assert (problem.key, problem.file) == (place + key.name, "--set")
    assert words in problem.message


@pytest.mark.parametrize(("place", "key"), [pair for pair in IN_TINY if pair[1].kind in (int, float)], ids=label)
def test_a_number_out_of_range_is_refused_and_a_truth_value_is_no_number(place: str, key: Key, tmp_path: Path) -> None:
    base, name = base_for(place, key, tmp_path), place + key.name
    for value in (key.low - 1, key.high + 1, "nan", "inf", "true"):
        found = [problem for problem in problems(base, f"{name}={value}") if problem.key == name]
        assert found, f"{key.name} = {value} passed"
        assert key.allowed in found[0].message
    assert bool(key.above) == any(problem.key == name for problem in _problems_or_none(base, f"{name}={key.low}"))


def _problems_or_none(path: str | Path, *sets: str) -> list[Problem]:
    try:
        load(path, sets)
    except ScenarioError as error:
        return [problem for problem in error.problems if "must be a" in problem.message]
    return []


@pytest.mark.parametrize(("place", "key"), [pair for pair in IN_TINY if pair[1].choices], ids=label)
def test_a_wrong_word_lists_the_right_ones(place: str, key: Key) -> None:
    problem = problems("tiny", f"{place}{key.name}=nonsense")[0]
    assert problem.key == place + key.name
    assert all(choice in problem.message for choice in key.choices)


@pytest.mark.parametrize("name", [name for name in key_names() if len(name.rpartition(".")[2]) > 3])
def test_a_misspelt_key_finds_the_right_one(tmp_path: Path, name: str) -> None:
    """Two letters swapped in any key: the error names the key that was meant."""
    place, _, last = name.rpartition(".")
    middle = next(i for i in range(1, len(last) - 1) if last[i] != last[i + 1])
    wrong = last[:middle] + last[middle + 1] + last[middle] + last[middle + 2 :]
    section = place.removesuffix(".0")
    title = "" if not section else f"[[{section}]]\n" if section in ARRAYS else f"[{section}]\n"
    found = [p for p in problems(write(tmp_path, f"{title}{wrong} = 1\n")) if p.key.endswith(wrong)]
    assert f"did you mean {name}" in found[0].message or f" or {name}?" in found[0].message


def test_a_key_in_the_wrong_section_finds_its_own(tmp_path: Path) -> None:
    problem = only_problem(write(tmp_path, 'extends = "tiny"\n[links]\nrounds = 3\n'))
    assert (problem.key, problem.value) == ("links.rounds", 3)
    assert "did you mean train.rounds?" in problem.message


def test_an_unknown_section_lists_the_sections(tmp_path: Path) -> None:
    assert "sections are time, shell" in only_problem(write(tmp_path, 'extends = "tiny"\n[plan]\nx = 3\n')).message
    assert "did you mean [train]?" in only_problem(write(tmp_path, 'extends = "tiny"\n[trian]\nx = 3\n')).message


def test_one_bracket_or_two(tmp_path: Path) -> None:
    assert "[[shell]]" in problems(write(tmp_path, 'extends = "tiny"\n[shell]\nplanes = 3\n'))[0].message
    assert "[links]" in problems(write(tmp_path, 'extends = "tiny"\n[[links]]\nhop_latency_ms = 3\n'))[0].message


def test_a_file_with_nothing_in_it_asks_for_sections_once_each(tmp_path: Path) -> None:
    found = problems(write(tmp_path, 'name = "empty"\n'))
    assert {problem.key.strip("[]") for problem in found} == set(SECTIONS) - set(OPTIONAL)
    assert all('extends = "demo"' in problem.message for problem in found)


def test_a_missing_key_says_what_it_must_be(tmp_path: Path) -> None:
    text = 'extends = "tiny"\n[[ground_station]]\nname = "A"\nlatitude_deg = 3\n'
    problem = only_problem(write(tmp_path, text))
    assert problem.key == "ground_station.0.longitude_deg"
    assert problem.file.endswith("mine.toml")
    assert "missing" in problem.message and "-180 to 180 deg" in problem.message


def test_all_problems_come_at_once_each_with_its_file(tmp_path: Path) -> None:
    write(tmp_path, 'extends = "tiny"\n[time]\nduration_h = -1\n', "base.toml")
    mine = write(
        tmp_path, 'extends = "base.toml"\n[train]\nronuds = 3\n[method]\ncodec = "fp8"\n[model]\ncut_after_block = 9\n'
    )
    found = {problem.key: Path(problem.file).name for problem in problems(mine, "seed=x", "links.nothing=1")}
    assert found == {
        "time.duration_h": "base.toml",
        "train.ronuds": "mine.toml",
        "method.codec": "mine.toml",
        "model.cut_after_block": "mine.toml",
        "seed": "--set",
        "links.nothing": "--set",
    }


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("2025-03-20T00:00:00Z", True),
        ("2025-03-20T00:00:00.25+00:00", True),
        ("2025-03-20T00:00:00", False),
        ("2025-03-20T00:00:00+01:00", False),
        ("1950-01-01T00:00:00Z", False),
        ("tomorrow", False),
    ],
)
def test_the_start_is_in_utc(tmp_path: Path, text: str, good: bool) -> None:
    for spelling in (f'"{text}"', text) if text != "tomorrow" else (f'"{text}"',):
        path = write(tmp_path, f'extends = "tiny"\n[time]\nstart_utc = {spelling}\n')
        if good:
            assert load(path).time.start_utc.endswith("Z")
        else:
            assert only_problem(path).key == "time.start_utc"


def test_equal_moments_are_equal_scenarios(tmp_path: Path) -> None:
    first = load("tiny", ["time.start_utc=2025-03-20T00:00:00Z"])
    second = load("tiny", ['time.start_utc="2025-03-20T00:00:00+00:00"'])
    assert first == second


def test_a_tle_file_is_found_beside_the_scenario_or_among_the_shipped(tmp_path: Path) -> None:
    text = 'extends = "planet-sample"\n[[shell]]\nkind = "elements"\nelements_file = "mine.tle"\n'
    problem = only_problem(write(tmp_path, text))
    assert problem.key == "shell.0.elements_file"
    assert "planet_sample.tle" in problem.message
    (tmp_path / "mine.tle").write_text("no elements, but a file\n")
    assert load(tmp_path / "mine.toml").shell[0].elements_file == str(tmp_path / "mine.tle")
    assert load("planet-sample").shell[0].elements_file == "planet_sample.tle"


# -- --set -------------------------------------------------------------------------------------------------------------


def test_set_reaches_every_kind_of_key() -> None:
    scenario = load(
        "demo",
        [
            "name=other",
            "seed=5",
            "train.rounds=3",
            "links.full_duplex=false",
            "method.codec=fp16",
            "shell.0.planes=3",
            "ground_station.Punta Arenas.antennas=2",
            "ground_station.0.antennas=4",
        ],
    )
    assert (scenario.name, scenario.seed, scenario.train.rounds) == ("other", 5, 3)
    assert (scenario.links.full_duplex, scenario.method.codec, scenario.shell[0].planes) == (False, "fp16", 3)
    antennas = {station.name: station.antennas for station in scenario.ground_station}
    assert (antennas["Punta Arenas"], antennas["Svalbard"], antennas["Kiruna"]) == (2, 4, 1)


def test_the_last_set_wins() -> None:
    assert load("tiny", ["train.rounds=3", "train.rounds=4"]).train.rounds == 4


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("train.rounds", "KEY=VALUE"),
        ("=3", "KEY=VALUE"),
        ("train..rounds=3", "KEY=VALUE"),
        ("extends=demo", "cannot be set"),
        ("shell.3.planes=2", "numbered 0 to 0"),
        ("ground_station.Kourou.antennas=2", "named Svalbard, Wallops, Hartebeesthoek"),
        ("ground_station.Svalbard=2", "name one key"),
        ("ground_station.Svalbard.antenas=2", "did you mean ground_station.0.antennas?"),
        ("train.rounds.more=2", "is one value; write train.rounds=VALUE"),
        ("plan.x=2", "unknown section"),
        ("train=2", "[train]"),
    ],
)
def test_a_wrong_set_is_explained(change: str, says: str) -> None:
    problem = only_problem("tiny", change)
    assert problem.file == "--set"
    assert says in problem.message


@given(st.sampled_from([place + key.name for place, key in ALL_KEYS]), st.text(max_size=30))
def test_no_value_on_the_command_line_gives_a_traceback(name: str, text: str) -> None:
    try:
        load("tiny", [f"{name}={text}"])
    except ScenarioError as error:
        assert all(problem.message for problem in error.problems)


junk = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["name", "kind", "x"]), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*SECTIONS, "name", "seed", "extends", "x"]), junk, max_size=4))
def test_no_file_gives_a_traceback(tmp_path_factory: pytest.TempPathFactory, table: dict[str, object]) -> None:
    path = tmp_path_factory.mktemp("junk") / "junk.toml"
    path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in table.items()), encoding="utf-8")
    with pytest.raises(OrbituneError):
        load(path)


def toml(value: object) -> str:
    """Any junk as inline TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" if not 0xD800 <= ord(c) < 0xE000 else "?" for c in value) + '"'
    return str(value).lower() if isinstance(value, bool) else repr(value)


TREE, NO_RING, GRAZING = "method.inter_orbit=earliest_tree", "method.intra_orbit=none", "links.grazing_altitude_km=300"


# -- contradictions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "sets", "key", "says"),
    [
        ("demo", ["shell.0.planes=7"], "shell.0.planes", "does not divide"),
        ("demo", ["shell.0.phasing=6"], "shell.0.phasing", "below planes = 6"),
        ("planet-sample", ["method.intra_orbit=ring"], "method.intra_orbit", 'method.intra_orbit = "none"'),
        ("planet-sample", ["links.isl_inter_policy=grid"], "links.isl_inter_policy", "nearest"),
        ("planet-sample", ["method.name=reconstructed"], "method.name", "rings"),
        ("demo", [TREE, "links.isl_inter_policy=none"], "method.inter_orbit", "isl_inter_policy"),
        ("demo", ["model.cut_after_block=5"], "model.cut_after_block", "from 0 (after the embedding) to 4"),
        ("demo", ["model.name=vit-b-16"], "model.name", 'data.dataset = "none"'),
        ("demo-spectralgpt", ["train.batch_size=65"], "train.batch_size", "samples_per_satellite = 64"),
        ("tiny", ["ground_station.1.name=Svalbard"], "ground_station.1.name", "earlier station"),
        ("tiny", ["shell.0.satellites=8"], "shell.0.planes", "at least 6 a plane"),
        ("tiny", ["time.duration_h=0.01"], "method.slot_s", "longer than the whole"),
        ("tiny", ["shell.0.altitude_km=300", GRAZING, NO_RING], "links.grazing_altitude_km", "must be below"),
        ("tiny", ["train.momentum=0.9"], "train.momentum", 'optimizer = "sgd"'),
        ("tiny", ["train.trains=head", "train.server_encoder=per_client"], "train.server_encoder", "trains"),
        ("tiny", ["data.num_classes=3"], "data.num_classes", 'dataset = "none"'),
        ("tiny", ["data.assignment=dirichlet"], "data.dirichlet_alpha", "missing with assignment"),
        ("tiny", ["shell.0.elements_file=planet_sample.tle"], "shell.0.elements_file", 'kind = "elements"'),
        ("reconstructed", ["method.intra_orbit=bidirectional"], "method.intra_orbit", "collaborative"),
    ],
)  # fmt: skip
def test_a_contradiction_says_how_to_solve_it(preset: str, sets: list[str], key: str, says: str) -> None:
    problem = only_problem(preset, *sets)
    assert problem.key == key
    assert says in problem.message


def test_two_shells_cannot_be_one_file(tmp_path: Path) -> None:
    shell = '[[shell]]\nkind = "elements"\nelements_file = "planet_sample.tle"\n'
    assert only_problem(write(tmp_path, f'extends = "planet-sample"\n{shell}{shell}')).key == "shell.1.elements_file"


def test_a_contradiction_with_an_inherited_value_stands_under_the_file_that_can_solve_it(tmp_path: Path) -> None:
    problem = only_problem(write(tmp_path, 'extends = "demo"\n[links]\nisl_intra_enabled = false\n'))
    assert Path(problem.file).name == "mine.toml"
    assert "inherited from preset demo" in problem.message


def test_turning_a_switch_drops_what_was_inherited_with_it(tmp_path: Path) -> None:
    data = 'extends = "tiny"\n[data]\nassignment = "dirichlet"\ndirichlet_alpha = 0.3\n'
    train = '[train]\noptimizer = "sgd"\nmomentum = 0.9\nserver_encoder = "per_client"\n'
    path = write(tmp_path, data + train)
    assert load(path).data.dirichlet_alpha == 0.3
    turned = load(path, ["data.assignment=iid", "train.optimizer=adamw", "train.trains=head"])
    assert (turned.data.dirichlet_alpha, turned.train.momentum, turned.train.server_encoder) == (None, 0.0, "shared")
    assert load("tiny", ["shell.0.kind=elements", "shell.0.elements_file=planet_sample.tle", "method.intra_orbit=none",
                         "links.isl_inter_policy=none",
                         "method.inter_orbit=via_ground"]).shell[0].satellites is None  # fmt: skip


def test_the_name_reconstructed_brings_its_own_ways() -> None:
    method = load("demo", ["method.name=reconstructed"]).method
    assert (method.intra_orbit, method.satellite_ground, method.codec) == ("ring", "max_flow", "fp32")
    assert method.inter_orbit == load("demo").method.inter_orbit


def test_the_message_reads_as_designed(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'extends = "tiny"\n[train]\nronds = 3\n[[ground_station]]\nname = "A"\nlatitude_deg = 95\nlongitude_deg = 0\n',
    )
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert str(caught.value).replace(str(path), "mine.toml").splitlines() == [
        "mine.toml: train.ronds = 3",
        "  unknown key; did you mean train.rounds?",
        "mine.toml: ground_station.0.latitude_deg = 95",
        "  must be a number from -90 to 90 deg",
        "2 problems, nothing was run.",
    ]


def test_errors_never_show_where_the_package_lies(tmp_path: Path) -> None:
    """A preset is called by its name, wherever it is installed."""
    copy = tmp_path / "copy.toml"
    shutil.copy(write(tmp_path, 'extends = "demo"\n'), copy)
    for problem in problems(copy, "links.isl_inter_policy=none", "shell.0.planes=7"):
        assert not re.search(r"orbitune/scenario", f"{problem.file} {problem.message}")
