"""What a person looks at first: stations, ground tracks and passes of the first hours, as plain JSON values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from orbitune.links.contacts import ContactPlan
from orbitune.links.plan import summary
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.geometry import GroundStation, subpoint
from orbitune.orbit.interpolate import time_grid
from orbitune.orbit.propagate import propagate

TRACK_S = 200 * 60.0
"""About two orbits of a low satellite (95 to 115 minutes each): enough to see it move and the Earth turn."""

TRACK_STEP_S = 60.0
"""A low satellite moves 4 degrees a minute, which straight lines on a map follow well."""


def overview(
    constellation: Constellation, stations: Sequence[GroundStation], plan: ContactPlan, start_utc: str | datetime
) -> dict[str, object]:
    """Everything the report's map needs; degrees, seconds from the start."""
    length_s = min(TRACK_S, plan.horizon_s)
    time_s = time_grid(length_s, TRACK_STEP_S)
    latitude, longitude = subpoint(propagate(constellation, start_utc, time_s).position_m)
    nodes = plan.nodes
    return {
        "horizon_s": plan.horizon_s,
        "summary": summary(plan),
        "stations": [
            {
                "name": station.name,
                "latitude_deg": math.degrees(station.latitude_rad),
                "longitude_deg": math.degrees(station.longitude_rad),
                "antennas": station.antennas,
            }
            for station in stations
        ],
        "satellites": list(nodes.satellite_names),
        "planes": [list(plane) for plane in nodes.planes],
        "track": {"time_s": time_s.tolist(), "latitude_deg": _degrees(latitude), "longitude_deg": _degrees(longitude)},
        "passes": [
            [contact.source, contact.target - nodes.num_satellites, contact.start_s, contact.end_s]
            for contact in map(plan.__getitem__, plan.of_kind("downlink"))
            if contact.start_s < length_s
        ],
    }


def _degrees(angle: NDArray[np.float64]) -> list[list[float]]:
    rows: list[list[float]] = np.degrees(angle).round(2).tolist()
    return rows
