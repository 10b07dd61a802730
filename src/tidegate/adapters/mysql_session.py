"""The way to a MySQL server, directly or through a tunnel, and the settings that every session of ours has."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate import errors
from tidegate.adapters import mysql_ddl, mysql_server, mysql_wire, tunnel

PATIENCE = 60
"""Seconds that a lock is waited for."""

IDLE = 1800
"""Seconds without a statement after which the server lets go of a connection, and of its locks."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a server says of itself."""

    is_mariadb: bool = False
    takes_files: bool = True
    """Whether it allows LOAD DATA LOCAL."""
    packet: int = 0
    """Bytes of the longest statement that it takes."""
    account: str = ""
    """The account that was signed in to, as GRANT wants it: user@host."""

    @property
    def collation(self) -> str:
        """The collation of all texts."""
        return mysql_ddl.collation(self.is_mariadb)


class Server:
    """A server and the way to it."""

    def __init__(self, address: mysql_server.Address, through: tunnel.Tunnel | None) -> None:
        self._address, self._through = address, through

    def where(self) -> str:
        """The host and its port."""
        return self._address.told

    def reach(self) -> str:
        """Open a connection, wait for the server's greeting, and say so; raises as `Remote.connect` does."""
        if self._through is not None:
            return self._through.greeted()
        with self._address.connect() as opened:
            opened.settimeout(mysql_wire.HANDSHAKE)
            if not opened.recv(1):
                raise errors.WarehouseUnreachable(f"{self.where()} hung up; check that it is a MySQL server.")
        return f"{self.where()} answers"

    def signed_in(self) -> tuple[mysql_wire.Connection, Told]:
        """A connection with everything set that a session needs."""
        connection = mysql_wire.Connection(**self._address.sign_in)
        if self._through is not None:
            connection.sign_in(mysql_server.kept_alive(self._through.connect()))
        else:
            connection.sign_in(self._address.connect())
        try:
            asked = "SELECT VERSION(), @@local_infile, @@max_allowed_packet, CURRENT_USER()"
            [(version, takes_files, packet, account)] = connection.answer(asked)
            is_mariadb = mysql_server.is_mariadb(str(version), self.where())
            told = Told(is_mariadb, takes_files == "1", int(str(packet)), str(account))
            connection.query(
                "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO', "
                f"time_zone = '+00:00', wait_timeout = {IDLE}, net_write_timeout = 3600, net_read_timeout = 600, "
                f"innodb_lock_wait_timeout = {PATIENCE}, lock_wait_timeout = {PATIENCE}"
            )
            connection.query(f"SET NAMES utf8mb4 COLLATE {told.collation}")
        except BaseException:
            connection.drop()
            raise
        return connection, told

    def meaning(self, error: Exception, schema: str, account: str) -> errors.TidegateError | None:
        """What an error of pymysql means, and a lost connection where the tunnel knows why."""
        told = mysql_server.meaning(error, self.where(), schema, account)
        if isinstance(told, errors.WarehouseUnreachable) and self._through is not None:
            return self._through.trouble() or told
        return told

    def close(self) -> None:
        """Let go of the tunnel."""
        if self._through is not None:
            self._through.close()
