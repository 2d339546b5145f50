"""OMM: the same satellites as in TLE, whatever the notation, and one clear error for each broken message."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sgp4 import exporter, omm
from sgp4.api import Satrec, jday
from skyfield.api import EarthSatellite, load
from skyfield.framelib import itrs
from skyfield.sgp4lib import TEME

from orbitune.errors import InputError
from orbitune.orbit.catalogue import read_elements
from orbitune.orbit.elements import ElementSet
from orbitune.orbit.omm import epoch_julian_date
from orbitune.orbit.tle import parse_tle

# Molniya 1-83 and AMC-4 of the SGP4 verification set (Vallado et al., AIAA 2006-6753): deep space, which the
# files of the package do not have.
DEEP = """MOLNIYA 1-83
1 21897U 92011A   06176.02341244 -.00001273  00000-0 -13525-3 0  3044
2 21897  62.1749 198.0096 7421690 253.0462  20.1561  2.01269994104880
AMC-4
1 25954U 99060A   04039.68057285 -.00000108  00000-0  00000-0 0  6847
2 25954   0.0004 243.8136 0001765  15.5294  22.7134  1.00271289 15615
"""
Fields = dict[str, object]


@pytest.fixture(scope="module")
def published(repository: Path) -> tuple[ElementSet, ...]:
    folder = repository / "orbitune" / "data" / "tle"
    files = [read_elements(folder / name) for name in ("planet_sample.tle", "iridium_sample.tle")]
    return (*files[0], *files[1], *parse_tle(Path("deep.tle"), DEEP))


@pytest.fixture(scope="module")
def messages(published: tuple[ElementSet, ...]) -> list[Fields]:
    """What sgp4 writes of them, which is the form that publishers use, but for the epoch, which it cuts off.

    The last digit of a TLE's epoch is 864 microseconds, so the epoch in whole microseconds is exact; one that is
    missing moves the satellite by 8 mm.
    """
    return [{**exporter.export_omm(a.record, a.name), "EPOCH": exact_epoch(a.record)} for a in published]


def exact_epoch(record: Satrec) -> str:
    days = timedelta(days=record.jdsatepoch - 2_451_544.5, microseconds=round(record.jdsatepochF * 86_400e6))
    return (datetime(2000, 1, 1) + days).strftime("%Y-%m-%dT%H:%M:%S.%f")


def as_csv(messages: list[Fields]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(messages[0]), quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(messages)
    return text.getvalue()


def as_json(messages: list[Fields]) -> str:
    return json.dumps(messages)


def as_xml(messages: list[Fields]) -> str:
    root = ElementTree.Element("ndm")
    for fields in messages:
        message = ElementTree.SubElement(root, "omm", id="CCSDS_OMM_VERS", version="3.0")
        header = ElementTree.SubElement(message, "header")
        ElementTree.SubElement(header, "COMMENT").text = "one"
        ElementTree.SubElement(header, "COMMENT").text = "two"
        segment = ElementTree.SubElement(ElementTree.SubElement(message, "body"), "segment")
        blocks = {"metadata": segment, "data": segment}
        blocks = {name: ElementTree.SubElement(parent, name) for name, parent in blocks.items()}
        mean, tle, user = (
            ElementTree.SubElement(blocks["data"], name)
            for name in ("meanElements", "tleParameters", "userDefinedParameters")
        )
        for keyword, value in fields.items():
            own = list(fields).index(keyword)
            epoch, last = list(fields).index("EPOCH"), list(fields).index("MEAN_ANOMALY")
            block = blocks["metadata"] if own < epoch else mean if own <= last else tle
            if keyword == "DECAY_DATE":
                ElementTree.SubElement(user, "USER_DEFINED", parameter=keyword).text = str(value)
            else:
                ElementTree.SubElement(block, keyword).text = str(value)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode")


FORMS = {"csv": as_csv, "json": as_json, "xml": as_xml}


def read(folder: Path, text: str) -> tuple[ElementSet, ...]:
    path = folder / "given.txt"
    path.write_text(text, encoding="utf-8")
    return read_elements(path)


def positions_m(record: Satrec, around: Satrec) -> NDArray[np.float64]:
    """Three days to either side of the epoch of `around`, [T, 3]."""
    days = around.jdsatepochF + np.linspace(-3.0, 3.0, 97)
    errors, position_km, _ = record.sgp4_array(np.full(days.shape, around.jdsatepoch), days)
    assert not errors.any()
    return 1e3 * np.asarray(position_km)


@pytest.mark.parametrize("form", list(FORMS))
def test_an_omm_and_its_tle_give_one_orbit(
    tmp_path: Path, published: tuple[ElementSet, ...], messages: list[Fields], form: str
) -> None:
    found = read(tmp_path, FORMS[form](messages))
    assert [(a.name, a.catalogue_number) for a in found] == [(a.name, a.catalogue_number) for a in published]
    for ours, tle in zip(found, published, strict=True):
        difference_m = positions_m(ours.record, tle.record) - positions_m(tle.record, tle.record)
        assert np.linalg.norm(difference_m, axis=1).max() < 1e-3


@pytest.mark.parametrize("form", ["csv", "xml"])
def test_sgp4s_own_reader_gives_the_same_positions(tmp_path: Path, messages: list[Fields], form: str) -> None:
    text = FORMS[form](messages)
    parse = omm.parse_csv if form == "csv" else omm.parse_xml
    for ours, fields in zip(read(tmp_path, text), parse(io.StringIO(text)), strict=True):
        theirs = Satrec()
        omm.initialize(theirs, fields)
        difference_m = positions_m(ours.record, ours.record) - positions_m(theirs, ours.record)
        # Their epoch is one double: 0.5 microseconds are 4 mm.
        assert np.linalg.norm(difference_m, axis=1).max() < 5e-3


def test_skyfield_gives_the_same_positions(tmp_path: Path, messages: list[Fields]) -> None:
    scale = load.timescale(builtin=True)
    record = read(tmp_path, as_json(messages[:1]))[0].record
    satellite = EarthSatellite.from_omm(scale, messages[0])
    time = scale.utc(2022, 4, 24, 1, 2, 3)
    _, position_km, _ = record.sgp4(*jday(2022, 4, 24, 1, 2, 3))
    theirs_km = satellite.at(time).frame_xyz(TEME).km
    assert np.linalg.norm(np.array(position_km) - theirs_km) < 1e-5
    assert np.linalg.norm(satellite.at(time).frame_xyz(itrs).km) == pytest.approx(np.linalg.norm(position_km))


@pytest.mark.parametrize("form", list(FORMS))
def test_nine_digits_and_the_day_of_decay_are_kept(tmp_path: Path, messages: list[Fields], form: str) -> None:
    fields: Fields = {**messages[0], "NORAD_CAT_ID": 799_500_123, "DECAY_DATE": "2022-05-03"}
    found = read(tmp_path, FORMS[form]([fields, {**messages[1], "DECAY_DATE": ""}]))
    assert found[0].catalogue_number == "799500123"
    assert [a.decay_date for a in found] == ["2022-05-03", None]
    reference = read(tmp_path, as_json(messages[:1]))[0].record
    assert np.array_equal(positions_m(found[0].record, reference), positions_m(reference, reference))


def test_places_name_file_and_line_or_object(tmp_path: Path, messages: list[Fields]) -> None:
    assert [a.place for a in read(tmp_path, as_csv(messages[:2]))] == ["given.txt, line 2", "given.txt, line 3"]
    for form in (as_json, as_xml):
        assert [a.place for a in read(tmp_path, form(messages[:2]))] == ["given.txt, object 1", "given.txt, object 2"]


def test_one_object_a_byte_order_mark_and_a_namespace_are_read(tmp_path: Path, messages: list[Fields]) -> None:
    assert len(read(tmp_path, json.dumps(messages[0]))) == 1
    assert len(read(tmp_path, "\ufeff" + as_csv(messages[:2]))) == 2
    one = ElementTree.fromstring(as_xml(messages[:1]))[0]
    one.set("xmlns", "urn:ccsds:schema:ndmxml")
    assert len(read(tmp_path, ElementTree.tostring(one, encoding="unicode"))) == 1


def test_what_publishers_leave_out_is_not_asked_for(tmp_path: Path, messages: list[Fields]) -> None:
    """CelesTrak's JSON has no frame, time system or theory; a set may lack name, designator and derivatives."""
    needed = (
        "NORAD_CAT_ID EPOCH MEAN_MOTION ECCENTRICITY INCLINATION RA_OF_ASC_NODE ARG_OF_PERICENTER MEAN_ANOMALY BSTAR"
    )
    short = {keyword: messages[0][keyword] for keyword in needed.split()}
    found = read(tmp_path, json.dumps([short, {**short, "OBJECT_NAME": None, "DECAY_DATE": None}]))
    assert [a.name for a in found] == ["41610", "41610"]


