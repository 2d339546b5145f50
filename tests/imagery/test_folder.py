"""The user's own folder: every form of labels is read as written, and everything wrong is said at once."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orbitune.errors import InputError, MissingExtra, PlanError
from orbitune.imagery.imagery import Holdings, Imagery, Selection, holdings, load_imagery


def pixels(number: int, side_px: int = 8) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def plan(folder: Path, how: str = "iid", num_satellites: int = 2) -> Holdings:
    return holdings(Selection("folder", how, folder=folder), num_satellites, 0)


def load(folder: Path, how: str = "iid", num_satellites: int = 2) -> Imagery:
    imagery = load_imagery(Selection("folder", how, folder=folder), num_satellites, 0)
    assert plan(folder, how, num_satellites) == imagery.holdings
    return imagery


def with_table(folder: Path, header: str, cells: str = "", count: int = 40) -> Path:
    """Images i00.png, ... and a table; in `cells`, {n} is the number of the image."""
    for number in range(count):
        save(folder / f"i{number:02d}.png", pixels(number))
    lines = [f"i{number:02d}.png{cells.format(n=number, k=number % 3, d=number % 28 + 1)}" for number in range(count)]
    (folder / "labels.csv").write_text("\n".join([f"file{header}", *lines]) + "\n")
    return folder


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    return with_table(tmp_path, ",label", ",class{k}")


def change(folder: Path, old: str, new: str) -> Path:
    table = folder / "labels.csv"
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new, 1))
    return folder


def problems(folder: Path) -> list[str]:
    """Everything that is wrong, one line each; planning and training must say the same."""
    said = []
    for act in (plan, load):
        with pytest.raises(InputError) as error:
            act(folder)
        head, *lines = str(error.value).splitlines()
        assert head == f"folder {folder}: {len(lines)} problem{'s' if len(lines) > 1 else ''}"
        said.append([line.strip() for line in lines])
    assert said[0] == said[1]
    return said[0]


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    for number in range(60):
        save(tmp_path / ("water", "forest", "sand")[number % 3] / f"{number:02d}.png", pixels(number))
    imagery = load(tmp_path)
    assert imagery.class_names == ("forest", "sand", "water") and imagery.task == "classification"
    assert imagery.channels == ("red", "green", "blue") and imagery.full_scale == 255
    assert imagery.sample_bytes == 8 * 8 * 3 and imagery.label_bytes == 1
    # 20 of each class, so 4 of each are not for training, and of these 12 three are the ground's
    assert (imagery.holdings.num_train, len(imagery.test), len(imagery.unlabelled)) == ((24, 24), 9, 3)
    of = {pixels(number).transpose(2, 0, 1).tobytes(): (2, 0, 1)[number % 3] for number in range(60)}
    for image, label in zip(imagery.images, imagery.labels, strict=True):
        assert of.pop(image.astype(np.uint8).tobytes()) == label
    assert len(of) == 3 and {image.astype(np.uint8).tobytes() for image in imagery.unlabelled} == set(of)


def test_a_table_names_classes_and_splits(tmp_path: Path) -> None:
    folder = with_table(tmp_path, ",label,split", ",class{k},train")
    text = (folder / "labels.csv").read_text().splitlines()
    for number in range(30, 36):
        text[number + 1] = text[number + 1].replace("train", "test")
    for number in range(36, 40):
        text[number + 1] = f"i{number}.png,,ground"
    (folder / "labels.csv").write_text("\ufeff" + "\r\n".join(text), encoding="utf-8")  # as spreadsheets save it
    imagery = load(folder)
    assert np.array_equal(imagery.images, np.stack([pixels(n).transpose(2, 0, 1) for n in range(36)]))
    assert np.array_equal(imagery.unlabelled, np.stack([pixels(n).transpose(2, 0, 1) for n in range(36, 40)]))
    assert imagery.labels.tolist() == [n % 3 for n in range(36)] and imagery.test.tolist() == [*range(30, 36)]


def test_classes_txt_fixes_the_order(classes: Path) -> None:
    (classes / "classes.txt").write_text("class2\nclass0\nclass1\n")
    assert load(classes).class_names == ("class2", "class0", "class1")


def test_several_classes_an_image(tmp_path: Path) -> None:
    folder = with_table(tmp_path, ",label:water,label:sand,split", ",1,0,train")
    change(folder, "i02.png,1,0,train", "i02.png,1,1,train")
    change(folder, "i03.png,1,0,train", "i03.png,0,0,train")
    for number in range(28, 40):
        change(folder, f"i{number}.png,1,0,train", f"i{number}.png,0,1,test")
    imagery = load(folder, "dirichlet")
    assert imagery.task == "multilabel" and imagery.class_names == ("water", "sand")
    assert imagery.labels.dtype == np.float32 and imagery.labels[:4].tolist() == [[1, 0], [1, 0], [1, 1], [0, 0]]


def segmentation(folder: Path) -> Path:
    for number in range(40):
        save(folder / "a" / f"{number:02d}.png", pixels(number))
        save(folder / "masks" / "a" / f"{number:02d}.png", np.full((8, 8), number % 2, np.uint8))
    (folder / "classes.txt").write_text("land\nwater\n")
    return folder


def test_masks_give_each_pixel_a_class(tmp_path: Path) -> None:
    folder = segmentation(tmp_path)
    mask = np.ones((8, 8), np.uint8)
    mask[0, :3] = 0, 255, 1
    save(folder / "masks/a/00.png", mask)
    imagery = load(folder, "dirichlet")
    assert imagery.task == "segmentation" and imagery.class_names == ("land", "water")
    assert imagery.labels.shape == (len(imagery.images), 8, 8) and imagery.label_bytes == 64
    assert imagery.labels[0, 0, :4].tolist() == [0, -1, 1, 1]
    assert (imagery.labels[1] == 1).all() and (imagery.labels[2] == 0).all()


def test_a_table_beside_masks_says_when_and_who(tmp_path: Path) -> None:
    folder = segmentation(tmp_path)
    lines = [f"a/{number:02d}.png,{'train' if number < 30 else 'test'},{number % 2}" for number in range(40)]
    (folder / "labels.csv").write_text("\n".join(["file,split,satellite", *lines]))
    imagery = load(folder, "satellite")
    assert [share.tolist() for share in imagery.train] == [[*range(0, 30, 2)], [*range(1, 30, 2)]]


def test_images_of_the_ground_need_no_mask(tmp_path: Path) -> None:
    folder = segmentation(tmp_path)
    splits = ["train"] * 30 + ["test"] * 6 + ["ground"] * 4
    lines = [f"a/{number:02d}.png,{split}" for number, split in enumerate(splits)]
    (folder / "labels.csv").write_text("\n".join(["file,split", *lines]))
    for number in range(36, 40):
        (folder / f"masks/a/{number}.png").unlink()
    assert len(load(folder).unlabelled) == 4


def test_who_saw_it_by_time_and_place(tmp_path: Path) -> None:
    folder = with_table(tmp_path, ",label,time,latitude,longitude", ",class{k},2024-05-{d:02d}T10:00:00Z,{d},{n}")
    imagery = load(folder, "time", 4)
    day = {pixels(number).transpose(2, 0, 1).tobytes(): number % 28 for number in range(40)}
    days = [[day[imagery.images[sample].astype(np.uint8).tobytes()] for sample in share] for share in imagery.train]
    for earlier, later in pairwise(days):
        assert max(earlier) <= min(later)
    assert plan(folder, "place", 4).num_train == (8, 9, 8, 9)


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    for number in range(40):
        save(tmp_path / "ab"[number % 2] / f"{number}.png", pixels(number)[..., 0])
    imagery = load(tmp_path)
    assert imagery.channels == ("grey",) and imagery.images.shape[1:] == (1, 8, 8)


def test_planning_decodes_no_image(classes: Path) -> None:
    """Damaged pixels are found when they are read, all of them at once."""
    for number in (3, 4):
        path = classes / f"i{number:02d}.png"
        path.write_bytes(path.read_bytes()[:-30])
    assert sum(plan(classes).num_train) == 34
    with pytest.raises(InputError) as error:
        load(classes)
    assert [line.split(":")[0].strip() for line in str(error.value).splitlines()[1:]] == ["i03.png", "i04.png"]


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    folder = with_table(tmp_path, ",label,split,latitude,longitude,time,satellite", ",class{k},train,1,2,2024-05-01,0")
    change(folder, "i01.png,class1,train", "i01.png,,train")
    change(folder, "i02.png,class2,train,1,2", "i02.png,class2,trian,91,nan")
    change(folder, "i03.png,class0,train,1,2,2024-05-01,0", "i03.png,class0,train,1,2,yesterday,-1")
    change(folder, "i04.png", "i94.png")
    change(folder, "i05.png,class2,train,1,2,2024-05-01,0", "i05.png,class2")
    change(folder, "i06.png", "i07.png")
    save(folder / "i08.png", pixels(8, 9))
    save(folder / "i09.png", pixels(9)[..., 0])
    (folder / "i10.png").write_bytes(b"no image")
    (folder / "i11.png").write_bytes((folder / "i11.png").read_bytes()[:-30])
    Image.fromarray(pixels(12)).convert("RGBA").save(folder / "i12.png")
    said = "\n".join(problems(folder))
    for part in (
        "labels.csv line 3: label: empty; only images of split 'ground' need no label",
        "labels.csv line 4: split: 'trian' is not one of train, test, ground",
        "labels.csv line 4: latitude: '91' is not a number of degrees from -90 to 90",
        "labels.csv line 4: longitude: 'nan' is not a number of degrees from -180 to 180",
        "labels.csv line 5: time: 'yesterday' is not a time like",
        "labels.csv line 5: satellite: '-1' is not the number of a satellite, counted from 0",
        "labels.csv line 6: there is no image 'i94.png'",
        "i04.png: has no line in labels.csv",
        "labels.csv line 7: 2 cells; there are 7 columns",
        "labels.csv line 8: 'i07.png' is listed 2 times",
        "labels.csv line 9: 'i07.png' is listed 2 times",
        "i06.png: has no line in labels.csv",
        "i08.png: has 9 x 9 pixels, 3 channels of uint8; the others have 8 x 8 pixels, 3 channels of uint8",
        "i09.png: has 8 x 8 pixels, 1 channels of uint8; the others",
        "i10.png: cannot be read",
        "i11.png: cannot be read",
        "i12.png: its pixels are of mode RGBA; allowed: RGB, and L",
    ):
        assert part in said
    assert len(said.splitlines()) == 17


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (",label,colour", "line 1: unknown column 'colour'; allowed: file, label, split"),
        (",label,label", "line 1: column 'label' occurs twice"),
        (",label,label:a", "line 1: 'label' and 'label:NAME' exclude each other"),
        (",label,latitude", "line 1: latitude and longitude come together"),
        (",split", "line 1: no column 'label' or label:NAME, and no folder masks"),
        ("s,label", "line 1: no column 'file'"),
    ],
)
def test_wrong_columns(tmp_path: Path, header: str, said: str) -> None:
    assert said in "\n".join(problems(with_table(tmp_path, header, ",train,1")))


def test_a_table_that_is_no_text(classes: Path) -> None:
    (classes / "labels.csv").write_bytes(b"\xff\xfe\x00")
    assert problems(classes)[0].startswith("labels.csv: cannot be read")


def test_covers_are_zero_or_one(tmp_path: Path) -> None:
    folder = change(with_table(tmp_path, ",label:a,label:b", ",1,0"), "i00.png,1,0", "i00.png,2,")
    assert problems(folder) == [
        "labels.csv line 2: label:a: '2' is neither 0 nor 1",
        "labels.csv line 2: label:b: empty; only images of split 'ground' need no label",
    ]


def test_classes_that_are_not_listed(classes: Path) -> None:
    (classes / "classes.txt").write_text("class0\nclass1\nclass0\n")
    said = problems(classes)
    assert said[0] == "classes.txt: 'class0' occurs twice" and len(said) == 14
    assert said[1] == "labels.csv line 4: class 'class2' is not in classes.txt"


def test_wrong_masks(tmp_path: Path) -> None:
    folder = segmentation(tmp_path)
    (folder / "masks/a/00.png").unlink()
    save(folder / "masks/a/99.png", np.zeros((8, 8), np.uint8))
    save(folder / "masks/a/01.png", pixels(1))
    save(folder / "masks/a/02.png", np.zeros((9, 9), np.uint8))
    save(folder / "a/03.jpg", pixels(3))
    (folder / "classes.txt").unlink()
    said = "\n".join(problems(folder))
    for part in (
        "classes.txt: missing; it names the classes of the masks",
        "a/00.png: has no mask masks/a/00.png",
        "masks/a/99.png: there is no image for it",
        "a/03.jpg: a/03.png has the same mask; rename one",
        "masks/a/01.png: has 8 x 8 pixels, 3 channels of uint8; for its image it must have 8 x 8 pixels, 1 channels",
        "masks/a/02.png: has 9 x 9 pixels, 1 channels of uint8; for its image it must have 8 x 8 pixels, 1 channels",
    ):
        assert part in said


def test_values_of_masks_without_class(tmp_path: Path) -> None:
    folder = segmentation(tmp_path)
    for number in (0, 1):
        save(folder / f"masks/a/{number:02d}.png", np.full((8, 8), 2, np.uint8))
    with pytest.raises(InputError, match=r"2 problems\n.*masks/a/00.png: value 2; .*\n.*masks/a/01.png: value 2"):
        load(folder)
    whole = (folder / "masks/a/02.png").read_bytes()
    (folder / "masks/a/02.png").write_bytes(whole[:45])
    with pytest.raises(
        InputError, match=r"masks/a/02.png: cannot be read .*\n.*masks/a/00.png: value 2; .*\n.*masks/a/01"
    ):
        load(folder)


def test_images_that_are_not_square(tmp_path: Path) -> None:
    for number in range(40):
        save(tmp_path / "ab"[number % 2] / f"{number}.png", pixels(number)[:6])
    assert any("has 8 x 6 pixels, 3 channels of uint8; images must be square" in line for line in problems(tmp_path))


@pytest.mark.parametrize("count", [0, 1, 4, 20])
def test_too_few_images(tmp_path: Path, count: int) -> None:
    folder = with_table(tmp_path, ",label", ",class{k}", count)
    assert any("are needed" in line for line in problems(folder))


def test_images_beside_class_folders(tmp_path: Path) -> None:
    for number in range(40):
        save(tmp_path / "ab"[number % 2] / f"{number}.png", pixels(number))
    save(tmp_path / "x.png", pixels(99))
    assert problems(tmp_path) == ["x.png: lies in no sub-folder that names its class"]


def test_many_problems_are_counted(tmp_path: Path) -> None:
    folder = with_table(tmp_path, ",label,satellite", ",class{k},x", 80)
    with pytest.raises(InputError, match=r"80 problems(\n.*){50}\n  and 30 more$"):
        plan(folder)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data.folder is not set; it must name a folder"):
        holdings(Selection("folder", "iid"), 2, 0)
    with pytest.raises(InputError, match=r"nowhere: there is no such folder"):
        plan(tmp_path / "nowhere")


def test_the_side_comes_from_the_images(classes: Path) -> None:
    with pytest.raises(PlanError, match=r"data.chip_px = 16: data set folder allows that of the images"):
        holdings(Selection("folder", "iid", chip_px=16, folder=classes), 2, 0)


def test_places_that_nobody_said(classes: Path) -> None:
    with pytest.raises(PlanError, match=r"'place' needs what these data do not say; ways .*: iid, dirichlet"):
        plan(classes, "place")


def test_without_pillow(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtra, match=r"PNG and JPEG files are read by Pillow.*orbitune\[train\]"):
        plan(classes)


def test_without_rasterio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.tif").touch()
    with pytest.raises(MissingExtra, match=r"GeoTIFF files are read by rasterio.*orbitune\[geotiff\]"):
        plan(tmp_path)


def test_geotiff_brings_its_bands(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="GeoTIFF is an optional extra")
    for number in range(40):
        path = tmp_path / "ab"[number % 2] / f"{number:02d}.tif"
        path.parent.mkdir(exist_ok=True)
        bands = np.random.default_rng(number).integers(0, 10_000, (4, 8, 8), dtype=np.uint16)
        place = rasterio.Affine(1e-4, 0.0, 13.0, 0.0, -1e-4, 52.0)  # upper left corner, pixels of 1e-4 degrees
        with rasterio.open(path, "w", "GTiff", 8, 8, 4, "EPSG:4326", place, "uint16") as raster:
            raster.write(bands)
            raster.descriptions = ("B02", "B03", "B04", "B08")
    imagery = load(tmp_path)
    assert imagery.channels == ("B02", "B03", "B04", "B08") and imagery.full_scale == 10_000
    assert imagery.sample_bytes == 4 * 8 * 8 * 2
    known = {np.random.default_rng(n).integers(0, 10_000, (4, 8, 8), dtype=np.uint16).tobytes() for n in range(40)}
    assert {image.astype(np.uint16).tobytes() for image in [*imagery.images, *imagery.unlabelled]} == known


def test_a_damaged_geotiff_is_named(tmp_path: Path) -> None:
    pytest.importorskip("rasterio", reason="GeoTIFF is an optional extra")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.tif").write_bytes(b"no image")
    assert any(line.startswith("a/x.tif: cannot be read") for line in problems(tmp_path))
