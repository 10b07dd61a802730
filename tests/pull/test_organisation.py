"""An organisation's key: it acts for the accounts of a list, by `Stripe-Context` alone."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import double
import pytest
from aiohttp import web
from following import Merchant, follow, ids
from pulling import Stripe, query

from tidegate import sandbox

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
KEY = "sk_org_test_geheim1234567890"
STREAMS = ("customers", "charges", "refunds")


@pytest.fixture(scope="module")
def running() -> Iterator[Merchant]:
    with sandbox.process(objects=10) as url:
        yield Merchant(url)


@dataclass(frozen=True)
class Group:
    """An organisation: its platform, an account of its own beside it, and one connected to the platform."""

    stripe: Merchant
    platform: str
    member: str
    connected: str

    @property
    def path(self) -> str:
        """The way to the connected account."""
        return f"{self.platform}/{self.connected}"

    def truth(self, account: str, stream: str) -> list[str]:
        """The ids of what an account has."""
        asked = "" if account == self.platform else f"?account={account}"
        return sorted(line["object"]["id"] for line in self.stripe.truth(f"{stream}{asked}"))


@pytest.fixture
def group(running: Merchant) -> Group:
    running.control("reset", {"objects": 400, "accounts": 3, "account_objects": 200, "seed": 5})
    platform = running.control("health")["account"]
    connected, member = running.ids("accounts")[:2]
    running.control("keys", {"key": KEY, "accounts": [member]})
    running.later()
    return Group(running, platform, member, connected)


@dataclass
class Recorder:
    """Stands before a Stripe and keeps the headers of every request."""

    inner: str
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """What the Stripe behind answers."""
        self.asked.append((request.path, dict(request.headers)))
        dropped = {"host", "accept-encoding"}
        headers = {name: text for name, text in request.headers.items() if name.lower() not in dropped}
        status, kept, body = await asyncio.to_thread(
            _fetched, f"{self.inner}{request.rel_url.raw_path_qs}", headers
        )
        return web.Response(status=status, headers=kept, body=body)


def _fetched(url: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)), timeout=60) as got:
            return got.status, {"Date": got.headers["Date"]}, got.read()
    except urllib.error.HTTPError as error:
        return error.code, {"Date": error.headers["Date"]}, error.read()


def test_each_account_is_read_through_its_own_path(group: Group, tmp_path: Path) -> None:
    """Rows carry the account's id, never the path; the next pull follows each account's events."""
    source = {"accounts": (group.platform, group.member, group.path)}
    file = tmp_path / "w.duckdb"
    owners = {group.platform, group.member, group.connected}
    result = follow(group.stripe, file, *STREAMS, key=KEY, source=source)
    assert {each.account for each in result.outcomes} == owners
    for stream in STREAMS:
        for owner in owners:
            found = query(file, f"select id from stripe.{stream} where _account_id = '{owner}' order by id")
            assert [row["id"] for row in found] == group.truth(owner, stream)
    made = group.stripe.make("/v1/customers", account=group.connected, name="Ada")["id"]
    gone = ids_of(file, group.member)[0]
    group.stripe.delete(f"/v1/customers/{gone}", account=group.member)
    group.stripe.later()
    result = follow(group.stripe, file, *STREAMS, key=KEY, source=source)
    assert made in ids_of(file, group.connected)
    assert gone not in ids(file, "customers")
    assert result.tally.requests <= 2 * len(owners)


def ids_of(file: Path, account: str) -> list[str]:
    """The customers of an account."""
    found = query(
        file, f"select id from stripe.customers where _account_id = '{account}' and _deleted_at is null"
    )
    return [row["id"] for row in found]


def test_every_request_carries_the_path_as_context_and_no_account(group: Group, tmp_path: Path) -> None:
    recorder = Recorder(group.stripe.url)
    with double.serving(recorder) as url:  # type: ignore[arg-type]
        stripe = Stripe(url)
        for _ in range(2):
            follow(
                stripe,
                tmp_path / "w.duckdb",
                *STREAMS,
                key=KEY,
                source={"accounts": (group.member, group.path)},
            )
    contexts = [headers.get("Stripe-Context") for _, headers in recorder.asked]
    assert set(contexts) == {group.member, group.path}
    assert not any("Stripe-Account" in headers for _, headers in recorder.asked)
    assert {"/v1/events", "/v1/customers", "/v1/charges"} <= {path for path, _ in recorder.asked}


def test_an_account_that_the_organisation_does_not_have_ends_no_other(group: Group, tmp_path: Path) -> None:
    words = ["--account", group.member, "--account", "acct_notours", "--json"]
    done = typed(group.stripe, tmp_path, *words)
    found = json.loads(done.stdout)
    assert (done.returncode, found["status"]) == (3, "partial")
    states = {each["account"]: each["status"] for each in found["streams"] if each["stream"] == "customers"}
    assert states == {group.member: "ok", "acct_notours": "failed"}


def typed(stripe: Stripe, cwd: Path, *more: str, command: str = "pull") -> subprocess.CompletedProcess[str]:
    """A command with the organisation's key, which it never says."""
    words = ["--api-key", KEY, "--api-base", stripe.url, "--rate-limit", "off", "--to", "duckdb:///w.duckdb"]
    streams = ["--stream" if command == "audit" else "--streams", "customers"]
    if command == "check":
        words = [word for word in words if word not in ("--rate-limit", "off")]
    done = subprocess.run(
        [TIDEGATE, command, *words, *streams, *more], cwd=cwd, capture_output=True, text=True, check=False
    )
    for text in (done.stdout, done.stderr):
        assert "geheim" not in text
        assert "Traceback" not in text
    return done


