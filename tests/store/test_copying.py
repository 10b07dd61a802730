"""What is known of a push's rows, taken into another database."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pushing

from tidegate.store import copying, database, holds, links, operations, pushed


def test_links_acknowledged_rows_and_holds_are_there_too(store: database.Database, tmp_path: Path) -> None:
    fence = pushing.fence(store)
    for key in ("1", "2"):
        pushing.write(store, fence, pushing.create(key), f"cus_{key}")
    links.unlink(store, fence, ["2"])
    holds.open(store, fence, [holds.Opening("3", "ambiguous", "Two match.", candidates=("cus_8", "cus_9"))])
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/other.db")) as other:
        assert copying.rows(store, other, pushing.PUSH, "acct_trial") == 2, "Two rows have objects."
        there = links.find(other, pushing.PUSH, ["1", "2"])
        assert {
            key: (each.target, each.account, each.livemode, each.gone) for key, each in there.items()
        } == {
            "1": ("cus_1", "acct_trial", False, ""),
            "2": ("cus_2", "acct_trial", False, "missing"),
        }
        assert pushed.find(other, pushing.PUSH, ["1"]) == pushed.find(store, pushing.PUSH, ["1"])
        assert holds.find(other, pushing.PUSH, "3") == holds.find(store, pushing.PUSH, "3")
        assert operations.listed(other) == []


def test_another_push_stays_where_it_is(store: database.Database, tmp_path: Path) -> None:
    pushing.write(store, pushing.fence(store), pushing.create("1"), "cus_1")
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/other.db")) as other:
        assert copying.rows(store, other, "nobody", "acct_trial") == 0
