"""What the ray engine does when Ray answers late, or not at all: against a Ray of plain functions, which does so."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orbitune.engine import ray_engine
from orbitune.engine.protocol import Unreachable
from orbitune.engine.ray_engine import RayEngine
from orbitune.errors import RunError


class RayError(Exception):
    """As Ray's."""


class GetTimeoutError(RayError):
    """As Ray's."""


class RayTaskError(RayError):
    """As Ray's."""


class Method:
    """A method of an actor: remembers that it was asked, and may have something happen then."""

    def __init__(self, asked: list[str], name: str) -> None:
        self._asked, self._name = asked, name
        self.happens: Callable[[], object] = lambda: None

    def options(self, **_: object) -> Method:
        return self

    def remote(self, *_: object) -> Method:
        self._asked.append(self._name)
        self.happens()
        return self


class OldRay:
    """A cluster with one actor."""

    exceptions = SimpleNamespace(RayError=RayError, GetTimeoutError=GetTimeoutError, RayTaskError=RayTaskError)
    folder = None

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ray = self
        self.actor = SimpleNamespace(**{name: Method(self.asked, name) for name in ("begin", "call", "live", "end")})
        self.begins: Callable[[], object] = lambda: [True, "", os.getpid()]

    def remote(self, _: type) -> Any:
        made = SimpleNamespace(remote=lambda: self.actor)
        return SimpleNamespace(options=lambda **_: made)

    def get(self, _: object, timeout: float | None) -> object:
        return self.begins()

    def wait(self, refs: list[object], **_: object) -> tuple[list[object], list[object]]:
        return [], refs

    def kill(self, _: object) -> None:
        self.asked.append("kill")

    def is_initialized(self) -> bool:
        return True

    def close(self) -> None:
        self.asked.append("close")


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> OldRay:
    ray = OldRay()
    monkeypatch.setattr(ray_engine, "connect", lambda *_, **__: ray)
    return ray


def lose(error: Exception) -> Callable[[], object]:
    def raise_it() -> object:
        raise error

    return raise_it


def test_a_member_that_comes_to_be_while_the_engine_closes_is_ended(ray: OldRay) -> None:
    engine, begun, go_on = RayEngine(), threading.Event(), threading.Event()

    def begin() -> object:
        begun.set()
        assert go_on.wait(10.0)
        return [True, "", os.getpid()]

    ray.begins = begin
    placing = threading.Thread(target=engine.place, args=("a", "somewhere:make", {}))
    placing.start()
    assert begun.wait(10.0)
    threading.Timer(0.2, go_on.set).start()
    engine.close()
    placing.join(10.0)
    assert "end" in ray.asked and ray.asked[-1] == "close"


GONE = "Ray Client is not connected. Please connect by calling `ray.init`."


@pytest.mark.parametrize("error", [RayError("the head is gone"), ConnectionError("GRPC failed"), Exception(GONE)])
def test_a_cluster_that_is_lost_is_left(ray: OldRay, error: Exception) -> None:
    engine = RayEngine()
    engine.place("a", "somewhere:make", {})
    ray.actor.end.happens = lose(error)
    engine.close()
    engine.close()
    assert ray.asked.count("close") == 1


def test_the_cluster_is_left_whatever_happens(ray: OldRay) -> None:
    engine = RayEngine()
    engine.place("a", "somewhere:make", {})
    ray.actor.end.happens = lose(MemoryError())
    with pytest.raises(MemoryError):
        engine.close()
    assert ray.asked.count("close") == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionError("GRPC connection failed: gone"), "GRPC connection failed: gone"),
        (ConnectionError(), "ConnectionError"),
        (Exception(GONE), "Ray Client is not connected"),
    ],
)
def test_a_head_lost_over_its_client_port_is_an_error_of_ours(ray: OldRay, error: Exception, words: str) -> None:
    engine = RayEngine()
    engine.place("a", "somewhere:make", {})
    ray.begins = lose(error)
    with pytest.raises(Unreachable, match=f"a cannot be reached: {words}"):
        engine.call("a", "echo", {})
    with pytest.raises(RunError, match=f"b cannot be placed: {words}"):
        engine.place("b", "somewhere:make", {})
    ray.wait = ray.kill = lambda *_, **__: lose(error)()  # type: ignore[method-assign,assignment]
    assert not engine.alive("a")
    engine.kill("a")
    engine.close()


ASK_UNASKED = """
import os
from orbitune.engine.ray_cluster import AUTO_CONNECT, load_ray
{before}
ray = load_ray()
from ray._private import auto_init_hook
print(auto_init_hook.enable_auto_connect, os.environ.get(AUTO_CONNECT))
if not auto_init_hook.enable_auto_connect:
    try:
        ray.put(1)
    except ray.exceptions.RayError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("", ["False None", "System error: Ray has not been started yet. You can start Ray with 'ray.init()'."]),
        ("import ray", ["True None"]),
        ("os.environ[AUTO_CONNECT] = '1'", ["True 1"]),
    ],
)
def test_no_cluster_is_started_unasked_unless_the_user_has_it_so(
    before: str, said: list[str], repository: Path
) -> None:
    pytest.importorskip("ray")
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ENABLE_AUTO_CONNECT"}
    done = subprocess.run([sys.executable, "-c", ASK_UNASKED.format(before=before)], cwd=repository, text=True,
                          env=environment | {"PYTHONPATH": str(repository)}, capture_output=True)  # fmt: skip
    assert (done.stdout.splitlines(), done.stderr) == (said, "")
