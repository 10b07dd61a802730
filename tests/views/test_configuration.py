"""The configuration as a whole: whatever was configured is exported, and taken back it changes nothing."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import managing
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import errors, views
from tidegate.engine import place as places
from tidegate.store import objects, trail
from tidegate.views import configuration

ANN = views.Person("ann@laptop")
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,6}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
KEYS = st.from_regex(r"sk_test_[A-Za-z0-9]{12}", fullmatch=True)
CONNECTIONS = st.fixed_dictionaries(
    {"api_key": KEYS},
    optional={
        "budget": st.sampled_from([0.1, 0.8, 1]),
        "start_date": st.sampled_from(["2020-01-01", "2024-02-29"]),
        "webhook_secret": st.lists(KEYS, max_size=2),
        "rate_limit": st.sampled_from(["off", "100/25"]),
    },
)
WAREHOUSES = st.one_of(
    st.fixed_dictionaries({"type": st.just("duckdb"), "path": st.just("one.duckdb")}),
    st.fixed_dictionaries({"url": st.just("postgresql://u:pass$${word@h/d")}, optional={"schema": NAMES}),
    st.fixed_dictionaries(
        {"type": st.just("delta"), "path": st.just("s3://b/p")},
        optional={"s3": st.fixed_dictionaries({"key": KEYS, "secret": KEYS, "region": NAMES})},
    ),
)
PULLS = st.fixed_dictionaries(
    {},
    optional={
        "lookback": st.sampled_from(["3d", 7, "0d"]),
        "schedule": st.sampled_from(["manual", "every 15m", {"cron": "0 6 * * *"}]),
        "streams": st.dictionaries(
            st.sampled_from(["*", "charges", "issuing_*"]),
            st.fixed_dictionaries({}, optional={"history": st.booleans(), "table": st.just("no")}),
            max_size=3,
        ),
    },
)


@st.composite
def sheets(draw: st.DrawFn) -> dict[str, Any]:
    """A valid configuration."""
    stripe = draw(st.dictionaries(NAMES, CONNECTIONS, min_size=1, max_size=2))
    stores = draw(st.dictionaries(NAMES, WAREHOUSES, min_size=1, max_size=2))
    ends = st.fixed_dictionaries(
        {"from": st.sampled_from(sorted(stripe)), "to": st.sampled_from(sorted(stores))}
    )
    pulls = draw(st.dictionaries(NAMES, st.tuples(ends, PULLS), max_size=3))
    pipes = draw(st.dictionaries(NAMES, st.tuples(ends, TEXTS), max_size=2))
    found: dict[str, Any] = {
        "stripe": stripe,
        "warehouses": stores,
        "pulls": {name: {**where, **how} for name, (where, how) in pulls.items()},
        "pipelines": {name: {**where, "description": text} for name, (where, text) in pipes.items()},
    }
    if draw(st.booleans()):
        found["customer_model"] = {"warehouse": sorted(stores)[0]}
        found["alerts"] = {"remind": "7d", "webhook": {"url": "https://hooks.example.com/geheim"}}
    return found


@contextlib.contextmanager
def empty() -> Iterator[places.Place]:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/tidegate.db"
        with managing.placed(managing.written(Path(folder), url, ""), url) as place:
            yield place


def taken(place: places.Place, text: str, *, prune: bool = False) -> configuration.Proposal:
    found = configuration.proposed_text(place, text, prune=prune, admin=True)
    configuration.take(place, ANN, found, admin=True)
    return found


@settings(max_examples=20, deadline=None)
@given(sheets(), sheets())
def test_what_is_exported_is_taken_back_and_changes_nothing(
    sheet: dict[str, Any], other: dict[str, Any]
) -> None:
    with empty() as place:
        taken(place, json.dumps(sheet))
        text, before = configuration.exported(place), place.file
        assert "geheim" not in text
        again = taken(place, text, prune=True)
        assert (again.changes, again.unpruned) == ((), ())
        # Something else in its place, and back again.
        taken(place, json.dumps(other), prune=True)
        taken(place, json.dumps(sheet), prune=True)
        assert place.file == before


def test_what_was_changed_by_others_after_it_was_shown_is_not_overwritten() -> None:
    with empty() as place:
        taken(place, "stripe: {acme: {api_key: sk_test_1234567890}}")
        shown = configuration.proposed_text(
            place, "stripe: {acme: {api_key: sk_test_1234567890, budget: 0.5}}", admin=True
        )
        taken(place, "stripe: {acme: {api_key: sk_test_1234567890, budget: 0.4}}")
        with pytest.raises(errors.StoreConflict, match=r"stripe\.acme was changed by ann@laptop"):
            configuration.take(place, ANN, shown, admin=True)
        assert place.file.stripe["acme"].budget == 0.4


def test_an_import_is_one_generation_and_a_line_for_each_part() -> None:
    with empty() as place:
        taken(place, "stripe: {a: {api_key: sk_test_1}, b: {api_key: sk_test_2}}")
        assert objects.generation(place.store) == 1
        assert {line.what for line in trail.listed(place.store)} == {"stripe.a", "stripe.b"}


def test_parts_that_may_be_named_by_others_come_first_in_the_file() -> None:
    with empty() as place:
        taken(
            place,
            "pulls: {p: {from: a, to: w}}\nwarehouses: {w: {type: duckdb, path: x}}\n"
            "stripe: {a: {api_key: sk_test_1}}\n",
        )
        text = configuration.exported(place)
        assert text.index("stripe:") < text.index("warehouses:") < text.index("pulls:")
