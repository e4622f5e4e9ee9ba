"""Invented patients with everything that points at them; no name or number is that of a real person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

__all__ = ["Person", "person"]

_FAMILIES = (
    "Kowalczyk", "Abernathy", "Oyelaran", "Thistlewood", "Vandermolen", "Castellanos", "Szymanski",
    "Bhattacharya", "Lindqvist", "Okonkwo", "Featherstone", "MacGillivray", "Papadakis", "Nakagawa",
    "Hrubesova", "Quattrocchi", "Wojciechowski", "O'Shaughnessy", "Smythe-Worthington", "van den Heuvel",
)  # fmt: skip
_GIVENS = (
    "Marguerite", "Ignatius", "Svetlana", "Bartholomew", "Priyanka", "Leopoldo", "Henrietta", "Tobias",
    "Annelise", "Dmitri", "Rosalind", "Chukwuemeka", "Yasmin", "Cornelius", "Philippa", "Matthias",
    "Guinevere", "Aleksander", "Ottoline",
)  # fmt: skip
# Name in the header, its secret parts, and the character set that it needs.
_OTHER_SCRIPTS = (
    ("Müllerová^Žofie", ("Müllerová", "Žofie"), "ISO_IR 192"),
    ("Görlitzer^Jürgen", ("Görlitzer", "Jürgen"), "ISO_IR 100"),
    ("Yamadera^Tarouko=山寺^太郎子=やまでら^たろうこ", ("Yamadera", "Tarouko", "山寺"), "\\ISO 2022 IR 87"),
    ("Иванченко^Людмила", ("Иванченко", "Людмила"), "ISO_IR 144"),
)
_DOCTORS = ("Ravenscroft", "Delacroix", "Stavropoulos", "Nwachukwu", "Berglund", "Ishikawa", "Montefiore")
_STREETS = ("Quillfeather Lane", "Zimtstrasse", "Bramblewick Road", "Rue Fauchelevent")
_TOWNS = ("Easthampstead", "Niederwalluf", "Trenholme", "Vauxmarais")
_HOSPITALS = (
    ("Mercyvale General Hospital", "Mercyvale"),
    ("St. Brannock's Infirmary", "Brannock"),
    ("Klinikum Oberdornau", "Oberdornau"),
    ("Harrowgate Imaging Centre", "Harrowgate"),
)


@dataclass(frozen=True)
class Person:
    """One patient, and the people and places around.

    Parameters
    ----------
    number : int
        Names the patient in the answer key.
    name : str
        As PN value.
    name_parts : tuple of str
        What must not be found any more: family name first.
    charset : str
        Specific Character Set that the name needs.
    born : date
        Birth date.
    sex : str
        F or M.
    doctor, stranger : str
        Family names: of the referring physician in the header, and of one whom the header does not name.
    hospital, hospital_word, address, street, phone, email, mrn, other_id, insurance : str
        As they are called; `hospital_word` and `street` are the words that give them away.
    """

    number: int
    name: str
    name_parts: tuple[str, ...]
    charset: str
    born: date
    sex: str
    doctor: str
    stranger: str
    hospital: str
    hospital_word: str
    address: str
    street: str
    phone: str
    email: str
    mrn: str
    other_id: str
    insurance: str


def person(number: int, seed: int) -> Person:
    """Invent a patient.

    Parameters
    ----------
    number : int
        0 and up; no two numbers give the same name or identifier.
    seed : int
        Of everything that is drawn.
    """
    random = Random(f"{seed}/{number}")  # noqa: S311 - a test set, no secret
    family = _FAMILIES[number % len(_FAMILIES)]
    given = _GIVENS[number % len(_GIVENS)]
    name, charset = f"{family}^{given}", "ISO_IR 100"
    parts: tuple[str, ...] = (family.split()[-1], given)
    if number % 8 == 7:
        name, parts, charset = _OTHER_SCRIPTS[(number // 8) % len(_OTHER_SCRIPTS)]
        name, parts = name.replace("^", f"^{given} ", 1), (*parts, given)
    hospital, word = _HOSPITALS[number % len(_HOSPITALS)]
    street = _STREETS[number % len(_STREETS)]
    digits = [random.randrange(1000, 10000) for _ in range(8)]
    doctor = number % len(_DOCTORS)
    return Person(
        number=number,
        name=name,
        name_parts=parts,
        charset=charset,
        born=date(1925, 1, 1) + timedelta(days=random.randrange(25_000)),
        sex=random.choice("FM"),
        doctor=_DOCTORS[doctor],
        stranger=_DOCTORS[(doctor + 3) % len(_DOCTORS)],
        hospital=hospital,
        hospital_word=word,
        address=f"{digits[0] % 90 + 10} {street}, {_TOWNS[number % len(_TOWNS)]}",
        street=street.split()[-2] if " " in street and not street.startswith("Rue") else street.split()[-1],
        phone=random.choice(
            (
                f"(555) {digits[1] % 900 + 100}-{digits[2]}",
                f"+49 30 {digits[1]}{digits[2]}",
                f"555-{digits[2]}",
            )
        ),
        email=f"{given.lower()}.{digits[3]}@mail.example.org",
        mrn=f"{random.choice(('MRN', 'H', '', 'UH-'))}{digits[4]}{digits[5]}{number:02d}",
        other_id=f"{digits[6]}-{digits[7]}-{number:02d}",
        insurance=f"{digits[0] % 900 + 100}-{digits[1] % 90 + 10}-{digits[2]}",
    )
