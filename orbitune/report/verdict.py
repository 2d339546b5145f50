"""The answer in plain words and a few key figures, all computed from the results; onboard may win."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orbitune.report import amounts
from orbitune.report.content import RANDOM, REFERENCE, Content, Planned, Result
from orbitune.report.markup import Child, Markup, join, tag

SUBJECT = "collaborative"
"""The method that the reader asks about; where it was not run, the verdict speaks of the first other one."""

MOST_NAMED = 3
"""Methods that get a sentence each; more are summed up."""

Words = list[Child]


def name(method: str) -> Markup:
    """A method's name, set apart from the words around it."""
    return tag("b", method)


def subject_of(rows: Sequence[Result]) -> Result | None:
    """The row that is compared with onboard training."""
    others = [row for row in rows if row.method != REFERENCE]
    return next((row for row in others if row.method == SUBJECT), others[0] if others else None)


def verdict(content: Content) -> list[Markup]:
    """Two or three short paragraphs."""
    if not content.results:
        return [tag("p", "This run has not finished: no method is complete, so there is no verdict yet.")]
    words: Words = []
    if not content.complete:
        finished = amounts.count(len(content.results), "method")
        words += [f"This run has not finished; this covers the {finished} that are complete. "]
    trained = [row for row in content.results if row.final_accuracy is not None]
    words += _race(content, trained) if trained else _planned_only(content.results)
    words += _limits(content.results)
    words += _refused(content.refused)
    if len(content.seeds) > 1:
        words += [f"Figures are means over {len(content.seeds)} seeds. "]
    extra = [*_start_words(content), *_planned_words(content.planned)]
    return [tag("p", words, class_="lead"), *([tag("p", extra)] if extra else [])]


# -- who is first ----------------------------------------------------------------------------------------------------


def _race(content: Content, trained: Sequence[Result]) -> Words:
    if content.target is None:
        best = max(trained, key=lambda row: row.final_accuracy or 0.0)
        return ["No target accuracy was set. ", *_best(best)]
    reached = sorted((row for row in trained if row.time_to_target_s is not None), key=_to_target)
    if not reached:
        return _nobody(content.target, trained)
    first = reached[0]
    words: Words = ["First to the target accuracy of ", amounts.set_percent(content.target), " is ", name(first.method),
                    f", after {amounts.duration(first.time_to_target_s)}{_price(first)}. "]  # fmt: skip
    words += [_follower(first, row) for row in reached[1 : 1 + MOST_NAMED]]
    if len(reached) > 1 + MOST_NAMED:
        words.append(f"{amounts.count(len(reached) - 1 - MOST_NAMED, 'other method')} need longer still. ")
    missed = [row for row in trained if row.time_to_target_s is None]
    return words + ([_missed(row) for row in missed] if len(missed) <= MOST_NAMED else _all_missed(missed))


def _all_missed(rows: Sequence[Result]) -> Words:
    """Many in one sentence."""
    ends = [one for row in rows for one in (", ", name(row.method), f" ({amounts.percent(row.final_accuracy)})")]
    return ["Not reached, with what they end at: ", *ends[1:], ". "]


def _price(row: Result) -> str:
    """What a fast method gives away."""
    return ", but images leave the satellites" if row.images_stay is False else ""


def _to_target(row: Result) -> float:
    return row.time_to_target_s if row.time_to_target_s is not None else float("inf")


def _nobody(target: float, trained: Sequence[Result]) -> Words:
    best = max(trained, key=lambda row: row.final_accuracy or 0.0)
    return [f"No method reaches the target accuracy of {amounts.set_percent(target)}. ", *_best(best)]


def _best(row: Result) -> Words:
    end = f", ends at {amounts.percent(row.final_accuracy)} after {amounts.duration(row.time_s)}. "
    return ["The best, ", name(row.method), end]


def _follower(first: Result, row: Result) -> Markup:
    ratio = _to_target(row) / _to_target(first) if _to_target(first) > 0 else None
    many = f" ({amounts.times(ratio, 2)} as long)" if ratio is not None else ""
    return join([name(row.method), f" needs {amounts.duration(row.time_to_target_s)}{many}. "])


def _missed(row: Result) -> Markup:
    return join([name(row.method), f" does not reach it and ends at {amounts.percent(row.final_accuracy)}. "])


def _planned_only(rows: Sequence[Result]) -> Words:
    timed = sorted((row for row in rows if row.time_s is not None), key=lambda row: row.time_s or 0.0)
    words: Words = ["This run planned only and trained nothing, so it compares times, not accuracy. "]
    if not timed:
        return words
    words += ["Fastest for the whole job is ", name(timed[0].method),
              f" with {amounts.duration(timed[0].time_s)}{_price(timed[0])}. "]  # fmt: skip
    return words + _per_pass(subject_of(rows))


def _per_pass(row: Result | None) -> Words:
    if row is None or row.ratio_to_onboard_per_pass is None:
        return []
    ratio = row.ratio_to_onboard_per_pass
    return ["For equal passes over the samples ", name(row.method), f" takes {amounts.times(ratio, 2)} the time of ",
            name(REFERENCE), ". "]  # fmt: skip


# -- what limits it --------------------------------------------------------------------------------------------------


