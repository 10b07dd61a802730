"""An OpenSSH server of this process's own, which lets in who has its key; a door from TCP to a socket's path."""

from __future__ import annotations

import atexit
import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import mariadbd
import ports


class SSHD:
    """A server on the loopback with a folder and keys of its own; `options` are lines of its configuration."""

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tidegate sshd % "))
        self.port = ports.free()
        self.user = getpass.getuser()
        atexit.register(self.stop)
        for name in ("host", "user", "stranger"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.folder / name)],
                check=True,
            )
        (self.folder / "authorized").write_text((self.folder / "user.pub").read_text())
        (self.folder / "known").write_text(self.known("host"))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd goes when it gives up its rights
        # sshd reads paths with spaces in quotes, and no `%` as it is.
        plain = Path(tempfile.mkdtemp(prefix="tidegate-sshd-"))
        atexit.register(shutil.rmtree, plain, ignore_errors=True)
        shutil.copy(self.folder / "host", plain / "host")
        shutil.copy(self.folder / "authorized", plain / "authorized")
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {plain / 'host'}",
            f"AuthorizedKeysFile {plain / 'authorized'}",
            f"PidFile {plain / 'pid'}",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "StrictModes no",
            "UsePAM no",
            *options,
        ]
        (plain / "config").write_text("\n".join(lines) + "\n")
        with open(plain / "log", "wb") as log:
            self._process = subprocess.Popen(
                [mariadbd.program("sshd"), "-D", "-e", "-f", str(plain / "config")],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        mariadbd.until(self._answers, f"sshd did not start: {plain / 'log'}")

    def known(self, name: str) -> str:
        """A line of known_hosts that says that this server has the key of this name."""
        kind, key, _ = (self.folder / f"{name}.pub").read_text().split()
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"

    def block(self, **other: object) -> dict[str, object]:
        """The `ssh:` of a configuration that goes through here."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": self.user,
            "key": str(self.folder / "user"),
            "known_hosts": str(self.folder / "known"),
            **other,
        }

    def stop(self) -> None:
        """End it; connections that stand stay."""
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._process.poll() is None, "sshd ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def door(path: str) -> int:
    """A port of the loopback behind which a socket's path is, for as long as the process runs."""
    listener = socket.create_server(("127.0.0.1", 0))
    atexit.register(listener.close)

    def carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def pair(near: socket.socket) -> None:
        with near, socket.socket(socket.AF_UNIX) as far:
            far.connect(path)
            back = threading.Thread(target=carry, args=(far, near), daemon=True)
            back.start()
            carry(near, far)
            back.join()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(target=pair, args=(near,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(listener.getsockname()[1])
