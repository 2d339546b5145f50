"""`orbitune privacy` from a scenario to what is printed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from orbitune.cli.privacy_command import noise_at, privacy
from orbitune.errors import InputError
from orbitune.learn.privacy import study
from orbitune.learn.privacy.accounting import Promise
from orbitune.scenario.load import load

SMALL = ("--set", "data.chip_px=16", "--codecs", "int8")


def test_one_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the shipped model and images, few and small to be quick: patches are seen, labels are told."""
    monkeypatch.setattr(study, "MOST_PRIVATE", 16)
    monkeypatch.setattr(study, "MOST_KNOWN", 120)
    result = CliRunner().invoke(privacy, ["demo", *SMALL, "--cuts", "0", "--json"], catch_exceptions=False)
    said = json.loads(result.stdout)
    found = {(row["payload"], row["attack"]): row for row in said["rows"]}
    embedding, gradient = found["embedding", "decoder"], found["feature_gradient", "gradient"]
    assert embedding["psnr_db"] > embedding["baseline_psnr_db"] + 3
    assert gradient["label_accuracy"] > 0.9 > gradient["baseline_label_accuracy"]
    assert said["conclusion"].startswith("Raw images and labels never leave") and "no (epsilon" in said["promise"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cuts", "one"), "a cut is a number of blocks"),
        (("--cuts", "9", *SMALL), "a cut lies between 0 and 4"),
        (("--codecs", "zip"), "unknown zip; there are fp32"),
    ],
)
def test_mistakes_are_explained(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CliRunner().invoke(privacy, ["demo", *arguments], catch_exceptions=False)


def test_the_promise_is_for_the_sample_used_most() -> None:
    """Three batches of 10 from 20 samples: two epochs begin, so two uses; from 10 samples: three."""
    sets = ["train.rounds=3", "train.local_steps=1", "train.batch_size=10", "train.trains=encoder"]
    scenario = load("demo", [*sets, "method.noise_multiplier=4"])
    releases = {}
    for cut in (0, 2):
        noised = noise_at(scenario, cut, [20, 10, 0])
        assert noised is not None and noised[0].multiplier == 4
        releases[cut] = noised[1].releases
    assert releases == {0: 1 + 3, 2: 3 + 3}
    assert noised is not None and noised[1] == Promise(4.0, 6)
    assert noise_at(load("demo", sets), 0, [20]) is None
