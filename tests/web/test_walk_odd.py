"""What is odd: names as long as they may be, many boxes to tick, and a telephone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import browsing
import pytest
import seen
from playwright import sync_api
from playwright.sync_api import expect
from signing import Client, Signed

from tidegate.engine import editing, matters
from tidegate.engine import place as places
from tidegate.store import notices

LONG = "a_name_of_a_pull_that_is_as_long_as_any_may_be_and_has_no_gap"
PULL = {"from": "acme", "to": "local", "streams": {"charges": {}, "customers": {}}}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    with seen.place(seen.written(tmp_path)) as found:
        editing.change(found, "ann", "pulls", LONG, PULL, None)
        found.look()
        flow = f"pull:{LONG}"
        seen.stands(found, flow, seen.table("charges"))
        seen.ran(found, flow, state="failed", error=f"{LONG} went wrong.")
        told = notices.Matter(f"{flow}/failed", "failed", flow, f"{flow}: the run failed: {matters.GAP}.")
        notices.settle(found.store, flow, [told])
        yield found


def entered(page: sync_api.Page, client: Client) -> None:
    """Have a browser be signed in as a client is."""
    page.context.add_cookies(
        [{"name": name, "value": value, "url": client.url} for name, value in client.jar.items()]
    )


def test_no_name_is_so_long_that_a_page_moves_sideways(
    place: places.Place, signed: Signed, page: sync_api.Page, narrow: sync_api.Page
) -> None:
    ann = signed(place, "editor")
    for each in (page, narrow):
        entered(each, ann)
        for path in (
            "/",
            "/issues",
            "/settings/alerts",
            "/runs",
            f"/streams/{LONG}",
            f"/streams/{LONG}/charges",
        ):
            each.goto(ann.url + path)
            browsing.ready(each)
            assert browsing.overflow(each) == [], path


def test_what_mends_an_issue_is_in_view_beside_a_long_name(
    place: places.Place, signed: Signed, page: sync_api.Page
) -> None:
    ann = signed(place, "editor")
    entered(page, ann)
    page.goto(f"{ann.url}/issues")
    expect(page.get_by_role("link", name="See the runs")).to_be_in_viewport(ratio=1)


def test_streams_are_found_and_ticked_many_at_a_time(
    place: places.Place, signed: Signed, page: sync_api.Page
) -> None:
    ann = signed(place, "editor")
    entered(page, ann)
    page.goto(f"{ann.url}/streams/{LONG}/-/choose")
    browsing.ready(page)
    said = page.locator("tg-pick").get_by_role("status")
    expect(said).to_contain_text("2 of ")
    page.get_by_role("button", name="None").click()
    expect(said).to_contain_text("0 of ")
    page.get_by_role("searchbox", name="Find a stream").fill("payout")
    page.keyboard.press("Enter")
    expect(page.get_by_role("checkbox", name="customers", exact=True)).to_be_hidden()
    page.get_by_role("button", name="All").click()
    page.get_by_role("searchbox", name="Find a stream").fill("")
    expect(page.get_by_role("checkbox", name="payouts", exact=True)).to_be_checked()
    expect(page.get_by_role("checkbox", name="customers", exact=True)).not_to_be_checked()
    page.get_by_role("button", name="Keep").click()
    page.wait_for_url(f"**/streams/{LONG}")
    taken = place.file.pulls[LONG]
    assert taken.takes("payouts", default=True)
    assert not taken.takes("charges", default=True)
