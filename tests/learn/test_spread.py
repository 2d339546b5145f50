"""Trainings spread over workers are the trainings of one process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_backbone import spec_of
from torch import Tensor

from orbitune.engine import make_engine
from orbitune.engine.local import LocalEngine
from orbitune.engine.protocol import Header, Peers, Reply
from orbitune.errors import InputError, RunError
from orbitune.imagery.imagery import Selection
from orbitune.learn import spread, spread_messages
from orbitune.learn.model_spec import ModelSpec
from orbitune.learn.replay import TakingPart
from orbitune.learn.rounds import Learner
from orbitune.learn.session import Start, make_start
from orbitune.learn.spread import OneWorker, Spread, SpreadAveraging, SpreadUnion
from orbitune.learn.spread_cluster import Workers, share_of
from orbitune.learn.spread_crew import LOSSES, Crew
from orbitune.learn.spread_messages import Setting
from orbitune.learn.spread_worker import SpreadWorker, make_spread_worker

MODEL = ModelSpec(
    "module", "random", "worlds:plain_network", cut_points=("stem", "first", "shrink", "second"), image_px=8
)
SATELLITES = 7
MEMBERS = ("worker-0", "worker-1")

Row = tuple[dict[str, object], type, list[TakingPart | None]]

EVERYBODY: list[TakingPart | None] = [None, None]
STALE: list[TakingPart | None] = [None, [(0, 0), (1, 1), (4, 0)], [(k, 2) for k in range(SATELLITES)]]
ALONE: list[TakingPart | None] = [[(0, 0, 0), (3, 0, 0)], [(1, 0, 1), (0, 1, 2)], []]

ROWS: dict[str, Row] = {
    "shared": ({"cache": "none", "codec": "fp16"}, SpreadUnion, EVERYBODY),
    "shared, frozen embedding": ({"trains": "encoder", "cache": "embeddings"}, SpreadUnion, EVERYBODY),
    "shared, adamw": ({"optimizer": "adamw", "learning_rate": 1e-3, "accumulate": 2}, SpreadUnion, EVERYBODY),
    "shared, int8 updates": ({"update_codec": "int8"}, SpreadUnion, EVERYBODY),
    "shared, stale": ({}, SpreadUnion, STALE),
    "download": ({"learner": "central"}, SpreadUnion, EVERYBODY),
    "apart": ({"server_encoder": "per_client", "cut": 1, "prox_mu": 0.1}, SpreadAveraging, EVERYBODY),
    "apart, adam": ({"server_encoder": "per_client", "server_optimizer": "adam"}, SpreadAveraging, EVERYBODY),
    "apart, top 1 %": ({"server_encoder": "per_client", "update_codec": "top1"}, SpreadAveraging, EVERYBODY),
    "apart, stale": ({"server_encoder": "per_client", "optimizer": "adamw"}, SpreadAveraging, STALE),
    "federated": ({"learner": "federated"}, SpreadAveraging, EVERYBODY),
    "head": ({"trains": "head", "cache": "features"}, OneWorker, EVERYBODY),
    "noise": ({"noise_multiplier": 0.5}, OneWorker, EVERYBODY),
    "auxiliary": ({"learner": "auxiliary", "cut": 1, "merge": "weighted"}, OneWorker, ALONE),
    "buffered": ({"learner": "federated", "merge": "buffer"}, SpreadAveraging, ALONE),
}  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Selection:
    """Three classes of 40 small pictures: few, since every life of a worker reads them."""
    folder, source = tmp_path_factory.mktemp("pictures"), np.random.default_rng(5)
    for name in ("field", "forest", "water"):
        (folder / name).mkdir()
        texture = source.integers(0, 128, size=(8, 8, 3))
        for number in range(40):
            pixels = texture + source.integers(0, 128, size=(8, 8, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
    return Selection("folder", how="iid", folder=folder)


@pytest.fixture(scope="module")
def start(images: Selection) -> Start:
    return make_start(MODEL, images, SATELLITES, seed=3)


Make = Callable[..., Setting]


@pytest.fixture(scope="module")
def setting_of(images: Selection) -> Make:
    """A training by name, with changes."""
    return lambda name, **changes: Setting(name, spec_of(**{"batch_size": 3, **changes}), MODEL, images, SATELLITES)


@pytest.fixture(scope="module")
def workers() -> Iterator[Spread]:
    with Crew(make_engine("local"), MEMBERS) as crew:
        yield Spread(crew)


def go(learner: Learner, rounds: list[TakingPart | None], first: int = 0) -> list[object]:
    """What is heard of some rounds."""
    learner.remember(2)
    heard = [learner.run_round(number, taking_part) for number, taking_part in enumerate(rounds, first)]
    return [*heard, learner.evaluate(), dict(learner.wire.sent_bytes)]


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("row", ROWS)
def test_the_weights_are_those_of_one_process_bit_for_bit(
    row: str, start: Start, workers: Spread, setting_of: Make
) -> None:
    """With all else that a training keeps: optimisers, residuals, bytes sent, losses and figures."""
    changes, kind, rounds = ROWS[row]
    setting = setting_of(row, **changes)
    found, expected = workers.learner(setting), start.learner(setting.spec)
    assert type(found) is kind
    assert_same(found.state(), expected.state())
    assert go(found, rounds) == go(expected, rounds)
    assert_same(found.state(), expected.state())
    workers.crew.over(setting)


def test_sums_of_large_gradients_differ_by_rounding_alone(
    start: Start, workers: Spread, monkeypatch: pytest.MonkeyPatch, setting_of: Make
) -> None:
    monkeypatch.setattr(spread, "EXACT_BYTES", 0)
    setting = setting_of("large")
    found, expected = workers.learner(setting), start.learner(setting.spec)
    go(found, EVERYBODY)
    go(expected, EVERYBODY)
    weights = expected.state()
    differences = [
        float((value - weights[name]).norm() / weights[name].norm())
        for name, value in found.state().items()
        if name.startswith("model.")
    ]
    assert 0 < max(differences) < 1e-6


def test_what_is_larger_than_a_message_goes_in_parts(
    start: Start, monkeypatch: pytest.MonkeyPatch, setting_of: Make
) -> None:
    monkeypatch.setattr(spread_messages, "PART_BYTES", 1000)
    setting = setting_of("in parts", server_encoder="per_client")
    with Crew(make_engine("local"), MEMBERS) as crew:
        found, expected = Spread(crew).learner(setting), start.learner(setting.spec)
        assert go(found, [None]) == go(expected, [None])
    assert_same(found.state(), expected.state())


def test_a_state_goes_on_here_or_there(start: Start, workers: Spread, setting_of: Make) -> None:
    """A checkpoint knows nothing of workers."""
    setting = setting_of("goes on", optimizer="adamw", update_codec="int8")
    whole, alone, spread_out = start.learner(setting.spec), start.learner(setting.spec), workers.learner(setting)
    go(whole, EVERYBODY)
    go(alone, [None])
    spread_out.load_state(alone.state())
    go(spread_out, [None], first=1)
    assert_same(spread_out.state(), whole.state())


@pytest.mark.parametrize("encoder", ["shared", "per_client"])
def test_a_training_that_diverges_says_what_it_says_in_one_process(
    encoder: str, start: Start, workers: Spread, setting_of: Make
) -> None:
    setting = setting_of(f"diverges, {encoder}", server_encoder=encoder, learning_rate=1e30, local_steps=4)
    with pytest.raises(RunError) as expected:
        go(start.learner(setting.spec), EVERYBODY)
    with pytest.raises(RunError, match=r"^step \d+, satellite \d: .*training diverged") as found:
        go(workers.learner(setting), EVERYBODY)
    assert str(found.value) == str(expected.value)


# ------------------------------------------------------------------------------------------ lost workers

KILL = f"{__name__}:make_mortal_worker"
PLAN: dict[str, list[int]] = {}
"""Calls before a worker dies, one number for each of its lives; without one it lives on."""


class Mortal:
    """Works until its time has come; what it was asked last is done, and nobody hears of it."""

    def __init__(self, worker: SpreadWorker, name: str) -> None:
        self._worker, self._name = worker, name
        lives = PLAN.get(name, [])
        self._left = lives.pop(0) if lives else -1

    def handle(self, sender: str, method: str, header: Header, body: bytes) -> Reply:
        self._left -= 1
        if self._left == 0:
            self._worker.handle(sender, method, header, body)
            ENGINES[-1].kill(self._name)
        return self._worker.handle(sender, method, header, body)

    def close(self) -> None:
        self._worker.close()


ENGINES: list[LocalEngine] = []


def make_mortal_worker(peers: Peers, header: Header, body: bytes) -> Mortal:
    return Mortal(make_spread_worker(peers, header, body), peers.name)


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, list[int]]], Crew]]:
    monkeypatch.setattr("orbitune.learn.spread_crew.MAKE", KILL)
    crews: list[Crew] = []

    def make(plan: dict[str, list[int]]) -> Crew:
        PLAN.clear()
        PLAN.update(plan)
        ENGINES.append(LocalEngine())
        crews.append(Crew(ENGINES[-1], MEMBERS))
        return crews[-1]

    yield make
    for crew in crews:
        crew.close()


@pytest.mark.parametrize("changes", [{}, {"server_encoder": "per_client"}, {"noise_multiplier": 0.5}])
def test_nothing_is_counted_twice_when_workers_die(
    changes: dict[str, object], start: Start, mortal: Callable[[dict[str, list[int]]], Crew], setting_of: Make
) -> None:
    setting = setting_of("dies", **changes)
    crew = mortal({"worker-0": [4, 5, 6], "worker-1": [7]})
    found, expected = Spread(crew).learner(setting), start.learner(setting.spec)
    assert go(found, EVERYBODY) == go(expected, EVERYBODY)
    assert_same(found.state(), expected.state())
    assert PLAN["worker-1"] == [], "it has died"


def test_work_that_no_worker_survives_is_given_up(
    mortal: Callable[[dict[str, list[int]]], Crew], setting_of: Make
) -> None:
    crew = mortal({member: [1] * LOSSES for member in MEMBERS})
    with pytest.raises(RunError, match=f"{LOSSES} workers were lost at the same work .train of dies"):
        go(Spread(crew).learner(setting_of("dies", server_encoder="per_client")), [None])


class OneLife(LocalEngine):
    """Where a worker that was lost cannot be started again."""

    def place(self, member: str, factory: str, header: Header, body: bytes = b"") -> None:
        if member in self.lived:
            raise RunError("its machine is gone")
        self.lived.add(member)
        super().place(member, factory, header, body)

    def __init__(self) -> None:
        super().__init__()
        self.lived: set[str] = set()


def test_a_training_goes_on_elsewhere_when_its_worker_was_lost_for_good_with_another(
    start: Start, setting_of: Make
) -> None:
    settings = [setting_of(name, noise_multiplier=0.5) for name in ("moves", "brings it down")]
    with Crew(OneLife(), MEMBERS) as crew:
        moves, other = (Spread(crew).learner(setting) for setting in settings)
        assert isinstance(moves, OneWorker) and isinstance(other, OneWorker)
        moves._home.member = other._home.member = MEMBERS[0]
        heard = [go(moves, [None])]
        crew.engine.kill(MEMBERS[0])
        go(other, [None])
        thread = threading.Thread(target=lambda: heard.append(go(moves, [None], first=1)), daemon=True)
        thread.start()
        thread.join(timeout=10.0)
        assert not thread.is_alive(), "it waits for a worker that is no more"
        expected = start.learner(settings[0].spec)
        assert heard == [go(expected, [None]), go(expected, [None], first=1)]


def test_stopping_ends_whoever_waits(setting_of: Make) -> None:
    crew = Crew(make_engine("local"), MEMBERS)
    learner = Spread(crew).learner(setting_of("stopped", local_steps=2000))
    heard: list[str] = []

    def train() -> None:
        with pytest.raises(RunError) as error:
            learner.run_round(0)
        heard.append(str(error.value))

    thread = threading.Thread(target=train)
    thread.start()
    time.sleep(0.3)
    crew.close()
    thread.join(timeout=10.0)
    assert not thread.is_alive() and len(heard) == 1


# ------------------------------------------------------------------------------------------ on a cluster


def test_processes_of_a_cluster_give_the_same_bits_and_one_may_die(start: Start, setting_of: Make) -> None:
    pytest.importorskip("ray")
    setting = setting_of("on ray", server_encoder="per_client", optimizer="adamw")
    with Workers("ray", 2).crew() as crew:
        found, expected = Spread(crew).learner(setting), start.learner(setting.spec)
        assert go(found, [None]) == go(expected, [None])
        crew.engine.kill("worker-0")
        assert go(found, [None], first=1) == go(expected, [None], first=1)
        assert_same(found.state(), expected.state())


def test_gpus_are_shared_out_alike_and_processors_one_each() -> None:
    assert share_of(4, gpus=4, processors=64) == {"GPU": 1.0}
    assert share_of(6, gpus=4, processors=64) == {"GPU": 0.5}
    assert share_of(6, gpus=0, processors=6) == {"CPU": 1.0}
    with pytest.raises(RunError, match="has 6 processors, --workers 7 asks for more"):
        share_of(7, gpus=0, processors=6)
    with pytest.raises(RunError, match="has 0 GPUs and 0 processors, so there is nowhere to train"):
        share_of(0, gpus=0, processors=0)


def test_workers_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="engine 'flare' with 2 workers: there are local, ray"):
        Workers("flare", 2)
    with pytest.raises(InputError, match="add --engine ray"):
        Workers("local", address="10.0.0.1:6379")
