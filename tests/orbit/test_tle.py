"""Two-line element sets: real files are read whole, and each broken one is refused with all its lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sgp4 import exporter

from orbitune.errors import InputError
from orbitune.orbit.elements import ElementSet
from orbitune.orbit.tle import checksum, parse_tle

GIVEN = Path("folder") / "given.tle"

# The example of CelesTrak's "NORAD Two-Line Element Set Format".
NOAA_14 = (
    "NOAA 14",
    "1 23455U 94089A   97320.90946019  .00000140  00000-0  10191-3 0  2621",
    "2 23455  99.0090 272.6745 0008546 223.1686 136.8816 14.11711747148495",
)


def parse(text: str) -> tuple[ElementSet, ...]:
    return parse_tle(GIVEN, text)


def names(text: str) -> tuple[str, ...]:
    return tuple(found.name for found in parse(text))


def signed(line: str) -> str:
    """The line with the checksum that belongs to it."""
    return line[:68] + str(checksum(line))


@pytest.fixture(scope="module")
def sample(repository: Path) -> list[str]:
    return (repository / "orbitune" / "data" / "tle" / "planet_sample.tle").read_text().splitlines()


@pytest.mark.parametrize("name", ["planet_sample.tle", "iridium_sample.tle"])
def test_shipped_files_are_read_whole(repository: Path, name: str) -> None:
    lines = (repository / "orbitune" / "data" / "tle" / name).read_text().splitlines()
    sets = parse("\n".join(lines))
    assert [found.name for found in sets] == [line.strip() for line in lines[::3]]
    assert [found.place for found in sets] == [f"given.tle, line {at}" for at in range(2, len(lines), 3)]
    for found, one, two in zip(sets, lines[1::3], lines[2::3], strict=True):
        assert found.catalogue_number == one[2:7]
        assert found.decay_date is None
        # sgp4 writes a zero exponent with a minus sign, which also changes the checksum.
        written_one, written_two = exporter.export_tle(found.record)
        assert written_one[:-1] == one[:-1].replace("00000+0", "00000-0")
        assert written_two == two


def test_two_lines_three_lines_and_a_leading_zero() -> None:
    name, one, two = NOAA_14
    assert names(f"{one}\n{two}\n") == ("23455",)
    assert names(f"{name}\r\n{one}\r\n{two}\r\n\r\n") == ("NOAA 14",)
    assert names(f"0 {name}\n{one}\n{two}") == ("NOAA 14",)
    assert names(f"1 KUNS-PF\n{one}\n{two}") == ("1 KUNS-PF",)


@pytest.mark.parametrize(
    ("written", "number"),
    # Space-Track's own examples of Alpha-5: A0001, E8493, J2931, P4018, W1928, Z9999.
    [
        ("A0001", "100001"),
        ("E8493", "148493"),
        ("J2931", "182931"),
        ("P4018", "234018"),
        ("W1928", "301928"),
        ("Z9999", "339999"),
        ("00005", "5"),
        ("    5", "5"),
    ],
)
def test_catalogue_numbers_in_alpha_5(written: str, number: str) -> None:
    _, one, two = NOAA_14
    found = parse("\n".join(signed(line.replace("23455", written)) for line in (one, two)))
    assert [a.catalogue_number for a in found] == [number]
    assert found[0].name == number


@pytest.mark.parametrize("written", ["I0001", "O0001", "a0001", "0A001", "     "])
def test_other_letters_are_no_catalogue_number(written: str) -> None:
    _, one, two = NOAA_14
    with pytest.raises(InputError, match=r"line 1: columns 3-7 \(catalogue number\)|line 1 of an element set"):
        parse("\n".join(signed(line.replace("23455", written)) for line in (one, two)))


@given(line=st.integers(0, 1), column=st.integers(0, 68), digit=st.sampled_from("0123456789"))
def test_one_altered_digit_is_always_found(line: int, column: int, digit: str) -> None:
    lines = list(NOAA_14[1:])
    before = lines[line][column]
    if not before.isdigit() or before == digit:
        return
    lines[line] = lines[line][:column] + digit + lines[line][column + 1 :]
    # Without its number a first line passes for a name, and the second one is reported.
    told = rf"given\.tle, line {line + 1}:" if column else r"given\.tle, line [12]:"
    with pytest.raises(InputError, match=told):
        parse("\n".join(lines))


@given(line=st.integers(0, 1), column=st.integers(0, 67))
def test_a_letter_for_a_digit_is_found_even_with_the_right_sum(line: int, column: int) -> None:
    """sgp4 reads 'OOO8546' as eccentricity 0 and says nothing."""
    lines = list(NOAA_14[1:])
    if not lines[line][column].isdigit() or (line == 0 and 9 <= column <= 16):
        return  # the designator may hold letters
    lines[line] = signed(lines[line][:column] + "O" + lines[line][column + 1 :])
    with pytest.raises(InputError, match=r"given\.tle, line [12]:|2 problems"):
        parse("\n".join(lines))


def test_a_wrong_checksum_names_file_line_and_both_sums() -> None:
    name, one, two = NOAA_14
    with pytest.raises(InputError, match=r"given\.tle, line 3: checksum expected 5, found '6'"):
        parse(f"{name}\n{one}\n{two[:-1]}6\n")
    assert checksum(one) == 1


def test_broken_files_are_refused(sample: list[str]) -> None:
    name, one, two = NOAA_14
    cases = {
        "": "line 1: no element set found",
        f"{name}\n{one[:-9]}\n{two}": "line 2: the line has 60 columns, an element line has 69",
        f"{name}\n{one}\n": "line 2: the file ends after line 1",
        f"{name}\n": "ends after the name 'NOAA 14'",
        f"{name}\n{two}\n{one}": "line 2: line 1 of an element set was expected",
        f"{one}\n{one}": "line 2: line 2 of an element set was expected",
        f"{name}\n{one}\n{sample[2]}": "line 3: catalogue number '41610' differs from '23455'",
        f"{one}\n{signed(two.replace(' 99.0090', '199.0090'))}": "line 2: inclination 199.009 must be from 0 to 180",
        f"{one}\n{signed(two.replace('14.11711747', '99.11711747'))}": "line 2: mean motion 99.1171 must be above 0",
        f"{one}\n{signed(two.replace('14.11711747', ' 0.00000000'))}": "line 2: mean motion 0 must be above 0",
        f"{signed(one.replace('320.9', '000.9'))}\n{two}": r"line 1: columns 21-32 \(epoch day\) hold '000.90946019'",
        f"{signed(one.replace('320.9', '367.9'))}\n{two}": r"columns 21-32 \(epoch day\)",
        f"{signed(one[:62] + '4' + one[63:])}\n{two}": "line 1: ephemeris type '4' is SGP4-XP",
        f"{one}\n{signed(two[:7] + '1' + two[8:])}": "line 2: column 8 holds '1', not a blank",
    }
    for text, says in cases.items():
        with pytest.raises(InputError, match=says):
            parse(text)


def test_all_broken_lines_of_a_file_are_told_at_once(sample: list[str]) -> None:
    lines = list(sample)
    lines[1] = lines[1][:-1] + "x"  # checksum
    lines[5] = lines[5][:50]  # too short
    lines[7] = "garbage"  # line 1 of the third set
    del lines[11]  # line 2 of the fourth set
    with pytest.raises(InputError) as caught:
        parse("\n".join(lines))
    message = str(caught.value)
    assert "4 problems" in message
    assert [line.split(":")[0].strip() for line in message.splitlines()[1:-1]] == [
        "line 2",
        "line 6",
        "line 8",
        "line 12",
    ]
    assert message.endswith("correct what is named.")


@pytest.mark.parametrize("at", range(24))
def test_one_lost_line_is_one_problem(sample: list[str], at: int) -> None:
    lines = sample[:at] + sample[at + 1 :]
    if at % 3 == 0:  # without its name a set is called by its number
        assert names("\n".join(lines))[at // 3] == sample[at + 1][2:7]
        return
    with pytest.raises(InputError, match=rf"given\.tle, line {min(at + 1, len(lines))}: "):
        parse("\n".join(lines))


def test_a_long_list_of_broken_lines_is_cut_with_its_count(sample: list[str]) -> None:
    broken = [line[:-1] + "x" if line.startswith(("1 ", "2 ")) else line for line in sample] * 2
    count = sum(line.endswith("x") for line in broken)
    with pytest.raises(InputError) as caught:
        parse("\n".join(broken))
    assert f"{count} problems" in str(caught.value)
    assert f"... and {count - 20} more" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 23
