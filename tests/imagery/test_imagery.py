"""What satellites hold: counts without pixels agree with the images themselves, for every data set."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from orbitune.errors import InputError, PlanError
from orbitune.imagery.imagery import DATASETS, FOLDER, Imagery, Selection, dataset, holdings, load_imagery
from orbitune.model.profile import load_profile

SHIPPED = tuple(name for name in DATASETS if name != FOLDER)


@pytest.fixture(scope="module", params=SHIPPED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def imagery(name: str) -> Imagery:
    return load_imagery(Selection(name, "iid"), num_satellites=66, seed=7)


def test_planning_counts_are_those_of_the_images(imagery: Imagery, name: str) -> None:
    assert holdings(Selection(name, "iid"), 66, seed=7) == imagery.holdings
    for how in set(dataset(name).ways) - {"iid"}:
        counts = holdings(Selection(name, how), 40, seed=7).num_train
        assert len(counts) == 40 and min(counts) > 0 and sum(counts) == sum(imagery.holdings.num_train)


def test_ids_cover_the_images_once(imagery: Imagery) -> None:
    ids = np.concatenate([*imagery.train, imagery.test])
    assert np.array_equal(np.sort(ids), np.arange(len(imagery.images)))


def test_images_have_the_promised_shape_and_scale(imagery: Imagery) -> None:
    shape = (len(imagery.channels), imagery.chip_px, imagery.chip_px)
    assert imagery.images.shape[1:] == imagery.unlabelled.shape[1:] == shape and len(imagery.unlabelled) >= 2
    assert imagery.images.dtype == imagery.unlabelled.dtype == np.float32
    assert imagery.images.min() >= 0 and np.array_equal(imagery.images, imagery.images.round())
    assert 0.5 * imagery.full_scale < imagery.images.max() < 3 * imagery.full_scale


def test_labels_have_the_shape_of_their_task(imagery: Imagery) -> None:
    n, num_classes, side = len(imagery.images), len(imagery.class_names), imagery.chip_px
    kind = {
        "classification": ((n,), np.int64, set(range(num_classes))),
        "multilabel": ((n, num_classes), np.float32, {0, 1}),
        "segmentation": ((n, side, side), np.int64, set(range(-1, num_classes))),
    }
    shape, dtype, values = kind[imagery.task]
    assert imagery.labels.shape == shape and imagery.labels.dtype == dtype
    assert set(np.unique(imagery.labels).tolist()) == values


def test_raw_sizes(imagery: Imagery) -> None:
    value_bytes = 2 if imagery.full_scale == 10_000 else 1
    assert imagery.sample_bytes == imagery.images[0].size * value_bytes
    assert (
        imagery.label_bytes == {"classification": 1, "multilabel": 1, "segmentation": imagery.chip_px**2}[imagery.task]
    )


def test_no_image_of_the_ground_is_learned_or_judged_on(imagery: Imagery) -> None:
    """Some chips of plain water look alike to the last bit, so only those that say something are compared."""
    labelled = {image.tobytes() for image in imagery.images if image.std() > 0.02 * imagery.full_scale}
    assert not any(image.tobytes() in labelled for image in imagery.unlabelled)


def test_places_are_unlike_each_other() -> None:
    def largest_class_share(how: str) -> float:
        held = load_imagery(Selection(how=how), num_satellites=66, seed=7)
        return float(np.mean([np.bincount(held.labels[share]).max() / len(share) for share in held.train]))

    assert largest_class_share("place") > largest_class_share("iid") + 0.1


def test_each_of_66_satellites_has_eight_chips_or_more() -> None:
    assert min(holdings(Selection(), 66, seed=7).num_train) >= 8


def test_sample_size_is_that_of_the_profile() -> None:
    assert holdings(Selection(), 5, seed=0).sample_bytes == load_profile("galileo-nano").sample_bytes


def test_planning_needs_neither_torch_nor_pillow() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'PIL', 'rasterio')))\n"
        "from orbitune.imagery.imagery import Selection, holdings\n"
        f"for name in {SHIPPED}: holdings(Selection(name, 'dirichlet'), 40, 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("name", "side_px"), [("brandenburg", 33), ("dubai-patches", 32), ("dubai-scenes", 256)])
def test_chips_of_another_side_are_refused(name: str, side_px: int) -> None:
    with pytest.raises(PlanError, match=rf"data.chip_px = {side_px}: data set {name} allows .*64"):
        holdings(Selection(name, "iid", chip_px=side_px), 4, 0)


@pytest.mark.parametrize("name", ["brandenburg", "brandenburg-multilabel", "dubai-scenes"])
def test_smallest_and_largest_sides_can_be_planned(name: str) -> None:
    sides_px = DATASETS[name].sides_px
    for side_px in (min(sides_px), 56, max(sides_px)):
        held = holdings(Selection(name, chip_px=side_px), 8, 0)
        assert held.chip_px == side_px and held.num_test >= 20


def test_unknown_data_set() -> None:
    with pytest.raises(InputError, match="no data set 'mars'; data sets: brandenburg, "):
        holdings(Selection("mars"), 4, 0)


def test_shipped_data_have_no_times() -> None:
    with pytest.raises(PlanError, match=r"'time' needs what these data do not say; ways .*place, iid, dirichlet"):
        holdings(Selection(how="time"), 4, 0)


def test_image_and_label_counts_that_differ_are_refused(imagery: Imagery) -> None:
    with pytest.raises(InputError, match=r"images and .* labels.*belong together"):
        replace(imagery, labels=imagery.labels[:-1])
