"""What the head for semantic segmentation costs."""

from __future__ import annotations

from dataclasses import dataclass

from orbitune.model.partition import Head

DECODER_WIDTH = 64
"""Channels inside it, as `orbitune.learn.objectives` builds it."""


@dataclass(frozen=True)
class DecoderHead(Head):
    """1x1 convolution, ReLU, 1x1 convolution, bilinear upsampling, as `learn.objectives.Decoder`.

    Attributes:
        depth: Channels of the feature map; `feature_width` counts all its values.
        feature_px, label_px: Rows and columns of the feature map and of the labels.
    """

    depth: int
    feature_px: tuple[int, int]
    label_px: tuple[int, int]

    @property
    def params_bytes(self) -> float:
        """Weights and biases of both convolutions in fp32."""
        return 4.0 * ((self.depth + 1) * DECODER_WIDTH + (DECODER_WIDTH + 1) * self.num_classes)

    @property
    def flops_forward(self) -> float:
        """2 FLOPs per multiply-add: two convolutions at each place, then rows and columns of the upsampling."""
        rows, columns = self.feature_px
        high, wide = self.label_px
        convolutions = rows * columns * DECODER_WIDTH * (self.depth + self.num_classes)
        upsampling = self.num_classes * high * columns * (rows + wide)
        return 2.0 * (convolutions + upsampling)

    @property
    def tensor_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of its tensors."""
        return (
            (DECODER_WIDTH, self.depth, 1, 1),
            (DECODER_WIDTH,),
            (self.num_classes, DECODER_WIDTH, 1, 1),
            (self.num_classes,),
        )
