"""`orbitune launch`: a scenario's plan carried out by processes, and what came of it in the run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from orbitune.engine import make_engine
from orbitune.engine.protocol import Engine
from orbitune.errors import InputError, RunError
from orbitune.experiment import Request as TrainRequest
from orbitune.experiment import sky, trainings
from orbitune.experiment import start as start_run
from orbitune.launch.ledger import alone
from orbitune.launch.members import Members, sites_of
from orbitune.launch.outcome import OUTCOME, write_outcome
from orbitune.launch.state import FILE as STATE
from orbitune.launch.state import Request, State
from orbitune.launch.supervise import Supervisor, Watched
from orbitune.mission import Mission, prepare
from orbitune.plans import Planned, Row, judge, plan_method
from orbitune.runs import RunFolder
from orbitune.scenario.load import load
from orbitune.scenario.schema import Scenario

REQUEST = "launch-request.json"

SHARE = 0.001
"""What a host asks of the resource that every machine of a Ray cluster has under its address, `node:ADDRESS`, one of
each (ray/_private/resource_and_label_spec.py, of 2.60): so little that all of a mission fit on one."""

USUAL_WALL_S = 180.0
"""Real seconds that a run is given where nobody says: three minutes, long enough for compute and calls to keep up with
small models on two cores, and short enough to wait for."""


def start(scenario: Scenario, request: Request, root: Path) -> RunFolder:
    """Make a run folder for a real run.

    Raises:
        PlanError, RunError: As `experiment.start`.
    """
    run = start_run(scenario, TrainRequest((request.method,)), root)
    run.write_json(REQUEST, asdict(request))
    return run


def resumed(path: Path, engine: str | None, address: str | None, places: Mapping[str, str] | None = None) -> RunFolder:
    """A run to go on with, on another engine or elsewhere if one is named; then with these places, or none.

    Raises:
        RunError: The folder holds no real run, or one that is finished or under way.
    """
    run = RunFolder.open(path)
    request = requested(run)
    if run.has(OUTCOME):
        raise RunError(f"{path} is finished; read {path / OUTCOME}, or start a new run")
    if engine not in (None, request.engine):
        request = replace(request, engine=engine, address="", places={})
    if address:
        request = replace(request, address=address, places={})
    changed = replace(request, places=dict(places or request.places))
    with alone(run):
        run.write_json(REQUEST, asdict(changed))
    return run


def requested(run: RunFolder) -> Request:
    """What a run was asked to do.

    Raises:
        RunError: It was not started by launch, or the file is damaged.
    """
    if not run.has(REQUEST):
        raise RunError(f"{run.path} was not started by `orbitune launch`; resume it with the command that started it")
    try:
        return Request(**run.read_json(REQUEST))
    except TypeError as error:
        raise RunError(f"{run.path / REQUEST} is damaged: {error}; start a new run") from error


def execute(run: RunFolder, heard: Callable[[Watched], None], check_weights: bool = False) -> Row:
    """Carry out what a run folder asks for, from where it stands, and write launch.json and compare.json.

    Args:
        run: From `start` or `resumed`.
        heard: Hears how it goes.
        check_weights: Train the same rounds in this process as well, and compare the weights.

    Raises:
        PlanError, InputError, MissingExtra, RunError: It cannot be done; what is done is kept.
        KeyboardInterrupt: As it came; the run can be resumed.
    """
    with alone(run):
        return _execute(run, heard, check_weights)


def _execute(run: RunFolder, heard: Callable[[Watched], None], check_weights: bool) -> Row:
    mission = prepare(load(run.path / "scenario.toml"))
    request = requested(run)
    if not run.has("contacts.json"):
        run.write_json("contacts.json", sky(mission))
    planned = _planned(mission, request.method, run)
    request = _with_scale(request, planned)
    state = State.load(run) if run.has(STATE) else State(satellites=list(mission.system.nodes.satellites))
    if not state.finished:
        members = _members(run, mission, planned, request)
        try:
            Supervisor(run, mission, planned, request, members, state, heard).carry_out()
        finally:
            members.close()
    return write_outcome(run, mission, planned, request, state, check_weights)


def _with_scale(request: Request, planned: Planned) -> Request:
    if request.time_scale > 0:
        return request
    return replace(request, time_scale=planned.timeline.time_s / USUAL_WALL_S)


def _planned(mission: Mission, name: str, run: RunFolder) -> Planned:
    """The whole plan: the one in the run folder, judged again, or a new one."""
    if run.has(f"methods/{name}/timeline.jsonl.gz"):
        return judge(mission, name, run.read_timeline(name))
    planned = plan_method(mission, name)
    run.write_timeline(name, planned.timeline)
    return planned


def _members(run: RunFolder, mission: Mission, planned: Planned, request: Request) -> Members:
    nodes_of = sites_of(mission.system.nodes, request.sites)
    (training,) = trainings(mission, planned, run, random_start=False)
    return Members(_engine(run, request, tuple(nodes_of)), nodes_of, training, run.path / "nodes", run.path.name)


def _engine(run: RunFolder, request: Request, hosts: tuple[str, ...]) -> Engine:
    """Started here, or the running one at the address."""
    _check_places(request, hosts)
    if request.engine == "local":
        if request.address:
            raise InputError(f"--address {request.address}: the local engine has none; take --engine ray or flare")
        return make_engine("local")
    if request.engine == "ray":
        on = {host: {f"node:{place}": SHARE} for host, place in request.places.items()}
        return make_engine("ray", address=request.address or None, resources=on)
    return make_engine("flare", workspace=run.path / "flare", members=hosts, address=request.address or None)


def _check_places(request: Request, hosts: tuple[str, ...]) -> None:
    if request.places and not (request.engine == "ray" and request.address):
        raise InputError(f"--place {_first(request.places)}: only --engine ray with an --address has places")
    if strangers := {host: place for host, place in request.places.items() if host not in hosts}:
        raise InputError(f"--place {_first(strangers)}: there is no such host; there are {', '.join(hosts)}")


def _first(places: Mapping[str, str]) -> str:
    return "=".join(next(iter(places.items())))
