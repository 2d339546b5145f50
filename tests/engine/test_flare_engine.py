from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from engine_laws import EngineLaws

from orbitune.engine import make_engine
from orbitune.errors import MissingExtra

FACTORIES = ["echo_worker:make", "echo_worker:nothing"]


@pytest.fixture(scope="module", autouse=True)
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("workspace")
    TestFlare.options = {"workspace": str(folder), "members": ["a", "b"], "factories": FACTORIES}
    yield
    assert len(list(folder.iterdir())) <= 1, "only the driver that was killed leaves its folder"


class TestFlare(EngineLaws):
    kind = "flare"
    needs = "nvflare"


def test_without_flare_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvflare", None)
    with pytest.raises(MissingExtra, match=r"pip install 'orbitune\[flare\]'"):
        make_engine("flare")
