"""Contact windows: CPU time, memory and exactness against skyfield and brahe, over 24 h at 10 degrees.

Three constellations: `star-66` (86.4:66/6/2 at 780 km) and `delta-1584` (53:1584/72/39 at 550 km) over ten real
stations, and `delta-10000` (53:10000/100/39 at 550 km) over fifty places spread evenly. Every contender works in a
process of its own, so that its peak memory is its own, on the same satellites, stations and day; CPU seconds are those
of the search alone, without imports. What is too slow to run whole runs on every n-th satellite and is scaled:
`skyfield_sample` and `brahe_sample` say how many satellites that was. `accelerated_start_cpu_s` comes once before with
numba: in the first row to import it and compile, in the others to import it and load what was compiled.

Ours is compared with skyfield's `find_events`, pair by pair, as it is meant to be used: `missed` and `extra` leave out
windows that peak within 0.001 degrees of the mask. Its edges are good to half a second, so ours are held against the
roots of its elevation. brahe reads element sets with the constants of WGS 84, which moves satellites by 60 m in a day;
it is therefore compared with ours on such orbits, where the two agree to a millimetre.
"""

from __future__ import annotations

import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from record import record
from scipy.optimize import elementwise
from sgp4.api import WGS84, Satrec
from skyfield.api import EarthSatellite, load, wgs84

from orbitune.links.visibility import ground_passes
from orbitune.orbit.constellation import Constellation, WalkerShell, build_walker
from orbitune.orbit.geometry import GroundStation

START = (2026, 3, 26, 12)
START_UTC = "2026-03-26T12:00:00Z"
SGP4_EPOCH_JD = 2_433_281.5  # where `Satrec.sgp4init` counts its epochs from
DAY_S = 86_400.0
MASK_DEG = 10.0
EXEMPT_DEG = 0.001
NEAR_S = 1.0  # windows within this of each other are the same one
REPEATS = 3
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


def spread_sites(count: int) -> dict[str, tuple[float, float, float]]:
    """Places at sea level on a golden-angle spiral (R. Swinbank and R. J. Purser, QJRMS 132 (2006) 1769)."""
    k = np.arange(count)
    latitude = np.degrees(np.arcsin(1.0 - (2.0 * k + 1.0) / count))
    longitude = (k * 180.0 * (3.0 - math.sqrt(5.0))) % 360.0 - 180.0
    return {f"place-{i}": (lat, lon, 0.0) for i, (lat, lon) in enumerate(zip(latitude, longitude, strict=True))}


@dataclass(frozen=True)
class Case:
    """A job, every how many satellites skyfield and brahe get, and how many windows have their edges checked."""

    shell: WalkerShell
    sites: dict[str, tuple[float, float, float]]
    repeats: int
    skyfield_every: int
    brahe_every: int
    edges_shortest: int
    edges_spread: int

    @property
    def stations(self) -> list[GroundStation]:
        return [
            GroundStation(name, math.radians(lat), math.radians(lon), altitude_m, math.radians(MASK_DEG))
            for name, (lat, lon, altitude_m) in self.sites.items()
        ]


CASES = {
    "star-66": Case(WalkerShell("walker-star", 66, 6, 2, 780e3, math.radians(86.4)), SITES, REPEATS, 1, 1, 100, 100),
    "delta-1584": Case(
        WalkerShell("walker-delta", 1584, 72, 39, 550e3, math.radians(53.0)), SITES, REPEATS, 2, 1, 300, 300
    ),
    "delta-10000": Case(
        WalkerShell("walker-delta", 10_000, 100, 39, 550e3, math.radians(53.0)), spread_sites(50), 1, 199, 199, 150, 150
    ),
}


@cache
def walker(shell: WalkerShell) -> Constellation:
    return build_walker([shell], START_UTC)


@dataclass(frozen=True)
class Windows:
    """Windows in view, sorted by (satellite, station, start)."""

    satellite: np.ndarray
    station: np.ndarray
    start_s: np.ndarray
    end_s: np.ndarray

    @staticmethod
    def of(rows: Sequence[tuple[int, int, float, float]]) -> Windows:
        table = np.array(sorted(rows), dtype=float).reshape(-1, 4).T
        return Windows(table[0].astype(int), table[1].astype(int), table[2], table[3])

    def __len__(self) -> int:
        return len(self.satellite)

    def __getitem__(self, rows: np.ndarray) -> Windows:
        return Windows(self.satellite[rows], self.station[rows], self.start_s[rows], self.end_s[rows])


