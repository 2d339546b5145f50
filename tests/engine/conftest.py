from __future__ import annotations

from collections.abc import Iterator

import pytest

from orbitune.engine import make_engine
from orbitune.engine.protocol import Engine

pytest.register_assert_rewrite("engine_laws")


@pytest.fixture(scope="class")
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The engine of a class of laws, with its members; started once, since that takes seconds."""
    from engine_laws import MAKE, MEMBERS

    pytest.importorskip(request.cls.needs)
    engine = make_engine(request.cls.kind, **request.cls.options)
    try:
        for member in MEMBERS:
            engine.place(member, MAKE, {"member": member, "ring_timeout_s": 10.0}, member.encode())
        yield engine
    finally:
        engine.close()
