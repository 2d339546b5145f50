"""The machines of a mission: computers, terminals and their power, joined to the contact plan."""

from __future__ import annotations

from dataclasses import dataclass

from orbitune.cost.energy import PowerBudget
from orbitune.links.contacts import ContactPlan, Nodes

TERMINAL_OF = {"downlink": "ground", "uplink": "ground", "isl_intra": "intra", "isl_inter": "inter", "backhaul": ""}
"""Which terminal of a node a contact occupies; backhaul occupies none."""


@dataclass(frozen=True)
class Computer:
    """A node's computer. `flops_per_s` is what it sustains in training, not a data-sheet peak."""

    flops_per_s: float
    memory_bytes: float
    power_w: float


@dataclass(frozen=True)
class Terminals:
    """How many peers a node can point at in one moment, per kind of terminal.

    A terminal points at one peer at a time. With `full_duplex` it sends and receives at once, otherwise in turn.
    """

    satellite_ground: int
    satellite_intra: int
    satellite_inter: int
    station_antennas: tuple[int, ...]
    full_duplex: bool


@dataclass(frozen=True)
class Radios:
    """Power a satellite draws while it sends (or receives) over each kind of contact, in watts, beside idle power."""

    transmit_w: dict[str, float]
    receive_w: float


@dataclass(frozen=True)
class System:
    """Everything the planner may use: who can talk when, who computes how fast.

    Attributes:
        contacts: Who can talk to whom, when and how fast.
        satellite: The computer of every satellite, where they are equal.
        server: The computer on the ground.
        terminals: Peers at a time.
        radios: Power of links.
        satellites: The computer of each satellite by its number, where they differ; empty where all are `satellite`.
        power: Panels and batteries of the satellites; None where charge is not modelled and never runs out.
    """

    contacts: ContactPlan
    satellite: Computer
    server: Computer
    terminals: Terminals
    radios: Radios
    satellites: tuple[Computer, ...] = ()
    power: PowerBudget | None = None

    def __post_init__(self) -> None:
        count = self.nodes.num_satellites
        assert len(self.satellites) in (0, count), f"{len(self.satellites)} computers for {count} satellites"
        assert self.power is None or len(self.power.sunlight) == count, f"sunlight of {count} satellites is needed"

    @property
    def nodes(self) -> Nodes:
        return self.contacts.nodes

    def computer(self, node: int) -> Computer:
        """The computer of a satellite or of the server; stations compute nothing."""
        assert node not in self.nodes.stations, "stations have no computer"
        if node == self.nodes.server:
            return self.server
        return self.satellites[node] if self.satellites else self.satellite

    def draws_w(self, source: int, target: int, kind: str) -> list[tuple[int, float]]:
        """The satellites at the ends of a contact, and what each of them draws while it is used, in watts."""
        count = self.nodes.num_satellites
        found = [(source, self.radios.transmit_w[kind])] if source < count else []
        return [*found, (target, self.radios.receive_w)] if target < count else found

    def num_terminals(self, node: int, terminal: str) -> int:
        """How many peers `node` can point at with that kind of terminal."""
        if node in self.nodes.stations:
            return self.terminals.station_antennas[node - self.nodes.num_satellites]
        limits = self.terminals
        return {"ground": limits.satellite_ground, "intra": limits.satellite_intra, "inter": limits.satellite_inter}[
            terminal
        ]
