"""The worker of spread trainings: keeps images, models and weights, and does the shares of work it is given."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from weakref import WeakValueDictionary

import torch

from orbitune.engine.protocol import Header, Peers, Reply
from orbitune.errors import OrbituneError, RunError
from orbitune.learn import spread_messages as messages
from orbitune.learn.aggregate import Tensors
from orbitune.learn.rounds import deterministic
from orbitune.learn.session import Start, make_start
from orbitune.learn.spread_messages import Setting, from_body, said, to_body, weights_of
from orbitune.learn.spread_shares import WORK, Bench, make_bench

REPEATABLE = ":4096:8"
"""Workspace with which sums on a GPU repeat bit for bit: NVIDIA, cuBLAS library, "Results reproducibility"."""


def make_spread_worker(peers: Peers, header: Header, body: bytes) -> SpreadWorker:
    """The worker, on the GPU that Ray gave its process if "gpu" says that it did.

    Raises:
        RunError: PyTorch there cannot use it.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", REPEATABLE)
    if header["gpu"] and not torch.cuda.is_available():
        raise RunError(
            f"{peers.name} on {socket.gethostname()} was given a GPU which PyTorch {torch.__version__} there cannot "
            "use; install PyTorch with CUDA on every host, or start Ray on them with --num-gpus=0"
        )
    deterministic(threads=1)
    return SpreadWorker("cuda" if header["gpu"] else "cpu")


class SpreadWorker:
    """See `spread_messages` for its calls. One at a time is answered."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._parcels: dict[str, Tensors] = {}
        self._arriving: dict[str, bytearray] = {}
        self._benches: dict[str, tuple[Bench, Start]] = {}
        self._starts: WeakValueDictionary[str, Start] = WeakValueDictionary()
        self._last: Start | None = None  # the next training is likely to start from there, too
        self._unsent = b""
        self._one = threading.Lock()

    def handle(self, sender: str, method: str, header: Header, body: bytes) -> Reply:
        """Answer one call."""
        answers: dict[str, Callable[[Header, bytes], Reply]] = {
            "begin": self._begin,
            "take": self._take,
            "work": self._work,
            "rest": self._rest,
        }
        with self._one:
            try:
                return answers[method](header, body)
            except OrbituneError as error:
                return Reply(said(error))

    def close(self) -> None:
        """Nothing runs between calls."""

    def _begin(self, header: Header, body: bytes) -> Reply:
        setting = Setting.of(header["setting"])
        if setting.start not in self._starts:
            self._last = self._starts[setting.start] = self._start(setting, self._parcels[header["weights"]])
        start = self._starts[setting.start]
        self._benches[header["training"]] = make_bench(start.learner(setting.spec), self._device), start
        return Reply({})

    def _start(self, setting: Setting, weights: Tensors) -> Start:
        """Images from this host's files, weights as the driver has them: another processor may have rounded the spread
        of features otherwise. Prepared on the CPU, as in one process, then moved."""
        found = make_start(setting.model, setting.selection, setting.num_satellites, setting.spec.seed)
        with torch.no_grad():
            for name, value in weights_of(found.backbone).items():
                value.copy_(weights[name])
        return replace(
            found,
            backbone=found.backbone.to(self._device),
            images=found.images.to(self._device),
            labels=found.labels.to(self._device),
        )

    def _take(self, header: Header, body: bytes) -> Reply:
        name, first = header["name"], header["from"]
        arrived = self._arriving.setdefault(name, bytearray())
        del arrived[first:]
        arrived += body
        if len(arrived) == header["bytes"]:
            self._parcels[name] = from_body(bytes(self._arriving.pop(name)))
        return Reply({})

    def _work(self, header: Header, body: bytes) -> Reply:
        for name in header["drop"]:
            self._parcels.pop(name, None)
        for name in header["over"]:
            self._benches.pop(name, None)
        bench, _ = self._benches[header["training"]]
        parcels = {role: self._parcels[name] for role, name in header["parcels"].items()}
        told, tensors = WORK[header["what"]](bench, header["details"], parcels, from_body(body) if body else {})
        self._unsent = to_body(tensors)
        return Reply({**told, "bytes": len(self._unsent)}, self._unsent[: messages.PART_BYTES])

    def _rest(self, header: Header, body: bytes) -> Reply:
        first = header["from"]
        return Reply({}, self._unsent[first : first + messages.PART_BYTES])
