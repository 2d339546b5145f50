"""The options `--methods` and `--seeds`."""

from __future__ import annotations

from orbitune.errors import InputError

ALL = "all"
"""Stands for every method there is."""

MOST_SEEDS = 1000
"""Our choice: more is a slip of the finger."""


def method_names(methods: str) -> tuple[str, ...]:
    """The methods of a comma-separated list; `all` is every one.

    Raises:
        InputError: One of them does not exist, or none is given.
    """
    from orbitune.methods import METHODS

    if methods.strip() == ALL:
        return tuple(METHODS)
    names = tuple(dict.fromkeys(name.strip() for name in methods.split(",") if name.strip()))
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        wrong = ", ".join(unknown) or "(none given)"
        raise InputError(f"--methods {methods!r}: unknown {wrong}; there are {', '.join(METHODS)}, or all")
    return names


def seed_numbers(seeds: str, first: int) -> tuple[int, ...]:
    """The seeds of `--seeds`: "5" is five of them, counted up from `first`; "1,4,9" are these.

    Raises:
        InputError: It is neither, or a seed is named twice or out of range.
    """
    from orbitune.scenario.schema import LARGEST_SEED

    try:
        numbers = [int(part) for part in seeds.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and 1 <= numbers[0] <= MOST_SEEDS:
        numbers = list(range(first, first + numbers[0]))
    elif len(numbers) < 2:
        numbers = []
    if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < 0 or max(numbers) > LARGEST_SEED:
        raise InputError(
            f"--seeds {seeds!r}: give how many (1 to {MOST_SEEDS}, counted up from the scenario's seed {first}), or "
            f"different seeds from 0 to {LARGEST_SEED}, separated by commas"
        )
    return tuple(numbers)
