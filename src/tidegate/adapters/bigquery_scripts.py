"""How statements reach BigQuery: one by one, or many as one script with one transaction; users' queries as jobs."""

from __future__ import annotations

import abc
import contextlib
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import google.cloud.bigquery as bigquery  # noqa: PLR0402  # `from google.cloud` does not say what is missing
import pyarrow as pa
import requests
from google.api_core import exceptions

from tidegate import errors
from tidegate.adapters import bigquery_sql, bigquery_trouble, bigquery_wire
from tidegate.warehouse import remote, wire

BATCH = 10_000
"""Rows per page of a query."""

ANSWER = 60.0
"""Seconds after which the API answers that a query still runs, and is asked again."""


class Scripts(remote.Remote, abc.ABC):
    """A project, as far as it takes statements."""

    dialect = bigquery_sql.DIALECT
    alone: ClassVar[bool] = False

    def __init__(self, target: bigquery_wire.Target, schema: str, *, wait: float = 60.0) -> None:
        super().__init__(schema, wait=wait)
        self._target = target
        self._connection: bigquery.Client | None = None
        self._script: list[str] | None = None
        self._parameters: list[Any] = []
        self._location = target.location
        """Where the last statement ran; jobs of other places than the US and the EU are found there alone."""
        self._job: bigquery.QueryJob | None = None

    # Reaching

    def where(self) -> str:
        """The project."""
        return f"BigQuery's project {self._target.project}"

    def reach(self) -> str:
        """Open a connection to the API's host."""
        parts = urllib.parse.urlsplit(self._target.api_base)
        return wire.reached(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))

    def connect(self) -> None:
        """Make a client; what an earlier attempt knew is forgotten."""
        self._forget()
        if self._connection is None:
            self._connection = bigquery_wire.client(self._target)

    def disconnect(self) -> None:
        """Let go of the client's connections."""
        self._forget()
        client, self._connection = self._connection, None
        if client is not None:
            with contextlib.suppress(Exception):
                client.close()

    def _forget(self) -> None:
        self._script, self._parameters = None, []

    def _open(self) -> bigquery.Client:
        if self._connection is None:
            self.connect()
        assert self._connection is not None, "It was just made."
        return self._connection

    def explain(self, error: Exception) -> errors.TidegateError | None:
        """What an error of Google's libraries means."""
        email = getattr(self._connection and self._connection._credentials, "service_account_email", None)
        datasets = (bigquery_wire.spelled(self.schema), bigquery_wire.spelled(self.live))
        target = self._target
        return bigquery_trouble.meaning(
            error, bigquery_trouble.Place(target.project, datasets, target.api_base, email)
        )

    # Statements

    def execute(self, text: str, parameters: Sequence[object] = ()) -> None:
        """Run a statement, or note it for the script of the transaction."""
        if self._script is not None:
            self._script.append(text)
            self._parameters += parameters
            return
        self._run(text, parameters)

    def _run(self, text: str, parameters: Sequence[object] = ()) -> Any:
        answer = self._open().query_and_wait(
            text,
            job_config=_settings(parameters),
            page_size=BATCH,
            retry=bigquery_wire.retry(),
            job_retry=None,  # type: ignore[arg-type]  # None is documented, and not in its signature
            api_timeout=ANSWER,
            wait_timeout=None,
        )
        self._location = answer.location or self._location
        return answer

    def _run_as(self, job: str, text: str, parameters: Sequence[object]) -> None:
        """Run a script under a name, by which others learn of its end; also where it came twice it runs once."""
        client = self._open()
        try:
            made: Any = client.query(
                text,
                job_config=_settings(parameters),
                job_id=job,
                location=self._location,
                retry=bigquery_wire.retry(),
                job_retry=None,
                timeout=ANSWER,
            )
        except exceptions.Conflict:  # its answer was lost
            made = client.get_job(job, location=self._location, retry=bigquery_wire.retry())
        made.result(retry=bigquery_wire.retry(), job_retry=None)

    def _is_over(self, job: str, location: str) -> bool:
        """Has a job ended? BigQuery remembers them for months."""
        try:
            found = self._open().get_job(job, location=location or None, retry=bigquery_wire.retry())
        except exceptions.NotFound:
            return True
        return bool(found.state == "DONE")

    def fetch(
        self, text: str, parameters: Sequence[object] = (), *, stream: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query, page by page."""
        del stream  # all of them are
        if bigquery_sql.CATALOG.search(text):
            tables = {schema: self.existing(schema) for schema in (self.schema, self.live)}
            text, known = bigquery_sql.catalog(text, tables)
            parameters = [*parameters, *known]
        return _batches(self._run(text, parameters), ours=True)

    def ask(self, text: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """The rows of a user's query, as a job that `interrupt` can cancel."""
        job = self._open().query(
            text,
            job_config=_settings(parameters),
            retry=bigquery_wire.retry(),
            job_retry=None,
            timeout=ANSWER,
        )
        self._job = job
        try:
            yield from _batches(
                job.result(page_size=BATCH, retry=bigquery_wire.retry(), job_retry=None), ours=False
            )
        finally:
            self._job = None

    def interrupt(self) -> None:
        """Ask BigQuery to cancel the query that runs."""
        job = self._job
        if job is not None:
            with contextlib.suppress(exceptions.GoogleAPICallError, requests.RequestException):
                job.cancel(retry=None, timeout=bigquery_wire.PATIENCE)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is executed inside becomes one script with one transaction, run at the end."""
        self._script, self._parameters = [], []
        try:
            yield
            statements, parameters = self._script, self._parameters
        finally:
            self._script, self._parameters = None, []
        if statements:
            whole = ["BEGIN TRANSACTION", *statements, "COMMIT TRANSACTION"]
            self._run(";\n".join(whole) + ";", parameters)


def _settings(parameters: Sequence[object]) -> bigquery.QueryJobConfig:
    return bigquery.QueryJobConfig(
        query_parameters=[bigquery_wire.parameter(f"p{i}", each) for i, each in enumerate(parameters)]
    )


def _batches(rows: Any, *, ours: bool) -> Iterator[pa.RecordBatch]:
    """The pages of an answer; one without rows at least."""
    fields, count = list(rows.schema), 0
    for page in rows.pages:
        count += 1
        yield bigquery_wire.batch(fields, page.raw_page.get("rows", ()), ours=ours)
    if not count:
        yield bigquery_wire.batch(fields, (), ours=ours)
