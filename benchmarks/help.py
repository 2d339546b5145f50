"""How long `orbitune --help` takes, beside a Python that does nothing, in turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from record import record

RUNS = 11
COMMANDS = {"python -c pass": ["-c", "pass"], "orbitune --help": ["-m", "orbitune", "--help"]}


def wall_s(arguments: list[str]) -> float:
    """Wall seconds of one process."""
    began_s = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began_s


def main() -> None:
    """Both commands, one after the other, several times."""
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, arguments in COMMANDS.items():
            taken[name].append(wall_s(arguments))
    rows = [
        {
            "command": name,
            "runs": RUNS,
            "median_ms": round(1e3 * statistics.median(times)),
            "max_ms": round(1e3 * max(times)),
        }
        for name, times in taken.items()
    ]
    record("help", rows, seed=0)


if __name__ == "__main__":
    main()
