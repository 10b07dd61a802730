"""What a warehouse knows of single rows: they are stored, or only their burial is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from tidegate.warehouse import base, ddl, gate, staging, tombstones

KEYS = "_tidegate_keys"
FEW = 1_000
"""Keys whose rows are found first and read then: a join by a text key reads every column that is asked for whole.

Of a million rows 2 take 50 ms instead of 180 then, 1,000 as long either way.
"""
FOUND = "_tidegate_found"


def find(place: staging.Place, table: base.Table, keys: pa.Table, columns: Sequence[str]) -> pa.Table:
    """One row per key that is stored or buried, in the order of `keys`; see `Warehouse.find`."""
    if table.name.lower() not in place.there:
        return nothing(table, columns)
    types = place.types(table)
    result = _schema(table, columns, types)
    rows = pa.array(range(keys.num_rows), pa.int64())
    given = keys.select(list(table.key)).append_column(staging.ROW, [rows])
    values = [
        ddl.convert(base.quoted(field.name), ddl.sql_type(field), types[field.name.lower()])
        for field in given.schema
        if field.name != staging.ROW
    ]
    buried = gate.may_be_buried(place, table)
    wanted = None if buried else _as_given(given, table, types)
    if wanted is None:
        numbered = ", ".join(f"{value} AS c{i}" for i, value in enumerate(values))
        text = f", {tombstones.key(values)} AS key" if buried else ""
        with place.shown(staging.STAGE, given):
            wanted = place.query(
                f"SELECT {numbered}{text}, min({staging.ROW}) AS row FROM {staging.STAGE} GROUP BY ALL"
            )
    with place.shown(KEYS, wanted):
        found = [_stored(place, table, result, wanted.num_rows)]
        if buried:
            graves = _buried(place, table, result)
            found.append(graves.filter(pc.invert(pc.is_in(graves["row"], value_set=found[0]["row"]))))
    return pa.concat_tables(found).sort_by("row").drop_columns(["row"])


def _as_given(given: pa.Table, table: base.Table, types: Mapping[str, str]) -> pa.Table | None:
    """The keys under the names that are asked for, where they are in the table's types, each of them once."""
    if any(ddl.sql_type(given.schema.field(column)) != types[column.lower()] for column in table.key):
        return None
    if _distinct(given, table.key) < given.num_rows:
        return None
    return given.rename_columns([*(f"c{i}" for i in range(len(table.key))), "row"])


def _distinct(given: pa.Table, key: Sequence[str]) -> int:
    """How many keys there are; `group_by` would load a part of Arrow first that takes a quarter of a second."""
    if len(key) == 1:
        distinct: int = len(pc.unique(given[key[0]]))
        return distinct
    distinct = given.group_by(list(key), use_threads=False).aggregate([]).num_rows
    return distinct


def nothing(
    table: base.Table, columns: Sequence[str], types: Mapping[str, str] = MappingProxyType({})
) -> pa.Table:
    """What is found where there is no table, or under none of the keys; `types` are its columns', in lower case."""
    return _schema(table, columns, types).empty_table()


def _stored(place: staging.Place, table: base.Table, result: pa.Schema, keys: int) -> pa.Table:
    types = place.types(table)
    values = {}
    for field in result:
        values[field.name] = "NULL" if field.name.lower() not in types else f"t.{base.quoted(field.name)}"
    values["_stored"] = "true"
    told = ", ".join(f"CAST({values[field.name]} AS {ddl.sql_type(field)})" for field in result)
    same = " AND ".join(f"t.{base.quoted(column)} = k.c{i}" for i, column in enumerate(table.key))
    stored = f"{place.name(table.name)} AS t"
    keyed = f"{stored} JOIN {KEYS} AS k ON {same}"
    if keys > FEW:
        return _shaped(_newest(place, table, told, keyed), result)
    with place.shown(FOUND, place.query(f"SELECT k.row, t.rowid AS id FROM {keyed}")):
        found = _newest(place, table, told, f"{stored} JOIN {FOUND} AS k ON t.rowid = k.id")
    return _shaped(found, result)


def _newest(place: staging.Place, table: base.Table, told: str, source: str) -> pa.Table:
    """One row per key; of rows that somebody doubled, the newest."""
    rows = f"SELECT k.row, {told} FROM {source}"
    found = place.query(rows)
    if len(pc.unique(found["row"])) < found.num_rows:
        order = f"t.{base.quoted(table.version)} DESC NULLS LAST" if table.version else "t.rowid DESC"
        found = place.query(f"{rows} QUALIFY row_number() OVER (PARTITION BY k.row ORDER BY {order}) = 1")
    return found


def _buried(place: staging.Place, table: base.Table, result: pa.Schema) -> pa.Table:
    values = dict.fromkeys(result.names, "NULL") | {column: f"k.c{i}" for i, column in enumerate(table.key)}
    values |= {table.version: "t._version", "_deleted_at": "t._deleted_at", "_stored": "false"}
    told = ", ".join(f"CAST({values[field.name]} AS {ddl.sql_type(field)})" for field in result)
    return _shaped(
        place.query(
            f"SELECT k.row, {told} FROM {place.name(base.TOMBSTONES)} AS t JOIN {KEYS} AS k ON t.key = k.key "
            "WHERE t.table_name = ? "
            "QUALIFY row_number() OVER (PARTITION BY k.row ORDER BY t._version DESC) = 1",
            [table.name.lower()],
        ),
        result,
    )


def _shaped(found: pa.Table, result: pa.Schema) -> pa.Table:
    wanted = pa.schema([pa.field("row", pa.int64()), *result])
    return found.rename_columns(wanted.names).cast(wanted)


def _schema(table: base.Table, columns: Sequence[str], types: Mapping[str, str]) -> pa.Schema:
    """The columns of what is found, in the types that the table has; where it lacks them, as declared."""
    names = dict.fromkeys(
        [*table.key, *([table.version] if table.version else []), "_deleted_at", "_stored", *columns]
    )
    declared = {field.name: field.type for field in table.schema}
    kinds: dict[str, pa.DataType] = {"_deleted_at": pa.timestamp("us", "UTC"), "_stored": pa.bool_()}
    fields = []
    for name in names:
        there = ddl.ARROW.get(types.get(name.lower(), ""), pa.string() if name.lower() in types else None)
        fields.append(pa.field(name, kinds.get(name) or there or declared.get(name, pa.string())))
    return pa.schema(fields)
