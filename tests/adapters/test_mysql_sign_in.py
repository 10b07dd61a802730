"""How MySQL and MariaDB let somebody in: addresses, passwords, TLS and grants, on a real MariaDB.

What only MySQL 8 does at signing in is played by a server that gets no further than that.
"""

from __future__ import annotations

import re
import socket
import struct
import sys
import threading
from pathlib import Path
from typing import Any

import loads
import mariadbd
import ports
import pymysql
import pytest
import servers

from tidegate import errors
from tidegate import warehouse as warehouses
from tidegate.adapters import mysql, mysql_server
from tidegate.config import warehouses as kinds
from tidegate.warehouse import base


def run(statement: str) -> list[tuple[Any, ...]]:
    """A statement of the administrator's."""
    return servers.mariadb().run(statement)


def configured(wait: float = 0.0, **given: object) -> base.Warehouse:
    """A warehouse on this process's server, with other settings."""
    told = {"host": "127.0.0.1", "port": servers.mariadb().port, "user": "tidegate"}
    told |= {"password": mariadbd.PASSWORD, **given}
    return warehouses.open_warehouse(kinds.MySQL.model_validate({"type": "mysql", **told}), wait=wait)


def failing(opened: base.Warehouse) -> base.Check:
    """The step of a check that fails, which is the last."""
    try:
        *before, last = opened.check()
    finally:
        opened.close()
    assert all(check.ok for check in before)
    assert not last.ok
    assert mariadbd.PASSWORD not in last.detail
    assert len(last.detail.splitlines()) == 1
    return last


# Signing in


def test_nothing_at_the_port() -> None:
    servers.new_mariadb()
    port = ports.free()
    check = failing(configured(port=port))
    assert check.name == "reach"
    assert check.detail.startswith(f"Nothing answers at 127.0.0.1:{port} (Connection refused);")


def test_a_wrong_password() -> None:
    servers.new_mariadb()
    check = failing(configured(password="hunter2"))
    assert (check.name, "hunter2" in check.detail) == ("sign in", False)
    assert "refused the sign-in; check the user and the password" in check.detail


def test_a_database_that_is_not_there() -> None:
    servers.new_mariadb()
    run("GRANT SELECT ON nowhere.* TO 'tidegate'@'127.0.0.1'")
    check = failing(configured(database="nowhere"))
    assert check.name == "sign in"
    assert "(Unknown database 'nowhere'); check the name of the database" in check.detail


def test_the_driver_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mysql", "mysql_wire", "mysql_server", "mysql_session"):
        monkeypatch.delitem(sys.modules, f"tidegate.adapters.{name}")
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(errors.ConfigError, match=r"pip install 'tidegate\[mysql\]'"):
        warehouses.open_url("mysql://me:hunter2@127.0.0.1/")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://me:hunter2@host:port/", "cannot be read"),
        ("mysql://me:hunter2@host/?charset=latin1", "nothing else"),
        ("mysql://me:hunter2@host/?sslmode=hunter2", "is one of disable"),
        ("mysql://me:hunter2@host/?ca=/nowhere.pem", "/nowhere.pem cannot be read"),
    ],
)
def test_a_url_that_says_too_much_or_too_little(url: str, says: str) -> None:
    with pytest.raises(errors.ConfigError, match=says) as raised:
        warehouses.open_url(url)
    assert "hunter2" not in str(raised.value)


def test_a_socket_of_this_machine() -> None:
    servers.new_mariadb()
    run("CREATE OR REPLACE USER 'near'@'localhost' IDENTIFIED BY 'near'")
    run("GRANT ALL ON *.* TO 'near'@'localhost'")
    opened = warehouses.open_url(f"mysql://near:near@/?unix_socket={servers.mariadb().socket}")
    opened.load([loads.load(loads.row("a", 1, "x"))], {})
    assert loads.items(opened) == [("a", "x", 1, None)]
    opened.close()


@pytest.mark.parametrize("mode", [None, "disable", "prefer", "require", "verify-ca", "verify-full"])
def test_tls_as_it_is_asked_for(mode: str | None) -> None:
    servers.new_mariadb()
    ca = str(servers.mariadb().ca) if mode in ("verify-ca", "verify-full") else None
    opened = configured(**{"sslmode": mode, "ca": ca} if mode else {})
    assert isinstance(opened, mysql.MySQL)
    opened.connect()
    [(_, cipher)] = opened._rows("SHOW STATUS LIKE 'Ssl_cipher'")
    opened.close()
    assert bool(cipher) == (mode != "disable")


def test_a_server_that_nobody_vouches_for_is_not_trusted(tmp_path: Path) -> None:
    servers.new_mariadb()
    stranger = mariadbd.certificates(tmp_path)
    check = failing(configured(ca=str(stranger)))
    assert check.name == "sign in"
    assert "is not trusted (" in check.detail
    assert "check `ca` and `sslmode`" in check.detail


