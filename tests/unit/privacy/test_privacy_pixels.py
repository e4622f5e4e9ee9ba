from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from voxlake.core.errors import ItemError, SettingsError
from voxlake.core.reasons import REASONS
from voxlake.dicom.read import read_dataset
from voxlake.privacy.pixel_facts import dicom_facts
from voxlake.privacy.pixels import MODALITIES, PixelFacts, Waiver, check_pixels, pixel_rules
from voxlake.privacy.policy import Policy, load_policy
from voxlake.privacy.rule_targets import sop_class_uid

RESEARCH = load_policy("research")
US_IMAGE = sop_class_uid("UltrasoundImageStorage")
CAPTURE = sop_class_uid("SecondaryCaptureImageStorage")
CT_IMAGE = sop_class_uid("CTImageStorage")
REASON = "phantoms, looked through by the physicist"


def facts(modality="CT", sop_class=CT_IMAGE, **more):
    return PixelFacts("dicom", modality, sop_class, **more)


def policy(*waivers):
    return Policy.read({"name": "x", "waivers": [{"reason": REASON, **waiver} for waiver in waivers]})


@pytest.mark.parametrize(
    ("given", "rules"),
    [
        (facts(), []),
        (facts("MR", "1.2.3"), []),
        (facts("US", US_IMAGE), ["modality:US"]),
        (facts("", US_IMAGE), ["sop_class:UltrasoundImageStorage"]),
        (facts("CT", US_IMAGE), ["sop_class:UltrasoundImageStorage"]),
        (facts("IVUS", "1.2.3"), ["modality:IVUS"]),
        (facts("XA", "1.2.3"), ["modality:XA"]),
        (facts("RF", "1.2.3"), ["modality:RF"]),
        (facts("OT", CAPTURE), ["sop_class:SecondaryCaptureImageStorage"]),
        (facts("SC", CT_IMAGE), ["modality:SC"]),
        (facts("OT", "1.2.3"), ["modality:OT"]),
        (facts("CT", CAPTURE), ["sop_class:SecondaryCaptureImageStorage"]),
        (facts("US", CAPTURE), ["modality:US", "sop_class:SecondaryCaptureImageStorage"]),
        (facts(burned_in=True), ["burned_in"]),
        (facts("US", US_IMAGE, burned_in=True), ["burned_in", "modality:US"]),
        (facts(image_type=("DERIVED", "SECONDARY", "SCREEN SAVE")), ["image_type:SCREENSAVE"]),
        (facts(image_type=("DERIVED", "SECONDARY", "OTHER", "DOSE_INFO")), ["image_type:DOSEINFO"]),
        (facts(image_type=("DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT")), ["image_type:SOM5PROT"]),
        (facts(image_type=("DERIVED", "PRIMARY", "AXIAL", "CT_SOM5 SPI")), []),
        (facts("SM", "1.2.3", image_type=("ORIGINAL", "PRIMARY", "LABEL", "NONE")), ["image_type:LABEL"]),
        (facts("MR", "1.2.3", image_type=("ORIGINAL", "PRIMARY", "LABEL", "NONE")), []),
        (facts(overlay_bits=True), ["overlay_bits"]),
        (facts("US", US_IMAGE, burned_in=True, has_pixels=False), []),
        (PixelFacts("png"), ["png"]),
        (PixelFacts("jpeg"), ["jpeg"]),
        (PixelFacts("tiff"), ["tiff"]),
        (PixelFacts("nifti"), []),
        (PixelFacts("nrrd"), []),
    ],
)
def test_what_is_held_back(given, rules):
    assert list(pixel_rules(given)) == rules
    if not rules:
        assert check_pixels(given, RESEARCH) == ()
        return
    with pytest.raises(ItemError) as caught:
        check_pixels(given, RESEARCH)
    assert caught.value.reason == "pixels_unchecked"
    assert caught.value.reason in REASONS
    for name in rules:
        assert f'what = "{name}"' in caught.value.message
        assert check_pixels(given, policy(*({"what": each} for each in rules))) == tuple(rules)
        if len(rules) > 1:
            with pytest.raises(ItemError):
                check_pixels(given, policy({"what": name}))


def test_at_least_what_was_asked_for_is_held_back():
    assert {"US", "SC", "OT", "XA"} <= set(MODALITIES)


def test_the_message_holds_no_value_of_the_header():
    with pytest.raises(ItemError) as caught:
        check_pixels(facts("US", US_IMAGE, image_type=("DOE^JANE SCREEN SAVE",)), RESEARCH)
    assert "DOE" not in caught.value.message


def test_profile_none_checks_nothing():
    assert check_pixels(facts("US", US_IMAGE, burned_in=True), load_policy("none")) == ()


