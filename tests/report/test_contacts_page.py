"""The page of a contact plan: complete, self-contained, escaped, small, and silent in a browser."""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from parsed_page import Page

from orbitune.links.contacts import ContactPlan
from orbitune.links.isl import IslSpec
from orbitune.links.overview import contacts_content
from orbitune.links.plan import LinkSpec, find_contacts
from orbitune.links.rates import FixedRate, RfRate
from orbitune.orbit.constellation import WalkerShell, build_walker
from orbitune.orbit.geometry import GroundStation
from orbitune.report import contacts_windows
from orbitune.report.contacts_page import render_contacts, write_contacts_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator
    from playwright.sync_api import Page as Tab

START_UTC = "2025-06-01T00:00:00Z"
SITES = {
    "Svalbard": (78.23, 15.39),
    "Fairbanks": (64.86, -147.85),
    "Singapore": (1.35, 103.82),
    "Awarua": (-46.53, 168.38),
}
FIGURES = ("map", "windows", "lengths", "links")
LEFT_OUT = ("SAT A (12345) is left out: decayed.", "SAT B (12346) is left out: its elements are 90 days old.")
EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


class Sky:
    """Satellites, stations and their plan."""

    def __init__(self, satellites: int, planes: int, hours: float, downlink: FixedRate | RfRate | None = None) -> None:
        shell = WalkerShell("walker-star", satellites, planes, 0, 780e3, math.radians(86.4))
        self.constellation = build_walker([shell], START_UTC)
        self.stations = [
            GroundStation(name, math.radians(lat), math.radians(lon), 0.0, math.radians(10.0))
            for name, (lat, lon) in SITES.items()
        ]
        self.spec = LinkSpec(
            downlink=downlink or FixedRate(200e6),
            uplink=FixedRate(20e6),
            isl_intra=FixedRate(1e9),
            isl_inter=FixedRate(500e6),
            backhaul_rate_bps=10e9,
            isl=IslSpec(
                policy="grid", grazing_altitude_m=80e3, max_range_m=4500e3, polar_cutoff_rad=math.radians(70.0)
            ),
            hop_latency_s=0.005,
        )
        self.plan = find_contacts(self.constellation, self.stations, self.spec, START_UTC, hours * 3600.0)

    def content(self) -> dict[str, Any]:
        return contacts_content(self.constellation, self.stations, self.plan, START_UTC)

    def write(self, path: Path, left_out: tuple[str, ...] = LEFT_OUT) -> Path:
        return write_contacts_page(
            path, "sky over us", self.constellation, self.stations, self.plan, START_UTC, left_out
        )


@pytest.fixture(scope="module")
def planes() -> Sky:
    """More satellites than have a row each; links between planes come and go."""
    return Sky(66, 6, 24.0)


@pytest.fixture(scope="module")
def few() -> Sky:
    """So few satellites that each has its row, and a radio whose rate changes along a pass."""
    rf = RfRate(eirp_dbw=13.0, g_over_t_db_k=31.0, frequency_hz=8.2e9, bandwidth_hz=96e6, margin_db=3.0,
                gas_zenith_db=0.3)  # fmt: skip
    return Sky(12, 3, 8.0, rf)


