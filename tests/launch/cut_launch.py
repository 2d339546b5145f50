"""`orbitune launch` as on the command line, with the network cut in the middle of a transfer between two hosts.

cut_launch.py SWITCH SECONDS REPORT ARGUMENTS: the namespace of the switch, how long it is down in real seconds, where
to write what the kernel counted, and what `orbitune` is told.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

from orbitune.cli.app import main
from orbitune.launch.supervise import Attempt, Supervisor
from orbitune.timeline.activity import Activity
from tests.launch.namespaces import counted, cut, mend


def longest_between_hosts(attempt: Attempt, supervisor: Supervisor) -> Activity:
    """The send of the first round that is longest on its way from a satellite down to the ground."""
    host_of = supervisor.members.host_of
    sends = [
        one
        for one in attempt.planned.timeline.activities
        if one.kind == "send" and one.phase == "train" and host_of[one.node] != host_of[one.peer] == "ground"
    ]
    return max(sends, key=lambda one: one.end_s - one.start_s)


def arm(supervisor: Supervisor, attempt: Attempt, switch: str, seconds: float, report: Path) -> None:
    """Cut in the middle of that send, for a while."""
    send = longest_between_hosts(attempt, supervisor)
    at_s = (send.start_s + send.end_s) / 2

    def go() -> None:
        time.sleep(max(0.0, (at_s - supervisor.now_s()) / supervisor.request.time_scale))
        cut(switch)
        before, began_s = counted(switch), supervisor.now_s()
        time.sleep(seconds)
        after, ended_s = counted(switch), supervisor.now_s()
        mend(switch)
        told = {key: after[key] - before[key] for key in before} | {
            "send": [send.node, send.peer, send.start_s, send.end_s],
            "cut": [began_s, ended_s],
        }
        report.write_text(json.dumps(told), encoding="utf-8")

    threading.Thread(target=go, daemon=True).start()


def run(switch: str, seconds: float, report: Path, arguments: list[str]) -> None:
    """Hit the first attempt only."""
    begin = Supervisor._go

    def armed(supervisor: Supervisor, attempt: Attempt) -> None:
        begin(supervisor, attempt)
        if supervisor.state.attempt == 1:
            arm(supervisor, attempt, switch, seconds, report)

    Supervisor._go = armed  # type: ignore[assignment, method-assign]
    main(arguments)


if __name__ == "__main__":
    run(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
