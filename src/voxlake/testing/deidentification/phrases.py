"""Free text as it is in practice: something worth keeping, with somebody's identity in it, or with none."""

from __future__ import annotations

from datetime import date
from random import Random
from types import MappingProxyType
from typing import NamedTuple

from voxlake.testing.deidentification.people import Person

__all__ = ["INNOCENT", "Phrase", "innocent_phrase", "telling_phrase"]

INNOCENT = MappingProxyType(
    {
        "CT": (
            "CHEST W/O CONTRAST 5mm",
            "Abdomen portal venous 1.25/0.9 B30f",
            "HEAD 120kV 2.5mm",
            "Thorax I70f 3",
        ),
        "MR": (
            "t2_tse_tra_3mm 256x256",
            "AX FLAIR TR 9000 TE 125",
            "L-SPINE SAG T1",
            "ep2d_diff b 0/500/1000",
        ),
        "PT": ("WB AC 3D OSEM 3i21s", "Static brain 4x4x4 mm", "FDG 60 min p.i.", "PET CTAC 2.0"),
        "NM": (
            "Bone scan ANT/POST",
            "Tc-99m MDP whole body 15%",
            "Myocard stress 128x128",
            "Thyroid 140 keV",
        ),
        "DX": (
            "CHEST PA 110 kV",
            "Left knee AP weight bearing",
            "Hand 2 views",
            "C-spine lateral SID 180 cm",
        ),
        "MG": ("R MLO 28 kVp Rh/Rh", "L CC spot compression", "Screening, density C", "Tomo 25 deg"),
        "RT": (
            "PTV 60 Gy in 30 fractions",
            "Lung SBRT 4x12 Gy",
            "Prostate VMAT 2 arcs 6 MV",
            "GTV margin 5 mm",
        ),
        "SEG": (
            "Liver and lesions",
            "Left hippocampus",
            "Tumor core, threshold 0.5",
            "Airways to 4th generation",
        ),
        "SR": ("Nodule 8 mm, Lung-RADS 3", "No acute abnormality", "Mean SUV 2.5", "Ejection fraction 55%"),
        "PR": ("Window 400/40", "Arrow at segment VI", "Zoom 2.5 lower lobe", "Inverted greys"),
    }
)
"""Text without any identity, by kind of object: all of it must stay."""


class Phrase(NamedTuple):
    """A text, what must go of it, and what must stay."""

    text: str
    secrets: tuple[str, ...]
    kept: str


def innocent_phrase(kind: str, random: Random) -> Phrase:
    """Draw a text that must stay as it is.

    Parameters
    ----------
    kind : str
        Key of `INNOCENT`.
    random : Random
        Where the choice comes from.
    """
    text = random.choice(INNOCENT[kind])
    return Phrase(text, (), text)


def telling_phrase(who: Person, kind: str, seen: date, accession: str, random: Random) -> Phrase:
    """Draw a text that names somebody, of 64 characters at most so that every text VR but SH takes it.

    Parameters
    ----------
    who : Person
        The patient.
    kind : str
        Key of `INNOCENT`.
    seen : date
        A date that the text may tell.
    accession : str
        Number of the order.
    random : Random
        Where the choice comes from.
    """
    kept = random.choice(INNOCENT[kind])
    family, given = who.name_parts[0], who.name_parts[-1]
    candidates = [
        Phrase(f"{kept} {family}", (family,), kept),
        Phrase(f"{family.upper()}, {given.upper()} {kept}", (family, given), kept),
        Phrase(f"{kept} (pt. {given} {family})", (family, given), kept),
        Phrase(f"{family}_{given} {kept}", (family, given), kept),
        Phrase(f"{kept} ref. Dr. {who.doctor}", (who.doctor,), kept),
        Phrase(f"{kept} read by Dr. {who.stranger}", (who.stranger,), kept),
        Phrase(f"{who.hospital} {kept}", (who.hospital_word,), kept),
        Phrase(f"{who.hospital_word.upper()} {kept}", (who.hospital_word,), kept),
        Phrase(f"{kept} ID {who.mrn}", (who.mrn,), kept),
        Phrase(f"{kept} acc# {accession}", (accession,), kept),
        Phrase(f"{kept} SSN {who.insurance}", (who.insurance,), kept),
        Phrase(f"{kept} call {who.phone}", (who.phone,), kept),
        Phrase(f"{kept} {who.email}", (who.email,), kept),
        Phrase(f"{kept} home: {who.address}", (who.street,), kept),
    ]
    for day in (seen, who.born):
        for written in _written(day):
            word = "prior" if day == seen else "DOB"
            candidates.append(Phrase(f"{kept} {word} {written}", (written,), kept))
    return random.choice([phrase for phrase in candidates if len(phrase.text) <= 64])


def _written(day: date) -> tuple[str, ...]:
    return (
        f"{day:%m/%d/%Y}",
        f"{day:%d.%m.%Y}",
        f"{day:%Y-%m-%d}",
        f"{day:%Y%m%d}",
        f"{day:%d-%b-%Y}".upper(),
        f"{day.day} {day:%B %Y}",
        f"{day:%B} {day.day}, {day.year}",
        f"{day:%d.%m.%y}",
    )