@pytest.fixture(scope="module")
def page(planes: Sky, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(planes.write(tmp_path_factory.mktemp("page") / "plan.html").read_text(encoding="utf-8"))


# -- complete ----------------------------------------------------------------------------------------------------------


def test_every_figure_is_there_and_ids_are_unique(page: Page) -> None:
    assert {f"figure-{name}" for name in FIGURES} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert not [name for name in page.ids if name.startswith("missing-")]
    tags = [tag for tag, _ in page.elements]
    assert tags.count("h1") == 1
    assert tags.count("figure") == tags.count("figcaption") == len(FIGURES)


def test_every_link_leads_somewhere(page: Page) -> None:
    targets = [str(attributes["href"]) for tag, attributes in page.elements if tag == "a"]
    assert targets
    assert {target.removeprefix("#") for target in targets} <= set(page.ids)


def test_key_figures_are_those_of_the_plan(planes: Sky, page: Page) -> None:
    figures = planes.content()["figures"]
    assert f"Passes per day {figures['passes_per_day']:,.0f}" in page.text
    assert f"In contact {figures['contact_share_mean'] * 100:.1f} %" in page.text
    assert f"least {figures['contact_share_min'] * 100:.1f} %" in page.text
    assert figures["longest_gap_satellite"] in page.text
    assert "66 satellites 6 planes, 4 ground stations" in page.text
    for row in figures["per_station"]:
        assert f"{row['contact_share'] * 100:.1f} %" in page.text


def test_what_was_left_out_is_named(planes: Sky, page: Page, tmp_path: Path) -> None:
    assert "Left out of the catalogue: 2 element sets" in page.text
    assert all(sentence in page.text for sentence in LEFT_OUT)
    assert "left-out" not in Page(planes.write(tmp_path / "all.html", ()).read_text(encoding="utf-8")).ids
    many = tuple(f"number {index} is left out" for index in range(1000))
    long = Page(planes.write(tmp_path / "many.html", many).read_text(encoding="utf-8"))
    assert "and 800 more, which are not listed here" in long.text


def test_the_same_plan_gives_the_same_page(planes: Sky, page: Page, tmp_path: Path) -> None:
    assert planes.write(tmp_path / "again.html").read_text(encoding="utf-8") == page.source


def test_it_stays_small(page: Page) -> None:
    assert len(page.source.encode()) < 1_500_000


def steps(path: str) -> list[tuple[int, int]]:
    return [(int(x), int(y)) for x, y in re.findall(r"H(\d+)V(\d+)", path)]


def test_rows_are_as_high_as_the_plan_says(planes: Sky, page: Page) -> None:
    """The area under each station's row is the time it sees satellites, counted pass by pass."""
    drawings = [attributes for tag, attributes in page.elements if tag in ("svg", "path")]
    rows = [(a, b) for a, b in itertools.pairwise(drawings) if "data-full" in a]
    assert len(rows) == 6 + len(SITES)
    most = float(rows[-1][0]["data-full"] or 0)
    for number in range(len(SITES)):
        box, path = rows[6 + number]
        width, height = (int(part) for part in str(box["viewbox"]).split()[2:])
        found = steps(str(path["d"]))
        area = sum((b[0] - a[0]) * (height - a[1]) for a, b in itertools.pairwise(found))
        station = planes.plan.nodes.stations[number]
        own = planes.plan.target[planes.plan.of_kind("downlink")] == station
        seen_s = (planes.plan.end_s - planes.plan.start_s)[planes.plan.of_kind("downlink")][own].sum()
        assert area / width / height * most == pytest.approx(seen_s / planes.plan.horizon_s, abs=0.02)


def test_few_satellites_have_a_row_each_with_their_contacts(few: Sky) -> None:
    page = Page(render_contacts("few", few.content()))
    (group,) = [a for _, a in page.elements if a.get("data-kind") == "satellite"]
    names = [a["data-name"] for _, a in page.elements if "data-name" in a]
    assert group["aria-label"] == "When each satellite sees a station"
    assert names == [*few.plan.nodes.satellite_names, *SITES]
    paths = [str(a["d"]) for _, a in page.elements if re.fullmatch(r"(M[\d.]+ 0h[\d.]+v1h-[\d.]+z)+", str(a.get("d")))]
    assert len(paths) == 12
    for satellite, path in enumerate(paths):
        found = np.array([[float(x), float(x) + float(w)] for x, w in re.findall(r"M([\d.]+) 0h([\d.]+)v", path)])
        assert np.allclose(found, few.plan.ground_intervals(satellite), atol=0.11)


def test_rates_along_a_pass_are_drawn_where_they_change(few: Sky, page: Page) -> None:
    assert "The rate of every contact is constant." in page.text
    assert "figure-rates-downlink-uplink" not in page.ids
    varying = Page(render_contacts("few", few.content()))
    assert "figure-rates-downlink-uplink" in varying.ids
    assert "It is the window whose rate changes most often." in varying.text


def test_the_data_for_the_pointer_names_every_pass(planes: Sky, page: Page) -> None:
    data = page.data("windows-data")
    assert len(data["passes"]) == len(planes.plan.of_kind("downlink"))
    assert data["satellites"] == list(planes.plan.nodes.satellite_names)


# -- self-contained and escaped ----------------------------------------------------------------------------------------


def test_nothing_is_fetched(page: Page) -> None:
    for tag, attributes in page.elements:
        for key in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            value = attributes.get(key) or "#"
            assert value.startswith("#") or value == "data:,", (tag, key, value)
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", page.source)


def test_the_policy_allows_our_scripts_and_nothing_else(page: Page) -> None:
    (policy,) = (a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    types = [attributes.get("type") for tag, attributes in page.elements if tag == "script"]
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in page.scripts]
    expected = {f"'sha256-{one}'" for one, type_ in zip(hashes, types, strict=True) if type_ is None}
    assert policy.startswith("default-src 'none'; ")
    assert set(re.findall(r"'sha256-[^']+'", policy)) == expected


def test_names_cannot_become_code(few: Sky) -> None:
    plain = Page(render_contacts("few", few.content()))
    nodes = few.plan.nodes
    evil_nodes = replace(nodes, satellite_names=(EVIL, *nodes.satellite_names[1:]),
                         station_names=(EVIL + "2", *nodes.station_names[1:]))  # fmt: skip
    constellation = replace(few.constellation, names=evil_nodes.satellite_names)
    stations = [replace(few.stations[0], name=EVIL + "2"), *few.stations[1:]]
    content = contacts_content(constellation, stations, replace(few.plan, nodes=evil_nodes), START_UTC)
    evil = Page(render_contacts(EVIL, content | {"left_out": [EVIL]}))
    assert evil.text.count("alert(") > 5
    assert len(evil.scripts) == len(plain.scripts)
    assert not [tag for tag, attributes in evil.elements if tag == "img" or "onerror" in attributes]


# -- plans that lack something -----------------------------------------------------------------------------------------


def without(plan: ContactPlan, *kinds: str) -> ContactPlan:
    keep = ~np.isin(np.arange(len(plan)), np.concatenate([plan.of_kind(kind) for kind in kinds]))
    names = ("source", "target", "kind", "start_s", "end_s", "rate_bps", "range_m", "delay_s")
    return replace(plan, **{name: getattr(plan, name)[keep] for name in names})


def rendered(sky: Sky, plan: ContactPlan, stations: list[GroundStation] | None = None) -> Page:
    where = sky.stations if stations is None else stations
    return Page(render_contacts("lacking", contacts_content(sky.constellation, where, plan, START_UTC)))


def test_no_passes(few: Sky) -> None:
    page = rendered(few, without(few.plan, "downlink", "uplink"))
    assert "None of the 12 satellites ever passes over a station in this time." in page.text
    assert {"missing-windows", "figure-map", "figure-lengths"} <= set(page.ids)
    assert "No pass lies within the plan." in page.text


def test_no_stations(few: Sky) -> None:
    plan = find_contacts(few.constellation, [], few.spec, START_UTC, 3600.0)
    page = rendered(few, plan, [])
    assert {"missing-windows", "figure-map"} <= set(page.ids)


def test_no_links_between_satellites(few: Sky) -> None:
    page = rendered(few, without(few.plan, "isl_intra", "isl_inter"))
    assert "missing-links" in page.ids
    assert "figure-windows" in page.ids


def test_a_satellite_that_never_sees_a_station_is_said(few: Sky) -> None:
    rows = few.plan.of_kind("downlink")
    hidden = np.isin(np.arange(len(few.plan)), rows[few.plan.source[rows] == 3])
    names = ("source", "target", "kind", "start_s", "end_s", "rate_bps", "range_m", "delay_s")
    plan = replace(few.plan, **{name: getattr(few.plan, name)[~hidden] for name in names})
    assert "1 of 12 satellites never see a station" in rendered(few, plan).text


def test_a_short_and_a_long_plan(few: Sky) -> None:
    for horizon_s in (900.0, 60 * 3600.0):
        plan = find_contacts(few.constellation, few.stations, few.spec, START_UTC, horizon_s)
        page = rendered(few, plan)
        shown = page.data("windows-data")["shown"] if "figure-windows" in page.ids else horizon_s
        assert shown == min(86_400.0, horizon_s)
        assert ("The first 24 h from" in page.text) == (horizon_s > 86_400.0)


def test_what_does_not_fit_is_said(planes: Sky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contacts_windows, "MAX_ROWS", 4)
    monkeypatch.setattr("orbitune.report.contacts_tables.MAX_SATELLITES", 10)
    page = Page(render_contacts("cut", planes.content()))
    assert "The first 4 of 6 planes are drawn." in page.text
    assert "the first 10 of 66" in page.text


@pytest.mark.slow
def test_a_large_constellation_stays_readable(tmp_path: Path) -> None:
    """1584 satellites: no list of passes beside the rows, and a page of a few megabytes."""
    sky = Sky(1584, 72, 24.0)
    page = Page(sky.write(tmp_path / "large.html").read_text(encoding="utf-8"))
    assert page.data("windows-data")["passes"] is None
    assert len(page.source.encode()) < 4_000_000


# -- in a browser ------------------------------------------------------------------------------------------------------


class Opened:
    """A page in a browser, what it complained about, and what it asked the network for."""

    def __init__(self, tab: Tab, path: Path) -> None:
        self.tab = tab
        self.complaints: list[str] = []
        self.requests: list[str] = []
        tab.on("console", lambda message: self.complaints.append(message.text))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("request", lambda request: self.requests.append(request.url))
        tab.goto(path.as_uri())


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def written(planes: Sky, few: Sky, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("written")
    return {"planes": planes.write(folder / "planes.html"), "few": few.write(folder / "few.html")}


@pytest.fixture
def opened(browser: Browser, written: dict[str, Path]) -> Iterator[Open]:
    contexts = []

    def make(name: str = "planes", width: int = 1280, scheme: str = "light", **options: Any) -> Opened:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, **options)
        contexts.append(context)
        return Opened(context.new_page(), written[name])

    yield make
    for context in contexts:
        context.close()


OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.browser
@pytest.mark.parametrize("name", ["planes", "few"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (360, "light"), (768, "dark")])
def test_it_opens_silently_and_fits(opened: Open, name: str, width: int, scheme: str) -> None:
    view = opened(name, width, scheme)
    for figure in FIGURES:
        assert view.tab.locator(f"#figure-{figure}").is_visible()
    assert view.tab.evaluate(OVERFLOW) == 0
    assert view.complaints == []
    assert len(view.requests) == 1


@pytest.mark.browser
def test_paper_is_light_and_nothing_is_cut_off(opened: Open) -> None:
    tab = opened(width=720, scheme="dark").tab
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate(OVERFLOW) == 0
    rgb = tab.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)")
    assert sum(rgb) > 600


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 360])
def test_no_label_covers_another(opened: Open, width: int) -> None:
    """Ticks of one axis keep apart, and labels of rows stay within their column."""
    tab = opened(width=width).tab
    for selector in (".windows .ticks", "#figure-lengths .x-axis", "#figure-links .x-axis"):
        for axis in tab.locator(selector).all():
            boxes = [box for span in axis.locator("span").all() if span.is_visible() and (box := span.bounding_box())]
            assert all(a["x"] + a["width"] < b["x"] for a, b in itertools.pairwise(boxes)), selector


