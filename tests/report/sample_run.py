"""A run folder with made-up values, laid out like a real one, for the tests of the report.

Nothing here is a result: orbits are plain circles, durations and accuracies are invented. The scenario's name says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbitune.links.contacts import Nodes
from orbitune.runs import RunFolder
from orbitune.timeline.activity import Activity, Payload, Span, Timeline, whole

NAME = "sample (made-up values)"
STATIONS = (
    ("Svalbard", 78.23, 15.39),
    ("Kiruna", 67.86, 20.96),
    ("Weilheim", 47.88, 11.08),
    ("Maspalomas", 27.76, -15.63),
    ("Inuvik", 68.32, -133.55),
    ("Wallops", 37.94, -75.46),
    ("Punta Arenas", -52.94, -70.85),
    ("Hartebeesthoek", -25.89, 27.69),
    ("Dongara", -29.05, 115.35),
    ("Troll", -72.01, 2.54),
)
PLANES, PER_PLANE = 6, 11
ALTITUDE_RATIO = 1.122  # orbit radius over Earth's, 780 km
PERIOD_S, DAY_S, INCLINATION = 6027.0, 86164.0, math.radians(86.4)
TRACK_S, STEP_S = 12000.0, 60.0
Pass = tuple[int, int, float, float]


def nodes() -> Nodes:
    names = tuple(f"sat-{plane:02d}-{slot:02d}" for plane in range(PLANES) for slot in range(PER_PLANE))
    planes = tuple(tuple(range(p * PER_PLANE, (p + 1) * PER_PLANE)) for p in range(PLANES))
    return Nodes(names, tuple(name for name, *_ in STATIONS), planes)


def track() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Times [T] and subpoints [T, S] in degrees of circular orbits over a turning sphere."""
    time_s = np.arange(0.0, TRACK_S + 1, STEP_S)
    plane, slot = np.divmod(np.arange(PLANES * PER_PLANE), PER_PLANE)
    along = 2 * np.pi * (time_s[:, None] / PERIOD_S + slot / PER_PLANE + plane / (2 * PER_PLANE))
    node = np.pi * plane / PLANES - 2 * np.pi * time_s[:, None] / DAY_S
    latitude = np.arcsin(np.sin(INCLINATION) * np.sin(along))
    longitude = node + np.arctan2(np.cos(INCLINATION) * np.sin(along), np.cos(along))
    return time_s, np.degrees(latitude), (np.degrees(longitude) + 180) % 360 - 180


def passes() -> list[Pass]:
    """Stretches in which a satellite is 10 degrees above a station's horizon, to the minute."""
    time_s, latitude, longitude = track()
    horizon = math.acos(math.cos(math.radians(10)) / ALTITUDE_RATIO) - math.radians(10)
    found: list[Pass] = []
    for number, (_, lat, lon) in enumerate(STATIONS):
        a, b, turn = math.radians(lat), np.radians(latitude), np.radians(longitude - lon)
        near = np.sin(a) * np.sin(b) + math.cos(a) * np.cos(b) * np.cos(turn) > math.cos(horizon)
        for satellite in range(near.shape[1]):
            edges = np.flatnonzero(np.diff(np.concatenate(([False], near[:, satellite], [False])).astype(int)))
            found += [
                (satellite, number, float(time_s[rise]), float(time_s[min(end, len(time_s) - 1)]))
                for rise, end in edges.reshape(-1, 2)
            ]
    return sorted(found, key=lambda one: one[2])


def contacts() -> dict[str, Any]:
    time_s, latitude, longitude = track()
    return {
        "summary": {
            "passes in 200 min": len(passes()),
            "contact_share_mean": 0.31,
            "longest_gap_s": 5528.0,
            "volume_per_day_bytes": {"downlink": 3.9e13, "uplink": 2.4e12},
            "sample": "made-up values",
        },
        "stations": [
            {"name": name, "latitude_deg": lat, "longitude_deg": lon, "antennas": 1} for name, lat, lon in STATIONS
        ],
        "satellites": list(nodes().satellite_names),
        "planes": [list(plane) for plane in nodes().planes],
        "track": {
            "time_s": time_s.tolist(),
            "latitude_deg": np.round(latitude.T, 2).tolist(),
            "longitude_deg": np.round(longitude.T, 2).tolist(),
        },
        "passes": [list(one) for one in passes()],
        "horizon_s": 172800.0,
    }


