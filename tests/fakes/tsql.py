"""T-SQL over DuckDB: databases, sessions, transactions and locks, as SQL Server has them.

It is strict where DuckDB and sqlglot are not: what is no T-SQL is refused (`tsql_words`) with SQL Server's own
numbers, as are texts that are too long, keys that stand there already or are longer than an index takes, and what
a user was not granted (`tsql_catalog`). Columns are compared without the blanks at their end. Every session acts as
if XACT_ABORT were on. Not imitated: collations other than binary ones, blocking by row locks (who comes second is a
deadlock's victim).
"""

from __future__ import annotations

import contextlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa
import sqlglot
import tds_tokens as tokens
import tsql_catalog as catalog
import tsql_types as types
import tsql_words as words
from sqlglot import exp

Trouble = types.Trouble


@dataclass(slots=True)
class Result:
    """What a statement comes to; `columns` is None where there are no rows, `count` -1 where there is none."""

    columns: list[tuple[str, tokens.Type]] | None = None
    rows: Iterator[Sequence[object]] = field(default_factory=lambda: iter(()))
    count: int = -1


@dataclass(slots=True)
class Database:
    """One database."""

    name: str
    connection: duckdb.DuckDBPyConnection
    locks: dict[str, object] = field(default_factory=dict)
    free: threading.Condition = field(default_factory=threading.Condition)
    users: set[str] = field(default_factory=set)
    limit: int | None = None
    used: int = 0
    is_writable: bool = True
    level: int = 160
    """Compatible with which version."""
    versions: catalog.Versions = field(default_factory=catalog.Versions)


class Engine:
    """A server's databases, logins and sessions."""

    def __init__(self, *, synapse: bool) -> None:
        self.synapse = synapse
        self.lock = threading.RLock()
        self.logins = {"sa": "Sa-Pass-1"}
        self.databases: dict[str, Database] = {}
        self.sessions: dict[int, Session] = {}
        self.create("master")

    def create(self, name: str) -> None:
        """Make a database."""
        with self.lock:
            if name.lower() in self.databases:
                raise Trouble(1801, f"Database '{name}' already exists. Choose a different database name.")
            connection = duckdb.connect(":memory:", config={"threads": 1})
            connection.execute("SET GLOBAL TimeZone = 'UTC'")
            connection.execute(catalog.CATALOG)
            self.databases[name.lower()] = Database(name, connection)

    def session(self, user: str, password: str, database: str) -> Session:
        """Sign in."""
        with self.lock:
            if self.logins.get(user) != password:
                raise Trouble(18456, f"Login failed for user '{user}'.", 14)
            found = self.databases.get(database.lower())
            if found is None or (user != "sa" and user not in found.users):
                raise Trouble(
                    4060, f'Cannot open database "{database}" requested by the login. The login failed.', 11
                )
            number = max(self.sessions, default=50) + 1
            session = self.sessions[number] = Session(self, found, user, number)
            return session


