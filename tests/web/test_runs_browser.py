"""The pages of runs in a browser: live while a run goes on, by keyboard, wide and narrow, light and dark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browsing
import pytest
import running
from playwright import sync_api
from playwright.sync_api import expect
from signing import Client, Signed

from tidegate.engine import place as places
from tidegate.store import runs

WRONG = "charges: The key may not read charges; grant rak_charge_read (req_A1b2C3d4E5f6)."
HOW = {"phase": "pulling", "rows": 41_200, "requests": 520, "rate": 42.5, "limit": 80.0}
STREAMS = {
    "payouts": {"rows": 1200, "requests": 12, "estimate": 4000, "begun": 1, "ended": 0, "status": "running"},
    "charges": {"rows": 90, "requests": 8, "estimate": 90, "begun": 1, "ended": 1, "status": "ok"},
}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    with running.place(tmp_path) as found:
        yield found
        found.stopping.set()


@pytest.fixture
def ann(place: places.Place, signed: Signed) -> Client:
    return signed(place, "operator", "ann@example.com")


def enter(page: sync_api.Page, client: Client) -> None:
    page.context.add_cookies(
        [{"name": name, "value": value, "url": client.url} for name, value in client.jar.items()]
    )


def going(place: places.Place) -> runs.Run:
    run = running.begun(place.store, full_refresh=True)
    runs.beat(place.store, run.id, running.WORKER, {**HOW, "streams": STREAMS})
    running.said(place.store, run, ["The warehouse is open."])
    return run


def left(place: places.Place) -> runs.Run:
    run = running.ended(place.store, state="partial", error=WRONG, read=20, written=14, requests=40)
    wrong: dict[str, Any] = {"stream": "charges", "status": "no_permission", "error": WRONG}
    running.got(place.store, run, {}, wrong, {"stream": "disputes"})
    running.said(
        place.store, run, [f"GET /v1/customers answered 429 (req_Zz9Yy8Xx7Ww{n}); again." for n in range(9)]
    )
    running.said(place.store, run, [WRONG], first=9, level="error")
    return run


def test_a_run_is_followed_without_loading_the_page_again(
    place: places.Place, ann: Client, page: sync_api.Page
) -> None:
    run = going(place)
    enter(page, ann)
    page.goto(f"{ann.url}/runs/{run.id}")
    expect(page.locator("#run")).to_contain_text("41,200")
    runs.beat(place.store, run.id, running.WORKER, {**HOW, "rows": 99_999, "streams": STREAMS})
    expect(page.locator("#run")).to_contain_text("99,999")
    running.said(place.store, run, ["Half of it is done."], first=1)
    expect(page.locator(".log")).to_contain_text("Half of it is done.")
    runs.end(place.store, run.id, running.WORKER, "ok", totals={"written": 7})
    expect(page.get_by_role("button", name="Run again")).to_be_visible()
    expect(page.locator("#run")).to_have_attribute("data-state", "ended")


def test_it_is_cancelled_by_two_keys_and_what_stays_is_said(
    place: places.Place, ann: Client, page: sync_api.Page
) -> None:
    run = going(place)
    enter(page, ann)
    page.goto(f"{ann.url}/runs/{run.id}")
    browsing.ready(page)
    page.locator("summary", has_text="Cancel").focus()
    page.keyboard.press("Enter")
    box = page.locator("form[action$='/cancel']")
    expect(box).to_contain_text("What it committed stays")
    # What comes meanwhile leaves the question standing.
    runs.beat(place.store, run.id, running.WORKER, {**HOW, "rows": 50_000, "streams": STREAMS})
    expect(page.locator("#run")).to_contain_text("50,000")
    expect(box).to_be_visible()
    box.get_by_role("button", name="Cancel").press("Enter")
    expect(page.locator("#said")).to_contain_text("It ends within seconds")
    assert runs.get(place.store, run.id).cancelled_by == "ann@example.com"


def test_runs_come_and_end_in_the_table_by_themselves(
    place: places.Place, ann: Client, page: sync_api.Page
) -> None:
    enter(page, ann)
    page.goto(f"{ann.url}/runs")
    browsing.ready(page)
    expect(page.get_by_text("Nothing ran yet.")).to_be_visible()
    page.evaluate("window.stayed = true")
    run = runs.queue(place.store, runs.new_id(), "pull:everything", "schedule")
    row = page.locator(f"#{run.id}")
    expect(row).to_contain_text("Queued")
    runs.begin(place.store, run.id, running.WORKER)
    expect(row).to_contain_text("Running")
    page.locator("input[type=search]").fill("every")  # what somebody types meanwhile stays
    runs.end(place.store, run.id, running.WORKER, "ok", totals={"written": 7})
    expect(page).to_have_url(re.compile("search=every"))
    page.goto(f"{ann.url}/runs?flow=pull:finance")
    browsing.ready(page)
    runs.queue(place.store, runs.new_id(), "pull:everything", "schedule")
    finance = running.begun(place.store, "pull:finance")
    expect(page.locator(f"#{finance.id}")).to_contain_text("Running")
    expect(page.locator("table.rows tbody tr")).to_have_count(1)
    page.locator("#runs select[name=flow]").select_option("pull:everything")
    expect(page).to_have_url(re.compile("flow=pull%3Aeverything|flow=pull:everything"))
    runs.cancel(place.store, runs.listed(place.store, states=("queued",))[0].id, "ann")
    expect(page.locator("table.rows tbody")).to_contain_text("Cancelled")
    expect(page.locator("table.rows tbody tr")).to_have_count(2)


def test_the_sentence_of_the_overview_follows(place: places.Place, ann: Client, page: sync_api.Page) -> None:
    enter(page, ann)
    page.goto(f"{ann.url}/")
    browsing.ready(page)
    run = running.begun(place.store)
    expect(page.locator("#health")).to_contain_text("pull:everything runs for the first time")
    runs.end(place.store, run.id, running.WORKER, "failed", error=WRONG)
    expect(page.locator("#health")).to_contain_text("pull:everything failed")


def test_runs_are_searched_and_looked_at(place: places.Place, ann: Client, page: sync_api.Page) -> None:
    run = left(place)
    for _ in range(3):
        running.ended(place.store, "pull:finance")
    enter(page, ann)
    page.goto(f"{ann.url}/runs")
    browsing.ready(page)
    page.keyboard.press("/")
    page.keyboard.type("may not read")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"search=may(\+|%20)not"))
    rows = page.locator("table.rows tbody tr")
    expect(rows).to_have_count(1)
    rows.first.get_by_role("link", name="pull:everything").click()
    expect(page).to_have_url(f"{ann.url}/runs/{run.id}")
    link = page.get_by_role("link", name="req_A1b2C3d4E5f6").first
    expect(link).to_have_attribute("href", "https://dashboard.stripe.com/test/logs/req_A1b2C3d4E5f6")
    page.get_by_role("link", name="Log", exact=True).click()
    expect(page.locator(".log li")).to_have_count(10)
    page.get_by_role("link", name="Errors", exact=True).click()
    expect(page.locator(".log li")).to_have_count(1)


def test_every_page_fits_light_and_dark(
    place: places.Place, ann: Client, page: sync_api.Page, narrow: sync_api.Page
) -> None:
    done, live = left(place), going(place)
    shown = {
        "runs": "/runs",
        "run": f"/runs/{done.id}",
        "run-live": f"/runs/{live.id}",
        "run-report": f"/runs/{done.id}/report",
        "run-log": f"/runs/{done.id}/log",
    }
    for each in (page, narrow):
        enter(each, ann)
        for name, path in shown.items():
            each.goto(ann.url + path)
            browsing.ready(each)
            assert browsing.overflow(each) == [], name
            browsing.snap(each, name)