@dataclass
class Sketch:
    """Writes down invented stages one after the other."""

    now_s: float = 0.0
    phase: str = "train"
    round: int = 0
    activities: list[Activity] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    nodes: Nodes = field(default_factory=nodes)

    def stage(self, name: str, length_s: float) -> Iterator[int]:
        """Every satellite in turn; afterwards the clock has moved on."""
        self.name = name
        yield from self.nodes.satellites
        self.spans.append(Span(self.phase, self.round, name, self.now_s, self.now_s + length_s))
        self.now_s += length_s

    def compute(self, node: int, after_s: float, length_s: float) -> None:
        start_s = self.now_s + after_s
        self.activities.append(
            Activity("compute", node, start_s, start_s + length_s, self.phase, self.round, self.name, flops=1e9)
        )

    def send(self, node: int, peer: int, link: str, after_s: float, length_s: float, payload: Payload) -> None:
        start_s, end_s = self.now_s + after_s, self.now_s + after_s + length_s
        self.activities.append(
            Activity("send", node, start_s, end_s, self.phase, self.round, self.name, peer, link, end_s, payload)
        )

    def neighbour(self, satellite: int) -> int:
        plane = satellite // PER_PLANE * PER_PLANE
        return plane + (satellite - plane + 1) % PER_PLANE

    def timeline(self, method: str, private: tuple[str, ...]) -> Timeline:
        ordered = sorted(self.activities, key=lambda activity: activity.start_s)
        return Timeline(method, tuple(ordered), tuple(self.spans), (), (), private, self.round + 1)


def on_board(sketch: Sketch, name: str, length_s: float) -> None:
    for satellite in sketch.stage(name, length_s):
        sketch.compute(satellite, 0.0, length_s * (0.6 + 0.4 * (satellite % 7) / 6))


def around_planes(sketch: Sketch, name: str, length_s: float, size: int) -> None:
    hop_s = length_s / (PER_PLANE - 1)
    for satellite in sketch.stage(name, length_s):
        for hop in range(PER_PLANE - 1):
            load = whole("embedding", {satellite}, sketch.round, size)
            sketch.send(satellite, sketch.neighbour(satellite), "isl_intra", hop * hop_s, hop_s * 0.98, load)


def over_ground(sketch: Sketch, name: str, length_s: float, size: int, *, down: bool) -> None:
    """Each plane over whatever station its satellites see, in the order of the sample passes."""
    seen = [(s, g, a) for s, g, a, _ in passes() if a < length_s - 90 and s % 2 == sketch.round % 2]
    first = sketch.nodes.num_satellites
    for satellite in sketch.stage(name, length_s):
        for _, station, after_s in (one for one in seen if one[0] == satellite):
            load = whole("embedding", {satellite}, sketch.round, size)
            ends = (satellite, first + station) if down else (first + station, satellite)
            sketch.send(*ends, "downlink" if down else "uplink", after_s, 80.0, load)
            relay = (first + station, sketch.nodes.server) if down else (sketch.nodes.server, first + station)
            sketch.send(*relay, "backhaul", after_s + 80, 4.0, load)


def on_ground(sketch: Sketch, name: str, length_s: float) -> None:
    list(sketch.stage(name, 0.0))
    sketch.spans.pop()
    sketch.compute(sketch.nodes.server, 0.0, length_s)
    sketch.spans.append(Span(sketch.phase, sketch.round, name, sketch.now_s, sketch.now_s + length_s))
    sketch.now_s += length_s


def across_planes(sketch: Sketch, length_s: float, size: int) -> None:
    hop_s = length_s / PLANES
    for satellite in sketch.stage("average across planes", length_s):
        plane, slot = divmod(satellite, PER_PLANE)
        if slot == 0 and plane + 1 < PLANES:
            load = whole("update", {satellite}, sketch.round, size)
            sketch.send(satellite, satellite + PER_PLANE, "isl_inter", plane * hop_s, hop_s * 0.6, load)


