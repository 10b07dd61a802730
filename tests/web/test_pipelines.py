"""The pages of pipelines without a browser: the table, the editor and its test mode, quarantine, versions."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import profiled
import pytest
import seen
from signing import Client, Signed

from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.store import definitions, failed

PYTHON = "def transform(customer):\n    return {'customer_id': customer['id']}\n"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    with profiled.place(tmp_path) as found:
        profiled.ran(found)
        yield found


@pytest.fixture
def editor(place: places.Place, signed: Signed) -> Client:
    return signed(place, "editor", "ann@example.com")


def form(**more: Any) -> dict[str, Any]:
    """What the editor sends of a new pipeline."""
    usual = {
        "_name": "new",
        "from": "acme",
        "to": "local",
        "stream": "customers",
        "schedule": "every 1h",
        "guard": "20%",
        "enabled": "on",
        "incremental": "on",
    }
    return {**usual, **more}


def said(client: Client, path: str) -> str:
    """The flash line of the next page."""
    found = re.search(r'id="said".*?<p>(.*?)</p>', client.get(path).text, re.DOTALL)
    return html.unescape(found[1]) if found else ""


PAGES = (
    "/pipelines", "/pipelines/filed", "/pipelines/filed/failures", "/pipelines/filed/versions",
)  # fmt: skip
FORMS = ("/pipelines/-/add", "/pipelines/filed/edit", "/pipelines/filed/failures/acct_1/cus_1")


def test_a_viewer_sees_and_changes_nothing(place: places.Place, signed: Signed) -> None:
    failed.keep(place.store, [profiled.failure("cus_1")])
    viewer = signed(place, "viewer")
    for path in PAGES:
        answer = viewer.get(path)
        assert answer.status == 200, path
        assert 'style="' not in answer.text, path
        assert "geheim@people.test" not in answer.text, path
        assert "holds 7" not in answer.text, path
    for path in FORMS:
        assert viewer.get(path).status == 403, path
    before = editing.objects(place)
    for path in (
        "/pipelines/-/add", "/pipelines/-/test", "/pipelines/-/case?take=cus_1", "/pipelines/filed/edit",
        "/pipelines/filed/enable", "/pipelines/filed/remove", "/pipelines/filed/retry",
        "/pipelines/filed/versions/1/restore",
    ):  # fmt: skip
        assert viewer.post(path, form(enabled="off", words="filed")).status == 403, path
    assert editing.objects(place) == before


def test_the_table_has_the_columns_that_people_know(editor: Client) -> None:
    text = editor.get("/pipelines").text
    heads = re.findall(r"<th scope=\"col\"[^>]*>(?:<a [^>]*>)?([^<]+)", text)
    assert heads == [
        "Pipeline",
        "Filters",
        "Enable",
        "Run now",
        "Schedule",
        "Manage",
        "⋮ More",
        "Last run",
        "Freshness",
    ]
    assert "Of the file" in text
    assert "address.country is DE" in text
    assert 'name="_csrf" value=""' not in text
    assert "Nothing matches." in editor.get("/pipelines?search=nobody").text
    lines = editor.get("/pipelines?format=csv").text.splitlines()
    assert lines[1].startswith(
        "filed,Of the file,acme,customers,local,address.country is DE,true,manual,run_"
    )


def test_one_that_is_off_cannot_be_run(place: places.Place, editor: Client) -> None:
    editor.post("/pipelines/-/add", form())
    assert editor.post("/pipelines/new/enable", {"enabled": "off"}).status == 303
    assert said(editor, "/pipelines") == "new is off; it does not run."
    row = re.search(r"<tr class=\"off\">.*?</tr>", editor.get("/pipelines").text, re.DOTALL)
    assert row is not None
    assert "Run now</button>" not in row[0]
    assert not place.file.pipelines["new"].enabled


def test_what_the_file_has_is_read_only_and_says_so(editor: Client) -> None:
    page = editor.get("/pipelines/filed/edit").text
    assert re.search(r"This is written in tidegate\.yaml, line \d+; change it there\.", page)
    assert ">Save</button>" not in page
    for path in ("edit", "remove", "enable"):
        answer = editor.post(f"/pipelines/filed/{path}", form(words="filed"))
        assert answer.status == 409, path
        assert "written in tidegate.yaml" in answer.text


def test_a_pipeline_is_made_changed_and_deleted(place: places.Place, editor: Client) -> None:
    tree = {"field": "email", "op": "contains", "value": "people"}
    sent = form(
        filter=json.dumps(tree),
        map='{"customer_id": "id"}',
        language="javascript",
        javascript="const transform = (c) => ({name: `${c.id}`});",
    )
    assert editor.post("/pipelines/-/add", sent).headers["location"] == "/pipelines/new"
    kept = place.file.pipelines["new"]
    assert kept.function is not None
    assert kept.function.code == sent["javascript"]
    page = editor.get("/pipelines/new/edit").text
    assert "${c.id}" in page
    assert "$${" not in page
    version = re.search(r'name="_version" value="(\d+)"', page)
    assert version is not None
    changed = form(_version=version[1], description="For support", map='{"name": "name"}', guard="50%")
    assert editor.post("/pipelines/new/edit", changed).status == 303
    now = editing.get(place, "pipelines", "new")
    assert now is not None
    assert now.body == {
        "from": "acme", "to": "local", "stream": "customers", "description": "For support",
        "map": {"name": "name"}, "schedule": "every 1h", "guard": {"max_removed": "50%"},
    }  # fmt: skip
    late = editor.post("/pipelines/new/edit", {**changed, "description": "Mine"})
    assert late.status == 422
    assert "was changed by ann@example.com since you looked at it" in html.unescape(late.text)
    assert "Mine" in late.text
    assert f'name="_version" value="{version[1]}"' in late.text, "to save it again is refused again"
    assert editor.post("/pipelines/new/remove", {"words": "other"}).status == 422
    assert "new" in place.file.pipelines
    assert editor.post("/pipelines/new/remove", {"words": "new"}).status == 303
    assert "new" not in place.file.pipelines


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"map": "{"}, "map: this is no JSON"),
        ({"map": '{"name": {"sql": "upper(nothing)"}}'}, "nothing"),
        ({"schedule": "sometimes"}, "sometimes"),
        ({"language": "python", "python": "def transform(:\n"}, "line 1"),
        ({"_name": "no name"}, "no name"),
        ({"filter": '{"field": "colour", "op": "is", "value": 1}'}, "colour"),
        (
            {"cases": '[{"name": "one", "given": {"id": "cus_1"}, "expected": {"name": "x"}}]'},
            "'one' comes out differently",
        ),
    ],
)
def test_what_is_wrong_is_said_and_nothing_typed_is_lost(
    place: places.Place, editor: Client, sent: dict[str, str], words: str
) -> None:
    answer = editor.post(
        "/pipelines/-/add",
        form(description="Typed for an hour", **sent)
        if "_name" not in sent
        else {**form(description="Typed for an hour"), **sent},
    )
    assert answer.status == 422
    assert words in html.unescape(answer.text)
    assert "Typed for an hour" in answer.text
    assert list(place.file.pipelines) == ["filed"]


def test_live_rows_are_tried_side_by_side(place: places.Place, editor: Client) -> None:
    code = PYTHON.replace("    return", "    print('seen', customer['id'])\n    return")
    tree = json.dumps({"field": "address.country", "op": "is", "value": "DE"})
    text = html.unescape(
        editor.post("/pipelines/-/test", form(filter=tree, language="python", python=code, limit="10")).text
    )
    assert text.count("<article") == 6
    assert text.count("Left out<") == 2
    assert "From the table stripe.customers" in text
    assert "seen cus_1" in text
    assert '"customer_id": "cus_1"' in text
    assert '"email": "p0@people.test"' in text
    failing = PYTHON.replace("'id'", "'nobody'")
    text = html.unescape(
        editor.post("/pipelines/-/test", form(language="python", python=failing, ids="cus_2")).text
    )
    assert text.count("<article") == 1
    assert "line 2" in text
    assert list(place.file.pipelines) == ["filed"]


LOOP = "def transform(customer):\n    while True:\n        pass\n"


def test_a_function_that_hangs_is_named_and_not_the_warehouse(place: places.Place, editor: Client) -> None:
    sent = form(language="python", python=LOOP, timeout="0.1", limit="10")
    answer = editor.post("/pipelines/-/test", sent, HX_Request="true")
    assert answer.status == 422
    said = html.unescape(answer.text)
    assert "a record took longer than 0.1 s; correct the function" in said
    assert "warehouse" not in said
    case = json.dumps([{"name": "ends", "given": {"id": "cus_1"}, "expected": {"customer_id": "cus_1"}}])
    kept = editor.post("/pipelines/-/add", {**sent, "cases": case})
    assert kept.status == 422
    assert "cus_1" in kept.text, "what was typed is there still"
    assert list(place.file.pipelines) == ["filed"]


def test_a_row_that_cannot_be_shaped_is_no_case(editor: Client) -> None:
    sent = form(language="python", python=PYTHON.replace("'id'", "'nobody'"), limit="5")
    tested = editor.post("/pipelines/-/test", sent).text
    assert tested.count("<article") == 5
    assert "Save as a case" not in tested
    answer = editor.post("/pipelines/-/case?take=cus_1", sent, HX_Request="true")
    assert answer.status == 422
    assert "cus_1 could not be shaped, so there is no result to keep" in html.unescape(answer.text)


def test_another_stream_brings_its_fields_and_loses_nothing_that_was_typed(
    place: places.Place, editor: Client, signed: Signed
) -> None:
    sent = form(stream="charges", description="Typed for an hour", map='{"name": "metadata.name"}')
    answer = editor.post("/pipelines/-/form", sent)
    assert answer.status == 200
    found = re.search(r'<tg-filter fields="([^"]*)"', answer.text)
    assert found is not None
    assert "amount_captured" in dict(json.loads(html.unescape(found[1])))
    assert "Typed for an hour" in answer.text
    assert "metadata.name" in answer.text
    assert "/pipelines/-/try?stream=charges" in answer.text
    assert list(place.file.pipelines) == ["filed"]
    assert signed(place, "viewer").post("/pipelines/-/form", sent).status == 403


def test_who_was_slower_is_led_to_what_is_saved_now(editor: Client) -> None:
    assert editor.post("/pipelines/-/add", form(map='{"name": "name"}')).status == 303
    version = re.search(r'name="_version" value="(\d+)"', editor.get("/pipelines/new/edit").text)
    assert version
    sent = form(_version=version[1], map='{"name": "name"}')
    assert editor.post("/pipelines/new/edit", {**sent, "description": "the first"}).status == 303
    late = editor.post("/pipelines/new/edit", {**sent, "description": "the second"})
    assert late.status == 422
    assert "was changed by ann@example.com" in late.text
    assert '<a href="/pipelines/new/edit" data-draft-link hidden>Go on with what is saved now' in late.text


def test_a_pipeline_leads_to_what_it_is_made_of(place: places.Place, editor: Client) -> None:
    failed.keep(place.store, [profiled.failure("cus_1")])
    seen.ran(
        place, "pipeline:filed", state="partial", began=60.0, took=1.0,
        error="1 row is in quarantine; `tidegate pipeline failures filed` lists why.", quarantined=1,
    )  # fmt: skip
    text = editor.get("/pipelines/filed").text
    for href in (
        "/accounts/acme",
        "/warehouses/local",
        "/pipelines/filed/failures",
        "/pipelines/filed/versions",
    ):
        assert f'<a href="{href}">' in text, href
    assert re.search(r'1 row is in quarantine\. <a href="/pipelines/filed/failures">See why</a>', text)
    assert "tidegate pipeline failures" not in text


def test_a_pipeline_that_never_ran_well_says_so_and_not_that_there_is_no_data(
    place: places.Place, editor: Client
) -> None:
    editor.post("/pipelines/-/add", form())
    seen.ran(place, "pipeline:new", state="partial", quarantined=1, written=9)
    for path in ("/pipelines/new", "/pipelines?search=new"):
        text = editor.get(path).text
        assert "never ran well" in text, path
        assert "no data" not in text, path


def test_a_schedule_of_several_words_stands_on_one_line(editor: Client) -> None:
    sent = form(map='{"name": "name"}', schedule='{every: 6h, anchor: "02:00"}')
    assert editor.post("/pipelines/-/add", sent).status == 303
    text = html.unescape(editor.get("/pipelines/new/edit").text)
    assert 'value="{"every": "6h", "anchor": "02:00"}"' in text


def test_a_pipeline_of_the_file_can_be_tried(editor: Client) -> None:
    sent = {"_name": "filed", "_version": "0", "limit": "5"}
    text = editor.post("/pipelines/-/test", sent).text
    assert text.count("<article") == 5
    assert "Definition of filed" in text, "without JavaScript it stands on the page that it was asked on"
    part = editor.post("/pipelines/-/test", sent, HX_Request="true").text
    assert part.count("<article") == 5
    assert "<html" not in part


def test_a_row_becomes_a_case_that_comes_out(editor: Client) -> None:
    sent = form(map='{"customer_id": "id", "name": {"sql": "upper(name)"}, "created": "created"}')
    answer = editor.post("/pipelines/-/case?take=cus_1", sent)
    found = re.search(r"<textarea name=\"cases\"[^>]*>\n(.*?)</textarea>", answer.text, re.DOTALL)
    assert found is not None
    cases = html.unescape(found[1])
    assert json.loads(cases)[0]["expected"]["name"] == "PERSON 1"
    assert "As expected" in editor.post("/pipelines/-/test", {**sent, "cases": cases}).text
    assert editor.post("/pipelines/-/add", {**sent, "cases": cases}).status == 303


def test_a_function_is_tried_in_the_editor(editor: Client) -> None:
    def tried(code: str, sample: str = '{"id": "cus_1"}', language: str = "python") -> Any:
        sent = {"language": language, "code": code, "sample": sample}
        return editor.post("/pipelines/-/try?stream=customers", json=sent).json

    assert tried(PYTHON)["result"] == {"customer_id": "cus_1"}
    assert tried("def transform(customer):\n    print(1)\n")["printed"] == ["1"]
    assert tried("def transform(customer):\n    return customer['x']\n")["error"]["line"] == 2
    assert tried("def transform(:\n")["error"]["line"] == 1
    assert tried("const transform = (c) => ({name: c.id + '!'});", language="javascript")["result"] == {
        "name": "cus_1!"
    }
    assert "not JSON" in tried(PYTHON, "{")["error"]["message"]
    assert "one record" in tried(PYTHON, "[]")["error"]["message"]
    assert tried("", language="cobol")["error"]["message"].startswith("Write a function")


def test_the_quarantine_shows_what_was_given_to_editors_alone(place: places.Place, editor: Client) -> None:
    failed.keep(place.store, [profiled.failure("cus_1"), profiled.failure("cus_2", property="phone")])
    text = editor.get("/pipelines/filed/failures").text
    assert "the property email wants text" in text
    assert "geheim@people.test" not in text
    assert "Quarantine (2)" in text
    one = editor.get("/pipelines/filed/failures/acct_1/cus_1").text
    assert "geheim@people.test" in one
    assert "holds 7" in one
    assert editor.get("/pipelines/filed/failures/acct_1/cus_9").status == 404
    lines = editor.get("/pipelines/filed/failures?format=csv&search=phone").text.splitlines()
    assert [line.split(",")[0] for line in lines] == ["source_id", "cus_2"]
    assert editor.post("/pipelines/filed/retry").status == 303
    assert "read again by the next run" in said(editor, "/pipelines/filed/failures")


def test_the_funnel_of_the_last_run_balances(editor: Client) -> None:
    text = editor.get("/pipelines/filed").text
    figures = re.findall(r"funnel-label\">([^<]+)</span>.*?funnel-n num\">([\d,]+)<", text, re.DOTALL)
    assert figures[0] == ("Read", "6")
    assert sum(int(number) for _, number in figures[1:]) == 6


def test_versions_differ_and_come_back(place: places.Place, editor: Client) -> None:
    assert editor.post("/pipelines/-/add", form()).status == 303
    assert "It has not run yet." in editor.get("/pipelines/new/versions").text
    for number, name in enumerate(("email", "phone")):
        definitions.note(place.store, "new", f"d{number}", json.dumps({"map": {name: {"from": name}}}))
    text = editor.get("/pipelines/new/versions").text
    assert "Version 2 against version 1" in text
    assert "map.email.from" in text
    assert editor.post("/pipelines/new/versions/1/restore").status == 303
    assert set(place.file.pipelines["new"].map) == {"email"}
    assert "tidegate pipeline restore filed" in editor.get("/pipelines/filed/versions").text
    lines = editor.get("/pipelines/new/versions?format=csv").text.splitlines()
    assert len(lines) == 3
    lines = editor.get("/pipelines/new/versions?format=csv&search=first").text.splitlines()
    assert [line.partition(",")[0] for line in lines[1:]] == ["1"]


def test_lines_of_a_function_are_compared_as_they_were_written(place: places.Place, editor: Client) -> None:
    assert editor.post("/pipelines/-/add", form()).status == 303
    lines = ["def transform(c):", '    """Nobody."""', '"kept"', "    return None"]
    definitions.note(place.store, "new", "d1", json.dumps({"function": {"python": lines}}))
    text = html.unescape(editor.get("/pipelines/new/versions").text)
    assert re.findall(r"<ins>(.*?)</ins>", text) == lines


def test_a_held_run_is_approved_by_typing_its_name(
    place: places.Place, editor: Client, signed: Signed
) -> None:
    assert "Approve and run" not in editor.get("/pipelines/filed").text
    seen.ran(
        place, "pipeline:filed", state="partial", began=60.0, took=1.0, error="too many leave", quarantined=0
    )
    assert "Approve and run" in editor.get("/pipelines/filed").text
    viewer = signed(place, "viewer")
    assert "Approve and run" not in viewer.get("/pipelines/filed").text
    assert viewer.post("/pipelines/filed/approve").status == 403
    assert editor.post("/pipelines/filed/approve", {"words": "other"}).status == 422
    answer = editor.post("/pipelines/filed/approve", {"words": "filed"})
    assert answer.headers["location"].startswith("/runs/run_")
