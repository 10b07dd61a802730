"""Columns of your own beside Stripe's: what they are computed from, their types, and values that cannot be made."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import catalog, config, errors
from tidegate.privacy import personal
from tidegate.pull import derived, scope, shaping
from tidegate.rows import arrow, decode
from tidegate.shape import bounded, computed
from tidegate.warehouse import base

STREAMS = catalog.load().streams
FILTER: pydantic.TypeAdapter[config.Filter] = pydantic.TypeAdapter(config.Filter)
NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)


def told(**columns: Any) -> dict[str, config.Derived]:
    """Derived columns as a configuration says them; text is short for `from`."""
    short = {name: {"from": each} if isinstance(each, str) else each for name, each in columns.items()}
    return {name: config.Derived.model_validate(each) for name, each in short.items()}


class Pulled:
    """One stream with derived columns, and what becomes of objects that are read."""

    def __init__(self, derive: Mapping[str, Any], stream: str = "charges", **options: Any) -> None:
        choice = scope.Choice(derive=told(**derive), **options)
        self.target = scope.target(STREAMS[stream], "acct_1", scope.Options(choices={stream: choice}))
        self.shape = self.target.shape

    def loads(self, *objects: dict[str, Any], **more: Any) -> list[base.Load]:
        raws = [
            json.dumps({"id": f"ch_{n}", "created": 1, **each}).encode() for n, each in enumerate(objects)
        ]
        part = arrow.Part(self.target.decoder.objects(raws), 5)
        rows = arrow.table(self.target.decoder, [part], account="acct_1", synced_at=NOW)
        return shaping.rows(self.shape, rows, **{"carried": frozenset(), "payload": False, **more})

    def column(self, name: str, *objects: dict[str, Any]) -> list[Any]:
        values: list[Any] = self.loads(*objects)[0].rows[name].to_pylist()
        return values

    @property
    def notes(self) -> list[str]:
        return self.shape.derived.notes()


# Types


@pytest.mark.parametrize(
    ("column", "type", "value"),
    [
        ({"sql": "amount - amount_refunded"}, pa.int64(), 700),
        ({"sql": "amount / 100"}, pa.float64(), 10.0),
        ({"sql": "CAST(amount AS DECIMAL(12, 2)) * 0.5"}, pa.decimal128(38, 12), decimal.Decimal(500)),
        ({"sql": "amount::HUGEINT * 2"}, pa.decimal128(38, 12), decimal.Decimal(2000)),
        ({"sql": "amount > 500"}, pa.bool_(), True),
        ({"sql": "upper(currency)"}, pa.string(), "EUR"),
        ({"sql": "created::DATE"}, pa.string(), "2023-11-14"),
        ({"sql": "created"}, pa.timestamp("us", "UTC"), dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC)),
        ({"sql": "[currency]"}, pa.string(), '["eur"]'),
        ({"sql": "amount", "type": "string"}, pa.string(), "1000"),
        ("amount", pa.int64(), 1000),
        ("metadata", pa.string(), '{"seats":"12"}'),
        ("metadata.seats", pa.string(), "12"),
        ({"from": "metadata.seats", "type": "integer"}, pa.int64(), 12),
        ({"from": "created", "type": "date"}, pa.string(), "2023-11-14"),
        ({"value": "web"}, pa.string(), "web"),
        ({"value": True}, pa.bool_(), True),
        ({"value": 3}, pa.int64(), 3),
        ({"value": 0.5}, pa.float64(), 0.5),
        ({"value": "0.50", "type": "decimal"}, pa.decimal128(38, 12), decimal.Decimal("0.5")),
    ],
    ids=str,
)
def test_a_column_has_the_type_that_is_told_or_that_of_where_it_comes_from(
    column: Any, type: pa.DataType, value: object
) -> None:
    pulled = Pulled({"mine": column})
    charge = {
        "amount": 1000,
        "amount_refunded": 300,
        "currency": "eur",
        "created": 1_700_000_000,
        "metadata": {"seats": "12"},
    }

    assert pulled.shape.table.schema.field("mine").type == type
    assert pulled.column("mine", charge) == [value]
    assert pulled.notes == []


def test_documents_are_columns_of_json() -> None:
    schema = Pulled({"a": "metadata", "b": {"sql": "[1]"}, "c": "currency"}).shape.table.schema
    assert [schema.field(name).metadata for name in "abc"] == [base.JSON, base.JSON, None]


def test_they_stand_after_stripe_s_columns_in_the_order_in_which_they_are_written() -> None:
    pulled = Pulled(
        {"net": {"sql": "amount"}, "country": "billing_details.address.country", "app": {"value": 1}}
    )

    names = pulled.shape.table.schema.names
    (load,) = pulled.loads({})

    stripes = decode.schema(STREAMS["charges"]).names
    place = stripes.index("_extra")
    assert names == [*stripes[:place], "net", "country", "app", *stripes[place:]]
    assert load.rows.schema.equals(pulled.shape.table.schema, check_metadata=True)


# What they are computed from


def test_they_see_the_whole_object_also_what_is_left_out_or_hashed() -> None:
    pulled = Pulled(
        {"domain": {"sql": "split_part(receipt_email, '@', 2)"}, "city": "billing_details.address.city"},
        columns=frozenset({"id", "receipt_email"}),
        hashed=frozenset({"receipt_email"}),
    )

    (load,) = pulled.loads(
        {"receipt_email": "jane@example.com", "billing_details": {"address": {"city": "Köln"}, "name": 7}}
    )

    assert load.rows["domain"].to_pylist() == ["example.com"]
    assert load.rows["city"].to_pylist() == ["Köln"]
    assert len(load.rows["receipt_email"][0].as_py()) == 64
    assert "billing_details" not in load.rows.schema.names
    assert load.rows["_extra"].to_pylist() == [None]


def test_what_the_catalog_does_not_know_is_in_extra() -> None:
    assert Pulled({"shade": "_extra.colour.shade"}).column("shade", {"colour": {"shade": "blue"}}) == ["blue"]


def test_a_hashed_one_is_a_hash() -> None:
    pulled = Pulled({"mail": "billing_details.email"}, hashed=frozenset({"mail"}))
    [value] = pulled.column("mail", {"billing_details": {"email": "jane@example.com"}})
    assert value == "8c87b489ce35cf2e2f39f80e282cb2e804932a56a213983eeeb428407d43b52d"
    assert pulled.shape.readable.isdisjoint({"mail"})


def test_children_have_them_too() -> None:
    pulled = Pulled(
        {"owner": {"sql": "_parent_id"}, "each": {"sql": "amount // quantity"}}, "invoice_line_items"
    )
    raw = json.dumps({"id": "il_1", "amount": 900, "quantity": 3}).encode()
    part = arrow.Part(pulled.target.decoder.objects([raw]), 5, "in_1", "invoice")
    rows = arrow.table(pulled.target.decoder, [part], account="acct_1", synced_at=NOW)

    (load,) = shaping.rows(pulled.shape, rows, carried=frozenset(), payload=False)

    assert load.rows.select(["owner", "each"]).to_pylist() == [{"owner": "in_1", "each": 300}]


def test_what_a_payload_lacks_nothing_is_derived_from() -> None:
    """Stripe tells `tax` of a customer only when it is asked for it."""
    pulled = Pulled({"zip": "tax.location.country", "mail": "email"}, "customers", history=True)
    assert not pulled.shape.judges(pulled.shape.expanded)

    read, version = pulled.loads({"email": "a@b.c", "tax": {"location": {"country": "DE"}}})
    kept, past = pulled.loads({"email": "a@b.c"}, carried=frozenset({"tax"}), payload=True)

    assert (read.mode, read.rows["zip"].to_pylist()) == ("replace", ["DE"])
    assert version.rows["zip"].to_pylist() == ["DE"]
    assert kept.mode == "keep"
    assert {"zip", "mail", "tax"}.isdisjoint(kept.rows.schema.names)
    assert {"zip", "mail"}.isdisjoint(past.rows.schema.names)
    assert Pulled({"mail": "email"}, "customers").shape.judges(pulled.shape.expanded)


def test_a_derived_value_that_changed_is_another_version() -> None:
    pulled = Pulled({"country": "billing_details.address.country"}, columns=frozenset({"id"}), history=True)

    def hash(country: str, name: str) -> str:
        details = {"name": name, "address": {"country": country}}
        value: str = pulled.loads({"billing_details": details})[1].rows["_row_hash"][0].as_py()
        return value

    assert hash("DE", "Jane") == hash("DE", "John") != hash("FR", "Jane")


def test_of_a_forgotten_customer_nothing_derived_is_left() -> None:
    """Not even numbers: nobody knows what they were made of."""
    pulled = Pulled({"mail": "billing_details.email", "net": {"sql": "amount"}})
    (load,) = pulled.loads({"billing_details": {"email": "jane@example.com"}, "amount": 5})
    cleaned = personal.clean(STREAMS["charges"], load.rows)
    assert cleaned.select(["amount", "mail", "net"]).to_pylist() == [{"amount": 5, "mail": None, "net": None}]


# Values that cannot be made


def test_a_value_that_cannot_be_made_is_null_and_counted() -> None:
    pulled = Pulled(
        {
            "seats": {"from": "metadata.seats", "type": "integer"},
            "ratio": {"sql": "CAST(metadata->>'ratio' AS DOUBLE)"},
            "whole": {"sql": "amount / 3", "type": "integer"},
        }
    )
    charges = [
        {"amount": 3 + n % 2, "metadata": {"seats": "many" if n < 3 else "4", "ratio": "x"}} for n in range(5)
    ]

    (load,) = pulled.loads(*charges)

    assert load.rows.num_rows == 5
    assert load.rows["seats"].to_pylist() == [None, None, None, 4, 4]
    assert load.rows["ratio"].to_pylist() == [None] * 5
    assert load.rows["whole"].to_pylist() == [1, None, 1, None, 1]
    assert pulled.notes == [
        "charges: ratio is NULL in 5 rows: its SQL fails on this row; TRY(...) around it gives null instead.",
        "charges: seats is NULL in 3 rows: "
        "the column seats wants a whole number; the field holds text that is none.",
        "charges: whole is NULL in 2 rows: "
        "the column whole wants a whole number; its SQL gives a number with a fraction.",
    ]
    assert pulled.notes == []


def test_a_note_says_nothing_of_the_value() -> None:
    pulled = Pulled({"seats": {"from": "metadata.seats", "type": "integer"}})
    pulled.loads({"metadata": {"seats": "jane@example.com"}})
    assert pulled.notes == [
        "charges: seats is NULL in 1 row: the column seats wants a whole number; the field holds text that is none."
    ]


def test_what_is_not_there_is_null_and_no_failure() -> None:
    pulled = Pulled({"seats": {"from": "metadata.seats", "type": "integer"}, "half": {"sql": "amount / 2"}})
    assert pulled.column("seats", {}, {"metadata": None}, {"metadata": {}}) == [None] * 3
    assert pulled.notes == []


def test_many_different_reasons_take_no_more_room_than_a_few() -> None:
    tally = derived.Tally()
    for n in range(derived.KINDS + 5):
        tally.add("x", f"reason {n}")
    tally.add("x", "reason 0", 3)
    assert len(found := tally.taken()) == derived.KINDS
    assert found[0] == (("x", "reason 0"), 4)


def test_an_expression_that_takes_too_long_is_given_up_and_the_rows_come_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pulled = Pulled({"slow": {"sql": "amount + 1"}, "web": {"value": "web"}})
    asked = 0

    def answers(*_: object) -> object:
        nonlocal asked
        asked += 1
        said = "The pull cannot make charges.slow: its SQL took longer than 60 s."
        raise computed.TooMuch(said, "charges.slow")

    monkeypatch.setattr(derived._engine(), "answers", answers)
    for _ in range(2):
        (load,) = pulled.loads({"amount": 1}, {"amount": 2})
        assert load.rows.select(["slow", "web"]).to_pylist() == [{"slow": None, "web": "web"}] * 2
    assert asked == 1
    assert pulled.notes == [
        "charges: slow is NULL in 4 rows: The pull cannot make charges.slow: its SQL took longer than 60 s."
    ]


def test_what_takes_too_long_keeps_no_other_column_from_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    pulled = Pulled({"slow": {"sql": "amount + 1"}, "net": {"sql": "amount - 1"}})
    real = derived._engine().answers

    def answers(asked: Sequence[computed.Expression], *more: Any) -> list[computed.Answer]:
        if any(each.name == "charges.slow" for each in asked):
            raise computed.TooMuch("It took longer than 60 s.", "charges.slow")
        return real(asked, *more)

    monkeypatch.setattr(derived._engine(), "answers", answers)
    for _ in range(2):
        (load,) = pulled.loads({"amount": 1}, {"amount": 2})
        assert load.rows.select(["slow", "net"]).to_pylist() == [
            {"slow": None, "net": 0},
            {"slow": None, "net": 1},
        ]
    assert pulled.notes == ["charges: slow is NULL in 4 rows: It took longer than 60 s."]


def test_where_no_process_can_be_had_no_row_is_stored_without_its_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is no fault of the expression's, and the rows would not be read again."""
    pulled = Pulled({"net": {"sql": "amount - 1"}})

    def refused(*_: object) -> bounded.Child:
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as without:
        derived._engine().close()
        without.setattr(bounded, "Child", refused)
        with pytest.raises(errors.TidegateError, match="No process could be started for the SQL of the pull"):
            pulled.loads({"amount": 1})
    assert pulled.column("net", {"amount": 1}) == [0]
    assert pulled.notes == []


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
            ),
            max_leaves=6,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_stands_in_json_no_row_is_lost(values: list[Any]) -> None:
    charges = [{"metadata": {"x": each}, "amount": 1} for each in values]
    text = [json.dumps(each, allow_nan=True) for each in values]
    if any("NaN" in each or "Infinity" in each for each in text):
        return
    (load,) = ANYTHING.loads(*charges)
    assert load.rows.num_rows == len(values)
    for name, kinds in KINDS.items():
        assert all(each is None or isinstance(each, kinds) for each in load.rows[name].to_pylist())


