"""The owner of a machine decides where its states and images lie, and that no foreign code runs."""

from __future__ import annotations

import pytest

from orbitune.errors import RunError
from orbitune.execute.host import SITE_IMAGES, SITE_STATES, owned

ASKED = {"folder": "/run/nodes", "model": {"name": "galileo-nano"}, "selection": {"folder": "/driver/images"}}


def test_without_an_owner_the_driver_says() -> None:
    assert owned(ASKED, {}) == ASKED


def test_own_folders_go_first() -> None:
    found = owned(ASKED, {SITE_STATES: "/own/states", SITE_IMAGES: "/own/images"})
    assert (found["folder"], found["selection"]["folder"]) == ("/own/states", "/own/images")


def test_shipped_images_need_no_folder() -> None:
    assert owned(ASKED | {"selection": {"folder": None}}, {SITE_IMAGES: "/own"})["selection"]["folder"] is None


@pytest.mark.parametrize("foreign", [{"work": "os:system"}, {"model": {"name": "module", "source": "os:system"}}])
def test_an_owned_site_runs_no_code_of_the_driver(foreign: dict[str, object]) -> None:
    with pytest.raises(RunError, match="runs no code"):
        owned(ASKED | foreign, {SITE_STATES: "/own/states"})
