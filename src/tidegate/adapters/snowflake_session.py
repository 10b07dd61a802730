"""A session with Snowflake: how it is opened, what runs in it, and the transaction that one writer has to itself.

The transaction begins with the lock on one row of `_tidegate_state`, so that of two writers the second sees what
the first did. It marks that row, and looks for its mark before it commits: a transaction that stands idle in
another one's way is given up by Snowflake, and what follows must not be taken for the rest of it. So sessions do
not commit by themselves either.
"""

from __future__ import annotations

import abc
import contextlib
import math
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

import pyarrow as pa
from snowflake.connector import cursor as cursors
from snowflake.connector import errors as driver

from tidegate import errors
from tidegate.adapters import snowflake_rows, snowflake_wire
from tidegate.warehouse import base, ddl, remote, sql, wire

LOCK = (base.FENCE, "0 lock")
"""The row of the state that every transaction changes first; the fence of no table. Its mark follows."""

CHANGES = ("INSERT", "UPDATE", "DELETE", "COPY")
"""What statements begin with that open a transaction, where none runs."""

IDLE = 240.0
"""Seconds after which a session is opened anew: five minutes may be all that a session policy gives an idle one.
https://docs.snowflake.com/en/user-guide/session-policies"""


class Session(remote.Remote, abc.ABC):
    """Speaks to a schema of a Snowflake database; `address` are parameters of the connector."""

    kind = "snowflake"
    alone: ClassVar[bool] = False
    dialect = snowflake_rows.DIALECT

    def __init__(self, address: dict[str, Any], schema: str, *, wait: float = 60.0) -> None:
        super().__init__(schema, wait=wait)
        self._address = address
        self._host = snowflake_wire.host(address)
        self._connection: snowflake_wire.Connection | None = None
        self._used = 0.0
        self._statement = ""
        """The last statement, without its parameters."""
        self._is_inside = False
        """Does a transaction run, which a change of tables would commit?"""
        self._is_unsure = False
        """May a transaction of ours, whose session was lost, still be about to be committed?"""

    def where(self) -> str:
        """The database and the account."""
        return snowflake_wire.where(self._address)

    def reach(self) -> str:
        """Open a connection to the account's host, or to the proxy that leads to it."""
        proxy = snowflake_wire.proxy(self._address)
        if proxy is not None:
            return f"the proxy {wire.reached(*proxy)}, which leads to {self._host}"
        return wire.reached(self._host, int(self._address.get("port", 443)))

    def connect(self) -> None:
        """Sign in, and see that the database is there."""
        if time.monotonic() - self._used > IDLE:
            self.disconnect()
        self._used = time.monotonic()
        if self._connection is not None and not self._connection.is_closed():
            return
        self._statement = ""
        patience = math.ceil(self.wait)
        self._connection = snowflake_wire.Connection(
            **self._address,
            paramstyle="qmark",
            arrow_number_to_decimal=True,
            application="Tidegate",
            login_timeout=min(60, max(5, patience)),
            network_timeout=max(snowflake_wire.NETWORK, patience),
            platform_detection_timeout_seconds=0.0,
            session_parameters=snowflake_wire.SESSION,
        )
        if not self._connection.database:
            name, role = self._address["database"], self._role()
            self.disconnect()
            raise errors.ConfigError(
                f"{self._host} has no database {name} that this user may see; check the name, or run "
                f"GRANT USAGE ON DATABASE {name} TO ROLE {role}."
            )

    def disconnect(self) -> None:
        """Drop the connection, and its open transaction with it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                # Trying again would take minutes where nobody answers.
                connection.close(retry=False)

    def another(self) -> Self:
        """One of us with no connection yet, and so in no transaction."""
        made = super().another()
        made._is_inside = made._is_unsure = False
        return made

    def explain(self, error: Exception) -> errors.TidegateError | None:
        """What an error of the connector means; its own text may quote values, so only names in it pass."""
        is_live = sql.quoted(self.dialect, self.live) in self._statement
        schema = self.live if is_live else self.schema
        return snowflake_wire.meaning(
            error, snowflake_wire.Place(self._address, self._role(), schema, self._statement)
        )

    def execute(self, text: str, parameters: Sequence[object] = ()) -> None:
        """Run a statement, which is committed where no transaction runs."""
        self._changed(text, parameters)
        if not self._is_inside and text.startswith(CHANGES):
            self._changed("COMMIT")

    def fetch(
        self, text: str, parameters: Sequence[object] = (), *, stream: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query; the connector brings them chunk by chunk in any case."""
        del stream
        with self._ran(text, parameters) as cursor:
            yield from snowflake_rows.batches(cursor, snowflake_rows.stored)

    def ask(self, text: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """The rows of a user's query, numbers with all of their digits."""
        with self._ran(text, parameters) as cursor:
            yield from snowflake_rows.batches(cursor, snowflake_rows.asked)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction that holds the lock on the state from its beginning; others wait for it.

        Raises WarehouseBusy where Snowflake gave it up before its end, with nothing committed.
        """
        mark = f"{LOCK[1]} {random.randrange(16**16):016x}"
        self._is_unsure = True
        try:
            if not self._begun(mark):
                self._is_inside = False
                self.execute("ROLLBACK")
                self._lay_lock()
                self._begun(mark)
            yield
            self._hold_on(mark)
            self.execute("COMMIT")
            self._is_unsure = False
        except BaseException as error:
            # Who lost the session would sign in again to say that.
            if not snowflake_wire.is_lost(error):
                self._is_unsure = not self._tidy("ROLLBACK")
            raise
        finally:
            self._is_inside = False

    def settle(self) -> None:
        """Wait until no transaction of ours is on its way any more.

        A COMMIT whose answer was lost may be carried out later than what is read next, and then what was decided by
        that would be wrong. Whoever gets the lock after it knows that it is over, one way or the other.
        """
        if self._is_unsure:
            with self.transaction():
                pass

    # Statements

    @contextlib.contextmanager
    def _ran(self, text: str, parameters: Sequence[object] = ()) -> Iterator[cursors.SnowflakeCursor]:
        if not self._is_inside:
            self.connect()
        connection = self._connection
        if connection is None or connection.is_closed():
            raise errors.WarehouseUnreachable(f"The session with {self.where()} ended within a transaction.")
        self._statement = text
        with connection.cursor() as cursor:
            cursor.execute(text, list(parameters) or None, timeout=snowflake_wire.LONGEST)
            self._used = time.monotonic()
            yield cursor

    def _tidy(self, text: str) -> bool:
        """Run a statement that may fail unheard, and say if it ran; what failed before is still told as it was."""
        before, is_done = self._statement, False
        with contextlib.suppress(driver.Error, errors.WarehouseUnreachable, *snowflake_wire.BROKEN):
            self.execute(text)
            is_done = True
        self._statement = before
        return is_done

    def _changed(self, text: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement and count the rows that it changed."""
        with self._ran(text, parameters) as cursor:
            return cursor.rowcount or 0

    # The lock

    def _begun(self, mark: str) -> bool:
        """Begin a transaction; was there a row to lock? An update locks, and sees what was committed."""
        key, value = self.column("key"), self.column("value")
        self.execute("BEGIN")
        self._is_inside = True
        return bool(
            self._changed(
                f"UPDATE {self.name(base.STATE)} SET {value} = ? WHERE {key} = {ddl.literal(LOCK[0])}", [mark]
            )
        )

    def _hold_on(self, mark: str) -> None:
        """Raise unless the transaction is still the one that made the mark."""
        key, value = self.column("key"), self.column("value")
        rows = self._rows(f"SELECT {value} FROM {self.name(base.STATE)} WHERE {key} = {ddl.literal(LOCK[0])}")
        if {found for (found,) in rows} != {mark}:
            raise errors.WarehouseBusy(
                f"{self.where()} gave a transaction up because it stood idle in the way of another one; nothing of "
                "this load was written."
            )

    def _lay_lock(self) -> None:
        key, value = LOCK
        self.append(base.STATE, pa.table({"key": [key], "value": [value]}))

    # Words

    def _database(self) -> str:
        return sql.quoted(self.dialect, str(self._address["database"]))

    def _role(self) -> str:
        current = self._connection.role if self._connection is not None else None
        return str(current or self._address.get("role") or "PUBLIC")
