"""Contact windows: CPU time and edges against skyfield, satellites and stations of two constellations over a day.

`delta-72` is 53:72/6/1 at 550 km, `star-66` is 86.4:66/6/2 at 780 km, both with ten stations at 10 degrees for 24 h;
`delta-1584` has the size of a Starlink shell, for Orbitune alone. Skyfield's `find_events` runs in the same process,
pair by pair, as it is meant to be used. Its own edges are good to half a second, so edge errors are taken against its
elevation, refined by bisection.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from record import Row, record
from skyfield.api import EarthSatellite, Timescale, load, wgs84

from orbitune.links.plan import LinkSpec, find_contacts
from orbitune.links.visibility import Passes, ground_passes
from orbitune.orbit.constellation import Constellation, WalkerShell, build_walker
from orbitune.orbit.geometry import GroundStation

T = TypeVar("T")

START = (2026, 3, 26, 12)
START_UTC = "2026-03-26T12:00:00Z"
DAY_S = 86_400.0
MASK_DEG = 10.0
REPEATS = 5
SEED = 0  # nothing here is random

# Latitude and longitude in degrees, altitude in metres.
SITES = {
    "Svalbard": (78.23, 15.39, 450.0),
    "Fairbanks": (64.86, -147.85, 180.0),
    "Wallops": (37.94, -75.46, 10.0),
    "Hawaii": (19.01, -155.66, 370.0),
    "Singapore": (1.35, 103.82, 20.0),
    "Awarua": (-46.53, 168.38, 5.0),
    "Punta Arenas": (-52.94, -70.85, 30.0),
    "Hartebeesthoek": (-25.89, 27.69, 1540.0),
    "Kiruna": (67.88, 21.06, 400.0),
    "Bengaluru": (13.03, 77.57, 900.0),
}
SHELLS = {
    "delta-72": WalkerShell("walker-delta", 72, 6, 1, 550e3, math.radians(53.0)),
    "star-66": WalkerShell("walker-star", 66, 6, 2, 780e3, math.radians(86.4)),
    "delta-1584": WalkerShell("walker-delta", 1584, 72, 17, 550e3, math.radians(53.0)),
}
LINKS = LinkSpec(200e6, 20e6, 1e9, 1e9, 10e9, 80e3, 5000e3, 0.005, True)


def main() -> None:
    stations = [
        GroundStation(name, math.radians(lat), math.radians(lon), altitude_m, math.radians(MASK_DEG))
        for name, (lat, lon, altitude_m) in SITES.items()
    ]
    record("contacts", [measure(name, shell, stations) for name, shell in SHELLS.items()], SEED)


def measure(name: str, shell: WalkerShell, stations: list[GroundStation]) -> Row:
    constellation = build_walker([shell], START_UTC)
    ours, passes = timed(lambda: ground_passes(constellation, stations, START_UTC, DAY_S), REPEATS)
    planned, plan = timed(lambda: find_contacts(constellation, stations, LINKS, START_UTC, DAY_S), 1)
    row: dict[str, str | int | float | None] = {
        "constellation": name,
        "passes": len(passes),
        "cpu_s": statistics.median(ours),
        "cpu_s_spread": max(ours) - min(ours),
        "contacts": len(plan),
        "whole_plan_cpu_s": planned[0],
        "skyfield_cpu_s": None,
        "skyfield_ratio": None,
        "skyfield_passes": None,
        "worst_edge_ms": None,
    }
    if shell.satellites < 100:  # skyfield takes minutes for the large one
        timescale = load.timescale(delta_t=69.184, builtin=True)  # 32.184 s + 37 leap seconds: UT1 = UTC, as ours
        theirs, found = timed(lambda: skyfield_passes(constellation, timescale), 1)
        row["skyfield_cpu_s"] = theirs[0]
        row["skyfield_ratio"] = theirs[0] / statistics.median(ours)
        row["skyfield_passes"] = found
        row["worst_edge_ms"] = 1e3 * worst_edge_s(constellation, passes, timescale)
    return row


def timed(job: Callable[[], T], repeats: int) -> tuple[list[float], T]:
    seconds = []
    for _ in range(repeats):
        before = time.process_time()
        result = job()
        seconds.append(time.process_time() - before)
    return seconds, result


def skyfield_passes(constellation: Constellation, timescale: Timescale) -> int:
    """Passes by skyfield: those that rise in the horizon, and those under way at its start."""
    begin, end = (timescale.utc(*START, 0, second) for second in (0.0, DAY_S))
    found = 0
    for element in constellation.elements:
        satellite = EarthSatellite.from_satrec(element, timescale)
        for site in SITES.values():
            place = wgs84.latlon(*site[:2], elevation_m=site[2])
            _, events = satellite.find_events(place, begin, end, altitude_degrees=MASK_DEG)
            risen = int(np.count_nonzero(events == 0))
            found += risen + int(len(events) > 0 and events[0] != 0)
    return found


def worst_edge_s(constellation: Constellation, passes: Passes, timescale: Timescale) -> float:
    """The greatest distance of an edge from the root of skyfield's elevation, over all edges inside the horizon."""
    worst = 0.0
    for satellite, element in enumerate(constellation.elements):
        record = EarthSatellite.from_satrec(element, timescale)
        for number, site in enumerate(SITES.values()):
            seen = record - wgs84.latlon(*site[:2], elevation_m=site[2])
            mine = (passes.satellite == satellite) & (passes.station == number)
            for edges, sign in ((passes.rise_s[mine], 1.0), (passes.set_s[mine], -1.0)):
                inside = edges[(edges > 0.0) & (edges < DAY_S)]
                if len(inside):
                    worst = max(worst, _error_s(seen, timescale, inside, sign))
    return worst


def _error_s(seen: object, timescale: Timescale, edge_s: np.ndarray, sign: float) -> float:
    def below(time_s: np.ndarray) -> np.ndarray:
        altitude = seen.at(timescale.utc(*START, 0, time_s)).altaz()[0]  # type: ignore[attr-defined]
        under: np.ndarray = sign * (altitude.degrees - MASK_DEG) < 0.0
        return under

    low, high = edge_s - 1.0, edge_s + 1.0
    assert below(low).all(), "no edge of skyfield's within a second"
    assert not below(high).any(), "no edge of skyfield's within a second"
    for _ in range(18):  # 2 s / 2^18 = 8 microseconds
        middle = 0.5 * (low + high)
        under = below(middle)
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    return float(np.abs(0.5 * (low + high) - edge_s).max())


if __name__ == "__main__":
    main()
