"""Whose rows these are: the id behind a key, all connected accounts, or those of a list."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import double
import pytest
import scripted
from pulling import KEY, Stripe, pull, query

from tidegate import catalog, errors, sandbox
from tidegate.pull import accounts, plan, scope
from tidegate.stripe import attempts

STREAMS = catalog.load().streams


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.02)


# The id


def identify(routes: dict[str, scripted.Route], *streams: str, account_id: str | None = None) -> str:
    """The id that is found with these routes; `api_base` counts as Stripe's own."""
    nodes = [walk.node for walk in plan.plan(STREAMS, streams).walks]

    async def go(url: str) -> str:
        source = scope.Source(KEY, url, rate_limit="off")
        at_stripe = scope.Source(KEY, "https://api.stripe.com", account_id=account_id)
        async with scope.connect(source) as stripe:
            return await accounts.identify(stripe, at_stripe, nodes)

    with double.serving(scripted.Script(routes=routes)) as url:
        return asyncio.run(go(url))


def forbidden(permission: str, account: str = "") -> scripted.Answer:
    where = f" on account '{account}'" if account else ""
    return 403, scripted.refusal(f"The key does not have the permission '{permission}' required{where}.")


def test_the_account_says_its_id() -> None:
    routes: dict[str, scripted.Route] = {"/v1/account": lambda _: {"id": "acct_1", "object": "account"}}
    assert identify(routes, "charges") == "acct_1"


def test_a_refusal_says_it_to_a_key_that_may_not_ask() -> None:
    routes: dict[str, scripted.Route] = {"/v1/account": lambda _: forbidden("rak_account_read", "acct_2")}
    assert identify(routes, "charges") == "acct_2"


def test_the_refusal_of_another_list_says_it_too() -> None:
    routes: dict[str, scripted.Route] = {
        "/v1/account": lambda _: forbidden("rak_account_read"),
        "/v1/charges": lambda _: forbidden("rak_charge_read", "acct_3"),
    }
    assert identify(routes, "charges", "payouts") == "acct_3"


@pytest.mark.parametrize(
    ("stream", "field"),
    [("invoices", "hosted_invoice_url"), ("invoices", "invoice_pdf"), ("credit_notes", "pdf")],
)
def test_an_invoice_says_it_in_its_address(stream: str, field: str) -> None:
    row = {"id": "x_1", "created": 1, field: "https://invoice.stripe.com/i/acct_4/test_YWNjdF8"}
    routes: dict[str, scripted.Route] = {
        "/v1/account": lambda _: forbidden("rak_account_read"),
        f"/v1/{stream}": lambda q: scripted.listed([row], q),
    }
    assert identify(routes, "*") == "acct_4"


def test_the_account_of_an_event_is_another_one() -> None:
    """`account` on events and application fees is the connected account that they are about."""
    row = {"id": "x_1", "created": 1, "account": "acct_connected"}
    routes: dict[str, scripted.Route] = {
        "/v1/account": lambda _: forbidden("rak_account_read"),
        "/v1/application_fees": lambda q: scripted.listed([row], q),
        "/v1/events": lambda q: scripted.listed([row], q),
    }
    with pytest.raises(errors.ConfigError):
        identify(routes, "application_fees", "events")


def test_the_user_may_say_it_and_then_no_list_is_asked() -> None:
    asked: list[str] = []

    def events(_: scripted.Query) -> scripted.Answer:
        asked.append("events")
        return scripted.listed([], {})

    routes: dict[str, scripted.Route] = {
        "/v1/account": lambda _: forbidden("rak_account_read"),
        "/v1/events": events,
    }
    assert identify(routes, "events", account_id="acct_5") == "acct_5"
    assert asked == []


def test_what_stripe_says_counts_more_than_what_the_user_says() -> None:
    routes: dict[str, scripted.Route] = {"/v1/account": lambda _: {"id": "acct_1", "object": "account"}}
    assert identify(routes, "charges", account_id="acct_5") == "acct_1"


