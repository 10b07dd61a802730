"""What merging records into profiles costs: `python bench/profiles.py [--records 1000000] [--profiles 600000]`.

Records of the default model, a third of them alone in their profile, are merged inside a DuckDB file that is
opened as Tidegate opens it. Where several share a profile, their pipelines, accounts and arrays differ. Then all
are merged again, and a thousand profiles with a changed record.
"""

from __future__ import annotations

import argparse
import datetime as dt
import resource
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import rich.console
import rich.table

from tidegate.customers import merging, names, records
from tidegate.shape import profile
from tidegate.warehouse import base, duckdb, scripts

GOALS = {"all for the first time": 60.0, "1,000 touched": 2.0}
"""CPU seconds for a million records in 600,000 profiles."""
ALONE = 0.35
"""The share of records that are alone in their profile."""
CHUNK = 100_000
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def main() -> None:
    """Make the records, merge them, show what it took."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--records", type=int, default=1_000_000)
    options.add_argument("--profiles", type=int, default=600_000)
    chosen = options.parse_args()
    shown = rich.table.Table(
        f"{chosen.records:,} records, {chosen.profiles:,} profiles", "written", "CPU s", "s", "goal CPU s"
    )
    with tempfile.TemporaryDirectory() as folder:
        customers = Customers(Path(folder), chosen.records, chosen.profiles)
        customers.fill()
        for label, prepare, everything in (
            ("all for the first time", None, True),
            ("all again", None, True),
            ("1,000 touched", customers.touch, False),
            ("1,000 touched, none changed", customers.touch_again, False),
        ):
            if prepare is not None:
                prepare()
            cpu, wall = _cpu(), time.perf_counter()
            merged = customers.merge(everything=everything)
            spent = [f"{_cpu() - cpu:.2f}", f"{time.perf_counter() - wall:.2f}"]
            shown.add_row(label, f"{merged.written:,}", *spent, f"{GOALS[label]:g}" if label in GOALS else "")
    rich.console.Console().print(shown)
    print(f"peak RSS {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB, with the rows' making")


class Customers:
    """A model in a file, and records for it."""

    def __init__(self, folder: Path, count: int, profiles: int) -> None:
        self.count, self.alone = count, round(count * ALONE)
        self.shared = max(1, profiles - self.alone)
        self.names, self.model = names.Names(), profile.of(None)
        self.warehouse = duckdb.DuckDB(folder / "warehouse.duckdb", "tidegate")
        tables = [*records.tables(self.names, self.model), merging.table(self.names, self.model)]
        self.warehouse.prepare([*tables, *self.names.kept])

    def fill(self) -> None:
        """Write all records, and which profile each belongs to."""
        for start in range(0, self.count, CHUNK):
            self.write(range(start, min(start + CHUNK, self.count)))

    def write(self, numbers: range, version: int = 0) -> None:
        """Write records by their numbers."""
        table, given = records.table(self.names, self.model), self.rows(numbers, version)
        rows = pa.table(
            [given.get(field.name, pa.nulls(len(numbers), field.type)) for field in table.schema],
            schema=table.schema,
        )
        members = pa.table({"record": given["record"], "profile_id": self.profiles(numbers)})
        self.warehouse.load(
            [base.Load(table, rows), base.Load(_ungated(self.names.members), members)],
            {},
        )

    def identify(self) -> None:
        """Write what records are recognised by, as records bring it: customer id, e-mail and phone."""
        table = self.names.identifiers
        for start in range(0, self.count, CHUNK):
            given = self.rows(range(start, min(start + CHUNK, self.count)), 0)
            for kind in ("customer_id", "email", "phone"):
                told = pa.table({"record": given["record"], "kind": pa.repeat(kind, len(given["record"]))})
                told = told.append_column("value", given[kind]).append_column("_version", given["_version"])
                told = told.append_column("number", pa.repeat(0, len(told)))
                known = told.filter(pc.is_valid(told["value"]))
                columns = [
                    known[field.name]
                    if field.name in known.column_names
                    else pa.nulls(len(known), field.type)
                    for field in table.schema
                ]
                self.warehouse.load([base.Load(table, pa.table(columns, schema=table.schema))], {})

    def rows(self, numbers: range, version: int) -> dict[str, pa.Array]:
        """The columns of records that are not empty."""
        n = pa.array(numbers, pa.int64())
        text = n.cast(pa.string())
        third = pa.array([each % 3 for each in numbers], pa.int64())
        pipelines = pc.binary_join_element_wise("pipeline", third.cast(pa.string()), "_")
        return {
            "record": pc.binary_join_element_wise(pipelines, "acct_1", text, "/"),
            "pipeline": pipelines,
            "_account_id": pc.binary_join_element_wise("acct", third.cast(pa.string()), "_"),
            "source_id": text,
            "customer_id": pc.binary_join_element_wise("cus", text, "_"),
            "name": pc.binary_join_element_wise("Jané Doe", text, " "),
            "email": pa.array([f"jane{each}@example.org" if each % 7 else None for each in numbers]),
            "phone": pa.array([f"+49{each:09}" if each % 3 else None for each in numbers], pa.string()),
            "address": pa.array([f'{{"city":"Berlin","line1":"Street {each}"}}' for each in numbers]),
            "metadata": pa.array([f'{{"plan":"pro","seats":"{each % 40}"}}' for each in numbers]),
            "preferred_locales": pa.array([('["de","en"]', '["fr"]', None)[each % 3] for each in numbers]),
            "balance": pc.add(n, version),
            "delinquent": pa.array([each % 5 == 0 for each in numbers]),
            "created": pc.multiply(n, 1_000_000).cast(names.MOMENT),
            "livemode": pa.repeat(True, len(numbers)),
            "_version": pc.add(n, version),
            "_synced_at": pa.repeat(pa.scalar(NOW, names.MOMENT), len(numbers)),
        }

    def profiles(self, numbers: range) -> pa.Array:
        """The profiles of records."""
        alone, shared = self.alone, self.shared
        told = (each if each < alone else alone + (each - alone) % shared for each in numbers)
        return pa.array([f"cup_{each:020}" for each in told], pa.string())

    def touch(self) -> None:
        """Change a record of a thousand profiles."""
        last = range(max(0, self.count - 1_000), self.count)
        self.write(last, self.count)
        self.touch_again()

    def touch_again(self) -> None:
        """Touch these profiles."""
        last = range(max(0, self.count - 1_000), self.count)
        ids = pa.table({"profile_id": self.profiles(last)})
        self.warehouse.load([base.Load(_ungated(self.names.touched), ids)], {})

    def merge(self, *, everything: bool) -> merging.Merged:
        """Merge, as a run does."""

        def work(script: scripts.Script) -> merging.Merged:
            return merging.merge(
                script,
                "duckdb",
                self.names,
                self.model,
                NOW,
                primary_source="pipeline_1",
                everything=everything,
            )

        return self.warehouse.scripted(work)


def _ungated(table: base.Table) -> base.Table:
    return base.Table(table.name, table.schema, table.key, "")


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
