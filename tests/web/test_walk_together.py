"""Two people who change the same at the same time, on every form that changes something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import browsing
import pytest
import seen
from playwright import sync_api
from playwright.sync_api import expect
from signing import Client, Signed

from tidegate.engine import editing
from tidegate.engine import place as places

PULL = {"from": "acme", "to": "local", "schedule": "manual"}
ALERTS = {"slack": {"webhook": "https://hooks.slack.test/one"}, "remind": "24h"}
GO_ON = "Go on with what is saved now"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    with seen.place(seen.written(tmp_path)) as found:
        editing.change(found, "ann", "pulls", "nightly", PULL, None)
        editing.change(found, "ann", "alerts", "", ALERTS, None)
        found.look()
        yield found


@pytest.fixture
def both(
    place: places.Place, signed: Signed, page: sync_api.Page
) -> tuple[sync_api.Page, sync_api.Page, Client]:
    """Two tabs of an editor."""
    editor = signed(place, "editor")
    page.context.add_cookies(
        [{"name": name, "value": value, "url": editor.url} for name, value in editor.jar.items()]
    )
    return page, page.context.new_page(), editor


@pytest.mark.parametrize(
    ("path", "first", "second"),
    [
        ("/streams/nightly/-/settings", ("Schedule", "every 2h"), ("Lookback", "30d")),
        ("/streams/nightly/charges/edit", ("Lookback", "30d"), ("Start date", "2026-01-01")),
    ],
)
def test_what_one_has_saved_and_what_another_typed_are_both_kept(
    both: tuple[sync_api.Page, sync_api.Page, Client],
    path: str,
    first: tuple[str, str],
    second: tuple[str, str],
) -> None:
    one, other, editor = both
    for each in (one, other):
        each.goto(editor.url + path)
        browsing.ready(each)
    one.get_by_label(first[0]).fill(first[1])
    one.get_by_role("button", name="Keep", exact=True).click()
    expect(one.locator("#said")).to_contain_text("is changed")
    other.get_by_label(second[0]).fill(second[1])
    for _ in range(2):  # to press it again is to write over what nobody has looked at
        with other.expect_response(lambda answer: answer.request.method == "POST") as answer:
            other.get_by_role("button", name="Keep", exact=True).click()
        assert answer.value.status == 422
        expect(other.get_by_role("link", name=GO_ON)).to_be_visible()
    other.get_by_role("link", name=GO_ON).click()
    expect(other.get_by_label(first[0])).to_have_value(first[1])
    expect(other.get_by_label(second[0])).to_have_value(second[1])
    other.get_by_role("button", name="Keep", exact=True).click()
    expect(other.locator("#said")).to_contain_text("is changed")


def test_streams_that_two_choose_and_alerts_that_two_set_are_merged(
    both: tuple[sync_api.Page, sync_api.Page, Client], place: places.Place
) -> None:
    one, other, editor = both
    for each in both[:2]:
        each.goto(f"{editor.url}/streams/nightly/-/choose")
        browsing.ready(each)
    for each, stream in ((one, "charges"), (other, "refunds")):
        each.get_by_role("checkbox", name=stream, exact=True).uncheck()
        each.get_by_role("button", name="Keep", exact=True).click()
        if each is one:
            expect(one.locator("#said")).to_contain_text("takes")
    other.get_by_role("link", name=GO_ON).click()
    expect(other.get_by_role("checkbox", name="charges", exact=True)).not_to_be_checked()
    expect(other.get_by_role("checkbox", name="refunds", exact=True)).not_to_be_checked()
    other.goto(f"{editor.url}/settings/alerts/edit")
    browsing.ready(other)
    editing.change(place, "bob", "alerts", "", ALERTS | {"remind": "48h"}, "*")
    other.locator("summary").filter(has_text="Email").click()
    other.get_by_label("From").fill("tidegate@example.com")
    other.get_by_role("button", name="Keep", exact=True).click()
    other.get_by_role("link", name=GO_ON).click()
    expect(other.get_by_label("Remind")).to_have_value("48h")
    expect(other.get_by_label("From")).to_have_value("tidegate@example.com")
