"""A SQL Server to test against: TDS 7.4 on a port, T-SQL over DuckDB behind it.

    python tds.py [--synapse]

prints its port and serves until its standard input is closed. It speaks to the vendor's own clients: pre-login, TLS
inside of pre-login packets, LOGIN7, batches, remote procedure calls (sp_executesql and the sp_prepare family), bulk
loads, transaction requests, attention. What T-SQL becomes is the matter of `tsql`. `sa` signs in with `Sa-Pass-1`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import re
import socket
import struct
import sys
import threading
from collections.abc import Iterable, Iterator

import tds_tokens as tokens
import tds_wire as wire
import tsql

MORE, ERROR, COUNT, ATTENTION = 0x01, 0x02, 0x10, 0x20
LOGIN, BATCH, RPC, BULK, ATTEND, TRANSACTION = 0x10, 0x01, 0x03, 0x07, 0x06, 0x0E
TRANSACTIONS = {5: "BEGIN TRANSACTION", 7: "COMMIT TRANSACTION", 8: "ROLLBACK TRANSACTION"}
PROCEDURES = {
    10: "sp_executesql",
    11: "sp_prepare",
    12: "sp_execute",
    13: "sp_prepexec",
    15: "sp_unprepare",
}


class Connection:
    """One client."""

    def __init__(self, server: Server, client: socket.socket) -> None:
        self.server, self.wire = server, wire.Wire(client)
        self.session: tsql.Session | None = None
        self.prepared: dict[int, tuple[str, list[str]]] = {}
        self.handles = itertools.count(1)
        self.bulk: tsql.Bulk | None = None
        self.descriptor = b""  # of the transaction that the client knows of

    def serve(self) -> None:
        """Until the client goes."""
        try:
            if not self._signed_in():
                return
            while True:
                kind, data = self.wire.message()
                self._answer(kind, data)
        except (EOFError, OSError):
            pass
        finally:
            if self.session is not None:
                self.session.close()
            with contextlib.suppress(OSError):
                self.wire.socket.close()

    def _signed_in(self) -> bool:
        kind, data = self.wire.message()
        if kind != wire.PRELOGIN:
            return False
        options, at = {}, 0
        while data[at] != 0xFF:
            token, offset, length = struct.unpack(">BHH", data[at : at + 5])
            options[token] = data[offset : offset + length]
            at += 5
        wanted = options.get(1, b"\2")[0]
        encryption = {0: 0, 1: 1, 2: 2, 3: 1}[wanted & 3]
        told = [
            (0, bytes((16, 0, 0x10, 0, 0, 0))),
            (1, bytes((encryption,))),
            (2, b"\0"),
            (3, b""),
            (4, b"\0"),
        ]
        head, body, at = b"", b"", 5 * len(told) + 1
        for token, value in told:
            head += struct.pack(">BHH", token, at + len(body), len(value))
            body += value
        self.wire.send([head + b"\xff" + body])
        if encryption != 2:
            self.wire.begin_tls(self.server.tls)
        kind, data = self.wire.message()
        if encryption == 0:
            self.wire.end_tls()
        if kind != LOGIN:
            return False

        def text(at: int) -> bytes:
            offset, length = struct.unpack("<HH", data[at : at + 4])
            return data[offset : offset + 2 * length]

        user = text(40).decode("utf-16-le")
        password = bytes(((b ^ 0xA5) << 4 | (b ^ 0xA5) >> 4) & 0xFF for b in text(44)).decode("utf-16-le")
        database = text(68).decode("utf-16-le") or "master"
        size = struct.unpack("<I", data[8:12])[0]
        try:
            self.session = self.server.engine.session(user, password, database)
        except tsql.Trouble as trouble:
            told = [tokens.message(trouble.number, 14, trouble.text)]
            if trouble.number != 18456:
                told.append(tokens.message(18456, 14, f"Login failed for user '{user}'."))
            self.wire.send([*told, tokens.done(status=ERROR)])
            return False
        self.session.hang_up = lambda: self.wire.socket.shutdown(socket.SHUT_RDWR)
        self.session.waited = self.wire.is_quiet
        size = size if 512 <= size <= 32767 else 4096
        ack = (
            struct.pack(">BI", 1, 0x74000004) + tokens.short("Microsoft SQL Server") + bytes((16, 0, 0x10, 0))
        )
        sizes = tokens.short(str(size)), tokens.short("4096")
        self.wire.send(
            [
                tokens.change(1, tokens.short(database), tokens.short("master")),
                tokens.message(5701, 10, f"Changed database context to '{database}'.", state=2),
                tokens.change(7, b"\5" + tokens.COLLATION, b"\0"),
                struct.pack("<BH", 0xAD, len(ack)) + ack,
                tokens.change(4, *sizes),
                tokens.done(),
            ]
        )
        self.wire.size = size
        return True

    def _answer(self, kind: int, data: bytes) -> None:
        assert self.session is not None
        reader = tokens.Reader(data)
        if kind == ATTEND:
            self.wire.send([tokens.done(status=ATTENTION)])
            return
        if kind in (BATCH, RPC, TRANSACTION):
            reader.take(reader.number(4) - 4)
        if kind == BATCH:
            answer = self._batch(reader.take(len(data) - reader.at).decode("utf-16-le"))
        elif kind == RPC:
            answer = self._call(reader)
        elif kind == BULK:
            answer = self._loaded(reader)
        elif kind == TRANSACTION:
            answer = self._batch(TRANSACTIONS[reader.number(2)])
        else:
            raise EOFError
        try:
            with self._listening():
                self.wire.send(self._safely(answer, 0xFE if kind == RPC else 0xFD))
        except tsql.Cancelled:
            # Nothing was sent yet: the client hears of its attention alone.
            self.session.roll_back()

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """End what runs as soon as the client says something, or is gone."""
        assert self.session is not None
        session, done = self.session, threading.Event()

        def listen() -> None:
            while not done.wait(0.2):
                if not self.wire.is_quiet(0):
                    session.cursor.interrupt()

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield
        finally:
            done.set()
            listener.join()

    def _safely(self, answer: Iterator[bytes], last: int) -> Iterator[bytes]:
        try:
            yield from answer
        except tsql.Trouble as trouble:
            yield tokens.message(trouble.number, trouble.severity, trouble.text)
            yield self._changed()
            yield tokens.done(last, ERROR)

    def _changed(self) -> bytes:
        """Tell of a transaction that began or ended since the client was told last."""
        assert self.session is not None
        now = self.session.descriptor
        if now == self.descriptor:
            return b""
        if now:
            told = tokens.change(8, b"\x08" + now, b"\0")
        else:
            told = tokens.change(9 if self.session.committed else 10, b"\0", b"\x08" + self.descriptor)
        self.descriptor = now
        return told

    def _batch(self, text: str) -> Iterator[bytes]:
        assert self.session is not None
        if text.lstrip()[:11].upper() == "INSERT BULK":
            self.bulk = self.session.bulk(text)
            yield tokens.done()
            return
        yield from self._results(self.session.run(text, {}), 0xFD)

    def _results(self, results: Iterable[tsql.Result], token: int) -> Iterator[bytes]:
        """The results of a batch; of a procedure, something follows the last."""
        waiting = b""
        for result in results:
            if waiting:
                yield tokens.done(token, MORE | waiting[0], int.from_bytes(waiting[1:], "little"))
            yield self._changed()
            count = result.count
            if result.columns is not None:
                yield tokens.column_metadata(result.columns)
                kinds = [kind for _, kind in result.columns]
                count = 0
                for row in result.rows:
                    yield b"\xd1" + b"".join(map(tokens.written, kinds, row))
                    count += 1
            waiting = bytes((COUNT if count >= 0 else 0,)) + max(count, 0).to_bytes(8, "little")
        yield self._changed()
        status, count = (waiting[0], int.from_bytes(waiting[1:], "little")) if waiting else (0, 0)
        yield tokens.done(token, status | (MORE if token == 0xFF else 0), count)

    def _call(self, reader: tokens.Reader) -> Iterator[bytes]:
        assert self.session is not None
        size = reader.number(2)
        if size == 0xFFFF:
            name = PROCEDURES.get(reader.number(2), "")
        else:
            name = reader.take(2 * size).decode("utf-16-le").lower().rpartition(".")[2]
        reader.number(2)
        given: list[tuple[str, tokens.Type, object]] = []
        while reader:
            called = reader.short_text()
            reader.number(1)
            kind = reader.type_info()
            given.append((called, kind, reader.value(kind)))
        values = [value for _, _, value in given]
        handle = None
        if name == "sp_executesql":
            text, declared, rest = str(values[0]), _declared(values[1] if len(values) > 1 else ""), given[2:]
        elif name == "sp_prepexec":
            handle, text, declared, rest = next(self.handles), str(values[2]), _declared(values[1]), given[3:]
        elif name == "sp_prepare":
            handle, text, declared, rest = next(self.handles), str(values[2]), _declared(values[1]), []
        elif name == "sp_execute":
            if values[0] not in self.prepared:
                raise tsql.Trouble(8179, f"Could not find prepared statement with handle {values[0]}.")
            (text, declared), rest = self.prepared[int(str(values[0]))], given[1:]
        elif name == "sp_unprepare":
            self.prepared.pop(int(str(values[0])), None)
            yield from (tokens.RETURNED, tokens.done(0xFE))
            return
        else:
            raise tsql.Trouble(2812, f"Could not find stored procedure '{name}'.")
        if handle is not None:
            self.prepared[handle] = (text, declared)
        if name != "sp_prepare":
            if len(rest) != len(declared):
                raise tsql.Trouble(
                    8178, "The parameterized query expects parameters which were not supplied."
                )
            named = {called or declared[i]: value for i, (called, _, value) in enumerate(rest)}
            yield from self._results(self.session.run(text, named), 0xFF)
        yield tokens.RETURNED
        if handle is not None:
            yield tokens.output(1, handle)
        yield tokens.done(0xFE)

    def _loaded(self, reader: tokens.Reader) -> Iterator[bytes]:
        """The rows of a bulk load."""
        bulk, self.bulk = self.bulk, None
        if bulk is None:
            raise tsql.Trouble(4002, "The incoming tabular data stream (TDS) protocol stream is incorrect.")
        columns: list[tuple[str, tokens.Type]] = []
        rows = []
        while reader:
            token = reader.number(1)
            if token == 0x81:
                for _ in range(reader.number(2)):
                    reader.take(6)
                    kind = reader.type_info()
                    columns.append((reader.short_text(), kind))
            elif token == 0xD1:
                rows.append([reader.value(kind) for _, kind in columns])
            elif token == 0xD2:
                bits = reader.take((len(columns) + 7) // 8)
                rows.append(
                    [
                        None if bits[i // 8] >> i % 8 & 1 else reader.value(kind)
                        for i, (_, kind) in enumerate(columns)
                    ]
                )
            else:
                break
        bulk.add([name for name, _ in columns], rows)
        yield tokens.done(status=COUNT, count=len(rows))


class Server:
    """The port, and what all clients share."""

    def __init__(self, *, synapse: bool) -> None:
        self.engine = tsql.Engine(synapse=synapse)
        self.tls = wire.context()
        self.listener = socket.create_server(("127.0.0.1", 0))

    def serve(self) -> None:
        """Until the process ends."""
        while True:
            client, _ = self.listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=Connection(self, client).serve, daemon=True).start()


def _declared(text: object) -> list[str]:
    """The names in a declaration of parameters: `@P1 nvarchar(max), @P2 decimal(38,12)`."""
    return re.findall(r"(@\w+)\s+[a-zA-Z]", str(text or ""))


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--synapse", action="store_true")
    server = Server(synapse=parser.parse_args().synapse)
    print(server.listener.getsockname()[1], flush=True)
    threading.Thread(target=server.serve, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
