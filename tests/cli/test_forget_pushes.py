"""`tidegate forget` on the side of pushes: nothing personal is left, and nobody is written to or made again."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pushed_people as people
import pytest
from following import Merchant

from tidegate import cli, errors, sandbox
from tidegate.push import workbook
from tidegate.store import claims, database, holds, ledger, links, operations, pushed, records
from tidegate.warehouse import duckdb

FIELDS = (
    "{model: people, to: acme, object: customer, match: {email: email}, "
    "fields: {name: name, metadata.plan: plan}}"
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with sandbox.process(objects=0, counts={}) as served:
        yield served


@pytest.fixture
def shop(url: str) -> Merchant:
    return Merchant(url)


def push(*words: str) -> int:
    """`tidegate push`, which keeps its copies where `forget` finds them."""
    return cli.main(["push", "people", "--yes", "--json", *words])


NUMBERS = iter(range(1_000, 1_000_000, 10))


@pytest.fixture
def rows(shop: Merchant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Two people who are customers, one of them written twice."""
    monkeypatch.chdir(tmp_path)
    first = next(NUMBERS)
    found = [people.person(first + n, name=f"Personal of {first + n}") for n in range(2)]
    people.write(tmp_path, shop.url, found, FIELDS)
    assert push() == 0
    people.rows(tmp_path, [{**each, "plan": "free"} for each in found])
    shop.later()
    assert push() == 0
    shop.later()
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[database.Database]:
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as opened:
        yield opened


def target(store: database.Database, row: dict[str, str]) -> str:
    """The customer that a row is."""
    return links.find(store, people.NAME, [row["id"]])[row["id"]].target


