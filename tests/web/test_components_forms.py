"""The filter builder, the mapper, the editor, and drafts, in a browser."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any, get_args

import browsing
import gallery
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright import sync_api

from tidegate.config import conditions, values


@pytest.fixture(scope="module")
def shown() -> Iterator[gallery.Gallery]:
    """The gallery, served for all tests of this file."""
    with gallery.serving(gallery.Gallery()) as found:
        yield found


@pytest.fixture(autouse=True)
def _anew(shown: gallery.Gallery) -> None:
    shown.posted.clear()
    shown.tested.clear()


@pytest.fixture
def editors(page: sync_api.Page, shown: gallery.Gallery) -> sync_api.Page:
    """The page with a filter, a mapping and a function."""
    page.goto(shown.url + "/editors")
    browsing.ready(page)
    return page


def held(page: sync_api.Page, name: str) -> Any:
    """What the form would send for a component."""
    text = page.locator(f"textarea[name={name}]").input_value()
    return json.loads(text) if text else None


class Where(values.Base):
    """A filter as the configuration checks it."""

    where: conditions.Filter


def build(page: sync_api.Page, tree: object) -> None:
    """Put a tree into the builder, as a form that is drawn with it would."""
    page.evaluate(
        """(text) => {
          const area = document.querySelector("textarea[name=filter]");
          area.value = text;
          area.dispatchEvent(new CustomEvent("tg:restored"));
        }""",
        json.dumps(tree),
    )


# The filter builder


def test_a_filter_is_shown_and_changes_nothing_by_itself(editors: sync_api.Page) -> None:
    assert held(editors, "filter") == gallery.FILTER
    builder = editors.locator("tg-filter")
    sync_api.expect(builder.locator(".tg-condition")).to_have_count(5)
    sync_api.expect(builder.locator(".tg-group")).to_have_count(2)
    sync_api.expect(builder.locator("textarea")).to_be_hidden()


def test_a_condition_is_added_by_the_keyboard_alone(editors: sync_api.Page) -> None:
    build(editors, {"field": "email", "op": "exists"})
    editors.locator("tg-filter").get_by_role("button", name="Condition", exact=True).focus()
    editors.keyboard.press("Enter")
    editors.keyboard.type("currency")
    editors.keyboard.press("Tab")
    sync_api.expect(editors.get_by_label("Operator").last).to_be_focused()
    editors.keyboard.type("is one")
    editors.keyboard.press("Tab")
    editors.keyboard.type("eur")
    editors.keyboard.press("Enter")
    editors.keyboard.type("usd,")
    editors.keyboard.press("Backspace")
    editors.keyboard.type("gbp")
    editors.keyboard.press("Tab")
    assert held(editors, "filter") == {
        "all": [
            {"field": "email", "op": "exists"},
            {"field": "currency", "op": "is one of", "value": ["eur", "gbp"]},
        ]
    }


def test_groups_are_nested_joined_and_removed(editors: sync_api.Page) -> None:
    build(editors, None)
    builder = editors.locator("tg-filter")
    sync_api.expect(builder).to_contain_text("No conditions: every row is meant.")
    builder.get_by_role("button", name="Group", exact=True).click()
    builder.get_by_label("Field", exact=True).fill("email")
    builder.get_by_label("Value").fill("x")
    inner = {"any": [{"field": "email", "op": "is", "value": "x"}]}
    assert held(editors, "filter") == inner
    builder.get_by_role("button", name="Condition", exact=True).last.click()
    builder.get_by_label("Field", exact=True).last.fill("delinquent")
    assert held(editors, "filter") == {"all": [inner, {"field": "delinquent", "op": "is true"}]}
    builder.get_by_label("How conditions are joined").first.select_option("any")
    assert list(held(editors, "filter")) == ["any"]
    builder.get_by_role("button", name="Remove the group").click()
    assert held(editors, "filter") == {"any": [{"field": "delinquent", "op": "is true"}]}
    builder.get_by_role("button", name="Remove the condition").click()
    assert held(editors, "filter") is None


def test_a_builder_leaves_its_page_as_every_element_does(editors: sync_api.Page) -> None:
    editors.evaluate("document.querySelector('tg-filter').remove()")
    sync_api.expect(editors.locator("tg-filter")).to_have_count(0)


def test_operators_follow_the_type_of_the_field(editors: sync_api.Page) -> None:
    build(editors, {"field": "delinquent", "op": "is true"})
    offered = editors.get_by_label("Operator").locator("option").all_inner_texts()
    assert "is false" in offered
    assert not {"contains", "<", "is before"} & set(offered)
    editors.get_by_label("Field", exact=True).fill("created")
    offered = editors.get_by_label("Operator").locator("option").all_inner_texts()
    assert offered[:4] == ["is before", "is on or before", "is after", "is on or after"]
    assert "starts with" not in offered


def test_all_operators_of_the_configuration_are_there_and_no_other(editors: sync_api.Page) -> None:
    build(editors, {"field": "metadata.x", "op": "is", "value": "1"})
    offered = editors.get_by_label("Operator").locator("option").all_inner_texts()
    assert sorted(offered) == sorted(get_args(conditions.Operator))


@pytest.mark.parametrize(
    ("form", "inputs", "value"),
    [
        ("date", {"date": "2024-01-31"}, "2024-01-31"),
        ("time", {"datetime-local": "2024-01-31T12:30:15"}, "2024-01-31T12:30:15Z"),
        ("ago", {"number": "1"}, "1 day ago"),
        ("in", {"number": "14"}, "in 14 days"),
        ("yesterday", {}, "yesterday"),
        ("now", {}, "now"),
        ("other", {"text": "2024-01-31T12:00:00+02:00"}, "2024-01-31T12:00:00+02:00"),
    ],
)
def test_times_are_dates_moments_or_told_from_now(
    editors: sync_api.Page, form: str, inputs: dict[str, str], value: str
) -> None:
    build(editors, {"field": "created", "op": "is after", "value": "2 weeks ago"})
    editors.get_by_label("Value: kind of time").select_option(form)
    if form in ("ago", "in"):
        editors.get_by_label("Value: unit").select_option("day")
    for kind, typed in inputs.items():
        editors.locator(f".tg-moment input[type={kind}]").fill(typed)
    assert held(editors, "filter") == {"field": "created", "op": "is after", "value": value}
    assert conditions._is_time(value)


def test_numbers_are_numbers_and_what_would_lose_digits_stays_text(editors: sync_api.Page) -> None:
    build(editors, {"field": "balance", "op": ">=", "value": 1})
    for typed, value in (
        ("250", 250),
        ("-2.5", -2.5),
        ("12345678901234567890", "12345678901234567890"),
        ("1e3", "1e3"),
    ):
        editors.get_by_label("Value").fill(typed)
        assert held(editors, "filter")["value"] == value
    editors.get_by_label("Value").fill("many")
    assert not editors.get_by_label("Value").evaluate("(input) => input.validity.valid")


def test_many_values_are_pasted_at_once(editors: sync_api.Page) -> None:
    build(editors, {"field": "email", "op": "is one of", "value": ["a"]})
    editors.get_by_label("Another value").evaluate(
        """(input) => {
          const data = new DataTransfer();
          data.setData("text", "b\\nc\\nd, e");
          const given = { clipboardData: data, bubbles: true, cancelable: true };
          input.dispatchEvent(new ClipboardEvent("paste", given));
        }"""
    )
    assert held(editors, "filter")["value"] == ["a", "b", "c", "d", "e"]
    editors.get_by_role("button", name="Remove b").click()
    assert held(editors, "filter")["value"] == ["a", "c", "d", "e"]


def test_a_condition_that_is_not_finished_is_not_sent(editors: sync_api.Page, shown: gallery.Gallery) -> None:
    editors.get_by_label("Name").fill("x")
    editors.locator("tg-filter").get_by_role("button", name="Condition", exact=True).last.click()
    editors.get_by_role("button", name="Save").click()
    assert shown.posted == []
    assert editors.evaluate("document.activeElement.getAttribute('aria-label')") == "Field"


@pytest.mark.parametrize(
    "tree",
    [
        {"none": []},
        {"all": [{"field": "a", "op": "sounds like", "value": "b"}]},
        {"field": "a", "op": "is", "value": "b", "weight": 3},
        {"field": "a", "op": "is between", "value": [1]},
        {"field": "a", "op": "exists", "value": 1},
        [1],
    ],
)
def test_what_the_builder_does_not_know_is_edited_by_hand(editors: sync_api.Page, tree: object) -> None:
    build(editors, tree)
    sync_api.expect(editors.locator("tg-filter textarea")).to_be_visible()
    sync_api.expect(editors.locator("tg-filter")).to_contain_text("something that the builder does not know")
    assert held(editors, "filter") == tree
    editors.locator("tg-filter textarea").fill('{"field": "a", "op": "exists"}')
    editors.get_by_role("button", name="Edit in the builder").click()
    sync_api.expect(editors.locator(".tg-condition")).to_have_count(1)


scalars = st.one_of(
    st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), st.text(max_size=8), st.floats(-1e6, 1e6)
)
fields = st.sampled_from(["email", "created", "balance", "delinquent", "metadata.plan", "no.such"])
times = st.sampled_from(
    ["today", "3 days ago", "in 1 hour", "2024-01-31", "2024-01-31T12:00:00Z", "2024-02-01T00:00", 1700000000]
)


@st.composite
def leaves(draw: st.DrawFn) -> dict[str, Any]:
    op = draw(st.sampled_from(get_args(conditions.Operator)))
    made: dict[str, Any] = {"field": draw(fields), "op": op}
    if op in conditions.LISTS:
        made["value"] = draw(st.lists(scalars, min_size=1, max_size=3, unique_by=str))
    elif op in conditions.RANGES:
        made["value"] = [draw(scalars), draw(scalars)]
    elif op in conditions.DATES:
        made["value"] = draw(times)
    elif op not in conditions.UNARY:
        made["value"] = draw(scalars)
    return made


trees = st.recursive(
    leaves(),
    lambda parts: st.tuples(st.sampled_from(["all", "any"]), st.lists(parts, min_size=1, max_size=3)).map(
        lambda pair: {pair[0]: pair[1]}
    ),
    max_leaves=8,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees)
def test_every_filter_that_the_configuration_takes_is_read_back_as_it_was(
    editors: sync_api.Page, tree: dict[str, Any]
) -> None:
    Where.model_validate({"where": tree})
    build(editors, tree)
    assert editors.locator("tg-filter textarea").is_hidden()
    # Something is changed and changed back, so that the whole tree is written anew.
    join = editors.get_by_label("How conditions are joined").first
    before = join.input_value()
    join.select_option("any" if before == "all" else "all")
    join.select_option(before)
    found = held(editors, "filter")
    assert found == tree
    Where.model_validate({"where": found})


def test_what_the_builder_makes_is_what_the_configuration_takes() -> None:
    """The check of these tests is the configuration's own."""
    with pytest.raises(pydantic.ValidationError):
        Where.model_validate({"where": {"field": "a", "op": "is"}})


