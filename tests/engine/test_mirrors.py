"""The push's own copy of what it writes to: as Stripe answers it, whole, and cheap to keep."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb as engine
import following
import pytest
from following import Merchant

from tidegate import errors, sandbox
from tidegate.catalog import writes
from tidegate.engine import mirrors
from tidegate.pull import scope
from tidegate.push import compare, targets
from tidegate.warehouse import duckdb

BLIND = "rk_test_blind123456"


@pytest.fixture(scope="module")
def shop() -> Iterator[Merchant]:
    with sandbox.process(objects=300) as url:
        yield Merchant(url)


async def seen(shop: Merchant, folder: Path, object: str, *fields: str, **more: Any) -> dict[str, Any]:
    """What the mirror of a kind of object has: its rows by id, its objects, and until when."""
    of, said = writes.load()[object], more.pop("said", [])
    source, account = more.pop("source", shop.source()), more.pop("account", "")
    async with mirrors.kept(folder, "acme", source, of, account=account, said=said.append) as mirror:
        rows = [row for batch in mirror.rows(fields) for row in batch.to_pylist()]
        return {
            "rows": {row["id"]: row for row in rows},
            "objects": dict(mirror.objects([row["id"] for row in rows])),
            "since": mirror.caught_up_since,
            "made": mirror.find_op(more.pop("operation", "")),
        }


@pytest.mark.parametrize("object", ["customer", "product", "price", "coupon", "subscription", "invoice"])
def test_objects_are_as_stripe_answers_them(shop: Merchant, tmp_path: Path, object: str) -> None:
    """For every field that a push may write: what the mirror shows is what a request would."""
    of = writes.load()[object]
    there = asyncio.run(seen(shop, tmp_path, object))["objects"]
    assert there
    for id, mirrored in there.items():
        [live] = [line["object"] for line in shop.truth(of.stream) if line["object"]["id"] == id]
        for path, field in of.fields.items():
            real, copied = compare.shown(of, live, path), compare.shown(of, mirrored, path)
            if compare.UNSEEN in (real, copied):
                assert real in (compare.UNSEEN, None) or copied is not compare.UNSEEN, path
            else:
                assert compare.same(field, real, copied), path  # type: ignore[arg-type]  # both are texts


def test_what_rows_are_matched_by(shop: Merchant, tmp_path: Path) -> None:
    made = shop.make("/v1/customers", email="Jane@Example.com", metadata={"ours": "7", targets.MARK: "op_7"})
    gone = shop.make("/v1/customers", email="gone@example.com", metadata={targets.MARK: "op_8"})
    shop.delete(f"/v1/customers/{gone['id']}")
    shop.later()
    found = asyncio.run(seen(shop, tmp_path, "customer", "email", "metadata.ours", "id", operation="op_7"))
    assert found["rows"][made["id"]] == {
        "id": made["id"],
        "created": made["created"],
        "gone": False,
        "value_0": "Jane@Example.com",
        "value_1": "7",
        "value_2": made["id"],
    }
    assert found["made"] == made["id"]
    assert gone["id"] not in found["objects"]


def test_it_follows_and_costs_few_requests(shop: Merchant, tmp_path: Path) -> None:
    first = asyncio.run(seen(shop, tmp_path, "customer", "email"))
    shop.later()
    made = shop.make("/v1/customers", email="new@example.com")
    shop.delete(f"/v1/customers/{made['id']}")
    kept = shop.make("/v1/customers", email="kept@example.com")
    shop.later()
    shop.counted()
    second = asyncio.run(seen(shop, tmp_path, "customer", "email"))
    counted = shop.counted()
    assert set(second["objects"]) - set(first["objects"]) == {kept["id"]}
    assert second["rows"].get(made["id"], {"gone": True})["gone"]
    assert second["since"] > first["since"]
    assert sum(counted.values()) <= 5, counted


def test_what_cannot_be_matched_is_said(shop: Merchant, tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="do not show nonsense"):
        asyncio.run(seen(shop, tmp_path, "customer", "nonsense"))


def test_objects_without_a_list_have_an_empty_mirror(tmp_path: Path) -> None:
    async def main() -> list[int]:
        source = scope.Source(api_key="sk_test_none12345")
        async with mirrors.kept(tmp_path, "acme", source, writes.load()["meter_event"]) as mirror:
            return [len(batch) for batch in mirror.rows(["identifier"])]

    assert asyncio.run(main()) == [0]


def mirror_file(folder: Path) -> Path:
    [file] = (folder / "mirrors").glob("*.duckdb")
    return file


def test_a_mirror_that_is_damaged_is_made_anew(shop: Merchant, tmp_path: Path) -> None:
    """Whatever became of its bytes: it is right again, and that is said in one line."""
    chance = random.Random(11)
    first = asyncio.run(seen(shop, tmp_path, "customer", "email"))
    whole = mirror_file(tmp_path).read_bytes()
    scattered = bytearray(whole)
    for _ in range(500):
        scattered[chance.randrange(4_096, len(scattered))] = chance.randrange(256)
    for bytes_ in (b"nonsense" * 1_000, whole[: len(whole) // 2], bytes(scattered), whole[:10]):
        mirror_file(tmp_path).write_bytes(bytes_)
        said: list[str] = []
        again = asyncio.run(seen(shop, tmp_path, "customer", "email", said=said))
        assert again["rows"] == first["rows"]
        assert len(said) == 1, said
        assert "is made anew, since it is damaged" in said[0]
        assert asyncio.run(seen(shop, tmp_path, "customer", "email", said=said))["rows"] == first["rows"]
        assert len(said) == 1, said


def test_a_log_that_an_old_mirror_left_is_not_taken_for_that_of_the_new_one(
    shop: Merchant, tmp_path: Path
) -> None:
    first = asyncio.run(seen(shop, tmp_path, "customer", "email"))
    file = mirror_file(tmp_path)
    file.with_name(f"{file.name}.wal").write_bytes(b"what is this" * 100)
    file.write_bytes(b"nonsense")
    assert asyncio.run(seen(shop, tmp_path, "customer", "email"))["rows"] == first["rows"]
    assert b"what is this" not in b"".join(each.read_bytes() for each in file.parent.glob("*.wal"))


@pytest.mark.parametrize(
    ("mark", "why"),
    [
        ({"version": "0"}, "another version"),
        ({"mode": "live"}, "another mode"),
        ({"api": "https://other.test"}, "another api"),
        ({"account": "acct_other"}, "another account"),
        ({"object": "product", "mode": "live"}, "another mode and another object"),
    ],
)
def test_a_mirror_of_something_else_is_made_anew(
    shop: Merchant, tmp_path: Path, mark: dict[str, str], why: str
) -> None:
    """Somebody copied the file, or changed the connection, or Tidegate makes it otherwise by now."""
    own = shop.get("/v1/account")["id"]
    first = asyncio.run(seen(shop, tmp_path, "customer", "email", account=own))
    warehouse = duckdb.DuckDB(mirror_file(tmp_path))
    there = json.loads(warehouse.state(mirrors.MARK)[mirrors.MARK])
    warehouse.load([], {mirrors.MARK: json.dumps({**there, **mark})})
    warehouse.close()
    said: list[str] = []
    again = asyncio.run(seen(shop, tmp_path, "customer", "email", account=own, said=said))
    assert again["rows"] == first["rows"]
    assert [why in line for line in said] == [True], said


def test_the_key_of_another_account_gets_a_mirror_of_its_own(shop: Merchant, tmp_path: Path) -> None:
    """A connection whose key is changed for that of another account must not see the objects of the first."""
    asyncio.run(seen(shop, tmp_path, "customer", "email", account=shop.get("/v1/account")["id"]))
    said: list[str] = []
    with sandbox.process(objects=40, seed=9) as url:
        other = Merchant(url)
        found = asyncio.run(
            seen(other, tmp_path, "customer", "email", account=other.get("/v1/account")["id"], said=said)
        )
        assert set(found["objects"]) == set(other.ids("customers"))
    assert len(said) == 1


def test_without_events_everything_is_listed_anew(shop: Merchant, tmp_path: Path) -> None:
    shop.control("keys", {"key": BLIND, "scopes": ["rak_customer_read", "rak_balance_read"]})
    gone = shop.make("/v1/customers", email="soon@example.com")
    first = asyncio.run(seen(shop, tmp_path, "customer", "email", source=shop.source(BLIND)))
    assert gone["id"] in first["objects"]
    shop.delete(f"/v1/customers/{gone['id']}")
    edited = shop.make("/v1/customers", email="before@example.com")
    shop.make(f"/v1/customers/{edited['id']}", email="after@example.com")
    shop.later()
    shop.counted()
    second = asyncio.run(seen(shop, tmp_path, "customer", "email", source=shop.source(BLIND)))
    assert shop.counted()["GET /v1/customers"] >= 1
    assert second["since"] > first["since"] > 0
    assert second["rows"][edited["id"]]["value_0"] == "after@example.com"
    assert set(second["objects"]) == set(shop.ids("customers"))


def test_a_key_that_may_not_list_proves_nothing_absent(shop: Merchant, tmp_path: Path) -> None:
    shop.control("keys", {"key": BLIND, "scopes": ["rak_product_read", "rak_balance_read"]})
    with pytest.raises(errors.StripeError, match="none is proven absent"):
        asyncio.run(seen(shop, tmp_path, "customer", "email", source=shop.source(BLIND)))


def test_what_is_listed_by_its_parents_is_whole_and_follows(shop: Merchant, tmp_path: Path) -> None:
    [customer] = shop.ids("customers")[:1]
    numbers = [
        shop.make(f"/v1/customers/{customer}/tax_ids", type="eu_vat", value=f"DE12345{n:04}")["id"]
        for n in range(12)
    ]
    shop.later()
    first = asyncio.run(seen(shop, tmp_path, "tax_id", "value"))
    assert set(first["objects"]) == set(shop.ids("customer_tax_ids"))
    assert set(numbers) <= set(first["objects"])
    shop.delete(f"/v1/customers/{customer}/tax_ids/{numbers[0]}")
    shop.later()
    shop.counted()
    second = asyncio.run(seen(shop, tmp_path, "tax_id", "value"))
    assert set(first["objects"]) - set(second["objects"]) == {numbers[0]}
    assert sum(shop.counted().values()) <= 6


def test_two_who_want_the_same_mirror_take_turns(shop: Merchant, tmp_path: Path) -> None:
    async def both() -> list[dict[str, Any]]:
        return await asyncio.gather(*(seen(shop, tmp_path, "customer", "email") for _ in range(2)))

    one, other = asyncio.run(both())
    assert one["rows"] == other["rows"]


def test_killed_while_it_is_made_it_comes_out_whole(tmp_path: Path) -> None:
    """At moments of chance, until one process survives; what it has then is what Stripe has."""
    chance, support = random.Random(5), str(Path(following.__file__).parent)
    env = {**os.environ, "PYTHONPATH": support}
    with sandbox.process(objects=10, counts={"customers": 2_500}, latency_ms=10) as url:
        shop, killed, ended = Merchant(url), 0, False
        while not ended:
            words = [sys.executable, __file__, url, str(tmp_path)]
            child = subprocess.Popen(words, stdout=subprocess.PIPE, env=env)
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(chance.uniform(0.05, 0.4) if killed < 4 else None)
            child.kill()
            ended = child.wait() == 0
            child.stdout.close()
            killed += not ended
            shop.make("/v1/customers", email=f"meanwhile{killed}@example.com")
        shop.later()
        found = asyncio.run(seen(shop, tmp_path, "customer", "email"))
        truth = {line["object"]["id"]: line["object"]["email"] for line in shop.truth("customers")}
        assert {id: row["value_0"] for id, row in found["rows"].items()} == truth
    assert killed


if __name__ == "__main__":
    print("ready", flush=True)
    asyncio.run(seen(Merchant(sys.argv[1]), Path(sys.argv[2]), "customer", "email"))


def test_objects_that_show_no_metadata_prove_nothing_absent(shop: Merchant, tmp_path: Path) -> None:
    asyncio.run(seen(shop, tmp_path, "customer", "metadata.ours"))
    [path] = (tmp_path / "mirrors").glob("*.duckdb")
    with contextlib.closing(engine.connect(str(path))) as session:
        one = session.execute("SELECT min(id) FROM stripe.customers").fetchall()[0]
        session.execute("UPDATE stripe.customers SET metadata = NULL WHERE id = ?", one)
    assert asyncio.run(seen(shop, tmp_path, "customer", "email"))["rows"]
    with pytest.raises(errors.StripeError, match="shows no metadata of some customers"):
        asyncio.run(seen(shop, tmp_path, "customer", "metadata.ours"))
