"""What there is to choose from: a value for each switch, and which of them may differ from the scenario.

Switches of `FREE` change when and where things happen, never what is learned: split training equals its oracle at any
cut and placement, and caches, overlap and ways only move the same numbers. Switches of `NUMBERS` change the learning
and are left as they are unless the user allows them. Where intermediate results or updates are compressed or noised,
the cut, the placement (and, with noise, the cache) decide what is, so they then count as changing numbers, too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from orbitune.choose.reads import READS, SWITCHES, WAYS, learner, reads
from orbitune.cost.transfer import CODECS, UPDATE_CODECS
from orbitune.errors import InputError, ScenarioError
from orbitune.methods.cache import CACHES
from orbitune.mission import Mission
from orbitune.model.partition import TRAINS
from orbitune.scenario.load import load
from orbitune.scenario.schema import Scenario
from orbitune.scenario.text import dump

Value = int | str

FREE = ("cut", "placement", "cache", "overlap", "intra_orbit", "satellite_ground", "inter_orbit")
"""Switches that do not change what is learned."""

NUMBERS = ("codec", "update_codec", "trains", "server_encoder", "staleness")
"""Switches that do, searched where the user allows it."""

KEYS = {
    "method": "method.name",
    "cut": "model.cut_after_block",
    "placement": "method.placement",
    "cache": "method.cache",
    "codec": "method.codec",
    "update_codec": "method.update_codec",
    "trains": "train.trains",
    "server_encoder": "train.server_encoder",
    "staleness": "train.staleness",
    "overlap": "method.overlap",
    "intra_orbit": "method.intra_orbit",
    "satellite_ground": "method.satellite_ground",
    "inter_orbit": "method.inter_orbit",
}
"""The scenario key of each switch; the method is one where several may be chosen."""

VALUES: Mapping[str, tuple[Value, ...]] = {
    "placement": ("ground", "compute_satellite", "plane_pipeline"),
    "cache": tuple(reversed(CACHES)),
    "codec": CODECS,
    "update_codec": UPDATE_CODECS,
    "trains": TRAINS,
    "server_encoder": ("shared", "per_client"),
    "staleness": (0, 1, 2),
    "overlap": ("stream", "none"),
    "intra_orbit": ("bidirectional", "ring", "relay", "none"),
    "satellite_ground": ("quickest", "max_flow", "gateway", "direct"),
    "inter_orbit": ("quickest", "mixed_tree", "earliest_tree", "sharded", "via_ground", "chain", "exact"),
}
"""All values of each switch but the cut, in the order in which they are tried: what is usually quickest first.
Staleness up to 2 is our choice: one and two averages missed."""


@dataclass(frozen=True)
class Point:
    """One value of each switch. The fields up to `staleness` say what is done where, the others how it travels."""

    method: str
    cut: int
    placement: str
    cache: str
    codec: str
    update_codec: str
    trains: str
    server_encoder: str
    staleness: int
    overlap: str
    intra_orbit: str
    satellite_ground: str
    inter_orbit: str

    @classmethod
    def of(cls, scenario: Scenario) -> Point:
        """The scenario as it is written."""
        values = {name: getattr(getattr(scenario, key.split(".")[0]), key.split(".")[1]) for name, key in KEYS.items()}
        return cls(**values)

    def applied(self, scenario: Scenario) -> Scenario:
        """The scenario with these switches."""
        sections: dict[str, dict[str, Value]] = {"model": {}, "train": {}, "method": {}}
        for name, value in asdict(self).items():
            section, key = KEYS[name].split(".")
            sections[section][key] = value
        changed = {name: replace(getattr(scenario, name), **values) for name, values in sections.items()}
        return replace(scenario, **changed)

    @property
    def reads(self) -> tuple[str, ...]:
        """The switches that make a difference here."""
        return reads(self.method, self.trains)

    @property
    def codecs(self) -> tuple[str, str]:
        """How intermediate results and updates are compressed."""
        found = self.reads
        return (
            self.codec if "codec" in found else "fp32",
            self.update_codec if "update_codec" in found else "fp32",
        )

    @property
    def learner(self) -> str:
        """Equal for points that learn the same numbers, but for what codecs and late planes change."""
        return learner(self.method, self.trains, self.server_encoder)

    def sets(self, scenario: Scenario) -> list[str]:
        """What turns the scenario into this, as `--set` takes it."""
        differing = self.differences(Point.of(scenario))
        return [f"{KEYS[name]}={getattr(self, name)}" for name in KEYS if name in differing]

    def differences(self, other: Point) -> list[str]:
        """Switches that are turned otherwise and make a difference here."""
        own = ("method", *self.reads)
        return [name for name in KEYS if name in own and getattr(self, name) != getattr(other, name)]


@dataclass(frozen=True)
class Space:
    """Values of each switch, and what was left out of them.

    `held` has a sentence for each switch that could not be searched, or value that the scenario's rules refuse.
    """

    scenario: Scenario
    values: Mapping[str, tuple[Value, ...]]
    held: tuple[str, ...]

    def __len__(self) -> int:
        return sum(1 for place in self.places() for _ in self.leaves(place))

    def places(self) -> Iterator[Point]:
        """Each choice of what is done where, in order, with the first way to move it."""
        names = [name for name in Point.__dataclass_fields__ if name not in WAYS]
        first = dict(zip(WAYS, next(self.ways()), strict=True))
        for chosen in product(*(self.values[name] for name in names)):
            point = Point(**dict(zip(names, chosen, strict=True)), **first)  # type: ignore[arg-type]
            if self._is_usual(point, names) and not self._is_double(point):
                idle: dict[str, Any] = {name: self._usual(name) for name in WAYS if name not in point.reads}
                yield replace(point, **idle)

    def ways(self) -> Iterator[tuple[Value, ...]]:
        """Each choice of overlap and of the three ways, in order."""
        return product(*(self.values[name] for name in WAYS))

    def leaves(self, place: Point) -> Iterator[Point]:
        """All points of a place."""
        for chosen in self.ways():
            point = replace(place, **dict(zip(WAYS, chosen, strict=True)))  # type: ignore[arg-type]
            if self._is_usual(point, WAYS):
                yield point

    def _usual(self, name: str) -> Value:
        """What a switch is left at where it makes no difference: as written, if that is in the space."""
        own: Value = getattr(Point.of(self.scenario), name)
        return own if own in self.values[name] else self.values[name][0]

    def _is_usual(self, point: Point, names: Iterable[str]) -> bool:
        idle = [name for name in names if name not in ("method", *point.reads)]
        return all(getattr(point, name) == self._usual(name) for name in idle)

    def _is_double(self, point: Point) -> bool:
        """Without a cut there are no embeddings to keep behind it; methods take that for no cache."""
        return point.method != "collaborative" and point.cache == "embeddings" and "none" in self.values["cache"]


def space_of(
    mission: Mission, allow: Iterable[str] = (), keep: Iterable[str] = (), methods: Sequence[str] = ("collaborative",)
) -> Space:
    """All points that a user's words leave open.

    Args:
        mission: The scenario, worked out.
        allow: Switches of `NUMBERS` to be searched, too.
        keep: Switches to be left as the scenario has them.
        methods: Those among which to choose, whatever the scenario's own is.

    Raises:
        InputError: There is no such switch, or nothing to choose for a method.
    """
    scenario, allowed, kept = mission.scenario, frozenset(allow), frozenset(keep)
    if unknown := [name for name in methods if name not in READS]:
        raise InputError(f"--methods: nothing can be chosen for {', '.join(unknown)}; choose for {', '.join(READS)}")
    _known("--allow", allowed, NUMBERS)
    _known("--keep", kept, SWITCHES)
    written, held = Point.of(scenario), list(_tied(scenario, allowed))
    tied = {name for name, _ in held}
    values: dict[str, tuple[Value, ...]] = {}
    refused: list[str] = []
    values["method"] = tuple(methods)
    for name in SWITCHES:
        own = getattr(written, name)
        closed = name in kept or name in tied or (name in NUMBERS and name not in allowed)
        values[name] = (own,) if closed else _in_order(name, own, mission)
        if name in WAYS and not closed:
            values[name] = tuple(_fitting(replace(written, method=methods[0]), scenario, name, values[name], refused))
    return Space(scenario, values, (*(why for _, why in held), *refused))


def _known(option: str, given: Iterable[str], choices: Sequence[str]) -> None:
    if unknown := sorted(set(given) - set(choices)):
        raise InputError(f"{option}: no switch {', '.join(unknown)}; there are {', '.join(choices)}")


def _in_order(name: str, own: Value, mission: Mission) -> tuple[Value, ...]:
    """All values; of what is done where, the scenario's own first, so that among equals it stays."""
    known = tuple(range(len(mission.partition.profile.blocks) + 1)) if name == "cut" else VALUES[name]
    if name in WAYS:
        return known
    return (own, *(value for value in known if value != own))


