"""Branch and bound over a space of points: the best one, proven, or the gap that is left when time is up.

The scenario's own point comes first. Branches (`least`) are visited best bound first, twice: once for the point of each
that is usually best, then for the rest. A branch whose bound is not below the best point found so far is passed over. A
point is given up where one of its rounds ends no earlier than the best point does, whichever of its cuts into
micro-batches is planned: planning goes forward in time, so it cannot win any more (`_planned`). With time as the
objective and neither a limit on energy nor batteries, points without overlap are not planned where the same ones with
overlap are in the space: `planning.plan` returns the earlier of both.

Contacts are found once, for the mission; only the job changes from point to point.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from math import inf

from orbitune.choose.least import Family, family_of, least
from orbitune.choose.limits import Limits
from orbitune.choose.space import Point, Space, why_refused
from orbitune.errors import InputError, PlanError, TimelineRejected
from orbitune.links.contacts import KINDS
from orbitune.methods import METHODS, Job, Method, Ways, plan
from orbitune.methods.in_orbit import placed
from orbitune.mission import Mission, configured, job_of
from orbitune.timeline.activity import Timeline
from orbitune.timeline.summary import energy_j
from orbitune.timeline.verify import verify

OBJECTIVES = ("time", "bytes", "energy")
"""Seconds of the whole job; bytes over all links but cables; joules of all satellites."""

Heard = Callable[[int, float, float], None]
"""Told about progress: points settled so far, the best value, and the least that is still possible."""


class GivenUp(PlanError):
    """A plan that cannot win any more; planning takes it for one that fails, and tries the next cut if there is one."""


@dataclass(frozen=True)
class Found:
    """A point whose whole job was planned and accepted by the checker."""

    point: Point
    value: float
    job: Job
    timeline: Timeline


@dataclass(frozen=True)
class Branch:
    """Points with the same needs; no point's value is below `least`."""

    place: Point
    method: Method
    job: Job
    leaves: tuple[Point, ...]
    least: float


@dataclass
class Tally:
    """How points ended. `excluded` counts by reason those that break a constraint or cannot be planned."""

    planned: int = 0
    given_up: int = 0
    bounded: int = 0
    dominated: int = 0
    unvisited: int = 0
    excluded: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def exclude(self, why: str, count: int = 1) -> None:
        """Numbers of one reason differ from point to point: they are counted together, the first stands for all."""
        kind = re.sub(r"\d[\d.e+]*", "#", re.sub(r"sat-[\d-]+", "a satellite", why))
        self.examples.setdefault(kind, why)
        self.excluded[self.examples[kind]] = self.excluded.get(self.examples[kind], 0) + count

    @property
    def total(self) -> int:
        """All points of the space."""
        settled = self.planned + self.given_up + self.bounded + self.dominated + self.unvisited
        return settled + sum(self.excluded.values())


@dataclass(frozen=True)
class Answer:
    """The best point found. The value of a point is that of the plan which all commands make of its settings.

    Attributes:
        best: None where no point keeps to the constraints.
        least: No point of the space is below this; the best's own value where it is proven best.
    """

    best: Found | None
    least: float
    tally: Tally
    seconds: float

    @property
    def proven(self) -> bool:
        """Whether nothing in the space is better, as its points are planned."""
        return self.tally.unvisited == 0

    @property
    def gap(self) -> float:
        """How much better a point that was not visited could be at most, as a share of the best's value."""
        if self.best is None or self.best.value <= 0.0:
            return 0.0 if self.proven else 1.0
        return 1.0 - self.least / self.best.value