def forget(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    """What `forget --json` answers."""
    capsys.readouterr()
    assert cli.main(["forget", *words, "--yes", "--json"]) == code
    return dict(json.loads(capsys.readouterr().out.splitlines()[-1]))


def kept(folder: Path, text: str) -> list[str]:
    """The tables of the metadata database that have a text anywhere in them."""
    found = []
    with contextlib.closing(sqlite3.connect(folder / "tidegate.db")) as opened:
        names = [name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            if any(text in str(value) for row in opened.execute(f"SELECT * FROM {name}") for value in row):
                found.append(name)
    return found


def mirrored(folder: Path, text: str) -> bool:
    """Does the push's copy of Stripe's objects have a text?"""
    [path] = (folder / ".tidegate" / "mirrors").glob("*.duckdb")
    opened = duckdb.DuckDB(path)
    try:
        batches = opened.read(f"SELECT * FROM {opened.schema}.customers")
        return any(text in str(row) for batch in batches for row in batch.to_pylist())
    finally:
        opened.close()


def test_nothing_of_them_is_left_and_all_of_the_others(
    tmp_path: Path,
    rows: list[dict[str, str]],
    store: database.Database,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gone, other = rows
    assert {"operations", "pushed"} <= set(kept(tmp_path, gone["name"]))
    assert kept(tmp_path, gone["email"]) == ["operations"]
    assert mirrored(tmp_path, gone["name"])
    found = forget(capsys, target(store, gone))
    assert found["pushes"]["tables"] == {"links": 1, "operations": 2, "pushed": 1}
    assert found["pushes"]["undecided"] == {}
    assert kept(tmp_path, gone["name"]) == kept(tmp_path, gone["email"]) == []
    assert not mirrored(tmp_path, gone["name"])
    assert {"operations", "pushed"} <= set(kept(tmp_path, other["name"]))
    assert mirrored(tmp_path, other["name"])


def test_a_look_changes_nothing(
    tmp_path: Path,
    rows: list[dict[str, str]],
    store: database.Database,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = (tmp_path / "tidegate.db").read_bytes()
    looked = forget(capsys, target(store, rows[0]), "--dry-run")
    assert looked["pushes"]["tables"] == {"links": 1, "operations": 2, "pushed": 1}
    assert kept(tmp_path, rows[0]["name"]) == ["operations", "pushed"]
    assert (tmp_path / "tidegate.db").read_bytes() == before


def test_their_row_is_neither_written_nor_made_again(
    shop: Merchant,
    tmp_path: Path,
    rows: list[dict[str, str]],
    store: database.Database,
    capsys: pytest.CaptureFixture[str],
) -> None:
    forget(capsys, target(store, rows[0]))
    people.rows(tmp_path, [{**each, "name": "Anew"} for each in rows])
    shop.counted()
    assert push() == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["held"], told["updated"], told["created"]) == (1, 1, 0)
    posts = {name: times for name, times in shop.counted().items() if name.startswith("POST")}
    assert posts == {"POST /v1/customers/{customer}": 1}
    assert len([each for each in shop.truth("customers") if each["object"]["email"] == rows[0]["email"]]) == 1
    assert claims.count(store, people.NAME, rows[0]["id"]) == 1


def test_doing_it_again_finds_nothing_more(
    rows: list[dict[str, str]], store: database.Database, capsys: pytest.CaptureFixture[str]
) -> None:
    forget(capsys, target(store, rows[0]))
    assert forget(capsys, target(store, rows[0]))["pushes"]["tables"] == {}


def test_the_record_keeps_what_happened_without_what_was_written(
    rows: list[dict[str, str]], store: database.Database, capsys: pytest.CaptureFixture[str]
) -> None:
    forget(capsys, target(store, rows[0]))
    told = [each.what for each in records.timeline(store, people.NAME, rows[0]["id"])]
    assert told.count("done") == 2
    assert all(
        (each.body, each.before, each.after, each.fields) == ("", None, None, "{}")
        for each in operations.listed(store, push=people.NAME, key=rows[0]["id"])
    )


def test_who_may_be_chosen_for_others_is_forgotten_too(
    shop: Merchant,
    tmp_path: Path,
    rows: list[dict[str, str]],
    store: database.Database,
    capsys: pytest.CaptureFixture[str],
) -> None:
    new = people.person(int(rows[0]["id"]) + 5)
    ids = [shop.make("/v1/customers", email=new["email"])["id"] for _ in range(2)]
    shop.later()
    people.rows(tmp_path, [*rows, new])
    assert push() == 0
    assert forget(capsys, ids[0])["pushes"]["tables"] == {"holds": 1}
    hold = holds.find(store, people.NAME, new["id"])
    assert hold is not None
    assert hold.candidates == (ids[1],)


def test_what_others_wrote_of_theirs_goes_and_the_object_stays_their_row(
    shop: Merchant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    customer = shop.make("/v1/customers", email=f"p{next(NUMBERS)}@people.test")["id"]
    shop.later()
    number = next(NUMBERS)
    row = people.person(number, name=customer, plan="Personal of theirs")
    people.write(
        tmp_path,
        shop.url,
        [row],
        "{model: people, to: acme, object: invoice_item, match: {metadata.ref: id}, "
        "fields: {customer: name, amount: {value: 500}, currency: {value: usd}, description: plan}}",
    )
    assert push() == 0
    assert kept(tmp_path, "Personal of theirs") == ["operations", "pushed"]
    found = forget(capsys, customer)
    assert found["pushes"]["tables"] == {"operations": 1, "pushed": 1}
    assert kept(tmp_path, "Personal of theirs") == []
    shop.later()
    assert push() == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["unchanged"], told["created"]) == (1, 0)


def test_what_is_undecided_stays_and_is_said(
    tmp_path: Path,
    rows: list[dict[str, str]],
    store: database.Database,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people.rows(tmp_path, [{**rows[0], "plan": "new"}, {**rows[1], "plan": "free"}])

    def lost(*_: object) -> list[str]:
        raise errors.StoreUnreachable("The database is restarting; wait.")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "acknowledge", lost)
        with pytest.raises(errors.StoreUnreachable):
            people.push(tmp_path)
    store.execute("UPDATE fences SET until = 0")
    [open_] = operations.undecided(store, people.NAME)
    found = forget(capsys, target(store, rows[0]), code=3)
    assert found["pushes"]["undecided"] == {people.NAME: 1}
    assert operations.find(store, open_.id) == open_


def test_what_killed_runs_and_rehearsals_left_goes(
    tmp_path: Path,
    rows: list[dict[str, str]],
    store: database.Database,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = tmp_path / ".tidegate"
    left = state / "push" / people.NAME / "run_killed.duckdb"
    rehearsed = state / "rehearsal" / "trial" / "tidegate.db"
    for file in (left, rehearsed):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(rows[0]["name"])
    with workbook.opened(state, people.NAME, "run_alive"):
        left.write_text(rows[0]["name"])
        forget(capsys, target(store, rows[0]))
        assert (state / "push" / people.NAME / "run_alive.duckdb").exists()
    assert not left.exists()
    assert not rehearsed.exists()


def test_a_bad_id_changes_nothing(
    tmp_path: Path, rows: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["forget", rows[0]["email"], "--yes"]) == 2
    assert rows[0]["email"] not in capsys.readouterr().err
    assert kept(tmp_path, rows[0]["name"]) == ["operations", "pushed"]


def test_links_and_acknowledged_rows_say_who_it_was(
    rows: list[dict[str, str]], store: database.Database, capsys: pytest.CaptureFixture[str]
) -> None:
    customer = target(store, rows[0])
    forget(capsys, customer)
    link = links.find(store, people.NAME, [rows[0]["id"]])[rows[0]["id"]]
    assert (link.target, link.gone) == (customer, "missing")
    assert set(pushed.find(store, people.NAME, [each["id"] for each in rows])) == {rows[1]["id"]}
