"""fakesnow behind Snowflake's wire protocol, made stricter; runs in an environment of its own (fakesnow.txt).

What fakesnow lets pass and Snowflake does not: sign-ins are checked, databases exist only once they are created,
queries need a warehouse, DDL commits the open transaction, an UPDATE, DELETE or MERGE locks its table until its
transaction ends and others wait for it, a transaction that nobody goes on with is given up when it stands in
another one's way (after a second, for five minutes), PARSE_JSON turns numbers into what a VARIANT keeps of them,
sorts keys and refuses doubled ones, NULL timestamps stay NULL over Arrow, errors have Snowflake's words, a
request that is sent again with its id is answered again, not run again, and a statement can be cancelled.

Its administrator has set ACCOUNT: a session that does not say otherwise gets few rows, none of them as Arrow, and
commits nothing by itself. Columns that do not say otherwise do not tell capitals from small letters.

POST /control makes it misbehave in one database: see `Trouble`. Prints its port; ends when its input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gzip
import json
import logging
import math
import os
import re
import secrets
import socket
import string
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import duckdb
import fakesnow.arrow
import fakesnow.cursor
import fakesnow.info_schema
import fakesnow.macros
import fakesnow.server
import fakesnow.transforms
import jwt
import pyarrow as pa
import uvicorn
from fakesnow.instance import FakeSnow
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

USER, PASSWORD, WAREHOUSE, ROLE = "TIDEGATE", "s3cret", "LOADING", "LOADER"
GIVEN_UP = 1.0
"""Seconds that a transaction may stand idle in the way of another."""
SLOW = 3.0

ACCOUNT: dict[str, Any] = {
    "AUTOCOMMIT": False,
    "LOCK_TIMEOUT": 43200,
    "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT": "JSON",
    "ROWS_PER_RESULTSET": 100,
}
"""Session parameters as the account has them."""


@dataclasses.dataclass
class Trouble:
    """What is wrong with a database."""

    revoked: set[str] = dataclasses.field(default_factory=set)
    """Privileges that the role lacks, keys of PRIVILEGES."""
    quota: bool = False
    """The warehouse has no credits left."""
    cut: str = ""
    """A statement that matches this is run, and the connection closed without an answer; once."""
    busy: bool = False
    """No statement is run, and every answer is 503 Service Unavailable."""
    lose: str = ""
    """At a statement that matches this, the session is gone; once."""
    late: bool = False
    """The session is gone at its COMMIT, which is done all the same, once another session waits for it; once."""
    slow: str = ""
    """A statement that matches this takes SLOW seconds, unless it is cancelled; once."""
    silent: bool = False
    """Who goes on in a transaction that was given up is not told, but is in another one, as AUTOCOMMIT says."""
    expired: bool = False
    """Every session of now has been idle for too long; becomes false again."""
    log: list[str] = dataclasses.field(default_factory=list)
    """Every statement."""


PRIVILEGES = {
    "CREATE SCHEMA": (r"CREATE SCHEMA", "database"),
    "CREATE TABLE": (r"CREATE (TRANSIENT )?TABLE", "schema"),
    "CREATE VIEW": (r"CREATE (OR REPLACE )?VIEW", "schema"),
    "OWNERSHIP": (r"ALTER|DROP", "table"),
    "INSERT": (r"INSERT|COPY", "table"),
    "UPDATE": (r"UPDATE", "table"),
    "DELETE": (r"DELETE", "table"),
    "SELECT": (r"SELECT(?!.*INFORMATION_SCHEMA)", "table"),
}
"""The statements that need a privilege, and what it is a privilege on."""

troubles: dict[str, Trouble] = {}
keys: dict[str, str] = {}
"""Public keys by user."""
answers: dict[str, JSONResponse] = {}
"""What was answered, by the id of the request."""
trees: dict[str, exp.Expression] = {}
"""Statements as they were parsed."""
told: dict[tuple[str, int], list[tuple[Any, ...]]] = {}
"""The columns of results, by statement and what happened to its database before."""
past: dict[str, int] = {}
"""A hash of all DDL that a database has seen, but for its own name."""
transforms: dict[tuple[str, str | None], tuple[exp.Expression, str]] = {}
"""Statements as fakesnow says them to DuckDB, by text and schema, with the database that they were for."""

Session = Any
"""A connection of fakesnow."""


# Locks

moving = threading.Condition()
held: dict[tuple[str, ...], Session] = {}


def state(session: Session) -> dict[str, Any]:
    """What this server knows of a session beside what fakesnow does."""
    return session.__dict__.setdefault(
        "_strict",
        {
            **ACCOUNT,
            "open": "",
            "aborted": False,
            "running": 0,
            "touched": 0.0,
            "waited": False,
            "cancelled": False,
            "expired": False,
        },
    )


def lock(session: Session, table: tuple[str, ...]) -> None:
    """Wait until nobody else holds a table."""
    deadline = time.monotonic() + float(state(session)["LOCK_TIMEOUT"])
    with moving:
        while (holder := held.get(table)) not in (None, session):
            state(holder)["waited"] = True
            idle = time.monotonic() - state(holder)["touched"]
            if not state(holder)["running"] and idle > GIVEN_UP:
                end(holder, "rollback")
                state(holder)["aborted"] = not troubles[holder.database].silent
            elif time.monotonic() > deadline:
                raise ProgrammingError(
                    msg=f"Statement '01b2' has locked table '{table[-1]}' in transaction 17 and this lock has not "
                    "yet been released.",
                    errno=625,
                    sqlstate="57014",
                )
            else:
                moving.wait(0.02)
        held[table] = session


def end(session: Session, how: str) -> None:
    """Commit or roll back what is open, and let go of every lock."""
    with moving:
        if state(session)["open"] == "begun":
            with contextlib.suppress(duckdb.TransactionException):
                getattr(session._duck_conn, how)()
        state(session)["open"] = ""
        for table in [table for table, holder in held.items() if holder is session]:
            del held[table]
        moving.notify_all()


# Statements

execute_as_fakesnow = fakesnow.cursor.FakeSnowflakeCursor.execute
run_as_fakesnow = fakesnow.cursor.FakeSnowflakeCursor._execute
transform_as_fakesnow = fakesnow.cursor.FakeSnowflakeCursor._transform
parse_as_fakesnow = fakesnow.cursor.parse_one
lengths_as_fakesnow = fakesnow.info_schema.insert_text_lengths_sql
comment_as_fakesnow = fakesnow.info_schema.insert_table_comment_sql
macros_of_fakesnow = fakesnow.macros.creation_sql

CHANGES = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Copy)
DDL = (exp.Create, exp.Drop, exp.Alter, exp.TruncateTable)


def execute(self: Any, command: str, *args: Any, **kwargs: Any) -> Any:
    """Run what a client sent, with the rights it has."""
    session = self._conn
    if state(session)["aborted"]:
        state(session)["aborted"] = False
        raise ProgrammingError(msg="The transaction was aborted.", errno=604, sqlstate="57014")
    state(session)["running"] += 1
    try:
        permit(session, command)
        linger(session, command)
        for attempt in range(200):
            try:
                return limited(execute_as_fakesnow(self, command, *args, **kwargs))
            except duckdb.TransactionException:
                # DuckDB's DDL does not wait, as Snowflake's does.
                if state(session)["open"] or attempt == 199:
                    raise
                time.sleep(0.05)
    except ProgrammingError as error:
        raise worded(error) from None
    except duckdb.InterruptException:
        raise ProgrammingError(msg="SQL execution canceled", errno=604, sqlstate="57014") from None
    except duckdb.Error as error:
        raise ProgrammingError(msg=str(error), errno=100038, sqlstate="22018") from None
    finally:
        state(session)["running"] -= 1
        state(session)["touched"] = time.monotonic()


def limited(cursor: Any) -> Any:
    """A result, with as many rows as the session may have."""
    most = state(cursor._conn)["ROWS_PER_RESULTSET"]
    if most and cursor._arrow_table is not None:
        cursor._arrow_table = cursor._arrow_table.slice(0, most)
    return cursor


def linger(session: Session, command: str) -> None:
    """Take the time that a statement takes; raise when it is cancelled."""
    trouble = troubles[session.database or ""]
    if not trouble.slow or not re.search(trouble.slow, command):
        return
    trouble.slow, until = "", time.monotonic() + SLOW
    while time.monotonic() < until:
        if state(session)["cancelled"]:
            raise ProgrammingError(msg="SQL execution canceled", errno=604, sqlstate="57014")
        time.sleep(0.02)


def permit(session: Session, command: str) -> None:
    """Raise what Snowflake says to who may not do it."""
    trouble = troubles.setdefault(session.database or "", Trouble())
    trouble.log.append(command)
    for privilege, (pattern, what) in PRIVILEGES.items():
        if privilege in trouble.revoked and re.match(pattern, command, re.DOTALL | re.IGNORECASE):
            raise ProgrammingError(
                msg=f"SQL access control error:\nInsufficient privileges to operate on {what} 'X'",
                errno=3001,
                sqlstate="42501",
            )
    if re.match("SELECT|INSERT|UPDATE|DELETE|MERGE|COPY", command, re.IGNORECASE):
        if state(session).get("warehouse") != WAREHOUSE:
            raise ProgrammingError(
                msg="No active warehouse selected in the current session.  Select an active warehouse with the "
                "'use warehouse' command.\n",
                errno=606,
                sqlstate="57P03",
            )
        if trouble.quota:
            raise ProgrammingError(
                msg=f"Warehouse '{WAREHOUSE}' cannot be resumed because resource monitor 'LIMIT' has exceeded its "
                "quota.",
                errno=90073,
                sqlstate="22000",
            )


def worded(error: ProgrammingError) -> ProgrammingError:
    """An error as Snowflake says it."""
    found = re.search(
        r'(Table|Schema|View|Column)\w* (?:with name )?"?([^"\s]+)"? does not exist', error.msg or ""
    )
    if error.errno != 2003 or found is None:
        return error
    return ProgrammingError(
        msg=f"SQL compilation error:\nObject '{found[2]}' does not exist or not authorized.",
        errno=2003,
        sqlstate="42S02",
    )


def run(self: Any, transformed: exp.Expression, params: Any = None) -> None:
    """Run one statement, with transactions and locks as Snowflake has them."""
    session, own = self._conn, state(self._conn)
    if isinstance(transformed, exp.Transaction):
        if not own["open"]:
            own["open"] = "wanted"  # DuckDB's snapshot shall be no older than the first lock
        return run_as_fakesnow(self, fakesnow.transforms.SUCCESS_NOP)
    if isinstance(transformed, (exp.Commit, exp.Rollback)):
        end(session, "commit" if isinstance(transformed, exp.Commit) else "rollback")
        return run_as_fakesnow(self, fakesnow.transforms.SUCCESS_NOP)
    if isinstance(transformed, DDL):
        end(session, "commit")
        name = session.database or ""
        done = transformed.sql(dialect="duckdb").replace(name, "?") if name else ""
        past[name] = hash((past.get(name, 0), done))
    if isinstance(transformed, (exp.Update, exp.Delete, exp.Merge)):
        table = transformed.find(exp.Table)
        assert table is not None
        lock(session, (table.catalog or session.database, table.db or session.schema, table.name))
    if isinstance(transformed, CHANGES) and not own["open"] and not own["AUTOCOMMIT"]:
        own["open"] = "wanted"
    if own["open"] == "wanted":
        own["open"] = "begun"
        session._duck_conn.begin()
    try:
        run_as_fakesnow(self, transformed, params)
    finally:
        if not own["open"]:
            end(session, "commit")


def describe(self: Any) -> list[tuple[Any, ...]]:
    """The columns of the last result, without a detour through sqlglot; asked once for what must be alike."""
    database, text = self._conn.database or "", self._last_sql
    if "FROM" in text.upper():
        key = (text.replace(f'"{database}"', '"?"').replace(f"'{database}'", "'?'"), past.get(database, 0))
    else:
        key = (re.sub(r"[0-9]+", "0", text), 0)  # how many rows were changed
    if key not in told:
        told[key] = self._duck_conn.execute(f"DESCRIBE {text}", self._last_params).fetchall()
        forget(told)
    return told[key]


def parse(text: str, *args: Any, **kwargs: Any) -> exp.Expression:
    """A statement's tree; fakesnow asks for each one twice."""
    if args or kwargs or len(text) > 10_000:
        return parse_as_fakesnow(text, *args, **kwargs)
    with moving:
        if text not in trees:
            trees[text] = parse_as_fakesnow(text)
            forget(trees)
        tree = trees[text].copy()
    tree.meta["text"] = text
    return tree


