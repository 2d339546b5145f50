"""Complete training schemes, one file each. `METHODS` is the list that the command line and the tests go through."""

from __future__ import annotations

from orbitune.methods.base import Job, Method, Ways
from orbitune.methods.collaborative import Collaborative, Reconstructed
from orbitune.methods.download import Download
from orbitune.methods.onboard import Onboard
from orbitune.methods.planning import plan

METHODS: dict[str, Method] = {
    method.name: method for method in (Collaborative(), Reconstructed(), Onboard(), Download())
}

__all__ = ["METHODS", "Job", "Method", "Ways", "plan"]
