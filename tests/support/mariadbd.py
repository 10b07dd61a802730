"""A MariaDB of Debian's for tests, with settings that nobody should rely on: Latin-1, no strict mode, another zone.

Nobody signs in as its administrator over TCP; the user `tidegate` has what docs/warehouse-mysql.md says to grant.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime as dt
import ipaddress
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ports
import pymysql
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
PASSWORD = "päss:w@rd/'1"
QUOTED = "p%C3%A4ss%3Aw%40rd%2F%271"
GRANTS = (
    "CREATE USER 'tidegate'@'127.0.0.1' IDENTIFIED BY 'päss:w@rd/''1'",
    "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, CREATE TEMPORARY TABLES "
    "ON `stripe`.* TO 'tidegate'@'127.0.0.1'",
    "GRANT SELECT, CREATE, CREATE VIEW, DROP ON `stripe\\_live`.* TO 'tidegate'@'127.0.0.1'",
)


def program(name: str) -> str:
    """The path of a program that apt brings."""
    found = shutil.which(name, path=PATH)
    assert found is not None, f"{name} is missing: apt-get install mariadb-server openssh-server"
    return found


def memory(room: int = 4 * 1024**3) -> str | None:
    """A folder in memory, where there is room: every statement that changes tables waits for the disk."""
    there = Path("/dev/shm")
    return str(there) if os.access(there, os.W_OK) and shutil.disk_usage(there).free > room else None


def until(done: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait for something that is bound to happen."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class MariaDB:
    """A server with a folder and a port of its own."""

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tidegate-mariadb-", dir=memory()))
        self.data = self.folder / "data"
        self.port = ports.free()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)
        self._me = ["--user=root"] if os.geteuid() == 0 else []
        subprocess.run(
            [
                program("mariadb-install-db"),
                "--no-defaults",
                f"--datadir={self.data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                *self._me,
            ],
            check=True,
            capture_output=True,
        )
        self.ca = certificates(self.folder)
        self.start()
        for grant in GRANTS:
            self.run(grant)

    @property
    def socket(self) -> str:
        """The path of its socket."""
        return str(self.folder / "s")

    def url(self, host: str = "127.0.0.1") -> str:
        """Its URL for the user that Tidegate is given."""
        return f"mysql://tidegate:{QUOTED}@{host}:{self.port}/"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                program("mariadbd"),
                "--no-defaults",
                *self._me,
                f"--datadir={self.data}",
                f"--tmpdir={self.folder}",  # one that starts clears the files of others in a common one
                f"--socket={self.socket}",
                f"--port={self.port}",
                f"--pid-file={self.folder / 'pid'}",
                f"--log-error={self.folder / 'log.err'}",
                "--bind-address=127.0.0.1,127.0.0.2",
                "--skip-name-resolve",
                f"--ssl-ca={self.ca}",
                f"--ssl-cert={self.folder / 'server.pem'}",
                f"--ssl-key={self.folder / 'server.key'}",
                "--character-set-server=latin1",
                "--sql-mode=",
                "--default-time-zone=+05:30",
                "--performance-schema=OFF",
                "--innodb-buffer-pool-size=64M",
                "--innodb-log-file-size=64M",
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-flush-method=nosync",
                "--max-allowed-packet=4M",
                *self._options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            restore_signals=False,  # it shall survive SIGXFSZ, see `limit`
        )
        until(self._answers, f"mariadbd did not start: {self.folder / 'log.err'}")

    def _answers(self) -> bool:
        assert self._process is not None, "It was just started."
        assert self._process.poll() is None, (self.folder / "log.err").read_text()
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(self.socket) == 0

    def limit(self, size: int = resource.RLIM_INFINITY) -> None:
        """Let no file of its grow beyond so many bytes."""
        assert self._process is not None, "It runs."
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Shut it down."""
        self._end(signal.SIGTERM)

    def remove(self) -> None:
        """End it and remove its folder."""
        self._end(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, how: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait()

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement as the administrator."""
        opened = pymysql.connect(
            unix_socket=self.socket, user="root", charset="utf8mb4", autocommit=True, ssl_disabled=True
        )
        with contextlib.closing(opened), opened.cursor() as cursor:
            cursor.execute(statement, list(parameters) or None)
            return list(cursor.fetchall())

    def empty(self) -> None:
        """Drop all databases but the server's own."""
        for (name,) in self.run("SELECT schema_name FROM information_schema.schemata"):
            if name not in ("information_schema", "mysql", "performance_schema", "sys"):
                self.run(f"DROP DATABASE `{name}`")


def certificates(folder: Path) -> Path:
    """Write a certificate for localhost with its key, and that of who vouches for it, whose path this is."""
    now = dt.datetime.now(dt.UTC)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server")}
    names = {name: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Test {name}")]) for name in keys}
    for name, key in keys.items():
        made = (
            x509.CertificateBuilder()
            .subject_name(names[name])
            .issuer_name(names["ca"])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
        )
        if name == "server":
            known = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            made = made.add_extension(x509.SubjectAlternativeName(known), critical=False)
        (folder / f"{name}.pem").write_bytes(
            made.sign(keys["ca"], hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
    return folder / "ca.pem"
