"""Whole pages at once: the same bytes as object by object, in every stream, order and world."""

from __future__ import annotations

import json
import random

import pytest

from tidegate import catalog
from tidegate.sandbox import ids, relations, templates, world

NOW = 1_795_000_000
TOP_LEVEL = sorted(name for name, stream in catalog.load().streams.items() if not stream.parent)
FULL = world.build(seed=3, objects=60_000, accounts=3, now=NOW)
WORLDS = {
    "full": FULL,
    "charges alone": world.build(objects=20_000, only=["charges"], now=NOW),
    "no invoices": world.build(objects=20_000, only=["charges", "customers", "payment_methods"], now=NOW),
    "no customers": world.build(objects=20_000, only=["charges", "invoices", "refunds", "disputes"], now=NOW),
    "more refunds than charges": world.build(counts={"charges": 40, "refunds": 900, "invoices": 70}, now=NOW),
    "skewed": world.build(
        seed=9, objects=30_000, only=["charges", "payment_intents"], shape="skewed", now=NOW
    ),
}


def one_by_one(one: world.World, stream: str, rows: list[int], expand: frozenset[str]) -> bytes:
    return b",".join(one.render(stream, row, None, expand) for row in rows)


@pytest.mark.parametrize("stream", TOP_LEVEL)
def test_a_page_is_its_objects_with_commas_between(stream: str) -> None:
    described = catalog.load().streams[stream]
    chance, count = random.Random(stream), FULL.count(stream)
    top = chance.randrange(count)
    newest_first = list(range(top, max(-1, top - 40), -1))
    anywhere = [chance.randrange(count) for _ in range(25)]
    everything = frozenset({nested.path for nested in described.nested} | set(described.expand))

    for rows in (newest_first, anywhere, [top], [0, count - 1]):
        for expand in (frozenset[str](), everything):
            assert FULL.render_many(stream, rows, expand) == one_by_one(FULL, stream, rows, expand)
    assert FULL.render_many(stream, []) == b""


@pytest.mark.parametrize("name", WORLDS)
def test_pages_of_charges_in_every_kind_of_world(name: str) -> None:
    one, chance = WORLDS[name], random.Random(name)
    count = one.count("charges")
    pages = [list(range(count))[-100:], list(range(count))[:100]]
    pages += [list(range(top, max(-1, top - 100), -1)) for top in (chance.randrange(count) for _ in range(8))]
    pages += [[chance.randrange(count) for _ in range(60)] for _ in range(4)]

    for rows in pages:
        page = one.render_many("charges", rows)
        assert page == one_by_one(one, "charges", rows, frozenset())
        assert [charge["id"] for charge in json.loads(b"[%b]" % page)] == [
            one.id("charges", row) for row in rows
        ]


def test_refunded_and_disputed_charges_stand_in_pages_too() -> None:
    page = json.loads(b"[%b]" % FULL.render_many("charges", range(FULL.count("charges"))))
    refunds = [json.loads(FULL.render("refunds", row)) for row in range(FULL.count("refunds"))]
    disputes = [json.loads(FULL.render("disputes", row)) for row in range(FULL.count("disputes"))]

    back = {charge["id"]: charge["amount_refunded"] for charge in page if charge["amount_refunded"]}
    assert back == {
        id: sum(one["amount"] for one in refunds if one["charge"] == id)
        for id in {one["charge"] for one in refunds}
    }
    assert {charge["id"] for charge in page if charge["disputed"]} == {one["charge"] for one in disputes}


def test_numbers_are_stirred_the_same_one_by_one_and_together() -> None:
    chance = random.Random(1)
    for count in (0, 1, 7, 8, 100, 101):
        numbers = [chance.getrandbits(64) for _ in range(count)]
        assert ids.mixed(numbers) == [ids.mix(number) for number in numbers]
    edges = [0, 1, ids.WORD, ids.WORD - 1, 1 << 63, (1 << 32) - 1, 1 << 32, 12345]
    assert ids.mixed(edges) == [ids.mix(number) for number in edges]


def test_ids_of_several_rows_cross_the_blocks_of_their_tables() -> None:
    namer = ids.namer(5, "charges", "ch_")
    for numbers in (range(4090, 4110), range(1 << 24, (1 << 24) + 9), [9, 50_000_000, 4096], []):
        named = namer.names(numbers)
        assert named == [namer.name(number) for number in numbers]
        assert [namer.number(id) for id in named] == list(numbers)


@pytest.mark.parametrize(("few", "many"), [(0, 50), (1, 50), (7, 1000), (300, 1000), (1000, 1000), (60, 40)])
def test_who_picked_which_neighbours(few: int, many: int) -> None:
    sampled = relations.Sampled(few, many, salt=99)
    pickers = {sampled.target(picker): picker for picker in range(few) if sampled.target(picker) >= 0}
    for rows in (range(many), range(many - 1, many // 2, -1), [3, many - 1, 0, 12, 5, 6, 7, 8, 30]):
        assert sampled.sources(rows) == [pickers.get(row, -1) for row in rows]


def test_rows_are_woven_out_of_constants_and_columns() -> None:
    pieces = templates.pieces('{"id":"%s","off":"5%%","name":%s}')
    assert pieces == ('{"id":"', '","off":"5%","name":', "}")
    assert (
        templates.woven(pieces, 2, ",", ["a", "b"], "null")
        == '{"id":"a","off":"5%","name":null},{"id":"b","off":"5%","name":null}'
    )
