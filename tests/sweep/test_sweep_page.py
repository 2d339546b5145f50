"""The page and the drawing of a sweep, from tables whose winners are known."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from orbitune.errors import InputError
from orbitune.report.sweep_content import Sweep, fastest, over_reference, read_sweep, scale_of
from orbitune.report.sweep_page import write_sweep_page
from orbitune.report.sweep_svg import phase_svg
from orbitune.runs import RunFolder
from orbitune.sweep.grid import parse_axes
from orbitune.sweep.request import Request
from orbitune.sweep.tables import summary

if TYPE_CHECKING:
    from playwright.sync_api import Browser

METHODS = ("collaborative", "onboard", "download")
RATE, SPEED = "links.downlink_rate_mbps=log:10:1000:9", "satellite.sustained_gflops=log:10:1000:7"
THIRD = "method.codec=fp32,fp16"


def result(name: str, time_s: float) -> dict[str, Any]:
    """What of a results row the tables read."""
    return {
        "method": name, "rounds": 1, "time_s": time_s, "train_s": 0.9 * time_s, "stopped": "",
        "ratio_to_onboard_per_pass": None,
    }  # fmt: skip


def made(path: Path, vary: list[str]) -> RunFolder:
    """A finished sweep in which `collaborative` takes 1000/rate, `onboard` 1000/speed and `download` always 50 s."""
    request = Request("made <up>", "", parse_axes(vary), METHODS)
    rows = []
    for point in request.points():
        rate = float(point.values.get("links.downlink_rate_mbps", 30.0))
        speed = float(point.values.get("satellite.sustained_gflops", 30.0))
        times = {"collaborative": 1000 / rate, "onboard": 1000 / speed, "download": 50.0}
        refused = {"download": "too <large>"} if rate < 15 else {}
        results = [result(name, seconds) for name, seconds in times.items() if name not in refused]
        rows.append({"point": point.number, "values": point.values, "results": results, "refused": refused})
    folder = RunFolder(path)
    folder.write_json("request.json", request.to_json())
    folder.keep_rows("points.jsonl", rows)
    folder.write_json("sweep.json", summary(request, rows))
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Two keys."""
    return read_sweep(made(tmp_path_factory.mktemp("sweep"), [RATE, SPEED]))


def test_times_stand_where_their_points_are(two: Sweep) -> None:
    times = two.times("time_s")
    rates, speeds = (np.array(axis["values"]) for axis in two.axes)
    np.testing.assert_allclose(times["collaborative"], np.broadcast_to((1000 / rates)[:, None], (9, 7)))
    np.testing.assert_allclose(times["onboard"], np.broadcast_to(1000 / speeds, (9, 7)))
    assert np.isnan(times["download"][0]).all() and not np.isnan(times["download"][1:]).any()
    np.testing.assert_allclose(over_reference(times, "collaborative"), speeds / rates[:, None])


def test_the_fastest_wins_and_images_may_have_to_stay(two: Sweep) -> None:
    rates, speeds = (np.array(axis["values"]) for axis in two.axes)
    expected = np.where(speeds > rates[:, None], 1, 0)
    alone = fastest(two.times("time_s", private=True))
    ties = np.isclose(speeds, rates[:, None])
    assert ((alone == expected) | ties).all()
    by_all = fastest(two.times("time_s"))
    assert by_all[1, 0] == 2  # the others take 56 s and 100 s, download 50 s
    assert by_all[0, 0] != 2  # there it refuses
    assert two.private == ("collaborative", "onboard")


def test_places_of_a_logarithmic_axis_are_even(two: Sweep) -> None:
    scale = two.scales[0]
    assert scale.log and scale.title == "links.downlink_rate_mbps (Mbit/s, log scale)"
    np.testing.assert_allclose(np.diff(scale.places), 1 / 9)
    assert scale.edges[0] == 0.0 and scale.edges[-1] == 1.0
    for share, label in scale.ticks:
        value = float(label.replace(",", ""))  # three digits
        assert share == pytest.approx(
            (math.log(value / 10) / math.log(100) * 8 + 0.5) / 9, abs=1e-3
        )  # labels have three digits


def test_words_stand_side_by_side_and_lists_are_put_in_order() -> None:
    words = scale_of({"key": "method.codec", "unit": "", "doc": "", "scale": "list", "values": ["fp32", "fp16"]})
    assert not words.numeric and words.labels == ("fp32", "fp16") and words.places == (0.25, 0.75)
    numbers = scale_of({"key": "a.b", "unit": "s", "doc": "", "scale": "list", "values": [100, 1, 10]})
    assert numbers.log and numbers.labels == ("1", "10", "100")


@pytest.mark.parametrize("vary", [[RATE], [RATE, SPEED], [RATE, SPEED, THIRD], [THIRD, SPEED], ["seed=1"]])
def test_every_number_of_keys_gives_a_page(vary: list[str], tmp_path: Path) -> None:
    page = write_sweep_page(made(tmp_path, vary)).read_text(encoding="utf-8")
    assert "made &lt;up&gt;" in page and "<up>" not in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    numeric = RATE in vary and SPEED in vary
    assert ('class="contour c0"' in page) == numeric
    if RATE in vary:
        assert "too &lt;large&gt;" in page


def test_a_damaged_sweep_has_no_page(tmp_path: Path) -> None:
    folder = made(tmp_path, [RATE])
    folder.keep_rows("points.jsonl", folder.rows("points.jsonl")[1:])
    with pytest.raises(InputError, match="do not belong together"):
        write_sweep_page(folder)


def test_the_drawing_is_svg_with_all_four_contours(two: Sweep) -> None:
    root = ElementTree.fromstring(phase_svg(two))
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"1.0", "0.67", "0.60", "0.33"} <= set(texts)
    assert "download" in texts
    stay = ElementTree.fromstring(phase_svg(two, private=True))
    assert "download" not in [text.text for text in stay.iter("{http://www.w3.org/2000/svg}text")]


def test_the_drawing_needs_two_keys(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two varied keys"):
        phase_svg(read_sweep(made(tmp_path, [RATE])))


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (360, "dark")])
def test_the_page_works_in_a_browser(browser: Browser, two: Sweep, width: int, scheme: Any) -> None:
    path = write_sweep_page(two.folder)
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    figure = page.locator("#figure-phase-time_s")
    assert figure.locator(".contour-label:visible").all_inner_texts() == ["1.0", "0.67", "0.60", "0.33"]
    figure.locator(".canvas").focus()
    page.keyboard.press("ArrowRight")
    assert "GFLOP/s" in page.locator("#tip").inner_text() and "onboard" in page.locator("#tip").inner_text()
    figure.get_by_role("button", name="download").click()
    assert figure.locator("[data-choice=download] .contour-label").first.is_visible()
    assert not figure.locator("[data-choice=collaborative] .contour-label").first.is_visible()
    assert said == []
    page.close()
