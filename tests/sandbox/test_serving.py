"""A sandbox in an event loop, in a process of its own, and as a command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from typing import Any

import aiohttp
import msgspec
import psutil
import pytest

from tidegate import sandbox
from tidegate.sandbox import serving, world

HEADERS = {"Authorization": f"Bearer {serving.KEY}"}


def fetch(url: str) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, headers=HEADERS), timeout=30) as answer:
        return json.load(answer)


def test_a_sandbox_inside_the_loop() -> None:
    async def ask() -> Any:
        async with (
            sandbox.running(world.build(counts={"customers": 3})) as url,
            aiohttp.ClientSession(url, headers=HEADERS) as session,
            session.get("/v1/customers") as answer,
        ):
            return await answer.json()

    assert len(asyncio.run(ask())["data"]) == 3


def test_a_sandbox_in_a_process_of_its_own() -> None:
    with sandbox.process(objects=1_000, seed=7, limits="live") as url:
        served = [one["id"] for one in fetch(f"{url}/v1/customers")["data"]]
        account = fetch(f"{url}/v1/account")["id"]

    same = world.build(objects=1_000, seed=7)
    assert account == same.account
    assert served == [same.id("customers", same.count("customers") - 1 - n) for n in range(10)]


def test_two_processes_of_one_seed_serve_the_same_bytes() -> None:
    options: dict[str, Any] = {"objects": 500, "seed": 3, "now": 1_790_000_000}
    with sandbox.process(**options) as one, sandbox.process(**options) as other:
        for path in ("/v1/charges?limit=50", "/v1/invoices", "/v2/core/accounts"):
            assert fetch(one + path) == fetch(other + path)


def test_the_process_dies_with_its_parent() -> None:
    """The parent is killed, so nothing of its own can clean up."""
    code = (
        "from tidegate import sandbox; import os, psutil\n"
        "with sandbox.process(objects=100) as url:\n"
        "    print(psutil.Process().children()[0].pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    parent = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    child = int(parent.stdout)

    assert parent.returncode == -signal.SIGKILL
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(child).wait(timeout=30)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_options_that_are_none_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError), sandbox.process(speed=11):
        pass


def test_the_command_prints_url_and_key_and_ends_at_a_signal() -> None:
    command = [sys.executable, "-c", "import sys; from tidegate.cli import main; sys.exit(main())", "sandbox"]
    arguments = ["--port", "0", "--objects", "200", "--key", "rk_test_reader=rak_customer_read"]
    with subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "NO_COLOR": "1"},
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        url, key = running.stdout.readline().decode().split()
        listed = fetch(f"{url}/v1/customers")
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0
        said = running.stderr.read().decode()

    assert key == serving.KEY
    assert listed["object"] == "list"
    assert "Ctrl-C" in said
    assert f"tidegate pull --api-base {url} --api-key {key} --to duckdb:///" in said


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--limits", "fast"], "limits"),
        (["--resets", "2"], "between 0 and 1"),
        (["--key", "sk_test_x"], "restricted key"),
        (["--host", "203.0.113.1"], "cannot listen"),
    ],
)
def test_a_mistaken_command_is_one_sentence(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from tidegate import cli

    assert cli.main(["sandbox", "--objects", "100", "--port", "0", *arguments]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert "Traceback" not in said


def test_options_build_the_sandbox_they_describe() -> None:
    made = serving.build(
        serving.Options(
            objects=100,
            limits="100/25",
            latency_ms=7,
            clock=1_790_000_000,
            faults=(sandbox.Fault("error", probability=0.5),),
            keys={"rk_test_x": ("rak_customer_read",)},
        )
    )

    assert made.gate.limits.per_endpoint == 25
    assert made.latency.ms == 7
    assert made.clock.now() == 1_790_000_000
    assert bool(made.script)
    assert made.keys.authenticate("Bearer rk_test_x").may("rak_customer_read")
    assert not made.keys.authenticate("Bearer rk_test_x").may("rak_charge_read")
