"""What the nodes of one process do in a real run: the computations of a planned timeline, on real bytes.

Payload by payload, satellites that alone hold their images and labels, and a server that holds the encoder, come to
the weights of `learners`. The plan says who computes when from what; which samples and which weights that means is
said in `order`, `board`, `satellite`, `server` and `whole`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from orbitune.errors import InputError, RunError
from orbitune.learn.aggregate import Tensors
from orbitune.learn.nodes.board import Board, Read, Shared
from orbitune.learn.nodes.order import Order
from orbitune.learn.nodes.satellite import METHODS, Samples, Satellite
from orbitune.learn.nodes.server import Server
from orbitune.learn.nodes.setting import Setting
from orbitune.learn.nodes.stored import Store
from orbitune.learn.nodes.whole import Central, Onboard
from orbitune.learn.spec import LearnSpec
from orbitune.timeline.activity import Activity, Payload

Raw = Mapping[int, tuple[bytes, bytes]]
"""Images and labels as stored, of the satellites at hand."""


class NodeWork:
    """The nodes of one process. Calls of several threads are carried out one after the other.

    Args:
        nodes: Real ids; satellites come first in the numbering, and every other node that computes is the server.
        setting: Of the run.
        samples: Of the satellites among the nodes.
        store, raw: Where images travel (`download`): how they are stored, and those at hand.
    """

    def __init__(
        self,
        nodes: Sequence[int],
        setting: Setting,
        samples: Mapping[int, Samples],
        store: Store | None = None,
        raw: Raw | None = None,
    ) -> None:
        refuse(setting.spec)
        self.nodes, self.setting, self.samples = tuple(nodes), setting, dict(samples)
        self.store, self.raw = store, dict(raw or {})
        self._received: Shared = {}
        self._satellites: dict[int, Satellite | Onboard] = {}
        self._ground: dict[int, Server | Central] = {}
        self._boards: dict[int, Board] = {}
        self._delivered: dict[int, Tensors] = {}
        self._rounds: dict[int, int] = {}
        self._lock = threading.RLock()
        self.order, self.members = Order(setting, 0), frozenset(range(len(setting.counts)))

    # -- a program starts --------------------------------------------------------------------------------------------

    def begin(self, first_round: int, ids: tuple[int, ...], participants: tuple[int, ...]) -> None:
        """A program starts: its versions count from `first_round`.

        Args:
            first_round: Rounds done before. At 0 all nodes are as new.
            ids: Real ids of its nodes.
            participants: Real ids of the satellites that take part in every average.

        Raises:
            RunError: A node has the state of other rounds, which nothing in the program mends.
        """
        with self._lock:
            self.order, self.members = Order(self.setting, first_round), frozenset(participants)
            if first_round == 0:
                self._satellites.clear()
                self._ground.clear()
                self._boards.clear()
            self._rounds.clear()
            self._delivered.clear()
            for worker in (*self._satellites.values(), *self._ground.values()):
                worker.begin(self.order, self.members)
            for node in self.nodes if first_round else ():
                if node in self.members or node in self._ground:
                    self._check_state(node, first_round)

    def _check_state(self, node: int, first_round: int) -> None:
        """Behind the rounds that lie behind, or, where weights are averaged, about to be sent what is."""
        needed = first_round * self.setting.versions
        board = self._board(node)
        done = self._server(node).done if self._is_ground(node) else board.done
        if done == needed:
            return
        if self._is_ground(node) or self.setting.shared or board.trainee.server is not None:
            raise RunError(
                f"node {node} has the state after version {done}, the program begins after {needed} "
                f"({first_round} rounds); restore it or bring it up to date first"
            )
        board.installed = False

    def initial(self, node: int, payload: Payload) -> bytes:
        """Bytes of what a node holds at the start.

        Weights are those of now: what trains as the node has it, and not-a-number where it does not have the state of
        the rounds that lie behind, so that whoever is sent them says so.

        Raises:
            RunError: Images or labels are asked for, and the method keeps them where they are.
        """
        with self._lock:
            if payload.kind == "weights":
                weights = self.setting.pack(self._current(node), self.setting.weights_names)
                if payload.end_byte > len(weights):
                    raise RunError(
                        f"the plan has weights of {payload.end_byte} bytes, the model has {len(weights)}; plan with "
                        "the profile of the model that is trained (orbitune profile), then launch again"
                    )
                return weights[payload.start_byte : payload.end_byte]
            return self._raw(node, payload)

    def _raw(self, node: int, payload: Payload) -> bytes:
        if self.setting.spec.learner != "central" or node not in self.raw or payload.kind not in ("image", "label"):
            raise RunError(f"node {node}: {payload.kind} of {sorted(payload.origins)} never leaves its satellite")
        data = self.raw[node][payload.kind == "label"]
        if payload.end_byte > len(data) or (payload.start_byte == 0 and len(data) % payload.size):
            raise RunError(
                f"download: {payload.kind}s of satellite {node} take {len(data)} bytes, planned are "
                f"{payload.end_byte}; plan with the images that are trained on"
            )
        return data[payload.start_byte : payload.end_byte]

    def _current(self, node: int) -> Tensors:
        """The whole model as a node has it now."""
        tensors = {name: value.detach() for name, value in self.setting.parameters.items()}
        if self.order.first_round == 0:
            return tensors
        needed = self.order.absolute(0)
        names = {*self.setting.update_names, *self.setting.model_names}
        tensors.update({name: torch.full_like(tensors[name], torch.nan) for name in names})
        if (board := self._board(node)).done == needed:
            tensors.update(board.trainee.trained)
        if self._is_ground(node) and self._server(node).done == needed:
            tensors.update(self._server(node).trainee.trained)
        return tensors

    # -- what it does ------------------------------------------------------------------------------------------------

    def compute(self, node: int, activity: Activity, read: Read) -> dict[Payload, bytes]:
        """Do the real work of one computation.

        Args:
            node: Real id.
            activity: With real ids in its payloads.
            read: Gives the bytes of what it needs.

        Returns:
            Bytes of each payload that the activity makes.

        Raises:
            RunError: The training diverged, bytes do not fit the model, or it is nothing that nodes can do.
        """
        with self._lock:
            worker = self._server(node) if self._is_ground(node) else self._satellite(node)
            found = worker.compute(activity, read)
        for payload in activity.makes:
            if payload not in found or len(found[payload]) != payload.size:
                size = len(found.get(payload, b""))
                raise RunError(
                    f"node {node}: {payload.kind} of {sorted(payload.origins)}, version {payload.version}, has {size} "
                    f"bytes, {payload.size} are planned; plan with the profile of the model that is trained "
                    "(orbitune profile), then launch again"
                )
        return found

    def merge(self, node: int, activity: Activity, read: Read) -> dict[Payload, bytes]:
        """The sum of contributions to the same bytes, in fp32, one after the other by smallest origin."""
        (made,) = activity.makes
        ordered = sorted(activity.needs, key=lambda payload: min(payload.origins))
        total = np.zeros(0, "<f4")
        for payload in ordered:
            if payload.start_byte % 4 or payload.end_byte % 4:
                raise RunError(f"node {node}: bytes {payload.start_byte} to {payload.end_byte} are no whole numbers")
            values = np.frombuffer(read(payload), "<f4")
            total = total + values if len(total) else values
        return {made: total.tobytes()}

    def finish_round(self, node: int, round_index: int, promised: Sequence[Payload], read: Read) -> None:
        """A round is over at a node: it goes on from the averages it was promised, as far as it has not yet.

        Args:
            node: Real id.
            round_index: Of the program, from 0; the versions of the payloads say the rest.
            promised: What it holds by now.
            read: Gives their bytes.
        """
        updates = sorted((p for p in promised if p.kind == "update"), key=lambda payload: payload.version)
        with self._lock:
            self._rounds[node] = self.order.first_round + round_index + 1
            for payload in updates:
                board = self._board(node)
                if board.done > self.order.absolute(payload.version):
                    continue
                # A server that missed an average has no use for the next: gradients need all.
                if not self._is_ground(node) or board.follows(self.order, payload.version):
                    board.apply(self.order, payload, self.members, read)

    # -- the end of the run ------------------------------------------------------------------------------------------

    def deliver(self, node: int, payload: Payload) -> bytes:
        """Bytes of the last average as it is delivered: weights, though gradients may have been summed up for it.

        Raises:
            RunError: The node does not have them.
        """
        with self._lock:
            board = self._board(node)
            if board.done != self.order.absolute(payload.version) + 1:
                raise RunError(f"node {node} has no weights of version {payload.version} to deliver")
            weights = self.setting.pack(board.trainee.trained, self.setting.update_names)
            return weights[payload.start_byte : payload.end_byte]

    def finish_delivery(self, node: int, promised: Sequence[Payload], read: Read) -> None:
        """All that was to be delivered to a node is there: `weights` has it from now on."""
        with self._lock:
            for payload in promised:
                done = self.order.absolute(payload.version) + 1
                if payload.kind == "update" and self._board(node).done < done:
                    values = self.setting.unpack(read(payload), self.setting.update_names, "update")
                    self._board(node).delivered(values, done)
                elif payload.kind == "model" and not self._is_ground(node):
                    self._delivered[node] = self.setting.unpack(read(payload), self.setting.model_names, "model")

    # -- between rounds ----------------------------------------------------------------------------------------------

    def save(self, node: int) -> bytes:
        """State of a node between rounds, as safetensors; equal states give equal bytes."""
        with self._lock:
            tensors: Tensors = {}
            if node in self._boards:
                tensors |= self._board(node).state()
            if node in self._ground:
                tensors |= self._server(node).state()
            tensors["rounds"] = torch.tensor(self._rounds.get(node, self.order.first_round))
            return save_tensors({name: value.contiguous() for name, value in sorted(tensors.items())})

    def load(self, node: int, saved: bytes) -> None:
        """Go on from what `save` returned, of this node or of another one of its kind.

        Raises:
            InputError: It is damaged, or of another model; other nodes are unchanged.
        """
        try:
            tensors = load_tensors(saved)
        except SafetensorError as error:
            raise InputError(f"state of node {node}: damaged ({error}); restore it from another copy") from error
        with self._lock:
            self._forget(node)
            if "board.done" in tensors:
                self._board(node).load(tensors)
            if "server.done" in tensors:
                self._server(node).load(tensors)
            self._rounds[node] = int(tensors.get("rounds", torch.tensor(0)))

    def weights(self, node: int) -> bytes:
        """What trained, as far as the node has the state after the last round that it has finished, as safetensors.

        Satellites have head and front; the server has the encoder, and head and front where averages come by it or
        were delivered to it.
        """
        with self._lock:
            done = self._rounds.get(node, self.order.first_round) * self.setting.versions
            parts: list[Board | Server | Central] = [self._board(node)]
            if self._is_ground(node):
                parts.append(self._server(node))
            trained = [part.trainee.trained for part in parts if part.done == done]
            found = {name: value.detach() for tensors in trained for name, value in tensors.items()}
            found |= self._delivered.get(node, {})
            return save_tensors({name: value.contiguous() for name, value in sorted(found.items())})

    # -- the nodes ---------------------------------------------------------------------------------------------------

    def _is_ground(self, node: int) -> bool:
        return node >= len(self.setting.counts)

    def _satellite(self, node: int) -> Satellite | Onboard:
        if node not in self._satellites:
            if node not in self.samples:
                raise RunError(f"satellite {node} has no images here; its process has those of {sorted(self.samples)}")
            kind = Satellite if self.setting.spec.learner == "split" else Onboard
            self._satellites[node] = kind(self.setting, node, self.samples[node], self._received)
            self._satellites[node].begin(self.order, self.members)
            self._boards[node] = self._satellites[node].board
        return self._satellites[node]

    def _server(self, node: int) -> Server | Central:
        if node not in self._ground:
            if self.setting.spec.learner == "central":
                assert self.store is not None, "download needs to know how images are stored"
                self._ground[node] = Central(self.setting, node, self.store.read)
            else:
                self._ground[node] = Server(self.setting, node)
            self._ground[node].begin(self.order, self.members)
        return self._ground[node]

    def _board(self, node: int) -> Board:
        """What a node has of what lives on board; the ground has the model from the start."""
        if node not in self._boards and self._is_ground(node):
            self._boards[node] = Board(self.setting, node, self.setting.deepest, self._received)
            self._boards[node].install_own()
        elif node not in self._boards:
            self._satellite(node)
        return self._boards[node]

    def _forget(self, node: int) -> None:
        for table in (self._satellites, self._ground, self._boards, self._delivered, self._rounds):
            table.pop(node, None)


def refuse(spec: LearnSpec) -> None:
    """Say what nodes cannot do.

    Raises:
        RunError: The spec asks for it; names the key, the value and what is allowed.
    """
    learners = ("split", "federated", "central")
    flaws = [
        (spec.learner not in learners or spec.merge != "mean", "method", spec.learner, " | ".join(METHODS)),
        (bool(spec.cuts), "method.placement", "in orbit", "'ground'"),
        (spec.update_codec != "fp32", "method.update_codec", spec.update_codec, "'fp32'"),
        (spec.noise_multiplier > 0, "method.noise_multiplier", spec.noise_multiplier, "0"),
    ]
    for wrong, key, value, allowed in flaws:
        if wrong:
            raise RunError(f"{key} = {value!r} cannot be run on real nodes yet; allowed: {allowed}; or use train")
