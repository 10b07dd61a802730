"""The page of a plan: what cannot be undone is said plainly, and whatever is made anew is made from there."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pushed_people as people
import pytest
import writing_back
from signing import Client, Signed

from tidegate import sandbox
from tidegate.engine import place as places
from tidegate.store import holds

MIRROR = (
    "{model: people, to: acme, object: customer, behavior: mirror, on_missing: delete, match: {email: email}, "
    "fields: {name: name}, guard: {max_removed: 9, max_changed: 100%, rows_down: 100%}}"
)


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with sandbox.process(objects=30) as url:
        yield url


@pytest.fixture
def some(tmp_path: Path) -> list[dict[str, str]]:
    """Three people of a test's own."""
    number = abs(hash(tmp_path)) % 10**9
    return [people.person(number + each) for each in range(3)]


@pytest.fixture
def place(
    stripe: str, tmp_path: Path, some: list[dict[str, str]], request: pytest.FixtureRequest
) -> Iterator[places.Place]:
    with writing_back.place(tmp_path, stripe, some, getattr(request, "param", people.USUAL)) as found:
        yield found


def text(client: Client, path: str = "/syncs/people/plan") -> str:
    """What a page says, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", client.get(path).text)).split())


@pytest.mark.parametrize("place", [MIRROR], indirect=True)
def test_what_would_be_deleted_is_called_so_wherever_it_is_approved(
    place: places.Place, signed: Signed, tmp_path: Path, some: list[dict[str, str]]
) -> None:
    writing_back.pushed(place)
    people.rows(tmp_path, some[:1])
    operator = signed(place, "operator")
    operator.post("/syncs/people/plan")
    writing_back.planned(place)
    page = text(operator)
    assert (
        "2 customers are deleted at Stripe, which cannot be undone: their rows are gone from the model."
        in page
    )
    assert "Exactly this plan is done, once: 2 deleted." in page
    assert "What is deleted at Stripe cannot be brought back." in page
    assert "Type people to go on" in page
    assert len(re.findall(r"\bDelete\b", page)) == 2
    assert "Row is gone" not in page


def test_rows_lead_to_their_history_and_objects_to_stripe(
    place: places.Place, signed: Signed, tmp_path: Path, some: list[dict[str, str]]
) -> None:
    writing_back.pushed(place)
    people.rows(tmp_path, [{**some[0], "name": "Another"}, people.person(7, email="new@people.test")])
    operator = signed(place, "operator")
    operator.post("/syncs/people/plan")
    writing_back.planned(place)
    page = operator.get("/syncs/people/plan").text
    assert f'class="row-link" href="/syncs/people/records/row?key={some[0]["id"]}"' in page
    assert re.search(r'href="https://dashboard\.stripe\.com/acct_\w+/test/customers/cus_\w+"', page)
    assert 'records/row?key=7"' not in page, "nothing is known of a row that was never written"


def test_a_plan_that_repairs_is_made_at_any_time_and_says_so(place: places.Place, signed: Signed) -> None:
    operator = signed(place, "operator")
    operator.post("/syncs/people/plan")
    writing_back.planned(place)
    page = operator.get("/syncs/people/plan").text
    assert page.count('name="repair"') == 1, "it is offered beside a plan, too"
    assert "It also writes the model" not in page
    operator.post("/syncs/people/plan", {"repair": "on"})
    writing_back.planned(place)
    page = operator.get("/syncs/people/plan").text
    assert "It also writes the model" in page
    assert re.search(r'name="repair" value="on" checked', page), "planned again, it is one again"


def test_a_plan_that_writes_nothing_waits_for_nobody(place: places.Place, signed: Signed) -> None:
    writing_back.pushed(place)
    operator = signed(place, "operator")
    operator.post("/syncs/people/plan")
    writing_back.planned(place)
    page = operator.get("/syncs/people").text
    assert "A plan waits for approval" not in page
    assert ">Make a plan<" in page
    assert "To approve" not in operator.get("/syncs").text


def test_a_sync_leads_to_the_plan_that_waits(place: places.Place, signed: Signed) -> None:
    operator = signed(place, "operator")
    assert ">Make a plan<" in operator.get("/syncs/people").text
    operator.post("/syncs/people/plan")
    writing_back.planned(place)
    for path in ("/syncs/people", "/syncs/people/mapping"):
        page = operator.get(path).text
        assert ">See the plan</a>" in page, path
        assert ">Make a plan<" not in page, path
    assert "A plan waits for approval; nothing of it is written until then." in text(
        operator, "/syncs/people"
    )
    assert re.search(r'<a href="/syncs/people/plan"><span class="chip warn"', operator.get("/syncs").text)


def test_a_plan_that_was_not_made_is_seen_in_the_list_and_leads_to_its_model(
    place: places.Place, signed: Signed, tmp_path: Path
) -> None:
    (tmp_path / "people.csv").unlink()
    operator = signed(place, "operator")
    operator.post("/syncs/people/plan")
    writing_back.planned(place, state="failed")
    page = operator.get("/syncs/people/plan").text
    assert '<a href="/models/people">' in page
    assert page.count(">Make another plan<") == 1
    assert ">Make a plan<" not in page
    assert "Not made" in text(operator, "/syncs")


def test_what_a_run_left_out_for_its_key_is_said_with_the_way_to_check_it(
    place: places.Place, signed: Signed, tmp_path: Path, some: list[dict[str, str]]
) -> None:
    people.rows(tmp_path, [*some, {**some[0], "email": "twice@people.test"}, people.person(0, id="")])
    run = writing_back.pushed(place)
    assert (run.totals["quarantined"], run.totals["invalid"]) == (2, 1)
    page = text(signed(place, "viewer"), "/syncs/people")
    assert "3 rows were left out by the last run" in page
    assert "Check the key of people" in page
    assert "2 created" in text(signed(place, "viewer"), "/syncs/people/runs"), "in the words of a past"


@pytest.mark.parametrize(
    "place",
    [people.USUAL.replace("match:", "guard: {max_creates: 0}, match:")],
    indirect=True,
)
def test_a_sync_that_waits_is_partial_and_names_no_command(place: places.Place, signed: Signed) -> None:
    assert writing_back.pushed(place).state == "partial"
    viewer = signed(place, "viewer")
    page = text(viewer, "/syncs/people")
    assert "Waits for approval: 3 objects would be created; 0 are allowed (guard.max_creates)." in page
    assert "tidegate push" not in page
    assert "Partial" in text(viewer, "/syncs?state=partial")
    assert "Waits for approval: 3 objects would be created" in text(viewer)
    assert "No plan yet" in text(viewer)
    assert "Nothing matches." in text(viewer, "/syncs?state=fresh")
    assert viewer.get("/syncs?format=csv").text.splitlines()[1].startswith("people,partial,")


def test_an_undo_says_which_run_it_is_of_and_what_is_cleared(
    place: places.Place, signed: Signed, tmp_path: Path, some: list[dict[str, str]]
) -> None:
    people.rows(tmp_path, [{**some[0], "plan": ""}])
    writing_back.pushed(place)
    people.rows(tmp_path, some[:1])
    last = writing_back.pushed(place)
    assert last.totals["updated"] == 1
    operator = signed(place, "operator")
    operator.post("/syncs/people/undo", {"run": last.id})
    writing_back.planned(place)
    page = operator.get("/syncs/people/plan").text
    assert f'<a href="/runs/{last.id}">{last.id}</a>' in page
    assert re.search(r"<del>pro</del>.*?becomes</span><span class=\"faint\">nothing</span>", page)
    assert "Exactly this plan is done, once: 1 put back." in page


def test_every_form_in_a_row_has_the_token_of_who_asks(
    place: places.Place, signed: Signed, some: list[dict[str, str]]
) -> None:
    last = writing_back.pushed(place)
    opened = holds.Opening(some[0]["id"], "refused", "Stripe refused it.")
    place.store.transact(lambda session: holds.opened(session, "people", [opened]))
    operator = signed(place, "operator")
    for path, does in (("/syncs/people/runs", "/syncs/people/undo"), ("/issues", "/issues/row")):
        page = operator.get(path).text
        tokens = re.findall(rf'action="{does}"[^>]*><input type="hidden" name="_csrf" value="([^"]*)"', page)
        assert tokens, path
        assert set(tokens) == {operator.csrf}, path
    assert operator.post("/syncs/people/undo", {"run": last.id}).status == 303
    assert writing_back.planned(place).kind == "undo"
