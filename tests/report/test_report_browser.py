"""The report in a real browser without a network: silent, complete, and usable on a phone and in the dark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from orbitune.runs import RunFolder

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.browser

FIGURES = ("accuracy", "bytes", "stages", "gantt", "map", "spread")


class Opened:
    """A page, what it complained about, and what it asked the network for."""

    def __init__(self, page: Page, path: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.route("**/*", self._route)
        page.goto(path)

    def _route(self, route: Route) -> None:
        if route.request.url.startswith("file:") and route.request.is_navigation_request():
            route.continue_()
        else:
            self.requests.append(route.request.url)
            route.abort()


Open = Callable[..., Opened]


@pytest.fixture
def opened(browser: Browser, sample: RunFolder) -> Iterator[Open]:
    contexts = []

    def make(width: int = 1280, scheme: str = "light", **options: object) -> Opened:
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme=scheme,  # type: ignore[arg-type]
            **options,  # type: ignore[arg-type]
        )
        contexts.append(context)
        return Opened(context.new_page(), (sample.path / "report.html").as_uri())

    yield make
    for context in contexts:
        context.close()


def background(page: Page) -> int:
    """Brightness of the page, 0 to 765."""
    rgb: list[int] = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    )
    return sum(rgb)


def overflow(page: Page) -> int:
    """Pixels that the page is wider than its window."""
    found: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return found


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (360, "light"), (768, "dark")])
def test_it_opens_silently_and_complete(opened: Open, width: int, scheme: str) -> None:
    view = opened(width, scheme)
    for name in FIGURES:
        box = view.page.locator(f"#figure-{name}").bounding_box()
        assert box is not None, name
        assert box["height"] > 150, name
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= width, name
    assert overflow(view.page) == 0
    assert view.complaints == []
    assert view.requests == []


def test_the_network_guard_itself_works(opened: Open) -> None:
    """The policy stops a request before it leaves, and our own count would notice one that did."""
    view = opened()
    view.page.evaluate("new Promise((done) => { const i = new Image(); i.onerror = done; i.src = 'http://a.test/x'; })")
    assert view.requests == []
    assert any("Content Security Policy" in text for text in view.complaints)


def test_the_theme_follows_the_system_and_the_button_and_is_kept(opened: Open) -> None:
    page = opened(scheme="dark").page
    assert background(page) < 150
    page.click("#theme")
    assert background(page) > 600
    page.reload()
    assert background(page) > 600


def test_paper_is_always_light(opened: Open) -> None:
    page = opened(scheme="dark").page
    page.emulate_media(media="print")
    assert background(page) > 600


def test_values_appear_under_the_pointer_and_at_the_arrow_keys(opened: Open) -> None:
    page = opened().page
    canvas = page.locator("#figure-accuracy .canvas:visible")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    assert "accuracy 31.0" in page.locator("#tip").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    box = canvas.bounding_box()
    assert box is not None
    for share in range(1, 20):
        page.mouse.move(box["x"] + box["width"] * share / 20, box["y"] + box["height"] * 0.3)
        if page.locator("#tip").is_visible():
            break
    assert "round" in page.locator("#tip").inner_text()


def test_the_legend_hides_a_line(opened: Open) -> None:
    page = opened().page
    line = page.locator("#figure-accuracy [data-choice]:visible g[data-series=onboard] .line")
    assert line.is_visible()
    page.click("#figure-accuracy [data-toggle=onboard]")
    assert line.is_hidden()


def test_switches_show_the_other_drawing(opened: Open) -> None:
    page = opened().page
    shown = page.locator("#figure-accuracy [data-choice]:visible")
    before = shown.get_attribute("data-choice")
    assert before == "time log"
    page.click("#figure-accuracy [data-choose=bytes]")
    assert shown.get_attribute("data-choice") == "bytes log"
    page.click("#figure-accuracy [data-choose=linear]")
    assert shown.get_attribute("data-choice") == "bytes linear"
    assert shown.locator(".x-title").inner_text().startswith("sent over all links")
    page.click("#figure-gantt [data-choose=onboard]")
    assert page.locator(".gantt:visible").get_attribute("data-choice") == "onboard"


def test_a_stage_can_be_enlarged_and_a_plane_opened(opened: Open) -> None:
    page = opened().page
    chart = page.locator(".gantt:visible")
    chart.locator("[data-zoom]", has_text="share embeddings").click()
    start, _, width, _ = (float(x) for x in str(chart.locator("svg").first.get_attribute("viewBox")).split())
    assert start == pytest.approx(3.2 - 0.03 * 96, abs=0.01)
    assert width == pytest.approx(96 * 1.06, abs=0.01)
    assert chart.locator(".lane.satellite:visible").count() == 0
    chart.locator("[data-open='0']").click()
    assert chart.locator(".lane.satellite:visible").count() == 11
    chart.locator(".lane.satellite:visible rect").nth(1).hover(force=True)
    assert "share embeddings in planes" in page.locator("#tip").inner_text()


def test_the_map_moves(opened: Open) -> None:
    view = opened()
    page = view.page
    satellite = page.locator("#map-satellites path").first
    before, clock = satellite.get_attribute("transform"), page.locator("#map-clock").inner_text()
    page.click("#map-play")
    page.wait_for_function("(was) => document.getElementById('map-clock').textContent !== was", arg=clock)
    page.click("#map-play")
    assert satellite.get_attribute("transform") != before
    page.select_option("#map-choice", "7")
    assert page.locator("#map-tracks path").count() == 1
    assert view.complaints == []


def test_it_can_be_read_without_scripts(opened: Open) -> None:
    page = opened(java_script_enabled=False).page
    for name in FIGURES:
        assert page.locator(f"#figure-{name}").is_visible()
    assert page.locator("#map-play").is_hidden()
    assert page.locator("#map-satellites path").count() == 66