def evaluate(
    point: Point, method: Method, job: Job, objective: str, limits: Limits, below: float = inf
) -> Found | str | None:
    """Plan one point and have the checker judge it.

    Args:
        job: The job of the point's place, on the machines as `limits` leave them.
        below: Points whose rounds do not end below this are given up; read for the objective "time" only.

    Returns:
        What was found, the same for every `below`; None if given up; or in words why the point is excluded.
    """
    ways = Ways(point.intra_orbit, point.satellite_ground, point.inter_orbit, job.ways.slot_s)
    try:
        asked = method.prepare(replace(job, ways=ways, overlap=point.overlap))
        timeline = _planned(method, asked, below if objective == "time" else inf)
        private = (*timeline.private, *limits.kept_private(point.cut))
        verify(replace(timeline, private=private), job.system)
    except GivenUp:
        return None
    except (PlanError, TimelineRejected) as error:
        return str(error)
    if timeline.stopped:
        return "the contact plan ends before the job does"
    spent_j = energy_j(timeline, job.system)
    if spent_j > limits.energy_j:
        return f"energy: needs {spent_j:.4g} J, and at most {limits.energy_j:.4g} J are allowed"
    return Found(point, value_of(objective, timeline, spent_j), asked, timeline)


def _planned(method: Method, job: Job, below_s: float) -> Timeline:
    """What `plan` makes of a job, whatever `below_s` is.

    With a cut given up, `plan` goes on to cuts which it would otherwise not try, and may take one of them. So what it
    then comes to is thrown away, and the job is planned without giving up.

    Raises:
        GivenUp: The plan ends no earlier than `below_s`, or there is none. This rests on `plan` asking for every cut,
            and at the end for none, as long as all that it asked for have failed: so the one it would have taken was
            among those that were given up.
        PlanError: See `plan`.
    """
    late = False

    def on_round(index: int, now_s: float) -> None:
        nonlocal late
        if now_s >= below_s:
            late = True
            raise GivenUp(f"round {index} ends too late")

    try:
        timeline = plan(method, job, on_round)
    except PlanError:
        if late:
            raise GivenUp("every plan that was not given up failed") from None
        raise
    return plan(method, job) if late else timeline


def value_of(objective: str, timeline: Timeline, spent_j: float) -> float:
    """A timeline in the unit of the objective."""
    sent = timeline.link_bytes()
    air = sum(size for kind, size in sent.items() if kind in KINDS and kind != "backhaul")
    return {"time": timeline.time_s, "bytes": float(air), "energy": spent_j}[objective]


def job_at(mission: Mission, place: Point, limits: Limits) -> tuple[Method, Job]:
    """The method and the job of a place, with the contacts of the mission.

    Raises:
        PlanError: There can be no such job.
    """
    there = replace(
        mission,
        scenario=place.applied(mission.scenario),
        system=limits.on(mission.system),
        partition=replace(mission.partition, cut=place.cut),
    )
    job = job_of(there)
    return placed(configured(METHODS[place.method], there.scenario), job), job


