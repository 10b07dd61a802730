"""A customer model whose records and members a test writes itself, and the same merge in plain Python."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pyarrow as pa

from tidegate import config
from tidegate.customers import merging, names, records
from tidegate.shape import profile
from tidegate.warehouse import base, ddl, scripts

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def model(primary_source: str | None = None, **properties: Any) -> config.CustomerModel:
    """A model of some properties, identified by the first."""
    told = {"warehouse": "w", "identifiers": [next(iter(properties))], "properties": properties}
    if primary_source is not None:
        told["primary_source"] = primary_source
    return config.CustomerModel.model_validate(told)


@dataclass(frozen=True)
class Record:
    """A record by its profile, and what it says; documents and lists are JSON."""

    profile_id: str
    values: Mapping[str, Any] = field(default_factory=dict)
    pipeline: str = "crm"
    account: str = "acct_1"
    version: int = 1
    is_live: bool = True


Records = Mapping[str, Record]


class Customers:
    """A model in a warehouse."""

    def __init__(self, warehouse: base.Warehouse, told: config.CustomerModel) -> None:
        self.warehouse, self.named = warehouse, names.Names()
        self.become(told)

    def become(self, told: config.CustomerModel) -> None:
        """Have the properties of another model."""
        self.told, self.model = told, profile.of(told)
        self.table = merging.table(self.named, self.model)
        wanted = [*records.tables(self.named, self.model), self.table, *self.named.kept]
        self.warehouse.prepare(wanted)

    def write(self, records_by_key: Records) -> None:
        """Write records and where they belong, and touch their profiles."""
        table, kept = records.table(self.named, self.model), records_by_key.values()
        count = len(kept)
        own: dict[str, Iterable[Any]] = {
            "record": records_by_key.keys(),
            "pipeline": (each.pipeline for each in kept),
            "_account_id": (each.account for each in kept),
            "_version": (each.version for each in kept),
            "_deleted_at": (None if each.is_live else START for each in kept),
        }
        arrays = []
        for each in table.schema:
            values = own.get(each.name) or (_stored(one.values.get(each.name)) for one in kept)
            is_own = each.name in own or each.name in self.model.names
            arrays.append(pa.array(list(values), each.type) if is_own else pa.nulls(count, each.type))
        members = {
            "record": pa.array(records_by_key, pa.string()),
            "profile_id": pa.array([each.profile_id for each in kept], pa.string()),
            "left_at": pa.array([None if each.is_live else START for each in kept], names.MOMENT),
        }
        self.warehouse.load(
            [
                base.Load(table, pa.table(arrays, schema=table.schema)),
                base.Load(base.Table(*_parts(self.named.members)), pa.table(members)),
            ],
            {},
        )
        self.touch(each.profile_id for each in kept)

    def touch(self, profile_ids: Iterable[str]) -> None:
        """Say that profiles must be written anew."""
        ids = pa.table({"profile_id": pa.array(sorted(set(profile_ids)), pa.string())})
        self.warehouse.load([base.Load(base.Table(*_parts(self.named.touched)), ids)], {})

    def merge(
        self, day: int = 0, *, everything: bool = False, fence: base.Fence | None = None
    ) -> merging.Merged:
        """Merge so many days after the start."""

        def work(script: scripts.Script) -> merging.Merged:
            return merging.merge(
                script,
                self.warehouse.kind,
                self.named,
                self.model,
                START + day * DAY,
                fence,
                primary_source=self.told.primary_source,
                everything=everything,
            )

        return cast(scripts.Scripted, self.warehouse).scripted(work)

    def profiles(self, profile_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What is stored of profiles; documents and lists as they mean."""
        ids = pa.table({"profile_id": pa.array(sorted(set(profile_ids)), pa.string())})
        names_of = [each.name for each in self.table.schema if each.name != "profile_id"]
        found = self.warehouse.find(self.table, ids, names_of).to_pylist()
        documents = {each.name for each in self.model.schema if ddl.is_json(each)}
        return {
            row["profile_id"]: {
                name: json.loads(row[name]) if name in documents and row[name] is not None else row[name]
                for name in names_of
            }
            for row in found
        }

    def expected(self, records_by_key: Records) -> dict[str, dict[str, Any]]:
        """What the properties of the profiles of records must be, with their sources and accounts."""
        of_profile: dict[str, list[tuple[str, Record]]] = {}
        for key, each in records_by_key.items():
            if each.is_live:
                of_profile.setdefault(each.profile_id, []).append((key, each))
        return {profile_id: self._merged(of_profile[profile_id]) for profile_id in of_profile}

    def _merged(self, members: list[tuple[str, Record]]) -> dict[str, Any]:
        by_age = [each for _, each in sorted(members, key=lambda pair: (-pair[1].version, pair[0]))]
        found: dict[str, Any] = {}
        for each in self.model.properties:
            primary = each.primary_source or self.told.primary_source
            ranked = sorted(by_age, key=lambda one: one.pipeline != primary)
            values = [one.values[each.name] for one in ranked if one.values.get(each.name) is not None]
            found[each.name] = values[0] if values else None
            if each.target.type == "array" and any(value != values[0] for value in values):
                united: list[Any] = []
                for element in (element for value in values for element in value):
                    if element not in united:
                        united.append(element)
                found[each.name] = united
        found["sources"] = len(members)
        found["accounts"] = len({each.account for _, each in members})
        return found


def _parts(table: base.Table) -> tuple[str, pa.Schema, tuple[str, ...], str]:
    """A table without the version gate."""
    return table.name, table.schema, table.key, ""


def _stored(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
