"""The pages of customers without a browser: the list, one of them, decisions, and the rules."""

from __future__ import annotations

import datetime as dt
import html
import re
from collections.abc import Iterator
from pathlib import Path

import profiled
import pytest
import seen
from signing import Client, Signed

from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.store import trail
from tidegate.views import customers
from tidegate.web import customers as pages


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    with profiled.place(tmp_path) as found:
        profiled.ran(found)
        yield found


@pytest.fixture
def editor(place: places.Place, signed: Signed) -> Client:
    return signed(place, "editor", "ann@example.com")


PAGES = (
    "/customers", "/customers/cus_0", "/customers/filed/acct_1/cus_1", "/customers/-/why?one=cus_0&other=cus_2",
    "/customers/-/decisions", "/customers/-/rules",
)  # fmt: skip
CHANGES = {
    "/customers/-/decide": {"action": "merge", "one": "cus_0", "other": "cus_2", "sure": "on"},
    "/customers/-/withdraw": {"decision": "decision_1"},
    "/customers/-/rules": {"identifiers": "email", "max_cluster": "5"},
    "/customers/-/preview": {"identifiers": "email", "max_cluster": "5"},
}


def test_a_viewer_sees_and_changes_nothing(place: places.Place, signed: Signed) -> None:
    viewer = signed(place, "viewer")
    for path in PAGES:
        answer = viewer.get(path)
        assert answer.status == 200, path
        assert 'style="' not in answer.text, path
        assert "danger" not in answer.text, path
    for path, sent in CHANGES.items():
        assert viewer.post(path, sent).status == 403, path
    assert customers.decided(place, customers.model(place)) == ()
    assert editing.get(place, "customer_model") is None


def test_without_a_model_the_page_names_the_next_step(tmp_path: Path, signed: Signed) -> None:
    with seen.place(seen.written(tmp_path)) as empty:
        viewer = signed(empty, "viewer")
        assert "No customer model yet." in viewer.get("/customers").text
        assert viewer.get("/customers/cus_1").status == 404


def test_customers_are_searched_and_counted(editor: Client) -> None:
    text = editor.get("/customers").text
    assert "2 rows" in text
    assert len(re.findall(r"href=\"/customers/cup_\w+\"", text)) == 2
    found = editor.get("/customers?search=p1%40people.test").text
    assert len(re.findall(r"href=\"/customers/cup_\w+\"", found)) == 1
    assert "Nothing matches." in editor.get("/customers?search=nobody").text
    lines = editor.get("/customers?format=csv").text.splitlines()
    assert lines[0] == "profile,name,email,phone,customer_id,records,accounts"
    assert len(lines) == 3


def test_one_customer_by_any_of_its_ids(editor: Client) -> None:
    for asked in ("cus_0", "filed/acct_1/cus_1"):
        text = editor.get(f"/customers/{asked}").text
        assert "p0@people.test" in text
        assert "Links its records" in text
        assert 'href="/pipelines/filed"' in text
    assert editor.get("/customers/nobody").status == 404


def test_values_are_shown_as_people_read_them(editor: Client) -> None:
    text = html.unescape(editor.get("/customers/cus_0").text)
    assert '  "country": "DE"\n}</pre>' in text
    moment = str(pages.shown(dt.datetime(2026, 3, 1, 9, 30, tzinfo=dt.UTC)))
    assert '<time datetime="2026-03-01T09:30:00.000Z"' in moment
    assert 'href="https://dashboard.stripe.com/acct_1/test/customers/cus_0"' in text


def test_a_merge_is_asked_about_first_and_noted(place: places.Place, editor: Client) -> None:
    sent = {"action": "merge", "one": "cus_0", "other": "cus_2", "note": "one card", "now": "on"}
    asked = html.unescape(editor.post("/customers/-/decide", sent).text)
    assert "This makes one customer of cus_0 (cup_" in asked
    assert 'value="one card"' in asked
    of = customers.model(place)
    assert customers.decided(place, of) == ()
    assert editor.post("/customers/-/decide", {**sent, "sure": "on"}).status == 303
    [decision] = customers.decided(place, of)
    assert (decision.decided_by, decision.note) == ("ann@example.com", "one card")
    assert customers.get(place, of, "cus_0").sources == 4
    assert "the merge" not in editor.get("/customers/-/decisions").text
    text = editor.get("/customers/cus_0").text
    assert "are merged by hand, by ann@example.com" in text
    assert "In force" in editor.get("/customers/-/decisions").text
    assert editor.post("/customers/-/withdraw", {"decision": decision.decision}).status == 303
    assert customers.decided(place, of) == ()
    listed = editor.get("/customers/-/decisions?state=withdrawn").text
    assert re.search(r"Withdrawn</span> by \S+@example.com", listed)
    assert [each.action for each in trail.listed(place.store, what="customers.local")] == [
        "withdraw",
        "begin to withdraw",
        "merge",
        "begin to merge",
    ]


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        ({"action": "marry", "one": "cus_0"}, 422, "merge, apart or split"),
        ({"action": "split", "one": "cus_0"}, 422, "Choose the records"),
        ({"action": "merge", "one": "cus_0"}, 422, "Say the other one"),
        ({"action": "merge", "one": "cus_0", "other": "cus_99"}, 422, "cus_99"),
        ({"action": "split", "one": "cus_0", "records": ["cus_3"]}, 422, "no record of"),
    ],
)
def test_what_cannot_be_decided_says_why(
    editor: Client, sent: dict[str, object], status: int, words: str
) -> None:
    answer = editor.post("/customers/-/decide", sent)
    assert answer.status == status
    assert words in html.unescape(answer.text)


def test_records_are_split_off(place: places.Place, editor: Client) -> None:
    sent = {"action": "split", "one": "cus_0", "records": ["filed/acct_1/cus_1"], "now": "on", "sure": "on"}
    assert editor.post("/customers/-/decide", {**sent, "back": "/customers/cus_0"}).headers["location"] == (
        "/customers/cus_0"
    )
    assert customers.get(place, customers.model(place), "cus_0").sources == 1
    text = html.unescape(editor.get("/customers/-/why?one=cus_0&other=cus_1").text)
    assert "They are two customers" in text
    assert "filed/acct_1/cus_1 stands alone, by ann@example.com." in text


def test_rules_are_previewed_and_kept(place: places.Place, editor: Client) -> None:
    text = editor.post("/customers/-/preview", {"identifiers": "customer_id", "max_cluster": "100"}).text
    assert "Would come apart" in text
    assert text.startswith("<!doctype html>"), "without JavaScript the rules come again, with the preview"
    assert 'name="max_cluster" value="100"' in re.sub(r" id=\S+| type=\S+", "", text)
    assert place.file.customer_model is None
    assert (
        editor.post("/customers/-/rules", {"identifiers": "customer_id", "max_cluster": "50"}).status == 303
    )
    assert place.file.customer_model is not None
    assert place.file.customer_model.max_cluster == 50
    late = editor.post("/customers/-/rules", {"identifiers": "email", "max_cluster": "50"})
    assert late.status == 422
    wrong = editor.post("/customers/-/rules", {"identifiers": "colour, email", "max_cluster": "50"})
    assert "colour is no property" in wrong.text
    assert 'value="colour, email"' in wrong.text
    assert (
        "2 to 10,000"
        in editor.post("/customers/-/rules", {"identifiers": "email", "max_cluster": "many"}).text
    )
