"""What a worker can be asked to do: one satellite's training, gradients of some satellites, test samples, a round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from orbitune.engine.protocol import Header
from orbitune.learn.aggregate import Tensors, copy_of, write_into
from orbitune.learn.auxiliary import AuxiliaryLearner
from orbitune.learn.client import GROUP, SatelliteLosses, make_optimizer
from orbitune.learn.codec import PAYLOAD_KINDS
from orbitune.learn.features import Account
from orbitune.learn.learners import AveragingLearner, RoundResult, UnionLearner, train_alone
from orbitune.learn.rounds import Learner
from orbitune.learn.spread_messages import at, below
from orbitune.learn.task import Holdings, Task

ON_DEVICE = ("past.", "residual.", "server.")
"""Parts of a state that are calculated with and that `load_state` takes as they are."""

Told = tuple[Header, Tensors]
"""What comes back."""


@dataclass(frozen=True, eq=False)
class Bench:
    """A training on a worker: the model and the samples, and an optimiser for satellites that train alone."""

    learner: UnionLearner | AveragingLearner | AuxiliaryLearner
    local: torch.optim.Optimizer
    device: str

    @property
    def task(self) -> Task:
        """What is learned from what."""
        return self.learner.task


def make_bench(learner: Learner, device: str) -> Bench:
    """From a learner that nobody else uses."""
    assert isinstance(learner, UnionLearner | AveragingLearner | AuxiliaryLearner), type(learner)
    return Bench(learner, make_optimizer(learner.task.trained, learner.spec), device)


# ----------------------------------------------------------------------------- bytes that cross in one share


def crossed_of(account: Account, holdings: Holdings, satellites: list[int]) -> Tensor:
    """Which samples of these satellites have crossed, in their order."""
    return torch.cat([account.crossed[torch.from_numpy(holdings[one])] for one in satellites])


def mark_crossed(account: Account, holdings: Holdings, satellites: list[int], crossed: Tensor) -> None:
    """Write down what `crossed_of` gave."""
    ids = torch.cat([torch.from_numpy(holdings[one]) for one in satellites])
    account.crossed[ids] = crossed


def _begin_counting(task: Task, satellites: list[int], crossed: Tensor) -> None:
    task.wire.sent_bytes = dict.fromkeys(PAYLOAD_KINDS, 0)
    mark_crossed(task.account, task.holdings, satellites, crossed)


def _counted(task: Task, satellites: list[int], losses: SatelliteLosses, tensors: Tensors) -> Told:
    """Losses by satellite in the order they came, bytes sent, samples that have crossed."""
    by_satellite = {
        f"losses/{one}": torch.cat([loss for satellite, loss in losses if satellite == one]) for one in satellites
    }
    crossed = {"crossed": crossed_of(task.account, task.holdings, satellites)}
    return {"sent_bytes": dict(task.wire.sent_bytes)}, {**tensors, **by_satellite, **crossed}


# -------------------------------------------------------------------------------------------- the work


def train_satellite(bench: Bench, details: Header, parcels: Mapping[str, Tensors], given: Tensors) -> Told:
    """One satellite's steps of a round.

    {"satellite", "steps": [first, end]}, "start" -> the weights it ends with, as "trained/NAME".
    """
    task, satellite = bench.task, details["satellite"]
    start = {name: value.to(bench.device) for name, value in parcels["start"].items()}
    _begin_counting(task, [satellite], given["crossed"])
    write_into(task.trained, start)
    losses = train_alone(task, bench.local, bench.learner.draws, satellite, start, range(*details["steps"]))
    return _counted(task, [satellite], losses, at("trained", copy_of(task.trained)))


def sum_gradients(bench: Bench, details: Header, parcels: Mapping[str, Tensors], given: Tensors) -> Told:
    """Gradients of the summed losses of one step, at the weights of each satellite.

    {"satellites", "step", "sum": one of `SUMS`}, "weights", and "SATELLITE" for each that starts from others
    -> {"of": satellite of each sum}, gradients as "NUMBER/NAME".
    """
    task, draws, satellites, apart = bench.task, bench.learner.draws, details["satellites"], details["sum"]
    _begin_counting(task, satellites, given["crossed"])
    _take_gradient(task)
    losses: SatelliteLosses = []
    sums: list[tuple[int, Tensors]] = []
    for satellite in satellites:
        write_into(task.trained, parcels.get(str(satellite), parcels["weights"]))
        for group in (group for batch in draws.step(satellite, details["step"]) for group in batch.groups()):
            losses.append((satellite, bench.learner.gradients(group)))
            if apart == "group":
                sums.append((satellite, _take_gradient(task)))
        if apart == "satellite":
            sums.append((satellite, _take_gradient(task)))
    if apart == "share":
        sums.append((satellites[-1], _take_gradient(task)))
    told, tensors = _counted(task, satellites, losses, {})
    for number, (_, gradient) in enumerate(sums):
        tensors |= at(number, gradient)
    return {**told, "of": [satellite for satellite, _ in sums]}, tensors


SUMS = ("group", "satellite", "share")
"""How much is added up before it is sent: what the model takes at once, a satellite's, or all of the share."""


def _take_gradient(task: Task) -> Tensors:
    """The gradient so far, which is thereby gone from `.grad`."""
    found = {name: value.grad for name, value in task.trained.items() if value.grad is not None}
    for value in task.trained.values():
        value.grad = None
    return found


@torch.no_grad()
def judge(bench: Bench, details: Header, parcels: Mapping[str, Tensors], given: Tensors) -> Told:
    """Some of the test samples.

    {"groups": [first, end]}, "weights" -> their tallies as "NUMBER/NAME", see `Task.judge`.
    """
    task = bench.task
    write_into(task.trained, parcels["weights"])
    tallies: Tensors = {}
    first, end = details["groups"]
    for number, ids in enumerate(torch.split(task.test_ids, GROUP)[first:end]):
        tallies |= at(number, task.objective.tally(task.predict(task.inputs[ids]), task.labels[ids]))
    return {}, tallies


def whole_round(bench: Bench, details: Header, parcels: Mapping[str, Tensors], given: Tensors) -> Told:
    """A round of all satellites.

    {"round", "taking_part", "depth"}, "state" -> the state after it as "state/NAME", and its result as "result/NAME".
    """
    learner, taking_part = bench.learner, details["taking_part"]
    moved = {
        name: value.to(bench.device) if name.startswith(ON_DEVICE) else value
        for name, value in parcels["state"].items()
    }
    learner.load_state(moved)
    learner.remember(details["depth"])
    result = learner.run_round(details["round"], taking_part and [tuple(one) for one in taking_part])
    return {}, {**at("state", learner.state()), **at("result", result_tensors(result))}


def result_tensors(result: RoundResult) -> Tensors:
    """As tensors, since JSON has no numbers that are not finite."""
    return {
        "loss": torch.tensor([] if result.loss is None else [result.loss], dtype=torch.float64),
        "satellites": torch.tensor(list(result.client_loss), dtype=torch.int64),
        "losses": torch.tensor(list(result.client_loss.values()), dtype=torch.float64),
    }


def result_of(tensors: Tensors) -> RoundResult:
    """What `result_tensors` wrote."""
    own = below("result", tensors)
    loss = own["loss"].tolist()
    return RoundResult(
        loss[0] if loss else None, dict(zip(own["satellites"].tolist(), own["losses"].tolist(), strict=True))
    )


WORK: dict[str, Callable[[Bench, Header, Mapping[str, Tensors], Tensors], Told]] = {
    "train": train_satellite,
    "gradients": sum_gradients,
    "judge": judge,
    "round": whole_round,
}
