"""The user's own images: a folder of PNG, JPEG or GeoTIFF files with labels.

All images are square and of one size, kind and number of channels; each is one sample. Values are stored units: a full
signal is 255 in 8-bit files, 10000 in 16-bit ones (reflectance of Sentinel-2) and 1 in 32-bit floats. PNG and JPEG have
the channels red, green, blue, or grey; GeoTIFF those that its band descriptions name ("B02", ...), else red, green,
blue if there are three, else band1, band2, ... . Labels come in one of four forms:

one class an image, by sub-folders      FOLDER/forest/a.png, FOLDER/water/b.png
one class an image, by a table          FOLDER/labels.csv with the columns file,label
several classes an image (multi-label)  FOLDER/labels.csv with file and a column label:NAME of 0 or 1 for each class
a class for each pixel (segmentation)   FOLDER/masks/a.png for FOLDER/a.tif: 8-bit grey, value k is line k (from 0) of
                                        FOLDER/classes.txt, 255 is unknown; labels.csv may be there, without label

labels.csv has a first line with the names of its columns, and then one line for each image. All columns but file are
optional:

file                 path of the image, relative to the folder
split                train, test, or ground (images without label, which the ground owns; their label may be empty)
latitude,longitude   degrees; they allow data.assignment = "place"
time                 when it was taken, ISO 8601, in UTC unless it says otherwise; allows "time"
satellite            which satellite took it, counted from 0; allows "satellite"

classes.txt, one name a line, fixes the order of classes; without it they are sorted by name. Without split every fifth
image of each class, by file name, is for testing; of scenes that lie close together better give the split yourself.
Where no image is of the ground, every fifth of those for testing becomes one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import InputError
from orbitune.imagery.assign import Traits
from orbitune.imagery.folder_table import GROUND, TABLE, TEST, TRAIN, Row, Table, read_table
from orbitune.imagery.listing import (
    CLASSIFICATION,
    MULTILABEL,
    SEGMENTATION,
    Listing,
    Pixels,
    most_frequent,
    train_test_ground,
)
from orbitune.imagery.pictures import FULL_SCALE, MODES, SUFFIXES, Form, PictureError, look, read

MASKS = "masks"
CLASSES = "classes.txt"

UNKNOWN = 255
"""Value of a mask where the class is not known: the greatest of a byte, as in PASCAL VOC (Everingham et al. 2010, doi
10.1007/s11263-009-0275-4)."""

TEST_EVERY = 5
"""One image in five is for testing where the user says nothing: the share of our other data sets."""

MIN_TEST, MIN_GROUND = 1, 2
"""Something to judge on, and two images for the spread of features, which one does not have."""

MOST_SHOWN = 50
"""Problems written out in one message; more would only scroll away."""


@dataclass(frozen=True)
class Own:
    """A folder that is in order: rows for training, then for testing, then of the ground."""

    path: Path
    task: str
    class_names: tuple[str, ...]
    form: Form
    rows: tuple[Row, ...]
    num_train: int
    num_test: int


def own_images(path: Path | None) -> Listing:
    """The images of a folder, from its tables and the headers of its images.

    Raises:
        InputError: Something is wrong; the message lists everything that is, with file and line.
        MissingExtra: The library that reads its images is not installed.
    """
    if path is None or not path.is_dir():
        given = "data.folder is not set" if path is None else f"data.folder = {path}: there is no such folder"
        raise InputError(f"{given}; it must name a folder with images and labels")
    own = _checked(path)
    return Listing(
        own.task,
        own.class_names,
        own.form.channels,
        FULL_SCALE[own.form.dtype],
        np.dtype(own.form.dtype).itemsize,
        own.form.width,
        _traits(own),
        own.num_test,
        partial(_read, own),
    )


def _checked(path: Path) -> Own:
    """Look at everything, then refuse it all at once or return it."""
    files = _image_files(path)
    task, table = _table(path, files)
    problems = list(table.problems)
    if table.rows or not problems:  # a first line that cannot be used leaves nothing to match
        problems += _match(table.rows, files)
    class_names, wrong = _class_names(path, task, table)
    problems += wrong
    forms = _look(path, [file for file in files if not _is_mask(file)], problems)
    masks: dict[str, Form] = {}
    if task == SEGMENTATION:
        masks = _look(path, [file for file in files if _is_mask(file)], problems)
        problems += _match_masks(table.rows, forms, masks)
    if not problems:
        order, num_train, num_test = _split(table.rows)
        problems += _too_few(num_train, num_test, len(order) - num_train - num_test)
    if problems:
        # Something is wrong anyway, so the time to look for damaged pixels too is well spent.
        _read_all(path, sorted({**forms, **masks}), problems)
        raise _refusal(path, problems)
    rows = tuple(table.rows[number] for number in order)
    return Own(path, task, class_names, forms[rows[0].file], rows, num_train, num_test)


def _refusal(path: Path, problems: Sequence[str]) -> InputError:
    more = [f"and {len(problems) - MOST_SHOWN} more"] if len(problems) > MOST_SHOWN else []
    lines = "\n".join(f"  {problem}" for problem in [*problems[:MOST_SHOWN], *more])
    return InputError(f"folder {path}: {len(problems)} problem{'s' if len(problems) > 1 else ''}\n{lines}")


def _image_files(path: Path) -> list[str]:
    """Images and masks below a folder, sorted, hidden ones left out."""
    found = (file.relative_to(path) for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    return sorted(file.as_posix() for file in found if not any(part.startswith(".") for part in file.parts))


def _is_mask(file: str) -> bool:
    return file.startswith(f"{MASKS}/")


def _table(path: Path, files: Sequence[str]) -> tuple[str, Table]:
    """The task, and the table of the folder, made from the names of its files where there is none."""
    images = [file for file in files if not _is_mask(file)]
    if (path / TABLE).exists():
        table = read_table(path / TABLE)
        if (path / MASKS).is_dir():
            return SEGMENTATION, _without_labels(table)
        return (MULTILABEL, table) if table.covers else (CLASSIFICATION, _with_labels(table))
    if (path / MASKS).is_dir():
        return SEGMENTATION, Table(tuple(Row(file, file) for file in images), ("file",), ())
    problems = tuple(f"{file}: lies in no sub-folder that names its class" for file in images if "/" not in file)
    rows = tuple(Row(file, file, label=file.split("/")[0] if "/" in file else "") for file in images)
    return CLASSIFICATION, Table(rows, ("file", "label"), problems)


def _without_labels(table: Table) -> Table:
    named = [name for name in table.columns if name.startswith("label")]
    wrong = f"{TABLE} line 1: column '{named[0]}' beside a folder {MASKS}; keep one of them" if named else ""
    return replace(table, problems=(*table.problems, wrong)) if wrong else table


def _with_labels(table: Table) -> Table:
    if not table.columns or "label" in table.columns:
        return table
    missing = f"{TABLE} line 1: no column 'label' or label:NAME, and no folder {MASKS}"
    return replace(table, problems=(missing, *table.problems))


def _match(rows: Sequence[Row], files: Sequence[str]) -> list[str]:
    """Rows without image, rows said twice, images without row."""
    images = {file for file in files if not _is_mask(file)}
    problems = [f"{row.where}: there is no image '{row.file}'" for row in rows if row.file not in images]
    count = Counter(row.file for row in rows)
    problems += [f"{row.where}: '{row.file}' is listed {count[row.file]} times" for row in rows if count[row.file] > 1]
    return problems + [f"{file}: has no line in {TABLE}" for file in sorted(images - set(count))]


def _match_masks(rows: Sequence[Row], forms: dict[str, Form], masks: dict[str, Form]) -> list[str]:
    """Images without mask, masks without image, masks of another size or kind."""
    grounds = {row.file for row in rows if row.split == GROUND}
    image_of = {_mask_of(file): file for file in forms}
    shared = [file for file in forms if image_of[_mask_of(file)] != file]
    problems = [f"{file}: {image_of[_mask_of(file)]} has the same mask; rename one" for file in shared]
    problems += [
        f"{image}: has no mask {mask}"
        for mask, image in image_of.items()
        if {mask, image}.isdisjoint({*masks, *grounds})
    ]
    problems += [f"{mask}: there is no image for it" for mask in sorted(set(masks) - set(image_of))]
    for mask in sorted(set(masks) & set(image_of)):
        wanted = replace(forms[image_of[mask]], channels=MODES["L"], dtype="uint8")
        if masks[mask] != wanted:
            problems.append(f"{mask}: has {masks[mask]}; for its image it must have {wanted}")
    return problems


def _mask_of(file: str) -> str:
    return f"{MASKS}/{Path(file).with_suffix('.png').as_posix()}"


def _class_names(path: Path, task: str, table: Table) -> tuple[tuple[str, ...], list[str]]:
    """Names of the classes in their order, and what is wrong with them."""
    if task == MULTILABEL:
        return table.covers, []
    used = sorted({row.label for row in table.rows if row.label})
    if (path / CLASSES).is_file():
        try:
            names = tuple((path / CLASSES).read_text(encoding="utf-8").split("\n"))
        except (OSError, UnicodeDecodeError) as error:
            return (), [f"{CLASSES}: cannot be read ({error})"]
        names = tuple(name.strip() for name in names if name.strip())
        twice = [f"{CLASSES}: '{name}' occurs twice" for name, count in Counter(names).items() if count > 1]
        unknown = [
            f"{row.where}: class '{row.label}' is not in {CLASSES}"
            for row in table.rows
            if row.label and row.label not in names
        ]
        return names, twice + unknown
    if task == SEGMENTATION:
        return (), [f"{CLASSES}: missing; it names the classes of the masks, one a line, that of value 0 first"]
    return tuple(used), [] if len(used) != 1 else [f"all images are of one class, '{used[0]}'; two or more are needed"]


def _look(path: Path, files: Sequence[str], problems: list[str]) -> dict[str, Form]:
    """Forms of the images that can be read; what is wrong with the others, or unlike the rest, goes to `problems`."""
    forms: dict[str, Form] = {}
    for file in files:
        try:
            forms[file] = look(path / file)
        except PictureError as error:
            problems.append(f"{file}: {error}")
    if not forms:
        return forms
    usual = Counter(forms.values()).most_common(1)[0][0]
    problems += [f"{file}: has {form}; the others have {usual}" for file, form in forms.items() if form != usual]
    if usual.width != usual.height:
        problems.append(f"{files[0]}: has {usual}; images must be square, so cut them")
    return forms


def _split(rows: Sequence[Row]) -> tuple[NDArray[np.int64], int, int]:
    """Rows in the order of a listing, how many are for training, and how many for testing."""
    splits = np.array([row.split or TRAIN for row in rows], dtype=str)
    if not any(row.split for row in rows):
        by_class = sorted(range(len(rows)), key=lambda number: (rows[number].label, rows[number].file))
        for _, numbers in groupby(by_class, key=lambda number: rows[number].label):
            splits[list(numbers)[TEST_EVERY - 1 :: TEST_EVERY]] = TEST
    if GROUND not in splits:
        return train_test_ground(splits == TRAIN)
    order = np.concatenate([np.flatnonzero(splits == split) for split in (TRAIN, TEST, GROUND)])
    return order, int((splits == TRAIN).sum()), int((splits == TEST).sum())


def _too_few(num_train: int, num_test: int, num_ground: int) -> list[str]:
    if num_train and num_test >= MIN_TEST and num_ground >= MIN_GROUND:
        return []
    return [
        f"{num_train} images are for training, {num_test} for testing and {num_ground} of the ground; at least 1, "
        f"{MIN_TEST} and {MIN_GROUND} are needed, which 6 images for testing give where none is of the ground"
    ]


def _traits(own: Own) -> Traits:
    """What is known of the images for training."""
    rows = own.rows[: own.num_train]
    classes = partial(_dominant, own, rows)
    positions = _column([(row.latitude, row.longitude) for row in rows if row.latitude is not None], len(rows))
    times_s = _column([row.time for row in rows if row.time is not None], len(rows))
    satellites = _column([row.satellite for row in rows if row.satellite is not None], len(rows))
    return Traits(len(rows), classes, positions, times_s, None if satellites is None else satellites.astype(np.int64))


def _column(values: Sequence[object], count: int) -> NDArray[np.float64] | None:
    """A column that says something of every row; None where there is no such column."""
    return np.array(values, dtype=np.float64) if len(values) == count else None


def _dominant(own: Own, rows: Sequence[Row]) -> NDArray[np.int64]:
    """One class for each image: its own, the first that it shows (or none), or that of most of its pixels."""
    if own.task == MULTILABEL:
        covers = np.array([row.covers for row in rows])
        return np.where(covers.any(axis=1), covers.argmax(axis=1), len(own.class_names))
    return most_frequent(_masks(own, rows)) if own.task == SEGMENTATION else _classes(own, rows)


def _labels(own: Own, rows: Sequence[Row]) -> NDArray[np.generic]:
    """Labels of some images: classes [n], 0 or 1 [n, classes], or classes of pixels [n, P, P]; -1 is unknown."""
    if own.task == MULTILABEL:
        return np.array([row.covers for row in rows], dtype=np.float32)
    return _masks(own, rows) if own.task == SEGMENTATION else _classes(own, rows)


def _classes(own: Own, rows: Sequence[Row]) -> NDArray[np.int64]:
    return np.array([own.class_names.index(row.label) for row in rows], dtype=np.int64)


def _masks(own: Own, rows: Sequence[Row]) -> NDArray[np.int64]:
    """Class of each pixel [n, P, P], -1 where it is unknown."""
    problems: list[str] = []
    files = [_mask_of(row.file) for row in rows]
    masks = _read_all(own.path, files, problems)
    allowed = {*range(len(own.class_names)), UNKNOWN}
    for file, mask in masks.items():
        odd = sorted(set(np.unique(mask).tolist()) - allowed)
        if odd:
            problems.append(f"{file}: value {odd[0]}; allowed: one for each line of {CLASSES}, from 0, and {UNKNOWN}")
    if problems:
        raise _refusal(own.path, problems)
    whole = np.stack(list(masks.values()))[:, 0].astype(np.int64)
    return np.where(whole == UNKNOWN, -1, whole)


def _read_all(path: Path, files: Sequence[str], problems: list[str]) -> dict[str, NDArray[np.generic]]:
    """Pixels of all files that can be read; what is wrong with the others goes to `problems`."""
    found: dict[str, NDArray[np.generic]] = {}
    for file in files:
        try:
            found[file] = read(path / file)
        except PictureError as error:
            problems.append(f"{file}: {error}")
    return found


def _read(own: Own) -> Pixels:
    problems: list[str] = []
    images = _read_all(own.path, [row.file for row in own.rows], problems)
    if problems:
        raise _refusal(own.path, problems)
    return np.stack(list(images.values())).astype(np.float32), _labels(own, own.rows[: own.num_train + own.num_test])
