"""`tidegate inbox` and `tidegate record` as a person uses them: what is shown, and what is decided."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pushed_people as people
import pushing
import pytest
from following import Merchant

from tidegate import cli, sandbox, views
from tidegate.store import database, fences, holds, ledger, links, operations, trail
from tidegate.views import deciding

PUSH = people.NAME
OTHER = "others"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[database.Database]:
    """Two pushes, and nothing that has happened to them yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    people.write(tmp_path, "http://127.0.0.1:1", [])
    file = tmp_path / "tidegate.yaml"
    text = file.read_text().rstrip().removesuffix("}")
    file.write_text(f"{text}, {OTHER}: {people.USUAL}}}\n")
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as found:
        yield found


@pytest.fixture
def fence(store: database.Database) -> fences.Fence:
    """Some rows that wait for a person."""
    fence = pushing.fence(store, PUSH)
    several = ("cus_old", "cus_mid", "cus_new")
    for key in ("1", "2"):
        hold(store, fence, key, "ambiguous", "3 objects match it.", candidates=several)
    hold(store, fence, "3", "conflict", "It was changed here and at Stripe: name.", candidates=deciding.SIDES)
    hold(store, fence, "4", "refused", "Stripe refused it.", times=3)
    hold(store, fence, "5", "gone", "cus_5 was deleted at Stripe.")
    hold(store, pushing.fence(store, OTHER), "a", "looping", "name of cus_1 goes round.")
    return fence


def hold(store: database.Database, fence: fences.Fence, key: str, kind: Any, text: str, **more: Any) -> None:
    holds.open(store, fence, [holds.Opening(key, kind, text, "hash", "v1", **more)])


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    code = cli.main(words)
    told = capsys.readouterr()
    return code, told.out, told.err


def states(store: database.Database, push: str = PUSH) -> dict[str, str]:
    """The rows that are held, with what was chosen for them."""
    return {each.key: each.choice or each.state for each in holds.listed(store, push)}


def test_every_kind_says_what_can_be_done() -> None:
    assert set(deciding.NEXT) == set(get_args(holds.Kind))


@pytest.mark.usefixtures("fence")
def test_it_counts_by_kind_lists_by_push_and_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "inbox")
    assert code == 0
    assert "people: 5 rows not written: 2 ambiguous, 1 conflict, 1 gone, 1 refused" in out
    assert "others: 1 row not written: 1 looping" in out
    assert "  cus_mid" in out
    assert "looping: correct the model so that it settles, then --retry." in out
    assert re.search(r"refused +20\d\d-\d\d-\d\d \d\d:\d\d +Stripe refused it\.\s+until \d\d:\d\d", out)


@pytest.mark.usefixtures("fence")
def test_only_some_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "inbox", "--kind", "gone", "--kind", "looping")[1]
    assert "cus_5 was deleted" in out
    assert "goes round" in out
    assert "3 objects match it." not in out
    code, _, err = run(capsys, "inbox", "--kind", "odd")
    assert code == 2
    assert "odd" in err


@pytest.mark.usefixtures("fence")
def test_page_after_page_each_row_comes_once(capsys: pytest.CaptureFixture[str]) -> None:
    found, after = list[str](), list[str]()
    while True:
        page = json.loads(run(capsys, "inbox", "--limit", "2", "--json", *after)[1])
        found += [f"{each['push']} {each['key']}" for each in page["holds"]]
        if page["after"] is None:
            break
        after = ["--after", page["after"]]
    assert [each for each in found if each != "others a"] == [f"people {key}" for key in range(1, 6)]
    assert found.count("others a") == 1  # last, or before one that was opened in the same millisecond
    assert page["counts"]["people"] == {"ambiguous": 2, "conflict": 1, "gone": 1, "refused": 1}
    err = run(capsys, "inbox", "--limit", "2")[2]
    place = err.split("--after ")[1].split()[0]
    assert "3 objects match" not in run(capsys, "inbox", "--after", place)[1]


@pytest.mark.usefixtures("fence")
def test_one_row_is_shown_with_what_can_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "inbox", PUSH, "3")
    assert code == 0
    assert "--choose warehouse or --choose stripe says whose value counts." in out
    assert "3 objects match it." not in out