def transform(self: Any, expression: exp.Expression, params: Any) -> exp.Expression:
    """A statement in DuckDB's words, PARSE_JSON as a VARIANT takes it.

    fakesnow walks 77 times through every tree; of the plain ones is kept what came of it, whatever the database.
    """
    if isinstance(expression, exp.Alter) and expression.args.get("kind") == "SESSION":
        return fakesnow.transforms.SUCCESS_NOP  # nothing here takes as long as a session allows
    if isinstance(expression, (exp.Put, exp.Copy)):
        expression = unquoted(expression.copy())
    database, schema = self._conn.database, self._conn.schema
    text = expression.meta.get("text", "")
    plain = isinstance(expression, (exp.Select, exp.Insert, exp.Update, exp.Delete)) or (
        isinstance(expression, exp.Create) and expression.expression is None
    )
    if not plain or not database or f'"{database}"' not in text or f"'{database}'" in text:
        return transform_as_fakesnow(self, expression.transform(parsing), params)
    key = (text.replace(f'"{database}"', '"?"'), schema)
    with moving:
        kept = transforms.get(key)
    if kept is None:
        transformed = transform_as_fakesnow(self, expression.transform(parsing), params)
        with moving:
            transforms[key] = (transformed.copy(), database)
            forget(transforms)
        return transformed
    tree, of = kept
    made = tree.copy()
    for name in [*made.find_all(exp.Identifier), *made.find_all(exp.Literal)]:
        if name.this == of:
            name.set("this", database)
    return made


