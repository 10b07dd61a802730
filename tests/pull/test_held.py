"""What a warehouse holds of Stripe: rows, how far each stream came, how the last run ended."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import double
import pytest
import scripted
from pulling import Stripe, pull

from tidegate.pull import held, report, run
from tidegate.stripe import client
from tidegate.warehouse import duckdb


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.02)


def look(file: Path, **tables: str) -> dict[str, held.Held]:
    warehouse = duckdb.DuckDB(file)
    try:
        return {each.stream: each for each in held.held(warehouse, tables)}
    finally:
        warehouse.close()


def test_a_warehouse_that_never_saw_a_pull_holds_nothing(tmp_path: Path) -> None:
    assert look(tmp_path / "w.duckdb") == {}


def test_a_whole_pull(business: Stripe, pulled: tuple[Path, report.Result]) -> None:
    file, result = pulled
    found = look(file)
    told = {each.stream: each for each in result.outcomes}
    assert set(found) == set(told)
    for name, each in found.items():
        assert each.complete, name
        assert (each.rows, each.deleted, each.status) == (told[name].written, 0, "ok"), name
    as_of = found["charges"].as_of
    assert as_of is not None
    now = dt.datetime.fromtimestamp(business.control("health")["now"], dt.UTC)
    assert now - dt.timedelta(minutes=30) < as_of <= now
    assert found["charges"].as_json()["as_of"] == as_of.isoformat()


PAYOUTS = scripted.rows("po", 350, object="payout")
REFUSED = (403, scripted.refusal("The key needs 'rak_topup_read' on account 'acct_1'."))


class Shop(scripted.Script):
    """Payouts that fail from a page on, and top-ups that are forbidden."""

    def __init__(self) -> None:
        super().__init__(routes={"/v1/payouts": self.payouts, "/v1/topups": lambda _: REFUSED})
        self.fails = True

    def payouts(self, query: scripted.Query) -> scripted.Answer:
        return (
            scripted.BROKEN if self.fails and "starting_after" in query else scripted.listed(PAYOUTS, query)
        )


def test_a_stream_that_was_cut_short_is_there_in_part_until_the_next_pull(tmp_path: Path) -> None:
    file, shop = tmp_path / "w.duckdb", Shop()
    with double.serving(shop) as url:
        pull(Stripe(url), file, "payouts", "topups")
        found = look(file)
        assert (found["payouts"].rows, found["payouts"].complete) == (100, False)
        assert found["payouts"].as_of is None
        assert found["payouts"].status == "partial"
        assert "status 500" in found["payouts"].error
        assert (found["topups"].rows, found["topups"].status) == (0, "no_permission")
        assert "rak_topup_read" in found["topups"].error
        shop.fails = False
        pull(Stripe(url), file, "payouts")
    found = look(file)
    assert (found["payouts"].rows, found["payouts"].complete, found["payouts"].status) == (350, True, "ok")
    assert found["payouts"].error == ""
    assert found["topups"].status == "no_permission"  # what its last run said


def test_tables_of_other_names_and_rows_that_were_deleted(tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    stubs = [{"id": "cus_9", "object": "customer", "deleted": True, "created": 1_700_000_000}]
    given = [*double.customers(3), *stubs]
    script = scripted.Script(routes={"/v1/customers": lambda q: scripted.listed(given, q)})
    choices = {"customers": run.Choice(table="clients")}
    with double.serving(script) as url:
        pull(Stripe(url), file, "customers", choices=choices)
    found = look(file, customers="clients")["customers"]
    assert (found.account, found.rows, found.deleted) == ("acct_unnamed", 3, 1)
    assert look(file)["customers"].rows == 0  # under its own name there is none


def test_a_stream_from_two_lists_is_complete_when_both_are(tmp_path: Path) -> None:
    file, fails = tmp_path / "w.duckdb", [True]

    def answer(query: scripted.Query) -> scripted.Answer:
        closed = query.get("closed") == "true"
        id = "acct_closed" if closed else "acct_open"
        return scripted.BROKEN if closed and fails else {"data": [{"id": id}], "next_page_url": None}

    with double.serving(scripted.Script(routes={"/v2/core/accounts": answer})) as url:
        pull(Stripe(url), file, "v2_core_accounts")
        assert not look(file)["v2_core_accounts"].complete
        fails.clear()
        pull(Stripe(url), file, "v2_core_accounts")
    found = look(file)["v2_core_accounts"]
    assert (found.complete, found.rows) == (True, 2)
