"""The overview, and what every page says while the configuration that stands there does not count."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import seen
from signing import Signed

from tidegate.engine import place as places
from tidegate.engine import refusals
from tidegate.store import holds, notices, plans, runs
from tidegate.views import configuration, pushes
from tidegate.web import standings

PAGES = ("/", "/accounts", "/streams/everything", "/runs", "/issues", "/settings", "/accounts/-/add")
PUSH = (
    "models: {people: {file: people.csv, key: id}}\n"
    "pushes: {people: {model: people, to: acme, object: customer, match: {email: email}, fields: {name: name}}}\n"
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    with seen.place(seen.written(tmp_path)) as found:
        seen.ticking(found)
        yield found


class TestInvalid:
    def test_every_page_says_what_is_wrong_and_what_goes_on(
        self, place: places.Place, tmp_path: Path, signed: Signed, tokened: Signed
    ) -> None:
        ann, program = signed(place, "editor"), tokened(place, "read")
        file = tmp_path / "tidegate.yaml"
        good = file.read_text()
        file.write_text(good.replace("every 15m", "now and then"))
        place.look()
        for path in PAGES:
            text = ann.get(path).text
            assert "tidegate.yaml:7:39: pulls.everything.schedule: write continuous" in text, path
            assert configuration.GOES_ON in text, path
            assert seen.KEY not in text, path
        told = program.get("/api/v1/overview").json
        assert (told["health"], told["sentence"]) == (
            "warn",
            "A newer configuration does not count. pull:everything has not run yet; nothing needs you.",
        )
        assert "tidegate.yaml:7:39" in told["problem"]
        assert configuration.GOES_ON not in ann.get("/", HX_Request="true").text, "htmx takes parts of a page"
        file.write_text(good)
        place.look()
        assert configuration.GOES_ON not in ann.get("/").text
        assert program.get("/api/v1/overview").json["problem"] == ""

    def test_who_is_not_signed_in_reads_nothing_of_it(
        self, place: places.Place, tmp_path: Path, stranger: Signed
    ) -> None:
        (tmp_path / "tidegate.yaml").write_text("pulls: [")
        place.look()
        assert place.problem
        assert "tidegate.yaml" not in stranger(place).get("/sign-in").text

    def test_a_secret_in_the_line_that_is_wrong_is_told_nowhere(
        self, place: places.Place, tmp_path: Path, signed: Signed
    ) -> None:
        file = tmp_path / "tidegate.yaml"
        file.write_text(file.read_text().replace("{api_key:", "{api_key: [").replace("https", "ftp"))
        place.look()
        html = signed(place, "viewer").get("/").text
        assert configuration.GOES_ON in html
        assert seen.KEY not in html


def test_what_needs_a_person_is_as_many_as_the_page_that_it_leads_to(
    place: places.Place, signed: Signed
) -> None:
    opening = holds.Opening("1", "doubled", "Twice.")
    place.store.transact(lambda session: holds.opened(session, "people", [opening]))
    found = [
        notices.Matter("push:people/held", "held", "push:people", "push:people: 1 row is held."),
        notices.Matter(
            "pull:everything/charges/held",
            "held",
            "pull:everything",
            "pull:everything, acct_1: 9 rows are held.",
        ),
        notices.Matter(
            "endpoint/acme", "endpoint", "", "acme: it is off. Run `tidegate webhooks enable acme`."
        ),
    ]
    for each in found:
        notices.settle(place.store, each.flow, [each])
    ann = signed(place, "editor")
    buttons = re.findall(r'<a class="button" href="([^"]+)"><strong class="num">(\d+)', ann.get("/").text)
    assert [(html.unescape(url), count) for url, count in buttons] == [
        ("/issues?kind=doubled&state=held", "1"),
        ("/settings/alerts?kind=endpoint", "1"),
        ("/settings/alerts?kind=held&search=pull%3A", "1"),
    ]
    for url, count in buttons:
        assert ann.get(html.unescape(url)).text.count("<tr") == 1 + int(count), url


def test_the_sentence_names_what_the_buttons_beside_it_count(
    tmp_path: Path, signed: Signed, tokened: Signed
) -> None:
    with seen.place(seen.written(tmp_path, more=PUSH)) as place:
        found = [holds.Opening(key, "doubled", "Twice.") for key in ("1", "2")]
        place.store.transact(lambda session: holds.opened(session, "people", found))
        plan = plans.begin(place.store, plans.new_id(), "people", "push", {}, "ann@example.com")
        assert plans.keep(place.store, plan.id, {"counts": {"created": 3}}, "digest")
        says = "0 of 2 flows fresh; pull:everything and push:people have not run yet; 2 rows and 1 plan need you."
        page = signed(place, "viewer").get("/").text
        assert says in page
        assert re.findall(r'<a class="button" href="([^"]+)"><strong class="num">(\d+)', page) == [
            ("/issues?kind=doubled&amp;state=held", "2"),
            ("/issues?kind=approval", "1"),
        ]
        told = tokened(place, "read").get("/api/v1/overview").json
        assert (told["health"], told["sentence"]) == ("warn", says)


def test_rows_of_flows_that_are_gone_lead_nowhere(place: places.Place, signed: Signed) -> None:
    opening = holds.Opening("1", "doubled", "Twice.")
    place.store.transact(lambda session: holds.opened(session, "people", [opening]))
    page = signed(place, "operator").get("/issues").text
    assert "push:people" in page
    assert 'href="/syncs/people"' not in page


@pytest.mark.parametrize(
    ("schedule", "said"),
    [("manual", "when somebody starts it"), ("continuous", "it runs all the time"), ("every 5m", None)],
)
def test_what_a_flow_waits_for_that_no_moment_is_known_of(schedule: str, said: str | None) -> None:
    assert standings.upcoming(None, schedule) == said


def test_rows_that_were_undone_are_told_as_such_alone(place: places.Place) -> None:
    run = runs.get(place.store, seen.ran(place, "pull:everything", quarantined=100))
    assert pushes.Figures(run, (), {"undone": 100}).unusable == 0
    assert pushes.Figures(run, (), {"undone": 60}).unusable == 40


def test_flows_whose_key_stripe_refuses_rest_and_it_is_said_where_that_is_mended(
    place: places.Place, signed: Signed, tokened: Signed
) -> None:
    run = runs.get(
        place.store, seen.ran(place, "pull:everything", state="failed", error="Stripe rejected it.")
    )
    said = "Stripe rejected the key rk_test_…6789 on GET /v1/account: it has expired; look it up."
    refusals.refused(place.file, place.store, run, said)
    ann = signed(place, "editor")
    assert "rests until Stripe takes the key" in ann.get("/").text
    page = ann.get("/issues").text
    assert "Key refused" in page
    assert '<a class="row-link" href="/accounts/acme/edit">acme<' in page
    assert re.search(r'href="/accounts/acme/edit"[^>]*>Replace the key<', page)
    assert "Replace the key" not in signed(place, "operator").get("/issues").text
    assert "Its pulls and pushes rest" in ann.get("/accounts/acme").text
    flow = tokened(place, "read").get("/api/v1/flows/pull:everything").json
    assert (flow["next_at"], "it has expired" in flow["resting"]) == (None, True)
    [health] = tokened(place, "read").get("/api/v1/overview").json["flows"]
    assert health["resting"] == flow["resting"]