def unquoted(tree: exp.Expression) -> exp.Expression:
    """A PUT or COPY whose stage stood between apostrophes, as only Snowflake takes it."""
    named = [tree.args["target"]] if isinstance(tree, exp.Put) else [each.this for each in tree.args["files"]]
    for name in named:
        stage = name.name
        if stage.startswith("'"):
            stage = stage[1:-1].replace("''", "'")
        elif isinstance(name, exp.Var) and re.search(r'"[^"]*[^\w"][^"]*"', stage, re.ASCII):
            raise ProgrammingError(msg="SQL compilation error:\nsyntax error", errno=1003, sqlstate="42000")
        name.replace(exp.var(stage))
    return tree


def forget(cache: dict[Any, Any]) -> None:
    while len(cache) > 2_000:
        del cache[next(iter(cache))]


def parsing(node: exp.Expression) -> exp.Expression:
    """What is said otherwise than fakesnow does: JSON, and the collation of columns."""
    if (
        isinstance(node, exp.ColumnDef)
        and node.args.get("kind")
        and node.kind.is_type(*exp.DataType.TEXT_TYPES)
    ):
        return collated(node)
    if isinstance(node, exp.ParseJSON):
        name = "_STRICT_TRY_PARSE_JSON" if node.args.get("safe") else "_STRICT_PARSE_JSON"
        return exp.Anonymous(this=name, expressions=[node.this])
    return node