def test_a_filter_of_the_file_is_shown_and_cannot_be_changed(editors: sync_api.Page) -> None:
    editors.evaluate(
        """() => {
          const old = document.querySelector("tg-filter");
          const made = document.createElement("tg-filter");
          made.setAttribute("fields", old.getAttribute("fields"));
          made.setAttribute("readonly", "");
          const { value } = old.querySelector("textarea");
          made.append(Object.assign(document.createElement("textarea"), { name: "filter", value }));
          old.replaceWith(made);
        }"""
    )
    builder = editors.locator("tg-filter")
    sync_api.expect(builder.locator(".tg-condition")).to_have_count(5)
    assert builder.locator("input:not(:disabled), select:not(:disabled)").count() == 0
    assert builder.get_by_role("button").count() == 0


def test_a_builder_that_cannot_be_loaded_leaves_its_text(page: sync_api.Page, shown: gallery.Gallery) -> None:
    page.route(re.compile(r"/static/(filter|mapper)-"), lambda route: route.abort())
    page.goto(shown.url + "/editors")
    sync_api.expect(page.locator("tg-filter textarea")).to_be_visible()
    sync_api.expect(page.locator("tg-mapper textarea")).to_be_visible()
    page.get_by_label("Name").fill("by_hand")
    page.locator("tg-filter textarea").fill('{"field": "email", "op": "exists"}')
    page.get_by_role("button", name="Save").click()
    sync_api.expect(page.get_by_text("Done: saved.")).to_be_visible()
    assert json.loads(shown.posted[0]["filter"]) == {"field": "email", "op": "exists"}


