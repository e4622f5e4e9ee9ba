"""Pseudonyms under one and several generations, dates that patients share, and lists of somebody else."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import date
from pathlib import Path

import pytest

from voxlake.core.errors import ItemError, NotFoundError, SettingsError
from voxlake.privacy.dates import shift_date
from voxlake.privacy.pseudonym_list import PseudonymList, PseudonymListReference, load_pseudonyms
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.store.keys import LakeKey

A, B = bytes(range(32)), bytes(range(32, 64))
ONE, TWO, BOTH = Pseudonymiser(LakeKey(A)), Pseudonymiser(LakeKey(B)), Pseudonymiser(LakeKey(A, B))
SECRET = "ZQXJANEDOE"


def _mac(secret: bytes, purpose: bytes, data: bytes) -> bytes:
    prk = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    key = hmac.new(prk, b"voxlake:1:mac:" + purpose + b"\x01", hashlib.sha256).digest()
    return hmac.new(key, data, hashlib.sha256).digest()


def test_one_generation_gives_what_it_always_gave() -> None:
    """Fixed for ever: every stored lake rests on these."""
    assert ONE.patient("4711") == "P-XCATHDHPHLR3Y"
    assert ONE.uid("1.2.3.4") == "2.25.113150703033317514868230066267169500154"
    assert ONE.shift_days("4711") == 3393
    assert ONE.shift_days("4711", maximum=100) == 43
    assert ONE.token("accession", "A1") == "A35AGEE5TWFE4"
    assert LakeKey(A).fingerprint == "5ab8c392c2c54035"
    assert LakeKey(A).mac("source", b"x").hex()[:32] == "50c3b94c3cf5a38674cf2deaa1420643"
    expected = base64.b32encode(_mac(A, b"patient", b"4711")[:10]).decode()[:13]
    assert ONE.patient("4711") == f"P-{expected}"


def test_two_generations_are_one_after_the_other() -> None:
    assert BOTH.patient("4711") == TWO.patient(ONE.patient("4711"))
    assert BOTH.uid("1.2.3.4") == TWO.uid(ONE.uid("1.2.3.4"))
    assert BOTH.token("accession", "A1") == TWO.token("accession", ONE.token("accession", "A1"))
    assert BOTH.shift_days("4711") == ONE.shift_days("4711") + TWO.shift_days(ONE.patient("4711"))
    assert BOTH.shared_date("20240229") == TWO.shared_date(ONE.shared_date("20240229"))
    assert BOTH.newest.patient("x") == TWO.patient("x")
    assert BOTH.uid("1.2.840.10008.1.2") == "1.2.840.10008.1.2"


def test_shared_dates_depend_on_the_date_alone_and_move() -> None:
    for text in ("20240229", "19700101", "20991231"):
        moved = ONE.shared_date(text)
        days = (_day(text) - _day(moved)).days
        assert 1 <= days <= 3650
        assert ONE.shared_date(text) == moved
        assert TWO.shared_date(text) != moved
        assert ONE.shared_datetime(f"{text}101112.123456+0100") == f"{moved}101112.123456+0100"
        assert ONE.shared_datetime(text) == moved
    assert len({ONE.shared_date(f"2024{month:02d}01") for month in range(1, 13)}) == 12


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024",
        "20230229",
        "2024-02-29",
        "20240229-20240301",
        "\uff12\uff10\uff12\uff14\uff10\uff12\uff12\uff19",
        "00000101",
        "202402290",
    ],
)
def test_what_is_no_full_date_gives_nothing(text: str) -> None:
    assert ONE.shared_date(text) == ""
    assert ONE.shared_datetime(text) == ""


def test_the_edge_of_the_calendar() -> None:
    assert ONE.shared_date("00010101") == ""
    assert ONE.shared_date("00010102") == "00010101"
    assert BOTH.shared_date("00010102") == ""
    assert ONE.shared_datetime("2024022925") != ""


def _day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:]))


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    file = folder / "list.csv"
    file.write_bytes(text.encode(encoding))
    return file


def test_listed_patients_get_the_listed_pseudonym(tmp_path: Path) -> None:
    lines = ["clinic,pseudonym,original", "A,Case 1, 4711 ", "A,Case 1,0815", "", "B,Case 2,Mu\u0308ller"]
    text = "\n".join([*lines, "B,Case 2,M\u00fcller", ""])
    listed = load_pseudonyms(write(tmp_path, text, "utf-8-sig"))
    assert len(listed) == 3
    names = Pseudonymiser(LakeKey(A), listed)
    assert names.patient("4711\0") == names.patient("0815") == "Case 1"
    assert names.patient("M\u00fcller") == names.patient("Mu\u0308ller ") == "Case 2"
    assert names.shift_days("4711") == names.shift_days("0815") == ONE.shift_days("Case 1")
    assert names.shift_days("4711") != ONE.shift_days("4711")
    assert names.patient("other") == ONE.patient("other")
    assert names.uid("1.2.3") == ONE.uid("1.2.3")
    names.check_listed("other")
    assert "4711" not in repr(listed)


def test_a_listed_pseudonym_stands_for_the_first_generation() -> None:
    listed = PseudonymList({"4711": "Case 1"})
    names = Pseudonymiser(LakeKey(A, B), listed)
    assert names.patient("4711") == TWO.patient("Case 1")
    assert names.shift_days("4711") == ONE.shift_days("Case 1") + TWO.shift_days("Case 1")
    assert names.patient("other") == BOTH.patient("other")


def test_unlisted_patients_can_be_refused() -> None:
    names = Pseudonymiser(LakeKey(A), PseudonymList({"4711": "Case 1"}, unlisted="refuse"))
    assert names.patient("4711") == "Case 1"
    for call in (names.patient, names.shift_days, names.check_listed):
        with pytest.raises(ItemError) as caught:
            call(SECRET)
        assert caught.value.reason == "unlisted_patient"
        assert SECRET not in str(caught.value)
    with pytest.raises(ItemError):
        names.check_listed(None)
    with pytest.raises(SettingsError, match="'keyed' or 'refuse'"):
        load_pseudonyms("x", unlisted="drop")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"orignal,pseudonym\n{SECRET},P1\n", "no column 'original'; did you mean 'orignal'"),
        (f"Original,Pseudonym\n{SECRET},P1\n", "no column 'original'; did you mean 'original'"),
        (f"original;pseudonym\n{SECRET};P1\n", "parted by ';'"),
        (f"{SECRET},P1\n", "needs a first line 'original,pseudonym'"),
        ("", "no column 'original'"),
        ("original,original,pseudonym\n", "several columns 'original'"),
        ("original,pseudonym\n", "no patients"),
        (f"original,pseudonym\n{SECRET},\n", "line 2 has no pseudonym"),
        (f"original,pseudonym\n{SECRET}\n", "line 2 has no pseudonym"),
        ("original,pseudonym\n,P1\n", "line 2 has no original"),
        (f"original,pseudonym\n{SECRET},{'x' * 65}\n", "line 2 has a pseudonym of 65 characters"),
        (f"original,pseudonym\n{SECRET},a\\b\n", "line 2 has a pseudonym with a backslash"),
        (f"original,pseudonym\n{SECRET},a\x07b\n", "line 2 has a pseudonym with a backslash, a control"),
        (f"original,pseudonym\n{SECRET},M\u00fc\n", "outside ASCII"),
        (f"original,pseudonym\n{SECRET},P1\nother,P2\n {SECRET},P3\n", "line 4 gives the original of line 2"),
        (
            f"original,pseudonym\n{SECRET},P1\nother,{SECRET}\n",
            "line 3 has a pseudonym that is the original of",
        ),
        (f"original,pseudonym\n{SECRET},{SECRET}\n", "line 2 has a pseudonym that is the original of line 2"),
        (f'original,pseudonym\n"{SECRET}"x,P1\n', "line 2 is no CSV"),
        (f'original,pseudonym\n"{SECRET},P1\n', "is no CSV"),
    ],
)
def test_lists_that_cannot_be_used_are_refused_without_values(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_pseudonyms(write(tmp_path, text))
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_lists_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not UTF-8"):
        load_pseudonyms(write(tmp_path, "original,pseudonym\nM\u00fc,P1\n", "latin-1"))
    with pytest.raises(NotFoundError, match="no such list"):
        load_pseudonyms(tmp_path / "absent.csv")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_pseudonyms(tmp_path)


def test_the_same_pair_twice_and_pairs_in_any_order_are_one_list(tmp_path: Path) -> None:
    first = load_pseudonyms(write(tmp_path, "original,pseudonym\na,1x\nb,2x\na,1x\n"))
    second = load_pseudonyms(write(tmp_path, "pseudonym,original\n2x,b\n1x,a\n"))
    assert first.digest(LakeKey(A)) == second.digest(LakeKey(A)) != first.digest(LakeKey(B))
    assert first.digest(LakeKey(A)) != PseudonymList({"a": "1x"}).digest(LakeKey(A))


def test_a_list_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "original,pseudonym\n4711,Case 1\n")
    reference = PseudonymListReference.make(file, "keyed", LakeKey(A))
    assert reference.open(LakeKey(A)).find("4711") == "Case 1"
    assert "Case" not in repr(reference)
    write(tmp_path, "original,pseudonym\n4711,Case 2\n")
    with pytest.raises(SettingsError, match="was changed"):
        reference.open(LakeKey(A))


def test_intervals_of_a_patient_stay() -> None:
    days = BOTH.shift_days("4711")
    first, second = shift_date("20240101", days), shift_date("20240310", days)
    assert (_day(second) - _day(first)).days == 69
    assert (
        shift_date(shift_date("20240101", ONE.shift_days("4711")), TWO.shift_days(ONE.patient("4711")))
        == first
    )
