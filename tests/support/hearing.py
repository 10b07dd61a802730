"""Whoever is told: a mail server that demands STARTTLS and a password, and an address that takes JSON."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import email
import email.message
import email.policy
import ipaddress
import json
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd import smtp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

USER, PASSWORD = "ops@example.com", "p@ss/word:1"


@dataclass
class Heard:
    """One request."""

    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


@dataclass
class Hook:
    """An address that takes JSON; `answer` says how, and may do anything before it does."""

    url: str
    heard: list[Heard] = field(default_factory=list)
    answer: Callable[[Heard], tuple[int, dict[str, str], bytes]] = lambda _: (200, {}, b"ok")


@contextlib.contextmanager
def hook() -> Iterator[Hook]:
    """An address that takes JSON."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got = Heard(dict(self.headers.items()), body)
            found.heard.append(got)
            status, headers, said = found.answer(got)
            with contextlib.suppress(OSError):
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(said))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Hook(f"http://127.0.0.1:{server.server_port}/alerts/geheim")
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Post:
    """A mail server; `refuse` are recipients that it does not take, `broken` what it answers to a message."""

    port: int = 0
    letters: list[email.message.EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    signed_in: list[str] = field(default_factory=list)
    refuse: Sequence[str] = ()
    broken: str = ""

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        del server, session, options
        if address in self.refuse:
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        del server, session
        if self.broken:
            return self.broken
        self.recipients.append(envelope.rcpt_tos)
        self.letters.append(email.message_from_bytes(envelope.content, policy=email.policy.default))  # type: ignore[arg-type]  # its stub knows the old messages only
        return "250 OK"


def certificate(folder: Path) -> Path:
    """A file with a key and a certificate of 127.0.0.1's own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    pem = serialization.Encoding.PEM
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(pem)
    )
    return file


@contextlib.contextmanager
def post(certificate: Path | None, *, whole: bool = False) -> Iterator[Post]:
    """A mail server; with a certificate it demands TLS and a password, `whole` from the first byte."""
    found = Post()
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> smtp.AuthResult:
        del server, session, envelope, mechanism
        right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        found.signed_in.append(data.login.decode())
        return smtp.AuthResult(success=right, handled=False)

    def protocol() -> smtp.SMTP:
        if context is None:
            return smtp.SMTP(found, hostname="mail.example.com", loop=loop)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it does not know that TLS is there from the first byte
            return smtp.SMTP(
                found,
                hostname="mail.example.com",
                tls_context=None if whole else context,
                require_starttls=not whole,
                auth_required=True,
                auth_require_tls=not whole,
                authenticator=authenticate,
                loop=loop,
            )

    loop = asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        wrapped = context if whole else None
        server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=wrapped)
        found.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        await server.wait_closed()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    ready.wait()
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
