"""How many bytes a tensor takes on a link, for planning; `learn.codec` sends exactly these."""

from __future__ import annotations

CODEC_BYTES = {"fp32": 4, "fp16": 2}
"""Bytes per value of each codec: binary32 and binary16 of IEEE 754-2019, section 3.6, table 3.5."""


def wire_bytes(values: float, codec: str) -> float:
    """Bytes of `values` numbers under a codec. Shapes are known from the plan, so no header is sent."""
    return values * CODEC_BYTES[codec]
