"""What a page says where something is wrong, over HTTP."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
import running
import signing

from tidegate import errors
from tidegate.engine import place as places
from tidegate.views import runs as views

Signed = signing.Signed


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    with running.place(tmp_path) as found:
        yield found


def title(answer: signing.Answer) -> str:
    found = re.search(r"<h1>(.*?)</h1>", answer.text)
    assert found is not None
    return found[1]


def test_too_little_of_a_role_is_named_so(place: places.Place, signed: Signed) -> None:
    run = running.begun(place.store)
    answer = signed(place, "viewer").post(f"/runs/{run.id}/cancel")
    assert (answer.status, title(answer)) == (403, "Not for your role")


def test_a_form_of_an_ended_session_and_one_of_another_site_are_not_a_matter_of_roles(
    place: places.Place, signed: Signed
) -> None:
    run, admin = running.begun(place.store), signed(place, "admin")
    admin.csrf = "0" * 64
    late = admin.post(f"/runs/{run.id}/cancel")
    assert (late.status, title(late)) == (403, "That was not taken")
    foreign = signed(place, "admin").post(f"/runs/{run.id}/cancel", Origin="https://elsewhere.example")
    assert (foreign.status, title(foreign)) == (403, "That was not taken")


def onward(answer: signing.Answer) -> str:
    """Where one gets after signing in."""
    where = answer.headers.get("location") or answer.headers["hx-redirect"]
    return urllib.parse.parse_qs(urllib.parse.urlsplit(where).query).get("next", ["/"])[0]


def test_whoever_signs_in_again_is_back_where_it_was(place: places.Place, signed: Signed) -> None:
    editor = signed(place, "editor")
    editor.jar.clear()
    assert onward(editor.get("/streams?state=failed&search=char")) == "/streams?state=failed&search=char"
    form = f"{editor.url}/streams/everything/-/settings?x=1"
    kept = editor.post("/streams/everything/-/settings", {"to": "one"}, Referer=form)
    assert (kept.status, onward(kept)) == (303, "/streams/everything/-/settings?x=1")
    draft = editor.post("/streams/everything/-/settings", {"to": "one"}, Referer=form, HX_Request="true")
    assert (draft.status, onward(draft)) == (401, "/streams/everything/-/settings?x=1")
    elsewhere = editor.post("/runs", {"flow": "pull:everything"}, Referer="https://elsewhere.example/x")
    assert onward(elsewhere) == "/"
    htmx = editor.get(
        "/runs?after=x", HX_Request="true", HX_Current_URL=f"{editor.url}/runs?state=failed&kind=pull"
    )
    assert (htmx.status, onward(htmx)) == (401, "/runs?state=failed&kind=pull")


def test_whoever_is_signed_in_stays_so_at_an_address_that_there_is_not(
    place: places.Place, signed: Signed
) -> None:
    viewer = signed(place, "viewer")
    known = viewer.get("/no/such/page")
    assert (known.status, title(known)) == (404, "There is no such page")
    assert "Go to the overview" in known.text
    assert 'href="/runs"' in known.text
    viewer.jar.clear()
    stranger = viewer.get("/no/such/page")
    assert (stranger.status, "Sign in" in stranger.text, 'href="/runs"' in stranger.text) == (
        404,
        True,
        False,
    )


def test_only_who_was_slower_is_told_so(
    place: places.Place, signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = running.begun(place.store)

    def slower(*_: object) -> None:
        raise errors.StoreConflict("Somebody changed it meanwhile.")

    monkeypatch.setattr(views, "cancel", slower)
    answer = signed(place, "operator").post(f"/runs/{run.id}/cancel")
    assert (answer.status, title(answer)) == (409, "Somebody was faster")


def test_a_place_that_is_in_no_list_is_said_in_the_words_of_pages(
    place: places.Place, signed: Signed
) -> None:
    answer = signed(place, "viewer").get("/runs?after=x")
    assert answer.status == 422
    assert "begin with its first page" in answer.text
    assert "after" not in re.sub(r"<[^>]*>", " ", answer.text.partition("<main")[2].partition("</main")[0])