def test_when_nothing_tells_the_user_is_asked_in_one_sentence() -> None:
    routes: dict[str, scripted.Route] = {"/v1/account": lambda _: forbidden("rak_account_read")}
    with pytest.raises(errors.ConfigError) as caught:
        identify(routes, "charges")
    assert "account_id: acct_..." in str(caught.value)
    assert "--account-id acct_..." in str(caught.value)


def test_few_lists_are_asked_before_the_user_is() -> None:
    script = scripted.Script(routes={"/v1/account": lambda _: forbidden("rak_account_read")})

    async def go(url: str) -> None:
        source = scope.Source(KEY, url, rate_limit="off")
        async with scope.connect(source) as stripe:
            nodes = [walk.node for walk in plan.plan(STREAMS, ["*"]).walks]
            assert await accounts.identify(stripe, source, nodes) == accounts.UNNAMED

    with double.serving(script) as url:
        asyncio.run(go(url))
    assert len(script.requests) == 1 + accounts.ASKED


def test_a_wrong_key_is_no_question_of_accounts() -> None:
    routes: dict[str, scripted.Route] = {
        "/v1/account": lambda _: (401, scripted.refusal("Invalid API Key provided: sk_test_*"))
    }
    with pytest.raises(errors.Unauthorized):
        identify(routes, "charges", account_id="acct_5")


@pytest.mark.parametrize("asked", ["/v1/account", "/v1/charges"])
def test_a_server_that_fails_is_asked_later_and_no_account_is_guessed(asked: str) -> None:
    """Under another name all rows would stand twice."""
    routes: dict[str, scripted.Route] = {"/v1/account": lambda _: forbidden("rak_account_read")}
    with pytest.raises(errors.ServerFault):
        identify({**routes, asked: lambda _: scripted.BROKEN}, "charges")


def test_a_stand_in_without_accounts_has_an_unnamed_one(tmp_path: Path) -> None:
    with double.serving(double.Double({"/v1/charges": double.charges(3)})) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "charges")
    assert [each.account for each in result.outcomes] == [accounts.UNNAMED]
    found = query(tmp_path / "w.duckdb", "select distinct _account_id as a from stripe.charges")
    assert found == [{"a": "acct_unnamed"}]


# All connected accounts


@pytest.fixture(scope="module")
def platform() -> Iterator[Stripe]:
    """A platform with three connected accounts."""
    with sandbox.process(objects=3_000, accounts=3) as url:
        yield Stripe(url)


def connected(stripe: Stripe) -> list[str]:
    return [line["object"]["id"] for line in stripe.truth("accounts")]


