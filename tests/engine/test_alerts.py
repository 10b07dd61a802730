"""Runs open and resolve matters, and people are told of each once, whoever is killed and however often it comes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hearing
import msgspec
import pydantic
import pytest
from following import Merchant, ids

from tidegate import catalog, config, errors
from tidegate.engine import alerts, matters, outbox, telling, work
from tidegate.engine import place as places
from tidegate.pull import held, report, settings
from tidegate.store import database, deliveries, logs, notices, positions, reports, runs
from tidegate.stripe import client

FLOW = "pull:quick"
PULLS = "  quick: {from: acme, to: one, streams: {customers: {}, coupons: {}}}"
ENDLESS = "  quick: {from: acme, to: one, schedule: continuous, streams: {customers: {}, coupons: {}}}"
HOUR = 3_600.0
SECRET = "s3cret"


def told(url: str, pulls: str = PULLS, *, second: str = "", **more: str) -> str:
    """A configuration's pulls, and behind them whom to tell."""
    given = {"webhook": f'{{url: "{url}", secret: {SECRET}}}', **more}
    given |= {"slack": f'{{webhook: "{second}"}}'} if second else {}
    return f"{pulls}\nalerts: {{{', '.join(f'{name}: {value}' for name, value in given.items())}}}"


@pytest.fixture
def hook() -> Iterator[hearing.Hook]:
    with hearing.hook() as found:
        yield found


@pytest.fixture
def file(tmp_path: Path, hook: hearing.Hook) -> config.Config:
    """A configuration that tells one address, without any Stripe."""
    return loaded(tmp_path, told(hook.url))


def loaded(folder: Path, pulls: str) -> config.Config:
    path = folder / "alerting.yaml"
    path.write_text(
        'stripe: {acme: {api_key: sk_test_geheim123456789, api_base: "http://127.0.0.1:9"}}\n'
        f"warehouses: {{one: {{type: duckdb, path: one.duckdb}}}}\npulls:\n{pulls}\n"
    )
    return config.load(path)


def keyed(place: places.Place, key: str) -> places.Place:
    """The same with another key."""
    acme = place.file.stripe["acme"].model_copy(update={"api_key": pydantic.SecretStr(key)})
    return places.Place(place.file.model_copy(update={"stripe": {"acme": acme}}), place.store)


def performed(place: places.Place, flow: str = FLOW) -> runs.Run:
    """A run of a flow, done here, and what it has to tell."""
    run = runs.queue(place.store, runs.new_id(), flow, "manual")
    begun = runs.begin(place.store, run.id, place.worker)
    assert begun is not None
    asyncio.run(work.perform(place, begun))
    alerts.after_run(place.store, place.file, run)
    return runs.get(place.store, run.id)


def ended(
    store: database.Database, state: runs.State, error: str = "", *, cause: runs.Cause = "schedule"
) -> runs.Run:
    """A run that ended so."""
    run = runs.queue(store, runs.new_id(), FLOW, cause)
    assert runs.begin(store, run.id, "w") is not None
    assert runs.end(store, run.id, "w", state, error=error)
    return run


def names(store: database.Database) -> list[str]:
    return [each.matter.removeprefix(f"{FLOW}/") for each in notices.listed(store)]


def later(store: database.Database, seconds: float) -> None:
    """So much time passes for all that was resolved, told and taken."""
    store.execute("UPDATE leases SET until = until - :seconds", {"seconds": seconds})
    store.execute("UPDATE alerts SET resolved_at = resolved_at - :seconds", {"seconds": seconds})
    for notice in notices.listed(store, ended=True):
        for channel, each in notice.told.items():
            at, tried = (moment and moment - seconds for moment in (each.at, each.tried))
            moved = msgspec.structs.replace(each, at=at, tried=tried)
            notices.note(store, channel, {notice.matter: moved})


def heard(hook: hearing.Hook) -> list[str]:
    """The messages that came, `event: what`."""
    return [f"{each.json['event']}: {each.json['text']}" for each in hook.heard]


FAILED = f"opened: {FLOW} failed"
RESOLVED = f"resolved: Resolved: {FLOW} failed"