@given(
    moment=st.datetimes(datetime(1957, 10, 4), datetime(2099, 12, 31)),
    of_year=st.booleans(),
    zulu=st.booleans(),
)
def test_epochs_of_both_forms(moment: datetime, of_year: bool, zulu: bool) -> None:
    text = moment.strftime("%Y-%jT%H:%M:%S.%f" if of_year else "%Y-%m-%dT%H:%M:%S.%f") + "Z" * zulu
    found = epoch_julian_date(text)
    assert found is not None
    # The Julian date of 2000-01-01 12:00 is 2451545.
    since = timedelta(days=found[0] - 2_451_545.0) + timedelta(days=found[1])
    assert abs(datetime(2000, 1, 1, 12, tzinfo=UTC) + since - moment.replace(tzinfo=UTC)) <= timedelta(microseconds=1)


@pytest.mark.parametrize(
    "text",
    [
        "2025-02-29T00:00:00",
        "2025-366T00:00:00",
        "2025-000T00:00:00",
        "2025-06-01",
        "2025-06-01T24:00:00",
        "now",
        "2025-06-01T00:00:00+02:00",
        "0000-01-01T00:00:00",
        "2025-06-01 00:00:00",
    ],
)
def test_other_texts_are_no_epoch(text: str) -> None:
    assert epoch_julian_date(text) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"EPOCH": ""}, "EPOCH is missing, which SGP4 needs"),
        ({"EPOCH": "", "BSTAR": ""}, "EPOCH, BSTAR are missing"),
        ({"EPOCH": "tomorrow"}, "EPOCH = tomorrow must be a date and time"),
        ({"MEAN_ELEMENT_THEORY": "DSST"}, "MEAN_ELEMENT_THEORY is DSST, and SGP4 is needed"),
        ({"MEAN_ELEMENT_THEORY": "SGP4-XP"}, "MEAN_ELEMENT_THEORY is SGP4-XP"),
        ({"EPHEMERIS_TYPE": 4}, "ephemeris type '4' is SGP4-XP"),
        ({"REF_FRAME": "EME2000"}, "REF_FRAME is EME2000, and TEME is needed"),
        ({"TIME_SYSTEM": "TAI"}, "TIME_SYSTEM is TAI, and UTC is needed"),
        ({"CENTER_NAME": "MARS"}, "CENTER_NAME is MARS, and EARTH is needed"),
        ({"ECCENTRICITY": 1.0}, "eccentricity 1 must be at least 0 and below 1"),
        ({"ECCENTRICITY": -0.1}, "eccentricity -0.1 must"),
        ({"INCLINATION": 180.1}, "inclination 180.1 must be from 0 to 180 degrees"),
        ({"MEAN_MOTION": 0.0}, "mean motion 0 must be above 0 and at most 17.04"),
        ({"MEAN_MOTION": 17.1}, "mean motion 17.1 must"),
        ({"MEAN_ANOMALY": "12,5"}, "MEAN_ANOMALY = 12,5 is not a number"),
        ({"BSTAR": "nan"}, "BSTAR = nan is not a number"),
        ({"RA_OF_ASC_NODE": "1e999"}, "RA_OF_ASC_NODE = 1e999 is not a number"),
        ({"NORAD_CAT_ID": "1234567890"}, "NORAD_CAT_ID = 1234567890 must be a whole number of up to nine digits"),
        ({"NORAD_CAT_ID": "25544.0"}, "NORAD_CAT_ID = 25544.0 must be a whole number"),
        ({"DECAY_DATE": "2025-13-01"}, "DECAY_DATE = 2025-13-01 must be a date"),
    ],
)
@pytest.mark.parametrize("form", list(FORMS))
def test_a_broken_message_says_why(
    tmp_path: Path, messages: list[Fields], form: str, change: Fields, says: str
) -> None:
    place = "line 3" if form == "csv" else "object 2"
    same = dict.fromkeys(change, "") if "DECAY_DATE" in change else {}
    with pytest.raises(InputError) as caught:
        read(tmp_path, FORMS[form]([{**messages[0], **same}, {**messages[1], **change}]))
    assert f"given.txt, {place}: {says}" in str(caught.value)
    assert "Fetch the element sets again or correct" in str(caught.value)


