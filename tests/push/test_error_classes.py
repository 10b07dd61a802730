"""What Stripe, or the way to it, may say to a push: what a person reads then, and what becomes of the rows.

Every test is one kind of answer: `tidegate push` of one person or two, what is on the screen and its exit code,
what `tidegate inbox` and `tidegate record` tell, and whether the person is at Stripe, once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import answering
import pushed_people as people
import pytest
from following import Merchant

from tidegate import cli, sandbox
from tidegate.stripe import attempts, client

CREATE = ("POST", "/v1/customers")
FAILED = 1


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with sandbox.process(objects=30, accounts=2) as served:
        yield served


@pytest.fixture(scope="module")
def between(url: str) -> Iterator[answering.Way]:
    with answering.way(url) as made:
        yield made


@dataclass
class Told:
    """What a command said."""

    code: int
    out: str
    err: str

    def says(self, sentence: str) -> bool:
        """Is a sentence on the screen? What stands for a request's name in it is `req_`."""
        return sentence in re.sub(r"req_\w+", "req_", self.err)


@dataclass(frozen=True)
class Shop(Merchant):
    """The sandbox, its merchant, and a person at the terminal."""

    folder: Path
    way: answering.Way
    capsys: pytest.CaptureFixture[str]

    def people(self, *numbers: int, push: str = people.USUAL, **more: str) -> None:
        """These are in the file, and nobody else."""
        people.write(self.folder, self.way.url, [people.person(each, **more) for each in numbers], push)

    def run(self, *words: str) -> Told:
        """Type a command."""
        code = cli.main(words)
        told = self.capsys.readouterr()
        return Told(code, told.out, told.err)

    def push(self) -> Told:
        """Type `tidegate push`."""
        return self.run("push", people.NAME, "--yes")

    def counts(self) -> dict[str, int]:
        """Push, and see the counters that are not zero."""
        found = json.loads(self.run("push", people.NAME, "--yes", "--json").out.splitlines()[-1])
        return {
            name: value
            for name, value in found.items()
            if isinstance(value, int) and value and name != "requests"
        }

    def inbox(self) -> list[tuple[str, str, str]]:
        """Key, kind and sentence of each row that is not written."""
        found = json.loads(self.run("inbox", people.NAME, "--json").out.splitlines()[-1])["holds"]
        return [(each["key"], each["kind"], re.sub(r"req_\w+", "req_", each["text"])) for each in found]

    def record(self, key: str) -> list[str]:
        """What became of a row, in order."""
        found = json.loads(self.run("record", people.NAME, key, "--json").out.splitlines()[-1])
        return [each["what"] for each in found["entries"]]

    def there(self, number: int) -> list[Any]:
        """The customers of a person."""
        email = people.person(number)["email"]
        return [each["object"] for each in self.truth("customers") if each["object"].get("email") == email]


@pytest.fixture
def shop(
    url: str,
    between: answering.Way,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shop:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.01)
    between.said.clear()
    between.asked.clear()
    made = Shop(url, tmp_path, between, capsys)
    made.control("reset", {"objects": 30, "accounts": 2})
    return made


def test_400_names_the_parameter_the_code_and_the_request(shop: Shop) -> None:
    push = people.USUAL.replace("name: name", "name: name, payment_method: plan")
    shop.people(1, push=push, plan="pm_nobody")
    told = shop.push()
    said = (
        "Stripe refused to create a customer for a row of people (resource_missing, parameter payment_method, "
        "req_): No such PaymentMethod: '…'; correct the row or the mapping, or see "
        "https://dashboard.stripe.com/test/logs/req_?t=1."
    )
    assert (told.code, told.says(said)) == (FAILED, True), told.err
    assert shop.inbox() == [("1", "refused", said)]
    assert shop.record("1") == ["planned", "sent", "refused", "waiting"]
    assert shop.there(1) == []
    assert shop.counts() == {"source": 1, "quarantined": 1}


def test_an_id_that_exists_already_is_adopted(shop: Shop) -> None:
    """Stripe tells of it late, and so it is not in the plan."""
    push = "{model: people, to: acme, object: product, match: {id: plan}, fields: {name: name}}"
    shop.people(1, push=push, plan="gold")
    assert shop.counts() == {"source": 1, "created": 1}
    shop.control("delays", {"events": 300})
    shop.make("/v1/products", id="silver", name="Theirs")
    shop.people(1, 2, push=push, plan="silver")
    shop.people(2, push=push, plan="silver")
    told = shop.push()
    said = (
        "The product silver is there already (resource_already_exists, parameter id, req_); its row is linked to "
        "it and compared with it."
    )
    assert (told.code, told.says(said)) == (FAILED, True), told.err
    assert shop.inbox() == []
    assert shop.record("2") == ["planned", "sent", "refused", "linked"]
    shop.control("delays", {"events": 0})
    shop.later(400)
    assert shop.counts() == {"source": 1, "updated": 1}
    assert shop.get("/v1/products/silver")["name"] == "Person 2"