# The mapper


def test_a_mapping_is_shown_and_changes_nothing_by_itself(editors: sync_api.Page) -> None:
    assert held(editors, "map") == gallery.MAP
    sync_api.expect(editors.locator(".tg-map")).to_have_count(6)
    sync_api.expect(editors.locator("tg-mapper")).to_contain_text("4 of 6 mapped")


def test_suggestions_are_taken_one_by_one_or_together(editors: sync_api.Page) -> None:
    editors.get_by_role("button", name="Take shipping.address.city for city").click()
    assert held(editors, "map") == {**gallery.MAP, "city": "shipping.address.city"}
    editors.get_by_role("button", name="Clear city").click()
    editors.get_by_role("button", name="Take all 2 suggestions").click()
    assert held(editors, "map") == {**gallery.MAP, "city": "address.city", "seats": "metadata.seats"}
    sync_api.expect(editors.locator("tg-mapper")).to_contain_text("6 of 6 mapped")


def test_a_row_takes_a_field_a_constant_or_sql_and_a_type(editors: sync_api.Page) -> None:
    editors.get_by_label("seats: comes from").select_option("value")
    editors.get_by_label("seats: constant").fill("12")
    assert held(editors, "map")["seats"] == {"value": 12}
    editors.get_by_label("seats: Convert to").select_option(label="integer")
    assert held(editors, "map")["seats"] == {"value": 12, "type": "integer"}
    editors.get_by_label("email: comes from").select_option("from")
    editors.get_by_label("email: field").fill("metadata.mail")
    assert held(editors, "map")["email"] == {"from": "metadata.mail"}
    editors.get_by_label("signup: Convert to").select_option(label="as it is")
    assert held(editors, "map")["signup"] == {"from": "metadata.signup"}
    editors.get_by_role("button", name="Clear region").click()
    assert "region" not in held(editors, "map")


