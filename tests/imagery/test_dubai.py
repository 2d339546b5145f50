"""The Dubai images: what is in the files is what is handed out, and tests stay apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orbitune.errors import InputError
from orbitune.imagery import dubai
from orbitune.imagery.imagery import Selection, load_imagery
from orbitune.imagery.listing import most_frequent


def test_patches_are_balanced_and_cut_from_the_sheet() -> None:
    rows = dubai._patch_rows()
    names = [row["class"] for row in rows]
    assert {names.count(name) for name in dubai.PATCH_CLASSES} == {400}
    imagery = load_imagery(Selection("dubai-patches", "iid"), 8, 0)
    trains = [number for number, row in enumerate(rows) if row["split"] == "train"]
    sheet = np.asarray(Image.open(str(dubai._folder("dubai_patches") / "sheet.jpg")))
    for sample in (0, 77, 1423):
        row, column = divmod(trains[sample], 50)
        chip = sheet[64 * row : 64 * row + 64, 64 * column : 64 * column + 64]
        assert np.array_equal(imagery.images[sample], chip.transpose(2, 0, 1))
        assert imagery.class_names[imagery.labels[sample]] == names[trains[sample]]


def test_patches_share_no_pixel() -> None:
    """All chips of a scene lie on one grid of their own side, each at most once."""
    places = {tuple(int(row[key]) for key in ("tile", "part", "y", "x")) for row in dubai._patch_rows()}
    assert len(places) == 2000
    assert all(y % 64 == x % 64 == 0 for _, _, y, x in places)
    of_test = {(row["tile"], row["part"]) for row in dubai._patch_rows() if row["split"] == "test"}
    assert of_test.isdisjoint({(row["tile"], row["part"]) for row in dubai._patch_rows() if row["split"] == "train"})


def test_scenes_are_cut_with_their_masks() -> None:
    masks = dubai._masks()
    listing = dubai.scenes(64)
    images, labels = listing.read()
    assert len(images) == len(labels) == 2799
    whole = np.asarray(Image.open(str(dubai._folder("dubai_scenes") / "tile1_part01.jpg"))).transpose(2, 0, 1)
    assert np.array_equal(images[1], whole[:, :64, 64:128])
    assert np.array_equal(labels[1], masks["tile1_part01"][:64, 64:128].astype(int) - 1)
    assert listing.class_names == ("building", "land", "road", "vegetation", "water")


def test_scenes_for_testing_share_no_tile_with_training() -> None:
    masks = dubai._masks()
    num_held_out = sum((mask.shape[0] // 64) * (mask.shape[1] // 64) for name, mask in masks.items() if name[4] in "38")
    listing = dubai.scenes(64)
    assert listing.traits.count == 2799 - num_held_out == 2214
    num_ground = -(-num_held_out // 5)
    assert listing.num_test == num_held_out - num_ground
    assert listing.traits.positions is not None
    tiles = listing.traits.positions[:, 0] // (10 * dubai.PART_ROWS)
    assert set(tiles.tolist()) == {1, 2, 4, 5, 6, 7}


def test_every_class_is_on_many_scenes_for_testing() -> None:
    listing = dubai.scenes(64)
    _, labels = listing.read()
    test = labels[listing.traits.count : listing.traits.count + listing.num_test]
    shares = np.bincount(test[test >= 0], minlength=5) / test.size
    assert shares.min() > 0.08 and shares.sum() > 0.95


def test_most_frequent_class_of_masks() -> None:
    masks = np.full((4, 2, 2), -1)
    masks[1] = [[2, 2], [0, -1]]
    masks[2] = [[1, 1], [0, 0]]
    masks[3] = [[-1, -1], [-1, 2]]
    assert most_frequent(masks).tolist() == [0, 2, 0, 2]
    assert most_frequent(masks[:0]).tolist() == []


def test_damaged_pictures_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sheet.jpg").write_bytes(b"no image")
    monkeypatch.setattr(dubai, "_folder", lambda _: tmp_path)
    with pytest.raises(InputError, match=r"sheet\.jpg: cannot be read .*reinstall"):
        dubai._picture("dubai_patches", "sheet.jpg")
