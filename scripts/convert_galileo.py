"""Make orbitune/data/galileo_nano/encoder.safetensors from the published Galileo nano state dict.

    python scripts/convert_galileo.py encoder.pt orbitune/data/galileo_nano/encoder.safetensors

Values are copied unchanged; tensors that one Sentinel-2 acquisition with NDVI never reads are left out, and the keys
become those of `orbitune.learn.backbones.Backbone`. The pickle is read with `weights_only=True`, so it runs no code.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from orbitune.learn.backbones.galileo import BAND_GROUPS, build_galileo, fixed_code
from orbitune.learn.backbones.weights import mismatches


def converted(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors that we need, under our names."""
    ours = {key: value for key, value in published.items() if key.startswith("blocks.")}
    ours |= {f"final.norm.{part}": published[f"norm.{part}"] for part in ("weight", "bias")}
    for group in BAND_GROUPS:
        for part in ("weight", "bias"):
            ours[f"embedding.patch.{group}.{part}"] = published[f"space_time_embed.{group}.proj.{part}"]
    # Row 0 is Sentinel-1; rows 1 to 6 stand in the order of BAND_GROUPS.
    ours["embedding.channel"] = published["s_t_channel_embed"][1:]
    return {key: value.contiguous() for key, value in ours.items()}


def fixed_code_agrees(published: dict[str, Tensor]) -> bool:
    """Whether the tables of time step and month are what `fixed_code` computes for each month."""
    first_step = published["pos_embed"][0].expand(12, -1)
    tables = torch.cat([first_step, published["month_embed.weight"]], dim=1)
    ours = torch.cat([fixed_code(grid=1, month=month)[:, : tables.shape[1]] for month in range(12)])
    return torch.allclose(ours.float(), tables, rtol=0.0, atol=1e-6)


def main() -> None:
    """Convert, check that the file holds what the model needs, write."""
    source, target = map(Path, sys.argv[1:])
    published = torch.load(source, weights_only=True)
    if not fixed_code_agrees(published):
        sys.exit("the tables of time step and month are not the computed ones")
    tensors = converted(published)
    problems = mismatches(dict(build_galileo(chip_px=32).named_parameters()), tensors)
    if problems:
        sys.exit("\n".join(problems))
    save_file(tensors, target, metadata={"source": "nasaharvest/galileo, models/nano/encoder.pt", "license": "MIT"})
    print(f"{target}: {len(tensors)} tensors, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
