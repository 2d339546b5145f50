"""Starts the hosts, gives them their programs, watches them, and answers faults with a new plan from the last round.

One answer to all faults: the attempt is stopped everywhere, all go back to the state after the last round that
everybody has finished, the rest is planned anew from this moment on with who and what is left, and goes on. Messages
carry the number of the attempt, so nothing of an old one is counted in a new one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from orbitune.engine.protocol import CallFailed, Header, Reply, TimedOut, Unreachable
from orbitune.errors import PlanError, RunError
from orbitune.execute.program import programs, translated
from orbitune.launch.faults import Absent, Fault, lost_links, started_again
from orbitune.launch.ledger import Ledger
from orbitune.launch.members import Members
from orbitune.launch.state import Request, State
from orbitune.mission import Mission
from orbitune.plans import Planned, plan_method
from orbitune.replan import node_ids, rest_of
from orbitune.runs import RunFolder

POLL_S = 0.5
"""Real seconds between two looks at the hosts."""

LEAD_S = 1.0
"""Real seconds between "go" and the first planned second, so that all hosts have heard it. Our choice: calls take
milliseconds, on a busy machine tenths of a second."""

SECOND_TRY_S = 10.0
"""Real seconds before a lost host is started a second time. Our choice: a process that is being restarted by whoever
watches over it is back within seconds."""

EXECUTED_ROWS = "executed-rows.jsonl"
"""What hosts told of activities that are over, in a method's folder of the run."""


@dataclass(frozen=True)
class Watched:
    """What a run says while it goes on."""

    sim_s: float
    planned_s: float
    rounds: int
    wall_s: float
    done: int
    total: int
    waiting: str


@dataclass(frozen=True)
class Attempt:
    """A plan that hosts were given: its second 0, and for each of its nodes the number in the whole mission."""

    planned: Planned
    start_s: float
    ids: tuple[int, ...]

    @property
    def end_s(self) -> float:
        """When it ends, if all goes as planned."""
        return self.start_s + self.planned.timeline.time_s


