"""The packets of TDS over a socket, in the clear or inside of TLS; see [MS-TDS]."""

from __future__ import annotations

import datetime as dt
import itertools
import select
import socket
import ssl
import struct
import tempfile
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PRELOGIN, ANSWER = 0x12, 0x04


class Wire:
    """Messages over a socket, in packets, inside of TLS where it was begun."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket, self.size = connection, 4096
        self._buffer = b""
        self._tls: ssl.SSLObject | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()

    def message(self) -> tuple[int, bytes]:
        """The next message: its type and all of its packets."""
        parts = []
        while True:
            kind, status, length = struct.unpack(">BBH", self._take(8)[:4])
            parts.append(self._take(length - 8))
            if status & 1:
                return kind, b"".join(parts)

    def send(self, pieces: Iterable[bytes], kind: int = ANSWER) -> None:
        """One message, as it comes."""
        room, number, held = self.size - 8, itertools.count(1), bytearray()
        for piece in pieces:
            held += piece
            while len(held) > room:
                self._packet(kind, 0, next(number), bytes(held[:room]))
                del held[:room]
        self._packet(kind, 1, next(number), bytes(held))

    def is_quiet(self, seconds: float) -> bool:
        """Wait for so long, or until the client says something."""
        # What was said may have come together with what was read: as bytes of TLS, or out of it.
        held = self._tls is not None and (self._in.pending or self._tls.pending())
        return not held and not self._buffer and not select.select([self.socket], [], [], seconds)[0]

    def begin_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands, in pre-login packets."""
        tls = context.wrap_bio(self._in, self._out, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                if out := self._out.read():
                    self.send([out], PRELOGIN)
                self._in.write(self.message()[1])
        if out := self._out.read():
            self.send([out], PRELOGIN)
        self._tls = tls

    def end_tls(self) -> None:
        """Go on in the clear, as is usual where only the login is encrypted."""
        self._tls = None

    def _packet(self, kind: int, status: int, number: int, data: bytes) -> None:
        packet = struct.pack(">BBHHBB", kind, status, len(data) + 8, 0, number & 0xFF, 0) + data
        if self._tls is not None:
            self._tls.write(packet)
            packet = self._out.read()
        self.socket.sendall(packet)

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._buffer += self._more()
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _more(self) -> bytes:
        if self._tls is None:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            return data
        while True:
            try:
                data = self._tls.read(65536)
                if not data:
                    raise EOFError
                return data
            except ssl.SSLWantReadError:
                raw = self.socket.recv(65536)
                if not raw:
                    raise EOFError from None
                self._in.write(raw)


def context() -> ssl.SSLContext:
    """TLS 1.2, the last that TDS 7 knows, with a certificate of this process's own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with tempfile.NamedTemporaryFile() as file:
        plain = serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        file.write(key.private_bytes(serialization.Encoding.PEM, form, plain))
        file.write(certificate.public_bytes(serialization.Encoding.PEM))
        file.flush()
        context.load_cert_chain(file.name)
    return context
