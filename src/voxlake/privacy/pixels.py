"""Pixels that nobody checked do not come in: what is held back, and the waivers that let it in.

Nothing here looks at a pixel. An object is held back if images of its kind are known to show names, dates or
numbers: pictures without any header to tell, devices that draw into the frame (ultrasound, angiography,
cameras), captures of screens and paper, and whatever says of itself that text is burned in. A waiver in the
policy is the word of a person, with a reason, that certain pixels hold no identity.

The written rules:

- ``BurnedInAnnotation`` NO frees nothing: devices write it without looking.
- Every rule that holds an object back needs its own waiver; one for ultrasound does not cover an ultrasound
  image that says YES. Only the SOP class of a modality, or the modality of a capture, needs no second one.
- Objects without pixel data pass, and so do NIfTI and NRRD, into which no known program writes text. Faces
  are another matter, for which nothing is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from voxlake.core.errors import ItemError
from voxlake.core.hints import hint
from voxlake.core.settings import Settings
from voxlake.privacy.rule_targets import sop_class_uid

if TYPE_CHECKING:
    from voxlake.privacy.policy import Policy

__all__ = ["FORMATS", "MODALITIES", "PixelFacts", "Waiver", "check_pixels", "pixel_rules"]

FORMATS = ("jpeg", "png", "tiff")
"""Pictures have no header that says what they show: screenshots, scanned letters, photographs of monitors."""

_ULTRASOUND = "the device draws name, date and institution into the frame"
_FLUOROSCOPY = "names are drawn into runs and stored reference frames"
_CAMERA = "video processors draw the name into the frame, and cameras see labels and forms"
_CAPTURE = "captures of screens and scans of paper or film"
_PRINTED = "a curve or document that comes as an image is a page with a heading"

# PS3.3 C.7.3.1.1.1, with the retired terms that archives still hold.
MODALITIES = MappingProxyType(
    dict.fromkeys(("US", "IVUS", "BDUS", "EC", "DD", "CD"), _ULTRASOUND)
    | dict.fromkeys(("XA", "RF", "CF", "DF", "DS", "VF"), _FLUOROSCOPY)
    | dict.fromkeys(("ES", "GM", "XC", "OP", "DMS", "AS", "CP", "CS", "DM", "FA", "FS", "LP", "TG"), _CAMERA)
    | dict.fromkeys(("SC", "OT", "HC"), _CAPTURE)
    | dict.fromkeys(("DOC", "ECG", "EPS", "HD", "SR"), _PRINTED)
)
"""Modalities that are held back, with the reason."""

_CAPTURES = (
    "SecondaryCaptureImageStorage",
    "MultiFrameSingleBitSecondaryCaptureImageStorage",
    "MultiFrameGrayscaleByteSecondaryCaptureImageStorage",
    "MultiFrameGrayscaleWordSecondaryCaptureImageStorage",
    "MultiFrameTrueColorSecondaryCaptureImageStorage",
    "HardcopyGrayscaleImageStorage",
    "HardcopyColorImageStorage",
)
_CAPTURING_MODALITIES = frozenset(("SC", "OT", "HC"))
# The classes of the modalities above, for objects that state another modality or none.
_CLASSES = (
    "UltrasoundImageStorage",
    "UltrasoundImageStorageRetired",
    "UltrasoundMultiFrameImageStorage",
    "UltrasoundMultiFrameImageStorageRetired",
    "EnhancedUSVolumeStorage",
    "XRayAngiographicImageStorage",
    "XRayAngiographicBiPlaneImageStorage",
    "EnhancedXAImageStorage",
    "XRayRadiofluoroscopicImageStorage",
    "EnhancedXRFImageStorage",
    "VLEndoscopicImageStorage",
    "VideoEndoscopicImageStorage",
    "VLMicroscopicImageStorage",
    "VideoMicroscopicImageStorage",
    "VLSlideCoordinatesMicroscopicImageStorage",
    "VLPhotographicImageStorage",
    "VideoPhotographicImageStorage",
    "DermoscopicPhotographyImageStorage",
    "OphthalmicPhotography8BitImageStorage",
    "OphthalmicPhotography16BitImageStorage",
    "WideFieldOphthalmicPhotographyStereographicProjectionImageStorage",
    "WideFieldOphthalmicPhotography3DCoordinatesImageStorage",
    "VLImageStorageTrial",
    "VLMultiFrameImageStorageTrial",
)
# What ImageType (0008,0008) says, without spaces and underscores: pages that scanners and workstations make.
_PAGES = MappingProxyType(
    {
        "SCREENSAVE": "a saved screen",
        "SCREENSHOT": "a saved screen",
        "SCREENCAPTURE": "a saved screen",
        "DOSEINFO": "a page of dose figures with a heading",
        "DOSEREPORT": "a page of dose figures with a heading",
        "DOSESUMMARY": "a page of dose figures with a heading",
        "SOM5PROT": "a protocol page with a heading",
        "PATIENTPROTOCOL": "a protocol page with a heading",
        "VXTLSTATE": "a saved screen",
        "REPORT": "a page of a report",
    }
)
# PS3.3 C.8.12.4.1.1; other modalities use these words for other things.
_SLIDE = "SM"
_SLIDE_PAGES = MappingProxyType(
    {"LABEL": "a photograph of the label of a slide", "OVERVIEW": "a photograph of a slide with its label"}
)
_PLAIN = ("burned_in", "overlay_bits")
_WITH_VALUE = ("image_type", "modality", "sop_class")


@dataclass(frozen=True)
class PixelFacts:
    """What is known about the pixels of an incoming object, before anything is changed.

    Parameters
    ----------
    format : str
        ``"dicom"``, ``"png"``, ``"jpeg"``, ``"tiff"``, ``"nifti"``, ``"nrrd"``.
    modality : str
        Modality (0008,0060), or what a mapping says; ``""`` if nothing does.
    sop_class_uid : str
        SOPClassUID (0008,0016).
    image_type : tuple of str
        ImageType (0008,0008).
    burned_in : bool
        BurnedInAnnotation (0028,0301) says something else than NO, at any depth.
    overlay_bits : bool
        An overlay lies in unused bits of the pixel data.
    has_pixels : bool
        There is pixel data.
    """

    format: str
    modality: str = ""
    sop_class_uid: str = ""
    image_type: tuple[str, ...] = ()
    burned_in: bool = False
    overlay_bits: bool = False
    has_pixels: bool = True


class Waiver(Settings):
    """One ``[[waivers]]`` table of a policy: these pixels may come in although nobody cleaned them.

    Parameters
    ----------
    what : str
        Rule that is waived: ``"png"``, ``"jpeg"``, ``"tiff"``, ``"modality:US"``,
        ``"sop_class:SecondaryCaptureImageStorage"`` (or its UID), ``"image_type:DOSE_INFO"``,
        ``"burned_in"`` or ``"overlay_bits"``.
    reason : str
        Who says that these pixels hold no identity, and how they know.
    modality : str or None
        Only for objects of this modality.
    sop_class : str or None
        Only for objects of this SOP class: UID or keyword.
    """

    what: str
    reason: str = Field(min_length=10, max_length=500)
    modality: str | None = Field(default=None, pattern=r"^[A-Z0-9_ ]{1,16}$")
    sop_class: str | None = None

    @field_validator("what")
    @classmethod
    def _one_of_the_rules(cls, what: str) -> str:
        kind, colon, value = what.partition(":")
        if kind in (*FORMATS, *_PLAIN) and not colon:
            return what
        if kind not in _WITH_VALUE or not colon:
            raise ValueError(f"'{what}' is no rule that can be waived{hint(what, _forms())}")
        if kind == "modality" and value not in MODALITIES:
            raise ValueError(f"modality '{value}' is not held back{hint(value, MODALITIES)}")
        if kind == "sop_class" and sop_class_uid(value) not in _held_classes():
            raise ValueError(f"SOP class '{value}' is not held back{hint(value, (*_CAPTURES, *_CLASSES))}")
        pages = {**_PAGES, **_SLIDE_PAGES}
        if kind == "image_type" and _squeezed(value) not in pages:
            raise ValueError(f"image type '{value}' is not held back{hint(_squeezed(value), pages)}")
        return what

    @field_validator("sop_class")
    @classmethod
    def _known_class(cls, sop_class: str | None) -> str | None:
        if sop_class is not None:
            sop_class_uid(sop_class)
        return sop_class

    @property
    def rule(self) -> str:
        """The rule in the form that `pixel_rules` gives."""
        kind, _, value = self.what.partition(":")
        if kind == "sop_class":
            return f"sop_class:{_held_classes()[sop_class_uid(value)]}"
        return f"image_type:{_squeezed(value)}" if kind == "image_type" else self.what

    def covers(self, rule: str, facts: PixelFacts) -> bool:
        """Whether it waives a rule for an object."""
        if self.rule != rule or self.modality not in (None, facts.modality):
            return False
        return self.sop_class is None or sop_class_uid(self.sop_class) == facts.sop_class_uid


def check_pixels(facts: PixelFacts, policy: Policy) -> tuple[str, ...]:
    """Hold back an object whose pixels may show an identity.

    Parameters
    ----------
    facts : PixelFacts
        About the object as it came.
    policy : Policy
        Its waivers count; profile ``none`` checks nothing.

    Returns
    -------
    tuple of str
        The rules that were waived; empty for an object that no rule holds back.

    Raises
    ------
    ItemError
        ``pixels_unchecked``: a rule holds it back and no waiver covers it.
    """
    if policy.profile == "none":
        return ()
    rules = pixel_rules(facts)
    left = [name for name in rules if not any(waiver.covers(name, facts) for waiver in policy.waivers)]
    if left:
        shown = "; ".join(f"{name} ({rules[name]})" for name in left)
        needed = ", ".join(f'what = "{name}"' for name in left)
        raise ItemError(
            "pixels_unchecked",
            f"nobody checked these pixels for burned-in text, and rules hold them back: {shown}. If they "
            f"hold no identity, say so in the policy, in one [[waivers]] table each with a reason: {needed}",
        )
    return tuple(rules)


def pixel_rules(facts: PixelFacts) -> dict[str, str]:
    """Name every rule that holds an object back, with its reason; empty if none does."""
    if not facts.has_pixels:
        return {}
    if facts.format in FORMATS:
        return {facts.format: "a picture has no header that says what it shows"}
    rules = {}
    if facts.burned_in:
        rules["burned_in"] = "BurnedInAnnotation does not say NO"
    held_class = _held_classes().get(facts.sop_class_uid)
    is_capture = held_class in _CAPTURES
    if facts.modality in MODALITIES and not (is_capture and facts.modality in _CAPTURING_MODALITIES):
        rules[f"modality:{facts.modality}"] = MODALITIES[facts.modality]
    if held_class is not None and (is_capture or facts.modality not in MODALITIES):
        rules[f"sop_class:{held_class}"] = _CAPTURE if is_capture else "the class of such a modality"
    said = [_squeezed(value) for value in facts.image_type]
    found = {page: why for page, why in _PAGES.items() if any(page in each for each in said)}
    if facts.modality == _SLIDE:
        found |= {page: why for page, why in _SLIDE_PAGES.items() if page in said}
    rules |= {f"image_type:{page}": why for page, why in found.items()}
    if facts.overlay_bits:
        rules["overlay_bits"] = "an overlay lies in unused bits of the pixel data"
    return rules


def _squeezed(text: str) -> str:
    return text.upper().replace(" ", "").replace("_", "").replace("-", "")


def _forms() -> tuple[str, ...]:
    return (
        *FORMATS,
        *_PLAIN,
        "modality:US",
        "sop_class:SecondaryCaptureImageStorage",
        "image_type:DOSE_INFO",
    )


@cache
def _held_classes() -> dict[str, str]:
    return {sop_class_uid(keyword): keyword for keyword in (*_CAPTURES, *_CLASSES)}
