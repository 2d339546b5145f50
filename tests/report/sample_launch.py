"""Makes the sample run look as if it had been launched: made-up delays on its planned timeline."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import Any

from orbitune.runs import RunFolder
from orbitune.timeline.activity import Timeline

SLOWER = 1.02
METHOD = "collaborative"
LOST = "sat-01-03 was lost: rounds go on without it"


def executed(planned: Timeline) -> Timeline:
    """Everything a little later and longer than planned."""
    activities = tuple(
        replace(one, start_s=one.start_s * SLOWER, end_s=one.end_s * SLOWER, arrive_s=one.arrive_s * SLOWER)
        for one in planned.activities
    )
    spans = tuple(replace(span, start_s=span.start_s * SLOWER, end_s=span.end_s * SLOWER) for span in planned.spans)
    return replace(planned, activities=activities, spans=spans)


def launch(run: RunFolder, **changes: object) -> RunFolder:
    """Write what `orbitune launch` writes."""
    planned = run.read_timeline(METHOD)
    text = "\n".join(executed(planned).to_jsonl()) + "\n"
    (run.path / "methods" / METHOD / "executed.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    run.write_json("launch.json", content(planned) | changes)
    return run


def content(planned: Timeline) -> dict[str, Any]:
    stages = [
        {
            "stage": stage,
            "planned_s": seconds,
            "executed_s": seconds * SLOWER,
            "ratio": SLOWER,
            "error_s": seconds * (SLOWER - 1),
            "judged": seconds > 40,
        }
        for stage, seconds in planned.stage_s().items()
    ]
    return {
        "schema_version": 1,
        "engine": "ray",
        "time_scale": 400.0,
        "wall_s": 181.0,
        "planned_s": planned.time_s,
        "executed_s": planned.time_s * SLOWER,
        "round": SLOWER,
        "stages": stages,
        "overruns": 3,
        "events": [{"sim_s": 9000.0, "what": LOST}],
        "max_weight_difference": None,
        "call_overhead_s": 2.0,
    }
