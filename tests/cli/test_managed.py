"""`tidegate run` in an empty folder: everything is configured over HTTP, and runs without another start."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flowing import until

from tidegate import sandbox
from tidegate.store import database, runs, tokens

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
KEY = "sk_test_geheim123456789"


@pytest.fixture
def shop() -> Iterator[str]:
    with sandbox.process(objects=30) as url:
        yield url


@contextlib.contextmanager
def running(folder: Path) -> Iterator[tuple[str, str]]:
    """The server's address, and the token of an admin."""
    with subprocess.Popen(
        [TIDEGATE, "run", "--port", "0", "--log", "json"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("STRIPE_")},
    ) as process:
        assert process.stderr is not None
        try:
            said = ""
            while "serving http" not in said:
                line = process.stderr.readline()
                assert line, said
                said += line
            url = said.rpartition("serving ")[2].split()[0]
            with contextlib.closing(database.open_database(f"sqlite:///{folder}/tidegate.db")) as store:
                yield url, tokens.create(store, "test", "admin")
        finally:
            process.send_signal(signal.SIGTERM)
            rest = process.communicate(timeout=120)[1]
        assert process.returncode == 0
        assert KEY not in said + rest


def put(url: str, token: str, part: str, body: dict[str, Any]) -> None:
    request = urllib.request.Request(
        f"{url}/api/v1/configuration/{part}",
        json.dumps({"body": body}).encode(),
        {"Authorization": f"Bearer {token}"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 201


def test_an_empty_folder_is_enough(tmp_path: Path, shop: str) -> None:
    with running(tmp_path) as (url, token):
        put(url, token, "stripe/acme", {"api_key": KEY, "api_base": shop, "rate_limit": "off"})
        put(url, token, "warehouses/one", {"type": "duckdb", "path": "one.duckdb"})
        body = {"from": "acme", "to": "one", "streams": {"customers": {}}, "schedule": "continuous"}
        put(url, token, "pulls/customers", body)
        with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
            until((tmp_path / "one.duckdb").exists)
            [run] = runs.listed(store)
            assert run.flow == "pull:customers"
            # A file that is written later counts beside it, and one that is wrong changes nothing.
            (tmp_path / "tidegate.yaml").write_text("pulls: {wrong: {from: nobody, to: one}}\n")
            text = "pulls: {once: {from: acme, to: one, streams: {plans: {}}}}\n"
            (tmp_path / "tidegate.yaml").write_text(text)
            request = urllib.request.Request(
                f"{url}/api/v1/flows/once/runs", b"", {"Authorization": f"Bearer {token}"}, method="POST"
            )

            def began() -> bool:
                try:
                    with urllib.request.urlopen(request, timeout=60) as answer:
                        return bool(answer.status == 202)
                except urllib.error.HTTPError as error:
                    if error.code == 404:  # not noticed yet
                        return False
                    raise

            until(began)
            until(lambda: runs.listed(store, flow="pull:once")[0].state == "ok")
