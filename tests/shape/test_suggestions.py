"""Which field is suggested for which property, how sure that is, and why."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from tidegate import config
from tidegate.shape import mapping, profile, suggestions, values

JSON = {b"tidegate": b"json"}
SCHEMA = pa.schema(
    [
        pa.field("_account_id", pa.string()),
        pa.field("id", pa.string()),
        pa.field("name", pa.string()),
        pa.field("email", pa.string()),
        pa.field("balance", pa.int64()),
        pa.field("created", pa.timestamp("us", "UTC")),
        pa.field("address", pa.string(), metadata=JSON),
        pa.field("invoice_settings", pa.string(), metadata=JSON),
        pa.field("metadata", pa.string(), metadata=JSON),
    ]
)
NOON = dt.datetime(2024, 1, 31, 12, tzinfo=dt.UTC)


def model(*names: str, **properties: Any) -> profile.Profile:
    """A model of texts and of some properties of other types."""
    told = {"customer_id": "string", **dict.fromkeys(names, "string"), **properties}
    return profile.of(config.CustomerModel.model_validate({"warehouse": "local", "properties": told}))


def table(*metadata: dict[str, Any], **more: Any) -> pa.Table:
    """Customers with such metadata, and with such other fields all of them."""
    rows = [
        {"id": f"cus_{n}", "balance": n, "created": NOON, "metadata": json.dumps(each)}
        | {name: json.dumps(value) if isinstance(value, dict) else value for name, value in more.items()}
        for n, each in enumerate(metadata)
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


def suggested(of: profile.Profile, rows: pa.Table | None, name: str) -> suggestions.Suggestion:
    [found] = [each for each in suggestions.suggest(of, SCHEMA, rows) if each.name == name]
    return found


def best(name: str, *metadata: dict[str, Any], type: Any = "string") -> tuple[str, bool, str] | None:
    """The likeliest field of a property in such metadata, whether it is sure, and why."""
    found = suggested(model(**{name: type}), table(*metadata), name)
    return found.best and (found.best.source, found.sure, found.best.reason)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("plan", "plan"),
        ("plan", "Plan"),
        ("plan", "tier"),
        ("plan", "plan_name"),
        ("phone", "phone_number"),
        ("phone", "mobile"),
        ("phone", "Tel"),
        ("phone", "customerPhone"),
        ("company", "organisation"),
        ("company", "company-name"),
        ("first_name", "firstName"),
        ("first_name", "given name"),
        ("signup_date", "signup_at"),
        ("vat_id", "VAT ID"),
        ("billing_email", "billing e-mail"),
        ("external_id", "externalId"),
        ("crm_id", "crm.id"),
        ("organization", "organizatoin"),
    ],
)
def test_names_that_mean_the_same(name: str, key: str) -> None:
    noise = {"color": "red", "source": "web", "age_group": "b"}
    found = best(name, {key: "a@b.de" if "email" in name else "+49 170 1234567", **noise})
    assert found is not None
    assert found[0] == suggestions.dotted(("metadata", key))


@pytest.mark.parametrize("name", ["shoe_size", "referrer", "churn_risk"])
def test_nothing_is_suggested_where_nothing_fits(name: str) -> None:
    assert best(name, {"color": "red", "company": "ACME"}) is None


def test_stripes_own_field_comes_first_in_its_customers() -> None:
    found = suggested(model("email"), table({"email": "a@b.de"}, email="a@b.de"), "email")
    assert found.best == suggestions.Candidate(
        "email", 1.0, "it is Stripe's own field for it; its values look like e-mail addresses"
    )
    assert [each.source for each in found.others] == ["metadata.email"]
    own = suggested(model(), None, "customer_id")
    assert (own.best and own.best.source, own.sure) == ("id", True)
    [first, *_] = suggestions.suggest(model(), SCHEMA, stream="charges")
    assert first.best is None or not first.sure


def test_usual_fields_are_known_without_a_sample() -> None:
    found = suggested(profile.of(), None, "default_payment_method")
    assert (found.best and found.best.source) == "invoice_settings.default_payment_method"


def test_what_stands_nearer_to_the_top_comes_first() -> None:
    deep = {"city": "Bonn", "home": {"city": "Bonn"}}
    found = suggested(model("city"), table({}, address=deep), "city")
    assert found.best is not None
    assert [found.best.source, *(each.source for each in found.others)] == [
        "address.city",
        "address.home.city",
    ]


def test_a_whole_path_may_be_a_name() -> None:
    found = suggested(model("address_city"), table({}, address={"city": "Bonn", "zip": "1"}), "address_city")
    assert (found.best and found.best.source) == "address.city"


@pytest.mark.parametrize(
    ("name", "value", "look"),
    [
        ("email", "jane@example.com", "e-mail addresses"),
        ("phone", "+49 (170) 123-4567", "phone numbers"),
        ("country", "DE", "country codes"),
        ("currency", "eur", "currency codes"),
        ("language", "de-DE", "languages"),
        ("website", "https://example.com/a", "web addresses"),
    ],
)
def test_values_speak_for_a_field(name: str, value: str, look: str) -> None:
    name = f"billing_{name}"
    likely = best(name, {f"{name}_code": value}, {f"{name}_code": value})
    assert likely is not None
    assert likely[2].endswith(f"its values look like {look}")
    unlikely = best(name, {name: "some 1 other thing!"})
    assert unlikely is not None
    assert (unlikely[1], unlikely[2]) == (False, f"same name; its values do not look like {look}")


def test_values_alone_make_a_suggestion_that_is_not_sure() -> None:
    assert best("work_email", {"contact": "a@b.de"}, {"contact": "c@d.de"}) == (
        "metadata.contact",
        False,
        "its values look like e-mail addresses",
    )
    assert best("work_name", {"contact": "a@b.de"}) is None


def test_a_type_that_does_not_fit_speaks_against_a_field() -> None:
    assert best("seats", {"seats": "7"}, {"seats": "8"}, type="integer") == (
        "metadata.seats",
        True,
        "same name",
    )
    some = best("seats", {"seats": "7"}, {"seats": "8"}, {"seats": "many"}, type="integer")
    assert some == ("metadata.seats", False, "same name; only some of its values fit a whole number")
    assert best("seats", {"seats": "many"}, type="integer") is None


def test_a_field_without_values_comes_after_one_with_some() -> None:
    found = suggested(model("work_email"), table({"work_email": None, "work_mail": "a@b.de"}), "work_email")
    assert found.best is not None
    assert found.best.source == "metadata.work_mail"
    assert found.others[0].reason == "same name; the sample has no value of it"
    usual = suggested(model("email"), table({}), "email")
    assert usual.best == suggestions.Candidate(
        "email", 0.8, "it is Stripe's own field for it; the sample has no value of it"
    )


def test_a_column_that_no_sample_shows_still_has_a_type() -> None:
    assert suggested(model(balance="boolean"), None, "balance").best is None
    assert suggested(model(balance="decimal"), None, "balance").sure


def test_a_field_is_the_likeliest_of_one_property_only() -> None:
    found = suggestions.suggest(
        model("phone", "mobile", "telephone"), SCHEMA, table({"phone": "+49 170 1234567"})
    )
    likeliest = {each.name: each.best.source for each in found if each.best}
    assert likeliest["phone"] == "metadata.phone"
    assert "metadata.phone" not in {source for name, source in likeliest.items() if name != "phone"}
    others = {each.name: [one.source for one in each.others] for each in found}
    assert others["mobile"] == ["metadata.phone"]


def test_what_is_tidegates_own_is_not_suggested() -> None:
    assert suggested(model("account_id"), table({}), "account_id").best is None


KEYS = st.text(min_size=1, max_size=6) | st.sampled_from(["a.b", '"', "email", "x y", "é", "metadata"])


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    keys=st.lists(KEYS, min_size=1, max_size=5, unique=True),
    names=st.permutations(["email", "plan", "x_y", "a_b"]),
)
def test_suggestions_can_be_used_as_they_are(keys: list[str], names: list[str]) -> None:
    rows = table({key: {"deep": "x"} if n % 2 else "x" for n, key in enumerate(keys)})
    of = model(*names, deep="json", metadata="json")
    found = suggestions.suggest(of, SCHEMA, rows)
    assert found == suggestions.suggest(of, SCHEMA, rows)
    told = {each.name: config.MapValue(**{"from": each.best.source}) for each in found if each.best}
    taken = [each.source for each in told.values()]
    assert len(set(taken)) == len(taken)
    if told:
        assert mapping.compile(told, of, SCHEMA, named="pipeline eu").apply(rows).failed == ()
    for key in keys:
        assert values.path(suggestions.dotted(("metadata", key))) == ("metadata", key)