KINDS: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (float,),
    "decimal": (decimal.Decimal,),
    "boolean": (bool,),
    "date": (str,),
    "timestamp": (dt.datetime,),
    "json": (str,),
    "string": (str,),
}
ANYTHING = Pulled({name: {"from": "metadata.x", "type": name} for name in KINDS})


# What is refused


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"amount": {"value": 1}}, "has a column amount already; give yours another name"),
        ({"_net": {"value": 1}}, "names with an underscore first are Tidegate's own; leave it out"),
        ({"Net": {"value": 1}}, "warehouses ignore case, so a name is in lower case; write net"),
        ({"net amount": {"value": 1}}, "letters from a to z, digits and underscores"),
        ({"n" * 64: {"value": 1}}, "63 characters at most"),
        (
            {"net": "billing.address"},
            "the field billing.address is not there; did you mean billing_details.address?",
        ),
        ({"net": "amount.x"}, "amount holds single values, and has nothing inside it"),
        ({"net": "_version"}, "the field _version is not there"),
        ({"net": {"sql": "_synced_at"}}, '"_synced_at" not found'),
        (
            {"net": {"value": "x", "type": "integer"}},
            "wants a whole number; the constant is text that is none",
        ),
        ({"net": {"sql": "amount +"}}, "cannot make net: it is no SQL"),
        ({"net": {"sql": "sum(amount)"}}, "it adds up rows"),
        ({"net": {"sql": "(select 1)"}}, "it reads rows by a query of its own"),
        ({"net": {"sql": "random()"}}, "it has another value each time"),
        ({"net": {"sql": "date_diff('day', created, now())"}}, r"asks for the time \(now\)"),
        ({"net": {"sql": "current_date - created::DATE"}}, r"asks for the time \(current_date\)"),
        ({"net": {"sql": "age(created)"}}, r"asks for the time \(age\)"),
        ({"net": {"sql": "amount"}, "twice": "net"}, "the field net is not there"),
    ],
    ids=str,
)
def test_a_definition_that_cannot_be_is_said_before_anything_is_read(
    columns: dict[str, Any], why: str
) -> None:
    with pytest.raises(errors.ConfigError, match=why) as caught:
        Pulled(columns)
    assert "charges" in str(caught.value)
    assert str(caught.value).endswith((".", "?"))


def test_the_time_between_two_fields_is_no_question_for_the_time() -> None:
    column = {"sql": "age(to_timestamp(created_at), created)"}
    with pytest.raises(errors.ConfigError, match="created_at"):
        Pulled({"span": column})
    assert Pulled({"span": {"sql": "age(created, created)", "type": "string"}}).column("span", {}) == [
        "00:00:00"
    ]


def test_filters_do_not_see_them() -> None:
    where = FILTER.validate_python(
        {"any": [{"field": "amount", "op": ">", "value": 5}, {"field": "net", "op": ">", "value": 5}]}
    )
    with pytest.raises(errors.ConfigError, match="`where` asks for net, which is a derived column"):
        Pulled({"net": {"sql": "amount - amount_refunded"}}, where=where)
