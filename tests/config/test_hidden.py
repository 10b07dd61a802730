"""Which values are secrets: by the types of the models, in whichever form they are written."""

from __future__ import annotations

import typing
from typing import Any

import pydantic
import pytest

from tidegate import config
from tidegate.config import hidden, merging, warehouses


@pytest.mark.parametrize(
    ("kind", "body", "places"),
    [
        ("stripe", {"api_key": "x", "budget": 0.5}, [("api_key",)]),
        ("stripe", {"oauth": {"client_id": "ca_1", "client_secret": "x"}}, [("oauth", "client_secret")]),
        ("stripe", {"webhook_secret": "x"}, [("webhook_secret",)]),
        ("stripe", {"webhook_secret": ["x", "y"]}, [("webhook_secret", 0), ("webhook_secret", 1)]),
        ("warehouses", {"type": "postgres", "url": "x"}, [("url",)]),
        ("warehouses", {"type": "postgres", "host": "h", "password": "x", "ssh": {"key": "/k"}}, [("password",)]),
        ("warehouses", {"url": "delta+s3://b", "s3": {"secret": "x"}}, [("url",), ("s3", "secret")]),
        ("warehouses", {"type": "iceberg", "catalog": "https://x"}, [("catalog",)]),
        ("warehouses", {"type": "databricks", "catalog": "main"}, []),
        ("alerts", {"slack": {"webhook": "x"}, "remind": "7d"}, [("slack", "webhook")]),
        ("alerts", {"email": {"to": "a@b.c", "smtp": "x"}}, [("email", "smtp")]),
        ("pulls", {"from": "acme", "streams": {"charges": {"hash": ["a"]}}}, []),
    ],
)  # fmt: skip
def test_secrets_are_found_where_a_body_has_them(kind: str, body: Any, places: list[Any]) -> None:
    assert hidden.places(kind, body) == places


def test_where_the_type_cannot_be_told_every_type_counts() -> None:
    body = {"type": "nonsense", "catalog": "x", "password": "y", "host": "h"}
    assert set(hidden.places("warehouses", body)) == {("catalog",), ("password",)}


def test_a_mark_in_place_of_a_secret_is_found_too() -> None:
    mark = {"secret": True, "last4": "6789"}
    assert hidden.places("stripe", {"api_key": mark, "webhook_secret": [mark]}) == [
        ("api_key",),
        ("webhook_secret", 0),
    ]


@pytest.mark.parametrize(
    "body", [None, [], "x", {"api_key": 7}, {"api_key": None}, {"webhook_secret": {"a": 1}}]
)
def test_what_fits_nowhere_is_no_error(body: Any) -> None:
    hidden.places("stripe", body)


def test_no_field_of_any_part_that_pydantic_hides_is_missed() -> None:
    """Every model below every kind: its fields whose type has SecretStr are found."""
    seen = 0
    for model in (config.Connection, config.Alerts, *_models(warehouses.AnyWarehouse)):
        kind = {config.Connection: "stripe", config.Alerts: "alerts"}.get(model, "warehouses")
        start = {"type": model.model_fields["type"].default} if kind == "warehouses" else {}
        for path in _secrets(model):
            body: Any = "x"
            for step in reversed(path):
                body = {step: body}
            assert path in hidden.places(kind, {**start, **body}), (model, path)
            seen += 1
    assert seen > 30
    assert {"stripe", "alerts", "warehouses"} <= set(merging.KINDS)


def _models(annotation: Any) -> list[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    return [each for inner in typing.get_args(annotation) for each in _models(inner)]


def _secrets(model: type[pydantic.BaseModel]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        if "SecretStr" in str(field.annotation):
            found.append((key,))
        for inner in _models(field.annotation):
            found += [(key, *rest) for rest in _secrets(inner)]
    return found


def test_values_are_replaced_in_a_copy() -> None:
    body = {"a": [1, {"b": 2}], "c": 3}
    assert hidden.replaced(body, {("a", 1, "b"): "x"}) == {"a": [1, {"b": "x"}], "c": 3}
    assert body == {"a": [1, {"b": 2}], "c": 3}
    assert hidden.at(body, ("a", 1, "b")) == 2
    assert hidden.at(body, ("a", 7)) is hidden.at(body, ("x", "y")) is None


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("${A}", "A"),
        ("${secret:a/b}", "secret:a/b"),
        ("x${A}", None),
        ("${A}${B}", None),
        ("$${A}", None),
        (7, None),
    ],
)
def test_a_value_that_is_a_reference_and_nothing_else(value: object, name: str | None) -> None:
    assert hidden.reference(value) == name


def test_all_references_of_a_body() -> None:
    assert hidden.references({"a": ["${A}", {"b": "x${B}"}], "c": 7}) == {"A", "B"}
