"""The server of split training: the encoder behind the cut, for all satellites or a copy for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from orbitune.errors import RunError
from orbitune.learn import state
from orbitune.learn.aggregate import Contribution, Tensors, copy_of, weighted_mean
from orbitune.learn.nodes.board import Read
from orbitune.learn.nodes.order import Order, owner
from orbitune.learn.nodes.setting import CPU, Setting
from orbitune.learn.nodes.trainee import Trainee, in_groups
from orbitune.learn.precision import arithmetic
from orbitune.timeline.activity import Activity, Payload


@dataclass(frozen=True, eq=False)
class Passed:
    """A group of samples that a gradient will come back for: both ends of the encoder's graph.

    Attributes:
        rows: Of the payload of features.
        arrived: Embeddings, with a gradient where the front trains.
        features: As computed.
    """

    rows: Tensor
    arrived: Tensor
    features: Tensor


class Server:
    """See the module.

    Gradients are added up in the order in which the plan lets them be computed; where one computation does all of a
    step, that is the canonical one: by satellite, and within it in the groups of `client.Batch`. Activations are kept
    from the forward to the backward pass, also where the plan says that they are computed again.
    """

    def __init__(self, setting: Setting, node: int) -> None:
        self.setting, self.node = setting, node
        self.trainee = Trainee(setting, setting.shallowest, setting.num_pieces, head=False)
        self.done = 0
        self._stock: dict[int, tuple[Tensor, Tensor]] = {}
        self.begin(Order(setting, 0), frozenset())

    def begin(self, order: Order, members: frozenset[int]) -> None:
        """A program starts: nothing is under way, nothing is kept."""
        self.order, self.members = order, members
        self._passed: dict[tuple[int, int], list[Passed]] = {}
        self._worked: dict[int, int] = {}
        self._copies: dict[int, Trainee] = {}
        self._stock.clear()
        self.trainee.optimizer.zero_grad()

    def compute(self, activity: Activity, read: Read) -> dict[Payload, bytes]:
        """Forward or backward: what it is, the payloads say."""
        kinds = {payload.kind for payload in activity.needs}
        frozen = self.setting.spec.trains == "head"  # which works in full precision, as in `features`
        with arithmetic("fp32" if frozen else self.setting.spec.precision, CPU):
            if "feature_gradient" in kinds:
                return self._backward(activity, read)
            return self._encode(activity, read)

    def _pieces(self, satellite: int) -> Trainee:
        """The encoder that a satellite's samples go through."""
        if self.setting.shared or not self.trainee.trained:
            return self.trainee
        if satellite not in self._copies:
            self._copies[satellite] = Trainee(self.setting, self.setting.shallowest, self.setting.num_pieces, False)
            self._copies[satellite].load(self.trainee.state())
        return self._copies[satellite]

    # -- forward -----------------------------------------------------------------------------------------------------

    def _encode(self, activity: Activity, read: Read) -> dict[Payload, bytes]:
        needs = [payload for payload in activity.needs if payload.kind == "embedding"]
        made = [payload for payload in activity.makes if payload.kind == "feature"]
        found = {}
        for payload in sorted(made, key=place_of):
            own = next(need for need in needs if need.origins == payload.origins)
            found[payload] = self._features(payload, self._embeddings(payload, own, read))
        return found

    def _embeddings(self, made: Payload, own: Payload, read: Read) -> Tensor:
        """Of the samples of a payload of features, in its order."""
        satellite = owner(made)
        if self.setting.spec.cache != "embeddings":
            rows = self.order.rows(own)
            wanted = self.order.rows(made)
            return self.setting.decode("embedding", satellite, read(own))[wanted.start - rows.start :][: len(wanted)]
        self._keep(own, read)
        samples = self.order.samples(made)
        return self._stock[satellite][0][self.order.kept_places(satellite, samples)]

    def _keep(self, own: Payload, read: Read) -> None:
        """Embeddings stay, in the order of first uses."""
        satellite, rows = owner(own), self.order.rows(own)
        if satellite not in self._stock:
            dtype, shape = self.setting.activations[self.setting.front(satellite)]
            count = self.setting.counts[satellite]
            self._stock[satellite] = torch.zeros((count, *shape), dtype=dtype), torch.zeros(count, dtype=torch.bool)
        values, have = self._stock[satellite]
        if not bool(have[rows.start : rows.stop].all()):
            values[rows.start : rows.stop] = self.setting.decode("embedding", satellite, read(own))
            have[rows.start : rows.stop] = True

    def _features(self, made: Payload, values: Tensor) -> bytes:
        satellite, first = owner(made), self.order.rows(made).start
        model, front = self._pieces(satellite).model, self.setting.front(satellite)
        learns = self.setting.spec.trains != "head"
        if learns:
            self._require_base(made.version)
        places = torch.arange(len(values)) if self.order.keeps("feature") else self.order.places(made)
        found: list[Tensor] = [torch.empty(0)] * len(values)
        for rows in in_groups(places):
            arrived = values[rows].requires_grad_(self._front_trains)
            with torch.set_grad_enabled(learns):
                features = model.run(arrived, front, self.setting.num_pieces)
            if learns:
                self._passed.setdefault((satellite, made.version), []).append(Passed(rows + first, arrived, features))
            for row, one in zip(rows.tolist(), features.detach(), strict=True):
                found[row] = one
        return self.setting.codec.encode(torch.stack(found), "feature")

    def _require_base(self, version: int) -> None:
        """Refuse to encode with an encoder that is not the one of the version before."""
        each = self.setting.spec.accumulate if self.setting.shared else self.setting.versions
        base = self.order.absolute(version) // each * each
        if self.trainee.trained and self.done != base:
            raise RunError(
                f"server: version {self.order.absolute(version)} needs the encoder of version {base - 1}, it has that "
                f"of {self.done - 1}; restore it to the rounds that lie behind, and train.staleness = 0"
            )

    @property
    def _front_trains(self) -> bool:
        return any(not name.startswith("head.") for name in self.setting.update_names)

    # -- backward ----------------------------------------------------------------------------------------------------

    def _backward(self, activity: Activity, read: Read) -> dict[Payload, bytes]:
        gradients = [payload for payload in activity.needs if payload.kind == "feature_gradient"]
        made = {(owner(p), p.version): p for p in activity.makes if p.kind == "embedding_gradient"}
        found = {}
        for payload in sorted(gradients, key=place_of):
            back = self._back(payload, read)
            key = owner(payload), payload.version
            if key in made:
                found[made[key]] = self.setting.codec.encode(torch.stack(back), "embedding_gradient")
        for payload in activity.makes:
            if payload.kind == "model":
                found[payload] = self._model(payload)
        return found

    def _back(self, arrived: Payload, read: Read) -> list[Tensor]:
        """Gradients go back through the encoder, those of samples that have not yet; returns those that leave it."""
        satellite, within = owner(arrived), self.order.rows(arrived)
        waiting = self._passed.pop((satellite, arrived.version), [])
        mine = [one for one in waiting if int(one.rows[0]) in within]
        if len(mine) < len(waiting):
            self._passed[satellite, arrived.version] = [one for one in waiting if int(one.rows[0]) not in within]
        if not mine:
            return []
        gradient = self.setting.decode("feature_gradient", satellite, read(arrived))
        found: list[Tensor] = [torch.empty(0)] * len(gradient)
        for one in mine:
            rows = one.rows - within.start
            torch.autograd.backward(one.features, gradient[rows])
            if one.arrived.grad is not None:
                for row, value in zip(rows.tolist(), one.arrived.grad, strict=True):
                    found[row] = value
        self._count(satellite, arrived.version, sum(len(one.rows) for one in mine))
        return found

    def _count(self, satellite: int, version: int, samples: int) -> None:
        """Where each satellite has its own copy, the last sample of a step is followed by the step."""
        self._worked[satellite] = self._worked.get(satellite, 0) + samples
        each = self.order.batch_samples(satellite) * self.setting.spec.accumulate
        if self._worked[satellite] == each:
            self._worked[satellite] = 0
            if not self.setting.shared:
                self._pieces(satellite).step(self.order.step_of(version), each)

    def _model(self, made: Payload) -> bytes:
        assert not any(self._worked.values()), f"{self._worked} samples of a step that is not over"
        if made.origins != self.members:
            raise RunError(f"a model of satellites {sorted(made.origins)} where {sorted(self.members)} take part")
        if self.setting.shared:
            each = self.setting.spec.accumulate
            self._refuse_divergence(self.trainee)
            total = sum(self.order.batch_samples(one) * each for one in self.members)
            self.trainee.step(self.order.step_of(made.version), total)
        else:
            self.trainee.take(self._mean())
            self._copies.clear()
        self.done = self.order.absolute(made.version) + 1
        return self.setting.pack(self.trainee.trained, self.setting.model_names)

    def _mean(self) -> Tensors:
        weigh = self.order.draws.samples_per_round
        return weighted_mean(Contribution(k, weigh(k), copy_of(one.trained)) for k, one in self._copies.items())

    def _refuse_divergence(self, trainee: Trainee) -> None:
        for name, value in trainee.trained.items():
            if value.grad is not None and not value.grad.isfinite().all():
                spec = self.setting.spec
                raise RunError(
                    f"server: the gradient of {name} is not finite; training diverged with learning_rate = "
                    f"{spec.learning_rate} ({spec.optimizer}); start again with a lower one"
                )

    # -- between rounds ------------------------------------------------------------------------------------------------

    def state(self) -> Tensors:
        """All that changes between rounds."""
        own = {f"server.{name}": value for name, value in self.trainee.state().items()}
        return {**own, "server.done": torch.tensor(self.done)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        self.trainee.load(state.below("server.", tensors))
        self.done = int(tensors["server.done"])


def place_of(payload: Payload) -> tuple[int, int, int]:
    """The canonical order of payloads of samples."""
    return owner(payload), payload.version, payload.start_byte