def collated(column: exp.ColumnDef) -> exp.ColumnDef:
    """A column of texts with its own collation, or the account's DEFAULT_DDL_COLLATION, which is `en-ci`."""
    told = [each for each in column.constraints if isinstance(each.kind, exp.CollateColumnConstraint)]
    others = [each for each in column.constraints if each not in told]
    if not told:
        others.append(exp.ColumnConstraint(kind=exp.CollateColumnConstraint(this=exp.var("NOCASE"))))
    column.set("constraints", others)
    return column


def macros(catalog: str) -> str:
    """Functions that DuckDB lacks."""
    as_varchar = "CASE WHEN json_type(v) = 'VARCHAR' THEN json_extract_string(v, '$') END"
    return f"{macros_of_fakesnow(catalog)}; CREATE OR REPLACE MACRO {catalog}.AS_VARCHAR(v) AS {as_varchar};"


def apart(*texts: Any) -> list[Any]:
    """Texts as they may stand between apostrophes."""
    return [text.replace("'", "''") if isinstance(text, str) else text for text in texts]


def lengths(catalog: str, schema: str, table: str, columns: list[tuple[str, int]]) -> str:
    """SQL that notes how long texts may be."""
    return lengths_as_fakesnow(*apart(catalog, schema, table), [tuple(apart(*told)) for told in columns])


