"""Make orbitune/data/dubai_patches and orbitune/data/dubai_scenes from a copy of the annotated Dubai imagery.

    python scripts/build_dubai.py patches SOURCE orbitune/data/dubai_patches
    python scripts/build_dubai.py scenes SOURCE orbitune/data/dubai_scenes

SOURCE of the patches: labels.csv (file,class,tile,part,split) and the 2,000 chips of 64 x 64 pixels that it lists,
named TILE_PART_yROW_xCOLUMN.jpg. SOURCE of the scenes: tileT_partPP.jpg and tileT_partPP_mask.png, 72 of each, and
classes.json. Where both come from, and their licence, stand in the README.md beside the results.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Row = dict[str, str]

PATCH_PX = 64

ACROSS = 50
"""Chips side by side in the sheet: 50 x 40 of them."""

FINE_TILES = (7, 8)
"""Tiles shown at about twice the resolution of the others; halved, their houses are about as large as those."""

SCENE_QUALITY = 90
"""JPEG quality of the scenes, which makes 5.0 MB of all 72; the source is JPEG too."""


def sheet(images: Sequence[Image.Image]) -> Image.Image:
    """All chips in one picture, row by row."""
    whole = Image.new("RGB", (ACROSS * PATCH_PX, -(-len(images) // ACROSS) * PATCH_PX))
    for number, image in enumerate(images):
        whole.paste(image, (number % ACROSS * PATCH_PX, number // ACROSS * PATCH_PX))
    return whole


def patch_row(row: Row) -> Row:
    """Where a chip lies, from its name."""
    found = re.search(r"_y(\d+)_x(\d+)\.jpg$", row["file"])
    if found is None:
        sys.exit(f"{row['file']}: the name does not end with the chip's row and column")
    place = {"y": str(int(found[1])), "x": str(int(found[2]))}
    return {key: row[key] for key in ("class", "tile", "part")} | place | {"split": row["split"]}


def order(row: Row) -> tuple[int, ...]:
    """Chips stand in the order of the ground: tile, part, row, column."""
    return tuple(int(row[key]) for key in ("tile", "part", "y", "x"))


def build_patches(source: Path, target: Path) -> None:
    """One JPEG sheet and one table.

    The sheet has the quantisation of its chips and full chroma, so that neighbours in it do not bleed into each other.
    """
    with (source / "labels.csv").open(newline="") as file:
        pairs = sorted(((patch_row(row), row["file"]) for row in csv.DictReader(file)), key=lambda pair: order(pair[0]))
    images = [Image.open(source / name) for _, name in pairs]
    tables = images[0].quantization  # type: ignore[attr-defined]  # of a JPEG; Pillow types the base class alone
    picture = sheet(images)
    picture.save(target / "sheet.jpg", qtables=tables, subsampling=0, optimize=True, progressive=True)
    with (target / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(pairs[0][0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row, _ in pairs)
    lost = np.asarray(Image.open(target / "sheet.jpg"), dtype=float) - np.asarray(picture, dtype=float)
    print(f"{len(pairs)} chips, {psnr_db(lost):.1f} dB")


def psnr_db(lost: np.ndarray) -> float:
    """Peak signal to noise ratio of 8-bit pixels in dB."""
    return float(10 * np.log10(255.0**2 / np.mean(lost**2)))


def scenes(source: Path) -> Iterator[tuple[str, Image.Image, Image.Image]]:
    """Name, image and mask of each scene, the fine ones halved; a halved mask keeps every second pixel."""
    for path in sorted(source.glob("tile*_part??.jpg")):
        image = Image.open(path).convert("RGB")
        mask = Image.open(path.with_name(f"{path.stem}_mask.png")).convert("L")
        if int(path.stem[4]) in FINE_TILES:
            size = (image.width // 2, image.height // 2)
            image, mask = image.resize(size, Image.Resampling.BOX), mask.resize(size, Image.Resampling.NEAREST)
        yield path.stem, image, mask


def build_scenes(source: Path, target: Path) -> None:
    """One JPEG a scene and all masks in one npz file."""
    classes = json.loads((source / "classes.json").read_text())
    masks: dict[str, np.ndarray] = {"classes": np.array([classes[str(index)] for index in range(len(classes))])}
    for name, image, mask in scenes(source):
        image.save(target / f"{name}.jpg", quality=SCENE_QUALITY, optimize=True, progressive=True)
        masks[name] = np.asarray(mask, dtype=np.uint8)
    np.savez_compressed(target / "masks.npz", allow_pickle=False, **masks)
    print(f"{len(masks) - 1} scenes")


def main() -> None:
    """Build what is asked for and say how large it is."""
    kind, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    target.mkdir(parents=True, exist_ok=True)
    {"patches": build_patches, "scenes": build_scenes}[kind](source, target)
    print(f"{target}: {sum(path.stat().st_size for path in target.iterdir())} bytes")


if __name__ == "__main__":
    main()
