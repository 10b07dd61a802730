"""kill -9 at every step of a push, of 200 businesses drawn from seeds: nothing is doubled, nothing is lost.

What happens to each is in `tests/support/pushing_model.py`, and so is the judge: processes that are killed at any
step, or stopped for 25 hours, or two at a time; a Stripe that does something and hangs up, keeps failures and
repeats them, forgets keys and tells late; merchants who change, double and delete what is about to be written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pushed_people as people
import pushing_child
import pushing_model
import pytest
import servers
from following import Merchant

from tidegate import sandbox
from tidegate.push import steps
from tidegate.store import database
from tidegate.stripe import attempts

SEEDS, AT_ONCE = 200, 10
SILENT: dict[str, Any] = {"kind": "reset", "when": "after", "method": "POST", "probability": 1.0}
FATES: dict[str, dict[str, Any]] = {
    "fresh keys": {},
    "acknowledged before": {"how": "killed", "at": "noted as sent"},
    "nothing recovered": {"how": "killed", "at": "answered"},
    "nothing claimed": {"how": "", "beside": True, "trouble": []},
    "nothing looked up": {},
    "sent late": {"how": "", "seconds": pushing_model.DAY, "trouble": [SILENT]},
    "not fenced": {"how": "stopped", "at": "before the socket write", "trouble": []},
}
"""What happens to those who do something wrong, so that it shows soon."""
PATIENCE = 60


@pytest.fixture(scope="module")
def shop() -> Iterator[Merchant]:
    with sandbox.process(objects=0) as url:
        yield Merchant(url)


def live(shop: Merchant, folder: Path, seed: int, *, wrong: str = "", server: bool = False) -> None:
    """One business from its beginning to the judge; its metadata database is a file, or a server's."""
    folder.mkdir()
    url = servers.new_postgres() if server else f"sqlite:///{folder}/tidegate.db"
    with contextlib.closing(database.open_database(url)) as store:
        fate = FATES.get(wrong, {})
        pushing_model.lived(pushing_model.Business(shop, store, folder, url, seed, wrong, fate))


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_killed_anywhere_every_row_has_its_object_once(shop: Merchant, tmp_path: Path, first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        live(shop, tmp_path / str(seed), seed, server=seed == first)


@pytest.mark.parametrize("wrong", list(pushing_child.WRONG))
def test_the_judge_sees_what_is_done_wrong(shop: Merchant, tmp_path: Path, wrong: str) -> None:
    def some() -> None:
        for seed in range(PATIENCE):
            live(shop, tmp_path / str(seed), seed, wrong=wrong)

    with pytest.raises(AssertionError, match=r"seed \d+"):
        some()


PLANNED = [
    *("snapshot taken", "rows mapped", "rows compared", "targets resolved", "plan made"),
    *("renewed rows settled", "equal rows settled", "held rows settled", "plan settled"),
]
COMMITTED = ["to be committed", "committed"]
"""Also before and after each of those that follow; only where a name comes first is looked at here."""
SENT = ["noted as sent", "before the socket write", "answered", "acknowledged"]


def test_every_step_has_a_name_at_which_a_process_can_be_killed(
    shop: Merchant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.01)
    shop.control("reset", {"objects": 0})
    names: list[str] = []
    monkeypatch.setattr(steps, "listener", names.append)

    def reached() -> list[str]:
        names.clear()
        people.push(tmp_path)
        return list(dict.fromkeys(names))

    people.write(tmp_path, shop.url, [people.person(1)])
    begun = ["fence taken", *PLANNED, "looked once more", *COMMITTED, "intent committed"]
    assert reached() == [*begun, *SENT]
    people.rows(tmp_path, [people.person(1), people.person(2)])
    shop.faults({"kind": "reset", "when": "after", "method": "POST"})
    assert reached() == [*begun, *SENT[:-1], "settled"]
    shop.faults()
    assert reached() == ["fence taken", "undecided found", *COMMITTED, *SENT, "recovered one", *PLANNED]
