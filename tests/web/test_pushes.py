"""The pages of what flows back, without a browser: models, syncs to Stripe, and issues."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pushed_people as people
import pytest
import writing_back
from following import Merchant
from playwright import sync_api
from signing import Client, Signed

from tidegate import sandbox, views
from tidegate.engine import place as places
from tidegate.store import holds, plans, runs, trail
from tidegate.views import push_plans

PUSH = writing_back.NAME


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with sandbox.process(objects=30) as url:
        yield url


@pytest.fixture
def shop(stripe: str) -> Merchant:
    return Merchant(stripe)


@pytest.fixture
def some(tmp_path: Path) -> list[dict[str, str]]:
    """Three people of a test's own, one of them without what they are matched by."""
    number = abs(hash(tmp_path)) % 10**9
    return [people.person(number), people.person(number + 1), people.person(number + 2, email="")]


@pytest.fixture
def place(stripe: str, tmp_path: Path, some: list[dict[str, str]]) -> Iterator[places.Place]:
    with writing_back.place(tmp_path, stripe, some) as found:
        yield found


def said(client: Client, path: str) -> str:
    """The flash line of the next page."""
    found = re.search(r'id="said".*?<p>(.*?)</p>', client.get(path).text, re.DOTALL)
    return html.unescape(found[1]) if found else ""


PAGES = (
    "/models", "/models/people", "/syncs", "/syncs/people", "/syncs/people/plan", "/syncs/people/mapping",
    "/syncs/people/runs", "/syncs/people/records", "/syncs/people/alerts", "/syncs/people/schedule", "/issues",
)  # fmt: skip
FORMS = ("/models/-/add", "/models/people/edit", "/syncs/-/add", "/syncs/people/edit",
    "/syncs/-/add?model=people&to=acme&object=customer",
)  # fmt: skip


def test_every_page_is_there_for_a_viewer_and_none_has_a_secret_or_a_style(
    place: places.Place, signed: Signed
) -> None:
    writing_back.pushed(place)
    viewer = signed(place, "viewer")
    for path in PAGES:
        answer = viewer.get(path)
        assert answer.status == 200, path
        assert "sk_test_123456789" not in answer.text, path
        assert 'style="' not in answer.text, path
        assert "<script>" not in answer.text, path
    for path in FORMS:
        assert viewer.get(path).status == 403, path
    editor = signed(place, "editor")
    for path in FORMS:
        assert editor.get(path).status == 200, path


def test_a_viewer_changes_nothing(place: places.Place, signed: Signed) -> None:
    viewer = signed(place, "viewer")
    for path in (
        "/syncs/people/plan", "/syncs/people/plan/approve", "/syncs/people/plan/discard", "/syncs/people/undo",
        "/syncs/people/run", "/syncs/people/schedule", "/syncs/people/remove", "/syncs/-/add", "/issues/row",
        "/issues/-/decide", "/models/-/add", "/models/people/look", "/models/people/key", "/models/people/remove",
    ):  # fmt: skip
        assert viewer.post(path, {"plan": "plan_1"}).status == 403, path
    assert runs.listed(place.store) == []


def test_a_plan_is_made_shown_approved_and_done_once(
    place: places.Place, signed: Signed, some: list[dict[str, str]]
) -> None:
    operator = signed(place, "operator")
    assert operator.post("/syncs/people/plan").headers["location"] == "/syncs/people/plan"
    made = writing_back.planned(place)
    text = operator.get("/syncs/people/plan").text
    assert some[0]["email"] in text
    assert "2 writes" in text
    form = {"plan": made.id, "digest": made.digest}
    answer = operator.post("/syncs/people/plan/approve", form)
    assert answer.status == 303, answer.text
    assert operator.post("/syncs/people/plan/approve", form).status == 409
    run = writing_back.ran(place)
    assert (run.state, run.totals["created"]) == ("ok", 2)
    assert answer.headers["location"] == f"/runs/{run.id}"
    assert operator.post("/syncs/people/plan/approve", form).status == 409
    assert "This plan was done." in operator.get("/syncs/people/plan").text
    [line] = [each for each in trail.listed(place.store) if each.action == "approve"]
    assert (line.who, line.after["run"]) == (operator.member, run.id)


