"""Where hosts run is said by name and address, and refused where it means nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from orbitune.cli.launch_command import _places
from orbitune.errors import InputError
from orbitune.launch.run import _check_places, requested, resumed, start
from orbitune.launch.state import Request
from orbitune.scenario.load import load

HOSTS = ("plane-0", "plane-1", "ground")


def request(engine: str = "ray", address: str = "10.0.0.1:6379", **places: str) -> Request:
    named = {host.replace("_", "-"): place for host, place in places.items()}
    return Request("collaborative", engine, address, 1.0, "plane", named)


def test_places_as_they_are_written() -> None:
    assert _places(("plane-0=10.0.0.3", "ground=10.0.0.1")) == {"plane-0": "10.0.0.3", "ground": "10.0.0.1"}
    for wrong in ("plane-0", "=10.0.0.3", "plane-0="):
        with pytest.raises(InputError, match="write HOST=ADDRESS"):
            _places((wrong,))


def test_places_that_mean_nothing_are_refused() -> None:
    _check_places(request(plane_0="10.0.0.3"), HOSTS)
    _check_places(request("local", ""), HOSTS)
    for engine, address in (("local", ""), ("ray", ""), ("flare", "kits/driver")):
        with pytest.raises(InputError, match=r"--place ground=10\.0\.0\.3: only --engine ray with an --address"):
            _check_places(request(engine, address, ground="10.0.0.3"), HOSTS)
    with pytest.raises(InputError, match=r"--place sea=10\.0\.0\.3: there is no such host; there are plane-0, plane-1"):
        _check_places(request(sea="10.0.0.3", ground="10.0.0.1"), HOSTS)


def test_a_run_that_goes_on_keeps_its_places_unless_it_goes_elsewhere(tmp_path: Path) -> None:
    run = start(load("tiny"), request(ground="10.0.0.3"), tmp_path)
    assert requested(resumed(run.path, None, None)).places == {"ground": "10.0.0.3"}
    moved = requested(resumed(run.path, None, "10.0.1.1:6379", {"ground": "10.0.1.3"}))
    assert (moved.address, moved.places) == ("10.0.1.1:6379", {"ground": "10.0.1.3"})
    here = requested(resumed(run.path, "local", None))
    assert (here.address, here.places) == ("", {})
