"""Runs workers on the members of a group, in this process or on existing engines. Knows no domain.

protocol (what every engine does) -> local | ray_engine | flare; ring: sums over members on any of them
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from orbitune.engine.protocol import Engine
from orbitune.errors import InputError

_ENGINES = {
    "local": ("orbitune.engine.local", "LocalEngine"),
    "ray": ("orbitune.engine.ray_engine", "RayEngine"),
    "flare": ("orbitune.engine.flare", "FlareEngine"),
}


def engines() -> tuple[str, ...]:
    """The kinds there are, whether or not what they need is installed."""
    return tuple(_ENGINES)


def make_engine(kind: str, **options: Any) -> Engine:
    """Start an engine without members.

    Args:
        kind: One of `engines()`.
        options: As its class takes them.

    Raises:
        InputError: There is no such engine.
        MissingExtra: What it needs is not installed.
        RunError: It cannot be started.
    """
    if kind not in _ENGINES:
        raise InputError(f"engine {kind!r}: there are {', '.join(_ENGINES)}")
    module, name = _ENGINES[kind]
    return cast(Engine, getattr(import_module(module), name)(**options))
