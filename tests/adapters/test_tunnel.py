"""Through a real sshd to a real Postgres and a real MariaDB: the same rows, and a sentence for what goes wrong."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import loads
import mariadbd
import ports
import psutil
import pytest
import servers
import sshd

from tidegate import config, errors
from tidegate import warehouse as warehouses
from tidegate.config import warehouses as kinds
from tidegate.warehouse import base


@functools.cache
def server(*options: str) -> sshd.SSHD:
    """An sshd, one per configuration."""
    return sshd.SSHD(*options)


@functools.cache
def postgres_port() -> int:
    """The port behind which this process's Postgres is."""
    folder = urllib.parse.parse_qs(urllib.parse.urlsplit(servers.postgres()).query)["host"][0]
    return sshd.door(f"{folder}/.s.PGSQL.5432")


def opened(kind: str, ssh: dict[str, object], wait: float = 20.0, **other: Any) -> base.Warehouse:
    """A warehouse that is only reached through ssh."""
    if kind == "mysql":
        servers.new_mariadb()
        given = {"host": "127.0.0.1", "port": servers.mariadb().port, "user": "tidegate"}
        given |= {"password": mariadbd.PASSWORD, **other}
        mysql = kinds.MySQL.model_validate({"type": "mysql", **given, "ssh": ssh})
        return warehouses.open_warehouse(mysql, wait=wait)
    name = urllib.parse.urlsplit(servers.new_postgres()).path.removeprefix("/")
    given = {"host": "127.0.0.1", "port": postgres_port(), "user": "postgres", "database": name, **other}
    postgres = config.Postgres.model_validate({"type": "postgres", **given, "ssh": ssh})
    return warehouses.open_warehouse(postgres, wait=wait)


@pytest.fixture(params=["postgres", "mysql"])
def kind(request: pytest.FixtureRequest) -> str:
    """The type of warehouse at the other end."""
    return str(request.param)


@pytest.fixture
def through(kind: str) -> Iterator[base.Warehouse]:
    """A warehouse behind an ssh host."""
    warehouse = opened(kind, server().block())
    yield warehouse
    warehouse.close()
    assert running() == []


