"""The workers of spread trainings as the driver has them: each takes the next share of work when it is free.

A share carries all that its work depends on, so any worker can do it, and do it again: what a lost worker had in its
hands goes back into the line. Answers are taken in the order of the shares, whoever was quicker.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from torch import Tensor

from orbitune.engine.protocol import Engine, Header, TimedOut, Unreachable
from orbitune.errors import RunError
from orbitune.learn import spread_messages as messages
from orbitune.learn.spread_messages import Answer, Parcel, Setting, from_body, raise_again, to_body

MAKE = "orbitune.learn.spread_worker:make_spread_worker"

AHEAD = 2
"""Answers that may wait for an earlier one, per worker. Our choice: enough that nobody is idle behind a slow share,
and no more than that many contributions of satellites in memory."""

LOSSES = 3
"""Workers that may be lost at one share. Our choice: more are no accident, but work that no worker can do."""


@dataclass(eq=False)
class Home:
    """Where shares are done that have to stay together: the worker that took the first of them."""

    member: str | None = None


@dataclass(eq=False)
class Share:
    """One piece of work.

    Attributes:
        setting: Of which training.
        start: Weights of the untrained encoder.
        what: One of `spread_shares.WORK`.
        details: For it, JSON values.
        parcels: Large tensors it needs, by what they are to it.
        tensors: Small ones.
        home: None where anybody may do it.
    """

    setting: Setting
    start: Parcel
    what: str
    details: Header
    parcels: Mapping[str, Parcel]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    home: Home | None = None
    answer: Future[Answer] = field(default_factory=Future)
    lost: int = 0


class Crew:
    """Workers on an engine. Several threads may have work done at once; first come, first served.

    Args:
        engine: Without these members; `close` closes it.
        members: Names of the workers.
        gpu: Whether each of them has been given one.

    Attributes:
        engine: On which they are.

    Raises:
        RunError: A worker cannot be started; the engine is closed then.
    """

    def __init__(self, engine: Engine, members: Sequence[str], gpu: bool = False) -> None:
        self.engine, self._header = engine, {"gpu": gpu}
        self._line: deque[Share] = deque()
        self._over: set[str] = set()
        self._gone: set[str | None] = {None}  # homes in which nobody lives: none yet, and workers lost for good
        self._alive: WeakValueDictionary[str, Parcel] = WeakValueDictionary()
        self._numbers = itertools.count()
        self._news = threading.Condition()
        self._closed = False
        self._broken: RunError | None = None
        self._left = len(members)
        self._members = len(members)
        try:
            with ThreadPoolExecutor(len(members)) as pool:
                list(pool.map(self._place, members))
        except BaseException:
            engine.close()
            raise
        for member in members:
            threading.Thread(target=self._serve, args=(member,), name=f"spread {member}", daemon=True).start()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers; whoever waits for an answer gets an error."""
        with self._news:
            self._closed = True
            self._break(RunError("the workers have been stopped; the run can be resumed"))
        self.engine.close()

    # -- for trainings ---------------------------------------------------------------------------------------------

    def parcel(self, tensors: Mapping[str, Tensor]) -> Parcel:
        """Tensors as they are now, for as many shares as need them."""
        found = Parcel(f"parcel {next(self._numbers)}", to_body(tensors))
        with self._news:
            self._alive[found.name] = found
        return found

    def do(self, shares: Iterable[Share]) -> Iterator[Answer]:
        """The answers, in the order of the shares.

        Raises:
            OrbituneError: As the first share that failed raised it.
            RunError: No worker is left.
        """
        waiting: deque[Share] = deque()
        try:
            for share in shares:
                self._put(share)
                waiting.append(share)
                if len(waiting) > AHEAD * self._members:
                    yield waiting.popleft().answer.result()
            while waiting:
                yield waiting.popleft().answer.result()
        finally:
            for share in waiting:
                share.answer.cancel()

    def over(self, setting: Setting) -> None:
        """A training is over: workers may let go of its model."""
        with self._news:
            self._over.add(setting.name)

    # -- the line --------------------------------------------------------------------------------------------------

    def _put(self, share: Share) -> None:
        with self._news:
            if self._broken is not None:
                raise self._broken
            self._line.append(share)
            self._news.notify_all()

    def _take(self, member: str) -> Share | None:
        """The next share that this worker may do; None at the end."""
        with self._news:
            while True:
                for share in self._line if not self._closed else ():
                    if share.home is None or share.home.member == member or share.home.member in self._gone:
                        self._line.remove(share)
                        if share.home is not None:
                            share.home.member = member
                        return share
                if self._closed:
                    return None
                self._news.wait()

    def _serve(self, member: str) -> None:
        """A worker's whole life, in a thread of the driver."""
        link = _Link(self.engine, member)
        while (share := self._take(member)) is not None:
            if not share.lost and not share.answer.set_running_or_notify_cancel():
                continue  # nobody waits for it any more
            try:
                share.answer.set_result(link.ask(share, self._alive, self._over))
            except (Unreachable, TimedOut) as error:
                if not self._bring_back(member, share, error):
                    return
                link = _Link(self.engine, member)
            except BaseException as error:
                share.answer.set_exception(error)

    def _bring_back(self, member: str, share: Share, error: RunError) -> bool:
        """After a worker was lost: its share goes to whoever is free, and it is started again, if that can be done."""
        with self._news:
            share.lost += 1
            if share.home is not None:
                share.home.member = None
            if self._closed or share.lost == LOSSES:
                share.answer.set_exception(_given_up(share, error))
            else:
                self._line.appendleft(share)
            self._news.notify_all()
        try:
            self.engine.kill(member)  # whatever may be left of it
            self._place(member)
        except Exception as reason:
            with self._news:
                self._left -= 1
                self._gone.add(member)
                self._news.notify_all()
                if self._left == 0:
                    self._break(RunError(f"no worker is left, the last one: {reason}; the run can be resumed"))
            return False
        return True

    def _place(self, member: str) -> None:
        self.engine.place(member, MAKE, self._header)

    def _break(self, why: RunError) -> None:
        """Nothing will be done any more."""
        if self._broken is None:
            self._broken = why
        while self._line:
            share = self._line.popleft()
            if share.lost or share.answer.set_running_or_notify_cancel():
                share.answer.set_exception(self._broken)
        self._news.notify_all()


