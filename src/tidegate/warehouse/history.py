"""Histories: the versions of a row, each from `_valid_from` until `_valid_to`, whatever the order they come in.

A stored version stands for two observations: what the row was at `_valid_from`, and that it was still so at
`_version`. So a version that comes late and lies between the two parts them, and what was seen last stays the open
one. What was seen between the two is not kept: where a state comes back, and versions come against their order in
separate loads, one may begin later than it did.

At one moment a version stands before an end, so that a row which began and was deleted within a second has a
version of no length, and none that is open. An end for which there is no version yet is buried under the history's
name, and waits there for versions that come late.
"""

from __future__ import annotations

import pyarrow as pa

from tidegate.warehouse import base, ddl, staging, tombstones

SEEN = "_version"
"""The column that says when a version was last seen, where the history has it."""

GIVEN = "_tidegate_given"
KEYS = "_tidegate_keys"
STORED = "_tidegate_stored"
GRAVES = "_tidegate_graves"
ITEMS = "_tidegate_items"
PLAN = "_tidegate_plan"

_INSTANTS = {"BIGINT": "to_timestamp({})", "TIMESTAMP WITH TIME ZONE": "{}"}
_VERSIONS = {"BIGINT": "CAST(epoch({}) AS BIGINT)", "TIMESTAMP WITH TIME ZONE": "{}"}

# Everything that is known of the affected keys, in time: versions and ends. `rank` says whose word counts where two
# differ at one moment; of those that agree, a stored beginning stays where it is.
_ITEMS = f"""
WITH points AS (
    SELECT k, moment, hash, line, NULL::BIGINT AS id, $given AS rank, 1 AS source
    FROM {GIVEN} JOIN {KEYS} USING (key) WHERE line IS NOT NULL
    UNION ALL
    SELECT k, seen, hash, line, NULL, $given, 1
    FROM {GIVEN} JOIN {KEYS} USING (key) WHERE line IS NOT NULL AND seen > moment
    UNION ALL
    SELECT k, since, hash, NULL, id, 2, 0 FROM {STORED}
    UNION ALL
    SELECT k, seen, hash, NULL, id, 3, 2 FROM {STORED} WHERE seen > since
), told AS (
    SELECT *, first_value(hash) OVER (PARTITION BY k, moment ORDER BY rank, line DESC, id DESC) AS told FROM points
), chosen AS (
    SELECT k, moment, false AS ends, hash, line, id, source FROM told WHERE hash IS NOT DISTINCT FROM told
    QUALIFY row_number() OVER (PARTITION BY k, moment ORDER BY source, line DESC, id DESC) = 1
), closing AS (
    SELECT k, moment FROM {GIVEN} JOIN {KEYS} USING (key) WHERE line IS NULL
    UNION
    SELECT k, moment FROM {GRAVES}
    UNION
    SELECT k, until FROM {STORED} AS s WHERE until IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM {STORED} AS n WHERE n.k = s.k AND n.since = s.until AND n.since > s.since)
), items AS (
    SELECT * FROM chosen UNION ALL SELECT k, moment, true, NULL, NULL, NULL, NULL FROM closing
), ordered AS (
    SELECT *, lead(moment) OVER w AS following, lag(ends) OVER w AS after_end,
        NOT ends AND (coalesce(lag(ends) OVER w, true) OR lag(hash) OVER w IS DISTINCT FROM hash) AS begins
    FROM items WINDOW w AS (PARTITION BY k ORDER BY moment, ends)
)
SELECT *, count(*) FILTER (begins) OVER (PARTITION BY k ORDER BY moment, ends ROWS UNBOUNDED PRECEDING) AS number
FROM ordered
"""

_PLAN = f"""
SELECT min(moment) AS _since, max(moment) AS _seen, last(following ORDER BY moment) AS _until,
    first(id ORDER BY moment) AS _id, first(line ORDER BY moment) AS _line, first(source ORDER BY moment) AS _source
FROM {ITEMS} WHERE NOT ends GROUP BY k, number
"""

