"""Which method ends first, over downlink rate and computer on board: 400 points of the preset `paper`.

    python benchmarks/phase_diagram.py [--stream] [--resume]

One round: deployment, 128 images of each satellite, averaging and delivery; `train_s` is the round alone, to which many
rounds tend. Stages run one after the other (`method.overlap = "none"`), as `reconstructed` does by definition; that
keeps the map under ten minutes on two free cores. `--stream` lets the others stream, as the preset has it, and takes
three times as long or more. Every plan is accepted by the checker.

Writes benchmarks/out/phase_diagram.json and the folder of the sweep, benchmarks/out/phase_diagram, with its page and
four drawings: whole job and training alone, among all methods and among those that leave the images on board.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from pathlib import Path

from record import OUT, record

from orbitune.report.sweep_content import MEASURES, Sweep, fastest, over_reference, read_sweep
from orbitune.report.sweep_page import write_sweep_page
from orbitune.report.sweep_svg import phase_svg
from orbitune.sweep.execute import Engine, execute
from orbitune.sweep.folder import new_folder, open_folder
from orbitune.sweep.grid import parse_axes
from orbitune.sweep.request import request_of

RATES = "links.downlink_rate_mbps=log:10:10000:20"
SPEEDS = "satellite.sustained_gflops=log:10:10000:20"
"""From an S-band radio to a laser, and from a microcontroller with an accelerator to a data-centre card."""

METHODS = ("collaborative", "reconstructed", "onboard", "download")
WORKERS = 2


def main() -> None:
    chosen = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    chosen.add_argument("--stream", action="store_true", help="let micro-batches flow; three times as long or more")
    chosen.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    options = chosen.parse_args()
    name = "phase_diagram" + "_stream" * options.stream
    sets = ["train.rounds=1", f"method.overlap={'stream' if options.stream else 'none'}"]
    request = request_of("paper", sets, parse_axes([RATES, SPEEDS]), METHODS)
    folder = open_folder(OUT / name, request)[0] if options.resume else new_folder(request, OUT / name)
    began_s = time.monotonic()
    execute(folder, request, Engine(workers=WORKERS), _say)
    wall_s = time.monotonic() - began_s
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    sweep = read_sweep(folder)
    write_sweep_page(folder)
    _draw(sweep, folder.path)
    top = {
        "points": len(sweep.rows), "workers": WORKERS, "wall_s": wall_s, "cpu_s": cpu.ru_utime + cpu.ru_stime,
        "load_average": os.getloadavg()[1], "overlap": "stream" if options.stream else "none", "rounds": 1,
        "resumed": options.resume,
    }  # fmt: skip
    record(name, [_row(sweep, method, measure) for measure in MEASURES for method in METHODS], seed=2026, top=top)
    print(f"{len(sweep.rows)} points in {wall_s:.0f} s of wall, {top['cpu_s']:.0f} s of CPU; {folder.path}")


def _say(done: int, total: int) -> None:
    if done % 20 == 0 or done == total:
        print(f"{done}/{total}", file=sys.stderr, flush=True)


def _draw(sweep: Sweep, folder: Path) -> None:
    for measure in MEASURES:
        for private in (False, True):
            name = f"phase-{measure.removesuffix('_s')}{'-images-stay' * private}.svg"
            (folder / name).write_text(phase_svg(sweep, measure=measure, private=private), encoding="utf-8")


def _row(sweep: Sweep, method: str, measure: str) -> dict[str, str | float | int]:
    times = sweep.times(measure)
    ratio = over_reference(times, method)
    alone = fastest(sweep.times(measure, private=True))
    place = list(times).index(method)
    return {
        "case": f"{method}, {measure}",
        "fastest_at": int((fastest(times) == place).sum()),
        "fastest_with_images_on_board_at": int((alone == place).sum()),
        "least_over_onboard": float(ratio.min()),
        "greatest_over_onboard": float(ratio.max()),
        **{f"at_most_{level}_at": int((ratio <= level).sum()) for level in (1.0, 0.67, 0.60, 0.33)},
    }


if __name__ == "__main__":
    main()
