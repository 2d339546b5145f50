from __future__ import annotations

import threading
import time

import pytest
from engine_laws import MAKE, EngineLaws

from orbitune.engine import engines, make_engine
from orbitune.engine.local import LocalEngine
from orbitune.errors import InputError, RunError


class TestLocal(EngineLaws):
    kind = "local"
    here = True


def test_there_is_no_other_engine() -> None:
    assert engines() == ("local", "ray", "flare")
    with pytest.raises(InputError, match="engine 'spark': there are local, ray, flare"):
        make_engine("spark")


def test_a_closed_engine_takes_nobody() -> None:
    engine = LocalEngine()
    engine.close()
    with pytest.raises(RunError, match="the engine is closed"):
        engine.place("a", MAKE, {})


def test_what_a_member_gets_is_its_own() -> None:
    engine = LocalEngine()
    engine.place("a", MAKE, {})
    header = {"list": [1]}
    reply = engine.call("a", "echo", header)
    reply.header["header"]["list"].append(2)
    assert header == {"list": [1]}
    engine.close()


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    engine = LocalEngine()
    engine.place("a", MAKE, {})
    for _ in range(20):
        engine.call("a", "echo", {})
    engine.close()
    deadline_s = time.monotonic() + 5.0
    while threading.active_count() > before and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert threading.active_count() == before
