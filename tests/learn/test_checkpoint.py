"""A checkpoint continues to the very same weights, or is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from test_rounds import same
from tiny_backbone import spec_of, tiny_backbone, tiny_task

from orbitune.errors import InputError, RunError
from orbitune.learn import checkpoint
from orbitune.learn.rounds import Learner, RoundRecord, make_learner, train
from orbitune.learn.spec import LearnSpec

NUM_ROUNDS = 5


def fresh(spec: LearnSpec) -> Learner:
    return make_learner(spec, *tiny_task(torch.float32))


def go_on(learner: Learner, first_round: int, end_round: int = NUM_ROUNDS) -> Learner:
    for round_index in range(first_round, end_round):
        learner.run_round(round_index)
    return learner


@pytest.mark.parametrize(
    "optimizer", [{"optimizer": "adamw"}, {"optimizer": "sgd"}, {"optimizer": "sgd", "momentum": 0.0}]
)
@pytest.mark.parametrize(
    "kind",
    [
        {"server_encoder": "shared"},
        {"server_encoder": "per_client"},
        {"trains": "head"},
        {"learner": "central", "trains": "head"},
        {"learner": "central", "trains": "encoder"},
        {"learner": "federated"},
    ],
)
def test_resumed_equals_uninterrupted(kind: dict[str, str], optimizer: dict[str, object], tmp_path: Path) -> None:
    """Bit for bit: weights, optimiser and counters, and the file of the end."""
    spec = spec_of(cut=1, learning_rate=0.01, **kind, **optimizer)
    whole = go_on(fresh(spec), 0)
    checkpoint.save(tmp_path / "early", go_on(fresh(spec), 0, 2), 2)
    resumed = fresh(spec)
    go_on(resumed, checkpoint.load(tmp_path / "early", resumed))
    assert same(resumed.state(), whole.state())
    for name, learner in (("whole", whole), ("resumed", resumed)):
        checkpoint.save(tmp_path / name, learner, NUM_ROUNDS)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "resumed").read_bytes()


def test_loading_into_a_used_learner_forgets_what_it_did(tmp_path: Path) -> None:
    spec = spec_of(optimizer="adamw", learning_rate=0.01)
    checkpoint.save(tmp_path / "start", fresh(spec), 0)
    used = go_on(fresh(spec), 0, 3)
    assert checkpoint.load(tmp_path / "start", used) == 0
    assert same(go_on(used, 0).state(), go_on(fresh(spec), 0).state())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    checkpoint.save(path, go_on(fresh(spec_of()), 0, 1), 1)
    return path


@pytest.fixture(scope="module")
def reader() -> Learner:
    return fresh(spec_of())


def refused(path: Path, content: bytes, reader: Learner) -> None:
    before = reader.state()
    path.write_bytes(content)
    with pytest.raises(InputError, match="checkpoint"):
        checkpoint.load(path, reader)
    assert same(reader.state(), before)


@settings(max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_is_refused(written: Path, reader: Learner, share: float) -> None:
    content = written.read_bytes()
    refused(written.with_name("broken"), content[: int(share * len(content))], reader)


@settings(max_examples=200)
@given(share=st.floats(0, 1, exclude_max=True), in_header=st.booleans(), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(written: Path, reader: Learner, share: float, in_header: bool, bit: int) -> None:
    """In the header as in the values."""
    content = bytearray(written.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    position = int(share * header) if in_header else header + int(share * (len(content) - header))
    content[position] ^= 1 << bit
    refused(written.with_name("broken"), bytes(content), reader)


def test_missing_is_refused(tmp_path: Path, reader: Learner) -> None:
    with pytest.raises(InputError, match="No such file"):
        checkpoint.load(tmp_path / "none", reader)


def test_any_other_file_is_refused(tmp_path: Path, reader: Learner) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "other", {"format": "pt"})
    with pytest.raises(InputError, match="not a checkpoint of format 2"):
        checkpoint.load(tmp_path / "other", reader)


def test_an_earlier_format_is_refused_by_its_number(tmp_path: Path, written: Path, reader: Learner) -> None:
    about = {"format": 1, "spec": {}, "sha256": ""}
    save_file({"next_round": torch.tensor(3)}, tmp_path / "old", {"orbitune": json.dumps(about)})
    with pytest.raises(InputError, match=r"of format 1, of an earlier Orbitune; this one reads format 2; finish"):
        checkpoint.load(tmp_path / "old", reader)


STALE = [[(0, 0), (1, 0), (3, 0)], [(0, 0), (3, 1)], [(1, 0)], [(0, 1), (3, 3)]]


@pytest.mark.parametrize("kind", [{"server_encoder": "shared"}, {"server_encoder": "per_client"}, {"trains": "head"}])
def test_all_that_changes_is_saved(kind: dict[str, str], tmp_path: Path) -> None:
    """Old averages, the server's Adam, residuals of updates, the account of the cache, tuples in the spec."""
    cache = "features" if kind.get("trains") == "head" else "none"
    spec = spec_of(
        cache=cache, satellite_cuts=(0, 1, 1, 2), server_optimizer="adam", update_codec="int8", rounds=4,
        schedule="cosine", warmup_steps=2, accumulate=2, optimizer="adamw", batch_size=4, **kind,
    )  # fmt: skip
    folders = [tmp_path / name for name in ("whole", "again")]

    def go(learner: Learner, begun: int, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        ends = [1.0, 2.0, 3.0, 4.0]

        def save(record: RoundRecord) -> None:
            checkpoint.save(folder / str(record.round), learner, record.round)

        train(learner, 0.0, ends, begun, save, STALE)

    go(fresh(spec), 0, folders[0])
    for begun in range(4):
        resumed = fresh(spec)
        assert checkpoint.load(folders[0] / str(begun), resumed) == begun
        go(resumed, begun, folders[1])
        assert (folders[1] / "4").read_bytes() == (folders[0] / "4").read_bytes()


@pytest.mark.parametrize("name", ["past.0.backbone.odd", "past.x.head.weight", "residual.0.head.weight"])
def test_odd_memories_are_refused(name: str, reader: Learner) -> None:
    before = reader.state()
    with pytest.raises(InputError, match="of another model"):
        reader.load_state({**before, name: torch.zeros(1)})
    assert same(reader.state(), before)


@pytest.mark.parametrize("change", [{"learning_rate": 0.1}, {"trains": "encoder"}, {"cut": 1}, {"seed": 4}])
def test_another_spec_is_refused(written: Path, change: dict[str, object]) -> None:
    (key,) = change
    with pytest.raises(InputError, match=f"made with {key} = "):
        checkpoint.load(written, fresh(spec_of(**change)))


def test_another_model_is_refused(written: Path, tmp_path: Path) -> None:
    backbone, _, *rest = tiny_task(torch.float32)
    with pytest.raises(InputError, match=r"of another model: 'model\.head\..*' is \[3"):
        checkpoint.load(written, make_learner(spec_of(), backbone, 7, *rest))
    with pytest.raises(InputError, match=r"float32, needed is .* torch\.float64"):
        checkpoint.load(written, make_learner(spec_of(), *tiny_task(torch.float64)))


def test_other_frozen_weights_are_refused(tmp_path: Path) -> None:
    """The trained tensors fit, but they were trained on another trunk."""
    spec = spec_of(trains="head")
    checkpoint.save(tmp_path / "head", fresh(spec), 0)
    backbone, *rest = tiny_backbone(torch.float32), *tiny_task(torch.float32)[1:]
    with torch.no_grad():
        backbone.blocks[0].query.bias += 1e-6
    with pytest.raises(InputError, match="other frozen weights"):
        checkpoint.load(tmp_path / "head", make_learner(spec, backbone, *rest))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, the device on which no byte has room")
def test_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    learner = fresh(spec_of())
    checkpoint.save(path, learner, 0)
    before = path.read_bytes()
    go_on(learner, 0, 1)
    (tmp_path / f"model.safetensors.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"disk is full.*earlier checkpoint is still whole"):
        checkpoint.save(path, learner, 1)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No such file or directory"):
        checkpoint.save(tmp_path / "gone" / "model", fresh(spec_of()), 0)
