"""The same pages in a browser: drawn without a violation of the policy, wide and narrow, and used as people do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import browsing
import pytest
import seen
from playwright import sync_api
from playwright.sync_api import expect
from signing import Client, Signed

from tidegate import sandbox
from tidegate.engine import editing
from tidegate.engine import place as places

SECRET = "sk_test_geheim123456789"
READING = "rk_test_reading12345678"
PAGES = {
    "overview": "/",
    "accounts": "/accounts",
    "account": "/accounts/acme",
    "account-connected": "/accounts/acme/connected",
    "account-webhooks": "/accounts/acme/webhooks",
    "account-add": "/accounts/-/add",
    "warehouses": "/warehouses",
    "warehouse": "/warehouses/local",
    "warehouse-kinds": "/warehouses/-/add",
    "warehouse-add": "/warehouses/-/add?type=postgres",
    "streams": "/streams",
    "stream": "/streams/everything/charges",
    "stream-columns": "/streams/everything/charges/columns",
    "stream-edit": "/streams/all/customers/edit",
    "streams-choose": "/streams/all/-/choose",
    "pull-add": "/streams/-/add",
    "alerts": "/settings/alerts",
    "alerts-edit": "/settings/alerts/edit",
}


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with sandbox.process(objects=60, accounts=3, keys={READING: ("rak_customer_read",)}) as url:
        yield url


@pytest.fixture
def place(stripe: str, tmp_path: Path) -> Iterator[places.Place]:
    file = seen.written(tmp_path, url=stripe, key=SECRET)
    file.write_text(file.read_text().replace("api_base", 'rate_limit: "off", api_base'))
    with seen.place(file) as found:
        seen.ticking(found)
        editing.change(
            found, "ann", "pulls", "all", {"from": "acme", "to": "local", "schedule": "every 1h"}, None
        )
        found.look()
        seen.ticking(found)
        names = (
            "charges",
            "customers",
            "invoices",
            "payouts",
            "refunds",
            "subscriptions",
            "products",
            "prices",
        )
        tables = [seen.table(name, 600.0 * 2**n, rows=10 ** (n % 5)) for n, name in enumerate(names)]
        seen.stands(
            found, "pull:everything", *tables, seen.table("disputes", status="failed", error="status 500")
        )
        for hour in range(40):
            seen.ran(found, "pull:everything", began=3_600.0 * (hour + 1), written=(hour * 37) % 101 * 10)
        seen.ran(found, "pull:all", state="running", took=None, began=30)
        yield found


def signed_in(page: sync_api.Page, client: Client) -> None:
    """Have the browser be that member's."""
    [(name, value)] = [each for each in client.jar.items() if each[0] == "tidegate"]
    page.context.add_cookies([{"name": name, "value": value, "url": client.url}])


@pytest.fixture
def editor(place: places.Place, signed: Signed) -> Client:
    return signed(place, "editor", "ann@example.com")


def test_every_page_fits_wide_and_narrow(page: sync_api.Page, narrow: sync_api.Page, editor: Client) -> None:
    for each, width in ((page, "wide"), (narrow, "narrow")):
        signed_in(each, editor)
        for name, path in PAGES.items():
            answer = each.goto(editor.url + path)
            assert answer is not None
            assert answer.status == 200, path
            expect(each.locator("h1")).to_be_visible()
            if path == "/":
                expect(each.locator("tg-chart canvas")).to_be_visible()
            assert browsing.overflow(each) == [], f"{path}, {width}"
            browsing.snap(each, name)


def test_the_chart_is_drawn(page: sync_api.Page, editor: Client) -> None:
    signed_in(page, editor)
    page.goto(editor.url + "/")
    chart = page.locator("tg-chart")
    expect(chart.locator("canvas")).to_be_visible()
    chart.get_by_text("Figures").click()
    hours = chart.locator(".figures tbody th")
    expect(hours).to_have_count(48)
    expect(hours.last).to_have_text(re.compile(r"^\d{1,2} [A-Z][a-z]+ 20\d\d, \d\d:\d\d$"))


def test_a_key_is_tried_in_the_form_and_stays_typed(page: sync_api.Page, editor: Client, stripe: str) -> None:
    signed_in(page, editor)
    page.goto(editor.url + "/accounts/-/add")
    page.get_by_label("Name", exact=False).first.fill("shop")
    page.get_by_label("API key").fill(READING)
    page.get_by_text("More", exact=True).click()
    page.get_by_label("API base").fill(stripe)
    page.get_by_label("Rate limit").fill("off")
    page.get_by_role("button", name="Test only").click()
    expect(page.locator("#tested")).to_contain_text("rak_payout_read")
    assert page.get_by_label("API key").input_value() == READING
    page.get_by_role("button", name="Test and keep").click()
    expect(page.locator("#said")).to_contain_text("The key works, and shop is kept.")
    assert READING not in page.content()


def test_a_warehouse_is_removed_when_its_name_is_typed(
    page: sync_api.Page, editor: Client, place: places.Place
) -> None:
    editing.change(place, "ann", "warehouses", "old", {"type": "duckdb", "path": "old.duckdb"}, None)
    place.look()
    signed_in(page, editor)
    page.goto(editor.url + "/warehouses/old")
    page.locator("summary", has_text="Remove old").click()
    page.locator("input[name=words]").fill("old")
    page.locator(".confirm-box button[type=submit]").click()
    expect(page.locator("#said")).to_contain_text("old is removed")
    assert "old" not in place.file.warehouses


def test_streams_are_searched_and_sorted_where_they_stand(page: sync_api.Page, editor: Client) -> None:
    signed_in(page, editor)
    page.goto(editor.url + "/streams/everything")
    page.get_by_role("searchbox").fill("charge")
    expect(page.locator("#streams tbody tr").first).to_contain_text("charge")
    expect(page.locator("#streams")).not_to_contain_text("payouts")
    page.goto(editor.url + "/streams/everything?sort=-rows")
    expect(page.locator("#streams tbody tr").first).to_contain_text("10,000")


def test_a_column_is_hashed_from_the_page(page: sync_api.Page, editor: Client, place: places.Place) -> None:
    signed_in(page, editor)
    page.goto(editor.url + "/streams/all/customers/edit")
    page.get_by_label("email", exact=True).select_option("hash")
    page.get_by_label("Lookback").fill("30d")
    page.get_by_role("button", name="Keep").click()
    expect(page.locator("#said")).to_contain_text("customers is changed")
    options = place.file.pulls["all"].options("customers")
    assert options.hashed == {"email"}
    assert options.lookback is not None
    assert options.lookback.days == 30


def test_boxes_that_a_draft_brings_back_are_counted(page: sync_api.Page, editor: Client) -> None:
    signed_in(page, editor)
    page.goto(editor.url + "/streams/all/-/choose")
    browsing.ready(page)
    count = page.locator("tg-pick [role=status]")
    before = re.match(r"(\d+) of", count.inner_text())
    assert before
    page.evaluate("""() => {
      const box = document.querySelector("tg-pick input[type=checkbox]:not(:disabled)");
      box.checked = !box.checked;
      box.dispatchEvent(new CustomEvent("tg:restored", { bubbles: true }));
    }""")
    expect(count).not_to_have_text(re.compile(rf"^{before[1]} of"))
