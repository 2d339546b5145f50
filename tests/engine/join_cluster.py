"""A second driver on a Ray cluster that is there: places a member where it is told to, and one that no host takes."""

from __future__ import annotations

import json
import sys

from orbitune.engine import make_engine
from orbitune.errors import RunError


def main(address: str) -> None:
    resources = {"a": {"node:127.0.0.1": 0.001}, "h": {"host-7": 1}}
    engine = make_engine("ray", address=address, time_to_start_s=30.0, resources=resources)
    engine.place("a", "echo_worker:make", {})
    found = {"pid": engine.call("a", "process", {}).header["pid"]}
    engine._time_to_start_s = 1.0  # type: ignore[attr-defined]
    try:
        engine.place("h", "echo_worker:make", {})
    except RunError as error:
        found["refused"] = str(error)
    engine.close()
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
