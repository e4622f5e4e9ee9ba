"""Putting values into a data set and writing into the answer key, at once, what has to become of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from random import Random

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from voxlake.testing.deidentification.answer_key import Category, Check
from voxlake.testing.deidentification.elements import element_path
from voxlake.testing.deidentification.people import Person
from voxlake.testing.deidentification.phrases import Phrase, innocent_phrase, telling_phrase

__all__ = ["Notes", "Place"]


@dataclass
class Notes:
    """What is known while one file is made.

    Parameters
    ----------
    file : str
        Its name.
    who : Person
        The patient.
    kind : str
        Key of the phrases that fit.
    seen : date
        Day of the study.
    accession : str
        Number of the order.
    random : Random
        Where choices come from.
    checks : list of Check
        What is asked so far.
    secrets : set of str
        What must not be anywhere in the file.
    """

    file: str
    who: Person
    kind: str
    seen: date
    accession: str
    random: Random
    checks: list[Check] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)


@dataclass
class Place:
    """A data set that is being made: the top of a file, or an item of a sequence in it.

    Parameters
    ----------
    notes : Notes
        Of the file.
    dataset : pydicom.Dataset
        What is filled.
    steps : tuple of int
        Tags and item numbers that lead here.
    """

    notes: Notes
    dataset: Dataset = field(default_factory=Dataset)
    steps: tuple[int, ...] = ()

    def put(self, keyword: str, value: object) -> str:
        """Set a value that nobody asks about, and return its path."""
        tag = _tag(keyword)
        self.dataset.add_new(tag, dictionary_VR(tag).split(" or ")[0], value)
        return element_path(*self.steps, tag)

    def keep(self, keyword: str, value: object, *, there: str = "") -> None:
        """Set a value that has to stay.

        Parameters
        ----------
        keyword : str
            DICOM keyword.
        value : object
            What pydicom takes for its VR.
        there : str
            What is asked for in text; by default the whole value where it is text.
        """
        path = self.put(keyword, value)
        self._check(path, Category.TAG_RETAINED)
        if there or isinstance(value, str):
            self._check(path, Category.TEXT_NOT_NULL)
            self._check(path, Category.TEXT_RETAINED, there or str(value))

    def secret(self, keyword: str, value: object, *secrets: str) -> None:
        """Set a value of which nothing may be found any more, anywhere in the file.

        Parameters
        ----------
        keyword : str
            DICOM keyword.
        value : object
            What pydicom takes for its VR.
        *secrets : str
            What is searched for; by default the value.
        """
        self.hide(self.put(keyword, value), *(secrets or (str(value),)))

    def hide(self, path: str, *secrets: str) -> None:
        """Ask that nothing of a value that is planted already is found any more."""
        for secret in secrets:
            self._check(path, Category.TEXT_REMOVED, secret)
            if secret not in self.notes.secrets:
                self.notes.secrets.add(secret)
                self._check("", Category.TEXT_REMOVED, secret)

    def describe(self, keyword: str, *, telling: bool | None = None, kept: bool = True) -> None:
        """Set free text: with an identity, without one, or as it comes.

        Parameters
        ----------
        keyword : str
            DICOM keyword of an LO, ST, LT or UT.
        telling : bool or None
            Whether somebody is named; None leaves it to chance.
        kept : bool
            The innocent part has to stay.
        """
        notes = self.notes
        if notes.random.random() < 0.5 if telling is None else telling:
            phrase = telling_phrase(notes.who, notes.kind, notes.seen, notes.accession, notes.random)
        else:
            phrase = innocent_phrase(notes.kind, notes.random)
        self.phrase(keyword, phrase, kept=kept)

    def phrase(self, keyword: str, phrase: Phrase, *, kept: bool = True) -> None:
        """Set free text whose parts are known."""
        path = self.put(keyword, phrase.text)
        self.hide(path, *phrase.secrets)
        if kept:
            self._check(path, Category.TAG_RETAINED)
            self._check(path, Category.TEXT_NOT_NULL)
            self._check(path, Category.TEXT_RETAINED, phrase.kept)

    def day(self, keyword: str, day: date | None = None, time: str = "") -> None:
        """Set a date, or a date and time, that has to move with all dates of the patient."""
        value = f"{day or self.notes.seen:%Y%m%d}{time}"
        path = self.put(keyword, value)
        who = str(self.notes.who.number)
        self.notes.checks.append(
            Check(self.notes.file, path, Category.DATE_SHIFTED, value, dictionary_VR(_tag(keyword)), who)
        )

    def shared_day(self, keyword: str, value: str) -> None:
        """Set a date of a device or vocabulary, which must not tell the shift."""
        path = self.put(keyword, value)
        who = str(self.notes.who.number)
        self.notes.checks.append(
            Check(self.notes.file, path, Category.SHIFT_HIDDEN, value, dictionary_VR(_tag(keyword)), who)
        )

    def uid(self, keyword: str, value: str) -> None:
        """Set a UID that has to be replaced, by the same one wherever it is."""
        path = self.put(keyword, value)
        self._check(path, Category.UID_CHANGED, value)
        self._check(path, Category.UID_CONSISTENT, value)

    def item(self, keyword: str) -> Place:
        """Add an item to a sequence."""
        tag = _tag(keyword)
        if tag not in self.dataset:
            self.dataset.add_new(tag, "SQ", Sequence())
        items = self.dataset[tag].value
        items.append(Dataset())
        return Place(self.notes, items[-1], (*self.steps, tag, len(items) - 1))

    def code(self, keyword: str, value: str, scheme: str, meaning: str) -> None:
        """Add a coded concept that has to stay."""
        place = self.item(keyword)
        place.keep("CodeValue", value)
        place.keep("CodingSchemeDesignator", scheme)
        place.keep("CodeMeaning", meaning)

    def private(self, tag: int, vr: str, value: object, *secrets: str) -> None:
        """Set a private element: one that has to stay where no secrets are named."""
        self.dataset.add_new(tag, vr, value)
        path = element_path(*self.steps, tag)
        if secrets:
            self.hide(path, *secrets)
        else:
            self._check(path, Category.TAG_RETAINED)
            self._check(path, Category.TEXT_RETAINED, str(value))

    def _check(self, path: str, category: Category, value: str = "") -> None:
        self.notes.checks.append(Check(self.notes.file, path, category, value))


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(f"no attribute is called {keyword}")
    return int(tag)
