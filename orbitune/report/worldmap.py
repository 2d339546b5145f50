"""The map: land, stations, satellites and contacts, drawn at one moment and moved by the page's script.

Equirectangular: x is longitude + 180, y is 90 - latitude, both in degrees.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import InputError
from orbitune.links.contacts import Nodes
from orbitune.report.content import Content
from orbitune.report.markup import number

MAX_TRACK_VALUES = 400_000
"""Latitudes and longitudes kept for the animation: two bytes each, about a megabyte of page."""

CENTI = 100.0
"""Positions are kept in hundredths of a degree (1 km), which fit 16 bits."""

Pass = tuple[int, int, float, float]


@dataclass(frozen=True)
class World:
    """What a map is drawn from: `contacts` as in contacts.json, and `source`, which is named where they are damaged."""

    contacts: Mapping[str, Any]
    nodes: Nodes | None
    source: str

    @classmethod
    def of(cls, content: Content) -> World:
        """That of a run."""
        return cls(content.contacts, content.nodes, f"{content.run.path}/contacts.json")


@dataclass(frozen=True)
class Track:
    """Subpoints: `latitude_deg[t, s]`, `longitude_deg[t, s]` at `time_s[t]`, and the passes in that time."""

    time_s: NDArray[np.float64]
    latitude_deg: NDArray[np.float64]
    longitude_deg: NDArray[np.float64]
    passes: tuple[Pass, ...]

    @property
    def end_s(self) -> float:
        """The last moment of the track."""
        return float(self.time_s[-1])

    def nearest(self, moment_s: float) -> int:
        """Index of the stored time next to a moment."""
        return int(np.abs(self.time_s - moment_s).argmin())

    def in_progress(self, moment_s: float) -> list[Pass]:
        """Passes going on at that moment."""
        return [one for one in self.passes if one[2] <= moment_s <= one[3]]


def read_track(world: World) -> Track | None:
    """The track in contacts.json, thinned out until it fits the page; None where there is none.

    Raises:
        InputError: Times, satellites and positions do not agree in number.
    """
    track: Mapping[str, Any] = world.contacts.get("track") or {}
    if world.nodes is None or not track.get("time_s"):
        return None
    time_s, latitude, longitude = (np.array(track[key], dtype=np.float64) for key in _KEYS)
    shape = (world.nodes.num_satellites, len(time_s))
    if latitude.shape != shape or longitude.shape != shape:
        raise InputError(
            f"{world.source}: track has latitudes {latitude.shape} and longitudes {longitude.shape}, "
            f"not {shape} (satellites, times); run the scenario again"
        )
    every = math.ceil(2 * latitude.size / MAX_TRACK_VALUES)
    passes = tuple((int(s), int(g), float(a), float(b)) for s, g, a, b in world.contacts.get("passes") or ())
    return Track(time_s[::every], latitude.T[::every], longitude.T[::every], passes)


_KEYS = ("time_s", "latitude_deg", "longitude_deg")


def busiest_s(track: Track) -> float:
    """A moment with many contacts, so that the map shows some before anything moves."""
    times = [float(moment) for moment in track.time_s]
    return max(times, key=lambda moment: (len(track.in_progress(moment)), -moment))


def animation(track: Track, world: World) -> dict[str, object]:
    """What the script needs to move the satellites."""
    return {
        "times": [round(float(moment), 1) for moment in track.time_s],
        "names": list(world.nodes.satellite_names) if world.nodes else [],
        "planes": list(world.nodes.plane_of) if world.nodes else [],
        "stations": [
            [str(one["name"]), float(one["latitude_deg"]), float(one["longitude_deg"])]
            for one in world.contacts.get("stations", ())
        ],
        "latitude": packed(track.latitude_deg),
        "longitude": packed(wrapped(track.longitude_deg)),
        "passes": [[s, g, round(a, 1), round(b, 1)] for s, g, a, b in track.passes],
    }


def packed(degrees: NDArray[np.float64]) -> str:
    """Hundredths of a degree as little-endian 16-bit integers in base 64, time by time."""
    return base64.b64encode(np.rint(degrees * CENTI).astype("<i2").tobytes()).decode("ascii")


def wrapped(longitude_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Longitudes between -180 and 180."""
    return (longitude_deg + 180.0) % 360.0 - 180.0


def land_path() -> str:
    """The outline of the land as one SVG path, from the shipped Natural Earth data."""
    text = resources.files("orbitune").joinpath("data/world/land.json").read_text(encoding="utf-8")
    return "".join(_ring_path(ring) for ring in json.loads(text)["rings"])


def _ring_path(ring: Sequence[Sequence[float]]) -> str:
    """One closed ring in tenths of a degree, as relative steps, which are short to write."""
    points = [(round((x + 180) * 10), round((90 - y) * 10)) for x, y in ring]
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(points)]
    moves = "".join(f"{dx} {dy} " if dy >= 0 else f"{dx}{dy} " for dx, dy in steps if dx or dy)
    return f"M{points[0][0]} {points[0][1]}l{moves.strip()}z" if moves else ""


def ground_track(latitude_deg: NDArray[np.float64], longitude_deg: NDArray[np.float64]) -> str:
    """One satellite's ground track as a path, interrupted where it leaves the map at one side."""
    longitude = wrapped(longitude_deg)
    path, previous = "", math.inf
    for lat, lon in zip(latitude_deg.tolist(), longitude.tolist(), strict=True):
        path += f"{'M' if abs(lon - previous) > 180 else 'L'}{number(round(lon + 180, 1))} {number(round(90 - lat, 1))}"
        previous = lon
    return path


def great_circle(start: tuple[float, float], end: tuple[float, float], pieces: int = 12) -> str:
    """The shortest way between two (latitude, longitude) in degrees, as a path on the map."""
    a, b = _unit(*start), _unit(*end)
    angle = math.acos(max(-1.0, min(1.0, float(a @ b))))
    if angle < 1e-9:
        return ""
    shares = np.linspace(0.0, 1.0, pieces + 1)[:, None]
    points = (np.sin((1 - shares) * angle) * a + np.sin(shares * angle) * b) / math.sin(angle)
    latitude = np.degrees(np.arcsin(np.clip(points[:, 2], -1, 1)))
    return ground_track(latitude, np.degrees(np.arctan2(points[:, 1], points[:, 0])))


def _unit(latitude_deg: float, longitude_deg: float) -> NDArray[np.float64]:
    lat, lon = math.radians(latitude_deg), math.radians(longitude_deg)
    return np.array([math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)])
