"""What is told of a push before it runs: whose key it is, what it may do, what it must do without."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pushed_people as people
import pytest
from following import Merchant

from tidegate import config, errors, sandbox
from tidegate.catalog import writes
from tidegate.engine import preparing, readiness
from tidegate.pull import scope
from tidegate.store import database

LEAST, READING, BARE = "rk_test_least12345", "rk_test_reading123", "rk_test_bare12345"
LIVE = "rk_live_customers12345"
KEYS = {
    LEAST: ("rak_balance_read", "rak_customer_write"),
    READING: ("rak_balance_read", "rak_customer_read", "rak_event_read"),
    BARE: ("rak_customer_write",),
    LIVE: ("rak_balance_read", "rak_product_write", "rak_event_read"),
}


@pytest.fixture(scope="module")
def shop() -> Iterator[Merchant]:
    with sandbox.process(objects=60, accounts=2, keys=KEYS) as url:
        yield Merchant(url)


def written(shop: Merchant) -> list[str]:
    """Every effect of a request so far."""
    with urllib.request.urlopen(f"{shop.url}/_sandbox/writes", timeout=60) as lines:
        return [str(line, "utf-8") for line in lines]


def configured(folder: Path, shop: Merchant, key: str, *rows: dict[str, str], **more: str) -> None:
    """A push of people by a key; `more` are words of the push."""
    push = people.USUAL[:-1] + "".join(f", {name}: {value}" for name, value in more.items()) + "}"
    people.write(folder, shop.url, rows or (people.person(1),), push)
    file = folder / "tidegate.yaml"
    file.write_text(file.read_text().replace("sk_test_123456789", key))


def report(folder: Path) -> readiness.Report:
    job = preparing.job(config.load(folder / "tidegate.yaml"), people.NAME)
    store = None
    if (folder / "tidegate.db").exists():
        store = database.open_database(f"sqlite:///{folder}/tidegate.db")
    try:
        return asyncio.run(readiness.check(job, folder / "state", store))
    finally:
        if store is not None:
            store.close()


def rights(found: readiness.Key, *kinds: str) -> dict[str, str]:
    return {
        f"{each.kind} {each.object}": each.status
        for each in found.rights
        if not kinds or each.object in kinds
    }


def failed(found: readiness.Report) -> dict[str, str]:
    return {step.name: step.detail for step in found.steps if not step.ok}


def test_what_a_key_may_do_is_found_out_without_writing_anything(shop: Merchant) -> None:
    objects = list(writes.load().values())
    before = {stream: len(shop.ids(stream)) for stream in ("customers", "products", "coupons")}
    found = asyncio.run(readiness.key(scope.Source(LEAST, shop.url), objects))
    assert (found.account, found.livemode) == (shop.get("/v1/account")["id"], False)
    assert rights(found, "balance", "events", "customer", "coupon", "meter_event") == {
        "read balance": "yes",
        "read events": "no",
        "read customer": "yes",
        "write customer": "yes",
        "read coupon": "no",
        "write coupon": "no",
        "write meter_event": "unknown",
    }
    coupon = found.may("write", "coupon")
    assert coupon is not None
    assert coupon.permission == "rak_coupon_write"
    everything = asyncio.run(readiness.key(scope.Source("sk_test_123456789", shop.url), objects))
    assert set(rights(everything).values()) == {"yes"}
    assert written(shop) == []
    assert {stream: len(shop.ids(stream)) for stream in before} == before


def test_every_object_that_has_a_list_can_be_tried(shop: Merchant) -> None:
    """With the one permission that it needs, and without it."""
    for of in writes.load().values():
        if of.stream:
            shop.control("keys", {"key": "rk_test_one1234567", "scopes": [of.permission]})
            found = asyncio.run(readiness.key(scope.Source("rk_test_one1234567", shop.url), [of]))
            assert rights(found, of.name) == {f"read {of.name}": "yes", f"write {of.name}": "yes"}
            read = of.permission.replace("_write", "_read")
            shop.control("keys", {"key": "rk_test_one1234567", "scopes": [read]})
            found = asyncio.run(readiness.key(scope.Source("rk_test_one1234567", shop.url), [of]))
            assert rights(found, of.name) == {f"read {of.name}": "yes", f"write {of.name}": "no"}
    assert written(shop) == []


def test_the_least_key_is_enough_for_customers(shop: Merchant, tmp_path: Path) -> None:
    """Customers write and Balance read: it is ready, plans, and writes each once."""
    three = [people.person(n, email=f"least{n}@people.test") for n in range(3)]
    configured(tmp_path, shop, LEAST, *three)
    found = report(tmp_path)
    assert (found.ok, failed(found)) == (True, {})
    assert [sentence for sentence in found.without if "cannot read events" in sentence]
    theirs = shop.make("/v1/customers", email="Least1@people.test")
    first = people.push(tmp_path)
    assert (first.status, first.counts.created, first.counts.updated) == ("ok", 2, 1)
    assert shop.get(f"/v1/customers/{theirs['id']}")["name"] == "Person 1"
    people.rows(tmp_path, [*three[:2], {**three[2], "plan": "free"}])
    again = people.push(tmp_path)
    assert (again.counts.unchanged, again.counts.updated) == (2, 1)
    emails = [line["object"]["email"] for line in shop.truth("customers")]
    assert sorted(str(each).lower() for each in emails).count("least2@people.test") == 1


def test_what_a_key_lacks_is_named(shop: Merchant, tmp_path: Path) -> None:
    configured(tmp_path, shop, READING)
    found = report(tmp_path)
    assert failed(found) == {"write customer": "no: grant rak_customer_write"}
    assert readiness.grants(found.key) == {"rak_customer_write": ["customer"]}
    configured(tmp_path, shop, BARE)
    assert failed(report(tmp_path)) == {"read balance": "no: grant rak_balance_read"}
    configured(tmp_path, shop, LIVE)
    found = report(tmp_path)
    assert found.key.livemode
    assert set(failed(found)) == {"read customer", "write customer"}
    assert readiness.grants(found.key) == {"rak_customer_write": ["customer"]}


def test_a_key_that_is_none_is_said_and_the_model_is_looked_at_all_the_same(
    shop: Merchant, tmp_path: Path
) -> None:
    configured(tmp_path, shop, "rk_test_nobody12345")
    found = report(tmp_path)
    assert list(failed(found)) == ["key"]
    assert "nobody" not in failed(found)["key"]
    assert [step.name for step in found.steps] == ["key", "model", "mapping"]


def test_rows_without_a_key_of_their_own_are_counted(shop: Merchant, tmp_path: Path) -> None:
    rows = [people.person(1), people.person(1, email="x@people.test"), people.person(2, id="")]
    configured(tmp_path, shop, LEAST, *rows)
    [(name, told)] = failed(report(tmp_path)).items()
    assert name == "model"
    assert told.startswith("people: 3 of 3 rows are not sent: 1 has no key (a column of the key is ")
    assert told.endswith(f"), 2 share a key ({people.person(1)['id']})")


def test_a_column_that_the_model_does_not_have_is_said(shop: Merchant, tmp_path: Path) -> None:
    configured(tmp_path, shop, LEAST)
    file = tmp_path / "tidegate.yaml"
    file.write_text(file.read_text().replace("metadata.plan: plan", "metadata.plan: plna"))
    assert "did you mean plan?" in failed(report(tmp_path))["mapping"]
    assert not list((tmp_path / "state" / "push").rglob("*.duckdb"))


def test_a_push_never_goes_to_another_account_than_before(shop: Merchant, tmp_path: Path) -> None:
    configured(tmp_path, shop, LEAST, people.person(1, email="place@people.test"))
    people.push(tmp_path)
    found = report(tmp_path)
    assert found.ok
    assert [step.detail for step in found.steps if step.name == "place"] == [
        f"{found.key.account} in test mode, as before"
    ]
    with sandbox.process(objects=10, seed=5) as other:
        people.write(tmp_path, other, [people.person(1)])
        assert f"it writes to {found.key.account} in test mode" in failed(report(tmp_path))["place"]


def test_a_connected_account_is_asked_for_itself(shop: Merchant, tmp_path: Path) -> None:
    other = next(line["object"]["id"] for line in shop.truth("accounts"))
    configured(tmp_path, shop, "sk_test_123456789", people.person(1), account=other)
    found = report(tmp_path)
    assert (found.ok, found.key.account) == (True, other)


@pytest.mark.parametrize(
    ("object", "match", "said"),
    [
        ("customer", {"email": {"from": "email", "case": "exact"}}, ()),
        ("customer", {"email": "email"}, ("by e-mail in any case",)),
        ("customer", {"metadata.key": "id"}, ("by metadata.key",)),
        ("product", {"id": "id"}, ()),
        ("meter_event", {"identifier": "id"}, ("no list of meter events",)),
    ],
)
def test_what_stripe_cannot_promise_is_said(object: str, match: Any, said: tuple[str, ...]) -> None:
    of = writes.load()[object]
    push = config.Push.model_validate(
        {"model": "m", "to": "acme", "object": object, "match": match, "fields": {"name": "name"}}
    )
    everything = readiness.Key("acct_1", False, False, ())
    told = readiness.without(of, everything, push)
    assert len(told) == len(said), told
    for sentence, part in zip(told, said, strict=True):
        assert part in sentence


def test_stripe_that_cannot_be_reached_is_said(tmp_path: Path) -> None:
    people.write(tmp_path, "http://127.0.0.1:1", [people.person(1)])
    assert "127.0.0.1" in failed(report(tmp_path))["key"]
    with pytest.raises(errors.Unreachable):
        asyncio.run(readiness.key(scope.Source("sk_test_123456789", "http://127.0.0.1:1"), []))


def test_the_documents_of_both_are_json(shop: Merchant, tmp_path: Path) -> None:
    from tidegate.views import checks

    configured(tmp_path, shop, LEAST)
    found = checks.push_document(report(tmp_path))
    assert json.loads(json.dumps(found))["account"] == shop.get("/v1/account")["id"]