def test_a_failed_run_is_told_once_and_its_end_too(
    store: database.Database, file: config.Config, hook: hearing.Hook
) -> None:
    alerts.after_run(store, file, ended(store, "failed", "Stripe rejected the key."))
    outbox.tell(store, file)
    alerts.after_run(store, file, ended(store, "failed", "Stripe rejected the key."))
    outbox.tell(store, file)
    assert heard(hook) == [FAILED]
    alerts.after_run(store, file, ended(store, "ok"))
    outbox.tell(store, file)
    assert heard(hook) == [FAILED], "it may come back"
    later(store, notices.CALM + 1)
    outbox.tell(store, file)
    outbox.tell(store, file)
    assert heard(hook) == [FAILED, RESOLVED]


def test_what_comes_and_goes_is_told_once(
    store: database.Database, file: config.Config, hook: hearing.Hook
) -> None:
    for _ in range(20):
        alerts.after_run(store, file, ended(store, "failed", "Stripe failed."))
        outbox.tell(store, file)
        alerts.after_run(store, file, ended(store, "ok"))
        outbox.tell(store, file)
        later(store, 60)
    assert heard(hook) == [FAILED]
    later(store, notices.CALM)
    outbox.tell(store, file)
    assert heard(hook) == [FAILED, RESOLVED]
    alerts.after_run(store, file, ended(store, "failed", "Stripe failed."))
    outbox.tell(store, file)
    assert heard(hook) == [FAILED, RESOLVED, FAILED]


def test_what_stays_is_told_again_after_a_day(
    store: database.Database, file: config.Config, hook: hearing.Hook
) -> None:
    alerts.after_run(store, file, ended(store, "failed", "Stripe failed."))
    for hours in (0, 23, 2, 1, 22, 2):
        later(store, hours * HOUR)
        outbox.tell(store, file)
    reminder = f"reminder: Still: {FLOW} failed"
    assert heard(hook) == [FAILED, reminder, reminder]
    assert len({each.json["id"] for each in hook.heard}) == 3


def test_nobody_is_reminded_who_does_not_want_to_be(
    store: database.Database, tmp_path: Path, hook: hearing.Hook
) -> None:
    file = loaded(tmp_path, told(hook.url, remind="never"))
    alerts.after_run(store, file, ended(store, "failed", "Stripe failed."))
    for _ in range(3):
        outbox.tell(store, file)
        later(store, 1_000 * HOUR)
    assert heard(hook) == [FAILED]


def test_what_ended_before_anybody_was_told_is_not_told(
    store: database.Database, file: config.Config, hook: hearing.Hook
) -> None:
    alerts.after_run(store, file, ended(store, "failed", "Stripe failed."))
    alerts.after_run(store, file, ended(store, "ok"))
    later(store, notices.CALM + 1)
    outbox.tell(store, file)
    assert heard(hook) == []


@pytest.mark.parametrize("state", ["cancelled", "interrupted"])
def test_a_run_that_was_ended_from_outside_opens_and_resolves_nothing(
    store: database.Database, file: config.Config, state: runs.State
) -> None:
    alerts.after_run(store, file, ended(store, state, "It was ended."))
    assert names(store) == []
    alerts.after_run(store, file, ended(store, "failed", "Stripe failed."))
    alerts.after_run(store, file, ended(store, state, "It was ended."))
    assert names(store) == ["failed"]


def test_a_channel_that_fails_stops_no_other_and_is_tried_again(
    store: database.Database, tmp_path: Path, hook: hearing.Hook
) -> None:
    with hearing.hook() as broken:
        broken.answer = lambda _: (500, {}, b"")
        file = loaded(tmp_path, told(hook.url, second=broken.url))
        alerts.after_run(store, file, ended(store, "failed", "Stripe failed."))
        outbox.tell(store, file)
        outbox.tell(store, file)
        assert (heard(hook), len(broken.heard)) == ([FAILED], 1)
        for pause in outbox.RESTED:
            outbox.tell(store, file)
            later(store, pause + 1)
        assert len(broken.heard) == len(outbox.RESTED)
        [notice] = notices.listed(store)
        assert (
            notice.told["slack"].error
            == "127.0.0.1 refused the message with status 500; look at the address in `alerts`."
        )
        assert notice.told["webhook"].error == ""
        broken.answer = lambda _: (200, {}, b"ok")
        outbox.tell(store, file)
        assert broken.heard[-1].json["text"] == f"{FLOW} failed"
        assert names(store) == ["failed"]
        assert notices.listed(store)[0].told["slack"].tries == 0
    assert heard(hook) == [FAILED]