def point(tab: Tab, drawing: Locator, share: float) -> str:
    """What the page says where the pointer is."""
    drawing.scroll_into_view_if_needed()
    # Scrolling hides the tip; its event comes with a later frame and must not hide the one asked for.
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    box = drawing.bounding_box()
    assert box is not None
    tab.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
    tip = tab.locator("#tip")
    tip.wait_for(state="visible")
    return tip.inner_text().replace("\u00a0", " ")


@pytest.mark.browser
def test_the_pointer_tells_who_is_in_contact(opened: Open, planes: Sky) -> None:
    view = opened()
    words = point(view.tab, view.tab.locator("[data-kind=station] [data-name=Svalbard] svg"), 0.5)
    clock = words.split("\n")[0].removeprefix("Svalbard, ")
    hours, minutes, seconds = map(int, clock.split(":"))
    moment_s = hours * 3600 + minutes * 60 + seconds
    assert moment_s == pytest.approx(43_200, abs=60)
    rows = planes.plan.of_kind("downlink")
    rows = rows[planes.plan.target[rows] == planes.plan.nodes.stations[0]]
    going = rows[(planes.plan.start_s[rows] <= moment_s - 1) & (planes.plan.end_s[rows] >= moment_s + 1)]
    for row in going[:3]:
        assert planes.plan.nodes.name(int(planes.plan.source[row])) in words
    label = point(view.tab, view.tab.locator("[data-kind=plane] .lane-label").first, 0.5)
    assert label.startswith("plane 0")
    assert view.complaints == []


