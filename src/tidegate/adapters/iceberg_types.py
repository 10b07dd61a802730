"""Columns and files as Iceberg describes them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow.parquet as pq
import pyiceberg.io.pyarrow
from pyiceberg import manifest, schema, table, typedef
from pyiceberg import types as kinds_of

from tidegate.adapters import lake_files, storage
from tidegate.warehouse import ddl

_SCHEME = re.compile(r"^(?:(?P<bucket>s3[an]?://)|file:/+)")

JSON = "JSON"
"""The comment of a column that holds JSON."""


def _types() -> dict[str, kinds_of.IcebergType]:
    return {
        "BOOLEAN": kinds_of.BooleanType(),
        "BIGINT": kinds_of.LongType(),
        "DOUBLE": kinds_of.DoubleType(),
        "DECIMAL(38,12)": kinds_of.DecimalType(38, 12),
        "TIMESTAMP WITH TIME ZONE": kinds_of.TimestamptzType(),
        "JSON": kinds_of.StringType(),
        "VARCHAR": kinds_of.StringType(),
    }


TYPES = _types()


def note(kind: str) -> str | None:
    """The comment of a column."""
    return JSON if kind == "JSON" else None


def ids(found: schema.Schema) -> dict[str, int]:
    return {field.name: field.field_id for field in found.fields}


def ours(field: kinds_of.NestedField) -> str:
    if field.doc == JSON and isinstance(field.field_type, kinds_of.StringType):
        return "JSON"
    known = {native: ours for ours, native in TYPES.items() if ours != "JSON"}
    return known.get(field.field_type, "VARCHAR")


def shape(columns: ddl.Columns) -> schema.Schema:
    """The schema of a new table."""
    return schema.Schema(
        *(
            kinds_of.NestedField(
                field_id=number,
                name=name,
                field_type=TYPES[kind],
                required=False,
                doc=note(kind),
            )
            for number, (name, kind) in enumerate(columns.items(), 1)
        )
    )


def plain(path: str) -> str:
    """A path as we spell it, whoever wrote it down.

    Hadoop's file systems, by which Spark may write, begin paths with `s3a://`, and local ones with `file:/`.
    """
    return _SCHEME.sub(lambda found: "s3://" if found["bucket"] else "/", path)


def needed(opened: table.Table) -> Iterator[str]:
    """The paths of all files that a table, as it is and as it was, is made of."""
    found = opened.metadata
    yield opened.metadata_location
    yield from (each.metadata_file for each in found.metadata_log)
    yield from (each.statistics_path for each in (*found.statistics, *found.partition_statistics))
    seen = set()
    for snapshot in found.snapshots:
        yield snapshot.manifest_list
        for each in snapshot.manifests(opened.io):
            if each.manifest_path not in seen:
                seen.add(each.manifest_path)
                yield each.manifest_path
                yield from (entry.data_file.file_path for entry in each.fetch_manifest_entry(opened.io))


def data_file(
    transaction: table.Transaction, file: lake_files.File, place: storage.Storage
) -> manifest.DataFile:
    """A file with what its footer says of its columns, for the readers' pruning."""
    metadata = transaction.table_metadata
    path = f"file://{file.path}" if isinstance(place, storage.Local) else file.path
    with transaction._table.io.new_input(path).open() as stream:
        footer = pq.read_metadata(stream)
    found = metadata.schema()
    statistics = pyiceberg.io.pyarrow.data_file_statistics_from_parquet_metadata(
        parquet_metadata=footer,
        stats_columns=pyiceberg.io.pyarrow.compute_statistics_plan(found, metadata.properties),
        parquet_column_mapping=pyiceberg.io.pyarrow.parquet_path_to_id_mapping(found),
    )
    return manifest.DataFile.from_args(
        content=manifest.DataFileContent.DATA,
        file_path=path,
        file_format=manifest.FileFormat.PARQUET,
        partition=typedef.Record(),
        file_size_in_bytes=file.bytes,
        sort_order_id=None,
        spec_id=metadata.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )
