"""What BigQuery's API does, over DuckDB: projects, jobs, load jobs, permissions, and trouble that tests ask for."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import bigquery_values as values
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from bigquery_session import CLUSTERS, Answer, Session
from bigquery_values import ARROW, DUCKDB, Refused
from google.auth import jwt

LARGEST = 10 * 1024 * 1024
"""Bytes of a request; https://cloud.google.com/bigquery/quotas#query_jobs"""
KEPT = 20
"""Projects at the same time, more than any test has."""


@dataclass
class Fault:
    """Trouble for one request whose path or SQL has `match` in it.

    `answer` is the error; None closes the connection, `after` the work is done. `later`: so many requests pass
    before.
    """

    match: str
    answer: Refused | None = None
    after: bool = False
    later: int = 0


@dataclass
class Job:
    """A query; it runs until `done`."""

    request: dict[str, Any]
    answer: Answer = field(default_factory=lambda: Answer([], []))
    error: Refused | None = None
    done: threading.Event = field(default_factory=threading.Event)


@dataclass
class Upload:
    """A resumable upload."""

    metadata: dict[str, Any]
    data: bytearray = field(default_factory=bytearray)
    job: dict[str, Any] | None = None
    """What the last piece was answered, which may come again."""


class Service:
    """All projects.

    `forbidden` are permissions that nobody has, `faults` what is answered instead of working. `slow` are parts of
    queries that are answered only when they are asked for again, `endless` of those that run until cancelled.
    `meanwhile` is called while a table is replaced by a query, which has read its rows already.
    """

    def __init__(self) -> None:
        self.database = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": "2GB"})
        self.database.execute("SET GLOBAL TimeZone = 'UTC'")
        self.database.execute(
            f"CREATE TABLE {CLUSTERS} (project TEXT, dataset TEXT, name TEXT, columns TEXT[])"
        )
        for name, function in (
            ("bq_safe_parse_json", values.parse_json),
            ("bq_parse_json", values.parse_json_strictly),
            ("bq_json_type", values.json_type),
            ("bq_json_scalar", values.json_scalar),
        ):
            handling = "special" if "parse" in name else "default"
            self.database.create_function(name, function, ["VARCHAR"], "VARCHAR", null_handling=handling)  # type: ignore[arg-type]  # takes names of types
        self.projects: dict[str, None] = {}
        self.missing: set[str] = set()
        self.jobs: dict[str, Job] = {}
        self.requests: dict[str, str] = {}
        """Jobs by the ids of requests, so that a request that comes again does nothing."""
        self.uploads: dict[str, Upload] = {}
        self.expires: dict[tuple[str, str, str], float] = {}
        self.loads: list[str] = []
        self.queries: list[str] = []
        self.accounts: dict[str, str] = {}
        """The public keys of service accounts, by their addresses."""
        self.guarded: set[str] = set()
        """Projects that only who has one of `tokens` may enter."""
        self.tokens: set[str] = set()
        self.collated: set[tuple[str, str]] = set()
        """Datasets, with their projects, whose new tables do not tell upper from lower case by default."""
        self.numbers = itertools.count(1)
        self.lock = threading.RLock()
        self.behave()

    def behave(self) -> None:
        """Forget all trouble."""
        self.forbidden: set[str] = set()
        self.faults: list[Fault] = []
        self.slow: list[str] = []
        self.endless: list[str] = []
        self.meanwhile: Callable[[], None] | None = None

    def fault(self, text: str, *, after: bool) -> None:
        """The trouble that is prepared for a request, before or after its work."""
        for each in list(self.faults):
            if each.match in text and each.after == after:
                if each.later:
                    each.later -= 1
                    continue
                self.faults.remove(each)
                raise each.answer or ConnectionAbortedError

    def allowed(self, permission: str, thing: str) -> None:
        """Refuse what is forbidden; BigQuery's words."""
        if permission in self.forbidden:
            raise Refused(
                403,
                "accessDenied",
                f"Access Denied: {thing}: User does not have permission {permission} on {thing}, "
                "or perhaps it does not exist.",
            )

    def project(self, name: str) -> str:
        """The DuckDB database of a project; the oldest is forgotten, as DuckDB lists the columns of all of them."""
        if name in self.missing:
            raise Refused(404, "notFound", f"Not found: Project {name}")
        with self.lock:
            if name not in self.projects:
                self.database.execute(f"ATTACH ':memory:' AS {values.quoted(name)}")
                self.projects[name] = None
                if len(self.projects) > KEPT:
                    oldest = next(iter(self.projects))
                    del self.projects[oldest]
                    self.database.execute(f"DETACH {values.quoted(oldest)}")
        return name

    def token(self, assertion: str) -> str:
        """A token for a service account that shows that it has its key."""
        claims = jwt.decode(assertion, verify=False)
        certificate = self.accounts.get(str(claims["iss"]))
        if certificate is None:
            raise Refused(400, "invalid_grant", "Invalid grant: account not found")
        try:
            jwt.decode(assertion, certs=certificate)
        except ValueError:
            raise Refused(400, "invalid_grant", "Invalid JWT Signature.") from None
        self.tokens.add(made := f"ya29.{next(self.numbers)}")
        return made

    # Queries

    def query(self, project: str, request: dict[str, Any], name: str) -> tuple[str, Job]:
        """jobs.query and jobs.insert: a statement, or a script; `name` is the job's, "" if it has none yet."""
        known = self.requests.get(request.get("requestId", ""))
        if known is not None:
            return known, self.jobs[known]
        if name in self.jobs:
            raise Refused(409, "duplicate", f"Already Exists: Job {project}:US.{name}")
        text = request["query"]
        assert not request.get("useLegacySql", True), "Only GoogleSQL is spoken here."
        self.queries.append(text)
        self.fault(text, after=False)
        self.allowed("bigquery.jobs.create", f"Project {project}")
        name = name or f"job_{next(self.numbers)}"
        job = self.jobs[name] = Job(request)
        if "requestId" in request:
            self.requests[request["requestId"]] = name
        if any(each in text for each in self.endless):
            return name, job
        cursor = self.database.cursor()
        try:
            cursor.execute(f'USE "{self.project(project)}"')
            session = Session(self, project, cursor, request.get("queryParameters", []))
            with self.lock:
                job.answer = session.run(text)
        except Refused as error:
            job.error = error
        finally:
            job.done.set()
            cursor.close()
        self.fault(text, after=True)
        return name, job

    def cancel(self, name: str) -> None:
        """jobs.cancel."""
        job = self.jobs[name]
        if not job.done.is_set():
            job.error = Refused(400, "stopped", "Job execution was cancelled: User requested cancellation")
            job.done.set()

    # Tables

    def replaced(self) -> None:
        """What others do while a query reads what a table is replaced with: nothing keeps them from it."""
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            self.lock.release()
            try:
                meanwhile()
            finally:
                self.lock.acquire()

    def create_table(self, project: str, dataset: str, resource: dict[str, Any]) -> None:
        """tables.insert."""
        name = resource["tableReference"]["tableId"]
        self.allowed("bigquery.tables.create", f"Dataset {project}:{dataset}")
        columns = [(each["name"], values.wire(each["type"])) for each in resource["schema"]["fields"]]
        for column, _ in columns:
            values.check_column(column)
        if not values.TABLE.fullmatch(name):
            raise Refused(400, "invalid", f'Invalid table ID "{name}".')
        is_collated = (project, dataset) in self.collated and resource.get("defaultCollation") != ""
        told = ", ".join(
            f"{values.quoted(column)} {DUCKDB[kind]}"
            + (" COLLATE NOCASE" if is_collated and kind == "STRING" else "")
            for column, kind in columns
        )
        with self.lock:
            self.dataset(project, dataset)
            try:
                self.database.cursor().execute(f"CREATE TABLE {self.place(project, dataset, name)} ({told})")
            except duckdb.CatalogException:
                raise Refused(409, "duplicate", f"Already Exists: Table {project}:{dataset}.{name}") from None
            if "expirationTime" in resource:
                self.expires[project, dataset, name] = int(resource["expirationTime"]) / 1000

    def place(self, *names: str) -> str:
        """A table's name as DuckDB writes it."""
        return ".".join(map(values.quoted, names))

    def dataset(self, project: str, dataset: str) -> None:
        """Raise where there is no such dataset."""
        text = "SELECT 1 FROM duckdb_schemas() WHERE database_name = ? AND schema_name = ?"
        found = self.database.cursor().execute(text, [self.project(project), dataset]).fetchall()
        if not found:
            raise Refused(
                404, "notFound", f"Not found: Dataset {project}:{dataset} was not found in location US"
            )

    def drop_table(self, project: str, dataset: str, name: str) -> None:
        """tables.delete."""
        self.allowed("bigquery.tables.delete", f"Table {project}:{dataset}.{name}")
        with self.lock:
            self.dataset(project, dataset)
            try:
                self.database.cursor().execute(f"DROP TABLE {self.place(project, dataset, name)}")
            except duckdb.CatalogException:
                raise Refused(404, "notFound", f"Not found: Table {project}:{dataset}.{name}") from None

    def expire(self, project: str, dataset: str, name: str) -> None:
        """Drop a table whose time is over."""
        if self.expires.get((project, dataset, name), math.inf) < time.time():
            del self.expires[project, dataset, name]
            with contextlib.suppress(Refused):
                self.drop_table(project, dataset, name)

    def load(self, project: str, upload: Upload) -> int:
        """A load job of Parquet into a table that is there; how many rows."""
        settings = upload.metadata["configuration"]["load"]
        target = settings["destinationTable"]
        dataset, name = target["datasetId"], target["tableId"]
        self.loads.append(name)
        self.fault("load job", after=False)
        self.allowed("bigquery.tables.updateData", f"Table {project}:{dataset}.{name}")
        assert settings["sourceFormat"] == "PARQUET", "Only Parquet is loaded here."
        assert settings["writeDisposition"] == "WRITE_APPEND", "Only appending is done here."
        rows = pq.read_table(io.BytesIO(bytes(upload.data)))
        wanted = {each["name"]: values.wire(each["type"]) for each in settings["schema"]["fields"]}
        _check_file(rows.schema, wanted, settings.get("decimalTargetTypes", ["NUMERIC"]))
        with self.lock:
            cursor = self.database.cursor()
            cursor.register("loaded", rows)
            names = ", ".join(map(values.quoted, wanted))
            place = self.place(self.project(project), dataset, name)
            try:
                cursor.execute(f"INSERT INTO {place} ({names}) SELECT {names} FROM loaded")
            except duckdb.CatalogException:
                raise Refused(404, "notFound", f"Not found: Table {project}:{dataset}.{name}") from None
            finally:
                cursor.close()
        return rows.num_rows


def _check_file(schema: pa.Schema, wanted: dict[str, str], decimals: list[str]) -> None:
    """Refuse columns of a Parquet file that are not the table's."""
    reading = "Error while reading data, error message:"
    if set(schema.names) != set(wanted):
        raise Refused(400, "invalid", f"{reading} schema and file have other columns")
    for column, kind in wanted.items():
        there = schema.field(column).type
        if there != ARROW[kind] or (pa.types.is_decimal(there) and kind not in decimals):
            raise Refused(
                400,
                "invalid",
                f"{reading} Parquet column '{column}' has type {there} which does not match the target "
                f"cpp_type {kind}.",
            )
