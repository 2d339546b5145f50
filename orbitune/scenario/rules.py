"""Contradictions: values that are fine alone and impossible together.

Each rule is a generator of (key, message). A rule that needs a value which is itself wrong is passed over; that value
is reported already.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orbitune.errors import Problem
from orbitune.model.profile import load_profile
from orbitune.orbit.constellation import WALKER_KINDS
from orbitune.scenario.learning_keys import LIVE, NO_DATASET, SHIPPED_MODEL
from orbitune.scenario.sources import COMMAND_LINE, Entry, Written
from orbitune.units import EARTH_RADIUS_M, km

RECONSTRUCTED = {
    "method.placement": "ground",
    "method.cache": "none",
    "method.codec": "fp32",
    "method.update_codec": "fp32",
    "method.intra_orbit": "ring",
    "method.satellite_ground": "max_flow",
    "method.overlap": "none",
}
"""What "reconstructed" means: one-way ring all-reduce, maximum flow per time point, nothing compressed and nothing
overlapped, on which the summaries of arXiv:2504.10403 agree. Its way between planes is not known, so
`method.inter_orbit` stays free."""

MEET_ON_GROUND = ("via_ground", "mixed_tree", "quickest")
"""Ways between planes that may use the ground."""

Found = Iterator[tuple[str, str]]


class _Unchecked(Exception):
    """A rule asked for a value that did not pass its own check."""


@dataclass(frozen=True)
class View:
    """The values that passed, for rules to read."""

    values: Mapping[str, object]
    counts: Mapping[str, int]

    def __getitem__(self, key: str) -> Any:
        if key not in self.values:
            raise _Unchecked(key)
        return self.values[key]

    def items(self, name: str) -> list[str]:
        """Places of a list: "shell.0", "shell.1" ..."""
        return [f"{name}.{number}" for number in range(self.counts.get(name, 0))]


def fix_reconstructed(written: Written) -> None:
    """`method.name = "reconstructed"` brings its own ways; a way written beside it must agree."""
    name = written.entries.get("method.name")
    if name is None or name.value != "reconstructed":
        return
    for key, value in RECONSTRUCTED.items():
        entry = written.entries.get(key)
        if entry is not None and entry.level >= name.level and entry.value != value:
            message = f'method.name = "reconstructed" means "{value}" here; remove this key or choose "collaborative"'
            written.complain(entry.file, key, entry.value, message)
        written.entries[key] = Entry(value, name.file, name.folder, name.level)


def contradictions(written: Written, values: Mapping[str, object]) -> list[Problem]:
    """Every contradiction among the values that passed their own checks."""
    view = View(values, written.counts)
    problems: list[Problem] = []
    for rule in RULES:
        try:
            found = list(rule(view))
        except _Unchecked:
            continue
        problems += [_problem(written, key, values.get(key), message) for key, message in found]
    return problems


def _problem(written: Written, key: str, value: object, message: str) -> Problem:
    """A contradiction with an inherited value is the user's file's to solve, so it stands under that name."""
    entry = written.entries.get(key)
    if entry is None or entry.file in (written.file, COMMAND_LINE):
        return Problem(entry.file if entry else written.file, key, value, message)
    return Problem(written.file, key, value, f"{message} (inherited from {entry.file})")


def walker_numbers(view: View) -> Found:
    """A Walker pattern has whole planes, and its phasing is below their number."""
    for shell in view.items("shell"):
        if view[f"{shell}.kind"] not in WALKER_KINDS:
            continue
        satellites, planes = view[f"{shell}.satellites"], view[f"{shell}.planes"]
        if satellites % planes:
            yield f"{shell}.planes", f"does not divide satellites = {satellites}; change one of the two"
        if view[f"{shell}.phasing"] >= planes:
            yield f"{shell}.phasing", f"must be below planes = {planes}"


def rings_need_planes(view: View) -> Found:
    """Element sets say nothing of planes, so their satellites form no rings; nor do satellites without terminals."""
    if view["links.isl_intra_enabled"] and all(view[f"{shell}.kind"] != "elements" for shell in view.items("shell")):
        return
    who = (
        "satellites of element sets" if view["links.isl_intra_enabled"] else "with links.isl_intra_enabled = false they"
    )
    if view["method.name"] == "reconstructed":
        yield "method.name", f"needs rings, and {who} form none; choose another method"
    elif view["method.intra_orbit"] != "none":
        yield "method.intra_orbit", f'{who} form no rings; set method.intra_orbit = "none"'


def grid_needs_walker(view: View) -> Found:
    """Only a Walker pattern has a next plane, in which each satellite keeps one partner."""
    if view["links.isl_inter_policy"] == "grid":
        others = [shell for shell in view.items("shell") if view[f"{shell}.kind"] not in WALKER_KINDS]
        if others:
            kind = view[f"{others[0]}.kind"]
            message = (
                f'joins planes of Walker patterns, and {others[0]}.kind = "{kind}"; choose "nearest", "visible", "none"'
            )
            yield "links.isl_inter_policy", message


def rings_in_sight(view: View) -> Found:
    """Neighbours in a plane must see each other: the middle of their chord clears the Earth.

    Circle geometry: neighbours 360/n degrees apart on a circle of radius r pass r cos(180/n) from the centre.
    """
    if view["method.intra_orbit"] == "none":
        return
    lowest_m = EARTH_RADIUS_M + km(view["links.grazing_altitude_km"])
    for shell in view.items("shell"):
        if view[f"{shell}.kind"] not in WALKER_KINDS or view[f"{shell}.satellites"] % view[f"{shell}.planes"]:
            continue
        number = view[f"{shell}.satellites"] // view[f"{shell}.planes"]
        radius_m = EARTH_RADIUS_M + km(view[f"{shell}.altitude_km"])
        if number > 1 and radius_m * math.cos(math.pi / number) < lowest_m:
            needed = math.ceil(math.pi / math.acos(lowest_m / radius_m)) if radius_m > lowest_m else None
            advice = f"at least {needed} a plane at this altitude" if needed else "fly above grazing_altitude_km"
            yield (
                f"{shell}.planes",
                f"leaves {number} satellites in a plane, too few to see each other past the Earth; needed: {advice}, "
                'or set method.intra_orbit = "none"',
            )


def trees_need_links(view: View) -> Found:
    """Ways that stay in space need links between planes."""
    if (
        view["method.inter_orbit"] in ("chain", "earliest_tree", "sharded", "exact")
        and view["links.isl_inter_policy"] == "none"
    ):
        yield (
            "method.inter_orbit",
            'needs links between planes, and links.isl_inter_policy = "none"; change it or choose "via_ground"',
        )


def rays_below_satellites(view: View) -> Found:
    """A ray between satellites is never above them, so none could clear such a height."""
    lowest_km = view["links.grazing_altitude_km"]
    for shell in view.items("shell"):
        if view[f"{shell}.kind"] in WALKER_KINDS and view[f"{shell}.altitude_km"] <= lowest_km:
            message = f"must be below {shell}.altitude_km = {view[f'{shell}.altitude_km']:g}, or no link can exist"
            yield "links.grazing_altitude_km", message


def cut_in_model(view: View) -> Found:
    """A cut lies after the embedding (0) or after a block the model has; other models say it when they are loaded."""
    if view["model.name"] in LIVE:
        return
    blocks = len(load_profile(view["model.name"]).blocks)
    message = f"{view['model.name']} has {blocks} blocks; must be from 0 (after the embedding) to {blocks}"
    for key in ("model.cut_after_block", *(f"{shell}.cut_after_block" for shell in view.items("shell"))):
        if view[key] > blocks:
            yield key, message


def weights_at_hand(view: View) -> Found:
    """Training needs a model that can be run; a profile is planned only."""
    name, planned = view["model.name"], view["data.dataset"] == NO_DATASET
    if not planned and name not in (SHIPPED_MODEL, *LIVE):
        yield (
            "model.name",
            f'is a profile for planning only: set data.dataset = "none" (with samples_per_satellite and num_classes), '
            f"or choose {SHIPPED_MODEL}, {', '.join(LIVE[:-1])} or {LIVE[-1]}, which can be trained",
        )
    if planned and name in LIVE and not view["model.profile"]:
        message = 'is measured on the images of the data, and data.dataset is "none"; give model.profile as well'
        yield "model.name", message


def caches_keep_numbers(view: View) -> Found:
    """What changes while training must not be kept from before."""
    cache, trains = view["method.cache"], view["train.trains"]
    if cache == "features" and trains != "head":
        yield (
            "method.cache",
            f'would keep what changes: train.trains = "{trains}"; choose "embeddings" or "none"',
        )
    if cache == "embeddings" and trains == "full":
        yield "method.cache", 'would keep embeddings that change: train.trains = "full"; choose "none"'


def late_planes_fit(view: View) -> Found:
    """Late contributions are merged into averages; a second step on the same average would not wait for them."""
    if not view["train.staleness"]:
        return
    if view["train.trains"] != "head" and view["train.server_encoder"] == "per_client":
        yield "train.staleness", 'needs one encoder on the ground: train.server_encoder = "shared", or train the head'
    if view["train.trains"] != "head" and view["train.local_steps"] > 1:
        message = "with a shared encoder each optimiser step is an average; set train.local_steps = 1 and more rounds"
        yield "train.staleness", message
    if view["method.placement"] != "ground":
        yield "train.staleness", 'needs method.placement = "ground"'
    if view["method.cache"] != "none":
        yield "train.staleness", 'needs method.cache = "none": who is late decides what a sample is used for first'
    if view["method.update_codec"] != "fp32":
        yield "train.staleness", 'needs method.update_codec = "fp32"'


def satellites_drawn(view: View) -> Found:
    """Drawing satellites and leaving out late planes say who takes part, and planes between them may be left out."""
    way = view["method.inter_orbit"]
    if view["train.satellites_per_round"] and way != "via_ground":
        yield (
            "train.satellites_per_round",
            'planes of which nobody was drawn are served by method.inter_orbit = "via_ground"',
        )
    if view["train.staleness"] and way not in MEET_ON_GROUND:
        message = f"planes that are not late may lie apart: method.inter_orbit must be {' or '.join(MEET_ON_GROUND)}"
        yield "train.staleness", message
    if view["train.satellites_per_round"] and view["train.staleness"]:
        yield "train.satellites_per_round", "cannot stand beside train.staleness; set one of them to 0"


def batch_in_samples(view: View) -> Found:
    """A batch cannot hold more samples than its satellite."""
    samples = view["data.samples_per_satellite"]
    if samples is not None and view["train.batch_size"] > samples:
        yield "train.batch_size", f"must not exceed data.samples_per_satellite = {samples}"


def station_names_once(view: View) -> Found:
    """A name means one station."""
    yield from _once(view, "ground_station", "name", "is the name of an earlier station; names must differ")


def element_files_once(view: View) -> Found:
    """A file read twice would put two satellites in one place."""
    yield from _once(view, "shell", "elements_file", "is the file of an earlier shell already")


def faults_in_order(view: View) -> Found:
    """A fault ends after it begins, and has two different ends where it is a link's."""
    for fault in view.items("fault"):
        if view[f"{fault}.until_h"] <= view[f"{fault}.from_h"]:
            yield f"{fault}.until_h", f"must lie after from_h = {view[f'{fault}.from_h']:g}"
        if view[f"{fault}.link_to"] == view[f"{fault}.node"]:
            yield f"{fault}.link_to", "is the node itself; name the other end of the link, or remove the key"


def _once(view: View, name: str, key: str, message: str) -> Found:
    seen: Counter[object] = Counter()
    for place in view.items(name):
        value = view[f"{place}.{key}"]
        seen[value] += 1
        if value is not None and seen[value] > 1:
            yield f"{place}.{key}", message


def slot_in_time(view: View) -> Found:
    """The first slot must end before the plan does."""
    seconds = view["time.duration_h"] * 3600
    if view["method.slot_s"] > seconds:
        yield "method.slot_s", f"is longer than the whole contact plan of {seconds:g} s"


RULES: tuple[Callable[[View], Found], ...] = (
    walker_numbers,
    rings_need_planes,
    grid_needs_walker,
    rings_in_sight,
    trees_need_links,
    rays_below_satellites,
    cut_in_model,
    weights_at_hand,
    caches_keep_numbers,
    late_planes_fit,
    satellites_drawn,
    batch_in_samples,
    station_names_once,
    element_files_once,
    faults_in_order,
    slot_in_time,
)
"""All rules; one that is not listed here is not applied."""
