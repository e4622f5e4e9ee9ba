"""Keys and pseudonyms: nothing correlates without the key, and chains are their steps."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from voxlake.privacy.dates import shift_date
from voxlake.privacy.pseudonyms import Pseudonymiser, normalise_identifier
from voxlake.store.key_file import SealSecret
from voxlake.store.keys import LakeKey

SECRETS = st.binary(min_size=32, max_size=32)
CHAINS = st.lists(SECRETS, min_size=1, max_size=4, unique=True)
IDENTIFIERS = st.text(min_size=1, max_size=64).filter(lambda text: bool(normalise_identifier(text)))
UIDS = st.from_regex(r"1\.[0-9]{1,8}(\.[1-9][0-9]{0,8}){2,5}", fullmatch=True)
DATES = st.dates(min_value=date(1850, 1, 1)).map(lambda day: f"{day:%Y%m%d}")


@settings(max_examples=60, deadline=None)
@given(CHAINS, IDENTIFIERS, UIDS, DATES, st.binary(max_size=100))
def test_a_chain_is_its_steps(secrets, identifier, uid, day, data):
    names, key = Pseudonymiser(LakeKey(*secrets)), LakeKey(*secrets)
    patient, instance, token, shared, mac, days = identifier, uid, identifier, day, data, 0
    for secret in secrets:
        step = Pseudonymiser(LakeKey(secret))
        days += step.shift_days(patient)
        patient, instance = step.patient(patient), step.uid(instance)
        token, shared, mac = (
            step.token("x", token),
            step.shared_date(shared),
            LakeKey(secret).mac("source", mac),
        )
    assert names.patient(identifier) == patient
    assert names.uid(uid) == instance
    assert names.token("x", identifier) == token
    assert names.shared_date(day) == shared
    assert names.shift_days(identifier) == days
    assert key.mac("source", data) == mac
    assert len(secrets) <= days <= 3650 * len(secrets)
    assert Pseudonymiser(LakeKey(*secrets)).newest.patient("x") == Pseudonymiser(
        LakeKey(secrets[-1])
    ).patient("x")


@settings(max_examples=60, deadline=None)
@given(CHAINS, CHAINS, IDENTIFIERS, UIDS)
def test_other_keys_give_other_names_that_do_not_hold_the_original(first, second, identifier, uid):
    assume(first != second)
    one, two = Pseudonymiser(LakeKey(*first)), Pseudonymiser(LakeKey(*second))
    assert one.patient(identifier) != two.patient(identifier)
    assert one.uid(uid) != two.uid(uid)
    assert one.token("x", identifier) != two.token("x", identifier)
    assert LakeKey(*first).fingerprint != LakeKey(*second).fingerprint
    if len(normalise_identifier(identifier)) >= 5:
        assert normalise_identifier(identifier) not in one.patient(identifier)
        assert normalise_identifier(identifier) not in one.token("x", identifier)
    assert uid not in one.uid(uid)


@settings(max_examples=60, deadline=None)
@given(SECRETS, IDENTIFIERS, st.lists(st.dates(date(1900, 1, 1), date(2100, 1, 1)), min_size=2, max_size=8))
def test_intervals_are_kept(secret, identifier, days):
    shift = Pseudonymiser(LakeKey(secret, bytes(32))).shift_days(identifier)
    moved = [shift_date(f"{day:%Y%m%d}", shift) for day in days]
    parsed = [date(int(text[:4]), int(text[4:6]), int(text[6:])) for text in moved]
    assert [b - a for a, b in pairwise(parsed)] == [b - a for a, b in pairwise(days)]
    assert all(day != old for day, old in zip(parsed, days, strict=True))


@settings(max_examples=60, deadline=None)
@given(SECRETS, SECRETS, st.dates(date(20, 1, 1)), st.sampled_from(["", "10", "101112.5", "1011+0100"]))
def test_shared_dates_move_by_themselves(secret, other, day, time):
    assume(secret != other)
    text = f"{day.year:04d}{day:%m%d}"
    moved = Pseudonymiser(LakeKey(secret)).shared_date(text)
    found = date(int(moved[:4]), int(moved[4:6]), int(moved[6:]))
    assert timedelta(days=1) <= day - found <= timedelta(days=3650)
    assert Pseudonymiser(LakeKey(secret)).shared_datetime(text + time) == moved + time


@settings(max_examples=40, deadline=None)
@given(CHAINS, st.lists(SECRETS, max_size=3, unique=True), st.binary(max_size=200), st.text(max_size=20))
def test_whatever_was_sealed_before_a_rotation_opens_after_it(secrets, seals, data, context):
    key = LakeKey(*secrets, seals=[SealSecret(seal) for seal in seals if seal not in secrets])
    rotated = key.with_seal()
    sealed = key.seal(data, context=context)
    assert rotated.unseal(sealed, context=context) == data
    again = rotated.seal(data, context=context)
    assert LakeKey.sealed_with(again) == rotated.seal_names[-1] != LakeKey.sealed_with(sealed)
    assert rotated.without_old_seals().unseal(again, context=context) == data
    assert rotated.fingerprint == key.fingerprint


def test_ten_thousand_patients_differ_and_say_nothing():
    names = Pseudonymiser(LakeKey(bytes(range(32)), bytes(range(32, 64))))
    originals = [f"{number:06d}" for number in range(10_000)]
    pseudonyms = [names.patient(original) for original in originals]
    assert len(set(pseudonyms)) == 10_000
    assert len({names.uid(f"1.2.3.{number}") for number in range(10_000)}) == 10_000
    assert not any(original in pseudonym for original, pseudonym in zip(originals, pseudonyms, strict=True))
    # Neighbours are no neighbours: sorting by pseudonym leaves no order of the originals.
    order = sorted(range(10_000), key=pseudonyms.__getitem__)
    ascending = sum(a < b for a, b in pairwise(order))
    assert 4_700 < ascending < 5_300
    shifts = [names.shift_days(original) for original in originals]
    assert abs(np.corrcoef(np.arange(10_000), shifts)[0, 1]) < 0.05
