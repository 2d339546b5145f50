"""Planned against executed: what `orbitune launch` left behind, beside the plan."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import sample_launch
from parsed_page import Page

from orbitune.errors import InputError
from orbitune.report import amounts, write_report
from orbitune.runs import RunFolder

Copy = Callable[[], RunFolder]


def page_of(run: RunFolder) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


@pytest.fixture
def launched(copy: Copy) -> RunFolder:
    return sample_launch.launch(copy())


def test_a_run_that_was_not_launched_says_nothing_of_it(copy: Copy) -> None:
    page = page_of(copy())
    assert "executed" not in page.ids
    assert "Planned against executed" not in page.text


def test_every_stage_is_there_with_its_error(launched: RunFolder) -> None:
    page = page_of(launched)
    assert {"executed", "figure-executed", "executed-words"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert page.text.count("1.02×") >= 3  # whole job, rounds, and each stage that is long enough
    for stage, seconds in launched.read_timeline(sample_launch.METHOD).stage_s().items():
        error = amounts.duration(seconds * (sample_launch.SLOWER - 1))
        assert re.search(rf"{re.escape(stage)}.{{0,80}}\+{re.escape(error)}", page.text), stage
    assert sample_launch.LOST in page.text
    assert "3 computations took longer than planned" in page.text.replace("\u00a0", " ")


def test_a_short_stage_has_an_error_and_no_ratio(launched: RunFolder) -> None:
    (row,) = re.findall(r"<tr><th scope=\"row\">head step</th>.*?</tr>", page_of(launched).source)
    assert re.findall(r"<td>(.*?)</td>", row)[2] == amounts.NONE


def test_both_charts_lie_on_one_axis_and_executed_ends_later(launched: RunFolder) -> None:
    source = page_of(launched).source
    block = source.split('data-choice="whole job"')[1].split('class="gantt"')[0]
    assert len(set(re.findall(r'viewBox="([^"]+)"', block))) == 1
    above, below = block.split("<h3>executed</h3>")
    ends = [max(float(x) + float(width) for x, width in re.findall(r'<rect x="([\d.]+)"[^>]* width="([\d.]+)"', half))
            for half in (above, below)]  # fmt: skip
    planned = launched.read_timeline(sample_launch.METHOD)
    assert ends[0] == pytest.approx(planned.time_s, rel=1e-3)
    assert ends[1] == pytest.approx(planned.time_s * sample_launch.SLOWER, rel=1e-3)


@pytest.mark.parametrize(
    ("difference", "words"), [(0.0, "bit for bit"), (3.1e-7, "at most 3.1e-07 (relative)"), (None, "executed")]
)
def test_it_says_what_became_of_the_weights(copy: Copy, difference: float | None, words: str) -> None:
    page = page_of(sample_launch.launch(copy(), max_weight_difference=difference))
    assert words in page.text
    assert ("final weights" in page.text) == (difference is not None)


def test_a_quiet_run_says_that_nothing_went_wrong(copy: Copy) -> None:
    page = page_of(sample_launch.launch(copy(), events=[], overruns=0))
    assert "Nothing went wrong on the way" in page.text
    assert "No computation overran" in page.text


def test_damaged_files_are_named(launched: RunFolder) -> None:
    path = launched.path / "methods" / sample_launch.METHOD / "executed.jsonl.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"executed\.jsonl\.gz is damaged"):
        write_report(launched)
    path.unlink()
    with pytest.raises(InputError, match=r"has no methods/.*executed\.jsonl\.gz; resume the launch"):
        write_report(launched)
    path.write_bytes(whole)
    launched.write_json("launch.json", {"engine": "ray"})
    with pytest.raises(InputError, match=r"launch\.json is damaged: it lacks or garbles 'time_scale'"):
        write_report(launched)