# ---------------------------------------------------------------------- contenders, each in a process of its own


def ours(case: Case, compiled: bool) -> tuple[dict[str, float], Windows]:
    constellation = walker(case.shell)
    few = Constellation(("one",), ((0,),), (False,), (None,), constellation.elements[:1])
    begin = time.process_time()
    ground_passes(few, case.stations, START_UTC, 3600.0, compiled=compiled)  # with numba: import, and compile or load
    seconds = [time.process_time() - begin]
    for _ in range(case.repeats):
        begin = time.process_time()
        found = ground_passes(constellation, case.stations, START_UTC, DAY_S, compiled=compiled)
        seconds.append(time.process_time() - begin)
    figures = {"start_cpu_s": seconds[0], "cpu_s": statistics.median(seconds[1:])}
    return figures, Windows(found.satellite, found.station, found.rise_s, found.set_s)


def skyfields(case: Case) -> tuple[dict[str, float], Windows]:
    elements = walker(case.shell).elements
    timescale, places = _timescale(), _places(case)
    span = (timescale.utc(*START, 0, 0.0), timescale.utc(*START, 0, DAY_S))
    rows: list[tuple[int, int, float, float]] = []
    begin = time.process_time()
    for number in range(0, len(elements), case.skyfield_every):
        satellite = EarthSatellite.from_satrec(elements[number], timescale)
        for station, place in enumerate(places):
            found, events = satellite.find_events(place, *span, altitude_degrees=MASK_DEG)
            moments = (found - span[0]) * DAY_S
            rises = [0.0] * bool(len(events) and events[0] != 0) + list(moments[events == 0])
            sets = list(moments[events == 2]) + [DAY_S] * bool(len(events) and events[-1] != 2)
            rows += [(number, station, *window) for window in zip(rises, sets, strict=True)]
    return {"cpu_s": time.process_time() - begin}, Windows.of(rows)


def brahes(case: Case) -> tuple[dict[str, float], Windows]:
    import brahe

    brahe.set_global_eop_provider_from_static_provider(brahe.StaticEOPProvider.from_zero())  # UT1 = UTC, as ours
    epoch = brahe.Epoch.from_datetime(*START, 0, 0.0, 0.0, brahe.TimeSystem.UTC)
    locations = [
        brahe.PointLocation(lon, lat, altitude_m).with_name(str(number))
        for number, (lat, lon, altitude_m) in enumerate(case.sites.values())
    ]
    propagators = [
        brahe.SGPPropagator.from_omm_elements(epoch, *_omm(element), 10_000 + number, object_name=str(number))
        for number, element in list(enumerate(walker(case.shell).elements))[:: case.brahe_every]
    ]
    begin = time.process_time()
    found = brahe.location_accesses(
        locations, propagators, epoch, epoch + DAY_S, brahe.ElevationConstraint(min_elevation_deg=MASK_DEG)
    )
    figures = {"cpu_s": time.process_time() - begin}
    rows = [(int(w.satellite_name), int(w.location_name), w.window_open - epoch, w.window_close - epoch) for w in found]
    return figures, Windows.of(rows)


def _omm(element: Satrec) -> tuple[float, ...]:
    """Mean motion in turns a day, eccentricity, and the four angles in degrees, as element sets order them."""
    angles = (element.inclo, element.nodeo, element.argpo, element.mo)
    return (element.no_kozai * 1440.0 / (2.0 * math.pi), element.ecco, *map(math.degrees, angles))


CONTENDERS: dict[str, Callable[[Case], tuple[dict[str, float], Windows]]] = {
    "numpy": lambda case: ours(case, compiled=False),
    "numba": lambda case: ours(case, compiled=True),
    "skyfield": skyfields,
    "brahe": brahes,
}


def contend(contender: str, name: str, path: str) -> None:
    """What a child does: the job, its windows into a file, its figures to the parent."""
    figures, windows = CONTENDERS[contender](CASES[name])
    np.savez(path, **vars(windows))
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(json.dumps({**figures, "peak_mb": peak_mb}))