def _limits(rows: Sequence[Result]) -> Words:
    row = subject_of(rows)
    words: Words = []
    if row is not None and row.limiting:
        words += ["What limits ", name(row.method), f"{_first(row)}: {row.limiting}. "]
    if row is not None and row.over_bound is not None:
        words += [f"Its schedule takes {amounts.times(row.over_bound)} the lower bound that no schedule can beat. "]
    unchecked = [row.method for row in rows if not row.verified]
    if unchecked:
        words += [f"Not accepted by the checker: {', '.join(unchecked)}; do not rely on those times. "]
    for row in rows:
        if row.stopped:
            words += [name(row.method), f" stopped early{_first(row)}: {row.stopped}. "]
    return words


def _first(row: Result) -> str:
    """Where there are several seeds, that words which have no mean are the first one's."""
    return " (of the first seed)" if row.over_seeds else ""


def _refused(refused: Mapping[str, str]) -> Words:
    if not refused:
        return []
    names = [one for method in refused for one in (", ", name(method))]
    return [*names[1:], " cannot work on this scenario. "]


def pairs(content: Content) -> list[tuple[str, float, float]]:
    """Methods that were also started from random weights: name, final accuracy, final accuracy from random weights."""
    found: list[tuple[str, float, float]] = []
    for method, rows in content.metrics.items():
        base = content.metrics.get(method.removesuffix(RANDOM), ())
        if method.endswith(RANDOM) and base and base[-1].accuracy is not None and rows[-1].accuracy is not None:
            found.append((method.removesuffix(RANDOM), base[-1].accuracy, rows[-1].accuracy))
    return sorted(found, key=lambda pair: content.place.get(pair[0], len(content.place)))


def _start_words(content: Content) -> Words:
    """What the foundation model's weights are worth."""
    words: Words = []
    for number, (method, real, random) in enumerate(pairs(content)):
        words += ["; " if number else "Started from random weights instead of the foundation model's, ", name(method),
                  f" ends at {amounts.percent(random)} instead of {amounts.percent(real)}"]  # fmt: skip
    return [*words, ". "] if words else []


def _planned_words(planned: Sequence[Planned]) -> Words:
    words: Words = []
    for companion in planned:
        timed = [row for row in companion.results if row.time_s is not None]
        if not timed:
            continue
        fastest = min(timed, key=lambda row: row.time_s or 0.0)
        words += [f"With {companion.model} in its place (planned, not trained) the fastest is ", name(fastest.method),
                  f" with {amounts.duration(fastest.time_s)}. ", *_per_pass(subject_of(companion.results))]  # fmt: skip
    return words


# -- key figures -----------------------------------------------------------------------------------------------------


def tiles(content: Content) -> Markup | None:
    """Four to six key figures."""
    found = [tile for tile in (_first_tile(content), _ratio_tile(content), _accuracy_tile(content),
                               _gain_tile(content), _bytes_tile(content), _mission_tile(content)) if tile]  # fmt: skip
    return cards(found) if found else None


Tile = tuple[str, str, str]
"""Label, value and a note."""


def cards(tiles: Sequence[Tile]) -> Markup:
    """Key figures side by side."""
    found = [
        tag("div", tag("dt", label), tag("dd", value), tag("dd", note, class_="note")) for label, value, note in tiles
    ]
    columns = 3 if len(found) in (3, 5, 6) else 2
    return tag("dl", found, class_="tiles", style=f"--columns:{columns}")


def _first_tile(content: Content) -> Tile | None:
    reached = [row for row in content.results if row.time_to_target_s is not None]
    if reached:
        first = min(reached, key=_to_target)
        return "First to the target", amounts.duration(first.time_to_target_s), f"{first.method}, from start of job"
    timed = [row for row in content.results if row.time_s is not None]
    if not timed:
        return None
    fastest = min(timed, key=lambda row: row.time_s or 0.0)
    return "Fastest whole job", amounts.duration(fastest.time_s), fastest.method


def _ratio_tile(content: Content) -> Tile | None:
    row = subject_of(content.results)
    if row is None:
        return None
    if row.ratio_to_onboard is not None:
        return f"{row.method} against {REFERENCE}", amounts.times(row.ratio_to_onboard), "time to the same accuracy"
    if row.ratio_to_onboard_per_pass is not None:
        ratio = row.ratio_to_onboard_per_pass
        return f"{row.method} against {REFERENCE}", amounts.times(ratio), "time for equal passes over the samples"
    return None


def _accuracy_tile(content: Content) -> Tile | None:
    trained = [row for row in content.results if row.final_accuracy is not None]
    if not trained:
        return None
    best = max(trained, key=lambda row: row.final_accuracy or 0.0)
    return "Best final accuracy", amounts.percent(best.final_accuracy), best.method


def _gain_tile(content: Content) -> Tile | None:
    for method, real, random in pairs(content):
        points = f"{(real - random) * 100:+.1f}{amounts.SPACE}points"
        return "Foundation model over random weights", points, f"final accuracy of {method}"
    return None


def _bytes_tile(content: Content) -> Tile | None:
    row = subject_of(content.results)
    if row is None or not row.bytes:
        return None
    return "Between space and ground", amounts.volume(row.ground_bytes), f"{row.method}, down and up, whole job"


def _mission_tile(content: Content) -> Tile | None:
    if content.nodes is None:
        return None
    nodes = content.nodes
    stations = amounts.count(nodes.num_stations, "ground station")
    planes = amounts.count(len(nodes.planes), "plane")
    return "Constellation", amounts.count(nodes.num_satellites, "satellite"), f"{planes}, {stations}"
