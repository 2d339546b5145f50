"""Planned against executed: what `orbitune launch` left behind, beside the plan."""

from __future__ import annotations

import re
import shutil
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


@pytest.fixture(scope="module")
def launched(sample: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    path = tmp_path_factory.mktemp("launched") / "run"
    shutil.copytree(sample.path, path)
    return sample_launch.launch(RunFolder.open(path))


@pytest.fixture(scope="module")
def page(launched: RunFolder) -> Page:
    return page_of(launched)


def test_a_run_that_was_not_launched_says_nothing_of_it(sample: RunFolder) -> None:
    page = Page((sample.path / "report.html").read_text(encoding="utf-8"))
    assert "executed" not in page.ids
    assert "Planned against executed" not in page.text


def test_every_stage_is_there_with_its_error(launched: RunFolder, page: Page) -> None:
    assert {"executed", "figure-executed", "executed-words"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    text = page.text.replace("\u00a0", " ")
    for stage, seconds in launched.read_timeline(sample_launch.METHOD).stage_s().items():
        error = amounts.duration(seconds * (sample_launch.SLOWER - 1)).replace("\u00a0", " ")
        assert re.search(rf"{stage} [^+]{{0,60}}\+{re.escape(error)} ", text), stage
    assert sample_launch.LOST in text
    assert "3 computations took longer than planned" in text
    assert "final weights" not in text  # nobody asked


def test_a_short_stage_has_an_error_and_no_ratio(page: Page) -> None:
    (row,) = re.findall(r"<tr><th scope=\"row\">head step</th>.*?</tr>", page.source)
    assert re.findall(r"<td>(.*?)</td>", row)[2] == amounts.NONE
    (row,) = re.findall(r"<tr><th scope=\"row\">send up features</th>.*?</tr>", page.source)
    assert re.findall(r"<td>(.*?)</td>", row)[2] == "1.020×"


def test_both_charts_lie_on_one_axis_and_executed_ends_later(launched: RunFolder, page: Page) -> None:
    block = page.source.split('data-choice="whole job"')[1].split('class="gantt"')[0]
    assert len(set(re.findall(r'viewBox="([^"]+)"', block))) == 1
    above, below = block.split("<h3>executed</h3>")
    ends = [max(float(x) + float(width) for x, width in re.findall(r'<rect x="([\d.]+)"[^>]* width="([\d.]+)"', half))
            for half in (above, below)]  # fmt: skip
    planned = launched.read_timeline(sample_launch.METHOD)
    assert ends[0] == pytest.approx(planned.time_s, rel=1e-3)
    assert ends[1] == pytest.approx(planned.time_s * sample_launch.SLOWER, rel=1e-3)


def test_a_quiet_run_says_that_nothing_went_wrong(copy: Copy) -> None:
    page = page_of(sample_launch.launch(copy(), events=[], overruns=0, max_weight_difference=0.0))
    assert "Nothing went wrong on the way" in page.text
    assert "No computation overran" in page.text
    assert "bit for bit" in page.text


def test_damaged_files_are_named(copy: Copy) -> None:
    launched = sample_launch.launch(copy())
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
