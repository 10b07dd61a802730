"""The components in a browser: what they do, by mouse and by keyboard, light and dark, wide and narrow."""

from __future__ import annotations

import re
from collections.abc import Iterator

import browsing
import gallery
import pytest
from playwright import sync_api

from tidegate.web import frame

PAGES = ("/", "/editors", "/runs", "/sign-in", "/live", "/runs/nowhere")


@pytest.fixture(scope="module")
def shown() -> Iterator[gallery.Gallery]:
    """The gallery, served for all tests of this file."""
    with gallery.serving(gallery.Gallery()) as found:
        yield found


@pytest.fixture(autouse=True)
def _anew(shown: gallery.Gallery) -> None:
    shown.posted.clear()
    shown.tested.clear()
    shown.events[:] = ["event: html\ndata: <p>3 rows</p>\n\n", "event: end\ndata: <p>4 rows</p>\n\n"]
    shown.empty = False


def go(page: sync_api.Page, url: str) -> None:
    """Open an address and wait until its components are at work."""
    page.goto(url)
    browsing.ready(page)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("size", ["wide", "narrow"])
def test_every_page_keeps_the_policy_its_width_and_its_contrast(
    browser: sync_api.Browser, shown: gallery.Gallery, path: str, size: str
) -> None:
    with browsing.tab(browser, narrow=size == "narrow") as page:
        go(page, shown.url + path)
        browsing.snap(page, "gallery" + path.replace("/", "-").rstrip("-"))
        assert browsing.overflow(page) == []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            assert browsing.poor_contrast(page) == [], scheme


def test_a_list_page_is_small(page: sync_api.Page, shown: gallery.Gallery) -> None:
    """Bytes on the wire of everything but fonts."""
    asked: list[sync_api.Request] = []
    page.on("requestfinished", lambda request: asked.append(request))  # noqa: PLW0108  # it is given a mark
    go(page, shown.url + "/runs")
    found = {
        request.url: request.sizes()["responseBodySize"]
        for request in asked
        if not request.url.endswith(".woff2")
    }
    assert any(".js" in url for url in found)
    html = len(page.content().encode())
    assert sum(found.values()) < 60_000 + html  # the gallery does not compress its HTML
    assert not any("code" in url or "chart" in url or "filter" in url for url in found)


def test_what_violates_the_policy_is_seen(browser: sync_api.Browser, shown: gallery.Gallery) -> None:
    def visit() -> None:
        with browsing.tab(browser) as page:
            go(page, shown.url + "/runs")
            page.evaluate("() => { document.querySelector('h1').setAttribute('style', 'color: red') }")
            page.wait_for_timeout(50)

    with pytest.raises(AssertionError, match="style-src-attr"):
        visit()


def test_times_are_of_the_reader_with_utc_on_hover(browser: sync_api.Browser, shown: gallery.Gallery) -> None:
    for zone, wanted in (("Europe/Berlin", "1 Jan 2026, 01:00"), ("America/New_York", "31 Dec 2025, 19:00")):
        with browsing.tab(browser, zone=zone) as page:
            page.clock.set_fixed_time("2027-03-01T12:00:00Z")
            go(page, shown.url + "/")
            first = page.locator("tg-time").first
            sync_api.expect(first).to_have_text(wanted)
            assert first.get_attribute("title") == "2026-01-01 00:00:00 UTC, 1 year ago"
            page.clock.set_fixed_time("2026-01-01T20:00:00Z")
            go(page, shown.url + "/")
            sync_api.expect(first).to_have_text("01:00" if "Berlin" in zone else "31 Dec 2025, 19:00")


