"""What a person says in the inbox of a row whose object somebody deleted: nothing is made again without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from following import Merchant
from pushed_objects import NAME, Wares

from tidegate import cli, errors, sandbox
from tidegate.store import links


def row(wares: Wares, name: str = "Jane") -> dict[str, object]:
    """A row; each test has an e-mail of its own."""
    return {"mail": f"{wares.folder.name}@choice.test", "name": name}


@pytest.fixture(scope="module")
def shop() -> Iterator[Merchant]:
    with sandbox.process(objects=30) as url:
        yield Merchant(url)


@pytest.fixture
def wares(shop: Merchant, tmp_path: Path) -> Wares:
    return Wares(shop, tmp_path, "object: customer, match: {email: mail}, fields: {name: name}")


@pytest.fixture
def deleted(wares: Wares) -> str:
    """The customer that a row had, and that somebody deleted; the row waits."""
    assert wares.run(row(wares)).counted() == {"created": 1}
    [id] = living(wares)
    wares.shop.delete(f"/v1/customers/{id}")
    assert wares.run(row(wares, "Joan")).counted() == {"held": 1}
    return id


def living(wares: Wares) -> list[str]:
    """The customers with the row's e-mail."""
    lines = (line["object"] for line in wares.shop.truth("customers"))
    return [each["id"] for each in lines if not each.get("deleted") and each["email"] == row(wares)["mail"]]


def test_it_is_never_made_again_by_itself(wares: Wares, deleted: str) -> None:
    for _ in range(2):
        assert wares.run().counted() == {"held": 1}
    assert wares.run(row(wares, "Jill")).counted() == {"held": 1}
    assert living(wares) == []
    hold = wares.hold()
    assert hold is not None
    assert (hold.kind, hold.text) == ("gone", f"{deleted} is not there any more; it is not made again.")


def test_a_person_has_it_made_again(wares: Wares, deleted: str) -> None:
    wares.choose("1", "create")
    assert wares.run().counted() == {"created": 1}
    [new] = living(wares)
    assert new != deleted
    assert wares.truth("customers", new)["name"] == "Joan"
    wares.quiet()
    assert wares.hold() is None
    told = wares.history()
    assert told.index(f"held {deleted} is not there any more; it is not made again.") < told.index(
        "chosen create"
    )
    assert told.index("chosen create") < told.index(f"linked {new} in the place of {deleted}")


def test_or_says_that_it_is_another_one(wares: Wares, deleted: str) -> None:
    other = wares.shop.make("/v1/customers", email="other@choice.test", name="Other")["id"]
    wares.choose("1", other)
    assert wares.run().counted() == {"updated": 1}
    assert (wares.truth("customers", other)["name"], living(wares)) == ("Joan", [])
    wares.quiet()
    assert f"linked {other} in the place of {deleted}" in wares.history()


@pytest.mark.usefixtures("deleted")
def test_what_was_made_again_and_deleted_once_more_waits_again(wares: Wares) -> None:
    wares.choose("1", "create")
    wares.run()
    [new] = living(wares)
    wares.shop.delete(f"/v1/customers/{new}")
    assert wares.run(row(wares, "Jill")).counted() == {"held": 1}
    assert living(wares) == []


@pytest.mark.usefixtures("deleted")
def test_the_choice_is_one_for_this_row_alone(wares: Wares) -> None:
    """Another row's object is deleted in the same way, and stays so."""
    rows: list[dict[str, object]] = [row(wares, "Joan"), {"mail": "joe@choice.test", "name": "Joe"}]
    assert wares.run(*rows).counted() == {"held": 1, "created": 1}
    with wares.store() as store:
        joe = links.find(store, NAME, ["2"])["2"].target
    wares.shop.delete(f"/v1/customers/{joe}")
    rows[1]["name"] = "Joey"
    assert wares.run(*rows).counted() == {"held": 2}
    wares.choose("1", "create")
    assert wares.run().counted() == {"held": 1, "created": 1}


def test_of_several_that_match_none_is_meant(wares: Wares) -> None:
    there = {wares.shop.make("/v1/customers", email="many@choice.test")["id"] for _ in range(2)}
    told = wares.run({"mail": "many@choice.test", "name": "New"})
    assert (told.counted(), set(told.entries["1"].candidates)) == ({"held": 1}, there)
    wares.choose("1", "create")
    assert wares.run().counted() == {"created": 1}
    wares.quiet()


def test_what_is_no_answer_is_refused(wares: Wares) -> None:
    wares.shop.make("/v1/customers", email="two@choice.test")
    wares.shop.make("/v1/customers", email="two@choice.test")
    told = wares.run({"mail": "two@choice.test", "name": "New"})
    with pytest.raises(errors.ConfigError) as refused:
        wares.choose("1", "cus_other")
    there = " or ".join(told.entries["1"].candidates)
    assert str(refused.value) == f"cus_other is none of its candidates; choose {there} or create."


def test_on_the_command_line(
    wares: Wares, deleted: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(wares.folder)
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["inbox", NAME, "1", "--choose", "create"]) == 0
    wares.shop.later()
    assert cli.main(["push", NAME, "--yes"]) == 0
    [new] = living(wares)
    capsys.readouterr()
    assert cli.main(["record", NAME, "1"]) == 0
    told = capsys.readouterr().out
    assert f"customer {new} of" in told
    assert f"{new} in the place of {deleted}" in told
