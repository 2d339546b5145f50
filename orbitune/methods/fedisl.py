"""FedISL: planes spread the model and sum up over their own links; one satellite of each talks to the server.

Razmi, Matthiesen, Dekorsy and Popovski, "On-board federated learning for dense LEO constellations", ICC 2022
(arXiv:2111.12769). The abstract says: intra-orbit inter-satellite links, the predictability of satellite movements and
partial aggregation, against a star; 40 satellites in five orbits with the server in medium Earth orbit end 29 times
sooner, with an eighth of the traffic at the server. We could read no more than that, so the rest is ours:

- Up: the model goes to the member that can have it first, then around the ring (`method.intra_orbit`).
- Partial sums go whole, hop by hop, the shorter way to the sink; each member adds its own.
- Sink: the member that, by the contact plan alone, is first in view of a station once the sum can be there; of several
  in view at once the one that has the sum first. Neither how long the pass is nor who else wants the antenna counts.
- What a pass is too short for stays with the sink until its next one.
- The server is on the ground behind the stations, not in medium Earth orbit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from orbitune.errors import PlanError
from orbitune.methods.base import Job
from orbitune.methods.fedavg_base import Synchronous
from orbitune.methods.fedavg_round import GroupSum
from orbitune.timeline.simulate import Schedule


@dataclass(frozen=True)
class FedISL(Synchronous):
    """A plane's sum goes to whoever is in view first."""

    name: str = "fedisl"

    def prepare(self, job: Job) -> Job:
        """Planes work together, where the scenario links their satellites.

        Raises:
            PlanError: Updates are compressed, and planes sum them up; or no station ever sees some plane.
        """
        if job.update_codec != "fp32" and job.has_rings:
            raise PlanError(
                f"{self.name} with method.update_codec = '{job.update_codec}': satellites sum up what they trained, "
                "and a sum of compressed updates is not compressed; use method.update_codec = 'fp32', or method fedavg"
            )
        return super().prepare(job)

    def sinks(self, job: Job, index: int, total: GroupSum, members: Sequence[int]) -> Sequence[int]:
        """Whoever is in view first with the sum; who would be too late even if it had the sum at once is not tried."""
        guesses = sorted((in_view_s(total.schedule, member, total.ready_s), member) for member in members)
        best = (inf, inf, guesses[0][1])
        for guess_s, member in guesses if len(members) > 1 else ():
            if guess_s > best[0] or guess_s == inf:
                break
            since_s = total.since_s(member)
            best = min(best, (in_view_s(total.schedule, member, since_s), since_s, member))
        return best[2:]


def in_view_s(schedule: Schedule, satellite: int, ready_s: float) -> float:
    """When a satellite first sees a station from a moment on, by the contact plan; infinity if never."""
    first_s = inf
    for station in schedule.system.nodes.stations:
        columns = schedule.columns(satellite, station)
        row = bisect_right(columns.end_s, ready_s)
        if row < len(columns.start_s):
            first_s = min(first_s, max(ready_s, columns.start_s[row]))
    return first_s
