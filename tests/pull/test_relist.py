"""What is to be listed again: how demands for one stream become one, and what a walk of several streams reads."""

from __future__ import annotations

import pytest
import scripted

from tidegate.pull import relist

WHOLE = relist.Entry(100, "a gap")


def span(low: int | None, high: int | None = None, *, since: int = 100, reason: str = "turn") -> relist.Entry:
    return relist.Entry(since, reason, low, high, regular=True)


def both(first: relist.Entry, second: relist.Entry) -> relist.Entry:
    entries: relist.Entries = {}
    relist.add(entries, ["charges"], first)
    relist.add(entries, ["charges"], second)
    return entries["charges"]


def test_a_stream_that_was_not_noted_is() -> None:
    entries: relist.Entries = {}
    relist.add(entries, ["charges", "payouts"], WHOLE)
    assert entries == {"charges": WHOLE, "payouts": WHOLE}


@pytest.mark.parametrize("part", [span(5, 9), span(5), span(None, 9)])
def test_the_whole_list_swallows_a_part_whichever_came_first(part: relist.Entry) -> None:
    assert both(WHOLE, part) == WHOLE
    assert both(part, WHOLE) == WHOLE


def test_a_turn_that_comes_again_goes_on_where_it_is() -> None:
    turn = relist.Entry(100, "turn", regular=True)
    assert both(turn, relist.Entry(200, "turn", regular=True)) == turn
    part = relist.Entry(100, "turn", 5, 9, regular=True)
    assert both(part, relist.Entry(200, "turn", 6, 8, regular=True)) == part


def test_a_second_gap_begins_what_the_first_one_began_anew() -> None:
    """What was read between the two may have changed in the second one."""
    assert both(WHOLE, relist.Entry(200, "another gap")) == relist.Entry(200, "another gap")
    assert both(relist.Entry(100, "a gap", 5, 9), relist.Entry(200, "a gap", 6, 8)).since == 200


def test_a_turn_that_is_under_way_does_not_hide_that_something_went_wrong() -> None:
    """The turn's reading may have passed the rows that changed since."""
    turn = relist.Entry(100, "turn", regular=True)
    assert both(turn, relist.Entry(200, "a gap")) == relist.Entry(200, "a gap")
    assert both(relist.Entry(200, "a gap"), turn) == relist.Entry(200, "a gap")


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        (span(5, 9), span(3, 7), 3, 9),
        (span(5, 9), span(20, 30), 5, 30),
        (span(5), span(3, 7), 3, None),
        (span(None, 9), span(3, 12), None, 12),
    ],
    ids=["overlapping", "apart", "open above", "open below"],
)
def test_two_parts_become_one_that_spans_both_and_is_read_from_now_on(
    first: relist.Entry, second: relist.Entry, low: int | None, high: int | None
) -> None:
    found = both(first, relist.Entry(200, "turn", second.low, second.high, regular=True))
    assert (found.low, found.high, found.since) == (low, high, 200)


def test_what_is_kept_is_read_again_as_it_was() -> None:
    entries = {"charges": WHOLE, "payouts": span(5, 9)}
    assert relist.entries(relist.text(entries)) == entries


@pytest.mark.parametrize("saved", [None, "", "{", "[]", '{"charges": 7}', '{"charges": {"since": "x"}}'])
def test_what_cannot_be_read_is_nothing(saved: str | None) -> None:
    assert relist.entries(saved) == {}
    assert relist.text({}) is None


INVOICES = scripted.walk("invoices", "invoice_line_items")


def test_a_walk_reads_the_widest_span_that_any_of_its_streams_wants_and_is_as_young_as_the_last_demand() -> (
    None
):
    entries = {"invoices": span(50, 90, since=300), "invoice_line_items": span(20, 60, since=200)}
    found = relist.of(entries, INVOICES)
    assert found is not None
    assert (found.low, found.high, found.since) == (20, 90, 300)

    entries = {"invoices": span(50, 90, since=300), "invoice_line_items": WHOLE}
    found = relist.of(entries, INVOICES)
    assert found is not None
    assert found.whole
    assert found.since == 300


def test_a_walk_that_nobody_wants_again_is_not_read() -> None:
    assert relist.of({"charges": WHOLE}, INVOICES) is None
    assert relist.of({}, INVOICES) is None