def comment(*names: str) -> str:
    """SQL that notes a comment."""
    return comment_as_fakesnow(*apart(*names))


class Words(string.Template):
    """SQL for what is said of something that was made."""

    def substitute(self, **names: Any) -> str:
        return super().substitute({key: apart(value)[0] for key, value in names.items()})


# Values

RISKY = re.compile(r"[0-9][eE.]|[0-9]{19}")


class Exact(float):
    """A number with the digits that it is written with."""

    text: str

    def __repr__(self) -> str:
        return self.text


def number(text: str) -> float:
    """A number of JSON, as a VARIANT keeps it: up to 38 digits as they are, others as a double."""
    whole, _, fraction = text.lstrip("-").partition(".")
    if "e" not in text.lower() and len(whole.lstrip("0")) + len(fraction) <= 38 and len(fraction) <= 37:
        kept = Exact(0)
        kept.text = text
        return kept
    if math.isinf(float(text)):
        raise ValueError("numeric value out of range")
    kept = Exact(0)
    kept.text = f"{float(text):.15e}"
    return kept


def sorted_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object with its keys in order."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("duplicate object attribute")
    return dict(sorted(pairs))


def parse_json(text: str) -> str | None:
    """A VARIANT, as JSON text."""
    if not text.strip():
        return None
    numbers = {"parse_float": number, "parse_int": number} if RISKY.search(text) else {}
    try:
        value = json.loads(text, object_pairs_hook=sorted_object, **numbers)
    except ValueError as error:
        raise ValueError(f"Error parsing JSON: {error}") from None
    return dumps(value)


def try_parse_json(text: str | None) -> str | None:
    """The same, but NULL for what is refused."""
    try:
        return None if text is None else parse_json(text)
    except ValueError:
        return None


def dumps(value: Any) -> str:
    """JSON, with exact numbers as they are."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{dumps(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dumps, value)) + "]"
    return value.text if isinstance(value, Exact) else json.dumps(value, ensure_ascii=False)


structs_as_fakesnow = fakesnow.arrow.timestamp_to_sf_struct


def structs(column: pa.ChunkedArray) -> pa.Array:
    """Timestamps as Snowflake's structs, NULL where they are NULL."""
    made = structs_as_fakesnow(column.fill_null(0) if column.null_count else column)
    arrays = [made.field(i) for i in range(made.type.num_fields)]
    absent = column.combine_chunks().is_null() if isinstance(column, pa.ChunkedArray) else column.is_null()
    return pa.StructArray.from_arrays(arrays, fields=list(made.type), mask=absent)


# Requests


