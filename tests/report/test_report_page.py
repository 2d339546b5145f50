"""The page as text: complete, self-contained, escaped, and honest about what a run does not have."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sample_run
from parsed_page import Page

from orbitune.errors import InputError
from orbitune.report import amounts, write_report
from orbitune.runs import RunFolder

FIGURES = ("accuracy", "bytes", "stages", "gantt", "map", "spread")
Copy = Callable[[], RunFolder]


def page_of(run: RunFolder) -> Page:
    """The report of a run."""
    return Page(write_report(run).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(sample: RunFolder) -> Page:
    return page_of(sample)


def change(run: RunFolder, edit: Callable[[dict[str, Any]], object], name: str = "compare.json") -> RunFolder:
    content = run.read_json(name)
    edit(content)
    run.write_json(name, content)
    return run


# -- complete ----------------------------------------------------------------------------------------------------------


def test_every_figure_is_there_and_ids_are_unique(page: Page) -> None:
    assert {f"figure-{name}" for name in FIGURES} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert not [name for name in page.ids if name.startswith("missing-")]


def test_accuracy_is_the_first_figure(page: Page) -> None:
    figures = [attributes["id"] for tag, attributes in page.elements if tag == "figure"]
    assert figures[0] == "figure-accuracy"


def test_headings_and_captions(page: Page) -> None:
    tags = [tag for tag, _ in page.elements]
    assert tags.count("h1") == 1
    assert tags.count("figure") == tags.count("figcaption") == len(FIGURES)


def test_every_link_leads_somewhere(page: Page) -> None:
    targets = [str(attributes["href"]) for tag, attributes in page.elements if tag == "a"]
    assert targets
    assert {target.removeprefix("#") for target in targets} <= set(page.ids)


def test_the_table_says_what_compare_json_says(sample: RunFolder, page: Page) -> None:
    for row in sample.read_json("compare.json")["results"]:
        assert f"{row['final_accuracy'] * 100:.1f} %" in page.text
        assert row["limiting"] in page.text
    for text in sample.read_json("compare.json")["assumptions"]:
        assert text in page.text


def test_the_verdict_names_the_first_and_the_planned_companion(page: Page) -> None:
    assert "First to the target accuracy of 80 % is onboard" in page.text
    assert "planned, not trained" in page.text
    assert "Started from random weights instead" in page.text


def test_it_stays_small(sample: RunFolder, page: Page) -> None:
    assert len(page.source.encode()) < 2_000_000


def test_the_same_run_gives_the_same_page(sample: RunFolder, page: Page) -> None:
    assert write_report(sample).read_text(encoding="utf-8") == page.source


# -- costs, seeds, refusals ------------------------------------------------------------------------------------------


def test_accuracy_is_drawn_against_time_bytes_and_energy(page: Page) -> None:
    choices = [attributes["data-choice"] for _, attributes in page.elements if "data-choice" in attributes]
    assert {f"{cost} {axis}" for cost in ("time", "bytes", "energy") for axis in ("linear", "log")} <= set(choices)
    assert 'class="band"' not in page.source.split('id="figure-accuracy"')[1].split("</figure>")[0]


def test_seeds_give_means_and_a_band(copy: Copy) -> None:
    run = sample_run.repeat(copy())
    page = page_of(run)
    first = run.read_json("compare.json")["results"][1]
    mean = first["final_accuracy"] - sample_run.LESS / 2
    assert "seeds 7, 8" in page.text
    assert f"{mean * 100:.1f} %" in page.text
    assert f"{(mean - sample_run.LESS / 2) * 100:.1f} % to {first['final_accuracy'] * 100:.1f} %" in page.text
    assert "1 of 2 seeds missed it" in page.text
    assert "download does not reach it" in re.sub(r"\s+", " ", page.text)  # with every seed
    curves = page.source.split('id="figure-accuracy"')[1].split("</figure>")[0]
    assert curves.count('class="band"') == 6 * len(sample_run.METHODS)
    assert f"seeds from {(mean - sample_run.LESS / 2) * 100:.1f}" in curves.replace("\u00a0", " ")


def test_every_number_of_several_seeds_is_a_mean_with_its_range_or_says_that_it_is_not(copy: Copy) -> None:
    run = sample_run.repeat(copy())
    source = page_of(run).source.replace("\u00a0", " ")
    rows = source.split('class="methods"')[1].split("<tr>")[1:]
    lines = {re.split(r"<small>|</th>", row.split('scope="row">')[1])[0]: row for row in rows if 'scope="row"' in row}
    first = next(row for row in run.read_json("compare.json")["results"] if row["bytes"]["downlink"])
    down = first["bytes"]["downlink"]
    assert f"{amounts.volume(1.5 * down)}<small>{amounts.volume(down)} to {amounts.volume(2 * down)}</small>".replace(
        "\u00a0", " ") in lines["Downlink"]  # fmt: skip
    assert lines["Time / bound"].count("2.74×<small>1.37× to 4.11×</small>") == 3  # of 1.37 and three times that
    assert "<small>" in lines["Lower bound"] and " to " in lines["Lower bound"]
    alone = {label for label, line in lines.items() if "first seed" in line}
    assert {"Limited by", "What the bound counts", "Rounds"} <= alone
    assert not alone & {"Whole job", "Lower bound", "Time / bound", "Downlink", "Final accuracy", "Checker"}
    assert "of the first seed" in re.sub(r"<[^>]*>", "", source.split('id="verdict"')[1].split("</header>")[0])
    assert "of the first seed" in source.split('id="figure-stages"')[1].split("</figure>")[0]


def test_a_run_with_one_seed_speaks_of_no_first_one(page: Page) -> None:
    assert "first seed" not in page.text


def test_methods_that_cannot_work_are_named_with_the_reason(copy: Copy) -> None:
    reasons = {"sfl_leo": "nothing trains in front of the cut <b>"}
    page = page_of(change(copy(), lambda content: content.update(refused=reasons)))
    assert "sfl_leo cannot work here: nothing trains in front of the cut <b>" in re.sub(r"\s+", " ", page.text)
    assert "sfl_leo cannot work on this scenario" in re.sub(r"\s+", " ", page.text)


def test_many_methods_have_an_overview_with_a_line_each(copy: Copy) -> None:
    def multiply(content: dict[str, Any]) -> None:
        content["results"] = [row | {"method": f"{row['method']}-{n}"} for n in range(4) for row in content["results"]]

    page = page_of(change(copy(), multiply))
    overview = page.source.split('class="overview"')[1].split("</table>")[0]
    assert overview.count('scope="row"') == 12
    assert page.source.count('class="methods"') == 3 + 1  # twelve methods, four a table, and the companion
    assert "nothing: " in page.text


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
    assert len(expected) == 2


EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


def test_values_cannot_become_code(copy: Copy, page: Page) -> None:
    run = copy()
    run.write_text("scenario.toml", f"name = '{EVIL}'\n")

    def poison(content: dict[str, Any]) -> None:
        content["scenario"] = EVIL
        content["assumptions"] = [EVIL]
        content["checks"] = [{"number": EVIL, "how": EVIL}]
        content["planned"][0]["model"] = EVIL
        for row in content["results"]:
            row["limiting"] = row["bound"] = row["stopped"] = EVIL
            row["stages"][EVIL] = 5.0

    change(run, poison)
    change(run, lambda content: content["stations"][0].update(name=EVIL), "contacts.json")
    change(run, lambda content: content["satellites"].__setitem__(0, EVIL), "contacts.json")
    evil = page_of(run)
    assert "alert(" in evil.text
    assert len(evil.scripts) == len(page.scripts)
    assert not [tag for tag, attributes in evil.elements if tag == "img" or "onerror" in attributes]


# -- what a run does not have ------------------------------------------------------------------------------------------


def test_planning_only(copy: Copy) -> None:
    run = copy()
    for path in run.path.glob("methods/*/metrics.jsonl"):
        path.unlink()

    def forget(content: dict[str, Any]) -> None:
        for row in content["results"]:
            row.update(final_accuracy=None, time_to_target_s=None, ratio_to_onboard=None)

    page = page_of(change(run, forget))
    assert {"missing-accuracy", "missing-spread", "figure-gantt", "figure-map"} <= set(page.ids)
    assert "This run planned only and trained nothing" in page.text
    assert "Fastest for the whole job is onboard" in page.text


def test_no_companion(copy: Copy) -> None:
    page = page_of(change(copy(), lambda content: content.pop("planned")))
    assert "missing-planned" in page.ids
    assert "not trained) the fastest" not in page.text


def test_a_method_that_stopped_early_is_named(copy: Copy) -> None:
    words = "round 4 of 8 does not fit: the contact plan ends"
    page = page_of(change(copy(), lambda content: content["results"][0].update(stopped=words, rounds=3)))
    assert f"collaborative stopped early: {words}" in page.text
    assert "3 (stopped early)" in page.text


def test_nobody_reaches_the_target(copy: Copy) -> None:
    def miss(content: dict[str, Any]) -> None:
        for row in content["results"]:
            row.update(target_accuracy=0.95, time_to_target_s=None, ratio_to_onboard=None)

    page = page_of(change(copy(), miss))
    assert "No method reaches the target accuracy of 95 %. The best, download , ends at" in page.text


def test_what_a_fast_method_gives_away_is_said(copy: Copy) -> None:
    page = page_of(change(copy(), lambda content: content["results"][2].update(time_to_target_s=60.0)))
    assert "is download , after 1 min, but images leave the satellites." in page.text
    assert page.text.count("stay on board") == 2


def test_a_rejected_timeline_is_not_praised(copy: Copy) -> None:
    page = page_of(change(copy(), lambda content: content["results"][0].update(verified=False)))
    assert "Not accepted by the checker: collaborative" in page.text
    assert "not accepted" in page.text


def test_a_run_that_is_not_finished(copy: Copy) -> None:
    run = copy()
    (run.path / "compare.json").unlink()
    shutil.rmtree(run.path / "methods" / "download")
    page = page_of(run)
    assert "This run has not finished; this covers the 2 methods that are complete." in page.text
    assert {"figure-accuracy", "figure-gantt", "missing-assumptions"} <= set(page.ids)


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    page = page_of(RunFolder.create(tmp_path, "begun", 'name = "begun"\n', seed=1))
    missing = {"accuracy", "methods", "bytes", "stages", "gantt", "map", "spread", "assumptions", "checks"}
    assert {f"missing-{name}" for name in missing} <= set(page.ids)
    assert "begun" in page.text


def test_without_timelines_stages_keep_their_numbers(copy: Copy) -> None:
    run = copy()
    for path in run.path.glob("methods/*/timeline.jsonl.gz"):
        path.unlink()
    page = page_of(run)
    assert {"figure-stages", "missing-gantt"} <= set(page.ids)


def test_without_passes_the_map_says_so(copy: Copy) -> None:
    page = page_of(change(copy(), lambda content: content.update(passes=[]), "contacts.json"))
    assert "No satellite passes over any station" in page.text
    assert "No station sees a satellite." in page.text


def test_positions_that_do_not_fit_the_satellites_are_refused(copy: Copy) -> None:
    run = change(copy(), lambda content: content["track"]["latitude_deg"].pop(), "contacts.json")
    with pytest.raises(InputError, match=r"latitudes \(65, 201\).*satellites, times"):
        write_report(run)


def test_a_loss_that_ran_away_is_left_out(copy: Copy) -> None:
    run = copy()
    rows = run.rows("methods/onboard/metrics.jsonl")
    rows[2]["client_loss"] = dict.fromkeys(rows[2]["client_loss"], float("nan"))
    rows[3]["client_loss"]["5"] = float("inf")
    run.keep_rows("methods/onboard/metrics.jsonl", rows)
    assert "NaN" not in page_of(run).source


def test_short_jobs_have_ticks_in_seconds(copy: Copy) -> None:
    run = copy()
    for name in sample_run.ENDS:
        rows = run.rows(f"methods/{name}/metrics.jsonl")
        run.keep_rows(f"methods/{name}/metrics.jsonl", [row | {"sim_time_s": 2.0 * row["round"]} for row in rows])
    for name in ("collaborative@random", "onboard@random"):
        shutil.rmtree(run.path / "methods" / name)
    page = page_of(run)
    assert "simulated time" in page.text
    assert "10\u00a0s" in page.source.split('class="x-axis"')[1].split('class="x-title"')[0]
