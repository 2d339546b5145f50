"""Scenarios as text: the resolved file of a run, the file of a new project, and the values in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from orbitune.model.profile import load_profile
from orbitune.orbit.constellation import WALKER_KINDS
from orbitune.scenario.keys import Key, keys_of
from orbitune.scenario.learning_keys import LIVE, NO_DATASET
from orbitune.scenario.link_keys import Fault, Links
from orbitune.scenario.load import load
from orbitune.scenario.schema import ARRAYS, OPTIONAL, SECTIONS, Scenario
from orbitune.scenario.sky_keys import Shell


def dump(scenario: Scenario) -> str:
    """The scenario as TOML with every key that applies, without `extends`; `load` of this text gives an equal one."""
    lines = [f"# Scenario {scenario.name}, every key written out; nothing is inherited.", ""]
    lines += _key_lines(scenario)
    for name in SECTIONS:
        title = f"[[{name}]]" if name in ARRAYS else f"[{name}]"
        for section in _sections(scenario, name):
            lines += ["", title, *_key_lines(section)]
    return "\n".join(lines) + "\n"


def fingerprint(scenario: Scenario) -> str:
    """SHA-256 of the resolved scenario in hexadecimal: equal scenarios have equal fingerprints."""
    return hashlib.sha256(dump(scenario).encode()).hexdigest()


def _sections(scenario: Scenario, name: str) -> tuple[Any, ...]:
    value = getattr(scenario, name)
    return value if isinstance(value, tuple) else (value,)


def _key_lines(section: Any) -> list[str]:
    kind: type = type(section)
    values = {key.name: getattr(section, key.name) for key in keys_of(kind)}
    return [_line(key, values[key.name]) for key in keys_of(kind) if key.applies(values)]


def _line(key: Key, value: object) -> str:
    return f"{key.name} = {_toml(value)}  # {_comment(key)}"


def _comment(key: Key) -> str:
    """Unit, meaning and choices in one line."""
    words = f"{key.unit}: {key.doc}" if key.unit else key.doc
    return f"{words} ({' | '.join(key.choices)})" if key.choices else words


def _toml(value: object) -> str:
    """A value as TOML writes it; floats keep every bit (Python's shortest repr)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's escapes, and the one it lacks
    return repr(value)


# -- a new project ----------------------------------------------------------------------------------------------------

PLACES = {"compute_satellite": "one satellite of each plane", "plane_pipeline": "the satellites of each plane"}
"""Placements of the encoder in orbit, in words."""

OFFERED = (
    "time.duration_h",
    "links.downlink_rate_mbps",
    "links.uplink_rate_mbps",
    "links.isl_intra_rate_mbps",
    "links.isl_inter_rate_mbps",
    "satellite.sustained_gflops",
    "satellite.memory_gb",
    "model.weights",
    "model.cut_after_block",
    "data.assignment",
    "train.trains",
    "train.rounds",
    "train.local_steps",
    "train.batch_size",
    "train.learning_rate",
    "method.name",
    "method.cache",
    "method.codec",
    "method.intra_orbit",
    "method.satellite_ground",
    "method.inter_orbit",
    "method.overlap",
)
"""Keys that a new file offers, commented out: what people change first."""


def new_text(preset: str) -> str:
    """A small scenario file that extends a preset; what is most often changed stands ready behind a `#`.

    Raises:
        InputError: There is no preset of that name.
    """
    scenario = load(preset)
    head = [
        f'# A scenario that extends the shipped preset "{preset}"; what is not written here comes from there.',
        "# Take the # off a line to change its value. `orbitune check` prints all of it in words; docs/schema.md",
        "# explains every key.",
        "",
        f'name    = "my-{preset}"',
        f'extends = "{preset}"',
        f"seed    = {scenario.seed}",
    ]
    return "\n".join([*head, *_offered_lists(scenario), *_offered_keys(scenario)]) + "\n"


def _offered_lists(scenario: Scenario) -> Iterator[str]:
    """The first shell and the first station. A list in this file replaces the preset's whole list."""
    yield ""
    yield "# Your own satellites or stations; a list written here replaces the whole list of the preset."
    for name in ("shell", "ground_station"):
        yield f"# [[{name}]]"
        yield from (f"# {line}" for line in _key_lines(_sections(scenario, name)[0]))
        yield ""


def _offered_keys(scenario: Scenario) -> Iterator[str]:
    for name, section in SECTIONS.items():
        if name in OPTIONAL:
            continue
        values = {key.name: getattr(_sections(scenario, name)[0], key.name) for key in keys_of(section)}
        offered = [key for key in keys_of(section) if f"{name}.{key.name}" in OFFERED and key.applies(values)]
        if offered:
            yield f"[{name}]"
            yield from (f"# {_line(key, values[key.name])}" for key in offered)
            yield ""


# -- in words ---------------------------------------------------------------------------------------------------------


def describe(scenario: Scenario) -> list[tuple[str, str]]:
    """(label, value in words) for a person to read back what was understood, in the order of the file."""
    return [
        ("time", f"{scenario.time.duration_h:g} h from {scenario.time.start_utc}"),
        *(("constellation", _shell_words(shell)) for shell in scenario.shell),
        ("ground stations", _station_words(scenario)),
        ("links", _link_words(scenario)),
        *(("fault", _fault_words(fault)) for fault in scenario.fault),
        ("satellite", _computer_words(scenario.satellite.sustained_gflops, scenario.satellite.memory_gb)
         + f", {scenario.satellite.compute_power_w:g} W"),
        ("server", _computer_words(scenario.server.sustained_gflops, scenario.server.memory_gb)),
        ("model", _model_words(scenario)),
        ("data", _data_words(scenario)),
        ("training", _train_words(scenario)),
        ("method", _method_words(scenario)),
    ]  # fmt: skip


def scaled(value: float, units: tuple[str, ...]) -> str:
    """The value in the unit that leaves 1 to 999; `units` step by 1000 and begin with the value's own."""
    for unit in units[:-1]:
        if abs(value) < 1000:
            return f"{value:.4g} {unit}"
        value /= 1000
    return f"{value:.4g} {units[-1]}"


def rate_words(rate_mbps: float) -> str:
    """10000 Mbit/s as "10 Gbit/s"."""
    return scaled(rate_mbps * 1e6, ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"))


def _computer_words(gflops: float, memory_gb: float) -> str:
    speed = scaled(gflops * 1e6, ("kFLOP/s", "MFLOP/s", "GFLOP/s", "TFLOP/s", "PFLOP/s"))
    return f"{speed} sustained, {scaled(memory_gb * 1000, ('MB', 'GB', 'TB', 'PB'))}"


def _shell_words(shell: Shell) -> str:
    if shell.kind == "custom":
        return f"orbits of {shell.elements_file}"
    if shell.kind not in WALKER_KINDS:
        return f"element sets of {shell.elements_file}; unusable ones: {shell.unusable.replace('_', ' ')}"
    kind = shell.kind.replace("-", " ").capitalize()
    pattern = f"{shell.satellites}/{shell.planes}/{shell.phasing}"
    return f"{kind} {pattern} at {shell.altitude_km:g} km, {shell.inclination_deg:g} deg: {shell.satellites} satellites"


def _station_words(scenario: Scenario) -> str:
    stations = scenario.ground_station
    masks = sorted({station.min_elevation_deg for station in stations})
    mask = " to ".join(f"{value:g}" for value in dict.fromkeys((masks[0], masks[-1])))
    by_azimuth = sum(bool(station.horizon_mask_deg) for station in stations)
    masked = f", {by_azimuth} of them with a mask by azimuth" if by_azimuth else ""
    antennas = sum(station.antennas for station in stations)
    names = ", ".join(station.name for station in stations)
    return f"{len(stations)} with {_count(antennas, 'antenna')}, above {mask} deg{masked}: {names}"


def _link_words(scenario: Scenario) -> str:
    links = scenario.links
    policy = links.isl_inter_policy
    between = f"{isl_rate_words(links, links.isl_inter_rate_mbps)} ({policy})" if policy != "none" else "none"
    return (
        f"down {radio_words(links, 'downlink')}, up {radio_words(links, 'uplink')}, "
        f"in plane {isl_rate_words(links, links.isl_intra_rate_mbps)}, between planes {between}, "
        f"backhaul {rate_words(links.backhaul_rate_mbps)}"
    )


def radio_words(links: Links, side: str) -> str:
    """What downlinks or uplinks carry, in words."""
    if getattr(links, f"{side}_rate_model") == "fixed":
        return rate_words(getattr(links, f"{side}_rate_mbps"))
    bandwidth = getattr(links, f"{side}_bandwidth_mhz")
    air = f", ITU-R weather of {links.weather_availability_percent:g} %" if links.weather == "itu" else ""
    return f"DVB-S2X in {bandwidth:g} MHz at {getattr(links, f'{side}_frequency_ghz'):g} GHz{air}"


def isl_rate_words(links: Links, rate_mbps: float | None) -> str:
    """What links between satellites carry, in words."""
    if links.isl_rate_model == "fixed":
        assert rate_mbps is not None
        return rate_words(rate_mbps)
    assert links.optical_max_rate_mbps is not None
    return f"laser up to {rate_words(links.optical_max_rate_mbps)}"


def _fault_words(fault: Fault) -> str:
    what = f"the link of {fault.node} to {fault.link_to}" if fault.link_to else fault.node
    return f"{what} is out from {fault.from_h:g} h to {fault.until_h:g} h"


def _model_words(scenario: Scenario) -> str:
    model = scenario.model
    cut, name = model.cut_after_block, f"{model.name} {model.source}" if model.source else model.name
    if model.name in LIVE:
        return f"{name}, {model.weights} weights, cut after {f'block {cut}' if cut else 'the embedding'}"
    blocks = len(load_profile(model.name).blocks)
    place = f"block {cut} of {blocks}" if cut else f"the embedding, {blocks} blocks behind"
    return f"{name}, {model.weights} weights, cut after {place}"


def _data_words(scenario: Scenario) -> str:
    data = scenario.data
    if data.dataset == NO_DATASET:
        return f"planned only: {data.samples_per_satellite} samples per satellite, {data.num_classes} classes"
    alpha = f" (alpha {data.dirichlet_alpha:g})" if data.dirichlet_alpha is not None else ""
    return f"{data.dataset}, dealt out by {data.assignment}{alpha}"


def _train_words(scenario: Scenario) -> str:
    train = scenario.train
    adapters = f"head and adapters of rank {train.lora_rank}"
    what = {"head": "the head", "lora": adapters, "encoder": "encoder and head", "full": "everything"}[train.trains]
    encoder = "" if train.trains == "head" else f", server encoder {train.server_encoder.replace('_', ' ')}"
    momentum = f", momentum {train.momentum:g}" if train.momentum else ""
    samples = f"{_count(train.batch_size * train.accumulate, 'sample')} of each satellite"
    falling = "" if train.schedule == "constant" else f", {train.schedule} to zero"
    late = f"; up to {_count(train.staleness, 'average')} without late planes" if train.staleness else ""
    drawn = f"; {_count(train.satellites_per_round, 'satellite')} drawn a round" if train.satellites_per_round else ""
    return (
        f"{what}{encoder}; {_count(train.rounds, 'round')} of {_count(train.local_steps, 'step')} with {samples}; "
        f"{train.optimizer}, learning rate {train.learning_rate:g}{momentum}{falling}{late}{drawn}"
    )


def _method_words(scenario: Scenario) -> str:
    method = scenario.method
    slot = f" in slots of {method.slot_s:g} s" if method.satellite_ground == "max_flow" else ""
    flow = "stages one after the other" if method.overlap == "none" else "micro-batches flow through the stages"
    weights = "weights on board from the start" if method.preloaded else "weights sent up first"
    place = "" if method.placement == "ground" else f" with the encoder on {PLACES[method.placement]}"
    cache = "" if method.cache == "none" else f", {method.cache} kept"
    updates = "" if method.update_codec == "fp32" else f", updates {method.update_codec}"
    noise = f", noise {method.noise_multiplier:g}" if method.noise_multiplier else ""
    return (
        f"{method.name}{place}, {method.codec}{updates}{noise}{cache}; in plane {method.intra_orbit}, to ground "
        f"{method.satellite_ground}{slot}, between planes {method.inter_orbit}, {flow}; {weights}, result to "
        f"{method.deliver_to}"
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
