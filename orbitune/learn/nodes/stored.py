"""Images and labels of a satellite as the bytes in which it stores them: what `download` sends, and nobody else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from orbitune.errors import RunError
from orbitune.imagery.imagery import Imagery
from orbitune.learn.inputs import InputSpec, prepare
from orbitune.learn.nodes.satellite import Samples
from orbitune.learn.objectives import UNKNOWN

UNKNOWN_BYTE = 255
"""How a pixel of no known class is stored: -1 in a byte."""

PIXELS: dict[int, np.dtype[np.uint8] | np.dtype[np.uint16]] = {1: np.dtype("<u1"), 2: np.dtype("<u2")}
"""Stored values by their size: 8-bit pictures, digital numbers of Sentinel-2."""


@dataclass(frozen=True)
class Store:
    """How a data set stores one sample; read by the satellites that send and the server that receives.

    Attributes:
        channels, full_scale: Of the images, see `imagery.Imagery`.
        image_shape: Of one image (C, P, P).
        pixel: Type of a stored value.
        label_shape: Of one label as learning reads it.
        label: Its type there. Stored are a byte for a class, a bit for each class that may or may not be there, or a
            byte for each pixel with 255 for unknown, as `imagery.listing` counts them.
        inputs: What the model reads.
    """

    channels: tuple[str, ...]
    full_scale: float
    image_shape: tuple[int, ...]
    pixel: np.dtype[np.uint8] | np.dtype[np.uint16]
    label_shape: tuple[int, ...]
    label: torch.dtype
    inputs: InputSpec

    @classmethod
    def of(cls, imagery: Imagery, inputs: InputSpec) -> Store:
        """The store of a data set.

        Raises:
            RunError: Its values have a size that we cannot write.
        """
        shape = imagery.images.shape[1:]
        each = imagery.sample_bytes / float(np.prod(shape))
        if each not in PIXELS:
            raise RunError(f"download: stored values of {each:g} bytes; real runs send images of 1 or 2 bytes a value")
        label = torch.float32 if imagery.labels.dtype.kind == "f" else torch.int64
        return cls(
            imagery.channels, imagery.full_scale, shape, PIXELS[int(each)], imagery.labels.shape[1:], label, inputs
        )

    def write(self, images: NDArray[np.float32], labels: NDArray[np.generic]) -> tuple[bytes, bytes]:
        """Of samples in stored units [n, C, P, P] and their labels.

        Raises:
            RunError: Images hold values that their storage has no place for.
        """
        stored = images.astype(self.pixel)
        if not np.array_equal(stored.astype(np.float32), images):
            raise RunError(
                f"download: images hold values that are no whole numbers of {self.pixel.itemsize} bytes, so they are "
                "not what the satellite stored; choose a data set whose images are not computed from others"
            )
        answers = labels.astype(np.uint8)
        return stored.tobytes(), (np.packbits(answers, axis=1) if self.multilabel else answers).tobytes()

    @property
    def multilabel(self) -> bool:
        """Whether a label is a row of memberships."""
        return len(self.label_shape) == 1

    def read(self, images: bytes, labels: bytes) -> Samples:
        """What `write` wrote, as learning reads it.

        Raises:
            RunError: Images and labels are of different numbers.
        """
        pixels = np.frombuffer(images, self.pixel).reshape(-1, *self.image_shape).astype(np.float32)
        answers = self._labels(labels)
        if len(pixels) != len(answers):
            raise RunError(f"download: {len(pixels)} images and {len(answers)} labels arrived")
        ready = prepare(torch.from_numpy(pixels), self.channels, self.full_scale, self.inputs)
        return Samples(ready, torch.from_numpy(answers).to(self.label))

    def _labels(self, data: bytes) -> NDArray[np.int64]:
        stored = np.frombuffer(data, np.uint8)
        if self.multilabel:
            classes = self.label_shape[0]
            return np.unpackbits(stored.reshape(-1, -(-classes // 8)), axis=1)[:, :classes].astype(np.int64)
        answers = stored.reshape(-1, *self.label_shape).astype(np.int64)
        return np.where(answers == UNKNOWN_BYTE, UNKNOWN, answers) if self.label_shape else answers
