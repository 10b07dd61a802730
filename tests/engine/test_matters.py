"""What needs a person is found in a run's report, in a pull's result and in what a warehouse holds."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tidegate import catalog, errors
from tidegate.config import values
from tidegate.engine import flows, matters, unwritten
from tidegate.pull import held, report, tail
from tidegate.store import holds, notices, runs
from tidegate.stripe import client

NOW = 1_790_000_000.0
HELD = (
    "11 of 31 rows of coupons are no longer listed by Stripe; they were kept as they are. "
    "If they are really gone, run `tidegate pull --accept-deletes coupons`."
)


def run(state: runs.State, error: str = "", **totals: Any) -> runs.Run:
    return runs.Run("run_1", "pull:everything", state, "schedule", NOW, NOW, error=error, totals=totals)


def table(stream: str, status: str, error: str = "", account: str = "acct_1") -> dict[str, Any]:
    return {"stream": stream, "account": account, "status": status, "error": error or None}


def flow(schedule: Any = "continuous") -> flows.Flow:
    return flows.Flow("pull:everything", "pull", "everything", schedule, "acme")


def stood(stream: str, age: float, *, bound: int | None = 60, **more: Any) -> held.Held:
    as_of = dt.datetime.fromtimestamp(NOW - age, dt.UTC)
    return held.Held("acct_1", stream, 10, 0, True, as_of, "ok", "", bound, **more)


def texts(found: list[notices.Matter]) -> dict[str, str]:
    return {each.name: each.text for each in found}


def test_a_run_that_went_well_has_nothing_to_say() -> None:
    tables = [table("charges", "ok"), table("treasury_transactions", "not_enabled", "no such product")]
    assert matters.of_run(run("ok", requests=500, rate_limited=3), tables) == []


def pushed(state: runs.State, error: str = "", **totals: Any) -> runs.Run:
    return runs.Run("run_1", "push:people", state, "schedule", NOW, NOW, error=error, totals=totals)


def test_a_plan_that_waits_for_approval_is_told() -> None:
    guards = ["The model is empty, and 8 of its rows were sent before."]
    run = pushed("partial", "waits for approval: ...", guards=guards, source=0)
    found = matters.of_run(run, [table("customer", "held", "waits")])
    assert texts(found) == {
        "push:people/approval": "push:people: the plan waits for approval, and nothing is written until then: The "
        "model is empty, and 8 of its rows were sent before. `tidegate plan people` shows it; `tidegate push "
        "people --approve` does it."
    }
    assert [each.kind for each in found] == ["approval"]
    assert matters.of_run(pushed("ok", guards=guards, created=8), []) == []  # somebody approved it


def test_rows_that_could_not_be_written_are_told_without_what_stripe_said_of_them() -> None:
    run = pushed(
        "partial", "Not every row was written (3 failed): secret=abc12345 is wrong", failed=3, source=40
    )
    [found] = matters.of_run(run, [table("customer", "partial", "x")])
    assert (found.name, found.kind) == ("push:people/rows", "rows")
    assert found.text.startswith("push:people: 3 of 40 rows could not be written; they are tried again")
    assert "abc12345" not in found.text


def test_a_push_that_failed_is_told_once() -> None:
    run = pushed("failed", "Stripe rejected the key.", failed=3, source=3)
    [found] = matters.of_run(run, [table("customer", "failed", "Stripe rejected the key.")])
    assert found.name == "push:people/failed"


def test_rows_of_a_push_are_told_by_what_they_need() -> None:
    counts: dict[tuple[holds.Kind, holds.State], int] = {
        ("ambiguous", "held"): 2,
        ("gone", "held"): 1,
        ("refused", "held"): 1_200,
        ("refused", "waiting"): 7,  # tried again by itself
        ("conflict", "skipped"): 5,  # a person has decided
    }
    found = texts(unwritten.of_rows("push:people", counts, 1))
    assert list(found) == ["push:people/held", "push:people/quarantine", "push:people/unknown"]
    assert "3 rows are held until somebody decides (2 ambiguous, 1 gone)" in found["push:people/held"]
    assert "1,200 rows are in quarantine (1,200 refused)" in found["push:people/quarantine"]
    assert unwritten.of_rows("push:people", {("refused", "waiting"): 7}, 0) == []


def test_a_failed_run_says_why_and_where_there_is_more() -> None:
    error = "Stripe rejected the key sk_test_…abcd on GET /v1/charges: it has expired; look it up."
    tables = [
        table("charges", "failed", f"not read to its end: {error}"),
        table("customers", "failed", error),
    ]
    assert texts(matters.of_run(run("failed", error), tables)) == {
        "pull:everything/failed": "pull:everything: the run failed: Stripe rejected the key sk_test_… on "
        "GET /v1/charges: it has expired; look it up. `tidegate logs run_1` shows more."
    }


def test_a_stream_without_permission_names_it() -> None:
    named = "The key sk_test_…abcd lacks the permission rak_charge_read for GET /v1/charges; grant it."
    tables = [
        table("charges", "no_permission", named),
        table("customers", "no_permission", "Stripe forbids it."),
    ]
    found = texts(matters.of_run(run("partial"), tables))
    assert list(found) == [
        "pull:everything/no_permission/acct_1/charges",
        "pull:everything/no_permission/acct_1/customers",
    ]
    assert found["pull:everything/no_permission/acct_1/charges"].count("rak_charge_read") == 1
    permission = catalog.load().streams["customers"].permission
    assert f"lacks the permission {permission}" in found["pull:everything/no_permission/acct_1/customers"]


def test_a_stream_that_could_not_be_read_whole_is_told_and_rows_that_are_held_are_told_apart() -> None:
    tables = [
        table("coupons", "partial", HELD),
        table("charges", "partial", "an object of it cannot be read"),
    ]
    assert texts(matters.of_run(run("partial"), tables)) == {
        "pull:everything/held/acct_1/coupons": f"pull:everything, acct_1: {HELD} `tidegate logs run_1` shows more.",
        "pull:everything/stream/acct_1/charges": "pull:everything: charges of acct_1 is not complete: "
        "an object of it cannot be read. `tidegate logs run_1` shows more.",
    }


def test_a_gap_is_told_per_account() -> None:
    said = f"acct_1: {tail._lost(0, 31 * 86_400)}; {matters.GAP}."
    [found] = matters.of_run(run("ok"), [], [said])
    assert found.name == "pull:everything/gap/acct_1"
    assert "the last pull was 31 days ago, and Stripe keeps events for 30." in found.text


@pytest.mark.parametrize(
    ("requests", "limited", "told"), [(1_000, 250, True), (1_000, 150, False), (200, 90, False)]
)
def test_a_rate_limit_that_others_use_up_is_told(requests: int, limited: int, told: bool) -> None:
    found = matters.of_run(run("ok", requests=requests, rate_limited=limited), [])
    assert [each.name for each in found] == (["pull:everything/budget"] if told else [])


def test_requests_that_wait_long_for_the_budget_are_told() -> None:
    [found] = matters.of_waits({"acct_1": 900.0, "acct_2": 20.0})
    assert found.name == "budget/acct_1"
    assert "waited for 15 min" in found.text


def result(*outcomes: report.Outcome, end: errors.TidegateError | None = None) -> report.Result:
    moment = dt.datetime.now(dt.UTC)
    return report.Result("run_1", moment, moment, "failed" if end else "ok", outcomes, client.Tally(), end)


def test_a_pull_of_a_continuous_run_tells_the_same() -> None:
    outcome = report.Outcome("charges", "acct_1", "no_permission", error="lacks rak_charge_read")
    found = matters.of_result("pull:everything", result(outcome, end=errors.Unreachable("No answer.")))
    assert [each.kind for each in found] == ["failed", "no_permission"]


def test_a_stream_is_behind_when_neither_its_staleness_nor_the_schedule_explains_it() -> None:
    stand = matters.Stand(
        NOW, (stood("charges", 3_000), stood("coupons", 4_000), stood("plans", 9e9, bound=None))
    )
    [found] = matters.of_stand(flow(), stand, NOW, {})
    assert found.name == "pull:everything/freshness/acct_1/coupons"
    assert "older than 62 min" in found.text
    hourly = flow(values.Every(every=dt.timedelta(hours=1)))
    assert matters.of_stand(hourly, stand, NOW, {}) == []
    assert matters.of_stand(flow("manual"), matters.Stand(NOW, (stood("charges", 9e7),)), NOW, {}) == []


def test_a_bound_of_the_configuration_counts_whatever_the_schedule_says() -> None:
    stand = matters.Stand(
        NOW, (stood("charges", 1_000), stood("issuing_cards", 1_000), stood("plans", 1_000))
    )
    bounds = {
        "*": dt.timedelta(hours=1),
        "charges": dt.timedelta(minutes=15),
        "issuing_*": dt.timedelta(minutes=10),
    }
    found = matters.of_stand(flow("manual"), stand, NOW, bounds)
    assert [each.name.rpartition("/")[2] for each in found] == ["charges", "issuing_cards"]


def test_a_stand_ages_unless_a_continuous_run_goes_on() -> None:
    """Then the copy is old, and not the data."""
    stand = matters.Stand(NOW - 100_000, (stood("charges", 100_030),))
    assert matters.of_stand(flow(), stand, NOW, {}, alive=True) == []
    assert len(matters.of_stand(flow(), stand, NOW, {}, alive=False)) == 1
    hourly = flow(values.Every(every=dt.timedelta(hours=1)))
    assert len(matters.of_stand(hourly, stand, NOW, {}, alive=True)) == 1


def test_held_rows_are_told_as_the_warehouse_says() -> None:
    stand = matters.Stand(NOW, (stood("coupons", 10, held=HELD),))
    assert texts(matters.of_stand(flow(), stand, NOW, {})) == {
        "pull:everything/held/acct_1/coupons": f"pull:everything, acct_1: {HELD}"
    }


def test_endpoints_that_stripe_gave_up_are_told() -> None:
    found = matters.of_endpoints({"acme": "disabled", "beta": "missing", "well": "enabled"})
    assert [each.name for each in found] == ["endpoint/acme", "endpoint/beta"]
    assert "`tidegate webhooks enable acme`" in found[0].text


def test_an_endpoint_is_silent_when_pulls_find_what_was_to_be_delivered() -> None:
    full = next(name for name in catalog.load().streams if matters.is_told_by_events(name))
    partly = "balance_transactions"
    assert not matters.is_told_by_events(partly)
    quiet, late = NOW - 4_000, NOW - 100
    assert matters.is_silent(quiet, [(late, full)] * 3, NOW)
    assert not matters.is_silent(quiet, [(late, full)] * 2, NOW), "too few to tell"
    assert not matters.is_silent(quiet, [(late, partly)] * 9, NOW), "it has no events"
    assert not matters.is_silent(quiet, [(quiet + 10, full)] * 9, NOW), "they may have been on their way"
    assert not matters.is_silent(NOW - 600, [(late, full)] * 9, NOW), "something came ten minutes ago"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("the key sk_live_51Abcdefgh failed", "the key sk_live_… failed"),
        ("whsec_abcdefgh is wrong", "whsec_… is wrong"),
        ("mail to ada@example.com bounced", "mail to <email> bounced"),
        ("postgresql://ada:p@ss/w@db.example.com/x is down", "postgresql://db.example.com/x is down"),
        ("smtp://ada:secret@localhost refused", "smtp://localhost refused"),
        ("https://hooks.slack.com/services/T0/B0/xyz said no", "https://hooks.slack.com/… said no"),
        ("password=hunter2, token: abc, Bearer abcdefghijkl", "password …, token …, Bearer …"),
        ("called +49 170 1234567 twice", "called <phone> twice"),
        ("card 4242 4242 4242 4242 declined", "card <number> declined"),
        ("dapi0123456789abcdef0123456789abcdef is no token", "dapi… is no token"),
        ("password authentication failed for the user", "password authentication failed for the user"),
        ("line\nbreak\x1b[31m", "line break [31m"),
        ("req_A1b2C3d4E5f6G7 on acct_1032D82eZvKYlo2C", "req_A1b2C3d4E5f6G7 on acct_1032D82eZvKYlo2C"),
        ("checkout_sessions_line_items is behind", "checkout_sessions_line_items is behind"),
    ],
)
def test_what_others_wrote_is_scrubbed(said: str, shown: str) -> None:
    assert matters.scrubbed(said) == shown


@given(
    st.sampled_from(["sk_live_", "rk_test_", "whsec_", "sk_org_live_"]),
    st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789", min_size=8, max_size=99),
    st.text(max_size=30),
    st.text(max_size=30),
)
def test_no_key_passes_whatever_stands_around_it(prefix: str, secret: str, before: str, after: str) -> None:
    assume(secret not in before and secret not in after)
    assert secret not in matters.scrubbed(f"{before} {prefix}{secret} {after}")


@pytest.mark.parametrize("name", ["failed", "no_permission/acct_1/charges", "stream/acct_1/charges", "gap/acct_1",
    "held/acct_1/charges", "freshness/acct_1/charges", "budget"])  # fmt: skip
def test_every_kind_has_a_title(name: str) -> None:
    notice = notices.Notice(f"pull:x/{name}", name.partition("/")[0], "pull:x", "", NOW, NOW)
    assert "pull:x" in matters.title(notice)
    assert "/" not in matters.title(notice)


def test_matters_of_no_flow_have_titles_too() -> None:
    found = [*matters.of_waits({"acct_1": 999.0}), *matters.of_endpoints({"acme": "disabled"})]
    found.append(matters.of_silence("acme"))
    titles = [matters.title(notices.Notice(each.name, each.kind, "", each.text, NOW, NOW)) for each in found]
    assert titles == [
        "the rate limit of acct_1 is used up",
        "Stripe does not deliver to acme's webhook endpoint",
        "Stripe's events for acme do not come",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(40, "40 s"), (900, "15 min"), (3_700, "62 min"), (10_000, "3 h"), (200_000, "2 days")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert matters.duration(seconds) == text
