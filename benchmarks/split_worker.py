"""Two members that share one step of split training: a satellite with the ends of the real model, the ground between.

Bytes travel as in a real run, in the scenario's codec; nothing waits for a planned moment. See `engines`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from orbitune.engine.protocol import Header, Peers, Reply
from orbitune.execute.work import make_work

if TYPE_CHECKING:
    from torch import Tensor

    from orbitune.learn.nodes.work import NodeWork

WARM_UP = 3
"""Steps before those that count: in the first one, memory is laid out."""


class Split:
    """One of the two.

    Args:
        header: As for `execute.host`; its first node is the satellite whose samples are used.
    """

    def __init__(self, peers: Peers, header: Header) -> None:
        self.peers, self.satellite = peers, int(header["nodes"][0])
        work: NodeWork = make_work(header)  # type: ignore[assignment]
        self.setting, self.samples = work.setting, work.samples
        self.waiting: tuple[Tensor, Tensor] | None = None

    def handle(self, sender: str, method: str, header: Header, body: bytes) -> Reply:
        if method == "steps":
            rows = [self.step(str(header["ground"]), int(header["batch"])) for _ in range(WARM_UP + header["steps"])]
            return Reply({"steps": rows[WARM_UP:]})
        began_s = time.perf_counter()
        back = self.forward(body) if method == "forward" else self.backward(body)
        return Reply({"compute_s": time.perf_counter() - began_s}, back)

    def close(self) -> None:
        """Nothing to let go of."""

    def step(self, ground: str, batch: int) -> dict[str, float]:
        """Embed, wait for features, learn the head, send their gradient back; seconds in all, of work, and bytes."""
        import torch

        from orbitune.learn.split import head_step

        setting, own = self.setting, self.samples[self.satellite]
        assert len(own.labels) >= batch, f"satellite {self.satellite} has {len(own.labels)} samples"
        began_s = time.perf_counter()
        with torch.no_grad():
            embedded = setting.model.run(own.images[:batch], 0, setting.front(self.satellite))
        sent = setting.codec.encode(embedded, "embedding")
        asked_s = time.perf_counter()
        forward = self.peers.call(ground, "forward", {}, sent)
        came_s = time.perf_counter()
        features = setting.decode("feature", self.satellite, forward.body).requires_grad_(True)
        head_step(setting.model, setting.objective, features, own.labels[:batch])
        assert features.grad is not None
        gradient = setting.codec.encode(features.grad, "feature_gradient")
        again_s = time.perf_counter()
        backward = self.peers.call(ground, "backward", {}, gradient)
        over_s = time.perf_counter()
        own_s = (asked_s - began_s) + (again_s - came_s)
        return {
            "step_s": over_s - began_s,
            "compute_s": own_s + forward.header["compute_s"] + backward.header["compute_s"],
            "bytes": len(sent) + len(forward.body) + len(gradient),
        }

    def forward(self, embedded: bytes) -> bytes:
        """The encoder, whose graph is kept for the way back."""
        setting = self.setting
        arrived = setting.decode("embedding", self.satellite, embedded)
        features = setting.model.run(arrived, setting.front(self.satellite), setting.num_pieces)
        self.waiting = arrived, features
        return setting.codec.encode(features, "feature")

    def backward(self, gradient: bytes) -> bytes:
        """Gradients of the encoder's weights; nothing of them travels."""
        import torch

        assert self.waiting is not None, "forward comes first"
        _, features = self.waiting
        self.setting.model.zero_grad()
        torch.autograd.backward(features, self.setting.decode("feature_gradient", self.satellite, gradient))
        self.waiting = None
        return b""


def make(peers: Peers, header: Header, body: bytes) -> Split:
    return Split(peers, header)