def run(contender: str, name: str, folder: Path) -> tuple[dict[str, float | None], Windows | None]:
    """Figures and windows of a contender; None for all where it is not installed."""
    if contender in ("numba", "brahe") and find_spec(contender) is None:
        print(f"{name}: {contender} is not installed, its figures are left empty", flush=True)
        return dict.fromkeys(("cpu_s", "start_cpu_s", "peak_mb")), None
    path = folder / f"{contender}-{name}.npz"
    # Kept apart from the user's machine code, so that the first job shows what compiling costs.
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    command = [sys.executable, __file__, contender, name, str(path)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float | None] = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: {contender} took {figures['cpu_s']:.3g} CPU s, peak {figures['peak_mb']:.0f} MB", flush=True)
    with np.load(path) as columns:
        return figures, Windows(**columns)


# ------------------------------------------------------------------------------------------------ comparisons


def measure(name: str, folder: Path) -> dict[str, Any]:
    case = CASES[name]
    base, mine = run("numpy", name, folder)
    fast, same = run("numba", name, folder)
    sky, theirs = run("skyfield", name, folder)
    brahe, accesses = run("brahe", name, folder)
    assert mine is not None and theirs is not None
    assert same is None or len(same) == len(mine)
    total = case.shell.satellites
    sampled = mine[mine.satellite % case.skyfield_every == 0]
    worst_s, typical_s = edge_errors_s(case, mine)
    sky_s, brahe_s = (_scaled(x, total, n) for x, n in ((sky, case.skyfield_every), (brahe, case.brahe_every)))
    return {
        "constellation": name,
        "satellites": total,
        "stations": len(case.sites),
        "windows": len(mine),
        "missed": _telling(case, theirs, sampled),
        "extra": _telling(case, sampled, theirs),
        "max_edge_error_s": worst_s,
        "median_edge_error_s": typical_s,
        "cpu_s": base["cpu_s"],
        "accelerated_cpu_s": fast["cpu_s"],
        "accelerated_start_cpu_s": fast["start_cpu_s"],
        "skyfield_cpu_s": sky_s,
        "skyfield_sample": len(range(0, total, case.skyfield_every)),
        "brahe_cpu_s": brahe_s,
        "brahe_sample": len(range(0, total, case.brahe_every)) if accesses else None,
        "brahe_missed": brahe_missed(case, accesses) if accesses else None,
        "peak_mb": base["peak_mb"],
        "accelerated_peak_mb": fast["peak_mb"],
        **{f"{whose}_ratio": _ratio(x, base["cpu_s"]) for whose, x in (("skyfield", sky_s), ("brahe", brahe_s))},
        **{
            f"accelerated_{whose}_ratio": _ratio(x, fast["cpu_s"])
            for whose, x in (("skyfield", sky_s), ("brahe", brahe_s))
        },
    }


def _scaled(figures: dict[str, float | None], total: int, every: int) -> float | None:
    cpu_s = figures["cpu_s"]
    return None if cpu_s is None else cpu_s * total / len(range(0, total, every))


def _ratio(theirs: float | None, mine: float | None) -> float | None:
    return theirs / mine if theirs and mine else None


def unmatched(windows: Windows, others: Windows) -> np.ndarray:
    """Rows of windows of which the others have none near; where two have the same one near, the second."""
    pairs, other_pairs = (w.satellite * 1000 + w.station for w in (windows, others))
    far = 10.0 * DAY_S
    latest = np.searchsorted(other_pairs * far + others.start_s, pairs * far + windows.end_s + NEAR_S) - 1
    there = np.clip(latest, 0, len(others) - 1)
    near = (latest >= 0) & (other_pairs[there] == pairs) & (others.end_s[there] > windows.start_s - NEAR_S)
    again = np.r_[False, there[1:] == there[:-1]]
    return np.flatnonzero(~near | again)


def _telling(case: Case, windows: Windows, others: Windows) -> int:
    """How many of those there are, without the ones that peak at the mask."""
    left = windows[unmatched(windows, others)]
    return sum(abs(peak_deg(case, left, row) - MASK_DEG) > EXEMPT_DEG for row in range(len(left)))