def test_a_plan_with_a_limit_says_how_many_of_its_rows_are_written(
    place: places.Place, signed: Signed
) -> None:
    push_plans.make(place, views.Person("ann@example.com", "session"), "people", limit=1)
    writing_back.planned(place)
    page = signed(place, "operator").get("/syncs/people/plan").text
    assert "2 writes are planned; 1 of them now (limit 1)." in page
    assert "2 created, of which 1 at most are written now." in page


def test_files_have_the_rows_that_are_looked_for(
    place: places.Place, signed: Signed, some: list[dict[str, str]]
) -> None:
    operator = signed(place, "operator")

    def keys(page: str, query: str) -> list[str]:
        text = operator.get(f"/syncs/people/{page}?format=csv&{query}").text
        return sorted({row["key"] for row in csv.DictReader(io.StringIO(text))})

    first, second, third = (each["id"] for each in some)
    operator.post("/syncs/people/plan")
    made = writing_back.planned(place)
    assert keys("plan", "") == sorted([first, second, third])
    assert keys("plan", f"search={second}") == [second]
    assert keys("plan", f"kind=create&search={third}") == []
    operator.post("/syncs/people/plan/approve", {"plan": made.id, "digest": made.digest})
    writing_back.ran(place)
    assert keys("records", "") == sorted([first, second, third])
    assert keys("records", f"search={first}") == [first]


def test_another_plan_than_the_one_that_was_shown_is_not_approved(
    place: places.Place, signed: Signed
) -> None:
    operator = signed(place, "operator")
    operator.post("/syncs/people/plan")
    made = writing_back.planned(place)
    assert operator.post("/syncs/people/plan/approve", {"plan": made.id, "digest": "0" * 64}).status == 409
    assert runs.listed(place.store) == []
    operator.post("/syncs/people/plan/discard", {"plan": made.id})
    assert plans.latest(place.store, PUSH) is None


def test_what_changed_since_a_plan_is_left_and_the_plan_says_that_it_is_old(
    place: places.Place, signed: Signed, tmp_path: Path, some: list[dict[str, str]]
) -> None:
    operator = signed(place, "operator")
    operator.post("/syncs/people/plan")
    made = writing_back.planned(place)
    people.rows(tmp_path, [some[0], {**some[1], "name": "Another"}])
    place.store.execute("UPDATE plans SET planned_at = planned_at - 7200")
    assert "This plan is old." in operator.get("/syncs/people/plan").text
    operator.post("/syncs/people/plan/approve", {"plan": made.id, "digest": made.digest})
    run = writing_back.ran(place)
    assert (run.state, run.totals["created"], run.totals["left"]) == ("partial", 1, 1)


def test_a_run_is_undone_by_a_plan(
    place: places.Place, signed: Signed, tmp_path: Path, some: list[dict[str, str]]
) -> None:
    writing_back.pushed(place)
    people.rows(tmp_path, [{**each, "plan": "free"} for each in some])
    last = writing_back.pushed(place)
    operator = signed(place, "operator")
    assert "Plan its undo" in operator.get("/syncs/people/runs").text
    operator.post("/syncs/people/undo", {"run": last.id})
    made = writing_back.planned(place)
    assert made.kind == "undo"
    text = operator.get("/syncs/people/plan").text
    assert "What would be put back" in text
    assert "<del>free</del>" in text
    operator.post("/syncs/people/plan/approve", {"plan": made.id, "digest": made.digest})
    run = writing_back.ran(place)
    assert (run.state, run.totals["restored"]) == ("ok", 2)
    assert {each.kind for each in holds.listed(place.store, PUSH)} >= {"undone"}


