"""Forms made of the configuration's own models: every field has an input, and what is sent becomes a body."""

from __future__ import annotations

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import config
from tidegate.config import hidden
from tidegate.config import warehouses as types
from tidegate.views import forms, warehouses

POSTGRES = forms.fields(types.Postgres, without=("type",))
CONNECTION = forms.fields(config.Connection, without=("oauth",))


def by_name(fields: tuple[forms.Field, ...]) -> dict[str, forms.Field]:
    return {each.name: each for each in fields}


def test_a_form_has_labels_hints_and_kinds_of_input() -> None:
    found = by_name(POSTGRES)
    assert found["host"] == forms.Field("host", "Host", "text", "The server's name or address.")
    assert (found["password"].input, found["port"].input) == ("secret", "number")
    assert found["sslmode"].options[:2] == ("", "disable")
    assert (found["ssh.host"].group, found["ssh.host"].required) == ("SSH", False)
    assert found["schema"].default == "stripe"


def test_a_secret_of_several_lines_has_room_for_them() -> None:
    assert by_name(forms.fields(types.GoogleSheets))["credentials"].input == "document"
    assert by_name(forms.fields(types.Snowflake))["private_key"].input == "document"


@pytest.mark.parametrize("kind", sorted(warehouses.kinds()))
def test_every_warehouse_has_a_form_that_hides_what_is_hidden(kind: str) -> None:
    fields = warehouses.kinds()[kind].fields
    assert fields
    assert all(each.label and "`" not in each.hint for each in fields)
    body = forms.body(fields, {each.name: "x1" for each in fields})
    secret = {each.name for each in fields if each.input in ("secret", "document")}
    told = {".".join(map(str, place)) for place in hidden.places("warehouses", {"type": kind, **body})}
    assert told == secret


def test_what_is_sent_becomes_a_body_as_one_would_write_it() -> None:
    sent = {"host": "db.example.com", "port": "5433", "database": " crm ", "schema": "stripe", "sslmode": ""}
    assert forms.body(POSTGRES, {**sent, "ssh.host": "gate"}) == {
        "host": "db.example.com",
        "port": 5433,
        "database": "crm",
        "ssh": {"host": "gate"},
    }


def test_one_word_or_a_list() -> None:
    assert forms.body(CONNECTION, {"accounts": "own"}) == {}
    assert forms.body(CONNECTION, {"accounts": "all"}) == {"accounts": "all"}
    assert forms.body(CONNECTION, {"accounts": "acct_1, acct_2/acct_3"}) == {
        "accounts": ["acct_1", "acct_2/acct_3"]
    }


def test_a_secret_that_is_left_empty_stays_and_goes_only_when_it_is_said() -> None:
    before = {"url": {"secret": True, "last4": "/crm"}, "schema": "eu"}
    assert forms.body(POSTGRES, {"url": "", "schema": "eu"}, before) == before
    assert forms.body(POSTGRES, {"url": "postgres://h/d", "schema": "eu"}, before)["url"] == "postgres://h/d"
    assert forms.body(POSTGRES, {"url": "", "url:clear": "on", "host": "h", "schema": "eu"}, before) == {
        "host": "h",
        "schema": "eu",
    }


def test_what_a_form_does_not_have_stays_as_it_was() -> None:
    before = {"oauth": {"client_id": "ca_1"}, "budget": 0.5, "accounts": ["acct_1"]}
    assert forms.body(CONNECTION, {"budget": "0.8", "accounts": "acct_1"}, before) == {
        **before,
        "budget": 0.8,
    }


def test_a_default_that_was_written_down_stays_written_down() -> None:
    assert forms.body(POSTGRES, {"schema": "stripe"}, {"schema": "stripe"}) == {"schema": "stripe"}


def test_a_switch_is_written_down_where_it_is_not_as_usual() -> None:
    fields = forms.fields(types.SQLServer)
    assert forms.body(fields, {"trust_server_certificate": "on"})["trust_server_certificate"] is True
    assert "trust_server_certificate" not in forms.body(fields, {})


def test_a_number_that_is_none_is_left_for_the_check_to_judge() -> None:
    assert forms.body(POSTGRES, {"port": "many"}) == {"port": "many"}


def test_what_is_shown_is_no_secret() -> None:
    body = {
        "password": {"secret": True, "last4": "wxyz"},
        "host": "h",
        "port": 5432,
        "url": "postgres://a:b@c",
    }
    shown = forms.shown(POSTGRES, body)
    assert (shown["password"], shown["url"], shown["port"], shown["schema"]) == (
        "…wxyz",
        "…",
        "5432",
        "stripe",
    )


class Shelf(pydantic.BaseModel):
    name: str
    size: int = 3
    open: bool = False
    kind: str | None = None


@given(
    name=st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1),
    size=st.integers(-(10**6), 10**6),
    open=st.booleans(),
    kind=st.none() | st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1),
)
def test_what_is_shown_and_sent_back_changes_nothing(
    name: str, size: int, open: bool, kind: str | None
) -> None:
    fields = forms.fields(Shelf)
    body = {"name": name, "size": size, "open": open, **({} if kind is None else {"kind": kind})}
    shown = forms.shown(fields, body)
    sent = {
        key: ("on" if value == "true" else "") if key == "open" else value for key, value in shown.items()
    }
    back = Shelf.model_validate(forms.body(fields, sent, body))
    assert back == Shelf.model_validate(body)
