"""kill -9 at any statement of a run, again and again: once one comes to its end, nothing shows that others did not.

A stream changes, a pipeline runs, and is killed at a statement, or some moments into it, until it comes through.
Another one, never killed, is given the same changes. After each change both have the same records, identifiers,
profiles, ids, aliases, progress and quarantine; and whoever reads in between sees each profile as it was before or
as it is to be.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import piped
import piping_child
import pytest
import servers

PEOPLE, KILLS, AT_ONCE = 36, 31, 9
FLAGS = "CASE WHEN _deleted_at IS NULL THEN 0 ELSE 1 END AS gone"
TOLD = "record, customer_id, email, phone, name, balance"
TABLES = {
    "records": f"SELECT {TOLD}, _version, {FLAGS} FROM tidegate.customer_profiles_records",
    "identifiers": f"SELECT record, kind, value, {FLAGS} FROM tidegate.customer_profiles_identifiers",
    "progress": "SELECT source_id, _version, outcome, shape FROM tidegate.customer_profiles_progress",
    "unresolved": "SELECT record FROM tidegate.customer_profiles_unresolved",
    "members": "SELECT record, profile_id, home, CASE WHEN left_at IS NULL THEN 0 ELSE 1 END AS gone "
    "FROM tidegate.customer_profiles_members",
    "aliases": "SELECT alias, profile_id, why FROM tidegate.customer_profiles_aliases",
    "ids": "SELECT profile_id, CASE WHEN gone_at IS NULL THEN 0 ELSE 1 END AS gone "
    "FROM tidegate.customer_profiles_ids",
    "touched": "SELECT profile_id FROM tidegate.customer_profiles_touched",
    "profiles": f"SELECT profile_id, customer_id, email, phone, name, balance, sources, {FLAGS} "
    "FROM tidegate.customer_profiles",
}
State = dict[str, set[tuple[Any, ...]]]


class Site:
    """A stream, a model and a metadata database, which processes work on."""

    def __init__(self, mother: subprocess.Popen[str], folder: Path, url: str) -> None:
        folder.mkdir()
        self.mother, self.folder, self.url = mother, folder, url

    def run(self, **more: Any) -> dict[str, int] | None:
        """What a run came to; None if it was killed."""
        assert self.mother.stdin is not None
        assert self.mother.stdout is not None
        told = piping_child.Told(str(self.folder), self.url, **more)
        self.mother.stdin.write(msgspec.json.encode(told).decode() + "\n")
        self.mother.stdin.flush()
        said = self.mother.stdout.readline().strip()
        return None if said == "killed" else msgspec.json.decode(said, type=dict[str, int])

    def opened(self) -> contextlib.closing[piping_child.Place]:
        """For the test itself."""
        return contextlib.closing(piping_child.Place(self.folder, self.url))

    def changed(self, change: tuple[list[dict[str, Any]], list[dict[str, Any]]], version: int) -> None:
        """What a pull brings."""
        with self.opened() as place:
            for people, deleted in zip(change, (False, True), strict=True):
                place.pulled(*people, version=version, deleted=deleted)

    def seen(self, place: piping_child.Place, *names: str) -> State:
        """What a reader of some tables sees."""
        return {
            name: {
                tuple(row.values()) for batch in place.target.read(TABLES[name]) for row in batch.to_pylist()
            }
            for name in names
        }

    def state(self) -> State:
        """All that is there, without moments."""
        with self.opened() as place:
            found = self.seen(place, *TABLES)
            kept = place.store.tuples(
                "SELECT source_id, version, shape, property, why, payload FROM failed_records"
            )
        return {**found, "quarantine": set(kept)}


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the processes have their temporary files."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def mother(temporary: Path) -> Iterator[subprocess.Popen[str]]:
    command, told = [sys.executable, piping_child.__file__], {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=told
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def drawn(chance: random.Random, there: set[int]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """People who come or change, and people who go; some match no filter, some cannot be mapped."""
    chosen = chance.sample(range(PEOPLE), 14)
    gone = [number for number in chosen[:3] if number in there]
    people = [
        piped.person(
            number,
            name=chance.choice(["Ann", "Bob", None, "Zoë"]),
            email=chance.choice([f"p{chance.randrange(8)}@people.test", None]),
            phone=chance.choice([f"+4930{chance.randrange(8):06}", None, None]),
            address={"country": chance.choice(["DE", "DE", "DE", "FR"])},
            metadata={"balance": chance.choice(["7", "19", "seven"])},
        )
        for number in chosen
        if number not in gone
    ]
    there |= set(chosen)
    there -= set(gone)
    return people, [piped.person(number) for number in gone]


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_a_run_that_was_killed_anywhere_ends_as_one_that_never_was(
    mother: subprocess.Popen[str], temporary: Path, tmp_path: Path, kind: str
) -> None:
    chance = random.Random(f"killed {kind}")
    killed, whole = (
        Site(
            mother,
            tmp_path / name,
            servers.new_postgres() if kind == "postgres" else f"duckdb:///{tmp_path / name}/w.duckdb",
        )
        for name in ("killed", "whole")
    )
    kills, version, left, there = 0, 0, 0, set[int]()
    before: State = {name: set() for name in TABLES}
    sums = {"read": 0, "written": 0, "removed": 0}
    while kills < KILLS or version < 5:
        version += 1
        change = drawn(chance, there)
        for site in (killed, whole):
            site.changed(change, version)
        full = version % 5 == 0
        came = whole.run(full=full)
        assert came is not None
        wanted = whole.state()
        for time in range(AT_ONCE + 1):
            most = came["statements"] if time % 2 else came["statements"] // 2
            step = 0 if time == AT_ONCE else chance.randrange(1, most + 1)
            found = killed.run(step=step, later=chance.choice([0.0, 0.0, 0.001, 0.01]), full=full)
            if found is not None:
                break
            kills += 1
            left += len(list(temporary.iterdir()))
            if version > 1:
                with killed.opened() as place:
                    seen = killed.seen(place, "members", "profiles")
                assert seen["members"] in (before["members"], wanted["members"])
                assert seen["profiles"] <= before["profiles"] | wanted["profiles"]
                assert {row[0] for row in seen["profiles"]} >= {row[0] for row in before["profiles"]}
        assert found is not None
        assert list(temporary.iterdir()) == []
        assert found["read"] == found["filtered"] + found["failed"] + found["matched"]
        assert found["matched"] == found["written"] + found["unchanged"]
        assert found["in_quarantine"] == came["in_quarantine"]
        assert killed.state() == wanted, f"after change {version}"
        assert wanted["unresolved"] == wanted["touched"] == set()
        for name in sums:
            sums[name] += came[name]
        before = wanted
    outcomes = {row[2] for row in before["progress"]}
    assert outcomes == {"matched", "filtered", "failed"}
    assert before["aliases"]
    assert before["quarantine"]
    assert left
    assert all(sums.values())
