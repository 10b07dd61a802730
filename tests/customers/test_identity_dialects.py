"""Every statement of a resolution, as each warehouse would be told it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import identities
import piped
import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

from tidegate import errors
from tidegate.customers import decisions, finding, identity, preview, run, why
from tidegate.customers.rules import Rules
from tidegate.warehouse import duckdb_script, sql

DIALECTS = ("snowflake", "bigquery", "redshift", "databricks", "tsql", "mysql", "postgres")
RULES = Rules(("customer_id", "email"), max_cluster=3)
UNSAID = (exp.Qualify, exp.Star)
"""What not every warehouse understands."""


@pytest.fixture(scope="module")
def statements(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """All that was run in a model in which everything happens: caps, decisions, merges, splits, previews."""
    said: dict[str, None] = {}
    folder, shop = tmp_path_factory.mktemp("said"), piped.Place(tmp_path_factory.mktemp("shop"))
    shop.pulled(*(piped.person(n) for n in range(4)))
    shop.run(shop.job())
    with pytest.MonkeyPatch.context() as patched:
        for name in ("execute", "rows"):
            patched.setattr(duckdb_script.Script, name, _noting(getattr(duckdb_script.Script, name), said))
        _work(identities.Model(f"duckdb:///{folder}/w.duckdb"))
        _look(shop.job().model)
    shop.close()
    own = ("CREATE TEMP TABLE", "DROP TABLE", "SELECT table_name FROM duckdb_tables")
    return [text for text in said if not text.startswith(own)]


def _noting(method: Any, said: dict[str, None]) -> Any:
    def noted(script: duckdb_script.Script, text: str) -> Any:
        said[text] = None
        return method(script, text)

    return noted


def _work(model: identities.Model) -> None:
    crowd = {f"p/a/{n}": {"email": ["crowd@x", f"{n // 2}@x"], "customer_id": [f"{n}"]} for n in range(6)}
    chain = {f"p/a/1{n}": {"email": [f"c{n}@x", f"c{n + 1}@x"]} for n in range(4)}
    model.write(crowd | chain)
    model.resolve(RULES)

    def decide(script: duckdb_script.Script) -> None:
        now = model.now()
        decisions.merge(script, identities.NAMES, "p/a/0", "p/a/2", now=now)
        decisions.apart(script, identities.NAMES, "p/a/4", "p/a/5", now=now)
        made = decisions.split(script, identities.NAMES, "p/a/3", now=now)
        decisions.withdraw(script, identities.NAMES, made.decision, now=now, by="o'neil \\ ann")
        decisions.split(script, identities.NAMES, "p/a/10", now=now)

    model.scripted(decide)  # type: ignore[arg-type]
    model.resolve(RULES, [])
    changed: dict[str, identities.Values | None] = {"p/a/1": None, "p/a/12": {"email": ["0@x"]}}
    model.write(changed)
    model.resolve(RULES, changed)
    model.scripted(lambda script: preview.preview(script, identities.NAMES, Rules(("email",), 9)))
    model.scripted(lambda script: why.why(script, identities.NAMES, "p/a/0", "p/a/2"))
    model.scripted(lambda script: why.why_not(script, identities.NAMES, "p/a/4", "p/a/5"))
    model.scripted(lambda script: why.explained(script, identities.NAMES, "p/a/0", "p/a/2"))
    model.scripted(lambda script: why.explained(script, identities.NAMES, "4", "p/a/5"))
    more = [pa.table({"record": ["p/a/0", "p/a/4"], "kind": ["phone"] * 2, "value": ["+1"] * 2})]
    rules = Rules(("email", "phone"), 9)
    model.scripted(lambda script: preview.preview(script, identities.NAMES, rules, more=more))
    model.close()


def _look(model: run.Model) -> None:
    """Everything that somebody asks of customers."""
    page = finding.search(model, "p1@People.test", limit=1, after="cup_0")
    finding.search(model, "it's", after=page.after or "")
    one = finding.customer(model, "cus_0")
    for asked in (one.profile, "cus_9", "eu/acct_1/cus_9", "nobody"):
        with contextlib.suppress(errors.ConfigError):
            finding.customer(model, asked)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_statement_can_be_said_and_is_understood(
    statements: list[str], dialect: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoken = sql.Dialect(dialect)
    for text in statements:
        said = sqlglot.parse_one(sql.translated(text, spoken), read=dialect)
        assert said.key.upper() == text.split()[0]
    assert not caplog.records, "What a dialect lacks is told as a warning."


def test_enough_is_said_to_mean_something(statements: list[str]) -> None:
    verbs = {text.split()[0] for text in statements}
    assert verbs == {"SELECT", "INSERT", "DELETE", "UPDATE"}
    assert len(statements) > 100


def test_no_statement_needs_what_a_warehouse_lacks(statements: list[str]) -> None:
    for text in statements:
        tree = sqlglot.parse_one(text, read="duckdb")
        stars = [star for star in tree.find_all(*UNSAID) if not isinstance(star.parent, exp.Count)]
        assert not stars, text
        joins = {str(join.side or join.kind or "").upper() for join in tree.find_all(exp.Join)}
        assert joins <= {"", "LEFT", "CROSS"}, text


def test_no_statement_changes_a_table_that_it_looks_into(statements: list[str]) -> None:
    for text in statements:
        tree = sqlglot.parse_one(text, read="duckdb")
        if isinstance(tree, exp.Delete | exp.Update):
            changed = tree.find(exp.Table)
            assert [table for table in tree.find_all(exp.Table) if table == changed] == [changed], text


def test_no_record_and_no_value_of_one_stands_in_a_resolution(tmp_path: Path) -> None:
    model = identities.Model(f"duckdb:///{tmp_path}/w.duckdb")
    model.write({"p/a/secret": {"email": ["secret@x"]}, "p/a/other": {"email": ["secret@x"]}})
    said: dict[str, None] = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(duckdb_script.Script, "execute", _noting(duckdb_script.Script.execute, said))
        model.resolve(RULES, ["p/a/secret", "p/a/other"])
    assert said
    assert not [text for text in said if "secret" in text.replace(identity.PREFIX, "")]
    model.close()