def test_401_stops_the_push(shop: Shop) -> None:
    shop.people(1, 2)
    shop.way.say(*CREATE, 401, message="Expired API Key provided: sk_test_…6789", code="api_key_expired")
    told = shop.push()
    said = "people stops: Stripe rejected the key sk_test_… on POST /v1/customers"
    assert (told.code, told.says(said)) == (FAILED, True), told.err
    assert len(shop.way.asked) <= 2
    assert shop.inbox() == []
    shop.way.said.clear()
    assert shop.push().code == 0
    assert [len(shop.there(number)) for number in (1, 2)] == [1, 1]


def test_401_before_anything_is_planned(shop: Shop) -> None:
    shop.people(1)
    shop.control("keys/revoke", {"key": "sk_test_123456789"})
    told = shop.push()
    assert (told.code, told.says("Stripe rejected the key sk_test_")) == (FAILED, True), told.err
    assert shop.there(1) == []


def test_402_names_the_decline_code(shop: Shop) -> None:
    shop.people(1)
    shop.way.say(
        *CREATE, 402, type="card_error", code="card_declined", decline_code="lost_card", message="No."
    )
    told = shop.push()
    said = (
        "Stripe refused to create a customer for a row of people (card_declined, lost_card, req_): No; correct "
        "the row or the mapping, or see https://dashboard.stripe.com/test/logs/req_."
    )
    assert (told.code, told.says(said)) == (FAILED, True), told.err
    assert shop.inbox() == [("1", "refused", said)]
    assert shop.record("1") == ["planned", "sent", "refused", "waiting"]


def test_403_names_the_permission(shop: Shop) -> None:
    shop.people(1, 2)
    scopes = ["rak_customer_read", "rak_balance_read", "rak_event_read", "rak_accounts_kyc_basic_read"]
    shop.control("keys", {"key": "sk_test_123456789", "scopes": scopes})
    told = shop.push()
    said = (
        "The key lacks the permission rak_customer_write to create a customer for a row of people (req_); grant "
        "it at https://dashboard.stripe.com/apikeys, and run people again."
    )
    assert (told.code, told.says(said)) == (FAILED, True), told.err
    assert shop.inbox() == []
    shop.control("keys/grant", {"key": "sk_test_123456789", "scope": "rak_customer_write"})
    assert shop.counts() == {"source": 2, "created": 2}


def test_a_product_that_is_not_enabled(shop: Shop) -> None:
    shop.people(1, 2)
    shop.way.say(
        *CREATE, 400, message="Your account is not set up to use Issuing. Please visit the dashboard."
    )
    told = shop.push()
    said = "Stripe does not allow this key to create a customer for a row of people"
    assert (told.code, told.says(said)) == (FAILED, True), told.err
    assert shop.inbox() == []


def test_an_account_that_was_disconnected(shop: Shop) -> None:
    account = shop.get("/v1/accounts")["data"][0]["id"]
    shop.people(1, push=people.USUAL.replace("to: acme", f"to: acme, account: {account}"))
    shop.way.say(
        *CREATE,
        403,
        code="account_invalid",
        message=f"The provided key does not have access to account '{account}' (or that account does not exist).",
    )
    told = shop.push()
    said = "people stops: "
    assert (told.code, told.says(said)) == (FAILED, True), told.err
    assert shop.inbox() == []


def test_404_is_not_made_again(shop: Shop) -> None:
    """Somebody deletes it when it has been looked at once more."""
    shop.people(1)
    assert shop.counts() == {"source": 1, "created": 1}
    [made] = shop.there(1)
    shop.control("meddle", {"meddles": [{"kind": "delete"}]})
    shop.people(1, plan="free")
    told = shop.push()
    said = (
        f"Somebody deleted the customer {made['id']} that a row of people is (resource_missing, parameter "
        "customer, req_); it is not made anew, choose another object for it in `tidegate inbox people`."
    )
    assert (told.code, told.says(said)) == (FAILED, True), told.err
    assert shop.inbox() == [("1", "gone", said)]
    *_, planned, sent, refused, one, another = shop.record("1")
    assert [planned, sent, refused, *sorted((one, another))] == [
        "planned",
        "sent",
        "refused",
        "held",
        "missing",
    ]
    shop.control("meddle", {"meddles": []})
    shop.later(20)
    assert shop.counts() == {"source": 1, "held": 1}
    assert shop.there(1) == []


