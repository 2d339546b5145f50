"""Damaged scene files give one clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orbitune.errors import InputError
from orbitune.imagery.scene import BANDS, load_land_use, load_scene, scene_path

SHAPE = (64, 64)


def write_scene(path: Path, **changes: np.ndarray) -> Path:
    source = np.random.default_rng(0)
    arrays = {
        "x": source.integers(0, 10_000, (10, *SHAPE), dtype=np.uint16),
        "label": source.integers(0, 3, SHAPE, dtype=np.uint8),
        "classes": np.array(["none", "farm", "forest"]),
        "bands": np.array(BANDS),
    }
    np.savez_compressed(path, **(arrays | changes))
    return path


def test_a_sound_file_is_read(tmp_path: Path) -> None:
    scene = load_scene(write_scene(tmp_path / "scene.npz"))
    assert scene.bands.shape == (10, *SHAPE) and scene.land_use.class_names == ("none", "farm", "forest")


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 0.999])
def test_truncated_file(tmp_path: Path, share: float) -> None:
    path = write_scene(tmp_path / "scene.npz")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    for read in (load_scene, load_land_use):
        with pytest.raises(InputError, match=r"scene\.npz: truncated or not an npz file"):
            read(path)


def test_flipped_bytes_in_the_image(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "scene.npz")
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"scene\.npz: truncated or not an npz file"):
        load_scene(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read.*No such file.*restore"):
        load_scene(tmp_path / "scene.npz")


def test_missing_array(tmp_path: Path) -> None:
    path = tmp_path / "scene.npz"
    np.savez(path, label=np.zeros(SHAPE))
    with pytest.raises(InputError, match=r"an array is missing.*x"):
        load_scene(path)


def test_pickled_array_is_never_opened(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "scene.npz", label=np.array([{"farm": 1}], dtype=object))
    with pytest.raises(InputError, match="not an npz file"):
        load_scene(path)


def test_image_and_labels_of_different_size(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "scene.npz", label=np.zeros((64, 63), np.uint8))
    with pytest.raises(InputError, match="the image has 64 x 64 pixels and the labels have 64 x 63"):
        load_scene(path)


def test_wrong_bands(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "scene.npz", x=np.zeros((3, *SHAPE), np.uint16), bands=np.array(["R", "G", "B"]))
    with pytest.raises(InputError, match="holds 3 bands"):
        load_scene(path)


def test_unknown_scene() -> None:
    with pytest.raises(InputError, match="no scene 'mars'; shipped scenes: brandenburg"):
        scene_path("mars")
