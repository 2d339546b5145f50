"""What a stream sees of the network: who of a group can talk to which station when, and the way around its ring."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

from orbitune.links.contacts import Contact, ContactPlan
from orbitune.units import BITS_PER_BYTE

ONE_WAY = ("relay", "ring")
"""Ways of strategy A that send in one direction only."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A satellite and a station that can talk from `start_s` to `end_s`, at `byte_s` seconds per byte at first."""

    start_s: float
    end_s: float
    satellite: int
    station: int
    byte_s: float

    @property
    def link(self) -> tuple[int, int]:
        """From the satellite to the station."""
        return self.satellite, self.station


class Sights:
    """All passes of one group in one direction, found by time.

    Args:
        one_at_a_time: Way `gateway`: of the passes that are open only the one that lasts longest counts.
    """

    def __init__(self, contacts: ContactPlan, kind: str, members: Sequence[int], one_at_a_time: bool) -> None:
        self._passes = sorted(_passes(contacts, kind, members), key=lambda sight: (sight.start_s, sight.end_s))
        self._starts_s = [sight.start_s for sight in self._passes]
        self._longest_s = max((sight.end_s - sight.start_s for sight in self._passes), default=0.0)
        self._one = one_at_a_time
        self._open: list[Sight] = []
        self._from_s, self._until_s = 0.0, -1.0

    def __bool__(self) -> bool:
        return bool(self._passes)

    def open_at(self, time_s: float) -> list[Sight]:
        """Passes that are open at a moment."""
        if not self._from_s <= time_s < self._until_s:
            first = bisect_right(self._starts_s, time_s - self._longest_s)
            last = bisect_right(self._starts_s, time_s)
            self._open = [sight for sight in self._passes[max(0, first - 1) : last] if sight.end_s > time_s]
            edges = [sight.end_s for sight in self._open] + self._starts_s[last : last + 1]
            self._from_s, self._until_s = time_s, min(edges, default=inf)
            if self._one and self._open:
                self._open = [max(self._open, key=lambda sight: sight.end_s)]
        return self._open

    def after(self, time_s: float) -> Iterator[Sight]:
        """Passes that open later, in order."""
        for place in range(bisect_right(self._starts_s, time_s), len(self._passes)):
            yield self._passes[place]


def _passes(contacts: ContactPlan, kind: str, members: Sequence[int]) -> Iterator[Sight]:
    """Contacts that touch, because the rate changes within a pass, are one pass."""
    inside = set(members)
    for (source, target), link in contacts.by_link.items():
        satellite, station = (source, target) if kind == "downlink" else (target, source)
        if satellite not in inside or link[0].kind != kind:
            continue
        start_s, end_s, byte_s = link[0].start_s, link[0].end_s, BITS_PER_BYTE / link[0].rate_bps
        for contact in link[1:]:
            if contact.start_s > end_s:
                yield Sight(start_s, end_s, satellite, station, byte_s)
                start_s, byte_s = contact.start_s, BITS_PER_BYTE / contact.rate_bps
            end_s = contact.end_s
        yield Sight(start_s, end_s, satellite, station, byte_s)


class Around:
    """How long it takes from one member of a ring to another, either way."""

    def __init__(self, contacts: ContactPlan, members: Sequence[int], way: str) -> None:
        self.members = tuple(members)
        self.place = {member: place for place, member in enumerate(members)}
        self.headings = (1,) if way in ONE_WAY else (1, -1)
        self._links = {
            heading: [contacts.by_link.get((member, self.next(member, heading)), ()) for member in members]
            for heading in self.headings
        }
        self._until_s = -1.0
        self._from_s = 0.0
        self._sums: dict[int, tuple[list[float], list[float]]] = {}

    def next(self, member: int, heading: int) -> int:
        """The neighbour on one side."""
        return self.members[(self.place[member] + heading) % len(self.members)]

    def hops(self, source: int, target: int, heading: int) -> int:
        """Number of links from one to the other."""
        return (self.place[target] - self.place[source]) * heading % len(self.members)

    def travel_s(self, source: int, target: int, heading: int, size: int, time_s: float) -> float:
        """Seconds over all links on the way, one after the other; infinity where one of them is down."""
        bytes_s, delay_s = self._costs(time_s)[heading]
        first = self.place[source] if heading == 1 else -self.place[source] % len(self.members)
        last = first + self.hops(source, target, heading)
        return (bytes_s[last] - bytes_s[first]) * size + delay_s[last] - delay_s[first]

    def changes_s(self, time_s: float) -> float:
        """When a link next comes or goes."""
        self._costs(time_s)
        return self._until_s

    def _costs(self, time_s: float) -> dict[int, tuple[list[float], list[float]]]:
        """Running sums, twice around, of seconds per byte and delays."""
        if not self._from_s <= time_s < self._until_s:
            self._from_s, self._until_s = time_s, inf
            self._sums = {heading: self._sum(heading, time_s) for heading in self.headings}
        return self._sums

    def _sum(self, heading: int, time_s: float) -> tuple[list[float], list[float]]:
        order = self._links[heading] if heading == 1 else [self._links[-1][0], *self._links[-1][:0:-1]]
        bytes_s, delay_s = [0.0], [0.0]
        for link in (*order, *order):
            contact = self._contact(link, time_s)
            bytes_s.append(bytes_s[-1] + (BITS_PER_BYTE / contact.rate_bps if contact else DOWN_BYTE_S))
            delay_s.append(delay_s[-1] + (contact.delay_s if contact else DOWN_S))
        return bytes_s, delay_s

    def _contact(self, link: tuple[Contact, ...], time_s: float) -> Contact | None:
        """The contact that is up; notes when the next change comes."""
        row = bisect_right(link, time_s, key=lambda contact: contact.end_s)
        if row == len(link):
            return None
        up = link[row].start_s <= time_s
        self._until_s = min(self._until_s, link[row].end_s if up else link[row].start_s)
        return link[row] if up else None


DOWN_S, DOWN_BYTE_S = 1e12, 0.0
"""Stand for infinity where a link is down; differences of running sums stay numbers."""

NEVER_S = 1e11
"""A way that takes longer crosses a link that is down."""