@pytest.mark.parametrize("form", list(FORMS))
def test_all_broken_messages_are_told_at_once(tmp_path: Path, messages: list[Fields], form: str) -> None:
    broken = [{**fields, "EPOCH": "", "INCLINATION": 200} for fields in (messages * 2)[:15]]
    with pytest.raises(InputError) as caught:
        read(tmp_path, FORMS[form](broken))
    assert "30 problems" in str(caught.value)
    assert "... and 10 more" in str(caught.value)


def test_a_csv_without_a_column_is_one_problem(tmp_path: Path, messages: list[Fields]) -> None:
    without = [{a: value for a, value in fields.items() if a != "EPOCH"} for fields in messages]
    with pytest.raises(InputError, match=r"given\.txt, header: EPOCH is missing, which SGP4 needs\. Fetch"):
        read(tmp_path, as_csv(without))


def test_files_that_are_something_else_are_refused(tmp_path: Path, messages: list[Fields]) -> None:
    table = as_csv(messages[:2])
    cases = {
        "[]": r"file: no element set \(OMM\) found",
        "[1, 2]": "object 1: is not an object",
        '{"EPOCH": 1,': "line 1: is not JSON",
        '{"EPOCH": 1, "EPOCH": 2}': "keyword EPOCH occurs twice",
        "<html><body>404</body></html>": r"no element set \(OMM\) found",
        "<ndm>\n<omm>": "line 2: is not XML",
        "<omm><EPOCH>1</EPOCH><EPOCH>2</EPOCH></omm>": "object 1: keyword EPOCH occurs twice",
        table.splitlines()[0]: r"no element set \(OMM\) found",
        table + '"1","2"\n': "line 4: the row has 2 cells, the header 21",
        table + '"1" 2,"3': "line 4: the row cannot be split into cells",
        table.replace("OBJECT_ID", "OBJECT_NAME", 1): "header: column 'OBJECT_NAME' occurs twice",
        "CCSDS_OMM_VERS = 3.0\nEPOCH = 2025-06-01T00:00:00": "Fetch it as CSV, JSON or XML",
    }
    for text, says in cases.items():
        with pytest.raises(InputError, match=says):
            read(tmp_path, text)