def test_on_the_command_line(group: Group, tmp_path: Path) -> None:
    done = typed(group.stripe, tmp_path, "--account", group.path, "--account", group.member)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "w.duckdb"
    assert sorted(ids_of(file, group.connected)) == group.truth(group.connected, "customers")
    assert sorted(ids_of(file, group.member)) == group.truth(group.member, "customers")
    audited = typed(group.stripe, tmp_path, "--account", group.path, command="audit")
    assert audited.returncode == 0, audited.stderr
    status = subprocess.run(
        [TIDEGATE, "status", "--to", "duckdb:///w.duckdb", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    (told,) = json.loads(status.stdout)["pulls"]
    assert {each["account"] for each in told["streams"]} == {group.connected, group.member}


@pytest.mark.parametrize(("command", "more"), [("pull", []), ("pull", ["--dry-run"]), ("pull", ["--watch"])])
def test_without_a_list_it_says_what_to_write(
    command: str, more: list[str], group: Group, tmp_path: Path
) -> None:
    done = typed(group.stripe, tmp_path, *more, command=command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "tidegate: An organisation's key acts for one of its accounts at a time; list them under the connection: "
        "`accounts: [acct_...]`, and those connected to one of them as `acct_.../acct_...`.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("accounts", ["own", "all"])
def test_a_file_that_says_own_or_all_is_told_the_same(accounts: str, group: Group, tmp_path: Path) -> None:
    write(group, tmp_path, accounts)
    done = subprocess.run([TIDEGATE, "pull"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "accounts: [acct_...]" in done.stderr


def write(group: Group, folder: Path, accounts: object) -> None:
    connection = {"api_key": KEY, "api_base": group.stripe.url, "rate_limit": "off", "accounts": accounts}
    file: dict[str, Any] = {
        "stripe": {"all_of_us": connection},
        "warehouses": {"local": {"type": "duckdb", "path": "w.duckdb"}},
        "pulls": {"everything": {"from": "all_of_us", "to": "local", "streams": {"customers": {}}}},
    }
    (folder / "tidegate.yaml").write_text(json.dumps(file))


def test_a_file_with_a_list(group: Group, tmp_path: Path) -> None:
    write(group, tmp_path, [group.platform, group.path])
    done = subprocess.run([TIDEGATE, "pull"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "w.duckdb"
    assert sorted(ids_of(file, group.platform)) == group.truth(group.platform, "customers")
    assert sorted(ids_of(file, group.connected)) == group.truth(group.connected, "customers")