def running() -> list[psutil.Process]:
    """The children that are ssh."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if child.name() == "ssh" and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def test_rows_go_through_and_come_back(through: base.Warehouse) -> None:
    through.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
    assert loads.items(through) == [("a", "x", 1, None)]
    assert through.state() == {"cursor": "1"}
    assert len(running()) == 1


def test_check_says_which_way_it_went(through: base.Warehouse) -> None:
    checks = through.check()
    assert [check.name for check in checks if not check.ok] == []
    assert f"answers through 127.0.0.1:{server().port}" in checks[0].detail


def test_a_tunnel_ends_with_the_warehouse_and_opens_again(through: base.Warehouse) -> None:
    through.load([loads.load(loads.row("a", 1, "x"))], {})
    through.close()
    assert running() == []
    assert loads.items(through) == [("a", "x", 1, None)]


def test_a_tunnel_that_is_lost_between_loads_is_opened_anew(through: base.Warehouse) -> None:
    through.load([loads.load(loads.row("a", 1, "x"))], {})
    [child] = running()
    child.kill()
    through.load([loads.load(loads.row("b", 1, "y"))], {})
    assert loads.items(through) == [("a", "x", 1, None), ("b", "y", 1, None)]


class Trap(dict[str, str | None]):
    """State that cuts the tunnel, once, when it is about to be written."""

    cut = False

    def _spring(self) -> None:
        if not self.cut:
            self.cut = True
            for child in running():
                child.kill()
                child.wait()

    def items(self) -> Any:
        self._spring()
        return super().items()

    def values(self) -> Any:
        self._spring()
        return super().values()


def test_a_tunnel_that_is_lost_in_the_midst_of_a_load_doubles_nothing(through: base.Warehouse) -> None:
    through.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
    state = Trap(cursor="2")
    done = through.load([loads.load(loads.row("a", 2, "y"), loads.row("b", 1, "z"))], state)
    assert state.cut
    assert done == [base.Loaded("items", 2, 1, 1, 0)]
    assert loads.items(through) == [("a", "y", 2, None), ("b", "z", 1, None)]
    assert through.state() == {"cursor": "2"}


def refused(kind: str, ssh: dict[str, object], **other: Any) -> errors.TidegateError:
    """Why the first step of a check fails, which is why a load fails as well."""
    warehouse = opened(kind, ssh, 0.0, **other)
    try:
        [check] = warehouse.check()
        assert (check.name, check.ok) == ("reach", False)
        with pytest.raises(errors.TidegateError) as raised:
            warehouse.load([loads.load(loads.row("a", 1, "secret"))], {})
        assert str(raised.value) == check.detail
        assert "secret" not in check.detail
        assert mariadbd.PASSWORD not in check.detail
    finally:
        warehouse.close()
    assert running() == []
    return raised.value


def test_a_host_whose_key_nobody_knows_is_refused(kind: str, tmp_path: Path) -> None:
    known = tmp_path / "none yet"
    error = refused(kind, server().block(known_hosts=str(known)))
    assert isinstance(error, errors.ConfigError)
    assert f"is not in {known}" in str(error)
    assert f"ssh-keyscan -p {server().port} 127.0.0.1" in str(error)


def test_a_host_that_shows_another_key_is_refused(kind: str, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text(server().known("stranger"))
    error = refused(kind, server().block(known_hosts=str(known)))
    assert isinstance(error, errors.ConfigError)
    assert "shows another key than the one in" in str(error)


def test_a_key_that_is_refused(kind: str) -> None:
    key = server().folder / "stranger"
    error = refused(kind, server().block(key=str(key)))
    assert isinstance(error, errors.ConfigError)
    assert f"refused the key {key}; add its public half" in str(error)


def test_a_key_that_is_not_there(kind: str, tmp_path: Path) -> None:
    error = refused(kind, server().block(key=str(tmp_path / "nowhere")))
    assert isinstance(error, errors.ConfigError)
    assert "nowhere cannot be read; check `key` of `ssh`" in str(error)


def test_a_key_that_others_may_read(kind: str, tmp_path: Path) -> None:
    key = tmp_path / "open"
    key.write_text((server().folder / "user").read_text())
    key.chmod(0o644)
    error = refused(kind, server().block(key=str(key)))
    assert isinstance(error, errors.ConfigError)
    assert "`chmod 600`" in str(error)


def test_a_host_that_forbids_to_go_on(kind: str) -> None:
    error = refused(kind, server("AllowTcpForwarding no").block())
    assert isinstance(error, errors.ConfigError)
    assert "forbids to go on to 127.0.0.1:" in str(error)


def test_nothing_at_the_other_end(kind: str) -> None:
    port = ports.free()
    error = refused(kind, server().block(), port=port)
    assert isinstance(error, errors.WarehouseUnreachable)
    assert f"reaches nothing at 127.0.0.1:{port}" in str(error)


def test_no_ssh_host_at_its_port(kind: str) -> None:
    error = refused(kind, server().block(port=ports.free()))
    assert isinstance(error, errors.WarehouseUnreachable)
    assert "Nothing answers at the SSH host 127.0.0.1:" in str(error)


def test_no_ssh_host_of_this_name(kind: str) -> None:
    error = refused(kind, server().block(host="nowhere.invalid"))
    assert isinstance(error, errors.WarehouseUnreachable)
    assert "There is no SSH host nowhere.invalid" in str(error)


def test_no_ssh_on_this_machine(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    block = server().block()
    warehouse = opened(kind, block, 0.0)
    monkeypatch.setenv("PATH", str(tmp_path))
    [check] = warehouse.check()
    assert "There is no `ssh` on this machine" in check.detail
    warehouse.close()


def test_a_server_that_comes_back_is_reached_again(kind: str) -> None:
    """What ssh said while nothing was there explains nothing later."""
    port = ports.free()
    warehouse = opened(kind, server().block(), 30.0, port=port)
    [check] = warehouse.check()
    assert "reaches nothing" in check.detail
    with relayed(port, servers.mariadb().port if kind == "mysql" else postgres_port()):
        warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
        assert loads.items(warehouse) == [("a", "x", 1, None)]
        warehouse.close()


class relayed:
    """Makes a port lead to another one while the block runs, by ssh itself."""

    def __init__(self, port: int, target: int) -> None:
        self._words = ["-L", f"127.0.0.1:{port}:127.0.0.1:{target}"]

    def __enter__(self) -> None:
        block = server().block()
        known, key = (str(block[name]).replace("%", "%%") for name in ("known_hosts", "key"))
        options = [f'UserKnownHostsFile="{known}"', f'IdentityFile="{key}"', "BatchMode=yes"]
        options += ["PermitLocalCommand=yes", "LocalCommand=echo stands"]
        words = ["ssh", "-N", *self._words, "-p", str(block["port"]), "-l", str(block["user"])]
        for option in options:
            words += ["-o", option]
        self._child = subprocess.Popen([*words, "127.0.0.1"], stdout=subprocess.PIPE)
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == b"stands\n"

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.communicate()


ORPHAN = """
import json, signal, sys
import psutil
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever starts the tests in the background ignores it
from tidegate import warehouse as warehouses
from tidegate.config import warehouses as kinds
opened = warehouses.open_warehouse(kinds.MySQL.model_validate(json.loads(sys.argv[1])))
assert opened.state() == {}
[ssh] = [c for c in psutil.Process().children(recursive=True) if c.name() == "ssh"]
print(ssh.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_tunnel_does_not_outlive_its_process(how: int) -> None:
    servers.new_mariadb()
    given = {"type": "mysql", "url": servers.mariadb().url(), "ssh": server().block()}
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN, json.dumps(given)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdout is not None
        number = int(child.stdout.readline())
        os.kill(child.pid, how)
        child.wait()
    mariadbd.until(lambda: not psutil.pid_exists(number), "ssh lives on")


def test_a_socket_of_this_machine_needs_no_tunnel() -> None:
    for kind, url in (
        ("mysql", "mysql://me:hunter2@/?unix_socket=/run/s"),
        ("postgres", "postgresql://me:hunter2@/db?host=/run"),
    ):
        model = kinds.MySQL if kind == "mysql" else kinds.Postgres
        target = model.model_validate({"type": kind, "url": url, "ssh": {"host": "bastion"}})
        with pytest.raises(errors.ConfigError, match="ssh") as raised:
            warehouses.open_warehouse(target)
        assert "hunter2" not in str(raised.value)
