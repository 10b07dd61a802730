"""The tables that Tidegate keeps beside the rows, in the types of `ddl`."""

from __future__ import annotations

from tidegate.warehouse import base, ddl

TIME = "TIMESTAMP WITH TIME ZONE"

STATE: ddl.Columns = {"key": "VARCHAR", "value": "VARCHAR", "updated_at": TIME}
"""Positions, claims, and whatever else must be committed with rows."""

GRAVES: ddl.Columns = {
    "table_name": "VARCHAR",
    "key": "VARCHAR",
    "_version": "BIGINT",
    "_deleted_at": TIME,
    "_synced_at": TIME,
}
"""What is left of rows that were deleted hard."""

TABLES: dict[str, tuple[ddl.Columns, tuple[str, ...]]] = {
    base.STATE: (STATE, ("key",)),
    base.TOMBSTONES: (GRAVES, ()),
}
"""All of them by name, with their keys."""
