"""What every test stands on: one thread per process, repeatable laws, and a browser where the machine has one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Before any test imports NumPy or torch: sums in one order, so results repeat bit for bit, and as many
# processes as there are cores instead of threads that wait for each other.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

# No deadline: a slow machine is not a broken law. In CI the examples are the same at every run, so that a
# red build is the change's fault; at home each run looks at new ones.
settings.register_profile("home", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("home"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "home")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# Quiet and local: no sandbox because CI runs as root, and none of the calls home that a browser makes at its start.
BROWSER_SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


def find_browser() -> str | None:
    """The path of the Chromium of this machine: `ORBITUNE_BROWSER` if set, else the first one on the path."""
    return os.environ.get("ORBITUNE_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium of the system, for tests marked `browser`; skipped, saying so, where there is none."""
    path = find_browser()
    if path is None:
        pytest.skip(f"no browser on this machine (looked for {', '.join(BROWSERS)}); apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=BROWSER_SWITCHES)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root folder of the repository."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classes of pictures: small and few, for tests to which it does not matter what is learned. With
    the package's images most of a short training goes into judging them."""
    folder, source = tmp_path_factory.mktemp("pictures"), np.random.default_rng(5)
    for name in ("field", "town"):
        (folder / name).mkdir()
        for number in range(36):
            pixels = source.integers(0, 256, size=(16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def with_pictures(pictures: Path) -> tuple[str, ...]:
    """Words of a command line with which a scenario learns from these."""
    return ("--set", "data.dataset=folder", "--set", "data.assignment=iid", "--set", f"data.folder={pictures}")
