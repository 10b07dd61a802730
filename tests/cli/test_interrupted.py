"""Ctrl-C at the moments where a run could be left behind as one that is under way."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pushed_people as people
import pytest
from flowing import KEY
from following import Merchant

from tidegate import cli, sandbox
from tidegate.engine import work
from tidegate.store import database, manual, runs

COMMANDS = (("pull", "once"), ("push", people.NAME, "--yes"), ("pipeline", "run", "mine"))


@pytest.fixture(scope="module")
def running() -> Iterator[Merchant]:
    with sandbox.process(objects=30) as url:
        yield Merchant(url)


@pytest.fixture
def store(running: Merchant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[database.Database]:
    """A configuration with a flow of each kind, in the folder that commands are typed in."""
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    (tmp_path / "people.csv").write_text("id,email\n1,ann@people.test\n")
    (tmp_path / "tidegate.yaml").write_text(
        f'stripe: {{acme: {{api_key: {KEY}, api_base: "{running.url}", rate_limit: "off"}}}}\n'
        "warehouses: {one: {type: duckdb, path: one.duckdb}}\n"
        "pulls: {once: {from: acme, to: one, streams: {coupons: {}}}}\n"
        "pipelines: {mine: {from: acme, to: one, stream: customers, map: {customer_id: {from: id}}}}\n"
        "models: {m: {file: people.csv, key: id}}\n"
        f"pushes: {{{people.NAME}: {{model: m, to: acme, object: customer, behavior: create_only, "
        "match: {email: email}, fields: {email: email}}}\n"
    )
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as found:
        yield found
    signal.signal(signal.SIGINT, before)


def pressed(function: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
    """The same function, and Ctrl-C is pressed just before it, or just after."""

    def wrapped(*words: Any, **named: Any) -> Any:
        if before:
            os.kill(os.getpid(), signal.SIGINT)
        result = function(*words, **named)
        if not before:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    return wrapped


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_just_after_it_began_it_is_a_run_that_was_cancelled(
    command: tuple[str, ...], store: database.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(manual, "begin", pressed(manual.begin, before=False))
        assert cli.main(command) == 130
    assert [run.state for run in runs.listed(store)] == ["cancelled"]
    assert cli.main(command) == 0
    assert [run.state for run in runs.listed(store)] == ["ok", "cancelled"]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_while_its_end_is_noted_that_is_noted_all_the_same(
    command: tuple[str, ...], store: database.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "_note", pressed(work._note, before=True))
    assert cli.main(command) in (0, 130)
    assert [run.state for run in runs.listed(store)] == ["ok"]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_what_it_had_taken_it_gives_back(
    command: tuple[str, ...], store: database.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the next one would wait until it runs out."""
    monkeypatch.setattr(manual, "begin", pressed(manual.begin, before=False))
    assert cli.main(command) == 130
    assert store.execute("SELECT name FROM leases") == []
