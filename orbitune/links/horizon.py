"""Passes over a station whose horizon is not level: cut where hills or buildings hide the satellite.

The mask is linear in azimuth between its points, so the elevation above it has corners in time. Each pass is first
split where its azimuth meets a point of the mask. Those moments are roots of a smooth function, and inside the parts
the clearance is smooth too, so both are searched by `crossings`, which finds short gaps and glimpses as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime

import numpy as np

from orbitune.links.crossings import Clearance, Floats, Ints, Samples, Spans, greatest, positive_spans
from orbitune.links.motion import Tracks, Windows, chunks, tracks
from orbitune.links.spans import union
from orbitune.links.visibility import DEFAULT_GRID_S, Passes
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.geometry import GroundStation

Curve = Callable[[Ints, Floats], tuple[Floats, Floats]]
"""From rows [K] and times [K] to values and slopes [K]."""

_PARTS_OF_PASS = 16
_PARTS_BETWEEN_POINTS = 8
"""Even intervals in which turns are searched, one in each: half a minute of a low pass, and a few seconds."""


def mask_rad(azimuth_rad: Floats, station: GroundStation) -> Floats:
    """The least elevation at which the station sees, any shape: the higher of its constant and its azimuth mask."""
    level = np.full(np.shape(azimuth_rad), station.min_elevation_rad)
    if not station.horizon_mask:
        return level
    azimuths, elevations = np.array(station.horizon_mask).T
    higher: Floats = np.maximum(level, np.interp(azimuth_rad, azimuths, elevations, period=2.0 * math.pi))
    return higher


def above_horizon(
    passes: Passes,
    constellation: Constellation,
    stations: Sequence[GroundStation],
    start_utc: str | datetime,
) -> Passes:
    """What is left of passes above the azimuth masks of their stations; one pass may become several or none.

    Passes over stations without such a mask come back as they are. Edges lie within milliseconds of skyfield's.

    Raises:
        InputError: SGP4 refuses a satellite.
    """
    hilly = np.array([bool(station.horizon_mask) for station in stations], dtype=np.bool_)
    if not hilly.any():
        return passes
    parts = [_rows(passes, np.flatnonzero(~hilly[passes.station]))]
    for number in np.flatnonzero(hilly).tolist():
        over = _rows(passes, np.flatnonzero(passes.station == number))
        windows = Windows.of_passes(over)
        for rows in chunks(windows):
            some = windows.at(rows)
            paths = tracks(constellation, stations, start_utc, some)
            parts.append(_cut(_rows(over, rows), paths, stations[number]))
    names = [field.name for field in fields(Passes)]
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    order = np.lexsort((columns["rise_s"], columns["station"], columns["satellite"]))
    return Passes(**{name: column[order] for name, column in columns.items()})


def _rows(passes: Passes, rows: Ints) -> Passes:
    return Passes(**{field.name: getattr(passes, field.name)[rows] for field in fields(Passes)})


def _cut(passes: Passes, paths: Tracks, station: GroundStation) -> Passes:
    clear = _clear(_split(passes, paths, station), paths, station)
    range_m = _sampled(
        lambda row, time_s: _range(paths, clear.row[row], time_s), clear.start_s, clear.end_s, _PARTS_OF_PASS
    )
    whole = Spans(np.arange(len(clear)), np.zeros(len(clear)), np.ones(len(clear)))
    max_range_m = greatest(range_m, whole)
    of = _rows(passes, clear.row)
    return Passes(of.satellite, of.station, clear.start_s, clear.end_s, max_range_m)


def _split(passes: Passes, paths: Tracks, station: GroundStation) -> Spans:
    """Passes cut where the azimuth meets a point of the mask."""
    azimuth = np.array(station.horizon_mask)[:, 0]
    right = positive_spans(_beside(passes, paths, azimuth))
    of, point = np.divmod(np.tile(right.row, 2), len(azimuth))
    share = np.concatenate([right.start_s, right.end_s])
    time_s = passes.rise_s[of] + share * (passes.set_s - passes.rise_s)[of]
    east, north, _ = paths.at(of, time_s)[0]
    # In the plane through the point, either towards it or away from it.
    meets = east * np.sin(azimuth[point]) + north * np.cos(azimuth[point]) > 0.0
    every = np.arange(len(passes))
    row = np.concatenate([every, every, of[meets]])
    time_s = np.concatenate([passes.rise_s, passes.set_s, time_s[meets]])
    order = np.lexsort((time_s, row))
    row, time_s = row[order], np.clip(time_s[order], passes.rise_s[row[order]], passes.set_s[row[order]])
    inner = np.flatnonzero((row[1:] == row[:-1]) & (time_s[1:] > time_s[:-1]))
    return Spans(row[inner], time_s[inner], time_s[inner + 1])


def _beside(passes: Passes, paths: Tracks, azimuth: Floats) -> Samples:
    """How far right of the vertical plane through point p of the mask the satellite of a pass is, in metres.

    Smooth, and 0 in that plane. Row = pass x number of points + point; time is the share of the pass, 0 to 1.
    """
    length_s = passes.set_s - passes.rise_s
    toward = np.stack([np.cos(azimuth), -np.sin(azimuth)])

    def flat(row: Ints, share: Floats) -> tuple[Floats, Floats]:
        offset, rate = paths.at(row, passes.rise_s[row] + share * length_s[row])
        return offset[:2], rate[:2] * length_s[row]

    def between(row: Ints, _: Ints) -> Clearance:
        of, point = np.divmod(row, len(azimuth))

        def clearance(share: Floats) -> tuple[Floats, Floats]:
            offset, rate = flat(of, share)
            return (offset * toward[:, point]).sum(axis=0), (rate * toward[:, point]).sum(axis=0)

        return clearance

    share = _shares(length_s, _PARTS_OF_PASS)
    row = np.repeat(np.arange(len(passes)), len(share))
    value, slope = (
        np.einsum("int,ip->npt", vector.reshape(2, len(passes), len(share)), toward).reshape(-1, len(share))
        for vector in flat(row, np.tile(share, len(passes)))
    )
    return Samples(share, value, slope, math.inf, between)


def _clear(parts: Spans, paths: Tracks, station: GroundStation) -> Spans:
    """Where the elevation is above the mask; rows are those of the passes, parts of one that touch are joined again."""
    east, north, _ = paths.at(parts.row, 0.5 * (parts.start_s + parts.end_s))[0]
    middle = np.arctan2(east, north) % (2.0 * math.pi)
    base, elevation, slope = _mask_lines(station, middle)

    def above(row: Ints, time_s: Floats) -> tuple[Floats, Floats]:
        """Elevation less the mask, in radians; the mask is the straight line that holds at the middle of the part."""
        offset, rate = paths.at(parts.row[row], time_s)
        (east, north, up), (east_rate, north_rate, up_rate) = offset, rate
        level = np.hypot(east, north)
        level_rate = (east * east_rate + north * north_rate) / level
        turn = (np.arctan2(east, north) - base[row] + math.pi) % (2.0 * math.pi) - math.pi
        turn_rate = (east_rate * north - east * north_rate) / level**2
        climb = (up_rate * level - up * level_rate) / (level**2 + up**2)
        return np.arctan2(up, level) - elevation[row] - slope[row] * turn, climb - slope[row] * turn_rate

    found = positive_spans(_sampled(above, parts.start_s, parts.end_s, _PARTS_BETWEEN_POINTS))
    start_s, end_s = parts.start_s[found.row], parts.end_s[found.row]
    # Exactly the end of a part where a span reaches it, so that `union` sees that the two sides touch.
    opens = np.where(found.start_s == 0.0, start_s, start_s + found.start_s * (end_s - start_s))
    closes = np.where(found.end_s == 1.0, end_s, start_s + found.end_s * (end_s - start_s))
    return union(Spans(parts.row[found.row], opens, closes))


def _mask_lines(station: GroundStation, azimuth: Floats) -> tuple[Floats, Floats, Floats]:
    """The straight line of the mask at each azimuth: azimuth and elevation of its middle, and its slope."""
    azimuths, elevations = np.array(station.horizon_mask).T
    left = (np.searchsorted(azimuths, azimuth, side="right") - 1) % len(azimuths)
    right = (left + 1) % len(azimuths)
    width = (azimuths[right] - azimuths[left]) % (2.0 * math.pi)
    width = np.where(width > 0.0, width, 2.0 * math.pi)
    slope = (elevations[right] - elevations[left]) / width
    # From its middle a line reaches half a circle to each side at most, so the way around is never in doubt.
    return azimuths[left] + 0.5 * width, 0.5 * (elevations[left] + elevations[right]), slope


def _range(paths: Tracks, row: Ints, time_s: Floats) -> tuple[Floats, Floats]:
    offset, rate = paths.at(row, time_s)
    range_m = np.sqrt((offset * offset).sum(axis=0))
    return range_m, (offset * rate).sum(axis=0) / range_m


def _sampled(curve: Curve, start_s: Floats, end_s: Floats, num_parts: int) -> Samples:
    """A curve per row, each over its own span, which becomes 0 to 1 because `crossings` has one grid for all rows."""
    length_s = end_s - start_s
    share = _shares(length_s, num_parts)
    row = np.repeat(np.arange(len(start_s)), len(share))
    value, slope = curve(row, start_s[row] + np.tile(share, len(start_s)) * length_s[row])

    def between(row: Ints, _: Ints) -> Clearance:
        def clearance(share: Floats) -> tuple[Floats, Floats]:
            value, slope = curve(row, start_s[row] + share * length_s[row])
            return value, slope * length_s[row]

        return clearance

    shape = (len(start_s), len(share))
    return Samples(share, value.reshape(shape), (slope * length_s[row]).reshape(shape), math.inf, between)


def _shares(length_s: Floats, num_parts: int) -> Floats:
    """Even shares of a span from 0 to 1: so many parts, and more where the longest span is long."""
    return np.linspace(0.0, 1.0, max(num_parts, math.ceil(length_s.max(initial=0.0) / DEFAULT_GRID_S)) + 1)
