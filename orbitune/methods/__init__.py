"""Complete training schemes, one file each. `METHODS` is the list that the command line and the tests go through."""

from __future__ import annotations

from orbitune.methods.base import Job, Method, Ways
from orbitune.methods.collaborative import Collaborative, Reconstructed
from orbitune.methods.download import Download
from orbitune.methods.fedasync import FedAsync
from orbitune.methods.fedavg import FedAvg
from orbitune.methods.fedbuff import FedBuff
from orbitune.methods.fedisl import FedISL
from orbitune.methods.fedleo import FedLEO
from orbitune.methods.fedspace import FedSpace
from orbitune.methods.onboard import Onboard
from orbitune.methods.planning import plan
from orbitune.methods.sfl_leo import SflLeo

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Collaborative(),
        Reconstructed(),
        Onboard(),
        Download(),
        FedAvg(),
        FedISL(),
        FedLEO(),
        FedAsync(),
        FedBuff(),
        FedSpace(),
        SflLeo(),
    )
}

__all__ = ["METHODS", "Job", "Method", "Ways", "plan"]
