"""Keys are told apart by their prefix, and never told."""

from __future__ import annotations

import pytest

from tidegate import errors
from tidegate.stripe import keys

SECRET = "51NzufDB0DBR1HOyc9Zq8sWabcd"


@pytest.mark.parametrize(
    ("key", "mode"),
    [
        (f"sk_live_{SECRET}", "live"),
        (f"rk_live_{SECRET}", "live"),
        (f"sk_test_{SECRET}", "test"),
        (f"rk_test_{SECRET}", "test"),
        (f"sk_org_live_{SECRET}", "live"),
        ("anything", "test"),
        (f"x_sk_live_{SECRET}", "test"),
    ],
)
def test_the_mode_is_in_the_prefix(key: str, mode: str) -> None:
    assert keys.mode(key) == mode


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (f"sk_test_{SECRET}", "sk_test_…abcd"),
        (f"rk_live_{SECRET}", "rk_live_…abcd"),
        (f"sk_org_live_{SECRET}", "sk_org_live_…abcd"),
        ("sk_test_short", "sk_test_…"),
        ("secret", "…"),
        ("", "…"),
    ],
)
def test_a_key_is_shown_by_its_ends(key: str, shown: str) -> None:
    assert keys.masked(key) == shown


def test_whitespace_around_a_key_is_dropped() -> None:
    assert keys.checked(f" sk_test_{SECRET}\n") == f"sk_test_{SECRET}"


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("  ", "is empty"),
        (f"sk_test_{SECRET}\nX-Other: 1", "characters that no key has"),
        (f"sk_test_{SECRET}é", "characters that no key has"),
        (f"pk_live_{SECRET}", "publishable key, which can read nothing"),
    ],
)
def test_what_is_no_secret_key_is_refused_without_telling_it(key: str, sentence: str) -> None:
    with pytest.raises(errors.ConfigError, match=sentence) as caught:
        keys.checked(key)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"Invalid API Key provided: sk_test_{SECRET}", "Invalid API Key provided: sk_test_…"),
        ("The provided key 'rk_live_******abcd' is", "The provided key 'rk_live_…' is"),
        ("Invalid email address: jenny.rosen@example.com", "Invalid email address: <email>"),
        ("Bad phone +49 (170) 123-4567 given", "Bad phone <phone> given"),
        ("Card 4242 4242 4242 4242 declined", "Card <number> declined"),
        ("No such charge: 'ch_3NXabc1234567890123456'", "No such charge: 'ch_3NXabc1234567890123456'"),
        ("created must be after 1700000000", "created must be after 1700000000"),
        ("two\n lines", "two lines"),
    ],
)
def test_secrets_and_people_are_taken_out_of_what_stripe_says(said: str, kept: str) -> None:
    assert keys.scrubbed(said) == kept


def test_a_long_sentence_is_cut() -> None:
    assert len(keys.scrubbed("word " * 1000)) == 400