def _given_up(share: Share, error: RunError) -> RunError:
    return RunError(
        f"{share.lost} workers were lost at the same work ({share.what} of {share.setting.name}), perhaps for want of "
        f"memory: {error}; give them more, and resume"
    )


class _Link:
    """One worker in one life: what it has been given."""

    def __init__(self, engine: Engine, member: str) -> None:
        self._engine, self._member = engine, member
        self._begun: set[str] = set()
        self._has: set[str] = set()

    def ask(self, share: Share, alive: Mapping[str, Parcel], over: set[str]) -> Answer:
        """Have a share done.

        Raises:
            OrbituneError: As the worker raised it.
            Unreachable, TimedOut: It is lost.
        """
        self._begin(share.setting, share.start)
        for parcel in share.parcels.values():
            self._send(parcel)
        old = {name for name in self._has if name not in alive}
        ended = self._begun & over
        header = {
            "training": share.setting.name,
            "what": share.what,
            "details": share.details,
            "parcels": {role: parcel.name for role, parcel in share.parcels.items()},
            "drop": sorted(old),
            "over": sorted(ended),
        }
        self._has -= old
        self._begun -= ended
        said, body = self._call("work", header, to_body(share.tensors) if share.tensors else b"")
        whole = bytearray(body)
        while len(whole) < said["bytes"]:
            whole += self._call("rest", {"from": len(whole)})[1]
        return Answer(said, from_body(bytes(whole)))

    def _begin(self, setting: Setting, start: Parcel) -> None:
        if setting.name not in self._begun:
            self._send(start)
            header = {"training": setting.name, "setting": setting.header(), "weights": start.name}
            self._call("begin", header)
            self._begun.add(setting.name)

    def _send(self, parcel: Parcel) -> None:
        if parcel.name in self._has:
            return
        size = len(parcel.body)
        for first in range(0, size, messages.PART_BYTES):
            part = parcel.body[first : first + messages.PART_BYTES]
            self._call("take", {"name": parcel.name, "from": first, "bytes": size}, part)
        self._has.add(parcel.name)

    def _call(self, method: str, header: Header, body: bytes = b"") -> tuple[Header, bytes]:
        reply = self._engine.call(self._member, method, header, body)
        raise_again(reply.header)
        return reply.header, reply.body
