"""Models and pushes: every short form, every default, and what contradicts itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidegate import config, errors
from tidegate.config import pushes

HEAD = """
stripe: {acme: {api_key: rk_test_1}}
warehouses: {local: {type: duckdb, path: w.duckdb}}
models: {m: {warehouse: local, sql: select 1, key: id}}
"""
SHORT = "model: m, to: acme, object: customer, match: {email: email}, fields: {metadata.plan: plan}"


def load(folder: Path, text: str) -> config.Config:
    file = folder / "tidegate.yaml"
    file.write_text(text)
    return config.load(file, environ={})


def push(folder: Path, text: str) -> config.Push:
    """The push of a file that says `text` of it."""
    return load(folder, f"{HEAD}pushes: {{p: {{{text}}}}}\n").pushes["p"]


def model(folder: Path, text: str) -> config.Model:
    return load(
        folder, f"warehouses: {{w: {{type: duckdb, path: w.duckdb}}}}\nmodels: {{m: {{{text}}}}}\n"
    ).models["m"]


def refused(folder: Path, text: str) -> str:
    """What is wrong with a push, without where that stands."""
    with pytest.raises(errors.ConfigError) as caught:
        push(folder, text)
    return str(caught.value).partition(": pushes.p")[2]


def test_the_short_form_of_a_push_is_all_it_needs(tmp_path: Path) -> None:
    found = push(tmp_path, SHORT)
    assert (found.model, found.connection, found.object, found.account) == ("m", "acme", "customer", None)
    assert (found.behavior, found.on_many, found.missing, found.proration) == (
        "update_or_create",
        "hold",
        "nothing",
        "none",
    )
    assert (found.filter, found.schedule, found.retry.times) == (None, "manual", 5)
    guard = found.guard
    assert (guard.max_creates, guard.max_changed, guard.max_removed, guard.rows_down) == (None, 0.5, 0, 0.3)
    assert found.match["email"].source == "email"
    field = found.fields["metadata.plan"]
    assert (field.source, field.null, field.owner, field.hash) == ("plan", "leave", "warehouse", False)


def test_every_field_has_a_long_form(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        HEAD
        + """
pushes:
  p:
    model: m
    to: acme
    account: acct_1AbC
    object: subscription
    behavior: mirror
    match:
      email: {from: mail, case: exact}
      metadata.ext: {from: id, case: ignore}
    on_many: newest
    fields:
      metadata.plan: {from: plan}
      name: {template: "{first} {last}", null: clear}
      description: {sql: "upper(note)", owner: if_empty}
      metadata.source: {value: warehouse}
      metadata.mail: {from: email, hash: true}
      metadata.ltv: {from: ltv, owner: three_way}
    filter: {field: plan, op: is not, value: free}
    on_missing: {flag: metadata.gone}
    guard: {max_creates: 1000, max_changed: 20%, max_removed: 5, rows_down: 0%}
    retry: {times: 3}
    proration: create_prorations
    schedule: every 15m
