"""The arithmetic under the generated business: every map can be inverted, every id read backwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.sandbox import census, ids, relations, timeline

SIZES = st.integers(1, 3_000)
SALTS = st.integers(0, 2**24)


@given(SIZES, st.integers(2, 20), SALTS)
def test_thinned_rows_are_either_odd_or_even(total: int, group: int, salt: int):
    thinned = relations.Thinned(total, group, salt)
    indices = [thinned.index(row) for row in range(total)]
    assert sorted(index for index in indices if index >= 0) == list(range(thinned.even))
    assert sorted(~index for index in indices if index < 0) == list(range(thinned.odd))
    assert [thinned.ordinal(index) for index in indices] == list(range(total))


@given(st.integers(0, 500), st.integers(0, 500))
def test_interleaved_streams_come_apart_again(many: int, few: int):
    merged = relations.Interleaved(many, few)
    seen_many, seen_few = 0, 0
    for at in range(merged.total):
        is_few, index, before = merged.split(at)
        assert before == seen_many
        if is_few:
            assert (index, merged.of_few(index)) == (seen_few, at)
            seen_few += 1
        else:
            assert (index, merged.of_many(index)) == (seen_many, at)
            seen_many += 1
    assert (seen_many, seen_few) == (many, few)


@given(st.integers(0, 500), SIZES, SALTS)
def test_sampled_rows_are_all_different_and_lead_back(few: int, many: int, salt: int):
    sampled = relations.Sampled(few, many, salt)
    targets = [target for index in range(few) if (target := sampled.target(index)) >= 0]
    assert targets == sorted(set(targets))
    assert len(targets) == min(few, many)
    assert all(target < many for target in targets)
    sources = {row: source for row in range(many) if 0 <= (source := sampled.source(row)) < few}
    assert sources == {target: index for index, target in enumerate(targets)}


@given(SIZES, SIZES)
def test_scaled_rows_are_those_that_scale_here(count: int, into: int):
    found = [row for parent in range(into) for row in relations.scaled(parent, count, into)]
    assert found == list(range(count))
    for parent in range(0, into, 7):
        assert {relations.scale(row, count, into) for row in relations.scaled(parent, count, into)} <= {
            parent
        }


def test_picked_ordinals_behave_like_a_tuple():
    picked = relations.Picked(5, lambda at: at * at)
    assert (len(picked), list(picked), picked[-1], list(picked[1:3]), list(picked[::-1])) == (
        5,
        [0, 1, 4, 9, 16],
        16,
        [1, 4],
        [16, 9, 4, 1, 0],
    )
    assert list(reversed(picked)) == [16, 9, 4, 1, 0]
    with pytest.raises(IndexError):
        picked[5]


@given(st.integers(0, 2**36 - 1), st.integers(0, 2**40), st.booleans())
def test_an_id_leads_back_to_its_number(number: int, seed: int, long: bool):
    namer = ids.namer(seed, "charges", "ch_", long)
    id = namer.name(number)
    assert len(id) == 3 + (24 if long else 14)
    assert namer.number(id) == number
    assert namer.number(id[:-1]) is None
    assert namer.number(id + "x") is None


@given(st.text(max_size=40))
def test_any_text_may_be_asked_for(text: str):
    namer = ids.namer(1, "charges", "ch_")
    number = namer.number(text)
    assert number is None or namer.name(number) == text


def test_words_are_ids_too():
    countries = ids.listed(("AT", "DE"))
    assert (countries.name(1), countries.number("DE"), countries.number("XX")) == ("DE", 1, None)


@given(st.integers(1, 2_000), st.sampled_from(["even", "skewed", "bursts"]), SALTS)
def test_moments_lie_in_order_within_the_span(count: int, spread: timeline.Spread, salt: int):
    at = timeline.moments(count, 1_795_000_000, spread, salt & 0xFFFF)
    times = [at(row) for row in range(count)]
    assert times == sorted(times)
    assert 1_795_000_000 - timeline.SPAN <= times[0] <= times[-1] <= 1_795_000_000


def test_children_come_in_many_sizes():
    sizes = census.sizes("invoice_line_items")
    found = [sizes.of(parent) for parent in range(4096)]
    assert {1, 2, 3, 11, 101, 250} == set(found)
    assert sum(found) / len(found) == pytest.approx(sizes.mean, rel=0.02)


def test_a_census_comes_to_what_was_asked_for():
    for objects in (5_000, 50_000, 5_000_000):
        counts = census.take(objects, 1, None)
        children = sum(
            counts.get(stream.parent, 0) * census.sizes(name).mean
            for name, stream in census.catalog.load().streams.items()
            if stream.parent
        )
        assert sum(counts.values()) + children == pytest.approx(objects, rel=0.05)
    assert census.take(777, 1, ["customers"])["customers"] == 777
