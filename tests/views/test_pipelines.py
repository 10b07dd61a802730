"""Pipelines: how each stands, trying one before it is kept, its quarantine, and its past."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import profiled
import pytest
import seen
from hypothesis import given
from hypothesis import strategies as st

from tidegate import config, errors, views
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.store import definitions, failed, runs, trail
from tidegate.views import escaping, pipeline_failures, pipeline_trials, pipeline_versions, pipelines
from tidegate.warehouse import duckdb_script

ANN = views.Person("ann@example.com", "session")
GERMANS = {"field": "address.country", "op": "is", "value": "DE"}
PYTHON = (
    "def transform(customer):\n    return {'customer_id': customer['id'], 'name': customer['name'].upper()}\n"
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    """A pipeline in the file, and six customers in the warehouse, two of them from France."""
    with profiled.place(tmp_path) as found:
        yield found


def body(**more: Any) -> dict[str, Any]:
    return {"from": "acme", "to": "local", **more}


def test_a_pipeline_is_listed_with_how_it_stands(place: places.Place) -> None:
    seen.ran(place, "pipeline:filed", began=120.0, read=6)
    failed.keep(place.store, [profiled.failure("cus_1"), profiled.failure("cus_2")])
    [line] = pipelines.listed(place)
    assert (line.name, line.description, line.stream) == ("filed", "Of the file", "customers")
    assert line.filter == "address.country is DE"
    assert line.quarantined == 2
    assert line.last is not None
    assert line.last.totals == {"read": 6}
    assert line.age == pytest.approx(120, abs=30)
    assert pipelines.one(place, "filed").name == "filed"
    with pytest.raises(views.Unknown, match="no pipeline 'fild'"):
        pipelines.one(place, "fild")


def test_one_that_is_off_still_says_how_its_last_run_was(place: places.Place) -> None:
    pipeline_trials.keep(place, ANN, "more", body(), None)
    seen.ran(place, "pipeline:more", state="failed", error="no table")
    pipelines.switch(place, ANN, "more", False)
    line = pipelines.one(place, "more")
    assert not line.enabled
    assert line.last is not None
    assert line.last.state == "failed"
    assert "pipeline:more" not in place.flows
    pipelines.switch(place, ANN, "more", True)
    assert "pipeline:more" in place.flows
    assert [each.action for each in trail.listed(place.store, what="pipelines.more")] == [
        "change",
        "change",
        "create",
    ]


def test_what_the_file_has_is_not_switched(place: places.Place) -> None:
    with pytest.raises(views.Refused, match=r"filed is written in tidegate.yaml, line \d+; change it there"):
        pipelines.switch(place, ANN, "filed", False)


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (GERMANS, "address.country is DE"),
        ({"field": "email", "op": "is null"}, "email is null"),
        ({"field": "name", "op": "is one of", "value": ["A", "B"]}, "name is one of A, B"),
        ({"all": [GERMANS, {"any": [GERMANS, GERMANS]}]}, "3 conditions"),
    ],
)
def test_filters_in_words(tree: dict[str, Any], said: str) -> None:
    pipeline = config.Pipeline.model_validate(body(filter=tree))
    assert pipelines.words(pipeline.filter) == said


def test_live_rows_are_tried_with_nothing_kept(place: places.Place) -> None:
    draft = pipeline_trials.draft(
        place, "new", body(filter=GERMANS, map={"customer_id": "id", "name": {"sql": "upper(name)"}})
    )
    came = pipeline_trials.trial(place, "new", draft, limit=10)
    assert (came.preview.read, came.preview.filtered, came.preview.matched) == (6, 2, 4)
    assert len(came.given) == 6
    first = next(
        (seen.properties, given)
        for seen, given in zip(came.preview.rows, came.given, strict=True)
        if seen.id == "cus_1"
    )
    assert first[0] == {"customer_id": "cus_1", "name": "PERSON 1"}
    assert first[1]["name"] == "Person 1"
    assert "new" not in place.file.pipelines


def test_chosen_records_are_tried(place: places.Place) -> None:
    came = pipeline_trials.trial(place, "", pipeline_trials.draft(place, "", body()), ids=["cus_5"])
    assert [each.id for each in came.preview.rows] == ["cus_5"]


def test_a_function_of_the_page_is_kept_and_run(place: places.Place) -> None:
    function = {"language": "python", "code": PYTHON}
    draft = pipeline_trials.draft(place, "new", body(function=function))
    came = pipeline_trials.trial(place, "new", draft, ids=["cus_0"])
    assert came.preview.rows[0].properties == {"customer_id": "cus_0", "name": "PERSON 0"}


def test_a_function_says_its_error_and_its_line() -> None:
    told = config.Function(
        code="def transform(customer):\n    print('hello')\n    return customer['nobody']\n"
    )
    came, printed = pipeline_trials.called(told, {"id": "cus_1"})
    assert came.properties is None
    assert came.line == 3
    assert "nobody" in came.error
    assert printed == "hello\n"
    with pytest.raises(errors.ConfigError, match="line 1"):
        pipeline_trials.called(config.Function(code="def transform(:\n"), {})


def test_a_function_sees_times_as_times() -> None:
    code = "def transform(customer):\n    return {'year': customer['created'].year}\n"
    came, _ = pipeline_trials.called(config.Function(code=code), {"created": 1_600_000_000})
    assert came.properties == {"year": 2020}


def test_cases_that_differ_keep_a_pipeline_from_being_kept(place: places.Place) -> None:
    case = {"name": "shouts", "given": {"id": "cus_1", "name": "Jane"}, "expected": {"name": "jane"}}
    with pytest.raises(errors.ConfigError, match="'shouts' comes out differently") as raised:
        pipeline_trials.keep(
            place, ANN, "new", body(map={"name": {"sql": "upper(name)"}}, cases=[case]), None
        )
    [problem] = raised.value.problems
    assert problem.place == ("cases", 0)
    assert "new" not in place.file.pipelines
    case["expected"] = {"name": "JANE"}
    pipeline_trials.keep(place, ANN, "new", body(map={"name": {"sql": "upper(name)"}}, cases=[case]), None)
    assert place.file.pipelines["new"].cases[0].name == "shouts"


def test_a_case_taken_from_a_row_comes_out_as_it_came(place: places.Place) -> None:
    told = body(map={"customer_id": "id", "created": "created"})
    row = {"id": "cus_1", "created": "2024-05-01T10:00:00Z"}
    case = {
        "name": "a day",
        "given": row,
        "expected": {"customer_id": "cus_1", "created": "2024-05-01T10:00:00+00:00"},
    }
    draft = pipeline_trials.draft(place, "new", {**told, "cases": [case]})
    assert not pipeline_trials.tried(place, "new", draft).wrong


def test_what_cannot_work_is_not_kept(place: places.Place) -> None:
    with pytest.raises(errors.ConfigError, match="from: "):
        pipeline_trials.keep(place, ANN, "new", body(**{"from": "nobody"}), None)
    with pytest.raises(errors.ConfigError, match="nothing_like_it"):
        pipeline_trials.keep(place, ANN, "new", body(map={"name": {"sql": "nothing_like_it(name)"}}), None)
    pipeline_trials.keep(place, ANN, "new", body(), None)
    with pytest.raises(errors.StoreConflict, match="already"):
        pipeline_trials.keep(place, ANN, "new", body(description="other"), None)


def test_the_quarantine_is_searched_and_paged(place: places.Place) -> None:
    rows = [profiled.failure(f"cus_{n}") for n in range(5)]
    failed.keep(place.store, [*rows, profiled.failure("cus_9", property="phone", why="100% wrong")])
    found, total = pipeline_failures.failures(place, "filed", limit=2, after=2)
    assert (len(found), total) == (2, 6)
    assert [each.source_id for each in pipeline_failures.failures(place, "filed", search="phone")[0]] == [
        "cus_9"
    ]
    assert [each.source_id for each in pipeline_failures.failures(place, "filed", search="cus_3")[0]] == [
        "cus_3"
    ]
    assert [each.source_id for each in pipeline_failures.failures(place, "filed", search="100%")[0]] == [
        "cus_9"
    ]
    assert pipeline_failures.failures(place, "filed", search="100_")[1] == 0
    assert pipeline_failures.failure(place, "filed", "acct_1", "cus_9").said.endswith("holds 7")
    with pytest.raises(views.Unknown, match="not in the quarantine"):
        pipeline_failures.failure(place, "filed", "acct_1", "cus_77")


def ran_with(place: places.Place, name: str, *bodies: str) -> None:
    for number, text in enumerate(bodies):
        definitions.note(place.store, name, f"digest{number}", text)


def test_versions_are_compared_and_brought_back(place: places.Place) -> None:
    pipeline_trials.keep(place, ANN, "new", body(schedule="every 1h", map={"name": "name"}), None)
    lines = '["def transform(customer):","    return customer"]'
    old = f'{{"map":{{"email":{{"from":"email"}}}},"function":{{"python":{lines}}}}}'
    ran_with(place, "new", old, '{"map":{"name":{"from":"name"}}}')
    newest, oldest = pipeline_versions.versions(place.store, "new")
    told = {each.field: (each.before, each.after) for each in pipeline_versions.compared(oldest, newest)}
    assert told["map.name.from"] == (None, "name")
    assert told["function.python.line 001"] == ("def transform(customer):", None)
    pipeline_versions.restore(place, ANN, "new", 1)
    now = place.file.pipelines["new"]
    assert set(now.map) == {"email"}
    assert now.function is not None
    assert now.function.code == "def transform(customer):\n    return customer\n"
    assert editing.get(place, "pipelines", "new").body["schedule"] == "every 1h"  # type: ignore[union-attr]
    with pytest.raises(views.Unknown, match="never ran with a version 7"):
        pipeline_versions.restore(place, ANN, "new", 7)
    with pytest.raises(views.Refused, match=r"written in tidegate\.yaml"):
        pipeline_versions.restore(place, ANN, "filed", 1)


@given(st.text(alphabet="${}a\n", max_size=30))
def test_code_is_kept_as_it_was_typed(text: str) -> None:
    assert escaping.unescaped(escaping.escaped(text)) == text


def test_code_with_templates_reads_no_environment(
    place: places.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "geheim")
    code = "const transform = (customer) => ({name: `${HOME}$${x}`});\n"
    function = {"language": "javascript", "code": escaping.escaped(code)}
    assert pipeline_trials.draft(place, "new", body(function=function)).function.code == code  # type: ignore[union-attr]


def test_rows_in_quarantine_are_read_again_by_the_next_run(place: places.Place) -> None:
    assert pipeline_failures.retry(place, ANN, "filed") == 0
    [line] = trail.listed(place.store, what="pipelines.filed")
    assert (line.action, line.after) == ("retry", {"rows": 0})


def test_who_is_killed_while_they_are_to_be_read_again_leaves_the_first_line(
    place: places.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiled.ran(place)
    assert pipeline_failures.retry(place, ANN, "filed") == 0

    def killed(*_: object) -> None:
        raise SystemExit

    def full(*_: object) -> None:
        raise errors.WarehouseFull("The disk is full.")

    for patch, error in ((killed, SystemExit), (full, errors.WarehouseFull)):
        with monkeypatch.context() as patched:
            patched.setattr(duckdb_script.Script, "transaction", patch)
            with pytest.raises(error):
                pipeline_failures.retry(place, ANN, "filed")
    found = trail.listed(place.store, what="pipelines.filed")[::-1]
    assert [(each.action, each.after) for each in found] == [
        ("begin to retry", None),
        ("retry", {"rows": 0}),
        ("begin to retry", None),
        ("begin to retry", None),
        ("fail to retry", {"error": "The disk is full."}),
    ]


def test_a_run_of_a_pipeline_is_begun_as_any_other(place: places.Place) -> None:
    from tidegate.views import flows

    run = flows.begin(place, ANN, "pipeline:filed", full_refresh=True)
    assert pipelines.one(place, "filed").running == runs.get(place.store, run.id)


def test_the_editor_knows_fields_and_properties(place: places.Place) -> None:
    fields = dict(pipelines.fields("customers"))
    assert (fields["email"], fields["created"], fields["address.country"]) == (
        "string",
        "timestamp",
        "string",
    )
    assert ("email", "string") in pipelines.targets(place, "local")
    assert pipelines.suggested(place, "customers", "local")["email"][0]["path"] == "email"


def test_a_run_that_its_guard_holds_waits_for_approval(place: places.Place) -> None:
    with pytest.raises(views.Refused, match="Nothing of filed waits for approval"):
        pipelines.approve(place, ANN, "filed")
    seen.ran(
        place, "pipeline:filed", state="partial", error="4 of the 4 customers would leave", quarantined=0
    )
    assert pipelines.one(place, "filed").held
    run = pipelines.approve(place, ANN, "filed")
    assert run.options == {"approve": True}
    assert [each.action for each in trail.listed(place.store, what="pipeline:filed")] == ["approve"]


def test_rows_in_quarantine_are_no_held_run(place: places.Place) -> None:
    seen.ran(place, "pipeline:filed", state="partial", error="2 rows are in quarantine", quarantined=2)
    assert not pipelines.one(place, "filed").held
