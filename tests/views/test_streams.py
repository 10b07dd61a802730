"""Streams: the catalog, what a pull takes and how it stands, and changing that without losing a word."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import seen
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import catalog, config, errors, sandbox, views
from tidegate.engine import place as places
from tidegate.views import stream_options, streams

MORE = """
  mails: {from: acme, to: local, streams: {customers: {columns: {email: hash}, exclude: [phone], table: clients}}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    with seen.place(seen.written(tmp_path, more=MORE)) as found:
        yield found


def test_every_stream_of_every_pull_has_a_line(place: places.Place) -> None:
    found = streams.listed(place, limit=10_000)
    assert found.total == len(found.items) == 2 * len(catalog.load().streams)
    line = next(each for each in found.items if (each.pull, each.stream) == ("mails", "customers"))
    assert (line.table, line.taken, line.own, line.hashed) == ("clients", True, True, 1)
    assert line.of - line.columns == 1
    assert (line.accounts, line.state) == (0, "")
    only = streams.listed(place, pull="mails", taken=True)
    assert [each.stream for each in only.items] == ["customers"]


def test_a_line_tells_how_its_tables_stand_over_all_accounts(place: places.Place) -> None:
    seen.stands(
        place,
        "pull:everything",
        seen.table("charges", 60, "acct_1"),
        seen.table("charges", 40 * 86_400, "acct_2", deleted=3),
        seen.table("payouts", status="no_permission", error="grant rak_payout_read"),
    )
    [charges] = streams.listed(place, pull="everything", search="charges", state="behind").items
    assert (charges.accounts, charges.rows, charges.deleted, charges.state) == (2, 20, 3, "behind")
    assert charges.age == pytest.approx(40 * 86_400, abs=60)
    [payouts] = streams.listed(place, state="failed").items
    assert (payouts.stream, payouts.error) == ("payouts", "grant rak_payout_read")
    line, tables = streams.one(place, "everything", "charges")
    assert dataclasses.replace(line, age=charges.age) == charges
    assert [each.stood.account for each in tables] == ["acct_2", "acct_1"]


def test_what_is_chosen_stands_first(place: places.Place) -> None:
    first, second, *_ = streams.listed(place, pull="mails").items
    assert (first.stream, first.taken) == ("customers", True)
    assert second.taken is False


def test_pages_follow_one_another_without_gap(place: places.Place) -> None:
    whole = streams.listed(place, sort="rows", limit=10_000).items
    paged: list[streams.Line] = []
    after: int | None = 0
    while after is not None:
        page = streams.listed(place, sort="rows", after=after, limit=37)
        assert len(page.items) <= 37
        paged += page.items
        after = page.next
    assert tuple(paged) == whole


def test_lines_can_be_sorted_both_ways(place: places.Place) -> None:
    seen.stands(place, "pull:everything", seen.table("charges", rows=5), seen.table("payouts", rows=9))
    most = streams.listed(place, sort="-rows", limit=2).items
    assert [each.stream for each in most] == ["payouts", "charges"]
    assert streams.listed(place, sort="state", limit=2).items[0].state == "fresh"
    with pytest.raises(
        errors.ConfigError, match="cannot be sorted by 'colour'; sort by name, rows, age, state"
    ):
        streams.listed(place, sort="colour")


def test_a_name_that_is_mistyped_is_nothing_and_says_what_was_meant(place: places.Place) -> None:
    with pytest.raises(views.Unknown, match="did you mean 'everything'"):
        streams.listed(place, pull="everthing")
    with pytest.raises(views.Unknown, match="did you mean 'charges'"):
        streams.one(place, "everything", "charge")


def test_choosing_a_stream_writes_down_no_more_than_that() -> None:
    body = {"from": "acme", "to": "local", "lookback": "3d"}
    assert stream_options.with_choice(body, {"charges": True}) == {**body, "streams": {"*": {}}}
    without = stream_options.with_choice(body, {"charges": False})
    assert without["streams"] == {"*": {}, "charges": {"enabled": False}}
    assert stream_options.with_choice(without, {"charges": True})["streams"] == {"*": {}}


def test_a_stream_that_is_left_out_keeps_its_options() -> None:
    body = {"streams": {"*": {}, "charges": {"history": True}}}
    without = stream_options.with_choice(body, {"charges": False})
    assert without["streams"]["charges"] == {"enabled": False, "history": True}
    assert stream_options.with_choice(without, {"charges": True}) == body


NAMES = sorted(catalog.load().streams)
SOME = st.sampled_from([*NAMES[:4], "charges", "events", "issuing_cards", "issuing_*", "*"])
WRITTEN = st.dictionaries(
    SOME, st.sampled_from([{}, {"enabled": True}, {"enabled": False}, {"history": True}, None])
)


@settings(deadline=None)
@given(
    written=WRITTEN,
    chosen=st.dictionaries(st.sampled_from([*NAMES[:4], "charges", "issuing_cards"]), st.booleans()),
)
def test_what_is_chosen_is_taken_and_everything_else_stays(
    written: dict[str, dict[str, bool] | None], chosen: dict[str, bool]
) -> None:
    def taken(body: dict[str, object]) -> dict[str, bool]:
        pull = config.Pull.model_validate({"from": "a", "to": "b", **body})
        return {name: pull.takes(name, default=each.default) for name, each in catalog.load().streams.items()}

    before = {"streams": written}
    after = stream_options.with_choice(before, chosen)
    assert taken(after) == {**taken(before), **chosen}
    kept = {name for name in written if any(letter in name for letter in "*")}
    assert kept <= set(after["streams"])
    assert stream_options.with_choice(after, chosen) == after


def test_options_of_a_stream_are_those_that_there_are() -> None:
    body = {"from": "a", "streams": {"*": {"history": True}}}
    changed = stream_options.with_options(body, "charges", {"mode": "full_refresh", "colour": "red"})
    assert changed["streams"] == {"*": {"history": True}, "charges": {"mode": "full_refresh"}}
    assert stream_options.with_options(changed, "charges", None) == body
    assert set(stream_options.SETTINGS) == set(config.StreamOptions.model_fields)


def test_columns_have_types_and_words() -> None:
    found = {each["name"]: each for each in streams.columns(streams.named("charges"))}
    assert found["id"]["type"] == "VARCHAR"
    assert found["created"]["type"] == "TIMESTAMP WITH TIME ZONE"
    assert found["_deleted_at"]["doc"].startswith("When Stripe deleted")
    assert {each["type"] for each in streams.columns(streams.named("charges"), "arrow")} >= {"json", "int64"}


def test_the_newest_rows_are_read_from_stripe(tmp_path: Path) -> None:
    with (
        sandbox.process(objects=50) as url,
        seen.place(seen.written(tmp_path, url=url, key="sk_test_123456789012")) as place,
    ):
        rows = streams.newest(place, "customers", limit=3)
        assert len(rows) == 3
        assert streams.telling(rows)[0] == "id"
        with pytest.raises(errors.ConfigError, match="101 rows cannot be shown"):
            streams.newest(place, "customers", limit=101)
        with pytest.raises(errors.ConfigError, match="there is no connection 'other'"):
            streams.newest(place, "customers", "other")