def test_a_constant_of_text_stays_text(editors: sync_api.Page) -> None:
    editors.get_by_label("city: comes from").select_option("value")
    editors.get_by_label("city: constant").fill("12")
    assert held(editors, "map")["city"] == {"value": "12"}


def test_a_row_that_is_being_typed_stays_when_the_targets_come(editors: sync_api.Page) -> None:
    part = editors.evaluate("""() => {
      const old = document.querySelector("tg-mapper");
      const made = Object.assign(document.createElement("div"), { id: "part" });
      made.setAttribute("data-fresh", "");
      made.innerHTML = '<tg-mapper free targets="[]"><textarea name="map"></textarea></tg-mapper>';
      const drawn = made.outerHTML;
      old.replaceWith(made);
      document.querySelector("[name=schedule]").dataset.again = "/again";
      return drawn;
    }""")
    held: list[sync_api.Route] = []

    def hold(route: sync_api.Route) -> None:
        held.append(route)

    editors.route("**/again", hold)
    with editors.expect_request("**/again"):
        editors.get_by_label("Schedule").select_option("manual")
    editors.locator("#part").get_by_role("button", name="Field", exact=True).click()
    editors.keyboard.type("na")
    held[0].fulfill(body=part.replace("[]", "[&quot;name&quot;]"), content_type="text/html")
    sync_api.expect(editors.locator("tg-mapper[targets*=name]")).to_be_visible()
    sync_api.expect(editors.get_by_label("Target")).to_be_focused()
    editors.keyboard.type("me")
    editors.get_by_label("Target").press("Tab")
    editors.get_by_label("name: field").fill("email")
    assert json.loads(editors.locator("textarea[name=map]").input_value()) == {"name": "email"}


# The editor


def test_code_is_edited_and_is_part_of_the_form(editors: sync_api.Page) -> None:
    editor = editors.get_by_role("textbox", name="Python")
    sync_api.expect(editor).to_contain_text("def transform")
    editor.click()
    editors.keyboard.press("Control+End")
    editors.keyboard.type("# more")
    assert editors.locator("textarea[name=code]").input_value() == gallery.PYTHON + "# more"
    keyword = editor.get_by_text("def", exact=True)
    plain = editor.get_by_text("transform", exact=True)
    colour = "(each) => getComputedStyle(each).color"
    assert keyword.evaluate(colour) != plain.evaluate(colour)


def test_the_keyboard_leaves_the_editor(editors: sync_api.Page) -> None:
    editors.get_by_role("textbox", name="Python").focus()
    editors.keyboard.press("Escape")
    editors.keyboard.press("Tab")
    sync_api.expect(editors.get_by_role("button", name="Run the test")).to_be_focused()


def test_a_test_shows_the_result_and_what_was_printed(editors: sync_api.Page, shown: gallery.Gallery) -> None:
    editors.get_by_role("textbox", name="Python").click()
    editors.keyboard.press("Control+Enter")
    answer = editors.locator(".tg-code-answer")
    sync_api.expect(answer).to_contain_text('"id": "cus_1"')
    sync_api.expect(answer).to_contain_text("so far")
    sync_api.expect(answer).to_contain_text("2.0 ms")
    assert shown.tested == [
        {
            "language": "python",
            "code": gallery.PYTHON,
            "sample": '{"id": "cus_1", "metadata": {}}',
            "token": gallery.ANN.csrf,
        }
    ]


