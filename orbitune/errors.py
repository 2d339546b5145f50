"""Every error a user can meet, as one tree.

OrbituneError            anything Orbitune refuses or gives up on, exit code 1
+-- ScenarioError        the scenario file is wrong; carries every problem of the file, exit code 2
+-- InputError           a file is missing, truncated or not what it claims to be, exit code 3
+-- PlanError            the job cannot be planned: no contact, no memory, no ring, exit code 4
+-- TimelineRejected     the checker refused a timeline: a fault of ours, please report it, exit code 5
+-- RunError             a run folder cannot be written, read or resumed, exit code 6
+-- MissingExtra         an optional part (torch, a browser) is not installed, exit code 7

A message says what is wrong, the value given, what is allowed, and what to do.
Ctrl-C is not an error: the run stops cleanly with exit code 130 and can be resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class OrbituneError(Exception):
    """Base of everything Orbitune raises on purpose; the command line prints it without a traceback."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a scenario file."""

    file: str
    key: str
    value: object
    message: str

    def __str__(self) -> str:
        shown = "" if self.value is None else f" = {self.value!r}"
        return f"{self.file}: {self.key}{shown}\n  {self.message}"


class ScenarioError(OrbituneError):
    """The scenario is wrong. `problems` lists everything found in the file, not only the first."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        super().__init__("\n".join(map(str, self.problems)) + f"\n{count}, nothing was run.")


class InputError(OrbituneError):
    """A file that the job reads is missing, truncated or inconsistent."""

    exit_code = 3


class PlanError(OrbituneError):
    """The scenario is well formed but cannot be done: nothing is ever visible, or something does not fit."""

    exit_code = 4


class TimelineRejected(OrbituneError):
    """The independent checker found a rule broken. `rule` names it, `message` is the rest."""

    exit_code = 5

    def __init__(self, rule: str, message: str) -> None:
        self.rule, self.message = rule, message
        super().__init__(f"timeline rejected, rule '{rule}': {message}")


class RunError(OrbituneError):
    """A run folder cannot be created, written, read or resumed."""

    exit_code = 6


class MissingExtra(OrbituneError):
    """An optional dependency is absent; the message says which extra brings it."""

    exit_code = 7