def test_all_accounts_land_in_one_table(platform: Stripe, tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    platform.control("stats/reset", {})
    result = pull(platform, file, "charges", "customers", source={"accounts": "all"})
    own = platform.control("health")["account"]
    assert result.status == "ok"
    assert {each.account for each in result.outcomes} == {own, *connected(platform)}
    found = query(file, "select _account_id as a, count(*) as n from stripe.charges group by 1")
    told = {each.account: each.read for each in result.outcomes if each.stream == "charges"}
    assert {row["a"]: row["n"] for row in found} == told
    assert all(told.values())
    assert result.tally.requests == platform.requests()
    runs = query(file, "select account, stream, rows_read as n from stripe._tidegate_runs")
    assert {(row["account"], row["stream"]): row["n"] for row in runs} == {
        (each.account, each.stream): each.read for each in result.outcomes
    }
    assert {row["account"] for row in runs} == {own, *connected(platform)}


def test_only_the_accounts_of_a_list(platform: Stripe, tmp_path: Path) -> None:
    some = tuple(connected(platform)[:2])
    result = pull(platform, tmp_path / "w.duckdb", "charges", source={"accounts": some})
    assert [(each.account, each.status) for each in result.outcomes] == [(some[0], "ok"), (some[1], "ok")]


def test_an_account_of_the_list_that_does_not_exist_does_not_end_the_others(
    platform: Stripe, tmp_path: Path
) -> None:
    one, *_ = connected(platform)
    result = pull(platform, tmp_path / "w.duckdb", "charges", source={"accounts": ("acct_gone", one)})
    gone, fine = result.outcomes
    assert (result.status, result.exit_code, result.end) == ("partial", 3, None)
    assert (gone.account, gone.status) == ("acct_gone", "failed")
    assert "acct_gone" in gone.error
    assert (fine.account, fine.status) == (one, "ok")
    assert fine.read > 0


class Platform(scripted.Script):
    """A platform whose accounts come and go; every account has one payout."""

    def __init__(self, count: int) -> None:
        super().__init__(
            routes={
                "/v1/account": lambda _: {"id": "acct_own", "object": "account"},
                "/v1/accounts": self.accounts,
                "/v1/payouts": lambda q: scripted.listed(scripted.rows("po", 1, object="payout"), q),
            }
        )
        self.there = scripted.rows("acct", count, object="account")
        self.pages = 0
        self.then: scripted.Answer | None = None

    def accounts(self, query: scripted.Query) -> scripted.Answer:
        self.pages += 1
        if self.pages == 2:  # while the first ten were pulled, the last of them was disconnected
            self.there = [each for each in self.there if each["id"] != query.get("starting_after")]
        if self.then is not None and self.pages > 1:
            return self.then
        if query.get("starting_after") not in {None, *(each["id"] for each in self.there)}:
            return scripted.CURSOR_GONE
        return scripted.listed(self.there, {**query, "limit": "10"})


def test_an_account_that_is_disconnected_between_two_pages_costs_no_other(tmp_path: Path) -> None:
    made = Platform(15)
    with double.serving(made) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "payouts", source={"accounts": "all"})
    assert result.status == "ok", result.end
    pulled = [each.account for each in result.outcomes]
    assert len(pulled) == len(set(pulled))
    assert set(pulled) == {"acct_own", *(f"acct_{n:04d}" for n in range(15))}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (scripted.BROKEN, "status 500 on GET /v1/accounts"),
        (forbidden("rak_connected_account_read"), "rak_connected_account_read"),
        ({"object": "list", "data": 7, "has_more": False}, "GET /v1/accounts did not answer with a list"),
        ({"object": "list", "data": [], "has_more": True}, "GET /v1/accounts says that more follows"),
    ],
    ids=["broken", "forbidden", "no list", "does not move"],
)
def test_when_the_accounts_cannot_be_listed_to_their_end_what_was_pulled_is_told(
    answer: scripted.Answer, said: str, tmp_path: Path
) -> None:
    """After hours of pulling it would not do to end with a sentence and nothing else."""
    made = Platform(12)
    made.then = answer
    with double.serving(made) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "payouts", source={"accounts": "all"})
    assert said in str(result.end)
    assert (result.status, result.exit_code) == ("failed", 1)
    assert len(result.outcomes) == 11
    assert {each.status for each in result.outcomes} == {"ok"}
    assert query(tmp_path / "w.duckdb", "select count(*) as n from stripe.payouts") == [{"n": 11}]


def test_a_key_that_is_revoked_among_the_accounts_ends_them_all(tmp_path: Path) -> None:
    made = Platform(10)
    revoked = (401, scripted.refusal("Invalid API Key provided: sk_test_*"))

    def payouts(query: scripted.Query) -> scripted.Answer:
        first = len(made.asked_for("/v1/payouts")) == 1
        return scripted.listed(scripted.rows("po", 1, object="payout"), query) if first else revoked

    made.routes = {**made.routes, "/v1/payouts": payouts}
    with double.serving(made) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "payouts", source={"accounts": "all"})
    assert isinstance(result.end, errors.Unauthorized)
    assert [each.status for each in result.outcomes] == ["ok", *["failed"] * 10]
    assert all("rejected the key" in each.error for each in result.outcomes[1:])


def test_an_empty_list_of_accounts_is_a_mistake() -> None:
    async def go() -> None:
        source = scope.Source(KEY, "http://127.0.0.1:1", accounts=())
        async with scope.connect(source) as stripe:
            await accounts.first(stripe, source, plan.plan(STREAMS, ["charges"]))

    with pytest.raises(errors.ConfigError, match="`accounts` of the connection is empty"):
        asyncio.run(go())
