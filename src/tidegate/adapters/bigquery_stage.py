"""Rows on their way into BigQuery: Parquet, by load jobs, into stage tables beside the tables they are for.

A stage table is dropped by who made it, after a kill by the next load once it is an hour old, and else by BigQuery
when it expires.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import re
import tempfile
import time
from collections.abc import Iterable

import google.cloud.bigquery as bigquery  # noqa: PLR0402  # `from google.cloud` does not say what is missing
import pyarrow as pa
import pyarrow.parquet as pq
import requests
from google.api_core import exceptions

from tidegate.adapters import bigquery_wire
from tidegate.warehouse import ddl

PREFIX = "_tidegate_stage_"
LIFETIME = 6 * 3600
"""Seconds after which BigQuery drops a stage table by itself; no load takes that long."""
ABANDONED = 3600
"""Seconds after which the next load drops a stage table that another left behind."""
ROOM = 8_000_000
"""Bytes of a request for rows; BigQuery takes 10 MB."""


def abandoned(tables: Iterable[str]) -> list[str]:
    """The stage tables among `tables` that nobody fills any more; their names tell when they were made."""
    names = [(table, re.fullmatch(PREFIX + r"([0-9a-f]+)_[0-9a-f]{8}", table)) for table in tables]
    oldest = time.time() - ABANDONED
    return [table for table, born in names if born and int(born.group(1), 16) < oldest]


def drop(client: bigquery.Client, place: str) -> None:
    """Drop a stage table; what cannot be dropped now expires."""
    with contextlib.suppress(exceptions.GoogleAPICallError, requests.RequestException):
        client.delete_table(place, not_found_ok=True, retry=None)  # type: ignore[arg-type]  # None: once


class Stages:
    """The rows of one request, and the stage tables for what has no room in it, dropped when `stack` closes.

    `dataset` is `project.dataset`.
    """

    def __init__(self, stack: contextlib.ExitStack, client: bigquery.Client, dataset: str) -> None:
        self._stack, self._client, self._dataset = stack, client, dataset
        self._jobs: list[bigquery.LoadJob] = []
        self._room = ROOM

    def near(self, rows: pa.Table) -> str:
        """The stage table into which rows are being loaded, "" where they may travel as a parameter."""
        weight = bigquery_wire.weight(rows)
        if weight > self._room:
            return self._begun(rows)
        self._room -= weight
        return ""

    def _begun(self, rows: pa.Table) -> str:
        name = f"{PREFIX}{int(time.time()):x}_{random.randrange(16**8):08x}"
        rows = rows.rename_columns([bigquery_wire.spelled(column) for column in rows.column_names])
        kinds = [bigquery_wire.TRAVELLING[ddl.sql_type(field)] for field in rows.schema]
        fields = [
            bigquery.SchemaField(field.name, kind) for field, kind in zip(rows.schema, kinds, strict=True)
        ]
        # Joined with a text without regard to case, any other is compared so too.
        table = bigquery.Table.from_api_repr(
            bigquery.Table(f"{self._dataset}.{name}", schema=fields).to_api_repr() | {"defaultCollation": ""}
        )
        table.expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=LIFETIME)
        self._client.create_table(table, retry=bigquery_wire.retry())
        self._stack.callback(drop, self._client, f"{self._dataset}.{name}")
        settings = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            decimal_target_types=[bigquery.DecimalTargetType.BIGNUMERIC],
            schema=fields,
        )
        with tempfile.TemporaryFile() as file:
            pq.write_table(rows, file, compression="zstd")
            self._jobs.append(
                self._client.load_table_from_file(
                    file, table.reference, rewind=True, job_config=settings, num_retries=2
                )
            )
        return name

    def finish(self) -> None:
        """Wait until all rows are in."""
        for job in self._jobs:
            job.result(retry=bigquery_wire.retry())