def test_an_error_is_marked_at_its_line(editors: sync_api.Page) -> None:
    editors.get_by_role("textbox", name="Python").click()
    editors.keyboard.press("Control+End")
    editors.keyboard.type("1 / 0")
    editors.get_by_role("button", name="Run the test").click()
    sync_api.expect(editors.locator(".tg-code-answer")).to_contain_text("Line 3: division by zero")
    marked = editors.get_by_role("textbox", name="Python").locator(".cm-lintRange-error")
    sync_api.expect(marked.first).to_be_visible()
    browsing.snap(editors, "gallery-test")


def test_a_test_without_a_server_says_so(editors: sync_api.Page) -> None:
    editors.route("**/tested", lambda route: route.abort())
    editors.get_by_role("button", name="Run the test").click()
    sync_api.expect(editors.locator(".tg-code-answer")).to_contain_text("The server did not answer")
    sync_api.expect(editors.get_by_role("button", name="Run the test")).to_be_enabled()


# Drafts


def test_what_was_typed_is_there_again_after_the_page_was_left(
    editors: sync_api.Page, shown: gallery.Gallery
) -> None:
    editors.get_by_label("Name").fill("eu_customers")
    editors.get_by_label("API key").fill("sk_live_never_kept")
    editors.get_by_label("Incremental").uncheck()
    editors.get_by_role("button", name="Take address.city for city").click()
    editors.get_by_role("textbox", name="Python").click()
    editors.keyboard.press("Control+End")
    editors.keyboard.type("# more")
    editors.wait_for_function(
        "() => (localStorage['tidegate.draft.ann@example.com:gallery'] ?? '').includes('# more')"
    )
    assert "never_kept" not in editors.evaluate("JSON.stringify(localStorage)")

    editors.goto(shown.url + "/runs")
    editors.goto(shown.url + "/editors")
    browsing.ready(editors)
    sync_api.expect(editors.get_by_label("Name")).to_have_value("eu_customers")
    sync_api.expect(editors.get_by_label("API key")).to_have_value("")
    sync_api.expect(editors.get_by_label("Incremental")).not_to_be_checked()
    sync_api.expect(editors.get_by_role("textbox", name="Python")).to_contain_text("# more")
    assert held(editors, "map")["city"] == "address.city"
    sync_api.expect(editors.get_by_label("city: field")).to_have_value("address.city")

    editors.get_by_role("button", name="Discard").click()
    sync_api.expect(editors.get_by_label("Name")).to_have_value("")
    assert editors.evaluate("localStorage['tidegate.draft.ann@example.com:gallery']") is None


def test_a_form_that_was_saved_leaves_no_draft(editors: sync_api.Page, shown: gallery.Gallery) -> None:
    editors.get_by_label("Name").fill("eu_customers")
    editors.get_by_role("button", name="Save").click()
    sync_api.expect(editors.get_by_text("Done: saved.")).to_be_visible()
    [sent] = shown.posted
    assert (sent["name"], sent["enabled"], json.loads(sent["filter"])) == (
        "eu_customers",
        "on",
        gallery.FILTER,
    )
    editors.goto(shown.url + "/editors")
    browsing.ready(editors)
    sync_api.expect(editors.get_by_label("Name")).to_have_value("")
    sync_api.expect(editors.get_by_role("button", name="Discard")).to_have_count(0)


def test_what_is_wrong_is_said_in_the_form_and_nothing_is_lost(editors: sync_api.Page) -> None:
    editors.get_by_label("Name").fill("taken")
    editors.get_by_label("Description").fill("Only Europe.")
    editors.get_by_role("button", name="Save").click()
    sync_api.expect(editors.locator("#f-name-error")).to_have_text("There is a pipeline of this name.")
    sync_api.expect(editors.get_by_label("Name")).to_be_focused()
    sync_api.expect(editors.get_by_label("Description")).to_have_value("Only Europe.")
    editors.get_by_label("Name").fill("free")
    editors.get_by_role("button", name="Save").click()
    sync_api.expect(editors.get_by_text("Done: saved.")).to_be_visible()


