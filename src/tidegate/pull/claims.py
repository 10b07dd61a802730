"""The beginning of a pull in the warehouse: its tables are made, and it becomes their one writer.

A table that an earlier pull made and that is not there any more was dropped: what it held must be listed again.
Making it anew hides that, so that it is noted before, and struck out when every account has heard of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tidegate.pull import load, report
from tidegate.warehouse import base

MADE = "tables/made"
"""State key of the names of all tables that pulls made."""
LOST = "tables/lost"
"""State key of the names of tables that were dropped, and are not noted to be listed again for all accounts."""


def claim(
    warehouse: base.Warehouse, run_id: str, streams: Mapping[str, load.Target], source: str = ""
) -> tuple[base.Fence, frozenset[str]]:
    """Make the tables and become their one writer; also says which streams have lost their table.

    Whoever pulls other streams of the same `source` meanwhile would overwrite how far the events were followed and
    what is to be listed again; so of each source there is one writer, too.

    Killed anywhere and called again, it tells the same.
    """
    names = {target.table.name for target in streams.values()}
    saved, there = warehouse.state(MADE, LOST), _tables(warehouse)
    made, lost = _names(saved, MADE), _names(saved, LOST)
    gone = {name for name in names & made if name.lower() not in there}
    if not gone <= lost:
        warehouse.load([], {LOST: _text(lost | gone)})
    tables = [target.table for target in streams.values()]
    histories = [target.shape.history for target in streams.values()]
    warehouse.prepare([*tables, *(table for table in histories if table is not None), report.RUNS])
    places = [f"{base.STATE}/{source}"] if source else []
    fence = warehouse.claim(run_id, [*(table.name for table in tables), *places])
    if not names <= made:
        warehouse.load([], {MADE: _text(made | names)}, fence)
    missing = lost | gone
    return fence, frozenset(name for name, each in streams.items() if each.table.name in missing)


def found(warehouse: base.Warehouse, fence: base.Fence, tables: Collection[str]) -> None:
    """Every account knows by now that these tables are to be filled again."""
    left = _names(warehouse.state(LOST), LOST) - set(tables)
    warehouse.load([], {LOST: _text(left) or None}, fence)


def _tables(warehouse: base.Warehouse) -> set[str]:
    """The names of all tables there are, in lower case."""
    if not warehouse.columns(base.STATE):
        return set()
    batches = warehouse.read(
        "select lower(table_name) as name from information_schema.tables where lower(table_schema) = ?",
        (warehouse.schema.lower(),),
    )
    return {row["name"] for batch in batches for row in batch.to_pylist()}


def _names(saved: Mapping[str, str], key: str) -> set[str]:
    return set(filter(None, saved.get(key, "").split("\n")))


def _text(names: Collection[str]) -> str:
    return "\n".join(sorted(names))