def test_a_waiver_can_be_narrowed():
    narrow = policy({"what": "burned_in", "modality": "US"}, {"what": "modality:US"})
    assert check_pixels(facts("US", US_IMAGE, burned_in=True), narrow) == ("burned_in", "modality:US")
    with pytest.raises(ItemError, match="burned_in"):
        check_pixels(facts("CT", burned_in=True), narrow)
    by_class = policy({"what": "modality:US", "sop_class": "UltrasoundMultiFrameImageStorage"})
    with pytest.raises(ItemError, match="modality:US"):
        check_pixels(facts("US", US_IMAGE), by_class)


def test_a_class_may_be_named_by_its_uid_and_a_page_as_devices_write_it():
    assert check_pixels(facts("", CAPTURE), policy({"what": f"sop_class:{CAPTURE}"}))
    assert check_pixels(facts(image_type=("SCREEN SAVE",)), policy({"what": "image_type:SCREEN SAVE"}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"what": "jpg"}, "did you mean 'jpeg'"),
        ({"what": "jpeg:1"}, "no rule that can be waived"),
        ({"what": "modality"}, "did you mean 'modality:US'"),
        ({"what": "modality:CT"}, "modality 'CT' is not held back"),
        ({"what": "sop_class:CTImageStorage"}, "not held back"),
        ({"what": "sop_class:UltrasoundImageStorag"}, "did you mean 'UltrasoundImageStorage'"),
        ({"what": "image_type:AXIAL"}, "not held back"),
        ({"what": "jpeg", "sop_class": "Nonsense"}, "neither a UID nor"),
        ({"what": "jpeg", "reason": ""}, "reason"),
        ({"what": "jpeg", "reason": "ok"}, "reason"),
        ({"what": "jpeg", "reasn": "x"}, "did you mean 'reason'"),
    ],
)
def test_waivers_that_say_nothing_are_refused(values, message):
    with pytest.raises(SettingsError, match=message):
        Waiver.read({"reason": REASON, **values})
    with pytest.raises(SettingsError, match="missing key 'reason'"):
        Waiver.read({"what": "jpeg"})


def image(**values):
    dataset = Dataset()
    dataset.SOPClassUID = CT_IMAGE
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.1", "1.2.2", "1.2.3"
    dataset.Modality = "CT"
    dataset.Rows = dataset.Columns = 4
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.add_new(0x7FE00010, "OW", bytes(32))
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def written(dataset, syntax=ExplicitVRLittleEndian):
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def facts_of(dataset, syntax=ExplicitVRLittleEndian, **more):
    data = written(dataset, syntax)
    return dicom_facts(read_dataset(data), data, **more)


SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)


def nested(value):
    """The statement in a sequence in a private sequence."""
    inner, outer = Dataset(), Dataset()
    inner.BurnedInAnnotation = value
    outer.ReferencedImageSequence = Sequence([inner])
    dataset = image()
    block = dataset.private_block(0x0029, "ACME", create=True)
    block.add_new(0x01, "SQ", Sequence([outer]))
    return dataset


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("value", ["YES", "yes", "Y", "PERHAPS", "NO", ""])
def test_burned_in_is_found_at_every_depth(syntax, value):
    expected = value not in ("NO", "")
    assert facts_of(image(BurnedInAnnotation=value), syntax).burned_in is expected
    assert facts_of(nested(value), syntax).burned_in is expected
    # NO on top does not answer for what lies below.
    both = nested(value)
    both.BurnedInAnnotation = "NO"
    assert facts_of(both, syntax).burned_in is expected


def test_facts_of_an_image():
    found = facts_of(image(Modality="US", ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]))
    assert found == PixelFacts(
        "dicom", "US", CT_IMAGE, ("DERIVED", "SECONDARY", "SCREEN SAVE"), False, False, True
    )
    assert facts_of(image(Modality=""), modality="XA").modality == "XA"
    assert facts_of(image(), modality="XA").modality == "CT"
    bare = image()
    del bare.PixelData
    assert facts_of(bare).has_pixels is False


def test_overlays_in_compressed_pixel_data_are_found():
    def has_overlay_bits(dataset):
        data = written(dataset, RLELossless)
        return dicom_facts(dcmread(BytesIO(data)), data).overlay_bits

    embedded = image()
    embedded.PixelData = encapsulate([bytes(32)])
    embedded["PixelData"].VR = "OB"
    embedded["PixelData"].is_undefined_length = True
    embedded.add_new(0x60000010, "US", 4)
    embedded.add_new(0x60000011, "US", 4)
    embedded.add_new(0x60000100, "US", 16)
    embedded.add_new(0x60000102, "US", 12)
    assert has_overlay_bits(embedded) is True
    embedded.add_new(0x60003000, "OW", bytes(2))
    assert has_overlay_bits(embedded) is False
    embedded.add_new(0x60020102, "US", 13)
    assert has_overlay_bits(embedded) is True


def test_overlays_in_native_pixel_data_are_taken_out_and_held_back_for_nobody():
    embedded = image()
    embedded.add_new(0x60000102, "US", 12)
    assert facts_of(embedded).overlay_bits is False