""",
    ).pushes["p"]
    assert (found.behavior, found.account, found.on_many) == ("mirror", "acct_1AbC", "newest")
    assert (found.missing, found.flag) == ("flag", "metadata.gone")
    assert {field: each.owner for field, each in found.fields.items() if each.owner != "warehouse"} == {
        "description": "if_empty",
        "metadata.ltv": "three_way",
    }
    assert found.fields["name"].template == "{first} {last}"
    assert found.fields["metadata.source"].value == "warehouse"
    assert (found.guard.max_removed, found.guard.rows_down) == (5, 0.0)
    assert {field: each.folded(field) for field, each in found.match.items()} == {
        "email": False,
        "metadata.ext": True,
    }


@pytest.mark.parametrize(
    ("field", "text", "folded"),
    [
        ("email", "email", True),
        ("metadata.ext", "ext", False),
        ("id", "id", False),
        ("email", "{from: mail}", True),
    ],
)
def test_e_mails_are_compared_without_their_case(tmp_path: Path, field: str, text: str, folded: bool) -> None:
    found = push(tmp_path, SHORT.replace("email: email", f"{field}: {text}"))
    assert found.match[field].folded(field) is folded


@pytest.mark.parametrize("word", ["nothing", "clear", "flag", "archive", "delete"])
def test_what_happens_to_objects_whose_row_is_gone(tmp_path: Path, word: str) -> None:
    found = push(tmp_path, f"{SHORT}, on_missing: {word}")
    assert (found.missing, found.flag) == (word, "metadata.tidegate_gone")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{model: m}", "give"),
        (
            f"{SHORT}, behavior: mirror",
            ": `behavior: mirror` needs `on_missing`: clear, flag, archive or delete",
        ),
        (f"{SHORT}, on_missing: drop", ".on_missing: must be one of: nothing, clear, flag, archive, delete"),
        (
            f"{SHORT}, on_missing: {{flag: metadata.plan}}",
            ": `on_missing` marks metadata.plan, which `fields` writes as well; choose another field",
        ),
        (f"{SHORT}, on_many: first", ".on_many: must be one of: hold, oldest, newest"),
        (f"{SHORT}, retry: {{times: 0}}", ".retry.times: must be greater than or equal to 1"),
        (f"{SHORT}, guard: {{max_removed: -1}}", ".guard.max_removed: must be greater than or equal to 0"),
        (f"{SHORT}, guard: {{rows_down: 3}}", ".guard.rows_down: write a share from 0% to 100%, such as 20%"),
        (
            f"{SHORT}, schedule: continuous",
            ".schedule: a push reads its whole model each time and is never continuous; write an interval, such "
            "as every 1m, or {after: FLOW} to follow a pull",
        ),
        (
            f"{SHORT}, proration: later",
            ".proration: must be one of: none, create_prorations, always_invoice",
        ),
    ],
)
def test_a_push_that_contradicts_itself_is_told(tmp_path: Path, text: str, message: str) -> None:
    if message == "give":
        text, message = SHORT.replace("{metadata.plan: plan}", "{}"), ".fields: must have at least one entry"
    assert refused(tmp_path, text) == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            "{name: {from: a, value: b}}",
            ".fields.name: give exactly one of `from`, `template`, `sql` and `value`",
        ),
        ("{name: {null: clear}}", ".fields.name: give exactly one of `from`, `template`, `sql` and `value`"),
        (
            "{name: {value: ''}}",
            ".fields.name: a constant has a value; to empty a field send a column that is null",
        ),
        ("{name: {value: null}}", ".fields.name: a constant has a value"),
        ("{name: {template: 'no columns'}}", ".fields.name.template: a template has columns in braces"),
        ("{name: {template: '{{first}}'}}", ".fields.name.template: a template has columns in braces"),
        ("{name: {template: '{first'}}", ".fields.name.template: a brace does not close, or holds no column"),
        ("{name: {template: 'first}'}}", ".fields.name.template: a brace does not close, or holds no column"),
        (
            "{name: {template: '{a} { } x'}}",
            ".fields.name.template: a brace does not close, or holds no column",
        ),
        ("{name: {from: a, null: empty}}", ".fields.name.null: must be one of: leave, clear"),
        (
            "{name: {from: a, owner: me}}",
            ".fields.name.owner: must be one of: warehouse, stripe, if_empty, three_way",
        ),
        ("{name: {form: a}}", ".fields.name.form: unknown key; did you mean 'from'?"),
        ("{name: [a]}", ".fields.name: must be a mapping (`key: value`), not a list"),
        (
            "{address: a, address.city: b}",
            ": `fields` has both address and address.city, which is a part of it",
        ),
        ("{address..city: b}", ".fields: write a field of the Stripe object with dots between its names"),
    ],
)
def test_a_field_that_makes_no_sense_is_told(tmp_path: Path, fields: str, message: str) -> None:
    found = refused(tmp_path, SHORT.replace("{metadata.plan: plan}", fields))
    assert message.partition(": ")[2] in found
    assert found.startswith(message.partition(": ")[0])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("{first} {last}", [pushes.Column("first"), " ", pushes.Column("last")]),
        ("{{{a}}}", ["{", pushes.Column("a"), "}"]),
        ("100% {a b}é", ["100% ", pushes.Column("a b"), "é"]),
        ("{ a }", [pushes.Column("a")]),
        ("{{}}", ["{", "}"]),
    ],
)
def test_templates_have_columns_and_text(text: str, parts: list[Any]) -> None:
    assert list(pushes.template(text)) == parts


def test_a_model_has_one_key_column_or_several(tmp_path: Path) -> None:
    assert model(tmp_path, "warehouse: w, sql: select 1, key: id").keys == ("id",)
    found = model(tmp_path, "warehouse: w, table: t, key: [tenant, id]")
    assert (found.key, found.keys) == (("tenant", "id"), ("tenant", "id"))


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.jsonl", "deep/ROWS.CSV"])
def test_a_file_is_a_model_without_a_warehouse(tmp_path: Path, name: str) -> None:
    found = model(tmp_path, f"file: {name}, key: id")
    assert (found.file, found.warehouse) == (str(tmp_path / name), None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key: id", "give either `sql` or `table`"),
        ("warehouse: w, key: id", "give either `sql` or `table`"),
        ("sql: select 1, key: id", "`warehouse` is missing: where is this read?"),
        ("warehouse: w, file: a.csv, key: id", "`warehouse` and `file` exclude each other; give one of them"),
        ("file: a.csv, sql: select 1, key: id", "`sql` and `file` exclude each other; give one of them"),
        ("file: a.xlsx, key: id", "write a file on this machine that ends in .csv, .parquet or .jsonl"),
        (
            "file: s3://bucket/a.csv, key: id",
            "write a file on this machine that ends in .csv, .parquet or .jsonl",
        ),
        ("warehouse: w, sql: select 1, key: []", "must have at least one entry"),
        ("warehouse: w, sql: select 1, key: [id, id]", "a column stands here twice"),
        ("warehouse: nowhere, sql: select 1, key: id", "`warehouses` has no such name; it has w"),
    ],
)
def test_a_model_that_contradicts_itself_is_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(errors.ConfigError, match=message.replace("?", r"\?")):
        model(tmp_path, text)