def collaborative(rounds: int) -> Timeline:
    sketch = Sketch(phase="deploy")
    over_ground(sketch, "deploy weights", 2400.0, 400_000, down=False)
    sketch.phase = "train"
    for sketch.round in range(rounds):
        on_board(sketch, "embed", 3.2)
        around_planes(sketch, "share embeddings in planes", 96.0, 5_200_000)
        over_ground(sketch, "bring down embeddings", 4300.0, 41_000_000, down=True)
        on_ground(sketch, "encode", 21.0)
        over_ground(sketch, "send up features", 1500.0, 160_000, down=False)
        around_planes(sketch, "hand out features in planes", 4.0, 16_000)
        on_board(sketch, "head step", 0.08)
        around_planes(sketch, "average in planes", 1.5, 2_600)
        across_planes(sketch, 45.0, 26_000)
    return sketch.timeline("collaborative", ("image", "label"))


def onboard(rounds: int) -> Timeline:
    sketch = Sketch(phase="deploy")
    over_ground(sketch, "deploy weights", 2400.0, 3_200_000, down=False)
    sketch.phase = "train"
    for sketch.round in range(rounds):
        on_board(sketch, "train on board", 260.0)
        around_planes(sketch, "average in planes", 7.0, 290_000)
        across_planes(sketch, 60.0, 3_200_000)
    return sketch.timeline("onboard", ("image", "label"))


def download(rounds: int) -> Timeline:
    sketch = Sketch()
    for sketch.round in range(rounds):
        if sketch.round == 0:
            over_ground(sketch, "bring down images", 11000.0, 90_000_000, down=True)
        on_ground(sketch, "train on the ground", 40.0)
    return sketch.timeline("download", ())


METHODS = {"collaborative": collaborative, "onboard": onboard, "download": download}
ENDS = {"collaborative": 0.86, "onboard": 0.84, "download": 0.88}
TARGET = 0.80


def metrics(timeline: Timeline, end: float, start: float, speed: float) -> Iterator[dict[str, Any]]:
    """Rows that rise from `start` towards `end`."""
    for index, moment_s in enumerate((timeline.phase_s("deploy"), *timeline.round_ends_s())):
        accuracy = end - (end - start) * math.exp(-speed * index)
        middle = 0.35 + 1.4 * math.exp(-speed * index)
        losses = {
            str(satellite): round(middle * (1 + 0.5 * math.sin(satellite * 1.7)), 4) for satellite in nodes().satellites
        }
        yield {
            "round": index,
            "sim_time_s": moment_s,
            "loss": middle,
            "accuracy": round(accuracy, 4),
            "balanced_accuracy": round(accuracy - 0.06, 4),
            "client_loss": {} if timeline.method == "download" else losses,
            "wall_s": 1.5 * index,
        }


def result(timeline: Timeline, rows: list[dict[str, Any]], onboard_s: float, onboard_time_s: float) -> dict[str, Any]:
    reached = next((row["sim_time_s"] for row in rows if row["accuracy"] >= TARGET), None)
    stages = timeline.stage_s()
    top = max(stages, key=lambda stage: stages[stage])
    sizes = dict.fromkeys(("downlink", "uplink", "isl_intra", "isl_inter", "backhaul"), 0)
    return {
        "method": timeline.method,
        "rounds": timeline.rounds,
        "time_s": timeline.time_s,
        "deploy_s": timeline.phase_s("deploy"),
        "train_s": timeline.phase_s("train"),
        "deliver_s": timeline.phase_s("deliver"),
        "bound_s": timeline.time_s / 1.37,
        "bound": "sample: longest chain of transfers",
        "verified": True,
        "ratio_to_onboard": None if reached is None else reached / onboard_s,
        "ratio_to_onboard_per_pass": timeline.time_s / onboard_time_s,
        "target_accuracy": TARGET,
        "time_to_target_s": reached,
        "bytes_to_target": None,
        "energy_to_target_j": None,
        "final_accuracy": rows[-1]["accuracy"] if rows else None,
        "bytes": sizes | timeline.link_bytes(),
        "sent_bytes": 9e9 * len(timeline.method),
        "curve": curve(rows, 9e9 * len(timeline.method), 1.9e5 * (1 + len(timeline.method))),
        "over_seeds": None,
        "energy_j": 1.9e5 * (1 + len(timeline.method)),
        "limiting": f"{top} ({stages[top] / sum(stages.values()):.0%} of the time)",
        "stages": stages,
        "stopped": "",
    }


