"""Members as actors of a Ray cluster: one process each, on this machine or on the hosts of a cluster.

A cluster is one trust domain: whoever may join it may run anything on every host. Ray carries the header as JSON text
and the body as raw bytes, straight from one member's process to the other's; no call is ever made twice.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from orbitune.engine.calls import Outcome, answer, check_name, pack, reason, reply_of, unpack
from orbitune.engine.protocol import DRIVER, CallFailed, Header, Reply, TimedOut, Unreachable, Worker, make_worker
from orbitune.engine.ray_cluster import VARIABLES, connect, load_ray
from orbitune.errors import RunError

CALLS_AT_ONCE = 64
"""Threads of a member that answer calls. Our choice: more than the planes of the largest shells flown, and they cost
address space alone; further calls wait."""

TO_CLOSE_S = 10.0
"""Our choice: how long a worker may take to close, and then its process to go, before it is ended by force."""

_LIFE = "#"
"""Between a member's name and the number of its life, in the name of its actor."""

_ALONE_S = 1.0
"""Our choice: how often a member looks whether its host's Ray is there; Ray's own look took it up to half a minute."""

_AGAIN_S = 0.05
"""Between two looks at something that is about to be gone."""


class RayEngine:
    """Members on a Ray cluster.

    Args:
        address: HOST:PORT of the cluster's head (this process runs on one of its hosts), or ray://HOST:PORT; None
            starts a cluster on the loopback of this machine, which `close` ends.
        time_to_start_s: Longest time a member may take to start.
        namespace: Keeps the members of several engines on one cluster apart; by default a new one.
        resources: What a member's host must offer, by its name, in Ray's words: {"ground": {"GPU": 1},
            "plane-0": {"node:10.0.0.3": 0.001}}. A member without an entry goes to the host with fewest.

    Raises:
        MissingExtra: Ray is not installed.
        RunError: The cluster cannot be reached or started.
    """

    def __init__(
        self,
        address: str | None = None,
        time_to_start_s: float = 60.0,
        namespace: str | None = None,
        resources: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self._namespace = namespace or f"orbitune-{uuid4().hex}"
        self._cluster = connect(address, processors=_processors(resources or {}), namespace=self._namespace)
        self._ray = self._cluster.ray
        self._lost = _lost(self._ray)
        self._variables = VARIABLES | ({} if address else {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
        self._time_to_start_s = time_to_start_s
        self._resources = dict(resources or {})
        self._members: dict[str, _Handle] = {}
        self._starting: dict[str, Any] = {}  # None until there is an actor
        self._lives: dict[str, int] = {}
        self._lock = threading.Condition()
        self._calling = 0
        self._closed = False

    @property
    def kind(self) -> str:
        return "ray"

    @property
    def name(self) -> str:
        return DRIVER

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        """Keep `close` from leaving the cluster meanwhile.

        Raises:
            Unreachable: The engine is closed.
        """
        with self._lock:
            if self._closed:
                raise Unreachable("the engine is closed")
            self._calling += 1
        try:
            yield
        finally:
            with self._lock:
                self._calling -= 1
                self._lock.notify_all()

    @contextlib.contextmanager
    def _start(self, member: str) -> Iterator[None]:
        """Keep others from placing a member meanwhile, and `close` from overlooking it.

        Raises:
            RunError: It cannot be placed now.
        """
        living = self.alive(member)
        with self._lock:
            if self._closed or living or member in self._starting:
                why = "the engine is closed" if self._closed else "there is a living member of that name"
                raise RunError(f"{member} cannot be placed: {why}")
            self._starting[member] = None
        try:
            yield
        finally:
            with self._lock:
                del self._starting[member]

    def place(self, member: str, factory: str, header: Header, body: bytes = b"") -> None:
        check_name(member)
        text = pack(header, body)
        with self._start(member):
            try:
                with _said_plainly():
                    self._begin(member, factory, text, body)
            except BaseException as error:
                self._kill(self._starting[member])
                if isinstance(error, self._lost):
                    raise RunError(f"{member} cannot be placed: {self._why(error, member)}") from None
                raise

    def _begin(self, member: str, factory: str, text: str, body: bytes) -> None:
        self._starting[member] = actor = self._actor(member)
        begun = actor.begin.remote(member, self._namespace, factory, text, body)
        done, words, pid = self._ray.get(begun, timeout=self._time_to_start_s)
        if not done:
            raise RunError(f"{member} cannot be placed: {factory}: {words}")
        self._members[member] = _Handle(actor, pid, actor.live.remote())

    def _kill(self, actor: Any) -> None:
        """End an actor, as far as there is one and a cluster that can be told."""
        with contextlib.suppress(*self._lost), _said_plainly():
            if actor is not None and self._ray.is_initialized():
                self._ray.kill(actor)

    def _actor(self, member: str) -> Any:
        """A new actor, each life of a member under a name of its own."""
        with self._lock:
            self._lives[member] = life = self._lives.get(member, 0) + 1
        wanted = dict(self._resources.get(member, {}))
        options = {
            "name": f"{member}{_LIFE}{life}",
            "num_cpus": wanted.pop("CPU", 0),
            "num_gpus": wanted.pop("GPU", 0),
            "resources": wanted,
            "scheduling_strategy": "DEFAULT" if member in self._resources else "SPREAD",
            "max_concurrency": CALLS_AT_ONCE + 1,  # `live` has one of them for itself
            "runtime_env": {"env_vars": self._variables},
        }
        return self._ray.remote(RayMember).options(**options).remote()

    def _why(self, error: Exception, member: str) -> str:
        if not isinstance(error, self._ray.exceptions.GetTimeoutError):
            return _first_line(error)
        wanted = self._resources.get(member)
        asks = f"; it asks for {dict(wanted)}, the cluster has {self._ray.cluster_resources()}" if wanted else ""
        return f"no answer within {self._time_to_start_s:g} s{asks}"

    def call(
        self, member: str, method: str, header: Header, body: bytes = b"", timeout_s: float | None = None
    ) -> Reply:
        text = pack(header, body)
        with self._open():
            handle = self._members.get(member)
            if handle is None:
                known = ", ".join(sorted(self._members)) or "none"
                raise Unreachable(f"{member} was never placed; there are {known}")
            return _call(self._ray, handle.actor, DRIVER, member, method, text, body, timeout_s)

    def alive(self, member: str) -> bool:
        handle = self._members.get(member)
        with contextlib.suppress(Unreachable, *self._lost), self._open(), _said_plainly():
            return handle is not None and not self._ray.wait([handle.life], timeout=0)[0]
        return False

    def kill(self, member: str) -> None:
        if (handle := self._members.get(member)) is not None:
            with contextlib.suppress(Unreachable, *self._lost), self._open(), _said_plainly():
                self._ray.kill(handle.actor)
                self._ray.wait([handle.life], timeout=TO_CLOSE_S)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            with contextlib.suppress(*self._lost), _said_plainly():
                self._end_starting()
                self._end_members()
                self._end_calls()
        finally:
            pids = [handle.pid for handle in self._members.values()]
            self._members.clear()
            self._cluster.close()
            if self._cluster.folder is not None:
                _wait_gone(pids)

    def _end_starting(self) -> None:
        """End whatever is being started; what came to be nevertheless is a member then."""
        deadline_s = time.monotonic() + TO_CLOSE_S
        while (actors := list(self._starting.values())) and time.monotonic() < deadline_s:
            for actor in actors:
                self._kill(actor)
            time.sleep(_AGAIN_S)

    def _end_members(self) -> None:
        """Let all workers close, and end their processes."""
        handles = list(self._members.values())
        if not handles:
            return
        ends = [handle.actor.end.remote() for handle in handles]
        self._ray.wait(ends, num_returns=len(ends), timeout=TO_CLOSE_S)
        for handle in handles:
            self._kill(handle.actor)
        self._ray.wait([handle.life for handle in handles], num_returns=len(handles), timeout=TO_CLOSE_S)

    def _end_calls(self) -> None:
        """Wait for whoever is in the middle of a call; its member is gone."""
        with self._lock:
            self._lock.wait_for(lambda: not self._calling, TO_CLOSE_S)


class _Handle(NamedTuple):
    """A member as the driver sees it. `life` is a call that returns when the member's process ends."""

    actor: Any
    pid: int
    life: Any


class RayMember:
    """The actor: a process that runs one worker."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._worker: Worker | None = None

    def begin(self, member: str, namespace: str, factory: str, text: str, body: bytes) -> list[Any]:
        """Make the worker; returns whether it could be made, why not, and the process's number."""
        try:
            self._worker = make_worker(factory, _RayPeers(load_ray(), member, namespace), unpack(text), body)
        except Exception as error:
            return [False, reason(error), os.getpid()]
        return [True, "", os.getpid()]

    def call(self, sender: str, method: str, text: str, body: bytes) -> tuple[list[Any], bytes]:
        """One call, see `Worker.handle`; two results, so that the body stays raw bytes."""
        assert self._worker is not None, "it has begun"
        done, words, reply = answer(self._worker, sender, method, text, body)
        return [done, words], reply

    def live(self) -> None:
        """Return at the end. Without Ray's own process of this host, which started us, be gone at once."""
        host = os.getppid()
        while not self._ended.wait(_ALONE_S):
            if os.getppid() != host:
                os._exit(1)

    def end(self) -> None:
        """Close the worker."""
        if self._worker is not None and not self._ended.is_set():
            self._ended.set()
            self._worker.close()


class _Found(NamedTuple):
    """A member as another sees it, in its how-manieth life."""

    actor: Any
    life: int


class _RayPeers:
    """The other members, as one of them reaches them.

    A call to a member that has died goes to its next life, where there is one already: a new process, in which
    nothing of the call can have happened.
    """

    def __init__(self, ray: Any, name: str, namespace: str) -> None:
        self._ray, self._name, self._namespace = ray, name, namespace
        self._known: dict[str, _Found] = {}

    @property
    def name(self) -> str:
        return self._name

    def call(
        self, member: str, method: str, header: Header, body: bytes = b"", timeout_s: float | None = None
    ) -> Reply:
        text = pack(header, body)
        found = self._known.get(member) or self._look_up(member)
        try:
            return _call(self._ray, found.actor, self._name, member, method, text, body, timeout_s)
        except Unreachable:
            newer = self._look_up(member)
            if newer.life == found.life:
                raise
        return _call(self._ray, newer.actor, self._name, member, method, text, body, timeout_s)

    def _look_up(self, member: str) -> _Found:
        """Ask the cluster. Ray's own memory of names is of no use here: it keeps those of crashed actors."""
        lives = [0]
        for name in self._ray.util.list_named_actors():
            named, _, life = name.rpartition(_LIFE)
            if named == member:
                lives.append(int(life))
        try:
            actor = self._ray.get_actor(f"{member}{_LIFE}{max(lives)}", self._namespace)
        except ValueError:
            raise Unreachable(f"{member} was never placed, or has ended") from None
        self._known[member] = _Found(actor, max(lives))
        return self._known[member]


def _call(
    ray: Any, actor: Any, sender: str, member: str, method: str, text: str, body: bytes, timeout_s: float | None
) -> Reply:
    """One call from wherever we are."""
    try:
        with _said_plainly():
            results = actor.call.options(num_returns=2).remote(sender, method, text, body)
            (done, words), reply = ray.get(results, timeout=timeout_s)
    except ray.exceptions.GetTimeoutError:
        raise TimedOut(f"{member} has not answered {method} within {timeout_s} s") from None
    except ray.exceptions.RayTaskError as error:
        raise CallFailed(f"{member}, {method}: {_first_line(error)}") from error
    except _lost(ray) as error:
        raise Unreachable(f"{member} cannot be reached: {_first_line(error)}") from None
    return reply_of(member, method, Outcome(done, words, reply))


def _lost(ray: Any) -> tuple[type[Exception], ...]:
    """What Ray raises where a member or the cluster is gone; over ray:// it says so with Python's own error
    (ray/util/client/worker.py, decode_exception, of 2.60)."""
    return ray.exceptions.RayError, ConnectionError


@contextlib.contextmanager
def _said_plainly() -> Iterator[None]:
    """Let a client that has lost its head say so with ConnectionError each time; once it has, Ray goes on with bare
    Exceptions (ray/util/client/__init__.py, of 2.60)."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise ConnectionError(str(error)) from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _processors(resources: Mapping[str, Mapping[str, float]]) -> int:
    """What a cluster of this machine must offer: each one offered costs a process that waits for work."""
    return math.ceil(sum(wanted.get("CPU", 0.0) for wanted in resources.values()))


def _wait_gone(pids: list[int]) -> None:
    """Ray tells its processes to go and does not look whether they have."""
    deadline_s = time.monotonic() + TO_CLOSE_S
    while (left := list(filter(_runs, pids))) and time.monotonic() < deadline_s:
        time.sleep(_AGAIN_S)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _runs(pid: int) -> bool:
    """Whether there is such a process, other than as a zombie; False where /proc is not kept."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False