@pytest.mark.usefixtures("fence")
def test_one_row_is_decided_on(store: database.Database, capsys: pytest.CaptureFixture[str]) -> None:
    assert "the next run does what you chose" in run(capsys, "inbox", PUSH, "1", "--choose", "newest")[2]
    run(capsys, "inbox", PUSH, "2", "--choose", "cus_mid")
    run(capsys, "inbox", PUSH, "3", "--choose", "stripe")
    run(capsys, "inbox", PUSH, "4", "--skip")
    run(capsys, "inbox", PUSH, "5", "--retry")
    assert states(store) == {"1": "cus_new", "2": "cus_mid", "3": "stripe", "4": "skipped", "5": "waiting"}


@pytest.mark.usefixtures("fence")
def test_many_rows_are_decided_on_at_once(
    store: database.Database, capsys: pytest.CaptureFixture[str]
) -> None:
    err = run(capsys, "inbox", PUSH, "--all", "--kind", "ambiguous", "--choose", "oldest")[2]
    assert "people: 2 rows: the next run does what you chose" in err
    told = json.loads(run(capsys, "inbox", PUSH, "--all", "--retry", "--json")[1])
    assert told == {"decided": 3, "left": 2}
    assert states(store) == {"1": "cus_old", "2": "cus_old", "3": "waiting", "4": "waiting", "5": "waiting"}
    assert states(store, OTHER) == {"a": "held"}


@pytest.mark.usefixtures("fence")
def test_the_audit_log_tells_who_decided(
    store: database.Database, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "inbox", PUSH, "4", "--skip")
    run(capsys, "inbox", PUSH, "--all", "--kind", "ambiguous", "--choose", "oldest")
    one, begun, done = trail.listed(store)[::-1]
    assert {(each.who, each.via, each.what) for each in (one, begun, done)} == {
        (views.person().name, "cli", "push:people")
    }
    assert (one.action, one.after) == ("decide", {"key": "4", "decision": "skipped"})
    meant = {"decision": "chosen", "choice": "oldest", "kind": "ambiguous"}
    assert (begun.action, begun.after) == ("begin to decide", meant)
    assert (done.action, done.after) == ("decide", {**meant, "decided": 2, "left": 0})