def test_searching_filtering_sorting_and_paging_are_addresses(
    page: sync_api.Page, shown: gallery.Gallery
) -> None:
    go(page, shown.url + "/runs")
    rows = page.locator("table.rows tbody tr")
    sync_api.expect(rows).to_have_count(25)
    page.keyboard.press("/")
    page.keyboard.type("flow_99")
    sync_api.expect(rows).to_have_count(10)
    assert page.url.endswith("/runs?search=flow_99&sort=-rows")
    sync_api.expect(page.locator("[data-search]")).to_be_focused()
    page.get_by_label("State").select_option("partial")
    sync_api.expect(page).to_have_url(re.compile(r"state=partial"))
    page.get_by_role("link", name="Flow", exact=True).click()
    sync_api.expect(page.locator("th[aria-sort=ascending]")).to_have_text("Flow")
    page.get_by_role("link", name="Clear").click()
    sync_api.expect(page).to_have_url(shown.url + "/runs")
    page.get_by_role("link", name="Next").click()
    sync_api.expect(rows.first).to_contain_text("pulls.flow_974")
    page.go_back()
    sync_api.expect(rows.first).to_contain_text("pulls.flow_999")


def test_only_the_table_is_changed_and_the_page_stays(page: sync_api.Page, shown: gallery.Gallery) -> None:
    go(page, shown.url + "/runs")
    page.evaluate("window.mark = 1")
    page.get_by_role("link", name="Next").click()
    sync_api.expect(page.locator("table.rows tbody tr").first).to_contain_text("pulls.flow_974")
    assert page.evaluate("window.mark") == 1
    assert page.title() == "Runs · Tidegate"
    sync_api.expect(page.locator("tg-time").first).not_to_contain_text("UTC")


def test_a_row_leads_to_its_page_wherever_it_is_clicked(page: sync_api.Page, shown: gallery.Gallery) -> None:
    go(page, shown.url + "/runs")
    page.locator("table.rows tbody tr").nth(2).locator("td").nth(3).click()
    sync_api.expect(page).to_have_url(shown.url + "/runs/pulls.flow_997")
    sync_api.expect(page.locator("h1")).to_have_text("There is no such page")


def test_rows_come_as_a_file(page: sync_api.Page, shown: gallery.Gallery) -> None:
    go(page, shown.url + "/runs?search=99")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="CSV").click()
    assert waiting.value.suggested_filename == "runs.csv"
    assert waiting.value.path().read_text() == "Flow,Rows\n'=1+1,3\npulls.x,\n"


def test_an_empty_table_names_the_next_step(page: sync_api.Page, shown: gallery.Gallery) -> None:
    shown.empty = True
    go(page, shown.url + "/runs")
    sync_api.expect(page.get_by_role("link", name="Start a flow")).to_be_visible()
    go(page, shown.url + "/runs?search=x")
    page.get_by_role("link", name="Show everything").click()
    sync_api.expect(page.get_by_text("No runs yet.")).to_be_visible()


def test_tables_work_without_javascript(browser: sync_api.Browser, shown: gallery.Gallery) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(shown.url + "/runs")
    page.get_by_label("Search").fill("flow_99")
    page.get_by_role("button", name="Search").click()
    assert page.locator("table.rows tbody tr").count() == 10
    page.goto(shown.url + "/")
    assert "2026-01-01 00:00 UTC" in page.locator("tg-time").first.inner_text()
    page.get_by_text("Delete 3 runs").first.click()
    page.get_by_label("Type delete to go on").fill("delete")
    page.locator("form.confirm-box button[type=submit]").click()
    assert shown.posted == [{"to": "delete", "words": "delete"}]
    context.close()


def test_what_cannot_be_taken_back_wants_its_words(page: sync_api.Page, shown: gallery.Gallery) -> None:
    go(page, shown.url + "/")
    page.get_by_text("Delete 3 runs").first.click()
    dialog = page.get_by_role("dialog")
    sync_api.expect(dialog).to_contain_text("This concerns 3.")
    send = dialog.get_by_role("button", name="Delete 3 runs")
    sync_api.expect(send).to_be_disabled()
    sync_api.expect(dialog.get_by_label("Type delete to go on")).to_be_focused()
    page.keyboard.type("delet")
    sync_api.expect(send).to_be_disabled()
    page.keyboard.press("Escape")
    sync_api.expect(dialog).to_have_count(0)
    page.get_by_text("Delete 3 runs").first.click()
    page.keyboard.type("delete")
    send.click()
    sync_api.expect(page.get_by_text("Done: delete.")).to_be_visible()
    assert shown.posted == [{"to": "delete", "words": "delete"}]
    go(page, shown.url + "/runs")
    sync_api.expect(page.get_by_text("Done: delete.")).to_have_count(0)


