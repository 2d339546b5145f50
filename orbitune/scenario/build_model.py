"""From scenario values to the model: where its weights come from, what it costs, where it is cut."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from orbitune.errors import InputError, MissingExtra, PlanError
from orbitune.imagery.imagery import Holdings
from orbitune.imagery.listing import SEGMENTATION
from orbitune.learn.model_spec import ModelSpec
from orbitune.model.decoder import DecoderHead
from orbitune.model.partition import Head, Partition
from orbitune.model.profile import ModelProfile, load_profile, profile_from_json
from orbitune.scenario.learning_keys import LIVE, SHIPPED_MODEL, Model
from orbitune.scenario.schema import Scenario

SHIPPED_CHANNELS = 10
"""Bands of the images that the shipped profile of the shipped model was measured on."""


def model_spec(model: Model) -> ModelSpec:
    """Which model is trained, and where its weights come from."""
    return ModelSpec(
        name=model.name,
        weights=model.weights,
        source=model.source or "",
        file=model.file,
        cut_points=model.cut_points,
        image_px=model.image_px,
        month=model.month - 1,
    )


def partition(scenario: Scenario, holdings: Holdings) -> Partition:
    """The model cut in two, with a head for the classes of the data.

    Raises:
        InputError: The model cannot be loaded, or its profile is damaged.
        PlanError: It has no such cut, or its profile is of other images.
        MissingExtra: It has no profile, and torch or the model's library is not installed.
    """
    profile = _profile(scenario.model, holdings)
    return Partition(profile, head_for(profile, holdings), scenario.model.cut_after_block)


def head_for(profile: ModelProfile, holdings: Holdings) -> Head:
    """A linear head on pooled features, or a light decoder on maps of them."""
    classes = len(holdings.class_names)
    if holdings.task != SEGMENTATION:
        return Head(profile.feature_width, classes)
    depth, *grid = profile.feature_shape
    return DecoderHead(profile.feature_width, classes, depth, (grid[0], grid[1]), (holdings.chip_px, holdings.chip_px))


def _profile(model: Model, holdings: Holdings) -> ModelProfile:
    """The profile in a file, the shipped one, or that of the live model, measured."""
    if model.profile:
        return _checked(read_profile(Path(model.profile)), model, holdings)
    if model.name not in LIVE and (model.name != SHIPPED_MODEL or _as_shipped(holdings)):
        return load_profile(model.name)
    return measured_profile(model, holdings)


def profile_at_hand(model: Model) -> ModelProfile:
    """The profile of a model that is planned without images: from a file, or shipped."""
    return read_profile(Path(model.profile)) if model.profile else load_profile(model.name)


def _as_shipped(holdings: Holdings) -> bool:
    """Whether the shipped profile of the shipped model holds for these images, or there are no images."""
    if not holdings.channels:
        return True
    same = (holdings.chip_px, len(holdings.channels)) == (load_profile(SHIPPED_MODEL).chip_px, SHIPPED_CHANNELS)
    return same and holdings.task != SEGMENTATION


def _checked(profile: ModelProfile, model: Model, holdings: Holdings) -> ModelProfile:
    dense, wanted = len(profile.feature_shape) > 1, holdings.task == SEGMENTATION
    if holdings.channels and (profile.chip_px, dense) != (holdings.chip_px, wanted):
        raise PlanError(
            f"model.profile = {model.profile}: made for images of {profile.chip_px} px and "
            f"{'maps' if dense else 'vectors'} of features; the data have {holdings.chip_px} px and need "
            f"{'maps' if wanted else 'vectors'}; write it again with `orbitune profile`"
        )
    return profile


def read_profile(path: Path) -> ModelProfile:
    """A profile that `orbitune profile` wrote.

    Raises:
        InputError: The file cannot be read or is no profile.
    """
    try:
        return profile_from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"model profile {path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        again = "write it with `orbitune profile`"
        raise InputError(f"model profile {path}: damaged or no profile ({error}); {again}") from error


def measured_profile(model: Model, holdings: Holdings) -> ModelProfile:
    """What the live model costs for images of this kind; torch is imported here.

    Raises:
        InputError, MissingExtra: The model cannot be loaded.
    """
    if find_spec("torch") is None:
        raise MissingExtra(
            f"model.name = '{model.name}' has no shipped profile for these images, and measuring it needs torch: "
            "install torch==2.13.0 and orbitune[train], or give model.profile, which `orbitune profile` wrote elsewhere"
        )
    from orbitune.learn.measure import live_profile

    dense = holdings.task == SEGMENTATION
    return live_profile(model_spec(model), holdings.channels, holdings.chip_px, dense, holdings.sample_bytes)