def test_a_server_that_asks_to_be_left_alone_is(
    store: database.Database, file: config.Config, hook: hearing.Hook
) -> None:
    hook.answer = lambda _: (429, {"Retry-After": "1000"}, b"")
    alerts.after_run(store, file, ended(store, "failed", "Stripe failed."))
    outbox.tell(store, file)
    later(store, 900)
    outbox.tell(store, file)
    assert len(hook.heard) == 1
    later(store, 200)
    outbox.tell(store, file)
    assert len(hook.heard) == 2


KILLED = """
import sys
from tidegate import config
from tidegate.engine import outbox
from tidegate.store import database

outbox.tell(database.open_database(sys.argv[1]), config.load(sys.argv[2]))
"""


def teller(url: str, folder: Path) -> subprocess.Popen[bytes]:
    """Another process that tells."""
    return subprocess.Popen([sys.executable, "-c", KILLED, url, str(folder / "alerting.yaml")])


def test_a_teller_that_is_killed_when_it_has_sent_repeats_that_message_only(
    url: str, store: database.Database, tmp_path: Path, file: config.Config, hook: hearing.Hook
) -> None:
    found = [notices.Matter(f"{FLOW}/held/acct_1/s{n}", "held", FLOW, "rows are held") for n in range(4)]
    notices.settle(store, FLOW, found)
    victim: list[subprocess.Popen[bytes]] = []

    def kill(_: hearing.Heard) -> tuple[int, dict[str, str], bytes]:
        if len(hook.heard) == 2:
            os.kill(victim[0].pid, signal.SIGKILL)
            victim[0].wait()
        return 200, {}, b"ok"

    ready = threading.Event()
    hook.answer = lambda got: kill(got) if ready.wait() else (500, {}, b"")
    victim.append(teller(url, tmp_path))
    ready.set()
    assert victim[0].wait() == -signal.SIGKILL
    assert len(hook.heard) == 2
    outbox.tell(store, file)
    assert len(hook.heard) == 2, "somebody else may still be at it"
    later(store, outbox.HELD + 1)
    for _ in range(3):
        outbox.tell(store, file)
        later(store, outbox.HELD + 1)
    told_of = [each.json["matters"][0]["matter"].rpartition("/")[2] for each in hook.heard]
    assert sorted(told_of) == sorted(["s0", "s1", "s2", "s3", told_of[1]])
    repeated = [
        each.json["id"] for each in hook.heard if each.json["matters"][0]["matter"].endswith(told_of[1])
    ]
    assert len(repeated) == 2
    assert len(set(repeated)) == 1, "who is told can see that it is the same"


def test_of_several_processes_one_tells(
    url: str, store: database.Database, tmp_path: Path, file: config.Config, hook: hearing.Hook
) -> None:
    found = [notices.Matter(f"{FLOW}/held/acct_1/s{n}", "held", FLOW, "rows are held") for n in range(5)]
    notices.settle(store, FLOW, found)
    tellers = [teller(url, tmp_path) for _ in range(3)]
    assert [each.wait() for each in tellers] == [0, 0, 0]
    assert file.alerts is not None
    outbox.tell(store, file)
    told_of = sorted(each.json["matters"][0]["matter"] for each in hook.heard)
    assert told_of == [each.name for each in found]


def test_many_matters_of_a_flow_are_one_message(
    store: database.Database, file: config.Config, hook: hearing.Hook
) -> None:
    found = [notices.Matter(f"{FLOW}/held/acct_1/s{n:03}", "held", FLOW, "rows are held") for n in range(120)]
    notices.settle(store, FLOW, found)
    notices.settle(store, FLOW, [], ("held",))
    notices.settle(store, FLOW, found)
    outbox.tell(store, file)
    [message] = hook.heard
    assert len(message.json["matters"]) == 120
    assert message.json["text"].endswith("and 119 more")