@pytest.mark.browser
def test_a_satellite_without_contact_is_told_its_next(opened: Open, few: Sky) -> None:
    view = opened("few")
    gap = next(
        (satellite, (a[1] + b[0]) / 2)
        for satellite in few.plan.nodes.satellites
        for a, b in zip(*(few.plan.ground_intervals(satellite)[s] for s in (slice(-1), slice(1, None))), strict=True)
        if b[0] - a[1] > 1200.0
    )
    drawing = view.tab.locator("[data-kind=satellite] [data-name] svg").nth(gap[0])
    assert "no contact; next" in point(view.tab, drawing, gap[1] / few.plan.horizon_s)


@pytest.mark.browser
def test_columns_tell_their_number_under_the_pointer_and_at_the_arrow_keys(opened: Open) -> None:
    view = opened()
    column = view.tab.locator("#figure-lengths .whole").nth(20)
    assert "6 min 40 s to 7 min" in point(view.tab, column, 0.5)
    view.tab.locator("#figure-lengths .canvas").first.focus()
    view.tab.keyboard.press("ArrowRight")
    assert "pass" in view.tab.locator("#tip").inner_text()
    assert view.complaints == []


@pytest.mark.browser
def test_the_map_moves_and_the_theme_changes(opened: Open) -> None:
    view = opened()
    before = view.tab.locator("#map-clock").inner_text()
    view.tab.click("#map-play")
    view.tab.wait_for_function("(was) => document.getElementById('map-clock').textContent !== was", arg=before)
    view.tab.click("#theme")
    assert view.tab.evaluate("document.documentElement.dataset.theme") == "dark"
    assert view.complaints == []


@pytest.mark.browser
def test_it_can_be_read_without_scripts(opened: Open) -> None:
    tab = opened(java_script_enabled=False).tab
    for figure in FIGURES:
        assert tab.locator(f"#figure-{figure}").is_visible()
    assert tab.locator("#map-play").is_hidden()
