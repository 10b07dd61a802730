"""What a list no longer has goes, once it is sure; what is not sure is kept, and said."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import double
import following
import pytest
import scripted
from pulling import KEY, query

from tidegate import catalog, errors
from tidegate.pull import load, relist, scope, shaping, sweep
from tidegate.rows import arrow
from tidegate.stripe import attempts
from tidegate.warehouse import duckdb

NOW = 1_700_000_000
DAY = 86_400


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.02)


class Shop(scripted.Script):
    """Answers by id: `alive` objects as they are, `stubs` as deleted, everything else as unknown to Stripe."""

    def __init__(self, path: str, alive: Collection[str] = (), stubs: Collection[str] = ()) -> None:
        super().__init__()
        self.path, self.alive, self.stubs = path, set(alive), set(stubs)

    async def answer(self, request: Any) -> Any:
        """One object by its id."""
        before, _, row_id = request.path.rpartition("/")
        if before != self.path or request.path in self.routes:
            return await super().answer(request)

        def found(_: scripted.Query) -> scripted.Answer:
            if row_id in self.stubs:
                return {"id": row_id, "deleted": True}
            if row_id in self.alive:
                return {"id": row_id, "created": NOW, "metadata": {"fresh": "yes"}}
            return scripted.MISSING

        self.routes = {**self.routes, request.path: found}
        return await super().answer(request)


@dataclasses.dataclass
class Shelf:
    """A warehouse with rows of known versions, and sweeps of them."""

    file: Path
    streams: tuple[str, ...]
    starts: Mapping[str, int | None] = dataclasses.field(default_factory=dict)
    accept: frozenset[str] = frozenset()
    choices: Mapping[str, scope.Choice] = dataclasses.field(default_factory=dict)

    def targets(self) -> dict[str, load.Target]:
        """Where rows go."""
        options = scope.Options(choices=self.choices)
        known = catalog.load().streams
        return {name: scope.target(known[name], "acct_1", options) for name in self.streams}

    def store(self, stream: str, version: int, *rows: dict[str, Any], parent: str = "") -> None:
        """Rows as they were read at a version."""
        target = self.targets()[stream]
        read = target.decoder.objects([json.dumps(row).encode() for row in rows])
        part = arrow.Part(read, version, parent, "parent") if parent else arrow.Part(read, version)
        table = arrow.table(target.decoder, [part], account="acct_1", synced_at=dt.datetime.now(dt.UTC))
        warehouse = duckdb.DuckDB(self.file)
        warehouse.prepare([each.table for each in self.targets().values()])
        warehouse.load(shaping.rows(target.shape, table, carried=frozenset(), payload=False), {})
        warehouse.close()

    def sweep(self, url: str, stream: str, since: int = 200, low: int | None = None) -> sweep.Found:
        """Sweep a stream whose list was read since `since`, and commit what comes of it."""
        entry = relist.Entry(since, "a test", low)

        async def go() -> sweep.Found:
            warehouse = duckdb.DuckDB(self.file)
            loader = load.Loader(warehouse)
            try:
                async with scope.connect(scope.Source(KEY, url, rate_limit="off", budget=1.0)) as stripe:
                    shared = scope.shared(
                        stripe,
                        self.targets(),
                        loader,
                        account="acct_1",
                        warehouse=warehouse,
                        starts=self.starts,
                    )
                    shared = dataclasses.replace(shared, accept=self.accept)
                    found = await sweep.whole(shared, catalog.load().streams[stream], entry)
                    loader.add(found.cargo, state=found.state)
                    return found
            finally:
                await loader.finish()
                warehouse.close()

        return asyncio.run(go())

    def rows(self, stream: str) -> dict[str, bool]:
        """Every stored row: is it alive?"""
        found = query(self.file, f"select id, _deleted_at is null as alive from stripe.{stream} order by id")
        return {row["id"]: row["alive"] for row in found}

    def versions(self, stream: str) -> dict[str, int]:
        """Every stored row's version."""
        found = query(self.file, f"select id, _version from stripe.{stream} order by id")
        return {row["id"]: row["_version"] for row in found}

    def state(self) -> dict[str, str]:
        """What is held."""
        warehouse = duckdb.DuckDB(self.file)
        try:
            return warehouse.state("held/")
        finally:
            warehouse.close()