class Session:
    """What one client does."""

    def __init__(self, engine: Engine, database: Database, user: str, number: int) -> None:
        self.engine, self.database, self.user, self.number = engine, database, user, number
        self.cursor = database.connection.cursor()
        self.catalog = catalog.Catalog(
            self.cursor, database.name, user, database.versions, synapse=engine.synapse
        )
        self.descriptor, self.committed = b"", True
        self.has_begun = False
        """Did the transaction change anything? Until then it sees what others commit, as READ COMMITTED does."""
        self.counts = True
        """Are rows counted? NOCOUNT is off then."""
        self.hang_up: Callable[[], None] = lambda: None
        self.waited: Callable[[float], bool] = lambda seconds: not time.sleep(seconds)
        """Waits, and says whether that was all of it: a client may ask to be let alone."""

    def close(self) -> None:
        """The client is gone: whatever it had begun never was."""
        with self.engine.lock:
            self.engine.sessions.pop(self.number, None)
        self.roll_back()
        self.cursor.close()

    def run(self, text: str, parameters: Mapping[str, object]) -> Iterator[Result]:
        """The results of a batch, one after the other."""
        try:
            for statement in words.split(text, is_one):
                for result in self._statement(statement, parameters):
                    if not self.counts:
                        result.count = -1
                    yield result
        except Trouble:
            self.roll_back()
            raise
        except duckdb.InterruptException:
            raise Cancelled from None
        except duckdb.Error as error:
            self.roll_back()
            raise translated(error) from None
        except sqlglot.errors.SqlglotError:
            self.roll_back()
            raise Trouble(102, "Incorrect syntax.", 15) from None

    def bulk(self, text: str) -> Bulk:
        """A bulk load that begins."""
        found = re.match(r"\s*INSERT BULK\s+(.+?)\s*\(", text, re.IGNORECASE | re.DOTALL)
        assert found is not None
        schema, name = words.two(exp.to_table(found[1], dialect="tsql"))
        self.catalog.may("INSERT", schema, name)
        return Bulk(self, schema, name)

    # Statements of their own

    def _statement(self, text: str, parameters: Mapping[str, object]) -> Iterator[Result]:
        for pattern, method in SPECIAL:
            found = pattern.fullmatch(text)
            if found is not None:
                yield from method(self, found, parameters)
                return
        yield from self._sql(text, parameters)

    def _set(self, found: re.Match[str], _: Mapping[str, object]) -> Iterator[Result]:
        if found[1].upper() == "NOCOUNT":
            self.counts = found[2].upper() == "OFF"
        yield Result()

    def _begin(self, _: re.Match[str], __: Mapping[str, object]) -> Iterator[Result]:
        if not self.descriptor:
            self.descriptor = secrets.token_bytes(8)
        yield Result()

    def _commit(self, _: re.Match[str], __: Mapping[str, object]) -> Iterator[Result]:
        if not self.descriptor:
            raise Trouble(3902, "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.")
        if self.has_begun:
            self.cursor.execute("COMMIT")
            self.catalog.settle()
        self.descriptor, self.committed, self.has_begun = b"", True, False
        self._unlock()
        yield Result()

    def _rollback(self, found: re.Match[str], _: Mapping[str, object]) -> Iterator[Result]:
        if not self.descriptor and "@@" not in found[0]:
            raise Trouble(3903, "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.")
        self.roll_back()
        yield Result()

    def roll_back(self) -> None:
        """End the transaction, if there is one, as if it had never been."""
        if self.has_begun:
            with contextlib.suppress(duckdb.Error):
                self.cursor.execute("ROLLBACK")
            self.catalog.settle()
        if self.descriptor:
            self.descriptor, self.committed, self.has_begun = b"", False, False
        self._unlock()

    def _unlock(self) -> None:
        with self.database.free:
            for name in [name for name, holder in self.database.locks.items() if holder is self]:
                del self.database.locks[name]
            self.database.free.notify_all()

    def _applock(self, found: re.Match[str], parameters: Mapping[str, object]) -> Iterator[Result]:
        """A lock of the transaction; it comes before the transaction's first look at the data."""
        if self.engine.synapse:
            raise Trouble(2812, "Could not find stored procedure 'sp_getapplock'.")
        if not self.descriptor:
            yield one("held", tokens.INT, -999)
            return
        held = self._locked(f"lock/{parameters[found[1]]}", int(found[2]) / 1000)
        yield one("held", tokens.INT, 0 if held else -1)

    def _locked(self, name: str, patience: float) -> bool:
        """Hold a name until the transaction ends."""
        deadline = time.monotonic() + patience
        with self.database.free:
            while self.database.locks.get(name, self) is not self:
                if not self.database.free.wait(deadline - time.monotonic()):
                    return False
            self.database.locks[name] = self
        return True

    def _wait(self, found: re.Match[str], _: Mapping[str, object]) -> Iterator[Result]:
        hours, minutes, seconds = map(int, found[1].split(":"))
        if not self.waited(hours * 3600 + minutes * 60 + seconds):
            raise Cancelled
        yield Result()

    def _server(self, found: re.Match[str], _: Mapping[str, object]) -> Iterator[Result]:
        """What only `sa` may say."""
        if self.user != "sa":
            raise Trouble(262, f"Permission denied in database '{self.database.name}'.", 14)
        word, rest = found[1].upper(), found[2]
        if word == "KILL":
            other = self.engine.sessions.get(int(rest))
            if other is None:
                raise Trouble(6106, f"Process ID {rest} is not an active process ID.")
            other.hang_up()
        elif word == "CREATE DATABASE":
            self.engine.create(rest.strip("[] "))
        elif word == "CREATE LOGIN":
            login, _, password = rest.partition(" WITH PASSWORD = ")
            self.engine.logins[login] = password.strip("'")
        elif word == "CREATE USER":
            self.database.users.add(rest.split()[0])
        elif word == "ALTER DATABASE":
            self._alter_database(rest)
        else:
            told = re.fullmatch(r"(.+?)(?: ON SCHEMA::(\S+))? (?:TO|FROM) \[?(\w+)\]?;?", rest)
            assert told is not None
            for right in told[1].split(","):
                grant = [told[3], right.strip().upper(), (told[2] or "").strip("[]").lower()]
                self.cursor.execute(
                    "DELETE FROM hidden.grants WHERE (login, privilege, area) = (?, ?, ?)", grant
                )
                if word == "GRANT":
                    self.cursor.execute("INSERT INTO hidden.grants VALUES (?, ?, ?)", grant)
        yield Result()

    def _alter_database(self, rest: str) -> None:
        size = re.search(r"MAXSIZE = (\d+|UNLIMITED)\s?(KB|MB)?", rest)
        level = re.search(r"COMPATIBILITY_LEVEL = (\d+)", rest)
        if size is not None:
            self.database.limit = int(size[1]) * {"KB": 2**10, "MB": 2**20}[size[2]] if size[2] else None
        elif level is not None:
            self.database.level = int(level[1])
        elif "READ_ONLY" in rest or "READ_WRITE" in rest:
            self.database.is_writable = "READ_WRITE" in rest
        else:
            raise Trouble(102, "Incorrect syntax near 'SET'.", 15)

    def _metadata(self, found: re.Match[str], _: Mapping[str, object]) -> Iterator[Result]:
        """What bulk copies ask before they begin: how many transactions, the columns, their collations."""
        schema, name = words.two(exp.to_table(found[1].replace("''", "'"), dialect="tsql"))
        columns = [(column[0], types.declared(column)) for column in self.catalog.columns(schema, name)]
        if not columns:
            raise Trouble(208, f"Invalid object name '{schema}.{name}'.")
        yield one("", tokens.INT, int(bool(self.descriptor)))
        yield Result(columns)
        told = [("colid", tokens.INT), ("name", tokens.nvarchar(128)), ("tds_collation", tokens.INT)]
        rows = [(i + 1, name, None, None) for i, (name, _) in enumerate(columns)]
        yield Result([*told, ("collation", tokens.nvarchar(128))], iter(rows))

    def _rename(self, found: re.Match[str], _: Mapping[str, object]) -> Iterator[Result]:
        """RENAME OBJECT, of Synapse."""
        if not self.engine.synapse:
            raise Trouble(102, "Incorrect syntax near 'OBJECT'.", 15)
        if self.descriptor:
            raise Trouble(111212, "Operation cannot be performed within a transaction.")
        schema, name = words.two(exp.to_table(found[1], dialect="tsql"))
        with self.whole():
            self.catalog.rename(schema, name, found[2].strip("[]").replace("]]", "]"))
        yield Result()

    def _if_there(self, found: re.Match[str], parameters: Mapping[str, object]) -> Iterator[Result]:
        """A statement that depends on whether there is a table."""
        if self.catalog.has(*words.two(exp.to_table(found[1].replace("''", "'"), dialect="tsql"))):
            yield from self._sql(found[2], parameters)
        yield Result()

    # Statements of SQL

    def _sql(self, text: str, parameters: Mapping[str, object]) -> Iterator[Result]:
        text = re.sub(r"@@SPID\b", str(self.number), text, flags=re.IGNORECASE)
        text = re.sub(r"@@TRANCOUNT\b", str(int(bool(self.descriptor))), text, flags=re.IGNORECASE)
        spoken = words.spoken(text, self.engine.synapse)
        tree = spoken.tree
        for table in spoken.reads:
            self.catalog.may("SELECT", *table)
        if isinstance(tree, exp.Create | exp.Alter | exp.Drop):
            if self.engine.synapse and self.descriptor:
                raise Trouble(111212, "Operation cannot be performed within a transaction.")
            with self.whole():
                self.catalog.define(tree, spoken, text)
            yield Result()
            return
        used = 0
        for number, (parameter, columns) in enumerate(spoken.documents):
            if self.database.level < 130:
                raise Trouble(208, "Invalid object name 'OPENJSON'.")
            document = parameters.get(parameter)
            used += len(str(document))
            self.cursor.register(f"_openjson_{number}", types.unfolded(str(document), columns))
        given = {name[1:]: value for name, value in parameters.items() if name[1:] in spoken.parameters}
        if len(given) < len(spoken.parameters):
            raise Trouble(137, "Must declare the scalar variable.", 15)
        if isinstance(tree, exp.Query):
            reader = self.cursor.execute(spoken.sql, given)
            told = [(name, types.result(str(kind))) for name, kind, *_ in reader.description]
            # All at once: the session may be asked for something else before the client has read them.
            yield Result(told, iter(reader.fetchall()))
            return
        right = {"insert": "INSERT", "delete": "DELETE", "update": "UPDATE"}[tree.key]
        schema, name = words.two(words.target_of(tree))
        self.catalog.may(right, schema, name)
        # A pool lets one transaction at a time delete from a table; INSERT and UPDATE keep none of their kind out.
        is_locking = self.engine.synapse and self.descriptor and right == "DELETE"
        if is_locking and not self._locked(f"table/{schema}.{name}".lower(), 60):
            raise Trouble(1222, "Lock request time out period exceeded.")
        had_begun = self.has_begun
        with self.whole():
            if right == "INSERT":
                self.fill(used)
            [(count,)] = self.cursor.execute(spoken.sql, given).fetchall()
            if right != "DELETE":
                self.catalog.check(schema, name)
        if not count and self.has_begun and not had_begun:
            # Nothing was changed yet, so that what others commit is still to be seen.
            self.cursor.execute("ROLLBACK")
            self.has_begun = False
        yield Result(count=count)

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """All of a statement that changes something, or nothing."""
        if not self.database.is_writable:
            raise Trouble(
                3906, f'Failed to update database "{self.database.name}" because the database is read-only.'
            )
        if self.descriptor:
            if not self.has_begun:
                self.cursor.execute("BEGIN TRANSACTION")
                self.has_begun = True
            yield
            return
        self.cursor.execute("BEGIN TRANSACTION")
        try:
            yield
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                self.cursor.execute("ROLLBACK")
            self.catalog.settle()
            raise
        self.cursor.execute("COMMIT")
        self.catalog.settle()

    def fill(self, used: int) -> None:
        """Note that so many characters came, and refuse them where there is no room."""
        self.database.used += 2 * used
        if self.database.limit is not None and self.database.used > self.database.limit:
            raise Trouble(
                1105,
                f"Could not allocate space for object in database '{self.database.name}' because the 'PRIMARY' "
                "filegroup is full.",
                17,
            )