async def login(request: Request) -> JSONResponse:
    """Sign in who may."""
    data = json.loads(await unpacked(request))["data"]
    refused = why_not(data, request.query_params)
    if refused:
        code, message = refused
        return JSONResponse(
            {"success": False, "code": code, "message": message, "data": {"nextAction": None}}
        )
    answer = json.loads((await fakesnow.server.login_request(request)).body)
    session = fakesnow.server.sessions[answer["data"]["token"]]
    state(session)["warehouse"] = (request.query_params.get("warehouse") or "").upper()
    session._autocommit = True  # this server begins and ends transactions, not fakesnow
    state(session).update(
        (name, data["SESSION_PARAMETERS"].get(name, value)) for name, value in ACCOUNT.items()
    )
    # Without one, the connector ends no session.
    answer["data"]["masterToken"] = secrets.token_urlsafe(32)
    answer["data"]["sessionInfo"] |= {
        "databaseName": session.database if session.database_set else None,
        "roleName": ROLE,
        "warehouseName": state(session)["warehouse"] or None,
    }
    return JSONResponse(answer)


def why_not(data: dict[str, Any], parameters: Any) -> tuple[str, str] | None:
    """The code and the words of a sign-in that fails."""
    user = data.get("LOGIN_NAME", "").upper()
    if data.get("AUTHENTICATOR") == "SNOWFLAKE_JWT":
        try:
            jwt.decode(data["TOKEN"], keys[user], algorithms=["RS256"])
        except (KeyError, jwt.PyJWTError):
            return "390144", "JWT token is invalid. [0ce9eb56-821d-4ca9-a774-04ae89a0cf5a]"
    elif (user, data.get("PASSWORD")) != (USER, PASSWORD):
        return "390100", "Incorrect username or password was specified."
    if parameters.get("roleName", ROLE).upper() != ROLE:
        return "390189", "Role 'X' specified in the connect string does not exist or not authorized."
    return None


async def query(request: Request) -> Response:
    """Run a statement, once."""
    number = request.query_params["requestId"]
    if number in answers:
        return answers[number]
    try:
        session = fakesnow.server.to_conn(fakesnow.server.to_token(request))
    except fakesnow.server.ServerError:
        return gone()
    text = json.loads(await unpacked(request))["sqlText"]
    trouble = troubles.setdefault(session.database or "", Trouble())
    if state(session)["expired"]:
        return gone("390114", "Authentication token has expired.  The user must authenticate again.")
    if trouble.busy:
        return Response(status_code=503)
    if trouble.lose and re.search(trouble.lose, text):
        trouble.lose = ""
        await asyncio.to_thread(end, session, "rollback")
        del fakesnow.server.sessions[fakesnow.server.to_token(request)]
        return gone()
    if trouble.late and text == "COMMIT":
        trouble.late = False
        del fakesnow.server.sessions[fakesnow.server.to_token(request)]
        state(session).update(running=1, waited=False)
        threading.Thread(target=commit_late, args=[session], daemon=True).start()
        return gone()
    cut = bool(trouble.cut and re.search(trouble.cut, text))
    answer = await fakesnow.server.query_request(request)
    if state(session)["PYTHON_CONNECTOR_QUERY_RESULT_FORMAT"] != "ARROW":
        answer = as_json(answer)
    answers[number] = answer
    while len(answers) > 200:
        del answers[next(iter(answers))]
    if cut:
        trouble.cut = ""
        return Broken()
    return answer


