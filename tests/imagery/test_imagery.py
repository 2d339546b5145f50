"""What satellites hold: counts without pixels agree with the images themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from orbitune.errors import InputError
from orbitune.imagery.assign import HOW
from orbitune.imagery.imagery import Imagery, Selection, holdings, load_imagery
from orbitune.model.profile import load_profile


@pytest.fixture(scope="module")
def imagery() -> Imagery:
    return load_imagery(Selection(), num_satellites=66, seed=7)


def test_planning_counts_are_those_of_the_images(imagery: Imagery) -> None:
    assert holdings(Selection(), 66, seed=7) == imagery.holdings
    for how in HOW:
        counts = holdings(Selection(how=how), 40, seed=7).num_train
        assert len(counts) == 40 and sum(counts) == sum(imagery.holdings.num_train)


def test_each_of_66_satellites_has_eight_chips_or_more(imagery: Imagery) -> None:
    assert min(imagery.holdings.num_train) >= 8


def test_ids_cover_the_images_once(imagery: Imagery) -> None:
    ids = np.concatenate([*imagery.train, imagery.test])
    assert np.array_equal(np.sort(ids), np.arange(len(imagery.images)))


def test_places_are_compact_and_unlike_each_other(imagery: Imagery) -> None:
    mixed = load_imagery(Selection(how="iid"), num_satellites=66, seed=7)

    def spread_px(held: Imagery) -> float:
        return float(np.mean([held.positions[share].std(axis=0).mean() for share in held.train]))

    def largest_class_share(held: Imagery) -> float:
        return float(np.mean([np.bincount(held.labels[share]).max() / len(share) for share in held.train]))

    assert spread_px(imagery) < 0.3 * spread_px(mixed)
    assert largest_class_share(imagery) > largest_class_share(mixed) + 0.1


def test_sample_size_is_that_of_the_profile(imagery: Imagery) -> None:
    assert imagery.sample_bytes == 10 * 32 * 32 * 2 == load_profile("galileo-nano").sample_bytes


def test_image_and_label_counts_that_differ_are_refused(imagery: Imagery) -> None:
    with pytest.raises(InputError, match=r"images, .* labels .* belong together"):
        replace(imagery, labels=imagery.labels[:-1])
