"""Names in DNS that lead to what answers to this machine alone, as each kind of client asks for them."""

from __future__ import annotations

import asyncio
import socket
import unicodedata
from pathlib import Path
from typing import Any, Literal

import aiohttp
import psycopg
import pymysql
import pytest
import urllib3

from tidegate import config, errors, outward, warehouse
from tidegate.adapters import storage_s3
from tidegate.cli import connect
from tidegate.config import warehouses
from tidegate.engine import telling
from tidegate.store import notices

EVIL, MIXED, GOOD = "evil.example", "mixed.example", "good.example"
MEANS = {
    EVIL: ("169.254.169.254",),
    MIXED: ("fe80::1", "127.0.0.1"),
    GOOD: ("127.0.0.1",),
    "six.example": ("fd00:ec2::254",),
    "mapped.example": ("::ffff:169.254.169.254",),
    "azure.example": ("168.63.129.16",),
    "metadata.google.internal": ("169.254.169.254",),
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of a DNS in which names mean what `MEANS` says; others are none."""
    found = list[str]()

    def resolve(host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else host
        found.append(name)
        if name not in MEANS and not name[0].isdigit():
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port or 0))
            for each in MEANS.get(name, (name,))
        ]

    monkeypatch.setattr(outward, "_resolve", resolve)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)  # what was there before comes back
    outward.guard(lambda: False)
    return found


def addresses(host: str) -> list[str]:
    return [each[4][0] for each in socket.getaddrinfo(host, 80)]


@pytest.mark.usefixtures("asked")
class TestNames:
    @pytest.mark.parametrize("host", [EVIL, "six.example", "mapped.example", "azure.example"])
    def test_one_that_leads_inside_leads_nowhere(self, host: str) -> None:
        with pytest.raises(outward.Inside):
            socket.getaddrinfo(host, 80)
        with pytest.raises(outward.Inside):
            socket.getaddrinfo(host.encode(), 80)
        assert outward.leads_inside(host)

    def test_of_one_that_leads_there_too_the_rest_is_left(self) -> None:
        assert addresses(MIXED) == ["127.0.0.1"]

    @pytest.mark.parametrize("host", [GOOD, "unknown.example"])
    def test_others_are_as_they_were(self, host: str) -> None:
        assert not outward.leads_inside(host)

    @pytest.mark.parametrize("host", ["169.254.169.254", "metadata.google.internal"])
    def test_providers_own_libraries_still_ask(self, host: str) -> None:
        assert addresses(host) == ["169.254.169.254"]

    def test_it_may_be_allowed_and_forbidden_again_while_the_process_runs(self) -> None:
        allowed = [True]
        outward.guard(lambda: allowed[0])
        assert addresses(EVIL) == ["169.254.169.254"]
        allowed[0] = False
        assert outward.leads_inside(EVIL)


def test_marks_that_combine_are_left_out_before_a_host_is_normalized(monkeypatch: pytest.MonkeyPatch) -> None:
    normalize, seen = unicodedata.normalize, list[str]()

    def noting(form: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> str:
        seen.append(text)
        return normalize(form, text)

    monkeypatch.setattr(unicodedata, "normalize", noting)
    assert not outward.is_inside("a" + "\u0301\u0316" * 500_000)
    assert outward.is_inside("169.254.\u0301169.254")
    assert seen == ["a", "169.254.169.254"]


class TestClients:
    """None of them connects; each has asked for the name."""

    def test_http_of_a_webhook(self, asked: list[str]) -> None:
        alerts = config.Alerts.model_validate({"webhook": {"url": f"http://{EVIL}/latest"}})
        notice = notices.Notice("matter", "kind", "", "text", 0.0, 0.0)
        (channel,) = telling.channels(alerts)
        with pytest.raises(telling.NotTold, match=r"evil\.example was not reached"):
            channel.send(telling.Message("test", (notice,)))
        assert asked == [EVIL]

    def test_aiohttp(self, asked: list[str]) -> None:
        async def get() -> None:
            async with aiohttp.ClientSession() as session, session.get(f"http://{EVIL}/v1/customers"):
                pass

        with pytest.raises(aiohttp.ClientConnectorError):
            asyncio.run(get())
        assert asked == [EVIL]

    def test_urllib3(self, asked: list[str]) -> None:
        with (
            pytest.raises(urllib3.exceptions.NameResolutionError),
            urllib3.PoolManager(retries=False) as pool,
        ):
            pool.request("GET", f"http://{EVIL}/")
        assert asked == [EVIL]

    def test_postgres_pins_what_was_found(self, asked: list[str]) -> None:
        with pytest.raises(psycopg.OperationalError, match="failed to resolve host"):
            psycopg.connect(host=EVIL, dbname="x", user="u", connect_timeout=5)
        assert asked == [EVIL]

    def test_mysql(self, asked: list[str]) -> None:
        with pytest.raises(pymysql.err.OperationalError):
            pymysql.connect(host=EVIL, user="u", connect_timeout=5)
        assert asked == [EVIL]

    def test_sql_server_whose_driver_looks_up_by_itself_is_not_asked(self, asked: list[str]) -> None:
        opened = warehouse.open_url(f"sqlserver://u:p@{EVIL}/x")
        with pytest.raises(errors.WarehouseUnreachable):
            opened.connect()
        assert set(asked) == {EVIL}

    def test_s3_of_arrow_and_duckdb(self, asked: list[str]) -> None:
        settings = {"endpoint": f"http://{EVIL}:9000", "key": "k", "secret": "s"}
        options = warehouses.S3.model_validate(settings)
        with pytest.raises(errors.ConfigError, match="answers to this machine alone"):
            storage_s3.S3("s3://bucket/prefix", options).credentials()
        assert set(asked) == {EVIL}


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(("more", "inside"), [("", True), ("server: {link_local: true}\n", False)])
def test_a_command_is_guarded_as_its_configuration_says(tmp_path: Path, more: str, inside: bool) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(f"database: sqlite:///{tmp_path}/t.db\n{more}")
    outward.guard(lambda: inside)  # the other way round
    with connect.place(file):
        assert outward.leads_inside(EVIL) is inside
    outward.guard(lambda: inside)
    connect.configuration(file, missing=True)
    assert outward.leads_inside(EVIL) is inside
