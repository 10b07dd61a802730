"""BigQuery's REST API over DuckDB, as far as a warehouse needs it: queries, load jobs by resumable upload, tables.

Written after https://cloud.google.com/bigquery/docs/reference/rest and the SQL reference, for Google's own client.
It refuses on purpose what BigQuery refuses: other SQL than its own (as sqlglot knows it), DDL in a
transaction, names that it cannot hold, JSON numbers that are not exact, arrays of NULLs, comparing JSON,
changes of types that lose something, parameters that nobody declared, requests of more than 10 MB, decimals
in files that nobody allowed, sign-ins whose key is not the account's, values of another type than their
column, tables that are replaced by others clustered otherwise, jobs that were there before. A table that is
replaced by a query may change after the query has read it, and its changes are lost.

What it lacks: costs, slots, quotas, transactions at the same moment (they run one after the other), locations,
roles beyond single permissions, the order of JSON's keys.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import bigquery_engine as engine
import bigquery_values as values
from bigquery_values import Refused

Answer = tuple[int, Any, dict[str, str]]
"""Status, body and headers."""


class Handler(BaseHTTPRequestHandler):
    """The API."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits 40 ms for the client's delayed ACK
    wbufsize = -1
    service: engine.Service

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.answered_by(self.get)

    def do_POST(self) -> None:
        self.answered_by(self.post)

    def do_PUT(self) -> None:
        self.answered_by(self.put)

    def do_DELETE(self) -> None:
        self.answered_by(self.delete)

    def answered_by(self, work: Any) -> None:
        """Answer a request, errors too."""
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        parts = urllib.parse.urlsplit(self.path)
        self.steps = [urllib.parse.unquote(step) for step in parts.path.strip("/").split("/")]
        self.asked = dict(urllib.parse.parse_qsl(parts.query))
        try:
            self.enter()
            status, resource, headers = work()
        except Refused as error:
            status, headers, resource = error.status, {}, {"error": _told(error)}
            if error.reason == "invalid_grant":
                resource = {"error": error.reason, "error_description": error.message}
        except ConnectionAbortedError:
            self.close_connection = True
            self.connection.close()
            return
        except (
            Exception
        ) as error:  # what this stand-in does not know must not look like a server to try again
            message = f"This stand-in failed: {type(error).__name__}: {error}"
            status, headers, resource = 400, {}, {"error": {"code": 400, "message": message}}
        data = json.dumps(resource).encode() if resource is not None else b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def enter(self) -> None:
        """Refuse who has no token, and what is too much."""
        if "projects" not in self.steps:
            return
        if len(self.body) > engine.LARGEST and self.steps[0] == "bigquery":
            raise Refused(
                413, "uploadTooLarge", f"Request payload size exceeds the limit: {engine.LARGEST} bytes."
            )
        if self.project in self.service.guarded:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if token not in self.service.tokens:
                raise Refused(401, "authError", "Request had invalid authentication credentials.")

    @property
    def project(self) -> str:
        """The project of the path."""
        return self.steps[self.steps.index("projects") + 1]

    def post(self) -> Answer:
        """jobs.query, jobs.insert, jobs.cancel, tables.insert, the beginning of an upload, a token."""
        if self.steps == ["token"]:
            form = dict(urllib.parse.parse_qsl(self.body.decode()))
            return (
                200,
                {
                    "access_token": self.service.token(form["assertion"]),
                    "expires_in": 3600,
                    "token_type": "Bearer",
                },
                {},
            )
        if self.steps[0] in ("upload", "resumable"):
            assert self.asked["uploadType"] == "resumable", "Uploads are resumable here."
            self.service.allowed("bigquery.jobs.create", f"Project {self.project}")
            name = f"upload_{next(self.service.numbers)}"
            self.service.uploads[name] = engine.Upload(json.loads(self.body))
            address = f"http://{self.headers['Host']}{urllib.parse.urlsplit(self.path).path}?upload_id={name}"
            return 200, {}, {"Location": address}
        _, _, _, project, *rest = self.steps
        request = json.loads(self.body) if self.body else {}
        if rest == ["queries"]:
            name, job = self.service.query(project, request, "")
            if job.error is not None:
                raise job.error
            if any(each in request["query"] for each in self.service.slow):
                return 200, self.unfinished(name), {}
            return 200, self.page(name, job, 0, request.get("maxResults")), {}
        if rest == ["jobs"]:
            query = request["configuration"]["query"]
            name, _ = self.service.query(project, query, request["jobReference"]["jobId"])
            return 200, self.job(name), {}
        if rest[0] == "jobs" and rest[2:] == ["cancel"]:
            self.service.cancel(rest[1])
            return 200, {"job": self.job(rest[1])}, {}
        if rest[0] == "datasets" and rest[2:] == ["tables"]:
            self.service.create_table(project, rest[1], request)
            return 200, request, {}
        raise Refused(404, "notFound", "Not Found")

    def put(self) -> Answer:
        """A piece of an upload; after the last the load is done."""
        self.service.fault("upload", after=False)
        upload = self.service.uploads[self.asked["upload_id"]]
        found = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", self.headers["Content-Range"])
        assert found is not None, "A piece says where it belongs."
        assert int(found.group(1) or 0) <= len(upload.data), "Pieces follow each other."
        if upload.job is not None:
            return 200, upload.job, {}
        upload.data[int(found.group(1) or 0) :] = self.body
        if found.group(3) == "*" or len(upload.data) < int(found.group(3)):
            return 308, None, {"Range": f"bytes=0-{len(upload.data) - 1}"}
        status: dict[str, Any] = {"state": "DONE"}
        count = 0
        try:
            count = self.service.load(self.project, upload)
        except Refused as error:
            status |= _status(error)
        upload.job = {
            "jobReference": upload.metadata["jobReference"],
            "configuration": upload.metadata["configuration"],
            "status": status,
            "statistics": {"load": {"outputRows": str(count)}},
        }
        self.service.fault("load job", after=True)
        return 200, upload.job, {}

    def get(self) -> Answer:
        """jobs.get, and jobs.getQueryResults."""
        _, _, _, project, *rest = self.steps
        if rest[0] not in ("queries", "jobs") or rest[1] not in self.service.jobs:
            raise Refused(404, "notFound", f"Not found: Job {project}:{rest[-1]}")
        name, job = rest[1], self.service.jobs[rest[1]]
        if rest[0] == "jobs":
            self.service.allowed("bigquery.jobs.get", f"Job {project}:US.{name}")
            return 200, self.job(name), {}
        if not job.done.wait(0.5):
            return 200, self.unfinished(name), {}
        if job.error is not None:
            raise job.error
        start = int(self.asked.get("pageToken") or 0)
        return 200, self.page(name, job, start, self.asked.get("maxResults")), {}

    def delete(self) -> Answer:
        """tables.delete."""
        _, _, _, project, _, dataset, _, table = self.steps
        self.service.drop_table(project, dataset, table)
        return 204, None, {}

    def reference(self, name: str) -> dict[str, str]:
        """A job's name."""
        return {"projectId": self.project, "jobId": name, "location": "US"}

    def job(self, name: str) -> dict[str, Any]:
        """A query as a job."""
        job = self.service.jobs[name]
        place = {"projectId": self.project, "datasetId": "_anonymous", "tableId": name}
        status: dict[str, Any] = {"state": "DONE" if job.done.is_set() else "RUNNING"}
        return {
            "jobReference": self.reference(name),
            "configuration": {
                "jobType": "QUERY",
                "query": {"query": job.request["query"], "useLegacySql": False, "destinationTable": place},
            },
            "status": status | _status(job.error),
            "statistics": {"query": {"statementType": "SELECT"}},
        }

    def unfinished(self, name: str) -> dict[str, Any]:
        """The answer to who asks too early."""
        return {
            "kind": "bigquery#queryResponse",
            "jobReference": self.reference(name),
            "jobComplete": False,
        }

    def page(self, name: str, job: engine.Job, start: int, count: Any) -> dict[str, Any]:
        """Rows of a query, from one on."""
        answer = job.answer
        end = start + int(count) if count is not None else len(answer.rows)
        found: dict[str, Any] = {
            "kind": "bigquery#queryResponse",
            "jobReference": self.reference(name),
            "jobComplete": True,
            "totalRows": str(len(answer.rows)),
        }
        if answer.schema:
            rows = answer.rows[start:end]
            options = json.loads(self.body).get("formatOptions", {}) if self.body else {}
            exact = (
                options.get("useInt64Timestamp")
                or self.asked.get("formatOptions.useInt64Timestamp") == "True"
            )
            found |= {"schema": {"fields": answer.schema}}
            found |= {"rows": rows if exact else values.with_seconds(answer.schema, rows)}
        if answer.affected is not None:
            found["numDmlAffectedRows"] = str(answer.affected)
        if end < len(answer.rows):
            found["pageToken"] = str(end)
        return found


def _told(error: Refused) -> dict[str, Any]:
    each = {"message": error.message, "reason": error.reason, "domain": "global"}
    return {"code": error.status, "message": error.message, "errors": [each]}


def _status(error: Refused | None) -> dict[str, Any]:
    """What a job says of its failure."""
    if error is None:
        return {}
    told = {"reason": error.reason, "message": error.message}
    return {"errorResult": told, "errors": [told]}


def start() -> tuple[engine.Service, ThreadingHTTPServer]:
    """A server on a port of its own, running in a thread."""
    service = engine.Service()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Api", (Handler,), {"service": service}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return service, server