def test_a_flash_line_can_be_dismissed(page: sync_api.Page, shown: gallery.Gallery) -> None:
    go(page, shown.url + "/")
    page.get_by_text("Delete 3 runs").first.click()
    page.keyboard.type("delete")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Dismiss").click()
    sync_api.expect(page.locator(".said")).to_have_count(0)


def test_colours_are_chosen_and_kept_without_a_flash(page: sync_api.Page, shown: gallery.Gallery) -> None:
    go(page, shown.url + "/")
    light = page.evaluate("getComputedStyle(document.body).color")
    page.get_by_role("button", name="Dark").click()
    page.wait_for_function("(light) => getComputedStyle(document.body).color !== light", arg=light)
    html = page.request.get(shown.url + "/").text()
    assert '<html lang="en" data-theme="dark">' in html
    go(page, shown.url + "/")
    sync_api.expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Auto").click()
    page.wait_for_function("(light) => getComputedStyle(document.body).color === light", arg=light)
    assert "data-theme" not in page.request.get(shown.url + "/").text()[:60]


def test_the_keyboard_goes_to_pages_and_shows_what_there_is(
    page: sync_api.Page, shown: gallery.Gallery
) -> None:
    go(page, shown.url + "/")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    sync_api.expect(dialog).to_contain_text("Syncs to Stripe")
    page.keyboard.press("Escape")
    sync_api.expect(dialog).to_have_count(0)
    page.keyboard.press("g")
    page.keyboard.press("r")
    sync_api.expect(page).to_have_url(shown.url + "/runs")
    page.keyboard.press("/")
    page.keyboard.type("gr?")
    sync_api.expect(page.locator("[data-search]")).to_have_value("gr?")


def test_everything_is_reached_by_tab_and_seen_to_be(page: sync_api.Page, shown: gallery.Gallery) -> None:
    go(page, shown.url + "/runs")
    page.keyboard.press("Tab")
    sync_api.expect(page.locator("a.skip")).to_be_focused()
    assert page.locator("a.skip").bounding_box()["y"] >= 0  # type: ignore[index]
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("main")).to_be_focused()
    seen = []
    for _ in range(8):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate(
                "() => [document.activeElement.tagName, document.activeElement.textContent.trim().slice(0, 20), "
                "getComputedStyle(document.activeElement).outlineStyle]"
            )
        )
    assert [tag for tag, _, _ in seen[:3]] == ["INPUT", "SELECT", "A"]
    assert ["A", "pulls.flow_999", "solid"] in seen
    assert all(outline != "none" for _, _, outline in seen)


def test_pages_have_landmarks_and_one_heading(page: sync_api.Page, shown: gallery.Gallery) -> None:
    go(page, shown.url + "/runs")
    assert page.locator("h1").count() == 1
    sync_api.expect(page.get_by_role("navigation", name="Pages", exact=True)).to_be_visible()
    sync_api.expect(page.get_by_role("main")).to_be_visible()
    sync_api.expect(page.get_by_role("link", name="Runs")).to_have_attribute("aria-current", "page")
    sync_api.expect(page.get_by_role("table", name="Runs")).to_be_visible()
    assert page.locator("button:not([aria-label])", has_not_text=re.compile(r"\S")).count() == 0
    unnamed = "input:not([type=hidden], [aria-label])"
    assert (
        page.locator(unnamed).evaluate_all("(all) => all.filter((each) => !each.labels?.length).length") == 0
    )


def test_the_rail_is_a_drawer_on_a_telephone(narrow: sync_api.Page, shown: gallery.Gallery) -> None:
    go(narrow, shown.url + "/runs")
    rail = narrow.get_by_role("navigation", name="Pages", exact=True)
    sync_api.expect(rail).not_to_be_visible()
    sync_api.expect(narrow.locator(".bar .mode")).to_have_text("TEST")
    narrow.get_by_role("button", name="Menu").click()
    sync_api.expect(rail).to_be_visible()
    narrow.keyboard.press("Escape")
    sync_api.expect(rail).not_to_be_visible()
    narrow.get_by_role("button", name="Menu").click()
    narrow.get_by_role("link", name="Overview").click()
    sync_api.expect(narrow).to_have_url(shown.url + "/")