class Broken(Response):
    """An answer that ends before it has begun."""

    async def __call__(self, _: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
        raise ConnectionResetError("cut on purpose")


def gone(
    code: str = "390111",
    message: str = "Session no longer exists.  New login required to access the service.",
) -> JSONResponse:
    return JSONResponse({"success": False, "code": code, "message": message, "data": None})


def as_json(answer: JSONResponse) -> JSONResponse:
    """An answer to a client that gets no Arrow; its rows are left out, since nobody reads them."""
    told = json.loads(answer.body)
    if told["data"] and "rowsetBase64" in told["data"]:
        del told["data"]["rowsetBase64"]
        told["data"] |= {"queryResultFormat": "json", "rowset": [], "total": 0}
    return JSONResponse(told, status_code=answer.status_code)


def commit_late(session: Session) -> None:
    """Commit what a session has open once somebody waits for it."""
    while not state(session)["waited"]:
        time.sleep(0.02)
    end(session, "commit")


async def abort(request: Request) -> JSONResponse:
    """Cancel what a session runs."""
    found = fakesnow.server.sessions.get(fakesnow.server.to_token(request))
    if found is not None and state(found)["running"]:
        state(found)["cancelled"] = True
        found._duck_conn.interrupt()
    return JSONResponse({"success": True})


async def session(request: Request) -> JSONResponse:
    """End a session, what runs in it, and what it has open."""
    found = fakesnow.server.sessions.get(fakesnow.server.to_token(request))
    if found is not None and request.query_params.get("delete"):
        while state(found)["running"]:
            found._duck_conn.interrupt()
            await asyncio.sleep(0.02)
        await asyncio.to_thread(end, found, "rollback")
    return await fakesnow.server.session(request)


async def control(request: Request) -> JSONResponse:
    """Make a database misbehave, or tell what was sent to it."""
    wanted = await request.json()
    if "drop" in wanted:
        with fakesnow.server.shared_fs.duck_conn.cursor() as cursor:
            cursor.execute(f'DETACH "{wanted["drop"]}"')
        return JSONResponse({})
    if "key" in wanted:
        keys[USER] = wanted["key"]
        return JSONResponse({})
    trouble = troubles.setdefault(wanted.pop("database"), Trouble())
    for name, value in wanted.items():
        setattr(trouble, name, set(value) if name == "revoked" else value)
    if trouble.expired:
        trouble.expired = False
        for each in fakesnow.server.sessions.values():
            if troubles.get(each.database or "") is trouble:
                state(each)["expired"] = True
    return JSONResponse({"log": trouble.log})


async def unpacked(request: Request) -> bytes:
    body = await request.body()
    return gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    # Named TCP, or asyncio leaves Nagle's algorithm on and every answer takes 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as found:
        found.bind(("127.0.0.1", 0))
        found.listen(100)
        yield found


def main() -> None:
    """Serve until the input ends."""
    for name in ("fakesnow.server", "sqlglot"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    cursor = fakesnow.cursor.FakeSnowflakeCursor
    cursor.execute, cursor._execute, cursor._transform = execute, run, transform
    cursor._describe_last_sql = describe
    fakesnow.cursor.parse_one = fakesnow.server.parse_one = parse
    fakesnow.macros.creation_sql = macros
    fakesnow.info_schema.insert_text_lengths_sql = lengths
    fakesnow.info_schema.insert_table_comment_sql = comment
    for name, words in list(vars(fakesnow.cursor).items()):
        if isinstance(words, string.Template):
            setattr(fakesnow.cursor, name, Words(words.template))
    fakesnow.arrow.timestamp_to_sf_struct = structs
    instance = FakeSnow(create_database_on_connect=False, create_schema_on_connect=False)
    instance.duck_conn.create_function("_STRICT_PARSE_JSON", parse_json, ["VARCHAR"], "JSON")
    instance.duck_conn.create_function(
        "_STRICT_TRY_PARSE_JSON", try_parse_json, ["VARCHAR"], "JSON", null_handling="special"
    )
    fakesnow.server.shared_fs = instance
    own = [
        Route("/control", control, methods=["POST"]),
        Route("/session/v1/login-request", login, methods=["POST"]),
        Route("/queries/v1/query-request", query, methods=["POST"]),
        Route("/queries/v1/abort-request", abort, methods=["POST"]),
        Route("/session", session, methods=["POST"]),
    ]
    app = Starlette(routes=[*own, *fakesnow.server.routes])
    with listening() as listener:
        print(listener.getsockname()[1], flush=True)
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
        uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listener])


if __name__ == "__main__":
    main()