def test_a_message_that_did_not_arrive_is_sent_again_as_it_was(
    store: database.Database, file: config.Config, hook: hearing.Hook
) -> None:
    def held_rows(n: int) -> list[notices.Matter]:
        return [notices.Matter(f"{FLOW}/held/acct_1/s{i}", "held", FLOW, "rows are held") for i in range(n)]

    notices.settle(store, FLOW, held_rows(8))
    hook.answer = lambda _: (500, {}, b"")
    outbox.tell(store, file)
    hook.answer = lambda _: (200, {}, b"")
    notices.settle(store, FLOW, held_rows(10))
    later(store, HOUR)
    outbox.tell(store, file)
    sizes = [len(each.json["matters"]) for each in hook.heard]
    assert sizes == [8, 1, 1, 8]
    assert hook.heard[0].json["id"] == hook.heard[3].json["id"]


def test_telling_outlives_a_database_that_is_gone(
    store: database.Database,
    file: config.Config,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(*_: object) -> Any:
        raise errors.StoreUnreachable("It cannot be reached.")

    run = ended(store, "failed", "Stripe failed.")
    monkeypatch.setattr(store, "transact", gone)
    outbox.tell(store, file)
    alerts.after_run(store, file, run)
    alerts.look(store, file)
    assert caplog.text.count("It cannot be reached.") == 3


def test_a_run_without_a_permission_opens_a_matter_that_goes_when_it_is_granted(
    placed: Callable[[str], places.Place], shop: Merchant, hook: hearing.Hook
) -> None:
    scope = {"key": "rk_test_geheim123456789", "scope": catalog.load().streams["coupons"].permission}
    scopes = [catalog.load().streams[name].permission for name in ("customers", "coupons", "events")]
    shop.control("keys", {"key": scope["key"], "scopes": scopes})
    shop.control("keys/drop", scope)
    place = keyed(placed(told(hook.url)), scope["key"])
    run = performed(place)
    assert run.state == "partial", run
    [notice] = notices.listed(place.store)
    account = notice.matter.split("/")[2]
    assert notice.matter == f"{FLOW}/no_permission/{account}/coupons"
    assert scope["scope"] in notice.text
    assert "geheim" not in notice.text
    outbox.tell(place.store, place.file)
    shop.control("keys/grant", scope)
    assert performed(place).state == "ok"
    assert notices.listed(place.store) == []
    later(place.store, notices.CALM + 1)
    outbox.tell(place.store, place.file)
    assert heard(hook) == [
        f"opened: {FLOW} may not read coupons",
        f"resolved: Resolved: {FLOW} may not read coupons",
    ]


def test_a_month_without_a_pull_is_a_gap_that_the_next_run_ends(
    placed: Callable[[str], places.Place], shop: Merchant, hook: hearing.Hook
) -> None:
    place = placed(told(hook.url))
    performed(place)
    shop.later(31 * 86_400)
    assert performed(place).state == "ok"
    [notice] = notices.listed(place.store)
    assert notice.kind == "gap"
    assert "Stripe keeps events for 30" in notice.text
    performed(place)
    assert notices.listed(place.store) == []


def test_a_wrong_key_is_a_failed_run(
    placed: Callable[[str], places.Place], shop: Merchant, hook: hearing.Hook
) -> None:
    key = "rk_test_geheim123456789"
    place = keyed(placed(told(hook.url)), key)
    scopes = [catalog.load().streams[name].permission for name in ("customers", "coupons", "events")]
    shop.control("keys", {"key": key, "scopes": scopes})
    shop.control("keys/revoke", {"key": key})
    run = performed(place)
    outbox.tell(place.store, place.file)
    assert run.state == "failed"
    assert heard(hook) == ["opened: Stripe refuses the key of acme", FAILED]
    assert "rejected the key" in hook.heard[0].json["matters"][0]["text"]
    assert "geheim" not in hook.heard[0].body.decode()
    shop.control("keys", {"key": key, "scopes": scopes})
    assert performed(place).state == "ok"
    assert names(place.store) == []
    assert ids(Path(place.file.warehouses["one"].file), "customers")  # type: ignore[union-attr]  # it is DuckDB


def stands(store: database.Database, age: float = 0.0, **more: Any) -> None:
    """The warehouse of the flow holds coupons that are so old."""
    as_of = dt.datetime.fromtimestamp(store.now() - age, dt.UTC)
    found = held.Held("acct_1", "coupons", 9, 0, True, as_of, "ok", "", 60, **more)
    positions.replace(store, FLOW, matters.noted([found]))


def test_held_rows_are_told_by_the_run_and_gone_when_the_warehouse_holds_none(
    store: database.Database, file: config.Config
) -> None:
    run = runs.queue(store, runs.new_id(), FLOW, "manual")
    runs.begin(store, run.id, "w")
    error = (
        "9 of 9 rows of coupons are no longer listed by Stripe; run `tidegate pull --accept-deletes coupons`."
    )
    reports.keep(
        store, run.id, [{"stream": "coupons", "account": "acct_1", "status": "partial", "error": error}]
    )
    runs.end(store, run.id, "w", "partial", error=error)
    alerts.after_run(store, file, run)
    assert names(store) == ["held/acct_1/coupons"]
    alerts.after_run(store, file, ended(store, "ok"))
    alerts.look(store, file)
    assert names(store) == ["held/acct_1/coupons"], "the next run need not read the list"
    stands(store, held=error)
    alerts.judge(store, file, FLOW)
    assert names(store) == ["held/acct_1/coupons"]
    stands(store)
    alerts.judge(store, file, FLOW)
    assert names(store) == []


def test_data_that_is_too_old_is_told_until_it_is_not(
    store: database.Database, tmp_path: Path, hook: hearing.Hook
) -> None:
    file = loaded(tmp_path, told(hook.url, freshness="{coup*: 30m}"))
    alerts.judge(store, file)
    assert names(store) == [], "nothing is known"
    stands(store, 40 * 60)
    alerts.judge(store, file, "pull:other")
    assert names(store) == []
    alerts.judge(store, file)
    assert names(store) == ["freshness/acct_1/coupons"]
    stands(store, 20 * 60)
    alerts.judge(store, file)
    assert names(store) == []


def test_what_another_version_noted_is_passed_over_and_long_lists_are_read_in_pages(
    store: database.Database, file: config.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "PAGE", 3)
    kept = [
        held.Held(f"acct_{n}", "coupons", 9, 0, True, None, "ok", "", held="9 are held.") for n in range(10)
    ]
    other = positions.Position("charges", "acct_1", {"of": "another version"})
    positions.replace(store, FLOW, [other, *matters.noted(kept)])
    alerts.judge(store, file)
    assert names(store) == [f"held/acct_{n}/coupons" for n in range(10)]


def test_what_a_real_warehouse_holds_is_judged(
    placed: Callable[[str], places.Place], hook: hearing.Hook
) -> None:
    place = placed(told(hook.url, freshness="{coupons: 1h}"))
    performed(place)
    [job] = settings.jobs(place.file)
    warehouse = job.open()
    try:
        found = held.held(warehouse, {})
    finally:
        warehouse.close()
    positions.replace(place.store, FLOW, matters.noted(found))
    alerts.judge(place.store, place.file)
    assert names(place.store) == []
    earlier = [
        dataclasses.replace(each, as_of=each.as_of - dt.timedelta(hours=2)) for each in found if each.as_of
    ]
    positions.replace(place.store, FLOW, matters.noted(earlier))
    alerts.judge(place.store, place.file)
    account = found[0].account
    assert names(place.store) == [f"freshness/{account}/coupons"]


def test_an_interrupted_run_that_does_not_come_back_is_told(
    store: database.Database, file: config.Config
) -> None:
    ended(store, "interrupted", "It was stopped with its process.")
    alerts.look(store, file)
    assert names(store) == []
    store.execute("UPDATE runs SET finished_at = finished_at - :s", {"s": alerts.GONE + 1})
    alerts.look(store, file)
    assert names(store) == ["failed"]
    assert "`tidegate start quick`" in notices.listed(store)[0].text
    alerts.after_run(store, file, ended(store, "ok"))
    assert names(store) == []


def test_what_only_waited_for_the_process_to_begin_is_not_told(
    store: database.Database, tmp_path: Path, hook: hearing.Hook
) -> None:
    """After a night in which nothing was up."""
    file = loaded(tmp_path, told(hook.url, freshness="{coupons: 1h}"))
    ended(store, "interrupted", "It was stopped with its process.")
    store.execute("UPDATE runs SET finished_at = finished_at - 36000")
    stands(store, 10 * HOUR)
    for since in (store.now(), store.now() - alerts.GONE - 1):
        assert names(store) == []
        alerts.look(store, file, since=since)
        alerts.judge(store, file, since=since)
    assert sorted(names(store)) == ["failed", "freshness/acct_1/coupons"]


def test_the_log_names_some_of_many(
    store: database.Database, file: config.Config, caplog: pytest.LogCaptureFixture
) -> None:
    kept = [
        held.Held(f"acct_{n}", "coupons", 9, 0, True, None, "ok", "", held="9 are held.") for n in range(50)
    ]
    positions.replace(store, FLOW, matters.noted(kept))
    alerts.judge(store, file)
    assert caplog.text.count("9 are held.") == alerts.SHOWN
    assert "30 more alerts opened" in caplog.text


def test_what_requests_wait_for_and_what_stripe_says_of_endpoints(
    store: database.Database, file: config.Config
) -> None:
    alerts.look(store, file, waits={"acct_1": 400.0}, endpoints={"acme": "disabled"})
    assert sorted(names(store)) == ["budget/acct_1", "endpoint/acme"]
    alerts.look(store, file)
    assert sorted(names(store)) == ["budget/acct_1", "endpoint/acme"]
    alerts.look(store, file, waits={}, endpoints={"acme": "enabled"})
    assert names(store) == []


def test_an_endpoint_is_silent_until_something_is_delivered(store: database.Database, tmp_path: Path) -> None:
    file = loaded(tmp_path, ENDLESS)
    store.execute(
        "INSERT INTO endpoints (connection, scope, id, url, version, made_at) "
        "VALUES ('acme', 'account', 'we_1', 'https://x', 'v', {now} - 7200)"
    )
    run = runs.queue(store, runs.new_id(), FLOW, "continuous")
    runs.begin(store, run.id, "w")
    name = next(name for name in catalog.load().streams if matters.is_told_by_events(name))
    now = store.now()
    alerts.look(store, file)
    assert names(store) == []
    lines = [logs.Line(now - 60 * n, "info", "3 written", name, "acct_1") for n in range(3)]
    logs.write(store, run.id, "w", 0, lines)
    alerts.look(store, file)
    assert names(store) == ["silence/acme"]
    store.execute("DELETE FROM run_lines")
    alerts.look(store, file)
    assert names(store) == ["silence/acme"], "nothing came yet"
    deliveries.keep(store, [deliveries.Delivery("acme", "", "evt_1", "customer.created", 1, "{}")])
    alerts.look(store, file)
    assert names(store) == []


def test_a_gap_in_a_continuous_run_is_told_while_it_runs(store: database.Database, tmp_path: Path) -> None:
    file = loaded(tmp_path, ENDLESS)
    run = runs.queue(store, runs.new_id(), FLOW, "continuous")
    runs.begin(store, run.id, "w")
    said = f"acct_1: the place in the events was lost; {matters.GAP}."
    logs.write(store, run.id, "w", 0, [logs.Line(store.now(), "info", said)])
    alerts.look(store, file)
    assert names(store) == ["gap/acct_1"]
    store.execute("UPDATE run_lines SET at = at - :seconds", {"seconds": alerts.RECENT + 1})
    alerts.look(store, file)
    assert names(store) == []


def test_matters_of_a_flow_that_left_the_configuration_are_resolved(
    store: database.Database, file: config.Config
) -> None:
    notices.settle(
        store, "pull:gone", [notices.Matter("pull:gone/failed", "failed", "pull:gone", "it failed")]
    )
    alerts.look(store, file)
    assert names(store) == []
    run = runs.queue(store, runs.new_id(), "pull:gone", "manual")
    runs.begin(store, run.id, "w")
    runs.end(store, run.id, "w", "failed", error="pull:gone is not in the configuration any more.")
    alerts.after_run(store, file, run)
    assert names(store) == []


def pulled(
    status: report.Status = "ok", error: str = "", end: errors.TidegateError | None = None
) -> report.Result:
    now = dt.datetime.now(dt.UTC)
    outcomes = (report.Outcome("coupons", "acct_1", status, error=error),)
    return report.Result("run_1", now, now, "failed" if end else "ok", outcomes, client.Tally(), end)


def test_a_continuous_run_tells_what_lasts(store: database.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = alerts.Watch(store, FLOW)
    watch.saw(pulled(end=errors.Unreachable("No answer from Stripe.")), whole=True)
    watch.settle()
    assert names(store) == [], "it may pass"
    monkeypatch.setattr(alerts, "LASTING", 0.0)
    watch.settle()
    assert names(store) == ["failed"]
    watch.saw(pulled(), whole=True)
    watch.settle()
    assert names(store) == []


def test_a_continuous_run_tells_at_once_what_does_not_pass(store: database.Database) -> None:
    watch = alerts.Watch(store, FLOW)
    watch.saw(pulled("no_permission", "lacks rak_coupon_read"), whole=True)
    watch.settle()
    assert names(store) == ["no_permission/acct_1/coupons"]
    watch.saw(pulled(), whole=False)
    watch.settle()
    assert names(store) == ["no_permission/acct_1/coupons"], "what is delivered is not all"
    watch.saw(pulled(end=errors.Unreachable("No answer from Stripe.")), whole=True)
    watch.settle()
    assert names(store) == ["no_permission/acct_1/coupons"], "nothing was read"
    watch.saw(pulled(), whole=True)
    watch.settle()
    assert names(store) == []


def test_a_continuous_run_takes_over_what_the_last_one_left_open(
    store: database.Database, file: config.Config
) -> None:
    alerts.after_run(store, file, ended(store, "failed", "The key was rejected.", cause="continuous"))
    assert names(store) == ["failed"]
    alerts.after_run(store, file, ended(store, "ok", cause="continuous"))
    assert names(store) == ["failed"], "that it ended says nothing"
    watch = alerts.Watch(store, FLOW)
    watch.saw(pulled(), whole=True)
    watch.settle()
    assert names(store) == []


def test_a_quiet_continuous_run_does_not_ask_the_database(
    store: database.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    real = notices.settle
    monkeypatch.setattr(
        notices, "settle", lambda *given, **more: (asked.append(given), real(*given, **more))[1]
    )
    watch = alerts.Watch(store, FLOW)
    for _ in range(100):
        watch.saw(pulled(), whole=True)
        watch.settle()
    assert len(asked) == 1


def test_serving_tells_until_it_is_stopped(
    store: database.Database, file: config.Config, hook: hearing.Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "LOOKED", 0.05)
    stopping, came = threading.Event(), threading.Event()

    def arrived(_: hearing.Heard) -> tuple[int, dict[str, str], bytes]:
        came.set()
        return 200, {}, b""

    hook.answer = arrived
    thread = threading.Thread(target=alerts.serve, args=[store, lambda: file, stopping])
    thread.start()
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(stopping.set)
            alerts.after_run(store, file, ended(store, "failed", "Stripe failed."))
            assert came.wait(60)
    finally:
        thread.join(60)
    assert not thread.is_alive()
    assert heard(hook) == [FAILED]


def test_a_test_reaches_every_channel_and_says_which_it_does_not(tmp_path: Path, hook: hearing.Hook) -> None:
    with hearing.hook() as broken:
        broken.answer = lambda _: (410, {}, b"channel_is_archived")
        file = loaded(tmp_path, told(hook.url, second=broken.url))
        said = outbox.test(file)
    assert said["webhook"] == ""
    assert "status 410, channel_is_archived" in said["slack"]
    assert heard(hook) == ["test: this is a test"]


def test_messages_are_due_in_the_order_in_which_they_wait() -> None:
    """What never failed goes before what did, and a channel that just failed rests."""

    def open_(name: str, **more: float) -> notices.Notice:
        telling_ = {"slack": notices.Telling(**more)} if more else {}
        return notices.Notice(f"{FLOW}/held/acct_1/{name}", "held", FLOW, "", 100.0, 100.0, None, telling_)

    known = [open_("failed", tries=1, tried=200.0), open_("new"), open_("told", opened=100.0, at=150.0)]

    def due(now: float) -> list[str]:
        found: list[telling.Message] = outbox.due(known, "slack", now, None)
        return [each.matter.rpartition("/")[2] for message in found for each in message.notices]

    assert due(210.0) == []
    assert due(225.0) == ["new"]
    assert due(300.0) == ["new", "failed"]
