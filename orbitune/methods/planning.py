"""From a method and a job to a timeline: deployment, every round, delivery.

With `overlap = "stream"` the number of micro-batches is chosen by trial, and the rounds are planned stage after stage
as well: what ends first is the plan, so streaming is never later than `none`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf

from orbitune.errors import PlanError, TimelineRejected
from orbitune.methods.asynchronous import largest_staleness
from orbitune.methods.asynchronous_base import Asynchronous
from orbitune.methods.base import Cut, Job, Method, start_with
from orbitune.methods.fedbuff import FedBuff
from orbitune.methods.stream_guide import Foresight
from orbitune.methods.taking_part import staged
from orbitune.timeline.activity import Timeline
from orbitune.timeline.collector import paused_collector
from orbitune.timeline.memory import check_memory
from orbitune.timeline.simulate import HorizonEnd, Schedule

TRIED_ROUNDS = 2
"""Our choice: rounds for which each number of micro-batches is tried; the second starts from what was done ahead."""

AS_WELL = 0.02
"""Our choice: cuts with which the first rounds take so nearly the same time do equally well, and the coarser one is
planned sooner."""

GAIN = 0.002
"""Our choice: a finer cut that is not that much better has gained nothing."""

FAR_AHEAD = 3
"""Our choice: so many exchanges are begun beside the one that trains where a guide shares out the links. On the preset
`paper`, twelve rounds end at 1.030 of their bound with three, at 1.065 with two, at 1.160 with one."""

SAME_S = 1e-8
"""What streaming gains must be more than rounding, or stages are shown one after the other."""

OnRound = Callable[[int, float], None]


def plan(method: Method, job: Job, on_round: OnRound | None = None) -> Timeline:
    """Book deployment, every round and delivery.

    Where the contact plan ends first, planning stops after the last complete round and the timeline says so.

    Raises:
        PlanError: Not even the first round can be completed, or something does not fit.
    """
    flows = job.overlap == "stream" and min(job.batch) > 0 and not job.taking_part and not job.staleness
    streamed = _streamed(method, job, on_round) if flows else None
    if streamed is None:
        with paused_collector():
            staged = _play(method, job, None, on_round, None)
        assert staged is not None, "nothing limits it"
        return staged
    try:
        staged = _play(method, job, None, None, _Limit(streamed.rounds, streamed.time_s + SAME_S))
    except PlanError:
        return streamed
    return staged if staged is not None and fits(staged, job) else streamed


@dataclass(frozen=True)
class _Limit:
    """A plan that another one has to beat."""

    rounds: int
    time_s: float

    def given_up(self, rounds: int, now_s: float) -> bool:
        """Whether a plan that has come so far cannot beat it any more."""
        return rounds <= self.rounds and now_s >= self.time_s

    def beaten(self, timeline: Timeline) -> bool:
        """Whether a plan has more rounds, or as many in less time."""
        return (-timeline.rounds, timeline.time_s) < (-self.rounds, self.time_s)


def _play(method: Method, job: Job, cut: Cut | None, on_round: OnRound | None, limit: _Limit | None) -> Timeline | None:
    """The timeline stage after stage, or with a cut into micro-batches; None where it does not beat the limit.

    Raises:
        PlanError: Not even the first round can be completed, or something does not fit.
    """
    schedule, now = _deployed(method, job)
    book = staged(method, job, schedule) if cut is None else method.streamed(job, schedule, cut)
    stopped, done = "", 0
    for index in range(job.rounds + 1):
        mark = _mark(schedule)
        try:
            if index == job.rounds:
                schedule.phase = "deliver"
                method.deliver(job, schedule, now)
            else:
                schedule.phase, schedule.round = "train", index
                now = book(index, now)
                done = index + 1
        except HorizonEnd as end:
            _rewind(schedule, mark)
            stopped = f"{schedule.phase} stopped after {done} of {job.rounds} rounds: {end}"
            break
        if limit is not None and limit.given_up(done, now):
            return None
        if on_round is not None and schedule.phase == "train":
            on_round(index, now)
    if not done:
        raise PlanError(f"{method.name}: {stopped}")
    timeline = schedule.timeline(method.name, method.private, done, stopped)
    unbounded = isinstance(method, Asynchronous) and not isinstance(method, FedBuff)
    timeline = replace(timeline, staleness=largest_staleness(timeline) if unbounded else job.staleness)
    return timeline if limit is None or limit.beaten(timeline) else None


def _deployed(method: Method, job: Job) -> tuple[Schedule, float]:
    schedule = Schedule(job.system)
    start_with(job, schedule)
    schedule.phase = "deploy"
    return schedule, method.deploy(job, schedule, 0.0)


def _mark(schedule: Schedule) -> tuple[int, int, int]:
    return len(schedule.activities), len(schedule.spans), len(schedule.promises)


def _rewind(schedule: Schedule, mark: tuple[int, int, int]) -> None:
    activities, spans, promises = mark
    del schedule.activities[activities:], schedule.spans[spans:], schedule.promises[promises:]


# -- streamed --------------------------------------------------------------------------------------------------------


def _streamed(method: Method, job: Job, on_round: OnRound | None) -> Timeline | None:
    """The streamed timeline with the best cut into micro-batches that fits the memory; None if there is none."""
    for families in _cuts(method, job):
        if job.rounds > TRIED_ROUNDS + FAR_AHEAD:  # the end is not in view of the rounds that are tried
            families = [[cut] for cut in _quickest_start(method, job, families)]
        best: Timeline | None = None

        def end_s(cut: Cut) -> float:
            nonlocal best
            found = _attempt(method, job, cut, on_round)
            if found is None or not fits(found, job):
                return inf
            if best is None or _Limit(best.rounds, best.time_s).beaten(found):
                best = found
            return inf if found.stopped else found.time_s

        for family in families:
            _refine(family, end_s)
        if best is not None:
            return best
    return None


def _cuts(method: Method, job: Job) -> list[list[list[Cut]]]:
    """Families of cuts, each from coarse to fine, to choose from; where none fits the memory, those after them."""
    guidable = method.learner == "split" and job.ways.satellite_ground == "quickest"
    plain, early = ((1, False),), ((FAR_AHEAD, True), (1, False))
    rungs = (early, plain, ((0, True), (0, False))) if guidable else (plain, ((0, False),))
    numbers = _numbers(max(job.batch))
    return [
        [[Foresight(parts, depth > 0, max(1, depth), guided) for parts in numbers] for depth, guided in rung]
        for rung in rungs
    ]


def _refine(family: Sequence[Cut], end_s: Callable[[Cut], float]) -> None:
    """Ask for the ends of ever finer cuts, until two in a row have gained nothing."""
    best_s, without = inf, 0
    for cut in family:
        found_s = end_s(cut)
        gained = found_s < best_s * (1.0 - GAIN)
        without = 0 if gained or best_s == inf else without + 1
        best_s = min(best_s, found_s)
        if without == 2:
            return


def _attempt(method: Method, job: Job, cut: Cut, on_round: OnRound | None) -> Timeline | None:
    try:
        return _play(method, job, cut, on_round, None)
    except PlanError:
        return None


def _quickest_start(method: Method, job: Job, families: Sequence[Sequence[Cut]]) -> list[Cut]:
    """The cut with which the first rounds end first, of those that do as well the first; none if they all fail."""
    schedule, start_s = _deployed(method, job)
    ends_s: dict[Cut, float] = {}

    def end_s(cut: Cut) -> float:
        desk, now = schedule.trial(), start_s
        desk.phase = "train"
        try:
            book = method.streamed(job, desk, cut)
            for index in range(TRIED_ROUNDS):
                now = book(index, now)
        except PlanError:
            return inf
        ends_s[cut] = now - start_s
        return ends_s[cut]

    for family in families:
        _refine(family, end_s)
    enough_s = min(ends_s.values(), default=inf) * (1.0 + AS_WELL)
    return [cut for cut, length_s in ends_s.items() if length_s <= enough_s][:1]


def _numbers(batch: int) -> list[int]:
    """1, 2, 4 ... and the batch itself."""
    return sorted({min(1 << power, batch) for power in range(batch.bit_length() + 1)})


def fits(timeline: Timeline, job: Job) -> bool:
    """Whether what nodes keep fits their memory at every moment."""
    try:
        check_memory(timeline, job.system)
    except TimelineRejected:
        return False
    return True