class Supervisor:
    """One real run from its state to its end."""

    def __init__(
        self,
        run: RunFolder,
        mission: Mission,
        planned: Planned,
        request: Request,
        members: Members,
        state: State,
        heard: Callable[[Watched], None],
    ) -> None:
        self.run = run
        self.mission = mission
        self.planned = planned
        self.request = request
        self.members = members
        self.state = state
        self.heard = heard
        self.attempts: dict[int, Attempt] = {}
        self._epoch_s = 0.0
        self._began_s = time.time()
        self._before_s = state.wall_s
        self._decided_s = self._ready_s = 0.0
        self._ledger = Ledger(run.path / "methods" / request.method, EXECUTED_ROWS)
        self._absent = Absent(run, members)
        self._behind: set[str] = set()

    # -- the clock -----------------------------------------------------------------------------------------------

    def now_s(self) -> float:
        """Simulated seconds."""
        return (time.time() - self._epoch_s) * self.request.time_scale

    @property
    def hosts(self) -> list[str]:
        """Those that take part now."""
        return [host for host in self.members.nodes_of if host not in self._absent.out]

    # -- the whole run -------------------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """From where the run stands to its end.

        Raises:
            RunError: The training diverged, a host cannot be started again, or something is broken.
            PlanError: The rest cannot be planned with what is left.
        """
        try:
            self._carry_out()
        finally:
            self._absent.close()

    def _carry_out(self) -> None:
        self.members.place(self.hosts)
        self.state.call_s = self.members.call_s()
        self._epoch_s = time.time() + LEAD_S - self.state.sim_s / self.request.time_scale
        if self.state.attempt:
            self._take_back(self._left_out_before())
            self._go_back()
        while not self.state.finished:
            try:
                attempt = self._plan()
                if attempt is not None:
                    self._go(attempt)
                    if fault := self._watch():
                        self._answer(fault)
            except (Unreachable, TimedOut):  # between two looks, or while a fault was answered
                self._answer(Fault(hosts=list(self.members.ask(self.hosts, "status", {}).failed)))
            self._note_progress()

    def _plan(self) -> Attempt | None:
        """The first plan as it is; afterwards, what is left of it from a moment on that is still to come.

        None where nothing but the delivery is left and cannot be planned any more: then the run ends without it.
        """
        self._decided_s = time.time()
        if self.state.attempt == 0:
            return Attempt(self.planned, 0.0, tuple(range(len(self.mission.system.nodes))))
        start_s = self.now_s() + (2 * self._ready_s + LEAD_S) * self.request.time_scale
        try:
            return self._rest(start_s)
        except PlanError as error:
            if self.state.repeated is None or not self.state.satellites:
                raise
            self._end_undelivered(str(error))
            return None

    def _rest(self, start_s: float) -> Attempt:
        state = self.state
        # Before the first average nobody knows how far deployment had come: it is done again.
        deployed = state.rounds_done > 0 or self.mission.scenario.method.preloaded
        preloaded = deployed and not self._behind
        rest = rest_of(self.mission, state.satellites, state.gone, start_s, state.rounds_done, preloaded)
        planned = plan_method(rest, self.request.method)
        return Attempt(planned, start_s, node_ids(self.mission, rest))

    def _go(self, attempt: Attempt) -> None:
        state, planned = self.state, attempt.planned
        state.attempt += 1
        self.attempts[state.attempt] = attempt
        self._write_down(attempt)
        host_of = {node: host for node, host in self.members.host_of.items() if host not in self._absent.out}
        parts = programs(
            planned.timeline,
            planned.job.system,
            host_of,
            state.attempt,
            state.rounds_done,
            attempt.start_s,
            attempt.ids,
        )
        number: Header = {"attempt": state.attempt}
        self.members.must({host: (number, part.to_bytes()) for host, part in parts.items()}, "program")
        self._ready_s = time.time() - self._decided_s  # how long the next one will take, about
        if state.attempt == 1:
            self._epoch_s = time.time() + LEAD_S  # nothing was simulated while programs were sent
        clock = number | {"epoch_s": self._epoch_s, "scale": self.request.time_scale}
        offsets = self.members.offsets_s
        self.members.must({host: (clock | {"offset_s": offsets[host]}, b"") for host in parts}, "go")
        self._behind.clear()
        state.save(self.run)

    def _write_down(self, attempt: Attempt) -> None:
        """The plan in the numbers, seconds and rounds of the whole mission."""
        state, planned = self.state, attempt.planned
        whole = translated(planned.timeline, planned.job.system, attempt.ids, attempt.start_s, state.rounds_done)
        name = f"attempt-{state.attempt}"
        self.run.write_timeline(self.request.method, whole, name)
        told = {"start_s": attempt.start_s, "first_round": state.rounds_done, "satellites": state.satellites}
        self.run.write_json(f"methods/{self.request.method}/{name}.json", told)

    # -- watching ------------------------------------------------------------------------------------------------

    def _watch(self) -> Fault:
        """Until all is done or something is amiss."""
        end_s = self.attempts[self.state.attempt].end_s
        while True:
            time.sleep(POLL_S)
            answers = self.members.ask(self.hosts, "status", {"settled": self.state.rounds_done})
            seen_s = self.now_s()
            self._refuse_errors(answers.failed, answers.replies)
            self._count_overruns(answers.replies.values())
            fault = Fault(hosts=list(answers.failed), links=lost_links(answers.replies.values()))
            if fault:
                return fault
            self._write_executed(self.members.ask(self.hosts, "executed", {}).replies)
            rounds = min(int(reply.header["rounds"]) for reply in answers.replies.values())
            if rounds > self.state.rounds_done:
                self._rounds_done(rounds)
                back = self._absent.back()
                if back and rounds < self.rounds:  # after the last one there is nothing to take part in
                    return Fault(returned=back)
            done, total = (
                sum(int(reply.header[key]) for reply in answers.replies.values()) for key in ("done", "total")
            )
            waiting = next((str(r.header["waiting"]) for r in answers.replies.values() if r.header["waiting"]), "")
            self.heard(Watched(self.now_s(), end_s, rounds, self._wall_s(), done, total, waiting))
            if done == total:
                self._write_executed(self.members.ask(self.hosts, "executed", {}).replies)
                self._end(seen_s)
                return Fault()

    def _refuse_errors(self, failed: dict[str, RunError], replies: dict[str, Reply]) -> None:
        """A worker that fails cannot be helped by trying again.

        Raises:
            RunError: One has failed.
        """
        broken: list[RunError] = [error for error in failed.values() if isinstance(error, CallFailed)]
        broken += [RunError(f"{host}: {r.header['error']}") for host, r in replies.items() if r.header["error"]]
        for error in broken:
            raise error

    def _count_overruns(self, replies: Iterable[Reply]) -> None:
        """Computations that took longer than planned, by more than a call takes: less cannot be told from noise."""
        least_s = self.state.call_s * self.request.time_scale
        told = (overrun for reply in replies for overrun in reply.header["overruns"])
        self.state.overruns += sum(took_s - planned_s > least_s for _, planned_s, took_s in told)

    def _write_executed(self, replies: dict[str, Reply]) -> None:
        self._ledger.add_rows(reply.body for reply in replies.values())

    def _rounds_done(self, rounds: int) -> None:
        """Rounds that everybody has finished: who took part, and the states to start again from."""
        state = self.state
        members = sorted(state.satellites)
        for done in range(state.rounds_done + 1, rounds + 1):
            self._keep_states(done, members[0])
            state.participation.append(members)
            state.round_ends_s.append(self.now_s())
            state.rounds_done, state.repeated = done, None
        self._note_progress()

    def _keep_states(self, rounds: int, satellite: int) -> None:
        """After a round all satellites are alike, so the state of one and of the server is the state of all."""
        for role, node in (("satellite", satellite), ("server", self.mission.system.nodes.server)):
            host = self.members.host_of[node]
            reply = self.members.must({host: ({"node": node, "round": rounds}, b"")}, "export")[host]
            self._ledger.keep(rounds, role, reply.body)

    def _note_progress(self) -> None:
        self.state.sim_s, self.state.wall_s = self.now_s(), self._wall_s()
        self.state.save(self.run)

    def _wall_s(self) -> float:
        return self._before_s + time.time() - self._began_s

    # -- the end -------------------------------------------------------------------------------------------------

    @property
    def rounds(self) -> int:
        """How many rounds the run has."""
        return self.planned.timeline.rounds

    def _end(self, seen_s: float) -> None:
        """All that was planned is done; where a plan made on the way had no time for all, that is said."""
        self.state.finished, self.state.seen_s = True, seen_s
        stopped = self.attempts[self.state.attempt].planned.timeline.stopped
        if stopped and not self.planned.timeline.stopped:
            self.state.happened(self.run, self.now_s(), f"not all could be done: {stopped}")

    def _step_back(self) -> None:
        """Where all rounds are done, see to what was to be delivered; a delivery alone cannot be planned.

        The last round is repeated with its delivery. Where nothing is sent to deliver, the run is finished.
        """
        state = self.state
        if state.rounds_done < self.rounds:
            return
        if all(activity.phase != "deliver" for activity in self.planned.timeline.activities):
            state.finished = True
            return
        state.repeat_last()

    def _end_undelivered(self, why: str) -> None:
        """The last round, which was to be repeated for its delivery, counts as it was."""
        self.state.keep_last()
        self.state.finished = True
        self.state.happened(self.run, self.now_s(), f"all rounds are done, but the weights were not delivered: {why}")

    # -- faults --------------------------------------------------------------------------------------------------

    def _answer(self, fault: Fault) -> None:
        self.state.happened(self.run, self.now_s(), fault.words())
        alive = [host for host in self.hosts if host not in fault.hosts]
        self.members.ask(alive, "stop", {"attempt": self.state.attempt})
        self._write_executed(self.members.ask(alive, "executed", {}).replies)
        self.state.gone += fault.links
        again = started_again(fault.hosts, self.mission.scenario.train.lost_satellites)
        for host in fault.hosts:
            with contextlib.suppress(RunError):  # another owner's site, which its own script starts again
                self.members.engine.kill(host)  # it may hang and still answer later
        self._place_again(again)
        self._leave_out([host for host in fault.hosts if host not in again])
        self._take_back(fault.returned)
        self._go_back()

    def _place_again(self, hosts: list[str]) -> None:
        """Start lost hosts; a second time where the first fails, for the machine itself may be coming back.

        Raises:
            RunError: One cannot be started.
        """
        try:
            self.members.place(hosts)
        except RunError as error:
            self.run.event("a host could not be started, trying again", reason=str(error))
            time.sleep(SECOND_TRY_S)
            self.members.place(hosts)

    def _leave_out(self, hosts: list[str]) -> None:
        for host in hosts:
            lost = self._satellites_of(host)
            self.state.satellites = [one for one in self.state.satellites if one not in lost]
            self._absent.add(host)

    def _take_back(self, hosts: Iterable[str]) -> None:
        for host in hosts:
            self._behind.add(host)
            self._absent.remove(host)
            self.state.satellites = sorted({*self.state.satellites, *self._satellites_of(host)})

    def _satellites_of(self, host: str) -> set[int]:
        return {node for node in self.members.nodes_of[host] if node in self.mission.system.nodes.satellites}

    def _left_out_before(self) -> list[str]:
        """Hosts that were left out when the run was stopped; they have been started with the others."""
        back = [host for host in self.hosts if not self._satellites_of(host) <= set(self.state.satellites)]
        if back:
            self.state.happened(self.run, self.state.sim_s, Fault(returned=back).words())
        return back

    def _go_back(self) -> None:
        """Everybody to the state after the last whole round that need not be repeated."""
        self._step_back()
        if not self.state.finished:
            self._restore(self.hosts)
        self._note_progress()

    def _restore(self, hosts: Iterable[str]) -> None:
        """Everybody to the state after the last whole round.

        Who has not kept it is given it, and so is who was left out: what it has kept of that round may be of an attempt
        in which it took part, and that was repeated without it.
        """
        rounds = self.state.rounds_done
        answers = self.members.ask(list(hosts), "restore", {"round": rounds})
        for error in answers.failed.values():
            if not isinstance(error, CallFailed) or rounds == 0:
                raise error
        if rounds:
            for host in {*answers.failed, *self._behind}:
                self._give_state(host, rounds)

    def _give_state(self, host: str, rounds: int) -> None:
        for node in self.members.nodes_of[host]:
            if node in self.mission.system.nodes.stations:
                continue
            role = "server" if node == self.mission.system.nodes.server else "satellite"
            body = self._ledger.kept(rounds, role)
            self.members.must({host: ({"node": node, "round": rounds}, body)}, "import")