def test_more_than_a_twentieth_of_404s_is_the_wrong_account(shop: Shop) -> None:
    shop.people(*range(40))
    assert shop.counts() == {"source": 40, "created": 40}
    shop.control("meddle", {"meddles": [{"kind": "delete"}]})
    shop.people(*range(40), plan="free")
    told = shop.run("push", people.NAME, "--yes", "--approve")
    said = (
        "objects are not there, so this is the wrong account, or the wrong mode; check the key before it runs "
        "again."
    )
    assert (told.code, told.says(said)) == (FAILED, True), told.err
    assert "people stops: " in told.err
    assert all(kind == "gone" for _, kind, _ in shop.inbox())


def test_409_is_found_out_by_the_next_run(shop: Shop) -> None:
    shop.people(1)
    shop.way.say(
        *CREATE, 409, code="idempotency_key_in_use", type="idempotency_error", message="It is in use."
    )
    told = shop.push()
    said = (
        "Nobody knows yet whether Stripe did create a customer for a row of people (idempotency_key_in_use, req_): "
        "It is in use; the next run finds out."
    )
    assert (told.code, told.says(said)) == (FAILED, True), told.err
    assert len(shop.way.asked) == client.MAX_ATTEMPTS
    assert shop.inbox() == []
    shop.way.said.clear()
    assert shop.counts() == {"source": 1, "unchanged": 1}
    assert len(shop.there(1)) == 1


def test_a_lock_that_lasts_is_planned_again(shop: Shop) -> None:
    shop.people(1)
    shop.faults({"kind": "lock", "method": "POST"})
    told = shop.push()
    said = "Stripe could not create a customer for a row of people now (lock_timeout, req_): "
    assert (told.code, told.says(said)) == (FAILED, True), told.err
    assert "nothing was done, and the next run plans it again." in told.err
    assert shop.inbox() == []
    assert shop.record("1") == ["planned", "sent", "sent again", "void"]
    shop.faults({"kind": "lock", "method": "POST", "times": 2})
    assert shop.counts() == {"source": 1, "created": 1}


def test_429_is_obeyed_and_no_matter(shop: Shop) -> None:
    shop.people(1)
    shop.faults({"kind": "limit", "method": "POST", "times": 3})
    assert shop.counts() == {"source": 1, "created": 1}
    assert len(shop.there(1)) == 1


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"kind": "unavailable", "when": "after"}, "status 503"),
        ({"kind": "reset", "when": "after"}, "no answer"),
        ({"kind": "truncate"}, "no answer"),
        ({"kind": "late", "seconds": 3600.0}, "no answer"),
    ],
    ids=["5xx", "connection lost", "half an answer", "timeout"],
)
def test_no_answer_is_found_out_by_the_next_run(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], why: str
) -> None:
    shop.people(1)
    if fault["kind"] == "late":
        usual = client.Client.__init__.__kwdefaults__
        assert usual is not None
        monkeypatch.setitem(usual, "timeout", 1.0)
        monkeypatch.setitem(usual, "max_attempts", 2)
    shop.faults({**fault, "method": "POST"})
    told = shop.push()
    said = f"Nobody knows yet whether Stripe did create a customer for a row of people: {why}; the next run finds"
    assert (told.code, told.says(said)) == (FAILED, True), told.err
    assert shop.inbox() == []
    assert shop.record("1") == ["planned", "sent", "sent again"]
    shop.faults()
    assert shop.counts() == {"source": 1, "unchanged": 1}
    assert shop.record("1")[-2:] == ["sent again", "done"]
    assert len(shop.there(1)) == 1


def test_a_500_that_stripe_repeats(shop: Shop) -> None:
    shop.people(1)
    shop.faults({"kind": "error", "when": "after", "method": "POST", "times": 1})
    told = shop.push()
    said = (
        "Stripe failed with status 500 to create a customer for a row of people (req_), and keeps answering so; "
        "whether it was done is found out by the next run."
    )
    assert (told.code, told.says(said)) == (FAILED, True), told.err
    assert shop.record("1")[-1] == "unknown"
    shop.later(20)
    assert shop.counts() == {"source": 1, "unchanged": 1}
    assert len(shop.there(1)) == 1


def test_a_key_that_stripe_has_with_another_request(shop: Shop) -> None:
    shop.people(1, 2)
    shop.way.say(
        *CREATE,
        400,
        type="idempotency_error",
        message="Keys for idempotent requests can only be used with the same parameters.",
    )
    told = shop.push()
    said = "so the ledger and Stripe disagree, and people stops; find out whether this database was restored"
    assert (told.code, told.says(said)) == (FAILED, True), told.err
    assert shop.there(1) == []