_UNTOLD = f"""
SELECT key, CAST(epoch(moment) AS BIGINT) AS version, moment AS deleted_at, NULL::TIMESTAMPTZ AS synced_at
FROM {ITEMS} JOIN {KEYS} USING (k) WHERE ends AND coalesce(after_end, true)
AND NOT EXISTS (SELECT 1 FROM {GRAVES} AS g WHERE g.k = {ITEMS}.k AND g.moment = {ITEMS}.moment)
"""


def lay(place: staging.Place, staged: staging.Staged) -> base.Loaded:
    """Put versions where they belong; `inserted` counts those that became one of their own."""
    table, read = staged.load.table, staged.rows.num_rows
    if not read:
        return base.Loaded(table.name, 0, 0, 0, 0)
    types = place.types(table)
    seen = "NULL::TIMESTAMPTZ"
    if SEEN in staged.types and types[SEEN] in _INSTANTS:
        seen = _INSTANTS[types[SEEN]].format(staged.value(SEEN, types))
    given = _given(
        place,
        table,
        staged,
        staged.rows,
        staged.value("_valid_from", types),
        seen,
        "_row_hash",
        staging.ROW,
    )
    inserted = _lay(place, table, given, staged)
    return base.Loaded(table.name, read, inserted, 0, read - inserted)


def end(place: staging.Place, staged: staging.Staged, table: base.Table, rows: pa.Table) -> None:
    """End the versions of deleted rows, each at its deletion's version."""
    if not rows.num_rows:
        return
    version = ddl.convert(
        base.quoted(staged.load.table.version), staged.types[staged.load.table.version], "BIGINT"
    )
    given = _given(
        place, table, staged, rows, f"to_timestamp({version})", "NULL::TIMESTAMPTZ", "NULL", "NULL"
    )
    _lay(place, table, given, None)


def _given(
    place: staging.Place,
    table: base.Table,
    staged: staging.Staged,
    rows: pa.Table,
    at: str,
    seen: str,
    hash: str,
    row: str,
) -> pa.Table:
    """What a load says of a history: keys, moments, and hashes and numbers of rows, which ends do not have."""
    types = place.types(table)
    values = [staged.value(column, types) for column in table.key[:-1]]
    columns = ", ".join(f"{value} AS c{i}" for i, value in enumerate(values))
    with place.shown(staging.STAGE, rows):
        return place.query(
            f"SELECT {columns}, {tombstones.key(values)} AS key, {at} AS moment, {seen} AS seen, "
            f"CAST({hash} AS VARCHAR) AS hash, CAST({row} AS BIGINT) AS line FROM {staging.STAGE}"
        )


def _lay(place: staging.Place, table: base.Table, given: pa.Table, staged: staging.Staged | None) -> int:
    """Lay the affected keys' versions anew, writing only what changes; says how many rows of the load began one."""
    strict = staged is not None and staged.load.strict
    names = ", ".join(f"c{i}" for i in range(len(table.key) - 1))
    with place.shown(GIVEN, given):
        keys = place.query(
            f"SELECT *, row_number() OVER () AS k FROM (SELECT DISTINCT {names}, key FROM {GIVEN})"
        )
        with place.shown(KEYS, keys):
            stored, graves = _stored(place, table), _graves(place, table)
            with place.shown(STORED, stored), place.shown(GRAVES, graves):
                items = place.query(_ITEMS, {"given": 4 if strict else 1})
                with place.shown(ITEMS, items):
                    plan = place.query(_PLAN)
                    untold = place.query(_UNTOLD)
                with place.shown(PLAN, plan):
                    _move(place, table)
                    inserted = 0 if staged is None else _insert(place, staged)
                    _part(place, table)
                    left = place.query(
                        f"SELECT id FROM {STORED} WHERE id NOT IN (SELECT _id FROM {PLAN} WHERE _source = 0)"
                    )
    place.delete(table.name, left["id"])
    tombstones.bury(place, table, untold.cast(tombstones.GRAVES))
    return inserted


