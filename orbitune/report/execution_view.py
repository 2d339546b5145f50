"""Planned against executed: in words, as one Gantt chart above another on the same axis, and stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orbitune.links.contacts import Nodes
from orbitune.report import amounts, gantt_view
from orbitune.report.execution import Execution, StageTimes
from orbitune.report.frame import figure, missing, switch, table
from orbitune.report.gantt import Chart, job_chart, round_chart, round_to_show
from orbitune.report.markup import Child, Markup, tag
from orbitune.report.stages import Looks

NOTHING_S = 1e-9
"""Our choice: a smaller error is rounding."""


def draw(execution: Execution, nodes: Nodes | None, look: Looks) -> list[Markup]:
    """The whole section."""
    return [
        tag("p", _summary(execution), id="executed-words"),
        _charts(execution, nodes, look),
        table(("Stage", "Planned", "Executed", "Ratio", "Error"), _lines(execution), _caption(execution), "numbers"),
        _events(execution),
    ]


def _summary(execution: Execution) -> list[Child]:
    whole = execution.executed_s / execution.planned_s if execution.planned_s else None
    words: list[Child] = [
        "The plan of ", tag("b", execution.method), " was carried out for real on the engine ",
        tag("b", execution.engine), f", {amounts.digits(execution.time_scale)} simulated seconds in a real one, in "
        f"{amounts.duration(execution.wall_s)} of real time. Planned were {amounts.duration(execution.planned_s)} for "
        f"the whole job, executed {amounts.duration(execution.executed_s)} ({_ratio(whole)}). ",
    ]  # fmt: skip
    if execution.round_ratio is not None:
        words.append(f"Rounds took {_ratio(execution.round_ratio)} their planned time. ")
    late = amounts.count(execution.overruns, "computation")
    words.append(f"{late} took longer than planned. " if execution.overruns else "No computation overran its time. ")
    if execution.weight_difference is not None:
        words.append(_weights(execution.weight_difference))
    return words


def _weights(difference: float) -> str:
    if difference == 0.0:
        return "The final weights are those of training in one process, bit for bit. "
    words = f"{difference:.2g}".replace("-", "\u2011")  # a hyphen at which no line ends
    return f"The final weights differ from training in one process by at most {words} (relative). "


# -- charts ----------------------------------------------------------------------------------------------------------


def _charts(execution: Execution, nodes: Nodes | None, look: Looks) -> Markup:
    """The whole job, and one round of it."""
    if nodes is None or not execution.planned.spans:
        return missing("executed", "This run has no nodes or stages to draw, so nothing can be compared by node.")
    index = round_to_show(execution.planned)
    pairs = {"whole job": (job_chart(execution.planned, nodes), job_chart(execution.executed, nodes))}
    if index is not None:
        pairs[f"round {index + 1}"] = (
            round_chart(execution.planned, nodes, index), round_chart(execution.executed, nodes, index))  # fmt: skip
    drawn = {name: (planned, executed) for name, (planned, executed) in pairs.items() if planned and executed}
    if not drawn:
        return missing("executed", "Nothing was executed yet that could be drawn beside the plan.")
    shown = next(iter(drawn))
    choice = switch("executed", "What is shown", [(name, name) for name in drawn], shown) if len(drawn) > 1 else None
    blocks = [_pair(name, *_aligned(*pair), nodes, look, name == shown) for name, pair in drawn.items()]
    return figure(
        "executed",
        tag("div", choice, class_="toolbar"),
        blocks,
        caption="Above what was planned, below what happened, on one axis of simulated time and in the same colours. "
        "Press a stage to look closer, a plane to see its satellites in both.",
    )


def _aligned(planned: Chart, executed: Chart) -> tuple[Chart, Chart]:
    """Both on the axis that holds both."""
    start_s, end_s = min(planned.start_s, executed.start_s), max(planned.end_s, executed.end_s)
    return replace(planned, start_s=start_s, end_s=end_s), replace(executed, start_s=start_s, end_s=end_s)


def _pair(name: str, planned: Chart, executed: Chart, nodes: Nodes, look: Looks, shown: bool) -> Markup:
    stages = tuple(dict.fromkeys((*planned.stages, *executed.stages)))
    body = [
        tag("h3", "planned"), *gantt_view.lanes(planned, nodes, look, stages),
        tag("h3", "executed"), *gantt_view.lanes(executed, nodes, look, stages),
        gantt_view.axis(planned),
    ]  # fmt: skip
    return tag(
        "div",
        gantt_view.zoom(planned, look, name),
        tag("div", body, class_="lanes", role="group", aria_label=f"{name}, planned above executed"),
        class_="gantt",
        data_choice=name,
        data_length=planned.end_s - planned.start_s,
        data_stages="\n".join(stages),
        data_of="stretch shown",
        hidden=not shown,
    )


# -- numbers ---------------------------------------------------------------------------------------------------------


def _lines(execution: Execution) -> list[list[Child]]:
    whole = StageTimes("whole job", execution.planned_s, execution.executed_s, True)
    return [_line(row) for row in (whole, *execution.stages)]


def _line(row: StageTimes) -> list[Child]:
    error_s = row.executed_s - row.planned_s
    if abs(error_s) < NOTHING_S:
        error_s = 0.0
    sign = "+" if error_s > 0 else "−" if error_s < 0 else ""
    ratio = row.executed_s / row.planned_s if row.judged and row.planned_s else None
    times = [amounts.duration(row.planned_s), amounts.duration(row.executed_s)]
    return [row.stage, *times, _ratio(ratio), f"{sign}{amounts.duration(abs(error_s))}"]


def _ratio(ratio: float | None) -> str:
    """To a thousandth, since it should be 1."""
    return amounts.NONE if ratio is None else f"{ratio:.3f}×"


def _caption(execution: Execution) -> str:
    text = "Simulated time by stage over the whole job."
    if execution.call_overhead_s and not all(row.judged for row in execution.stages):
        text += f" One call of the engine takes {amounts.duration(execution.call_overhead_s)} of it by itself; stages"
        text += " that are not much longer have an error and no ratio."
    return text


def _events(execution: Execution) -> Markup:
    if not execution.events:
        return tag("p", "Nothing went wrong on the way: no fault, nobody lost, no new plan.", class_="note")
    rows: Sequence[Sequence[Child]] = [[amounts.moment(one.sim_s), one.what] for one in execution.events]
    return table(("At", "What happened"), rows, "Faults, members lost and new plans, in order", "events")