def test_a_row_has_its_history_and_its_undo(
    place: places.Place, signed: Signed, some: list[dict[str, str]]
) -> None:
    writing_back.pushed(place)
    operator, key = signed(place, "operator"), some[0]["id"]
    assert key in operator.get(f"/syncs/people/records?search={key[:5]}").text
    text = operator.get(f"/syncs/people/records/row?key={key}").text
    assert "dashboard.stripe.com" in text
    assert f"<ins>{some[0]['name']}</ins>" in text
    operator.post("/syncs/people/undo", {"key": key, "created": "delete"})
    made = writing_back.planned(place)
    assert made.body["counts"]["removed"] == 1
    assert operator.post("/syncs/people/plan/approve", {"plan": made.id, "digest": made.digest}).status == 422
    words = {"plan": made.id, "digest": made.digest, "words": PUSH}
    assert operator.post("/syncs/people/plan/approve", words).status == 303
    assert writing_back.ran(place).totals["removed"] == 1


def test_rows_that_wait_are_found_and_decided_on(
    place: places.Place, signed: Signed, shop: Merchant, some: list[dict[str, str]]
) -> None:
    for name in ("One", "Other"):
        shop.make("/v1/customers", email=some[0]["email"], name=name)
    writing_back.pushed(place)
    operator, key = signed(place, "operator"), some[0]["id"]
    text = operator.get("/issues").text
    assert "Ambiguous match" in text
    assert key in text
    assert some[2]["id"] in operator.get("/issues?kind=invalid").text
    assert key not in operator.get("/issues?kind=invalid").text
    row = operator.get(f"/issues/row?push=people&key={key}").text
    assert "One" in row
    assert "Other" in row
    hold = holds.find(place.store, PUSH, key)
    assert hold is not None
    form = {"push": PUSH, "key": key, "decision": "choose", "choice": hold.candidates[1]}
    assert operator.post("/issues/row", form).status == 303
    assert said(operator, "/issues") == f"{key} of people: the next run does what you chose."
    run = writing_back.pushed(place)
    assert run.totals["updated"] == 1
    assert operator.get(f"/issues/row?push=people&key={key}").status == 404


def test_many_rows_are_decided_on_by_one_form_that_says_how_many(place: places.Place, signed: Signed) -> None:
    opened = [holds.Opening(f"k{n}", "refused", "Stripe refused it.") for n in range(3)]
    place.store.transact(lambda session: holds.opened(session, PUSH, opened))
    operator = signed(place, "operator")
    assert "Type <strong>3</strong>" in operator.get("/issues?kind=refused").text
    form = {"decision": "skip", "kind": "refused", "flow": "", "search": ""}
    assert operator.post("/issues/-/decide", {**form, "words": "2"}).status == 422
    assert operator.post("/issues/-/decide", {**form, "words": "3"}).status == 303
    assert said(operator, "/issues") == "3 rows are left until they change."
    assert {each.state for each in holds.listed(place.store)} == {"skipped"}


def test_a_sync_is_added_step_by_step(place: places.Place, signed: Signed) -> None:
    editor = signed(place, "editor")
    assert "What: the model" in editor.get("/syncs/-/add").text
    form = {
        "_name": "more", "model": "people", "to": "acme", "object": "customer", "behavior": "update_only",
        "match": '{"email": "email"}', "on_missing": "nothing", "schedule": "every 1h", "guard.max_creates": "5",
        "fields": '{"name": "name", "metadata.x": {"from": "plan", "null": "clear"}}',
    }  # fmt: skip
    recap = editor.post("/syncs/-/add", form).text
    assert (
        "Each row of people is a customer of acme (test mode), found by email: it is updated, and never created."
        in recap
    )
    assert "more" not in place.file.pushes
    assert editor.post("/syncs/-/add", {**form, "_back": "yes"}).text.count('name="_name"') == 1
    answer = editor.post("/syncs/-/add", {**form, "_sure": "yes"})
    assert answer.headers["location"] == "/syncs/more/plan", answer.text
    push = place.file.pushes["more"]
    assert (push.behavior, push.guard.max_creates, push.fields["metadata.x"].null) == (
        "update_only",
        5,
        "clear",
    )
    part = editor.get("/syncs/more/edit").text
    version = re.search(r'name="_version" value="(\d+)"', part)
    assert version
    wrong = editor.post(
        "/syncs/more/edit", {**form, "_version": version[1], "fields": json.dumps({"nothing": "name"})}
    )
    assert wrong.status == 422
    assert "nothing" in wrong.text
    assert (
        editor.post("/syncs/more/schedule", {"_version": version[1], "schedule": "every 15m"}).status == 303
    )
    assert "every 15 min" in editor.get("/syncs/more/schedule").text
    assert editor.post("/syncs/people/edit", form).status == 409, "it stands in the file"


