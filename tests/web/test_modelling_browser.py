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


def test_what_is_typed_while_fields_are_asked_for_stays(page: sync_api.Page, editor: Client) -> None:
    signed_in(page, editor)
    page.goto(editor.url + "/pipelines/-/add")
    browsing.ready(page)
    held: list[sync_api.Route] = []

    def hold(route: sync_api.Route) -> None:
        held.append(route)

    page.route("**/pipelines/-/form", hold)
    with page.expect_request("**/pipelines/-/form"):
        page.get_by_label("Stream").select_option("charges")
    page.locator("#rows").get_by_role("button", name="Edit as JSON").click()
    half = '{"field": "email", "op":'
    page.get_by_label("Filter, as JSON").fill(half)
    value = page.get_by_label("email: field")
    value.fill("billing")
    held[0].continue_()
    expect(page.get_by_label("Take payment_method_details for default_payment_method")).to_be_visible()
    expect(value).to_be_focused()
    page.keyboard.type("_details.email")
    expect(value).to_have_value("billing_details.email")
    assert "billing_details.email" in page.locator("textarea[name=map]").input_value()
    expect(page.get_by_label("Filter, as JSON")).to_have_value(half)
    expect(page.get_by_label("Filter, as JSON")).to_be_visible()


def test_of_answers_that_cross_the_newest_counts(page: sync_api.Page, editor: Client) -> None:
    signed_in(page, editor)
    page.goto(editor.url + "/pipelines/-/add")
    browsing.ready(page)
    # What is asked first is answered last, and cannot be stopped.
    page.evaluate("""() => {
      const real = window.fetch;
      const open = new Promise((done) => { window.release = done; });
      window.fetch = async (url, { signal, ...given }) => {
        const first = String(given.body).includes("stream=refunds");
        const answer = await real(url, given);
        if (first) await open;
        return answer;
      };
    }""")
    page.get_by_label("Stream").select_option("refunds")
    page.get_by_label("Stream").select_option("charges")
    likely = page.get_by_label("Take payment_method_details for default_payment_method")
    expect(likely).to_be_visible()
    page.evaluate("window.release()")
    page.evaluate("new Promise((done) => setTimeout(done, 100))")
    expect(likely).to_be_visible()
    expect(page.locator("#said .warn")).to_have_count(0)


def test_a_draft_with_another_stream_has_the_fields_of_that_one(page: sync_api.Page, editor: Client) -> None:
    signed_in(page, editor)
    page.goto(editor.url + "/pipelines/shouting/edit")
    browsing.ready(page)
    with page.expect_response("**/pipelines/-/form"):
        page.get_by_label("Stream").select_option("charges")
    page.wait_for_function("() => JSON.stringify(localStorage).includes('charges')")
    page.goto(editor.url + "/pipelines/shouting/edit")
    expect(page.locator(".draft-note")).to_be_visible()
    expect(page.get_by_label("Stream")).to_have_value("charges")
    expect(page.get_by_label("Take payment_method_details for default_payment_method")).to_be_visible()


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


def test_what_two_have_changed_is_decided_and_never_replaced_unseen(
    page: sync_api.Page, editor: Client, place: places.Place
) -> None:
    signed_in(page, editor)
    other = page.context.new_page()
    for each in (page, other):
        each.goto(editor.url + "/pipelines/shouting/edit")
        browsing.ready(each)
    page.get_by_label("phone: field").fill("phone")
    page.get_by_label("Schedule").fill("every 2h")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#said")).to_contain_text("shouting is changed")
    other.get_by_label("phone: field").fill("description")
    other.get_by_role("button", name="Save", exact=True).click()
    expect(other.get_by_role("alert").first).to_be_visible()
    for again in ("by the link", "after another refusal"):
        other.get_by_role("link", name="Go on with what is saved now").click()
        expect(other.locator(".draft-note"), again).to_contain_text(
            "Meanwhile \u201cMapping\u201d was changed, too."
        )
        expect(other.get_by_label("phone: field")).to_have_value("description")
        expect(other.get_by_label("Schedule")).to_have_value("every 2h")
        other.reload()
        expect(other.locator(".draft-note"), again).to_contain_text("\u201cMapping\u201d was changed, too.")
        other.get_by_role("button", name="Save", exact=True).click()
        expect(other.get_by_role("alert").first).to_be_visible()
        assert place.file.pipelines["shouting"].map["phone"].source == "phone", again
    other.get_by_role("link", name="Go on with what is saved now").click()
    other.get_by_role("button", name="Keep mine").click()
    expect(other.locator(".draft-note")).not_to_contain_text("Meanwhile")
    browsing.snap(other, "pipeline-kept-mine")
    other.get_by_role("button", name="Save", exact=True).click()
    expect(other.locator("#said")).to_contain_text("shouting is changed")
    kept = place.file.pipelines["shouting"]
    assert (kept.map["phone"].source, schedules.words(kept.schedule)) == ("description", "every 2 hours")


def test_where_no_draft_is_kept_nothing_leads_away_from_what_was_typed(
    browser: sync_api.Browser, editor: Client, place: places.Place
) -> None:
    context = browser.new_context(java_script_enabled=False)
    bare = context.new_page()
    signed_in(bare, editor)
    bare.goto(editor.url + "/pipelines/shouting/edit")
    pipeline_trials.keep(place, ANN, "shouting", {**SHOUTING, "schedule": "every 2h"}, 1)
    bare.get_by_label("Description").fill("typed")
    bare.get_by_role("button", name="Save", exact=True).click()
    expect(bare.get_by_role("alert")).to_contain_text("shouting")
    expect(bare.get_by_text("Go on with what is saved now")).to_be_hidden()
    expect(bare.get_by_label("Description")).to_have_value("typed")
    context.close()


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