def peak_deg(case: Case, windows: Windows, row: int) -> float:
    seen = _seen(case, int(windows.satellite[row]), int(windows.station[row]))
    return float(seen(np.linspace(windows.start_s[row] - NEAR_S, windows.end_s[row] + NEAR_S, 500)).max()) + MASK_DEG


def brahe_missed(case: Case, accesses: Windows) -> int:
    """Windows on WGS 84 orbits that brahe has not, of those satellites that it was given; at the mask left out."""
    elements = walker(case.shell).elements[:: case.brahe_every]
    records = tuple(_with_wgs84(element) for element in elements)
    count = len(records)
    same = Constellation(tuple(map(str, range(count))), (tuple(range(count)),), (False,), (None,), records)
    found = ground_passes(same, case.stations, START_UTC, DAY_S)
    mine = Windows(found.satellite * case.brahe_every, found.station, found.rise_s, found.set_s)
    return _telling(case, mine, accesses)


def _with_wgs84(element: Satrec) -> Satrec:
    moved = Satrec()
    epoch = element.jdsatepoch - SGP4_EPOCH_JD + element.jdsatepochF
    shape = (element.ecco, element.argpo, element.inclo, element.mo, element.no_kozai, element.nodeo)
    moved.sgp4init(WGS84, "i", element.satnum, epoch, 0.0, 0.0, 0.0, *shape)
    return moved


def edge_errors_s(case: Case, windows: Windows) -> tuple[float, float]:
    """Greatest and median distance of edges from the roots of skyfield's elevation: the shortest windows, and others
    spread over all. Windows cut by the ends of the day, and those that skyfield sees peak at the mask, are left out.
    """
    whole = windows[(windows.start_s > 0.0) & (windows.end_s < DAY_S)]
    shortest = np.argsort(whole.end_s - whole.start_s)[: case.edges_shortest]
    spread = np.linspace(0, len(whole) - 1, case.edges_spread).astype(int)
    errors = [_edge_errors_s(case, whole, row) for row in np.union1d(shortest, spread)]
    every = np.concatenate(errors)
    print(
        f"{len(every) // 2} windows held against skyfield's elevation, from {(whole.end_s - whole.start_s).min():.3g} s"
    )
    return float(every.max()), float(np.median(every))


def _edge_errors_s(case: Case, windows: Windows, row: int) -> np.ndarray:
    seen = _seen(case, int(windows.satellite[row]), int(windows.station[row]))
    edges = np.array([windows.start_s[row], windows.end_s[row]])
    inside = np.clip(edges.mean(), edges - 0.5, edges + 0.5)
    # Not even around the edge, or the first guess of the search for the root would be our own edge.
    outside = edges + np.array([-0.37, 0.37])
    if seen(inside).min() <= 0.0 and abs(seen(inside).max()) < EXEMPT_DEG:
        return np.empty(0)
    root = elementwise.find_root(seen, (outside, inside), tolerances={"xatol": 1e-7})
    assert root.success.all(), f"no edge of skyfield's within half a second of {edges}"
    return np.abs(root.x - edges)


def _seen(case: Case, satellite: int, station: int) -> Callable[[np.ndarray], np.ndarray]:
    """Skyfield's elevation above the mask in degrees, as a function of seconds after the start."""
    timescale = _timescale()
    element = walker(case.shell).elements[satellite]
    seen = EarthSatellite.from_satrec(element, timescale) - _places(case)[station]

    def over(time_s: np.ndarray) -> np.ndarray:
        degrees: np.ndarray = seen.at(timescale.utc(*START, 0, time_s)).altaz()[0].degrees - MASK_DEG
        return degrees

    return over


@cache
def _timescale() -> Any:
    return load.timescale(delta_t=69.184, builtin=True)  # 32.184 s + 37 leap seconds: UT1 = UTC, as ours


def _places(case: Case) -> list[Any]:
    return [wgs84.latlon(lat, lon, elevation_m=altitude_m) for lat, lon, altitude_m in case.sites.values()]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(name, Path(folder)) for name in CASES]
    small, shell, large = rows
    assert (small["constellation"], large["constellation"]) == ("star-66", "delta-10000")
    record("contacts", rows, SEED, {**shell, "large": large})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        contend(*sys.argv[1:])
    else:
        main()