@pytest.mark.usefixtures("fence")
def test_what_a_choice_is_not_meant_for_stays(
    store: database.Database, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--all", "--kind", "ambiguous", "--kind", "conflict", "--choose", "warehouse")
    assert (
        "1 row: the next run does what you chose; 2 are of another kind"
        in run(capsys, "inbox", PUSH, *words)[2]
    )
    assert states(store)["3"] == "warehouse"
    assert run(capsys, "inbox", PUSH, "--all", "--kind", "gone", "--choose", "create")[0] == 0
    assert states(store) == {"1": "held", "2": "held", "3": "warehouse", "4": "waiting", "5": "create"}


@pytest.mark.usefixtures("fence")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--retry"], "say which row is meant"),
        (["people", "1", "--retry", "--skip"], "exclude each other"),
        (["people", "--all"], "say what becomes of all of them"),
        (["people", "1", "--all", "--retry"], "give one of the two"),
        (["--all", "--retry"], "say of which push"),
        (["people", "--all", "--choose", "cus_1", "--kind", "ambiguous"], "is one object, and not that"),
        (["people", "--all", "--choose", "oldest"], "say for which rows that is chosen"),
        (["people", "9"], "the row '9' of people is not held"),
        (["people", "4", "--choose", "oldest"], "is nothing that can be chosen for 4, which is refused"),
        (["people", "1", "--choose", "cus_other"], "is none of its candidates"),
        (["people", "4", "--choose", "create"], "create is nothing that can be chosen for 4, which is refused"),
        (["people", "4", "--choose", "cus_1"], "is nothing that can be chosen for 4, which is refused: correct"),
        (["people", "3", "--choose", "create"], "which is conflict: --choose warehouse or --choose stripe"),
        (["people", "5", "--choose", "replace"], "replace is no id of an object"),
        (["nobody"], "there is no push 'nobody' in the configuration; it has people, others"),
        (["--after", "nonsense"], "is no place in a list"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "inbox", *words)
    assert code != 0
    assert sentence in err


@pytest.mark.usefixtures("store")
def test_an_empty_inbox(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "inbox") == (0, "", "tidegate: every row is written, or needs nothing\n")


def write(
    store: database.Database, fence: fences.Fence, intent: operations.Intent, id: str, **after: Any
) -> None:
    """Have an intent done."""
    assert pushing.begin(store, fence, intent) == ["begun"]
    ledger.sending(store, fence, intent.id)
    ledger.acknowledge(store, fence, [operations.Done(intent.id, id, 200, f"req_{id}", after=after)])


def test_a_record_shows_each_write_before_and_after(
    store: database.Database, capsys: pytest.CaptureFixture[str]
) -> None:
    fence = pushing.fence(store, PUSH)
    made = pushing.create("1", body="name=Ada&metadata[plan]=pro&metadata[tidegate_op]=op_1")
    write(store, fence, made, "cus_1", name="Ada", metadata={"plan": "pro", "tidegate_op": "op_1"})
    changed = pushing.update(
        "1", "cus_1", body="name=Bea&metadata[plan]=", before={"name": "Ada", "metadata.plan": "pro"}
    )
    write(store, fence, changed, "cus_1", name="Bea", metadata={})
    hold(store, fence, "1", "looping", "name of cus_1 goes round.")
    code, out, _ = run(capsys, "record", PUSH, "1")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "1 of people: customer cus_1 of acct_1, live mode" in lines
    assert "https://dashboard.stripe.com/acct_1/customers/cus_1" in lines
    assert "looping, held: name of cus_1 goes round." in lines
    assert [line for line in lines if line.startswith(("name: ", "metadata"))] == [
        "name: Ada",
        "metadata.plan: pro",
        "name: Ada -> Bea",
        "metadata.plan: pro -> (empty)",
    ]
    assert "req_cus_1" in out
    assert "`tidegate inbox people 1` shows what can be done." in lines
    entries = json.loads(run(capsys, "record", PUSH, "1", "--json")[1])["entries"]
    assert [each["changes"] for each in entries if each["what"] == "done"] == [
        {"name": [None, "Ada"], "metadata.plan": [None, "pro"]},
        {"name": ["Ada", "Bea"], "metadata.plan": ["pro", None]},
    ]


def test_a_request_that_stripe_shows_leads_to_its_row(
    store: database.Database, capsys: pytest.CaptureFixture[str]
) -> None:
    made = pushing.create("1")
    write(store, pushing.fence(store, PUSH), made, "cus_1")
    for named in (operations.idempotency_key(PUSH, made.id), made.id):
        assert "1 of people: customer cus_1" in run(capsys, "record", named)[1]
    for named, sentence in (
        (operations.idempotency_key(PUSH, f"op_{'0' * 26}"), "there is no operation"),
        (PUSH, "say which row is meant: tidegate record people KEY"),
    ):
        code, _, err = run(capsys, "record", named)
        assert code != 0
        assert sentence in err


def test_a_record_of_a_row_that_nobody_knows(
    store: database.Database, capsys: pytest.CaptureFixture[str]
) -> None:
    del store
    code, _, err = run(capsys, "record", PUSH, "9")
    assert code != 0
    assert "nothing is known of a row '9' of people" in err


def test_an_object_that_is_gone_has_no_page(
    store: database.Database, capsys: pytest.CaptureFixture[str]
) -> None:
    fence = pushing.fence(store, PUSH)
    write(store, fence, pushing.create("1"), "cus_1")
    links.unlink(store, fence, ["1"])
    out = run(capsys, "record", PUSH, "1")[1]
    assert "which somebody deleted" in out
    assert "dashboard.stripe.com" not in out


def test_candidates_are_shown_as_persons_know_them_and_never_in_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    with sandbox.process(objects=20) as url:
        shop = Merchant(url)
        ids = [shop.make("/v1/customers", email="P1@people.test", name=f"Ada {n}")["id"] for n in range(2)]
        shop.later()
        people.write(tmp_path, url, [people.person(1)])
        assert run(capsys, "push", PUSH, "--yes")[0] == 0
    out = run(capsys, "inbox")[1]
    for n, id in enumerate(ids):
        assert re.search(rf"  {id}  20\d\d-\d\d-\d\d  Ada {n}  P1@people.test", out)
    assert "Ada" not in run(capsys, "inbox", "--json")[1]
    for file in tmp_path.rglob("mirrors"):
        for each in file.iterdir():
            each.unlink()
    assert f"  {ids[0]}" in run(capsys, "inbox")[1]