def test_a_server_of_another_name_is_not_trusted() -> None:
    servers.new_mariadb()
    check = failing(configured(host="127.0.0.2", ca=str(servers.mariadb().ca)))
    assert check.name == "sign in"
    assert "IP address mismatch" in check.detail
    opened = configured(host="127.0.0.2", ca=str(servers.mariadb().ca), sslmode="verify-ca")
    assert [each.name for each in opened.check() if not each.ok] == []
    opened.close()


# Grants


def test_granting_what_check_asks_for_ends_in_a_warehouse_that_takes_loads() -> None:
    servers.new_mariadb()
    run("CREATE OR REPLACE USER 'new'@'127.0.0.%' IDENTIFIED BY 'new'")
    opened = configured(user="new", password="new")
    granted = []
    while not (last := opened.check()[-1]).ok:
        assert last.name == "write"
        found = re.search(
            r"let somebody who may run: (GRANT [A-Z ,]+ ON `[\w\\]+`\.\* TO 'new'@'127\.0\.0\.%');$",
            last.detail,
        )
        assert found is not None, last.detail
        assert found[1] not in granted
        granted.append(found[1])
        run(found[1])
    opened.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
    opened.load([loads.mark(loads.dead("a", 2))], {"cursor": "2"})
    opened.claim("me", ["items"])
    assert loads.items(opened) == [("a", "x", 2, 2)]
    opened.close()
    privileges = {
        name for each in granted for name in each.removeprefix("GRANT ").partition(" ON ")[0].split(", ")
    }
    page = (Path(__file__).parents[2] / "docs" / "warehouse-mysql.md").read_text(encoding="utf-8")
    documented = {
        name for told in re.findall(r"GRANT ([A-Z ,\n]+?) ON `stripe", page) for name in told.split(", ")
    }
    assert privileges == documented


# MySQL 8


def greeting(plugin: bytes) -> bytes:
    """What a MySQL 8 says first: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html"""
    # 4.1 protocol, secure connection, plugins, and no TLS
    able = 0x00000200 | 0x00008000 | 0x00080000
    return (
        b"\x0a8.4.3\0"
        + struct.pack("<I", 7)
        + b"saltsalt\0"
        + struct.pack("<HBHH", able & 0xFFFF, 255, 2, able >> 16)
        + bytes([21])
        + bytes(10)
        + b"saltsaltsalt\0"
        + plugin
        + b"\0"
    )


def spoken(*packets: bytes) -> int:
    """The port of a server that sends a packet, waits for an answer, sends the next, and then hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def speak() -> None:
        with listener, listener.accept()[0] as opened:
            for number, packet in enumerate(packets):
                opened.sendall(struct.pack("<I", len(packet))[:3] + bytes([2 * number]) + packet)
                if not opened.recv(65536):
                    return

    threading.Thread(target=speak, daemon=True).start()
    return int(listener.getsockname()[1])


def refusal(port: int, **given: object) -> str:
    """Why nobody can sign in at a port."""
    opened = configured(port=port, **given)
    with pytest.raises(errors.TidegateError) as raised:
        opened.state()
    assert mariadbd.PASSWORD not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    return f"{type(raised.value).__name__}: {raised.value}"


def test_a_password_that_would_have_to_be_encrypted_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account with caching_sha2_password, where there is neither TLS nor the library."""
    monkeypatch.setattr(pymysql._auth, "_have_cryptography", False)
    key = b"\x01-----BEGIN PUBLIC KEY-----\n"
    told = refusal(spoken(greeting(b"caching_sha2_password"), b"\x01\x04", key))
    assert told.startswith("ConfigError: 127.0.0.1:")
    assert told.endswith(
        "takes this password with TLS only; set `sslmode: require`, or pip install cryptography."
    )


def test_a_server_without_tls_is_refused_where_tls_is_asked_for() -> None:
    told = refusal(spoken(greeting(b"mysql_native_password")), sslmode="require")
    assert told.startswith("ConfigError: 127.0.0.1:")
    assert "speaks no TLS" in told


def test_a_way_of_signing_in_that_is_not_known() -> None:
    told = refusal(spoken(greeting(b"mysql_native_password"), b"\xfeauthentication_windows_client\0salt"))
    assert "ConfigError" in told
    assert "how the user signs in (authentication_windows_client)" in told


def test_a_server_that_hangs_up_in_the_midst_of_signing_in() -> None:
    told = refusal(spoken(greeting(b"mysql_native_password")))
    assert told.startswith("WarehouseUnreachable: The connection to 127.0.0.1:")


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("8.0.17", False),
        ("8.4.3-commercial", False),
        ("9.1.0", False),
        ("10.11.6-MariaDB-0+deb12u1", True),
        ("5.5.5-10.6.19-MariaDB", True),
        ("11.4.4-MariaDB-log", True),
        ("8.0.16", None),
        ("5.7.44-log", None),
        ("10.5.27-MariaDB", None),
        ("5.5.5-10.3.39-MariaDB", None),
    ],
)
def test_versions(version: str, known: bool | None) -> None:
    if known is not None:
        assert mysql_server.is_mariadb(version, "here") == known
        return
    with pytest.raises(errors.ConfigError, match="is the oldest that compares texts byte by byte"):
        mysql_server.is_mariadb(version, "here")
