"""The option `--methods`."""

from __future__ import annotations

from orbitune.errors import InputError


def method_names(methods: str) -> tuple[str, ...]:
    """The methods of a comma-separated list.

    Raises:
        InputError: One of them does not exist, or none is given.
    """
    from orbitune.methods import METHODS

    names = tuple(dict.fromkeys(name.strip() for name in methods.split(",") if name.strip()))
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        wrong = ", ".join(unknown) or "(none given)"
        raise InputError(f"--methods {methods!r}: unknown {wrong}; there are {', '.join(METHODS)}")
    return names
