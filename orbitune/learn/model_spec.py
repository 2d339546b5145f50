"""Which model is fine-tuned and where its weights come from, as plain values that a scenario can hold without torch."""

from __future__ import annotations

from dataclasses import dataclass

MODEL_NAMES = ("galileo-nano", "transformers", "timm", "torchgeo", "module")
"""The shipped model, a model of one of three libraries, or a function of the user's own that returns one."""

WEIGHTS = ("pretrained", "random")
"""Read from a file, or an initialisation drawn from the seed."""

SCENE_MONTH = 1
"""February: the shipped Brandenburg scene was taken on 2017-02-16."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One vision model.

    Attributes:
        name: One of `MODEL_NAMES`.
        weights: One of `WEIGHTS`.
        source: transformers: a directory with config.json, or the id of a model in the user's Hugging Face cache; timm
            and torchgeo: the name of the architecture; module: "package.module:function". Nothing for galileo-nano.
        file: A .safetensors file, or a directory with one; "" reads what the source brings.
        cut_points: For a user's module: names of the children after which it may be cut.
        image_px: Side that images are resized to; 0 leaves the choice to the model: its own size, or that of the chips
            where it has none.
        month: Month of the images, 0 for January to 11 for December; galileo-nano alone reads it.
    """

    name: str = "galileo-nano"
    weights: str = "pretrained"
    source: str = ""
    file: str = ""
    cut_points: tuple[str, ...] = ()
    image_px: int = 0
    month: int = SCENE_MONTH

    def __post_init__(self) -> None:
        # Scenarios are checked where they are read; what arrives here wrong is a fault of ours.
        assert self.name in MODEL_NAMES, self.name
        assert self.weights in WEIGHTS, self.weights
        assert self.image_px >= 0 and 0 <= self.month < 12

    @property
    def label(self) -> str:
        """The name, and the source where the name alone does not say which model it is."""
        return f"{self.name}:{self.source}" if self.source else self.name
