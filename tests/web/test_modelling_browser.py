"""Pipelines and customers in a browser: drawn within the policy, wide and narrow, and used as people do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import browsing
import profiled
import pytest
from playwright import sync_api
from playwright.sync_api import expect
from signing import Client, Signed

from tidegate import views
from tidegate.engine import place as places
from tidegate.engine import schedules
from tidegate.store import definitions, failed
from tidegate.views import customers, pipeline_trials

ANN = views.Person("ann@example.com", "session")
PAGES = {
    "pipelines": "/pipelines",
    "pipeline": "/pipelines/filed",
    "pipeline-edit": "/pipelines/shouting/edit",
    "pipeline-filed-edit": "/pipelines/filed/edit",
    "pipeline-add": "/pipelines/-/add",
    "pipeline-failures": "/pipelines/filed/failures",
    "pipeline-failure": "/pipelines/filed/failures/acct_1/cus_1",
    "pipeline-versions": "/pipelines/shouting/versions",
    "customers": "/customers",
    "customer": "/customers/filed/acct_1/cus_0",
    "customers-why": "/customers/-/why?one=cus_0&other=cus_1",
    "customers-decisions": "/customers/-/decisions",
    "customers-rules": "/customers/-/rules",
}
CASE = {"id": "cus_1", "name": "Jane", "email": "j@x.test"}
MADE = {"customer_id": "cus_1", "name": "JANE", "email": "j@x.test"}
SHOUTING = {
    "from": "acme",
    "to": "local",
    "description": "For support: names in capitals, and nobody without an e-mail",
    "schedule": "every 1h",
    "filter": {"all": [{"field": "email", "op": "is not null"}, {"field": "created", "op": "is null"}]},
    "map": {"customer_id": "id", "email": "email", "name": {"sql": "upper(name)"}},
    "cases": [
        {"name": "shouts", "given": CASE, "expected": MADE}
    ],
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    with profiled.place(tmp_path) as found:
        profiled.ran(found)
        pipeline_trials.keep(found, ANN, "shouting", SHOUTING, None)
        for number, name in enumerate(("email", "phone")):
            definitions.note(
                found.store, "shouting", f"d{number}", f'{{"map":{{"{name}":{{"from":"{name}"}}}}}}'
            )
        failed.keep(found.store, [profiled.failure(f"cus_{n}") for n in range(1, 4)])
        of = customers.model(found)
        customers.decide(found, ANN, of, "merge", "cus_1", "cus_2", note="the same card", now=True)
        yield found


@pytest.fixture
def editor(place: places.Place, signed: Signed) -> Client:
    return signed(place, "editor", "ann@example.com")


def signed_in(page: sync_api.Page, client: Client) -> None:
    """Have the browser be that member's."""
    [(name, value)] = [each for each in client.jar.items() if each[0] == "tidegate"]
    page.context.add_cookies([{"name": name, "value": value, "url": client.url}])


def test_every_page_fits_wide_and_narrow(page: sync_api.Page, narrow: sync_api.Page, editor: Client) -> None:
    for each, width in ((page, "wide"), (narrow, "narrow")):
        signed_in(each, editor)
        for name, path in PAGES.items():
            answer = each.goto(editor.url + path)
            assert answer is not None
            assert answer.status == 200, path
            expect(each.locator("h1")).to_be_visible()
            assert browsing.overflow(each) == [], f"{path}, {width}"
            browsing.snap(each, name)


def test_a_pipeline_is_built_tried_and_kept(page: sync_api.Page, editor: Client, place: places.Place) -> None:
    signed_in(page, editor)
    page.goto(editor.url + "/pipelines/-/add")
    page.get_by_label("Name", exact=False).first.fill("new")
    page.get_by_label("email: field").fill("email")
    page.get_by_label("Take id for customer_id").click()
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.locator("#trial article")).to_have_count(6)
    browsing.snap(page, "pipeline-tested")
    page.locator("#trial article button").first.click()
    expect(page.locator("#cases")).to_contain_text("is matched")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#said")).to_contain_text("new is kept")
    kept = place.file.pipelines["new"]
    assert set(kept.map) == {"customer_id", "email"}
    assert len(kept.cases) == 1


def test_a_function_is_written_and_run_where_it_stands(page: sync_api.Page, editor: Client) -> None:
    signed_in(page, editor)
    page.goto(editor.url + "/pipelines/-/add")
    expect(page.locator(".language-python")).to_be_hidden()
    page.get_by_role("radio", name="Python").check()
    expect(page.locator(".language-javascript")).to_be_hidden()
    page.locator(".language-python").get_by_role("button", name="Run the test").click()
    expect(page.locator(".language-python .tg-code-answer")).to_contain_text("Jane@example.com")


def test_another_stream_brings_its_fields_at_once(page: sync_api.Page, editor: Client) -> None:
    signed_in(page, editor)
    page.goto(editor.url + "/pipelines/-/add")
    page.get_by_label("Name", exact=False).first.fill("new")
    page.get_by_label("email: field").fill("email")
    page.get_by_label("Stream").select_option("charges")
    expect(page.get_by_label("Take payment_method_details for default_payment_method")).to_be_visible()
    expect(page.get_by_label("Name", exact=False).first).to_have_value("new")
    expect(page.get_by_label("email: field")).to_have_value("email")


def test_two_who_change_one_pipeline_lose_nothing(
    page: sync_api.Page, editor: Client, place: places.Place
) -> None:
    signed_in(page, editor)
    other = page.context.new_page()
    for each in (page, other):
        each.goto(editor.url + "/pipelines/shouting/edit")
        browsing.ready(each)
    page.get_by_label("Schedule").fill("every 2h")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#said")).to_contain_text("shouting is changed")
    other.get_by_label("Customers that may leave at once").fill("30%")
    other.get_by_role("button", name="Save", exact=True).click()
    other.get_by_role("link", name="Go on with what is saved now").click()
    expect(other.locator(".draft-note")).to_contain_text("what is saved has changed since")
    expect(other.get_by_label("Schedule")).to_have_value("every 2h")
    other.get_by_role("button", name="Save", exact=True).click()
    expect(other.locator("#said")).to_contain_text("shouting is changed")
    kept = place.file.pipelines["shouting"]
    assert (schedules.words(kept.schedule), kept.guard.max_removed) == ("every 2 hours", 0.3)


def test_a_pipeline_is_switched_off_and_deleted_by_its_name(
    page: sync_api.Page, editor: Client, place: places.Place
) -> None:
    signed_in(page, editor)
    page.goto(editor.url + "/pipelines")
    page.get_by_role("switch", name="Enable shouting").click()
    expect(page.locator("#said")).to_contain_text("shouting is off")
    page.get_by_label("More for shouting").click()
    page.locator("summary", has_text="Delete shouting").click()
    page.locator("dialog input[name=words]").fill("shouting")
    page.locator("dialog button[type=submit]").click()
    expect(page.locator("#said")).to_contain_text("shouting is deleted")
    assert list(place.file.pipelines) == ["filed"]


def test_rules_are_previewed_before_they_are_kept(page: sync_api.Page, editor: Client) -> None:
    signed_in(page, editor)
    page.goto(editor.url + "/customers/-/rules")
    page.get_by_label("Identifiers").fill("customer_id")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#preview")).to_contain_text("Splits")
    expect(page.locator("#preview")).to_contain_text("Would come apart")
    browsing.snap(page, "customers-rules-preview")