def test_half_a_minute_without_network_loses_nothing(page: sync_api.Page, shown: gallery.Gallery) -> None:
    page.clock.install()
    page.goto(shown.url + "/editors")
    browsing.ready(page)
    page.context.set_offline(True)
    page.get_by_label("Name").fill("eu_customers")
    page.get_by_role("button", name="Save").click()
    sync_api.expect(page.get_by_role("status").first).to_contain_text("The server does not answer.")
    for _ in range(6):
        page.clock.run_for(5_000)
        page.wait_for_timeout(20)
    assert shown.posted == []
    assert "eu_customers" in page.evaluate("localStorage['tidegate.draft.ann@example.com:gallery']")
    page.context.set_offline(False)
    page.clock.run_for(10_000)
    sync_api.expect(page.get_by_text("Done: saved.")).to_be_visible()
    assert [each["name"] for each in shown.posted] == ["eu_customers"]


def test_a_server_that_restarts_loses_nothing(page: sync_api.Page) -> None:
    found = gallery.Gallery()
    with gallery.serving(found):
        page.goto(found.url + "/editors")
        browsing.ready(page)
        page.get_by_label("Name").fill("eu_customers")
    port = urllib.parse.urlsplit(found.url).port or 0
    page.get_by_role("button", name="Save").click()
    sync_api.expect(page.get_by_role("status").first).to_contain_text("is sent as soon as it does")
    with gallery.serving(found, port):
        sync_api.expect(page.get_by_text("Done: saved.")).to_be_visible()
        assert [each["name"] for each in found.posted] == ["eu_customers"]


def test_what_is_saved_and_has_changed_since_is_said(editors: sync_api.Page, shown: gallery.Gallery) -> None:
    editors.get_by_label("Name").fill("eu_customers")
    editors.wait_for_function(
        "() => (localStorage['tidegate.draft.ann@example.com:gallery'] ?? '').includes('eu_customers')"
    )
    editors.route(
        "**/editors",
        lambda route: route.fulfill(
            response=(found := route.fetch()), body=found.text().replace("trim(email)", "email")
        ),
    )
    editors.goto(shown.url + "/editors")
    browsing.ready(editors)
    sync_api.expect(editors.locator(".draft-note")).to_contain_text("what is saved has changed since")
    sync_api.expect(editors.get_by_label("Name")).to_have_value("eu_customers")
    assert held(editors, "map")["email"]["sql"] == "lower(email)", "what others have changed stays"


def test_drafts_belong_to_who_is_signed_in_until_signing_out(
    editors: sync_api.Page, shown: gallery.Gallery
) -> None:
    kept = "() => Object.keys(localStorage).filter((key) => key.startsWith('tidegate.draft.')).sort()"
    editors.get_by_label("Name").fill("eu_customers")
    editors.wait_for_function(f"() => ({kept})().length === 1")
    editors.evaluate("""() => {
      const [own] = Object.keys(localStorage).filter((key) => key.startsWith("tidegate.draft."));
      localStorage[own.replace("ann@", "bob@")] = localStorage[own].replace("eu_customers", "of_bob");
    }""")
    editors.goto(shown.url + "/editors")
    browsing.ready(editors)
    sync_api.expect(editors.get_by_label("Name")).to_have_value("eu_customers")
    with editors.expect_navigation():
        editors.evaluate("""() => {
          const form = Object.assign(document.createElement("form"), { method: "post", action: "/sign-out" });
          document.body.append(form);
          form.requestSubmit();
        }""")
    assert editors.evaluate(kept) == ["tidegate.draft.bob@example.com:gallery"]


def test_a_form_of_another_session_says_so_and_is_kept(
    editors: sync_api.Page, shown: gallery.Gallery
) -> None:
    editors.get_by_label("Name").fill("eu_customers")
    editors.evaluate("document.querySelector('[name=_csrf]').value = 'forged'")
    editors.get_by_role("button", name="Save").click()
    sync_api.expect(editors.get_by_text("This form is not of your session")).to_be_visible()
    assert shown.posted == []
    assert "eu_customers" in editors.evaluate("localStorage['tidegate.draft.ann@example.com:gallery']")


def test_text_is_typed_over_within_the_policy(editors: sync_api.Page) -> None:
    editors.get_by_role("textbox", name="Python").click()
    editors.keyboard.press("ControlOrMeta+a")
    editors.keyboard.type("x = 1")
    assert editors.locator("textarea[name=code]").input_value() == "x = 1"
    editors.keyboard.press("Shift+ArrowLeft")
    editors.keyboard.type("(")
    assert editors.locator("textarea[name=code]").input_value() == "x = (1)", (
        "brackets go around what is chosen"
    )