def row(n: int, **more: Any) -> dict[str, Any]:
    """An object, one created each second."""
    return {"id": f"x_{n:04d}", "created": NOW + n, **more}


def many(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [row(n) for n in range(start, start + count)]


Shelved = Callable[..., Shelf]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelved:
    """A new warehouse."""
    return lambda *streams, **more: Shelf(tmp_path / "w.duckdb", streams, **more)


def test_a_row_that_is_not_listed_and_unknown_by_id_is_gone(shelf: Shelved) -> None:
    found, shop = shelf("coupons"), Shop("/v1/coupons")
    found.store("coupons", 100, row(1))
    found.store("coupons", 200, row(2))
    with double.serving(shop) as url:
        assert found.sweep(url, "coupons").held == ""
    assert found.rows("coupons") == {"x_0001": False, "x_0002": True}
    assert shop.requests == ["/v1/coupons/x_0001?expand[]=applies_to&expand[]=currency_options"]
    assert found.versions("coupons")["x_0001"] > NOW  # it is known to be gone since it was asked for


def test_a_row_that_was_made_while_the_list_was_read_is_left_alone(shelf: Shelved) -> None:
    """The reading began at 200: what is of that second or later may have come behind it."""
    found, shop = shelf("coupons"), Shop("/v1/coupons")
    for version in (199, 200, 201):
        found.store("coupons", version, row(version))
    with double.serving(shop) as url:
        found.sweep(url, "coupons", since=200)
    assert found.rows("coupons") == {"x_0199": False, "x_0200": True, "x_0201": True}
    assert len(shop.requests) == 1


def test_a_deleted_stub_is_gone_and_a_row_that_the_list_only_hides_is_read_anew(shelf: Shelved) -> None:
    found = shelf("customers")
    shop = Shop("/v1/customers", alive=["x_0002"], stubs=["x_0001"])
    found.store("customers", 100, row(1), row(2))
    with double.serving(shop) as url:
        assert found.sweep(url, "customers").held == ""
    assert found.rows("customers") == {"x_0001": False, "x_0002": True}
    fresh = query(found.file, "select metadata, _version from stripe.customers where id = 'x_0002'")
    assert json.loads(fresh[0]["metadata"]) == {"fresh": "yes"}
    assert fresh[0]["_version"] > NOW


def test_a_list_that_became_empty_is_believed_when_every_row_is_unknown_by_id(shelf: Shelved) -> None:
    found, shop = shelf("coupons"), Shop("/v1/coupons")
    found.store("coupons", 100, *many(30))
    with double.serving(shop) as url:
        assert found.sweep(url, "coupons").held == ""
    assert not any(found.rows("coupons").values())


def test_too_many_to_ask_for_are_held_and_nothing_is_asked(
    shelf: Shelved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BOUND", 10)
    found, shop = shelf("coupons"), Shop("/v1/coupons")
    found.store("coupons", 100, *many(11))
    found.store("coupons", 200, *many(20, start=100))
    with double.serving(shop) as url:
        result = found.sweep(url, "coupons")
    assert result.held == (
        "11 of 31 rows of coupons are no longer listed by Stripe; they were kept as they are. "
        "If they are really gone, run `tidegate pull --accept-deletes coupons`."
    )
    assert shop.requests == []
    assert all(found.rows("coupons").values())
    assert result.state == found.state()
    kept = sweep.held(found.state()["held/acct_1/coupons"])
    assert kept is not None
    assert (kept.since, kept.unlisted, kept.rows, kept.why) == (200, 11, 31, result.held)


def test_what_was_held_goes_when_the_user_accepts_it_and_is_held_no_more(
    shelf: Shelved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BOUND", 10)
    monkeypatch.setattr(sweep, "CHUNK", 4)
    found, shop = shelf("coupons"), Shop("/v1/coupons", alive=["x_0000"])
    found.store("coupons", 100, *many(30))
    with double.serving(shop) as url:
        assert found.sweep(url, "coupons").held
        assert all(found.rows("coupons").values())
        found.accept = frozenset({"coupons"})
        assert found.sweep(url, "coupons").held == ""
    alive = [row_id for row_id, is_alive in found.rows("coupons").items() if is_alive]
    assert alive == ["x_0000"]
    assert found.state() == {}
    assert len(shop.requests) == 10


def test_few_of_many_go_beyond_what_is_asked_for_at_the_second_of_the_reading(
    shelf: Shelved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BOUND", 5)
    monkeypatch.setattr(sweep, "CHUNK", 3)
    found, shop = shelf("coupons"), Shop("/v1/coupons")
    found.store("coupons", 100, *many(5))
    found.store("coupons", 110, *many(5, start=5))
    found.store("coupons", 200, *many(90, start=100))
    with double.serving(shop) as url:
        assert found.sweep(url, "coupons").held == ""
    gone = [row_id for row_id, is_alive in found.rows("coupons").items() if not is_alive]
    assert gone == [each["id"] for each in many(10)]
    versions = found.versions("coupons")
    assert all(versions[each["id"]] > NOW for each in many(5))  # those known longest were asked for
    assert {versions[each["id"]] for each in many(5, start=5)} == {200}


def test_a_list_that_hides_rows_is_not_believed_about_those_that_were_not_asked_for(
    shelf: Shelved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BOUND", 5)
    found, shop = shelf("coupons"), Shop("/v1/coupons", alive=["x_0003"])
    found.store("coupons", 100, *many(5))
    found.store("coupons", 110, *many(5, start=5))
    found.store("coupons", 200, *many(90, start=100))
    with double.serving(shop) as url:
        result = found.sweep(url, "coupons")
        assert "5 of 100 rows of coupons are no longer" in result.held
        assert "1 of 5 that were asked for by id exist" in result.held
        assert [found.rows("coupons")[each["id"]] for each in many(5)] == [False, False, False, True, False]
        # The next time those that were not asked for are known longest, and asked for first.
        assert found.sweep(url, "coupons").held == ""
    assert not any(found.rows("coupons")[each["id"]] for each in many(5, start=5))


@pytest.mark.parametrize(
    ("gone", "stay", "held"),
    [
        (1, 0, True),  # an empty list says nothing
        (1, 1, False),
        (5, 1, False),
        (6, 24, False),
        (6, 23, True),
        (20, 80, False),
        (21, 79, True),
    ],
)
def test_rows_that_have_no_route_of_their_own_go_where_they_are_few(
    shelf: Shelved, gone: int, stay: int, held: bool
) -> None:
    found, shop = shelf("apps_secrets"), Shop("/v1/apps/secrets")
    found.store("apps_secrets", 100, *many(gone))
    if stay:
        found.store("apps_secrets", 200, *many(stay, start=1_000))
    with double.serving(shop) as url:
        result = found.sweep(url, "apps_secrets")
    assert bool(result.held) is held
    assert sum(found.rows("apps_secrets").values()) == (gone + stay if held else stay)
    assert shop.requests == []


def test_a_stripe_without_the_route_by_id_is_asked_once(shelf: Shelved) -> None:
    found, shop = shelf("coupons"), scripted.Script(explains=False)
    found.store("coupons", 100, *many(6))
    found.store("coupons", 200, *many(24, start=100))
    with double.serving(shop) as url:
        assert found.sweep(url, "coupons").held == ""
    assert sum(found.rows("coupons").values()) == 24
    assert len(shop.requests) == 1


def test_a_failure_while_asking_sweeps_nothing(shelf: Shelved) -> None:
    found = shelf("coupons")
    found.store("coupons", 100, *many(3))
    shop = Shop("/v1/coupons")
    shop.routes = {"/v1/coupons/x_0001": lambda _: scripted.BROKEN}
    with double.serving(shop) as url, pytest.raises(errors.ServerFault):
        found.sweep(url, "coupons")
    assert all(found.rows("coupons").values())


def test_objects_that_stripe_cannot_delete_are_never_swept_but_said(shelf: Shelved) -> None:
    found, shop = shelf("charges"), Shop("/v1/charges", alive=["x_0002"])
    found.store("charges", 100, row(1), row(2))
    found.store("charges", 200, *many(50, start=100))
    with double.serving(shop) as url:
        result = found.sweep(url, "charges")
        assert result.held.startswith(
            "1 of 52 rows of charges are no longer listed by Stripe and Stripe cannot"
        )
        assert found.rows("charges")["x_0001"]
        assert found.versions("charges")["x_0002"] > NOW
        found.accept = frozenset({"charges"})
        assert found.sweep(url, "charges").held == ""
    assert not found.rows("charges")["x_0001"]


def test_events_outlive_the_month_for_which_stripe_lists_them(shelf: Shelved) -> None:
    found, shop = shelf("events"), Shop("/v1/events")
    found.store("events", 100, row(1, type="customer.created"))
    with double.serving(shop) as url:
        assert found.sweep(url, "events") == sweep.Found()
    assert found.rows("events") == {"x_0001": True}
    assert shop.requests == []


def test_only_the_span_that_was_listed_is_swept(shelf: Shelved) -> None:
    found, shop = shelf("coupons"), Shop("/v1/coupons")
    found.store("coupons", 100, row(1), row(2), row(3))
    with double.serving(shop) as url:
        found.sweep(url, "coupons", low=NOW + 2)
    assert found.rows("coupons") == {"x_0001": True, "x_0002": False, "x_0003": False}


def test_rows_from_before_the_start_are_not_listed_and_not_swept(shelf: Shelved) -> None:
    """Events may have brought them: their list was never asked for them."""
    found, shop = shelf("coupons", starts={"coupons": NOW + 3}), Shop("/v1/coupons")
    found.store("coupons", 100, row(2), row(3))
    with double.serving(shop) as url:
        found.sweep(url, "coupons")
    assert found.rows("coupons") == {"x_0002": True, "x_0003": False}


def test_without_the_column_created_a_span_is_not_swept(shelf: Shelved) -> None:
    choices = {"coupons": scope.Choice(columns=frozenset({"name"}))}
    found, shop = shelf("coupons", choices=choices), Shop("/v1/coupons")
    found.store("coupons", 100, row(1))
    with double.serving(shop) as url:
        found.sweep(url, "coupons", low=NOW)
        assert found.rows("coupons") == {"x_0001": True}
        found.sweep(url, "coupons")  # of the whole list it does not matter
    assert found.rows("coupons") == {"x_0001": False}


def test_a_sweep_of_a_span_leaves_what_is_held_of_the_rest(
    shelf: Shelved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BOUND", 2)
    found, shop = shelf("coupons"), Shop("/v1/coupons")
    found.store("coupons", 100, *many(5))
    with double.serving(shop) as url:
        found.sweep(url, "coupons")
        held = found.state()
        assert list(held) == ["held/acct_1/coupons"]
        found.sweep(url, "coupons", low=NOW + 1_000)
        assert found.state() == held
        found.store("coupons", 300, *many(5))
        found.sweep(url, "coupons", since=250)
    assert found.state() == {}


def test_the_accounts_own_row_is_in_no_list_and_stays(shelf: Shelved) -> None:
    found, shop = shelf("accounts"), Shop("/v1/accounts")
    found.store("accounts", 100, {"id": "acct_1"}, {"id": "acct_2"})
    cut_off = (403, scripted.refusal("The key may not act for account 'acct_2'.", "account_invalid"))
    shop.routes = {"/v1/accounts/acct_2": lambda _: cut_off}
    with double.serving(shop) as url:
        found.sweep(url, "accounts")
    assert found.rows("accounts") == {"acct_1": True, "acct_2": False}


def test_children_go_with_their_parent_and_are_not_swept_by_themselves(shelf: Shelved) -> None:
    found, shop = shelf("customers", "cards", "payment_methods", "subscriptions"), Shop("/v1/customers")
    found.store("customers", 100, row(1), row(2))
    found.store("cards", 100, {"id": "card_1", "object": "card"}, parent="x_0001")
    found.store("cards", 100, {"id": "card_2", "object": "card"}, parent="x_0002")
    found.store("payment_methods", 100, {"id": "pm_1", "customer": "x_0001"})
    found.store("subscriptions", 100, {"id": "sub_1", "customer": "x_0001"})
    shop.alive = {"x_0002"}
    cards = {
        "data": [{"id": "card_2", "object": "card"}],
        "has_more": False,
        "url": "/v1/customers/x_0002/sources",
    }
    shop.routes = {"/v1/customers/x_0002": lambda _: {"id": "x_0002", "created": NOW, "sources": cards}}
    with double.serving(shop) as url:
        assert found.sweep(url, "cards") == sweep.Found()
        found.sweep(url, "customers")
    assert found.rows("customers") == {"x_0001": False, "x_0002": True}
    assert found.rows("cards") == {"card_1": False, "card_2": True}
    assert found.rows("payment_methods") == {"pm_1": True}
    assert found.rows("subscriptions") == {"sub_1": True}


def orphan(shelf: Shelf, stream: str, ids: list[str], version: int) -> None:
    """Rows are gone; commit what that means for others."""

    async def go() -> None:
        warehouse = duckdb.DuckDB(shelf.file)
        loader = load.Loader(warehouse)
        source = scope.Source(KEY, "http://127.0.0.1:9", rate_limit="off", budget=1.0)
        async with scope.connect(source) as stripe:
            shared = scope.shared(stripe, shelf.targets(), loader, account="acct_1", warehouse=warehouse)
            loader.add(sweep.orphaned(shared, stream, ids, version))
            await loader.finish()
        warehouse.close()

    asyncio.run(go())


def test_kept_children_of_a_parent_that_is_not_kept_go_too(shelf: Shelved) -> None:
    found = shelf("customer_tax_ids", "customer_balance_transactions")
    found.store("customer_tax_ids", 100, {"id": "txi_1"}, parent="x_0001")
    found.store("customer_balance_transactions", 100, {"id": "cbtxn_1"}, parent="x_0001")
    found.store("customer_balance_transactions", 100, {"id": "cbtxn_2"}, parent="x_0002")
    orphan(found, "customers", ["x_0001"], 150)
    assert found.rows("customer_tax_ids") == {"txi_1": False}
    assert found.rows("customer_balance_transactions") == {"cbtxn_1": False, "cbtxn_2": True}


def test_a_child_of_its_parents_last_second_goes_too(shelf: Shelved) -> None:
    found = shelf("customer_tax_ids")
    found.store("customer_tax_ids", 150, {"id": "txi_1"}, parent="x_0001")
    orphan(found, "customers", ["x_0001"], 150)
    assert found.rows("customer_tax_ids") == {"txi_1": False}


def test_children_of_children_go_too(shelf: Shelved) -> None:
    found = shelf("sources", "source_transactions")
    found.store("sources", 100, {"id": "src_1", "object": "source"}, parent="x_0001")
    found.store("source_transactions", 100, {"id": "srctxn_1"}, parent="src_1")
    found.store("source_transactions", 100, {"id": "srctxn_2"}, parent="src_2")
    orphan(found, "customers", ["x_0001"], 150)
    assert found.rows("sources") == {"src_1": False}
    assert found.rows("source_transactions") == {"srctxn_1": False, "srctxn_2": True}


@pytest.fixture
def merchant(start: Callable[..., Any]) -> following.Merchant:
    return following.Merchant(start(objects=300).url)


def test_a_delete_inside_a_gap_is_found(merchant: following.Merchant, tmp_path: Path) -> None:
    """A month without a pull: the event of the deletion is gone, and the row must go all the same."""
    file, streams = tmp_path / "w.duckdb", ("customers", "customer_balance_transactions", "coupons")
    kept, lost = (merchant.make("/v1/customers", email="a@example.com")["id"] for _ in range(2))
    for each in (kept, lost):
        merchant.make(f"/v1/customers/{each}/balance_transactions", amount=100, currency="usd")
    following.follow(merchant, file, *streams)
    merchant.delete(f"/v1/customers/{lost}")
    merchant.later(31 * DAY)
    following.follow(merchant, file, *streams)
    assert following.gone(file, "customers") == [lost]
    orphans = following.rows(file, "customer_balance_transactions", "_deleted_at is not null")
    assert {each["_parent_id"] for each in orphans} == {lost}
    following.agrees(merchant, file, *streams)


def test_a_whole_list_that_is_read_again_never_sweeps_what_was_made_meanwhile(
    merchant: following.Merchant, tmp_path: Path
) -> None:
    file = tmp_path / "w.duckdb"
    merchant.make("/v1/coupons", id="OLD", percent_off=10, duration="once")
    following.follow(merchant, file, "coupons", "customers")
    merchant.later(60)
    merchant.control("mutate", {"stream": "coupons", "id": "OLD", "delete": True})
    made = [merchant.make("/v1/coupons", percent_off=5, duration="once")["id"] for _ in range(3)]
    following.follow(merchant, file, "coupons", "customers", full_refresh=True)
    assert following.gone(file, "coupons") == ["OLD"]
    assert set(made) <= set(following.ids(file, "coupons"))
    following.agrees(merchant, file, "coupons", "customers")
