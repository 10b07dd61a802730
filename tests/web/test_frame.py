"""What stands around a page, how parts of it are answered, and how templates are rendered."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

import jinja2
import pytest
import requested
from hypothesis import given
from hypothesis import strategies as st
from starlette import responses

from tidegate import config
from tidegate.server import asking
from tidegate.web import assets, frame

ANN = asking.Asker("ann@example.com", "admin", "session", "token-of-ann")
HTMX = {"HX-Request": "true"}
RUNS = """{% extends "base.html" %}{% block title %}Runs of <b>today</b>{% endblock %}
{% block actions %}{{ ui.act("Start", "/start", "main") }}{% endblock %}
{% block content %}<p>{{ word }}</p>{% endblock %}"""


def shown(
    url: str = "/runs",
    headers: Mapping[str, str] | None = None,
    asker: asking.Asker | None = ANN,
    word: str = "hello",
) -> str:
    request = requested.request(url, headers)
    return requested.text(frame.page(request, asker, frame.environment().from_string(RUNS), word=word))


def test_a_page_has_navigation_badge_token_and_its_parts() -> None:
    html = shown("/runs/018f?tab=log")
    assert "<title>Runs of today · Tidegate</title>" in html
    assert re.findall(r'<a href="([^"]+)" aria-current="page"', html) == ["/runs"]
    assert [url for url, _, _ in frame.NAVIGATION] == re.findall(r'<li><a href="([^"]+)"', html)
    assert html.count('class="mode test"') == 2
    assert '<meta name="csrf" content="token-of-ann">' in html
    assert '<input type="hidden" name="_csrf" value="token-of-ann">' in html
    assert '<a class="skip" href="#page">' in html
    assert "<p>hello</p>" in html


def test_who_is_not_signed_in_sees_no_navigation_and_no_token() -> None:
    html = shown("/sign-in", asker=None)
    assert "<nav" not in html
    assert "csrf" not in html.replace('name="_csrf" value=""', "")
    assert '<body class="bare">' in html


def test_a_sign_in_page_may_have_a_token_of_its_own() -> None:
    answer = frame.page(
        requested.request(), None, frame.environment().from_string(RUNS), word="", csrf_token="of-the-form"
    )
    assert 'name="_csrf" value="of-the-form"' in requested.text(answer)


def test_the_token_of_one_page_is_not_on_the_next() -> None:
    shown()
    assert "token-of-ann" not in shown(asker=None)


def test_htmx_is_answered_the_content_alone_and_the_whole_when_it_goes_back() -> None:
    part = shown(headers=HTMX)
    assert "<title>Runs of today · Tidegate</title>" in part
    assert "<p>hello</p>" in part
    assert "<nav" not in part
    assert "<html" not in part
    assert "<nav" in shown(headers={**HTMX, "HX-History-Restore-Request": "true"})


def test_pages_are_not_kept_by_caches_and_differ_for_htmx() -> None:
    answer = frame.page(requested.request(), ANN, frame.environment().from_string(RUNS), word="")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["vary"] == "HX-Request, Cookie"


@pytest.mark.parametrize(
    ("cookie", "wanted"),
    [
        ("dark", '<html lang="en" data-theme="dark">'),
        ("light", 'data-theme="light"'),
        ('"><script>', '<html lang="en">'),
    ],
)
def test_the_chosen_colours_are_in_the_page_that_the_server_writes(cookie: str, wanted: str) -> None:
    assert wanted in shown(headers={"Cookie": f"tidegate_theme={cookie}"})


def test_what_a_value_says_is_text() -> None:
    assert "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>" in shown(word="<script>alert(1)</script>")


def test_a_name_that_was_not_given_is_an_error_and_no_empty_text() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'word' is undefined"):
        frame.page(requested.request(), ANN, frame.environment().from_string(RUNS))


def test_after_a_change_the_next_page_says_so_once() -> None:
    answer = frame.done(requested.request("/runs/x/cancel"), "/runs/x", "Cancelled; 3,000 rows stay.")
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/x")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    sent = requested.request("/runs/x", {"Cookie": cookie.partition(";")[0]})
    page = frame.page(sent, ANN, frame.environment().from_string(RUNS), word="")
    assert "Cancelled; 3,000 rows stay." in requested.text(page)
    assert 'tidegate_said=""; expires=' in page.headers["set-cookie"]


def test_htmx_is_told_where_to_go_on() -> None:
    answer = frame.done(requested.request("/runs/x/cancel", HTMX), "/runs/x")
    assert (answer.status_code, answer.headers["hx-redirect"]) == (200, "/runs/x")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("url", ["https://evil.example", "//evil.example", "/\\evil.example", "runs", ""])
def test_nobody_is_sent_to_another_site(url: str) -> None:
    with pytest.raises(ValueError, match="no address of this site"):
        frame.done(requested.request(), url)


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
def test_an_address_is_spelled_as_headers_have_it(headers: dict[str, str]) -> None:
    answer = frame.done(requested.request(headers=headers), "/x/€?next=%2Fy&a=1\r\nSet-Cookie: b=1")
    where = answer.headers.get("location") or answer.headers["hx-redirect"]
    assert where == "/x/%E2%82%AC?next=%2Fy&a=1%0D%0ASet-Cookie:%20b=1"


@given(st.text(max_size=3000), st.sampled_from(["ok", "warn", "bad"]))
def test_any_sentence_comes_through_the_cookie_as_text(said: str, kind: frame.Kind) -> None:
    cookie = frame.done(requested.request(), "/", said, kind).headers.get("set-cookie", "").partition(";")[0]
    found = frame.flash(requested.request(headers={"Cookie": cookie}))
    assert len(cookie) < 16_000
    assert found == ((kind, said[: frame.LONGEST]) if said else None)


@pytest.mark.parametrize("value", ["x", "%5B1", "[1]", '"a"', "null", '["ok"]', "%FF", "[" * 20_000])
def test_a_cookie_that_somebody_else_made_is_not_said(value: str) -> None:
    assert (
        frame.flash(requested.request(headers={"Cookie": f"tidegate_said={urllib.parse.quote(value)}"}))
        is None
    )


def test_an_unknown_kind_is_said_as_any_other() -> None:
    value = urllib.parse.quote(json.dumps(["<b>", "x"]))
    assert frame.flash(requested.request(headers={"Cookie": f"tidegate_said={value}"})) == ("ok", "x")


def test_an_error_is_a_page_with_a_sentence_and_a_way_on() -> None:
    answer = frame.failed(
        requested.request("/runs/x"), ANN, 404, "There is no run x.", next_step="Look at all runs."
    )
    html = requested.text(answer)
    assert answer.status_code == 404
    assert "<h1>There is no such page</h1>" in html
    assert "<p>There is no run x.</p>" in html
    assert "<p>Look at all runs.</p>" in html
    assert 'href="/"' in html


@pytest.mark.parametrize(
    ("referer", "back"),
    [
        ("http://127.0.0.1:8484/syncs/eu/plan?kind=update", "/syncs/eu/plan?kind=update"),
        ("https://elsewhere.example/syncs/eu/plan", ""),
        ("http://127.0.0.1:8484/", ""),
        ("http://[", ""),
        ("", ""),
    ],
)
def test_an_error_after_a_form_leads_back_to_its_page(referer: str, back: str) -> None:
    sent = requested.request(
        "/syncs/eu/plan/approve", {"Host": "127.0.0.1:8484", "Referer": referer}, method="POST"
    )
    html = requested.text(frame.failed(sent, ANN, 409, "It was approved already."))
    assert (f'href="{back}">Back to the page' in html) is bool(back)
    assert ("Back to the page" in html) is bool(back)


def test_an_error_that_htmx_meets_is_said_above_the_page_that_stands() -> None:
    answer = frame.failed(requested.request("/runs/x", HTMX), ANN, 409, "Somebody changed it meanwhile.")
    assert answer.status_code == 409
    assert answer.headers["hx-retarget"] == "#said"
    assert 'class="said bad"' in requested.text(answer)
    assert "<h1>" not in requested.text(answer)


@pytest.mark.parametrize("status", [*frame.PROBLEMS, 418])
def test_every_status_has_a_title(status: int) -> None:
    html = requested.text(frame.failed(requested.request(), None, status, "So it is."))
    assert f"<h1>{frame.PROBLEMS.get(status, 'Something went wrong')}</h1>" in html


def test_a_package_without_its_bundle_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "manifest", lambda _=None: {})
    answer = frame.page(requested.request(), ANN, frame.environment().from_string(RUNS), word="")
    assert answer.status_code == 503
    assert requested.text(answer).startswith("The pages are not part of this installation")


@pytest.mark.parametrize(
    ("stripe", "badge"),
    [
        ({}, ""),
        ({"a": "sk_test_0123456789abcdef", "b": "rk_test_0123456789abcdef"}, "TEST"),
        ({"a": "rk_live_0123456789abcdef"}, "LIVE"),
        ({"a": "sk_test_0123456789abcdef", "b": "sk_live_0123456789abcdef"}, "TEST + LIVE"),
    ],
)
def test_the_badge_says_which_stripe_is_reached(stripe: dict[str, str], badge: str) -> None:
    file = config.Config.model_validate({"stripe": {name: {"api_key": key} for name, key in stripe.items()}})
    assert frame.modes(file) == badge


def test_who_signed_in_with_stripe_counts_too() -> None:
    oauth = {"client_id": "ca_123", "client_secret": "sk_live_0123456789abcdef"}
    assert frame.modes(config.Config.model_validate({"stripe": {"a": {"oauth": oauth}}})) == "LIVE"


@pytest.mark.parametrize(
    ("path", "section"),
    [
        ("/", "/"),
        ("/runs", "/runs"),
        ("/runs/1/log", "/runs"),
        ("/runsome", ""),
        ("/settings/members", "/settings"),
        ("/account", ""),
    ],
)
def test_a_page_belongs_to_an_entry_of_the_navigation(path: str, section: str) -> None:
    assert frame.section(path) == section


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"), (0, "0 ms"), (0.0123, "12 ms"), (0.9997, "1.0 s"), (1, "1.0 s"), (9.94, "9.9 s"),
        (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min"), (200, "3 min 20 s"), (3600, "1 h"),
        (7500, "2 h 5 min"), (86_400, "1 d"), (536_400, "6 d 5 h"), (-5, "-5.0 s"),
    ],
)  # fmt: skip
def test_durations_have_two_units_at_most(seconds: float | None, text: str) -> None:
    assert frame.duration(seconds) == text


@given(st.floats(0, 1e9))
def test_a_duration_is_never_far_from_the_truth(seconds: float) -> None:
    units = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
    words = frame.duration(seconds).split()
    told = sum(float(count) * units[unit] for count, unit in zip(words[::2], words[1::2], strict=True))
    assert abs(told - seconds) <= max(units[words[-1]], 0.51)


def test_numbers_and_shares() -> None:
    assert [frame.number(each) for each in (None, 0, 1_234_567, 0.5)] == ["–", "0", "1,234,567", "0.50"]
    assert frame.percent(3, 8) == "37.5%"
    assert frame.percent(0, 8, least=5) == "0%"
    assert frame.percent(1, 10_000, least=0.5) == "0.5%"
    assert frame.percent(9, 8) == "100%"
    assert frame.percent(1, 0) == "0%"


def test_moments_are_rfc_3339_and_readable() -> None:
    assert frame.iso(1_767_225_600.25) == "2026-01-01T00:00:00.250Z"
    assert frame.utc(1_767_225_600.25) == "2026-01-01 00:00 UTC"


def test_macros_are_called_from_python() -> None:
    assert frame.parts().chip("failed") == '<span class="chip bad" data-state="failed">Failed</span>'
    assert "&lt;b&gt;" in frame.parts().chip("ok", "<b>")


def test_a_fragment_is_what_an_event_of_a_live_region_carries() -> None:
    html = frame.fragment(requested.request(), ANN, "part_said.html", kind="ok", text="3 < 4")
    assert "<p>3 &lt; 4</p>" in html


TEMPLATES = sorted(frame.TEMPLATES.rglob("*.html"))


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.name)
def test_templates_have_nothing_that_the_policy_forbids(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    text = re.sub(r"\{#.*?#\}|\{% set .*?%\}", "", text, flags=re.DOTALL)
    assert re.findall(r"\sstyle\s*=", text) == []
    assert re.findall(r"<style|javascript:|\shx-on|\sjs:", text) == []
    assert re.findall(r"\son[a-z]+\s*=", text) == []
    assert [tag for tag in re.findall(r"<script[^>]*>", text) if "asset(" not in tag] == []
    assert re.findall(r'(?:src|href)="(?:https?:)?//(?!dashboard\.stripe\.com|docs\.stripe\.com)', text) == []


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.name)
def test_templates_escape_what_they_are_given(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert re.findall(r"autoescape\s+false", text) == []
    assert [each for each in re.findall(r"[^{}]*\|\s*safe", text) if file.name != "icons.html"] == []


def test_every_way_of_the_navigation_has_its_key() -> None:
    assert set(frame.KEYS) == {url for url, _, _ in frame.NAVIGATION}
    assert len(set(frame.KEYS.values())) == len(frame.KEYS)


def test_an_answer_may_have_headers_of_its_own() -> None:
    template = frame.environment().from_string("{{ 1 + 1 }}")
    answer = frame.partial(requested.request(), ANN, template, headers={"HX-Trigger": "saved"}, status=201)
    assert isinstance(answer, responses.Response)
    assert (answer.status_code, answer.headers["hx-trigger"], requested.text(answer)) == (201, "saved", "2")


def test_every_template_compiles_before_anybody_asks() -> None:
    frame.prepare()
    made = frame.environment()
    assert made.cache is not None
    known = {name for _, name in made.cache.keys()}  # noqa: SIM118  it is no dict
    assert {"base.html", "parts.html", "overview.html", "issues.html"} <= known
    assert known >= set(made.list_templates())