def _stored(place: staging.Place, table: base.Table) -> pa.Table:
    """The stored versions of KEYS."""
    types = place.types(table)
    seen = "NULL"
    if types.get(SEEN) in _INSTANTS:
        seen = _INSTANTS[types[SEEN]].format(f"t.{SEEN}")
    same = " AND ".join(f"t.{base.quoted(column)} = k.c{i}" for i, column in enumerate(table.key[:-1]))
    return place.query(
        "SELECT k.k, t.rowid AS id, t._valid_from AS since, t._valid_to AS until, t._row_hash AS hash, "
        f"greatest(t._valid_from, {seen}) AS seen FROM {place.name(table.name)} AS t JOIN {KEYS} AS k ON {same}"
    )


def _graves(place: staging.Place, table: base.Table) -> pa.Table:
    """The ends of KEYS that no version has."""
    if table.name.lower() not in place.buried:
        return pa.table({"k": pa.array([], pa.int64()), "moment": pa.array([], pa.timestamp("us", "UTC"))})
    return place.query(
        f"SELECT k, to_timestamp(_version) AS moment FROM {place.name(base.TOMBSTONES)} AS t JOIN {KEYS} AS k "
        "ON t.key = k.key WHERE t.table_name = ?",
        [table.name.lower()],
    )


def _move(place: staging.Place, table: base.Table) -> None:
    """Give stored versions that stay where they began their new ends."""
    types = place.types(table)
    seen = f", {SEEN} = {_VERSIONS[types[SEEN]].format('p._seen')}" if types.get(SEEN) in _VERSIONS else ""
    place.session.connection.execute(
        f"UPDATE {place.name(table.name)} AS t SET _valid_to = p._until{seen} "
        f"FROM (SELECT p.* FROM {PLAN} AS p JOIN {STORED} AS s ON p._id = s.id WHERE p._source = 0 "
        "AND (p._until IS DISTINCT FROM s.until OR p._seen <> s.seen)) AS p WHERE t.rowid = p._id"
    )


def _insert(place: staging.Place, staged: staging.Staged) -> int:
    """Add the versions that begin with a row of the load."""
    table = staged.load.table
    types = place.types(table)
    values = {column: staged.value(column, types) for column in staged.types} | _times(types)
    with place.shown(staging.STAGE, staged.rows):
        return _count(
            place.session.connection.execute(
                f"INSERT INTO {place.name(table.name)} ({', '.join(map(base.quoted, values))}) "
                f"SELECT {', '.join(values.values())} FROM {staging.STAGE} JOIN {PLAN} AS p "
                f"ON p._line = {staging.ROW} WHERE p._source = 1"
            ).fetchall()
        )


def _part(place: staging.Place, table: base.Table) -> None:
    """Add the later parts of stored versions that a late one parted."""
    values = {column: f"t.{base.quoted(column)}" for column in place.there[table.name.lower()]}
    values |= _times(place.types(table))
    place.session.connection.execute(
        f"INSERT INTO {place.name(table.name)} ({', '.join(map(base.quoted, values))}) "
        f"SELECT {', '.join(values.values())} FROM {place.name(table.name)} AS t JOIN {PLAN} AS p "
        "ON t.rowid = p._id WHERE p._source = 2"
    )


def _times(types: dict[str, str]) -> dict[str, str]:
    """What a version that is written gets from the plan instead of from its row."""
    times = {"_valid_from": "p._since", "_valid_to": "p._until"}
    if types.get(SEEN) in _VERSIONS:
        times[SEEN] = _VERSIONS[types[SEEN]].format("p._seen")
    return times


def _count(rows: list[tuple[int]]) -> int:
    return rows[0][0]