def _tied(scenario: Scenario, allowed: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Switches that would change numbers in this scenario, or that it sets for each shell."""
    method = scenario.method
    compressed = (method.codec != "fp32" and "codec" not in allowed) or (
        method.update_codec != "fp32" and "update_codec" not in allowed
    )
    noised = method.noise_multiplier > 0.0
    own_cuts = any(shell.cut_after_block >= 0 for shell in scenario.shell)
    for name in ("cut", "placement"):
        if own_cuts:
            yield name, f"{name} is left as it is: shells have cuts of their own (shell.cut_after_block)"
        elif compressed or noised:
            what = "noised" if noised else "compressed"
            yield name, f"{name} is left as it is: what crosses is {what}, so another {name} would change the numbers"
    if noised:
        yield "cache", "cache is left as it is: what crosses is noised at each use, so a cache would change the numbers"


def _fitting(
    written: Point, scenario: Scenario, name: str, values: Sequence[Value], refused: list[str]
) -> Iterator[Value]:
    """Values that the scenario's rules accept beside what is written; the rules of ways look at nothing else."""
    for value in values:
        point = replace(written, **{name: value})  # type: ignore[arg-type]
        if why := why_refused(point.applied(scenario)):
            refused.append(f"{KEYS[name]} = {value!r} is left out: {why}")
        else:
            yield value


def why_refused(scenario: Scenario) -> str:
    """What the rules of scenarios have against one; empty if nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scenario.toml"
        path.write_text(dump(scenario), encoding="utf-8")
        try:
            load(path)
        except ScenarioError as error:
            return "; ".join(problem.message for problem in error.problems)
    return ""
