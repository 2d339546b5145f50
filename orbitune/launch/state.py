"""How far a real run has come; kept in the run folder, so that it can go on after a stop, on another engine too."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from orbitune.errors import RunError
from orbitune.runs import RunFolder

FILE = "launch-state.json"


@dataclass(frozen=True)
class Request:
    """What was asked on the command line.

    Attributes:
        method: Which method's plan is carried out.
        engine: "local", "ray" or "flare".
        address: Of a running cluster or federation; "" starts what is needed here.
        time_scale: Simulated seconds per real second.
        sites: Who shares a host, see `members.SITES`.
        places: Address of the machine of a Ray cluster on which a host runs, by host; the others go where there is
            least.
    """

    method: str
    engine: str
    address: str
    time_scale: float
    sites: str
    places: dict[str, str] = field(default_factory=dict)


@dataclass
class State:
    """Progress of a run.

    Attributes:
        attempt: Plans started so far.
        rounds_done: Whole rounds.
        sim_s: Simulated time at which the run stands.
        satellites: Who is still there.
        gone: Links that will not come back.
        participation: Satellites that took part, by finished round.
        round_ends_s: Simulated end of each finished round.
        events: What happened, with the simulated time.
        overruns: Computations that took longer than planned.
        call_s: Real seconds that a call without work takes.
        wall_s: Real seconds so far.
        finished: Whether everything is delivered.
        seen_s: Simulated time, by the driver's own clock, at which all hosts were seen to be done; 0 before, and where
            nobody looked.
        repeated: The last round as it was, while it is repeated for the delivery after it: "attempt", "satellites",
            "end_s".
    """

    satellites: list[int]
    attempt: int = 0
    rounds_done: int = 0
    sim_s: float = 0.0
    gone: list[tuple[int, int]] = field(default_factory=list)
    participation: list[list[int]] = field(default_factory=list)
    round_ends_s: list[float] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    overruns: int = 0
    call_s: float = 0.0
    wall_s: float = 0.0
    finished: bool = False
    seen_s: float = 0.0
    repeated: dict[str, Any] | None = None

    def save(self, run: RunFolder) -> None:
        """Write it down."""
        run.write_json(FILE, asdict(self))

    @classmethod
    def load(cls, run: RunFolder) -> State:
        """What the run folder says.

        Raises:
            RunError: It is damaged.
        """
        content = run.read_json(FILE)
        try:
            state = cls(**content)
        except TypeError as error:
            raise RunError(f"{run.path / FILE} is damaged: {error}; start a new run") from error
        state.gone = [(source, target) for source, target in state.gone]
        return state

    def repeat_last(self) -> None:
        """The last round is to be done again, for its delivery."""
        self.rounds_done -= 1
        satellites, end_s = self.participation.pop(), self.round_ends_s.pop()
        self.repeated = {"attempt": self.attempt, "satellites": satellites, "end_s": end_s}

    def keep_last(self) -> None:
        """The last round cannot be done again: it counts as it was, and no attempt after it does."""
        assert self.repeated is not None, "a round is being repeated"
        self.rounds_done += 1
        self.participation.append(self.repeated["satellites"])
        self.round_ends_s.append(self.repeated["end_s"])
        self.attempt, self.repeated = self.repeated["attempt"], None

    def happened(self, run: RunFolder, sim_s: float, what: str) -> None:
        """Note an event."""
        self.events.append({"sim_s": sim_s, "what": what})
        run.event(what, sim_s=sim_s)