class Cancelled(Exception):
    """The client asked to be let alone."""


class Bulk:
    """A bulk load under way."""

    def __init__(self, session: Session, schema: str, name: str) -> None:
        self.session, self.schema, self.name = session, schema, name

    def add(self, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """All rows, or none."""
        session = self.session
        kinds = {column[0]: types.duck(column) for column in session.catalog.columns(self.schema, self.name)}
        session.fill(sum(len(v) if isinstance(v, str) else 8 for row in rows for v in row))
        arrays = [
            pa.array([row[i] for row in rows], types.arrow(kinds[name])) for i, name in enumerate(names)
        ]
        told = ", ".join(map(words.quoted, names))
        table = f"{words.quoted(self.schema)}.{words.quoted(self.name)}"
        try:
            with session.whole():
                session.cursor.register("_bulk", pa.table(arrays, names=list(names)))
                session.cursor.execute(f"INSERT INTO {table} ({told}) SELECT {told} FROM _bulk")
                session.catalog.check(self.schema, self.name)
        except duckdb.Error as error:
            session.roll_back()
            raise translated(error) from None


def one(name: str, kind: tokens.Type, value: object) -> Result:
    """A single value."""
    return Result([(name, kind)], iter([(value,)]))


def translated(error: duckdb.Error) -> Trouble:
    """SQL Server's number for an error of DuckDB's."""
    text = str(error)
    if isinstance(error, duckdb.TransactionException) or "onflict" in text:
        return Trouble(
            1205, "Transaction was deadlocked on lock resources and has been chosen as the victim.", 13
        )
    if isinstance(error, duckdb.CatalogException):
        name = re.search(r"with name (\S+)", text)
        return Trouble(208, f"Invalid object name '{name[1] if name else '?'}'.")
    if isinstance(error, duckdb.BinderException):
        return Trouble(207, "Invalid column name.")
    if isinstance(error, duckdb.ConversionException):
        return Trouble(8114, "Error converting data type.")
    if "Arithmetic overflow" in text:
        return Trouble(8115, "Arithmetic overflow error converting expression to data type float.")
    return Trouble(50000, text)


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(r"\s*" + text.replace(" ", r"\s+") + r"\s*", re.IGNORECASE | re.DOTALL)


SPECIAL: list[tuple[re.Pattern[str], Callable[..., Iterator[Result]]]] = [
    (
        _pattern(
            r"SET (LANGUAGE|XACT_ABORT|NOCOUNT|TRANSACTION ISOLATION LEVEL|QUOTED_IDENTIFIER|ANSI_\w+|TEXTSIZE"
            r"|IMPLICIT_TRANSACTIONS|LOCK_TIMEOUT|ROWCOUNT|FMTONLY|CONCAT_NULL_YIELDS_NULL|DATEFORMAT) (.+)"
        ),
        Session._set,
    ),
    (_pattern(r"BEGIN TRAN(?:SACTION)?"), Session._begin),
    (_pattern(r"COMMIT(?: TRAN(?:SACTION)?)?"), Session._commit),
    (_pattern(r"(?:IF @@TRANCOUNT > 0 )?ROLLBACK(?: TRAN(?:SACTION)?)?"), Session._rollback),
    (
        _pattern(
            r"DECLARE @held INT = 0; EXEC @held = sp_getapplock @Resource = (@\w+), @LockMode = 'Exclusive', "
            r"@LockOwner = 'Transaction', @LockTimeout = (\d+); SELECT @held AS \[held\]"
        ),
        Session._applock,
    ),
    (_pattern(r"IF OBJECT_ID\(N'(.+?)'\) IS NOT NULL (DROP TABLE .+)"), Session._if_there),
    (_pattern(r"WAITFOR DELAY '(\d\d:\d\d:\d\d)'"), Session._wait),
    (_pattern(r"SELECT @@TRANCOUNT; DECLARE @Column_Names.*?OBJECT_ID\(N'(.*?)'\);.*"), Session._metadata),
    (_pattern(r"RENAME OBJECT (\S.*?) TO (\[.*\]|\w+)"), Session._rename),
    (
        _pattern(r"(KILL|CREATE DATABASE|CREATE LOGIN|CREATE USER|ALTER DATABASE|GRANT|REVOKE) (.*)"),
        Session._server,
    ),
]
"""Statements that DuckDB has nothing like."""


def is_one(text: str) -> bool:
    """Does a text go through as it is, whatever semicolons it has?"""
    return any(pattern.fullmatch(text) for pattern, _ in SPECIAL)