def curve(rows: list[dict[str, Any]], sent_bytes: float, energy_j: float) -> list[dict[str, Any]]:
    """Costs that grow evenly from round to round."""
    last = max(len(rows) - 1, 1)
    return [
        {
            "round": row["round"],
            "time_s": row["sim_time_s"],
            "accuracy": row["accuracy"],
            "sent_bytes": sent_bytes * row["round"] / last,
            "energy_j": energy_j * row["round"] / last,
        }
        for row in rows
    ]


SECOND_SEED, LESS = 8, 0.04


def repeat(run: RunFolder) -> RunFolder:
    """Add a second seed that learns everything a little less well, misses the target once and sends twice as much; its
    bound is a third of the first one's."""
    content = run.read_json("compare.json")
    for row in content["results"]:
        name = f"methods/{row['method']}"
        rows = [one | {"accuracy": one["accuracy"] - LESS} for one in run.rows(f"{name}/metrics.jsonl")]
        run.keep_rows(f"seeds/{SECOND_SEED}/{name}/metrics.jsonl", rows)
        run.write_json(f"seeds/{SECOND_SEED}/{name}/summary.json", row)
        row["over_seeds"] = {
            "final_accuracy": figure(row["final_accuracy"], row["final_accuracy"] - LESS),
            "time_s": figure(row["time_s"], row["time_s"]),
            "bound_s": figure(row["bound_s"], row["bound_s"] / 3),
            "bytes": {kind: figure(size, 2 * size) for kind, size in row["bytes"].items()},
            "time_to_target_s": figure(row["time_to_target_s"], None if row["method"] == "download" else 9e4),
        }
    run.write_json("compare.json", content | {"seeds": [7, SECOND_SEED]})
    return run


def figure(*values: float | None) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    return {"values": list(values), "count": len(known), "mean": sum(known) / len(known), "min": min(known),
            "max": max(known), "sd": None}  # fmt: skip


def write(root: Path, rounds: int = 8, name: str = NAME) -> RunFolder:
    """A complete run of three methods, two of them from random weights too, and a planned companion."""
    run = RunFolder.create(root, "sample", f'name = "{name}"\nseed = 7\n\n[time]\nduration_h = 48.0\n', seed=7)
    run.write_json("contacts.json", contacts())
    timelines = {method: plan(rounds) for method, plan in METHODS.items()}
    rows = {method: list(metrics(timelines[method], ENDS[method], 0.31, 0.55)) for method in METHODS}
    rows |= {f"{m}@random": list(metrics(timelines[m], 0.66, 0.17, 0.3)) for m in ("collaborative", "onboard")}
    for method, lines in rows.items():
        run.keep_rows(f"methods/{method}/metrics.jsonl", lines)
    onboard_s = next(row["sim_time_s"] for row in rows["onboard"] if row["accuracy"] >= TARGET)
    results = [result(timelines[method], rows[method], onboard_s, timelines["onboard"].time_s) for method in METHODS]
    for row in results:
        run.write_timeline(row["method"], timelines[row["method"]])
        run.write_json(f"methods/{row['method']}/summary.json", row)
    run.write_json("compare.json", compare(name, results))
    return run


def compare(name: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    unknown = {"final_accuracy": None, "time_to_target_s": None, "ratio_to_onboard": None, "target_accuracy": None}
    larger = [
        {**row, **unknown, "time_s": row["time_s"] * 9.3, "bound_s": row["bound_s"] * 8.8, "rounds": 8}
        for row in results
    ]
    return {
        "schema_version": 1,
        "scenario": name,
        "results": results,
        "planned": [{"scenario": "sample-larger", "model": "spectralgpt-base", "results": larger}],
        "assumptions": [
            "Sample: every number on this page is made up to test its layout.",
            "Link rates are constant within a contact, whatever the distance and the weather.",
            "Satellites hold their images and labels from the first second on.",
        ],
        "checks": [
            {"number": "times", "how": "Each timeline is replayed by an independent checker against the contact plan."},
            {"number": "bytes", "how": "Sums over the sends of the checked timeline."},
            {"number": "accuracy", "how": "Measured on held-out samples with the weights after each round."},
        ],
    }
