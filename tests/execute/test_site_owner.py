"""The owner of a machine decides where its states and images lie, and that no foreign code runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from orbitune.errors import RunError
from orbitune.execute.host import SITE_IMAGES, SITE_STATES, owned

ASKED = {
    "folder": "/runs/one/nodes",
    "run": "one",
    "model": {"name": "galileo-nano"},
    "selection": {"folder": "/driver/images"},
}


def test_without_an_owner_the_driver_says() -> None:
    assert owned(ASKED, {}) == ASKED


def test_own_folders_go_first() -> None:
    found = owned(ASKED, {SITE_STATES: "/own/states", SITE_IMAGES: "/own/images"})
    assert (found["folder"], found["selection"]["folder"]) == ("/own/states/one", "/own/images")


def test_runs_do_not_share_states_and_stay_in_the_owners_folder() -> None:
    folders = [
        owned(ASKED | {"run": run}, {SITE_STATES: "/own"})["folder"] for run in ("a-1", "b-1", "../b", "..", "/")
    ]
    assert len(set(folders)) == 5
    assert {str(Path(folder).resolve().parent) for folder in folders} == {"/own"}


def test_shipped_images_need_no_folder() -> None:
    assert owned(ASKED | {"selection": {"folder": None}}, {SITE_IMAGES: "/own"})["selection"]["folder"] is None


@pytest.mark.parametrize("foreign", [{"work": "os:system"}, {"model": {"name": "module", "source": "os:system"}}])
def test_an_owned_site_runs_no_code_of_the_driver(foreign: dict[str, object]) -> None:
    with pytest.raises(RunError, match="runs no code"):
        owned(ASKED | foreign, {SITE_STATES: "/own/states"})
