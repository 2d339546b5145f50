"""The figures of each station, plane and satellite of a contact plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orbitune.report import amounts
from orbitune.report.frame import details, table
from orbitune.report.markup import Child, Markup, tag

MAX_PLANES = 100
MAX_SATELLITES = 300
"""Rows of a table; more would only be found by a search, for which there are the JSON and CSV files."""

Row = Mapping[str, Any]

_HEAD = ("Passes per day", "In contact", "Longest gap", "Downlink per day")


def parts(content: Mapping[str, Any]) -> list[Markup]:
    """A table of stations, one of planes, and one of satellites to open."""
    figures = content["figures"]
    planes, satellites = figures["per_plane"], figures["per_satellite"]
    return [
        _stations(content),
        _planes(planes),
        details(f"Each satellite ({len(satellites):,})", _satellites(satellites)),
        tag("p", "A plane is in contact while any of its satellites is, a station while it sees any satellite. Gaps "
            "include the ends of the plan.", class_="note"),
    ]  # fmt: skip


def _stations(content: Mapping[str, Any]) -> Markup:
    where = [f"{_degrees(one['latitude_deg'], 'NS')}, {_degrees(one['longitude_deg'], 'EW')}"
             for one in content["map"]["stations"]]  # fmt: skip
    rows = [[row["name"], *_figures(row), place]
            for row, place in zip(content["figures"]["per_station"], where, strict=True)]  # fmt: skip
    return table(("Station", *_HEAD, "Place"), rows, "Stations", "numbers")


def _degrees(angle: float, sides: str) -> str:
    """A latitude or longitude with the side it lies on."""
    return f"{abs(angle):.2f}°{amounts.SPACE}{sides[0] if angle >= 0 else sides[1]}"


def _planes(rows: Sequence[Row]) -> Markup:
    cells = [[f"plane {row['name']}", f"{row['satellites']:,}", *_figures(row)] for row in rows[:MAX_PLANES]]
    body = table(("Plane", "Satellites", *_HEAD), cells, _title("Planes", len(rows), MAX_PLANES), "numbers")
    if len(rows) > 24:
        return details(f"Each plane ({len(rows):,})", body)
    return tag("div", body, class_="companion")


def _satellites(rows: Sequence[Row]) -> Markup:
    cells = [[row["name"], f"{row['plane']}", *_figures(row)] for row in rows[:MAX_SATELLITES]]
    return table(("Satellite", "Plane", *_HEAD), cells, _title("Satellites", len(rows), MAX_SATELLITES), "numbers")


def _title(words: str, many: int, most: int) -> str:
    if many <= most:
        return words
    return f"{words}: the first {most} of {many:,}; orbitune contacts --json has the others, too"


def _figures(row: Row) -> list[Child]:
    return [
        amounts.digits(row["passes_per_day"]),
        amounts.percent(row["contact_share"]),
        amounts.duration(row["longest_gap_s"]),
        amounts.volume(row["downlink_per_day_bytes"]),
    ]