class Search:
    """One search."""

    def __init__(self, mission: Mission, space: Space, limits: Limits, objective: str) -> None:
        if objective not in OBJECTIVES:
            raise InputError(f"objective {objective!r}: there are {', '.join(OBJECTIVES)}")
        self.mission, self.space, self.limits, self.objective = mission, space, limits, objective
        self.tally = Tally()
        self.best: Found | None = None
        self._refused = cache(why_refused)

    # -- branches ------------------------------------------------------------------------------------------------

    def branches(self, wanted: Callable[[Point], bool] = lambda leaf: True) -> Iterator[Branch]:
        """All branches in which some wanted point might do; the others are counted with their reasons."""
        for place in self.space.places():
            leaves = [leaf for leaf in self.space.leaves(place) if wanted(leaf)]
            if not leaves:
                continue
            why = self._refused(replace(place, cut=0).applied(self.space.scenario))
            if why:
                self.tally.exclude(why, len(leaves))
                continue
            try:
                method, job = job_at(self.mission, place, self.limits)
            except PlanError as error:
                self.tally.exclude(str(error), len(leaves))
                continue
            if breach := self.limits.breach(place, job):
                self.tally.exclude(breach, len(leaves))
                continue
            yield from self._families(method, job, leaves)

    def _families(self, method: Method, job: Job, leaves: list[Point]) -> Iterator[Branch]:
        families: dict[Family, list[Point]] = {}
        jobs: dict[Family, Job] = {}
        for leaf in leaves:
            ways = Ways(leaf.intra_orbit, leaf.satellite_ground, leaf.inter_orbit, job.ways.slot_s)
            mine = replace(job, ways=ways, overlap=leaf.overlap)
            families.setdefault(family_of(mine), []).append(leaf)
            jobs.setdefault(family_of(mine), mine)
        for family, members in families.items():
            try:
                needs = method.needs(method.prepare(jobs[family]), job.rounds)
            except PlanError as error:
                self.tally.exclude(str(error), len(members))
                continue
            spent_j = least("energy", needs, job.system) if self.limits.energy_j < inf else 0.0
            value = least(self.objective, needs, job.system)
            if spent_j > self.limits.energy_j:
                why = f"energy: needs at least {spent_j:.4g} J, and at most {self.limits.energy_j:.4g} J are allowed"
                self.tally.exclude(why, len(members))
            elif value == inf:
                self.tally.exclude("the contact plan ends before the job does", len(members))
            else:
                yield Branch(members[0], method, job, tuple(self._undominated(members)), value)

    def _undominated(self, leaves: list[Point]) -> Iterator[Point]:
        """With overlap nothing is later than without; but it may take more energy, of which there may be too little."""
        endless = self.limits.energy_j == inf and self.mission.system.power is None
        could = self.objective == "time" and endless
        for leaf in leaves:
            if could and leaf.overlap == "none" and replace(leaf, overlap="stream") in leaves:
                self.tally.dominated += 1
            else:
                yield leaf

    # -- bound ---------------------------------------------------------------------------------------------------

    def run(
        self,
        budget_s: float = inf,
        wanted: Callable[[Point], bool] = lambda leaf: True,
        timely: Callable[[Point], bool] = lambda leaf: True,
        heard: Heard | None = None,
    ) -> Answer:
        """Search until the best point is proven best, or time is up.

        Args:
            budget_s: Seconds of wall time; the branches are bounded and one point is planned in any case.
            wanted: Points that are searched; the others count as if they were not in the space.
            timely: Points there is time for; the others are bounded only.
            heard: Is told after each point.
        """
        started_s = time.monotonic()
        branches = sorted(self.branches(wanted), key=lambda branch: branch.least)
        pending = [list(branch.leaves) for branch in branches]
        self._as_written(branches, pending)
        for most in (1, None):
            for branch, leaves in zip(branches, pending, strict=True):
                for leaf in leaves[:most]:
                    if branch.least >= self._below:
                        break
                    if not timely(leaf):
                        continue
                    if self.best is not None and time.monotonic() - started_s > budget_s:
                        return self._answer(branches, pending, started_s)
                    leaves.remove(leaf)
                    self._settle(evaluate(leaf, branch.method, branch.job, self.objective, self.limits, self._below))
                    if heard is not None:
                        heard(self.tally.planned + self.tally.given_up, self._below, branch.least)
        return self._answer(branches, pending, started_s)

    def _as_written(self, branches: list[Branch], pending: list[list[Point]]) -> None:
        """The scenario's own point, with overlap if it must be: nothing that is only as good replaces it."""
        own = Point.of(self.space.scenario)
        for point in (own, replace(own, overlap="stream")):
            for branch, leaves in zip(branches, pending, strict=True):
                if point in leaves:
                    leaves.remove(point)
                    return self._settle(evaluate(point, branch.method, branch.job, self.objective, self.limits))
        return None

    @property
    def _below(self) -> float:
        return inf if self.best is None else self.best.value

    def _settle(self, found: Found | str | None) -> None:
        if found is None:
            self.tally.given_up += 1
        elif isinstance(found, str):
            self.tally.exclude(found)
        else:
            self.tally.planned += 1
            if found.value < self._below:
                self.best = found

    def _answer(self, branches: list[Branch], pending: list[list[Point]], started_s: float) -> Answer:
        """Points that are left are either in branches that cannot win, or unvisited."""
        lowest = self._below
        for branch, leaves in zip(branches, pending, strict=True):
            if branch.least >= self._below:
                self.tally.bounded += len(leaves)
            else:
                self.tally.unvisited += len(leaves)
                lowest = min([lowest, *([branch.least] if leaves else [])])
        return Answer(self.best, lowest, self.tally, time.monotonic() - started_s)
