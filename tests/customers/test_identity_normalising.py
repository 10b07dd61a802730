"""Identifiers are compared in one form, and what stands for nothing links nobody."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.customers import names, normalising

KINDS = st.sampled_from(
    ["customer_id", "email", "billing_email", "phone", "mobile_phone", "tax_id", "E-Mail"]
)
TEXTS = st.text() | st.from_regex(r"\A[\w.+-]{1,9}@[\w.-]{1,9}\Z") | st.from_regex(r"\A[+(0-9 )./x-]{0,20}\Z")


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        (" Jane@Example.COM\n", "jane@example.com"),
        ("mailto:jane@example.com", "jane@example.com"),
        ("mailto: mailto:jane@example.com", "jane@example.com"),
        ("ja.ne+shop@example.com", "ja.ne+shop@example.com"),
        ("JO\u0308RG@EXAMPLE.COM", "j\u00f6rg@example.com"),
        ("STRASSE@example.com", "strasse@example.com"),
        ("stra\u00dfe@example.com", "strasse@example.com"),
        ('"a@b"@example.com', '"a@b"@example.com'),
        ("test@test.com", "test@test.com"),
        ("jane", None),
        ("@example.com", None),
        ("jane@", None),
        ("jane doe@example.com", None),
        ("unknown@example.com", None),
        ("No-Reply@shop.example", None),
        ("jane@localhost", None),
        ("jane@nowhere.invalid", None),
    ],
)
def test_an_email_is_trimmed_and_folded_and_keeps_dots_and_plus(written: str, compared: str | None) -> None:
    assert normalising.normalised("email", written) == compared


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        ("+49 (0)30 / 901820-0", "+49309018200"),
        ("0049 30 9018200", "+49309018200"),
        ("tel:+1-555-010-0199", "+15550100199"),
        ("(555) 010-0199", "5550100199"),
        ("(+44) 20 7946 0018", "+442079460018"),
        ("555 010 0199 ext. 12", "5550100199"),
        ("555 010 0199x12", "5550100199"),
        ("+\u0664\u0669 30 9018200", "+49309018200"),
        ("\uff0b49 30 9018200", "+49309018200"),
        ("12345", None),
        ("000000000", None),
        ("+1 111 111 1111 1111 1111 11111", None),
        ("call me", None),
    ],
)
def test_a_phone_number_is_its_digits_after_a_plus(written: str, compared: str | None) -> None:
    assert normalising.normalised("phone", written) == compared


def test_a_number_without_a_country_is_not_taken_for_one_of_any_country() -> None:
    assert normalising.normalised("phone", "030 9018200") != normalising.normalised("phone", "+49 30 9018200")


@pytest.mark.parametrize(
    "written",
    [
        "",
        "  ",
        "N/A",
        "n/a ",
        "None",
        "NULL",
        "-",
        "???",
        "0",
        "000",
        "xxx",
        "(unknown)",
        "not provided",
        "\0",
    ],
)
@pytest.mark.parametrize("kind", ["customer_id", "email", "phone"])
def test_what_people_write_for_nothing_links_nobody(kind: str, written: str) -> None:
    assert normalising.normalised(kind, written) is None


def test_other_identifiers_are_trimmed_and_composed_and_nothing_else() -> None:
    assert normalising.normalised("customer_id", " Cus_A\u0301 ") == "Cus_\u00c1"
    assert normalising.normalised("tax_id", "de 123") != normalising.normalised("tax_id", "DE 123")
    assert normalising.normalised("customer_id", 1042) == "1042"


@pytest.mark.parametrize("value", [None, True, ["a"], {"a": 1}, 1.5])
def test_only_text_and_whole_numbers_identify(value: object) -> None:
    assert normalising.normalised("customer_id", value) is None


def test_a_long_value_becomes_a_digest_that_tells_it_from_others() -> None:
    one, other = (normalising.normalised("customer_id", "a" * names.LONGEST + end) for end in "xy")
    assert one is not None
    assert other is not None
    assert one != other
    assert len(one) <= names.LONGEST


def test_a_digest_of_an_email_is_its_own_normal_form() -> None:
    found = normalising.normalised("email", f"{'a' * names.LONGEST}@example.com")
    assert found == normalising.normalised("email", found)


@given(KINDS, TEXTS)
def test_a_normal_form_is_its_own(kind: str, written: str) -> None:
    found = normalising.normalised(kind, written)
    if found is not None:
        assert normalising.normalised(kind, found) == found


@given(KINDS, TEXTS)
def test_a_normal_form_is_short_trimmed_and_storable(kind: str, written: str) -> None:
    found = normalising.normalised(kind, written)
    if found is not None:
        assert 0 < len(found) <= names.LONGEST
        assert found == found.strip()
        assert "\0" not in found
        found.encode()


@given(TEXTS, st.sampled_from(["NFC", "NFD"]), st.sampled_from(["", " ", "\n"]))
def test_composition_case_and_spaces_around_make_no_difference_to_an_email(
    written: str, form: str, space: str
) -> None:
    other = space + unicodedata.normalize(form, written).swapcase() + space  # type: ignore[arg-type]
    if other.strip().casefold() == unicodedata.normalize(form, written).strip().casefold():  # type: ignore[arg-type]
        assert normalising.email(other) == normalising.email(written)
