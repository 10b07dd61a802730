"""The way to a server that only another host reaches: the system's `ssh` as a child, with a port forwarded.

The child is told to go when its standard input ends, which it does with this process, however that ends. Keys of
hosts are checked, nothing is ever asked, and what the user's own configuration of ssh says counts.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from typing import IO

from tidegate import errors
from tidegate.config import warehouses as kinds

LOCAL = "127.0.0.1"
ATTEMPTS = 5
"""How many ports are tried, of which others may take one before ssh does."""

ANSWER = 15.0
"""Seconds that the server may take until it says something."""

SIGN_IN = 30.0
"""Seconds that ssh may take until the forwarding stands."""

GUARD = """exec 3<&0
"$@" </dev/null 3<&- & ssh=$!
{ read -r _ <&3; kill $ssh 2>/dev/null; } & guard=$!
exec 3<&-
wait $ssh; code=$?
kill $guard 2>/dev/null
exit $code"""
"""Runs ssh until it ends or the standard input does."""


class Tunnel:
    """A forwarded port; opened when it is needed, and again when it broke."""

    def __init__(self, ssh: kinds.SSH, host: str, port: int) -> None:
        self._ssh, self._host, self._port = ssh, host, port
        self._child: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._local = 0
        self._lock = threading.RLock()
        """Connections that read and the one that writes share a tunnel."""

    def where(self) -> str:
        """The host that is gone through."""
        return self._ssh.host if self._ssh.port is None else f"{self._ssh.host}:{self._ssh.port}"

    def open(self) -> tuple[str, int]:
        """The address at this end, once the forwarding stands; raises ConfigError, WarehouseUnreachable."""
        with self._lock:
            for attempt in range(ATTEMPTS):
                if self._child is not None and self._child.poll() is None:
                    break
                self.close()
                self._start()
                if self._stands():
                    break
                if "cannot listen to port" not in self._text() or attempt == ATTEMPTS - 1:
                    told = self.trouble()
                    self.close()
                    raise told or self._unreachable("ssh ended without a word")
            return LOCAL, self._local

    def connect(self, hello: bytes = b"") -> socket.socket:
        """A connection to the server, which has said something, to `hello` or by itself, that is not read yet."""
        try:
            opened = socket.create_connection(self.open(), ANSWER)
            try:
                opened.sendall(hello)
                self._await(opened)
            except BaseException:
                opened.close()
                raise
        except OSError as error:
            raise self.trouble() or self._unreachable(error.strerror or type(error).__name__) from None
        return opened

    def greeted(self, hello: bytes = b"") -> str:
        """Find out whether a server answers at the other end, and say so."""
        try:
            with self.connect(hello) as opened:
                heard = opened.recv(1)
        except OSError as error:
            raise self.trouble() or self._unreachable(error.strerror or type(error).__name__) from None
        if not heard:
            raise self.trouble() or self._unreachable("it hung up")
        return f"{self._host}:{self._port} answers through {self.where()}"

    def _await(self, opened: socket.socket) -> None:
        """Wait for what a server says; ssh may take long to hang up where it reached none."""
        deadline = time.monotonic() + ANSWER
        opened.settimeout(0.1)
        while True:
            try:
                opened.recv(1, socket.MSG_PEEK)
            except TimeoutError:
                told = self.trouble()
                if told is None and time.monotonic() > deadline:
                    told = self._unreachable("it does not answer")
                if told is not None:
                    raise told from None
            else:
                break
        opened.settimeout(ANSWER)

    def trouble(self) -> errors.TidegateError | None:
        """What ssh has complained about, None if it has not; the tunnel is opened anew after a complaint."""
        with self._lock:
            if self._child is None:
                return None
            text, is_over = self._text(), self._child.poll() is not None
            for sign, kind, sentence in _MEANINGS:
                if sign in text:
                    self.close()
                    return kind(sentence.format(**self._words()))
            return self._unreachable("ssh ended") if is_over else None

    def close(self) -> None:
        """End ssh; idempotent."""
        with self._lock:
            child, self._child = self._child, None
            said, self._said = self._said, None
        if child is not None:
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            child.wait()
        if said is not None:
            said.close()

    def _start(self) -> None:
        program, shell = shutil.which("ssh"), shutil.which("sh")
        if program is None or shell is None:
            raise errors.ConfigError(
                "There is no `ssh` on this machine, which `ssh:` needs; install it (Debian: apt-get install "
                "openssh-client)."
            )
        if self._ssh.key is not None and not os.access(self._ssh.key, os.R_OK):
            raise errors.ConfigError(f"The key {self._ssh.key} cannot be read; check `key` of `ssh`.")
        with socket.socket() as probe:
            probe.bind((LOCAL, 0))
            self._local = probe.getsockname()[1]
        target = f"[{self._host}]" if ":" in self._host else self._host
        options = {
            "BatchMode": "yes",
            "ExitOnForwardFailure": "yes",
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "ConnectTimeout": "10",
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "3",
            "ControlMaster": "no",
            "ControlPath": "none",
            "LogLevel": "INFO",
            # Runs once the forwarding stands: a port that answers before might be anybody's.
            "PermitLocalCommand": "yes",
            "LocalCommand": "echo stands",
        }
        if self._ssh.known_hosts is not None:
            options["UserKnownHostsFile"] = _path(self._ssh.known_hosts)
            options["GlobalKnownHostsFile"] = "/dev/null"
        if self._ssh.key is not None:
            options |= {"IdentityFile": _path(self._ssh.key), "IdentitiesOnly": "yes"}
        words = [program, "-N", "-T", "-L", f"{LOCAL}:{self._local}:{target}:{self._port}"]
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        if self._ssh.port is not None:
            words += ["-p", str(self._ssh.port)]
        if self._ssh.user is not None:
            words += ["-l", self._ssh.user]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # it stays open as long as ssh
        # In a session of its own, or Ctrl-C would end it before the load that needs it has come to its end.
        self._child = subprocess.Popen(
            [shell, "-c", GUARD, "tidegate", *words, "--", self._ssh.host],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,
        )

    def _stands(self) -> bool:
        """Wait until the forwarding stands, or ssh gave up."""
        child = self._child
        assert child is not None, "It was just started."
        assert child.stdin is not None, "A pipe."
        assert child.stdout is not None, "A pipe."
        timer = threading.Timer(SIGN_IN, child.stdin.close)
        timer.start()
        line = child.stdout.readline()
        timer.cancel()
        timer.join()
        if line.strip() == b"stands":
            return True
        child.wait()
        return False

    def _words(self) -> dict[str, object]:
        return {
            "where": self.where(),
            "target": f"{self._host}:{self._port}",
            "host": self._ssh.host,
            "port": self._ssh.port or 22,
            "key": self._ssh.key or "that ssh has",
            "known": self._ssh.known_hosts or "~/.ssh/known_hosts",
        }

    def _text(self) -> str:
        if self._said is None:
            return ""
        # Not by `read`, which would move the place at which the child writes.
        return os.pread(self._said.fileno(), 1 << 20, 0).decode(errors="replace")

    def _unreachable(self, why: str) -> errors.WarehouseUnreachable:
        return errors.WarehouseUnreachable(
            f"The way through {self.where()} to {self._host}:{self._port} broke ({why}); check that both run."
        )


def _path(path: str) -> str:
    """A path as an option of ssh takes it."""
    return '"' + path.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"') + '"'


_MEANINGS: tuple[tuple[str, type[errors.TidegateError], str], ...] = (
    (
        "HOST IDENTIFICATION HAS CHANGED",
        errors.ConfigError,
        "The SSH host {where} shows another key than the one in {known}; somebody may listen in: ask who runs it, "
        "and replace the line there if its key was changed.",
    ),
    (
        "Host key verification failed",
        errors.ConfigError,
        "The key of the SSH host {where} is not in {known}; compare what `ssh-keyscan -p {port} {host}` says with "
        "what who runs it says, and add the line there.",
    ),
    (
        "UNPROTECTED PRIVATE KEY FILE",
        errors.ConfigError,
        "ssh does not use the key {key}, which others may read; run `chmod 600` on it.",
    ),
    (
        "Permission denied (",
        errors.ConfigError,
        "The SSH host {where} refused the key {key}; add its public half to ~/.ssh/authorized_keys there, and use "
        "one without a passphrase or an agent.",
    ),
    (
        "Bad configuration option",
        errors.ConfigError,
        "ssh does not understand its own configuration; try `ssh {host}` by hand.",
    ),
    (
        "administratively prohibited",
        errors.ConfigError,
        "The SSH host {where} forbids to go on to {target}; allow it by AllowTcpForwarding and PermitOpen in its "
        "sshd_config.",
    ),
    (
        "open failed: connect failed",
        errors.WarehouseUnreachable,
        "The SSH host {where} reaches nothing at {target}; check the address as seen from there, and that it runs.",
    ),
    (
        "Could not resolve hostname",
        errors.WarehouseUnreachable,
        "There is no SSH host {where}; check its name.",
    ),
    (
        "Connection refused",
        errors.WarehouseUnreachable,
        "Nothing answers at the SSH host {where}; check its port and that sshd runs there.",
    ),
    (
        "timed out",
        errors.WarehouseUnreachable,
        "The SSH host {where} does not answer; check its address and the firewall.",
    ),
    (
        "No route to host",
        errors.WarehouseUnreachable,
        "There is no way to the SSH host {where}; check its address and the firewall.",
    ),
)
"""What lines of ssh mean; the first that fits counts, and ssh never writes more of a key than its path."""
