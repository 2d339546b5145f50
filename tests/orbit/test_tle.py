"""Element set files: the real ones are read whole, and each broken one is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sgp4 import exporter

from orbitune.errors import InputError
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.tle import checksum, read_tle

# The example of CelesTrak's "NORAD Two-Line Element Set Format".
NOAA_14 = (
    "NOAA 14",
    "1 23455U 94089A   97320.90946019  .00000140  00000-0  10191-3 0  2621",
    "2 23455  99.0090 272.6745 0008546 223.1686 136.8816 14.11711747148495",
)


@pytest.fixture(scope="module")
def sample(repository: Path) -> Path:
    return repository / "orbitune" / "data" / "tle" / "planet_sample.tle"


def read_text(folder: Path, text: str) -> Constellation:
    path = folder / "given.tle"
    path.write_text(text, encoding="utf-8")
    return read_tle(path)


def test_shipped_files_are_read_whole(repository: Path) -> None:
    for name in ("planet_sample.tle", "iridium_sample.tle"):
        path = repository / "orbitune" / "data" / "tle" / name
        lines = path.read_text().splitlines()
        constellation = read_tle(path)
        assert constellation.names == tuple(line.strip() for line in lines[::3])
        assert constellation.planes == tuple((satellite,) for satellite in range(len(lines) // 3))
        assert not any(constellation.has_rings)
        for record, one, two in zip(constellation.elements, lines[1::3], lines[2::3], strict=True):
            # sgp4 writes a zero exponent with a minus sign, which also changes the checksum.
            written_one, written_two = exporter.export_tle(record)
            assert written_one[:-1] == one[:-1].replace("00000+0", "00000-0")
            assert written_two == two


def test_two_lines_three_lines_and_a_leading_zero(tmp_path: Path) -> None:
    name, one, two = NOAA_14
    assert read_text(tmp_path, f"{one}\n{two}\n").names == ("23455",)
    assert read_text(tmp_path, f"{name}\r\n{one}\r\n{two}\r\n\r\n").names == ("NOAA 14",)
    assert read_text(tmp_path, f"0 {name}\n{one}\n{two}").names == ("NOAA 14",)
    assert read_text(tmp_path, f"1 KUNS-PF\n{one}\n{two}").names == ("1 KUNS-PF",)


def test_repeated_names_get_their_catalogue_number(sample: Path, tmp_path: Path) -> None:
    lines = sample.read_text().splitlines()
    lines[0] = lines[3] = "FLOCK"
    names = read_text(tmp_path, "\n".join(lines)).names
    assert names[:2] == ("FLOCK (41610)", "FLOCK (42026)")
    assert names[2] == lines[6].strip()


@given(line=st.integers(0, 1), column=st.integers(0, 68), digit=st.sampled_from("0123456789"))
def test_one_altered_digit_is_always_found(
    tmp_path_factory: pytest.TempPathFactory, line: int, column: int, digit: str
) -> None:
    lines = list(NOAA_14[1:])
    before = lines[line][column]
    if not before.isdigit() or before == digit:
        return
    lines[line] = lines[line][:column] + digit + lines[line][column + 1 :]
    # Without its number a first line passes for a name, and the second one is reported.
    told = rf"given\.tle, line {line + 1}:" if column else r"given\.tle, line [12]:"
    with pytest.raises(InputError, match=told):
        read_text(tmp_path_factory.mktemp("tle"), "\n".join(lines))


def test_a_wrong_checksum_names_file_line_and_both_sums(tmp_path: Path) -> None:
    name, one, two = NOAA_14
    with pytest.raises(InputError, match=r"given\.tle, line 3: checksum expected 5, found '6'"):
        read_text(tmp_path, f"{name}\n{one}\n{two[:-1]}6\n")
    assert checksum(one) == 1


def test_broken_files_are_refused(sample: Path, tmp_path: Path) -> None:
    name, one, two = NOAA_14
    lines = sample.read_text().splitlines()
    cases = {
        "": "no element set found",
        f"{name}\n{one[:-9]}\n{two}": "line 2: the line has 60 columns, an element line has 69",
        f"{name}\n{one}\n": "line 2: the file ends after line 1",
        f"{name}\n": "ends after the name 'NOAA 14'",
        f"{name}\n{two}\n{one}": "line 2: line 1 of an element set was expected",
        f"{one}\n{one}": "line 2: line 2 of an element set was expected",
        f"{name}\n{one}\n{lines[2]}": "line 3: catalogue number '41610' differs from '23455'",
        f"{one}\n{two}\n{name}\n{one}\n{two}": "line 4: satellite 23455 .* is in line 1 already",
        "<html>\n<body>404 not found</body>\n</html>": "line 2: line 1 of an element set was expected",
    }
    for text, says in cases.items():
        with pytest.raises(InputError, match=says):
            read_text(tmp_path, text)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.tle: cannot be read"):
        read_tle(tmp_path / "missing.tle")
    (tmp_path / "binary.tle").write_bytes(b"\x80\x81\xff\x00")
    with pytest.raises(InputError, match="not a text file"):
        read_tle(tmp_path / "binary.tle")
