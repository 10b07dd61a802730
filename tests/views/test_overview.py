"""The overview: a sentence that is true, the worst streams first, budgets, issues, and sizes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
import seen
import servers

from tidegate import errors
from tidegate.engine import matters
from tidegate.engine import place as places
from tidegate.store import grants, notices, plans, runs
from tidegate.views import flows, overview, rate_budgets, summary

PUSH = (
    "models: {people: {file: people.csv, key: id}}\n"
    "pushes: {people: {model: people, to: acme, object: customer, match: {email: email}, fields: {name: name}}}\n"
)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[places.Place]:
    url = "" if request.param == "sqlite" else servers.new_postgres()
    with seen.place(seen.written(tmp_path), url) as found:
        seen.ticking(found)
        yield found


def hold(place: places.Place, key: str, kind: str = "ambiguous") -> None:
    place.store.execute(
        "INSERT INTO holds (push, key, kind, state, text, field, code, hash, version, candidates, operation, "
        "failures, opening, opened_at, seen_at) VALUES ('people', :key, :kind, 'held', '', '', '', '', '', '[]', "
        "'', 0, '', 0, 0)",
        {"key": key, "kind": kind},
    )


def test_all_is_well(place: places.Place) -> None:
    seen.stands(place, "pull:everything", seen.table("charges"))
    seen.ran(place, "pull:everything")
    found = overview.look(place)
    assert (found.health, found.sentence) == ("ok", "The flow is fresh; nothing needs you.")
    assert found.streams == {"fresh": 1}
    assert [each.name for each in found.coming] == ["pull:everything"]
    assert found.running == []


def test_a_flow_that_somebody_stopped_is_not_fresh(tmp_path: Path) -> None:
    file = seen.written(tmp_path)
    file.write_text(file.read_text().replace("every 15m", "continuous"))
    with seen.place(file) as place:
        run = runs.queue(place.store, "run_1", "pull:everything", "continuous")
        until = matters.moment((runs.cancel(place.store, run.id, "ann").finished_at or 0.0) + 43_200.0)
        found = overview.look(place)
        assert found.health == "warn"
        assert found.sentence == (
            f"pull:everything is stopped, until {until} unless you start it; nothing needs you."
        )


def test_a_write_that_nobody_knows_of_is_told_once(place: places.Place) -> None:
    """As the operation that it is, and not by its row again."""
    hold(place, "1", "unknown")
    assert overview.look(place).issues == ()


def test_several_flows_and_rows_that_need_somebody(tmp_path: Path) -> None:
    with seen.place(seen.written(tmp_path, more=PUSH)) as place:
        seen.ran(place, "pull:everything")
        seen.ran(place, "push:people", written=1)
        for key in ("1", "2"):
            hold(place, key)
        assert overview.look(place).sentence == "All 2 flows fresh; 2 rows need you."
        seen.ran(place, "push:people", state="failed", began=60, error="Stripe is away.")
        found = overview.look(place)
        assert (found.health, found.sentence) == (
            "failed",
            "1 of 2 flows fresh; push:people failed; 2 rows need you.",
        )
        assert [(each.kind, each.count) for each in found.issues] == [("held:ambiguous", 2)]


def test_a_plan_that_waits_is_named_beside_the_rows(tmp_path: Path) -> None:
    with seen.place(seen.written(tmp_path, more=PUSH)) as place:
        seen.ran(place, "pull:everything")
        seen.ran(place, "push:people", written=1)
        plan = plans.begin(place.store, plans.new_id(), "people", "push", {}, "ann@example.com")
        assert plans.keep(place.store, plan.id, {"counts": {"created": 3}}, "digest")
        assert overview.look(place).sentence == "All 2 flows fresh; 1 plan needs you."
        for key in ("1", "2"):
            hold(place, key)
        found = overview.look(place)
        assert found.sentence == "All 2 flows fresh; 2 rows and 1 plan need you."
        assert [(each.count, each.label) for each in found.issues] == [
            (2, "rows held: ambiguous match"),
            (1, "plan that waits for approval"),
        ]
        assert summary.health(place) == (found.health, found.sentence) == ("warn", found.sentence)


@pytest.mark.parametrize(
    ("rows", "plans", "others", "says"),
    [
        (1, 0, 0, "1 row needs you"),
        (0, 2, 0, "2 plans need you"),
        (0, 0, 1, "1 matter needs you"),
        (1, 1, 0, "1 row and 1 plan need you"),
        (0, 1, 2, "1 plan and 2 matters need you"),
        (1_200, 2, 1, "1,200 rows, 2 plans and 1 matter need you"),
    ],
)
def test_the_sentence_counts_all_that_needs_somebody(
    tmp_path: Path, rows: int, plans: int, others: int, says: str
) -> None:
    issues = [
        summary.Issue("held:ambiguous", "", rows, True),
        summary.Issue("approval", "", plans, False),
        summary.Issue("endpoint", "", others, False),
    ]
    with seen.place(seen.written(tmp_path)) as place:
        seen.ran(place, "pull:everything")
        known = flows.listed(place)
        told = summary.said(place.file, known, [each for each in issues if each.count])
    assert told == ("warn", f"The flow is fresh; {says}.")


def test_what_is_behind_and_what_never_ran_is_named(tmp_path: Path) -> None:
    with seen.place(seen.written(tmp_path, more=PUSH)) as place:
        seen.stands(place, "pull:everything", seen.table("charges", 9 * 86_400))
        seen.ran(place, "pull:everything")
        found = overview.look(place)
        assert found.health == "warn"
        assert found.sentence == (
            "0 of 2 flows fresh; pull:everything is behind, push:people has not run yet; nothing needs you."
        )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("alerts: {slack: {webhook: 'https://h/x'}}", "Nothing is connected yet: add a Stripe account"),
        ("stripe: {a: {api_key: rk_test_123456789}}", "Stripe is connected, and no warehouse yet"),
        (
            "stripe: {a: {api_key: rk_test_123456789}}\nwarehouses: {w: {type: duckdb, path: w.duckdb}}",
            "Nothing moves yet: choose the streams",
        ),
    ],
)
def test_a_place_that_is_just_begun_says_the_next_step(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(text)
    with seen.place(file) as place:
        found = overview.look(place)
    assert found.health == "off"
    assert says in found.sentence


def test_a_stream_that_failed_hides_none_that_is_behind(place: places.Place) -> None:
    tables = [seen.table("charges", 9 * 86_400), seen.table("payouts", status="failed", error="status 500")]
    seen.stands(place, "pull:everything", *tables)
    seen.ran(place, "pull:everything", state="partial")
    assert overview.look(place).sentence == (
        "pull:everything is behind; 1 stream was not read whole; nothing needs you."
    )
    seen.stands(place, "pull:everything", seen.table("charges"), tables[1])
    found = overview.look(place)
    assert (found.health, found.sentence) == (
        "warn",
        "The flow is fresh; 1 stream was not read whole; nothing needs you.",
    )


def test_more_flows_than_can_be_named_are_counted(tmp_path: Path) -> None:
    pulls = "\n".join(f"  p{n}: {{from: acme, to: local, streams: {{charges: {{}}}}}}" for n in range(4))
    file = seen.written(tmp_path)
    file.write_text(file.read_text().replace("pulls:\n", f"pulls:\n{pulls}\n"))
    with seen.place(file) as place:
        for n in range(3):
            seen.ran(place, f"pull:p{n}", state="failed")
        seen.ran(place, "pull:p3")
        seen.ran(place, "pull:everything")
        assert overview.look(place).sentence == "2 of 5 flows fresh; 3 failed; nothing needs you."


def test_alerts_are_counted_where_no_row_stands_for_them(place: places.Place) -> None:
    matters = [
        notices.Matter("pull:everything/failed", "failed", "pull:everything", "It failed."),
        notices.Matter("push:x/rows", "rows", "pull:everything", "Rows wait."),
    ]
    notices.settle(place.store, "pull:everything", matters)
    seen.ran(place, "pull:everything")
    found = overview.look(place)
    assert [(each.kind, each.label, each.rows) for each in found.issues] == [
        ("failed", "flow that failed", False)
    ]
    assert found.sentence == "The flow is fresh; 1 matter needs you."


def test_only_the_worst_streams_are_told_and_all_are_counted(place: places.Place) -> None:
    tables = [seen.table("charges", 60.0 + n, f"acct_{n}") for n in range(60)]
    seen.stands(place, "pull:everything", *tables, seen.table("payouts", status="failed"))
    found = overview.look(place)
    assert len(found.freshness) == overview.SHOWN
    assert [each.stood.stream for each in found.freshness[:2]] == ["payouts", "charges"]
    assert found.freshness[1].stood.account == "acct_59"
    assert found.streams == {"failed": 1, "fresh": 60}


def test_the_budget_of_an_account_that_is_used_and_of_one_that_rests(place: places.Place) -> None:
    seen.stands(place, "pull:everything", seen.table("charges"))
    assert rate_budgets.listed(place) == [rate_budgets.Budget("acme", "", "test", 20.0)]
    name = "api.stripe.com/test/acct_1"
    grants.renew(place.store, grants.Exchange([grants.Ask(name, "", "me", 20.0, 5.0)]))
    [budget] = overview.look(place).budgets
    assert (budget.connection, budget.account, budget.used, budget.free) == ("acme", "acct_1", 5.0, 15.0)
    grants.renew(place.store, grants.Exchange(refusals=[grants.Refusal(name, "", 30.0, 0.5)]))
    [budget] = rate_budgets.listed(place)
    assert budget.factor == 0.5
    assert budget.paused == pytest.approx(30, abs=5)
    assert budget.free == 5.0


def test_a_budget_of_a_connection_that_is_gone_is_nobodys(place: places.Place) -> None:
    ask = grants.Ask("api.stripe.com/live/acct_9", "", "me", 80.0, 5.0)
    grants.renew(place.store, grants.Exchange([ask]))
    assert [each.used for each in rate_budgets.listed(place)] == [0.0]


def test_the_size_of_a_warehouse_is_known_without_opening_it(place: places.Place, tmp_path: Path) -> None:
    [size] = overview.look(place).warehouses
    assert (size.rows, size.bytes, size.noted_at) == (None, None, None)
    (tmp_path / "w.duckdb").write_bytes(b"no database")
    seen.stands(place, "pull:everything", seen.table("charges", deleted=2), seen.table("payouts"))
    [size] = overview.look(place).warehouses
    assert (size.rows, size.tables, size.bytes) == (22, 2, 11)


def test_refreshing_looks_into_the_warehouse(place: places.Place, tmp_path: Path) -> None:
    duckdb.connect(str(tmp_path / "w.duckdb")).close()
    seen.stands(place, "pull:everything", seen.table("charges"))
    assert overview.refresh(place) == [overview.Refreshed("everything", 0)]
    assert overview.look(place).freshness == ()


def test_a_warehouse_that_cannot_be_looked_into_is_told(place: places.Place, tmp_path: Path) -> None:
    (tmp_path / "w.duckdb").write_bytes(b"no database at all, whatever its name says")
    [found] = overview.refresh(place, ["everything"])
    assert "w.duckdb" in found.error
    with pytest.raises(errors.ConfigError, match="there is no pull 'other'"):
        overview.refresh(place, ["other"])


def test_a_look_at_many_warehouses_comes_to_an_end(
    place: places.Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duckdb.connect(str(tmp_path / "w.duckdb")).close()
    monkeypatch.setattr(overview, "PATIENCE", -1.0)
    [found] = overview.refresh(place)
    assert found.error.startswith("There was no time left to look")


def test_a_thousand_streams_of_accounts_are_asked_in_a_few_statements(
    place: places.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [seen.table("charges", n, f"acct_{n}") for n in range(1000)]
    seen.stands(place, "pull:everything", *tables)
    asked: list[str] = []
    true = type(place.store).transact

    def counted(self: object, work: object) -> object:
        asked.append(str(work))
        return true(self, work)  # type: ignore[arg-type]

    monkeypatch.setattr(type(place.store), "transact", counted)
    overview.look(place)
    assert len(asked) < 30
