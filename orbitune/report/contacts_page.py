"""The page of a contact plan: satellites, stations and when they see each other; one file, no request to anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from orbitune import __version__
from orbitune.files import write_whole
from orbitune.links.contacts import ContactPlan, Nodes
from orbitune.links.overview import contacts_content
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.geometry import GroundStation
from orbitune.report import amounts, contacts_figures, contacts_tables, contacts_windows
from orbitune.report.frame import details, figure, missing, section
from orbitune.report.map_view import moving_map
from orbitune.report.markup import Child, Markup, tag
from orbitune.report.page import html_page, navigation
from orbitune.report.verdict import Tile, cards
from orbitune.report.worldmap import World, busiest_s, read_track

SCRIPTS = ("page.js", "lines.js", "map.js", "contacts.js")

STYLES = ("page.css", "figures.css", "contacts.css")

PARTS = (
    ("world", "Map"),
    ("windows", "Windows"),
    ("lengths", "Passes and gaps"),
    ("parts", "Stations and planes"),
    ("links", "Satellite links"),
    ("rates", "Rates"),
)
"""Sections in order, with their names in the navigation."""

MAX_LEFT_OUT = 200
"""Element sets that are listed by name; what is wrong with a catalogue shows in fewer."""


def write_contacts_page(
    path: Path,
    scenario_name: str,
    constellation: Constellation,
    stations: Sequence[GroundStation],
    plan: ContactPlan,
    start_utc: str | datetime,
    left_out: Sequence[str],
) -> Path:
    """Write the page of a plan; `left_out` has a sentence for each element set that was not taken up.

    Returns:
        The path.

    Raises:
        InputError: SGP4 refuses a satellite.
        OSError: The file cannot be written.
    """
    content = contacts_content(constellation, stations, plan, start_utc) | {"left_out": list(left_out)}
    write_whole(path, render_contacts(scenario_name, content).encode())
    return path


def render_contacts(scenario_name: str, content: Mapping[str, Any]) -> str:
    """The whole page as text, from what `contacts_content` gives and `left_out`."""
    text = f"Orbitune {__version__}. All times are computed. This page makes no request."
    footer = tag("footer", tag("p", text, class_="wide"))
    body = [navigation(PARTS), _header(scenario_name, content), _main(content), footer]
    return html_page(f"{scenario_name} – Orbitune contacts", body, SCRIPTS, STYLES)


def _main(content: Mapping[str, Any]) -> Markup:
    return tag(
        "main",
        section("world", "Satellites, stations and contacts", _map(content)),
        section("windows", "Contact windows over time", contacts_windows.windows(content)),
        section("lengths", "How long passes and gaps are", contacts_figures.distributions(content)),
        section("parts", "Each station, plane and satellite", contacts_tables.parts(content)),
        section("links", "Links between satellites", contacts_figures.links(content)),
        section("rates", "Rates and volumes", contacts_figures.rates(content)),
        class_="wide",
    )


# -- top -----------------------------------------------------------------------------------------------------------


def _header(scenario_name: str, content: Mapping[str, Any]) -> Markup:
    when = f"{amounts.duration(content['horizon_s'])} from {content['start_utc']}"
    return tag(
        "header",
        tag("p", "Contact plan", class_="eyebrow"),
        tag("h1", scenario_name),
        tag("p", when, class_="made"),
        tag("div", tag("p", _lead(content), class_="lead"), class_="verdict"),
        cards(_tiles(content)),
        _left_out(content.get("left_out") or ()),
        class_="wide",
    )


def _lead(content: Mapping[str, Any]) -> str:
    figures = content["figures"]
    satellites = amounts.count(content["satellites"], "satellite")
    stations: Sequence[Mapping[str, Any]] = figures["per_station"]
    if not figures["passes_per_day"]:
        return f"None of the {satellites} ever passes over a station in this time."
    best = max(stations, key=lambda row: float(row["passes_per_day"]))
    never, share = figures["satellites_never_in_contact"], amounts.percent(figures["contact_share_mean"])
    text = f"All {satellites} see some station, on average for {share} of the time. "
    if never:
        text = f"{never:,} of {satellites} never see a station; the average over all is {share} of the time. "
    busiest = "The busiest station is" if len(stations) > 1 else "The station is"
    return text + f"{busiest} {best['name']} with {best['passes_per_day']:,.0f} passes per day."


def _tiles(content: Mapping[str, Any]) -> list[Tile]:
    figures, durations = content["figures"], content["durations"]
    volume: Mapping[str, float] = figures["volume_per_day_bytes"]
    planes, stations = content["planes"], len(figures["per_station"])
    worst = figures["longest_gap_satellite"] or "no satellite"
    found = [
        ("Passes per day", f"{figures['passes_per_day']:,.0f}", "over all satellites and stations"),
        ("In contact", amounts.percent(figures["contact_share_mean"]),
         f"of the time, mean over satellites; least {amounts.percent(figures['contact_share_min'])}"),
        ("Longest gap", amounts.duration(figures["longest_gap_s"]),
         f"{worst}; median over satellites {amounts.duration(figures['longest_gap_median_s'])}"),
        ("Downlink per day", amounts.volume(volume["downlink"]),
         f"uplink {amounts.volume(volume['uplink'])}, if every contact were used"),
        ("Median pass", amounts.duration(durations.get("median_s")),
         f"{amounts.duration(durations.get('shortest_s'))} to {amounts.duration(durations.get('longest_s'))}"),
        ("Constellation", amounts.count(content["satellites"], "satellite"),
         f"{amounts.count(planes, 'plane')}, {amounts.count(stations, 'ground station')}"),
    ]  # fmt: skip
    return found


def _left_out(sentences: Sequence[str]) -> Markup | None:
    """What of a catalogue was not taken up."""
    if not sentences:
        return None
    listed: list[Child] = [tag("li", sentence) for sentence in sentences[:MAX_LEFT_OUT]]
    if len(sentences) > MAX_LEFT_OUT:
        listed.append(tag("li", f"and {len(sentences) - MAX_LEFT_OUT:,} more, which are not listed here"))
    title = f"Left out of the catalogue: {amounts.count(len(sentences), 'element set')}"
    return tag("div", details(title, tag("ul", listed, class_="prose")), id="left-out", class_="left-out")


# -- map -----------------------------------------------------------------------------------------------------------


def _map(content: Mapping[str, Any]) -> Markup:
    shown: Mapping[str, Any] = content["map"]
    world = World(shown, _nodes(shown), "contact plan")
    track = read_track(world)
    if track is None:
        return missing("map", "There is no satellite, so there is no map to show.")
    drawn, every = len(shown["satellites"]), int(shown["every"])
    which = f"{drawn:,} of the {content['satellites']:,} satellites (one of {every})"
    return figure(
        "map",
        moving_map(world, track, busiest_s(track)),
        caption=f"Subpoints of {amounts.count(drawn, 'satellite') if every == 1 else which} over "
        f"{amounts.duration(track.end_s)} from the start, {amounts.count(len(shown['stations']), 'station')} and the "
        f"passes going on at the moment chosen{'' if every == 1 else ', of the satellites drawn'}. "
        "Land: Natural Earth, public domain.",
    )


def _nodes(shown: Mapping[str, Any]) -> Nodes:
    return Nodes(
        tuple(shown["satellites"]),
        tuple(str(station["name"]) for station in shown["stations"]),
        tuple(tuple(plane) for plane in shown["planes"]),
    )