def test_rows_are_cards_of_label_and_value_on_a_telephone(
    narrow: sync_api.Page, shown: gallery.Gallery
) -> None:
    go(narrow, shown.url + "/runs")
    cell = narrow.locator("table.rows tbody tr").first.locator("td").nth(3)
    assert cell.evaluate("(cell) => getComputedStyle(cell, '::before').content") == '"Rows"'
    assert narrow.locator(".scroll").evaluate("(box) => box.scrollWidth <= box.clientWidth")


def test_a_live_region_shows_what_comes_and_ends(page: sync_api.Page, shown: gallery.Gallery) -> None:
    before = shown.listened
    go(page, shown.url + "/live")
    region = page.locator("tg-live")
    sync_api.expect(region).to_have_text("4 rows")
    sync_api.expect(region).to_have_attribute("data-state", "ended")
    page.wait_for_timeout(1200)
    assert shown.listened == before + 1  # what has ended is not asked again


def test_a_live_region_comes_again_when_its_stream_breaks(
    page: sync_api.Page, shown: gallery.Gallery
) -> None:
    before = shown.listened
    shown.events[:] = ["event: html\ndata: <details><summary>first</summary>more</details>\n\n"]
    go(page, shown.url + "/live")
    region = page.locator("tg-live")
    region.get_by_text("first").click()
    shown.events[:] = [
        "event: html\ndata: <details><summary>second</summary>more</details>\n\n",
        "event: end\ndata:\n\n",
    ]
    sync_api.expect(region.locator("summary")).to_have_text("second")
    assert shown.listened >= before + 2
    # What somebody has opened stays open.
    sync_api.expect(region.get_by_text("more")).to_be_visible()


def test_a_chart_is_drawn_and_its_figures_are_there_to_read(
    page: sync_api.Page, shown: gallery.Gallery
) -> None:
    go(page, shown.url + "/?kind=line")
    chart = page.get_by_role("group", name="Rows per hour")
    sync_api.expect(chart.locator("canvas")).to_be_visible()
    page.wait_for_function("""() => {
      const canvas = document.querySelector("tg-chart canvas");
      return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean);
    }""")
    chart.get_by_text("Figures").click()
    sync_api.expect(chart.locator(".figures tbody tr")).to_have_count(48)
    sync_api.expect(chart.locator(".figures tbody tr").first).to_contain_text("1 Jan 2026, 01:00")
    width = chart.locator("canvas").bounding_box()["width"]  # type: ignore[index]
    page.set_viewport_size({"width": 900, "height": 700})
    page.wait_for_function(
        "(before) => document.querySelector('tg-chart canvas').clientWidth < before", arg=width
    )


def test_figures_that_cannot_be_read_are_said(page: sync_api.Page, shown: gallery.Gallery) -> None:
    page.route("**/figures", lambda route: route.abort())
    go(page, shown.url + "/")
    sync_api.expect(page.get_by_text("The figures could not be read; load the page again.")).to_be_visible()


def test_text_is_copied_with_one_click(page: sync_api.Page, shown: gallery.Gallery) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    go(page, shown.url + "/")
    page.get_by_role("button", name="Copy").click()
    sync_api.expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "acct_1NfExample"


def test_nothing_moves_for_those_who_want_it_still(page: sync_api.Page, shown: gallery.Gallery) -> None:
    go(page, shown.url + "/")
    duration = page.locator(".chip.busy").first.evaluate(
        "(chip) => getComputedStyle(chip, '::before').animationDuration"
    )
    assert float(duration.removesuffix("s")) < 0.001


def test_no_paragraph_holds_what_would_end_it() -> None:
    """HTML ends a paragraph before a form or a question, which would then stand outside of their component."""
    ends = re.compile(r"<p(?: [^>]*)?>(?:(?!</p>)[\s\S])*?ui\.(?:confirm|act|form|table|facts|empty|card)\(")
    found = [file.name for file in frame.TEMPLATES.glob("*.html") if ends.search(file.read_text("utf-8"))]
    assert found == []