def test_another_object_brings_its_fields_and_loses_nothing_that_was_typed(
    place: places.Place, signed: Signed
) -> None:
    editor = signed(place, "editor")
    typed = {
        "model": "people",
        "to": "acme",
        "object": "product",
        "fields": '{"name": "plan"}',
        "_name": "more",
    }
    answer = editor.post("/syncs/-/form", typed)
    assert answer.status == 200
    text = html.unescape(answer.text)
    assert '["statement_descriptor","string"]' in text
    assert '["plan","string"]' in text, "the columns of the model"
    assert '{"name":"plan"}' in text
    assert 'value="more"' in text
    assert "more" not in place.file.pushes
    assert editor.post("/syncs/people/form", typed).status == 200
    assert editor.post("/syncs/nobody/form", typed).status == 404
    assert signed(place, "viewer").post("/syncs/-/form", typed).status == 403


def test_a_model_is_added_looked_at_and_checked(
    place: places.Place, signed: Signed, tmp_path: Path, some: list[dict[str, str]]
) -> None:
    people.rows(tmp_path, [*some, some[0]])
    editor = signed(place, "editor")
    assert some[1]["email"] in editor.post("/models/people/look").text
    assert "share 1 key" in editor.post("/models/people/key").text
    form = {"_name": "others", "way": "file", "warehouse": "", "file": "people.csv", "key": "email"}
    assert some[1]["name"] in editor.post("/models/-/look", form).text
    assert editor.post("/models/-/add", form).headers["location"] == "/models/others"
    assert "No sync sends it yet" in editor.get("/models/others").text
    assert editor.post("/models/-/add", form).status == 422
    version = re.search(r'name="_version" value="(\d+)"', editor.get("/models/others").text)
    assert version
    assert editor.post("/models/others/remove", {"_version": version[1], "words": "other"}).status == 422
    assert editor.post("/models/others/remove", {"_version": version[1], "words": "others"}).status == 303
    assert "others" not in place.file.models


def test_of_what_a_run_created_an_undo_can_be_planned_that_removes_it(
    place: places.Place, signed: Signed
) -> None:
    last = writing_back.pushed(place)
    operator = signed(place, "operator")
    operator.post("/syncs/people/undo", {"run": last.id})
    writing_back.planned(place)
    text = operator.get("/syncs/people/plan").text
    assert "Plan to delete them" in text
    assert ">Approve<" not in text, "nothing is to be put back"
    operator.post("/syncs/people/undo", {"run": last.id, "created": "delete"})
    assert writing_back.planned(place).body["counts"]["removed"] == 2
    assert "Type <strong>people</strong>" in operator.get("/syncs/people/plan").text


def test_in_a_browser_the_plan_appears_by_itself_and_is_approved(
    place: places.Place, signed: Signed, page: sync_api.Page, some: list[dict[str, str]]
) -> None:
    operator = signed(place, "operator")
    page.context.add_cookies(
        [{"name": name, "value": value, "url": operator.url} for name, value in operator.jar.items()]
    )
    page.goto(f"{operator.url}/syncs/people/plan")
    page.get_by_role("main").get_by_role("button", name="Make a plan").last.click()
    page.get_by_text("What would be written").wait_for()
    page.get_by_text(some[0]["email"]).wait_for()
    page.get_by_text("Approve", exact=True).first.click()
    page.get_by_role("button", name="Approve").last.click()
    page.wait_for_url("**/runs/run_*")
    [run] = runs.listed(place.store)
    found = plans.latest(place.store, PUSH)
    assert found is not None
    assert (found.state, found.run, run.state) == ("approved", run.id, "queued")
