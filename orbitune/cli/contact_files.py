"""What `orbitune contacts` works out, and the files it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orbitune.errors import InputError, RunError
from orbitune.links.contacts import ContactPlan
from orbitune.links.czml import write_czml
from orbitune.links.eclipse import eclipse_share, eclipses
from orbitune.links.exchange import write_csv, write_json
from orbitune.links.ion import write_ion
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.geometry import GroundStation
from orbitune.report.contacts_page import write_contacts_page
from orbitune.scenario.build import build_constellation, build_contacts, build_stations
from orbitune.scenario.schema import Scenario


@dataclass(frozen=True)
class Sky:
    """A scenario with its satellites, stations and contacts."""

    scenario: Scenario
    constellation: Constellation
    stations: tuple[GroundStation, ...]
    plan: ContactPlan

    @classmethod
    def of(cls, scenario: Scenario) -> Sky:
        """Work all of it out.

        Raises:
            PlanError, InputError, MissingExtra: As `build_contacts`.
        """
        constellation = build_constellation(scenario)
        return cls(scenario, constellation, build_stations(scenario), build_contacts(scenario, constellation))

    def eclipse_shares(self) -> dict[str, float]:
        """Mean, least and greatest part of the horizon that a satellite spends in the Earth's shadow."""
        start_utc, horizon_s = self.scenario.time.start_utc, self.plan.horizon_s
        found = eclipses(self.constellation, start_utc, horizon_s, self.scenario.time.search_step_s)
        share = eclipse_share(found, len(self.constellation), horizon_s)
        return {"share_mean": float(share.mean()), "share_min": float(share.min()), "share_max": float(share.max())}


def refuse_unknown(paths: Iterable[Path]) -> None:
    """Say at once which files nobody knows how to write, before minutes of work.

    Raises:
        InputError: The ending of a file is not one of `WRITERS`.
    """
    for path in paths:
        if path.suffix not in WRITERS:
            raise InputError(f"--out {path}: the ending says what to write; it must be one of {', '.join(WRITERS)}")


def write(path: Path, sky: Sky) -> str:
    """Write one file in the format of its ending; returns what to say about it.

    Raises:
        RunError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remark = WRITERS[path.suffix](path, sky)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
    return f"wrote {path}" + (f" ({remark})" if remark else "")


def _csv(path: Path, sky: Sky) -> str:
    write_csv(path, sky.plan)
    return ""


def _json(path: Path, sky: Sky) -> str:
    write_json(path, sky.plan)
    return ""


def _ion(path: Path, sky: Sky) -> str:
    loss = write_ion(path, sky.plan)
    return (
        f"in whole seconds and bytes: {loss.dropped} contacts, {loss.lost_s:.0f} s and "
        f"{loss.lost_bytes / 1e6:.3g} MB less than the plan"
    )


def _czml(path: Path, sky: Sky) -> str:
    left_out = write_czml(path, sky.constellation, sky.stations, sky.plan, sky.scenario.time.start_utc)
    return f"{left_out} links left out, there are too many to draw" if left_out else ""


def _html(path: Path, sky: Sky) -> str:
    start_utc, left_out = sky.scenario.time.start_utc, sky.constellation.left_out
    write_contacts_page(path, sky.scenario.name, sky.constellation, sky.stations, sky.plan, start_utc, left_out)
    return ""


WRITERS: Mapping[str, Callable[[Path, Sky], str]] = {
    ".csv": _csv,
    ".json": _json,
    ".ion": _ion,
    ".czml": _czml,
    ".html": _html,
}
"""How to write a plan, by the ending of the file."""
