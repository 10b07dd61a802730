"""`tidegate customers` as somebody types it, over a model that a pipeline filled."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import piped
import pytest
from piped import person

from tidegate import cli, config
from tidegate.cli import customers
from tidegate.engine import leased, piping
from tidegate.store import database, trail

FILE = """
stripe: {acme: {api_key: sk_test_123456789012}}
warehouses: {w: {type: duckdb, path: w.duckdb}}
database: sqlite:///t.db
customer_model: {warehouse: w, identifiers: [customer_id, email]}
pipelines:
  eu: {from: acme, to: w}
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three customers of two records each; two of them have one phone number."""
    folder = tmp_path_factory.mktemp("template")
    (folder / "tidegate.yaml").write_text(FILE)
    with contextlib.closing(piped.Place(folder)) as place:
        place.pulled(*(person(n, phone="+49 170 1234567" if n in (1, 2) else None) for n in range(6)))
        place.run(place.job({"identifiers": ["customer_id", "email"]}))
    return folder


@pytest.fixture
def place(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[piped.Place]:
    """A folder of its own with them."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with contextlib.closing(piped.Place(tmp_path)) as place:
        yield place


class Typed:
    """The command, and what it said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str, code: int = 0) -> tuple[str, str]:
        assert cli.main(["customers", *words]) == code
        said = self._capsys.readouterr()
        return said.out, said.err

    def json(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self(*words, "--json")[0].splitlines()[-1])
        return found


@pytest.fixture
def typed(place: piped.Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    assert place.folder.is_dir()
    monkeypatch.setenv("COLUMNS", "160")
    return Typed(capsys)


def profile(typed: Typed, id: str) -> str:
    return str(typed.json("show", id)["profile"])


def test_customers_are_found_and_shown(typed: Typed) -> None:
    out, err = typed("list")
    assert len([line for line in out.splitlines() if line.startswith(" cup_")]) == 3
    assert err == ""
    first = typed.json("list", "--limit", "2")
    rest = typed.json("list", "--limit", "2", "--after", first["after"])
    assert (len(first["customers"]), len(rest["customers"]), rest["after"]) == (2, 1, None)
    assert typed("list", "--limit", "2")[1] == f"tidegate: there are more: --after {first['after']}\n"
    [found] = typed.json("list", "p2@people.test")["customers"]
    assert (found["known"]["customer_id"], found["sources"]) == ("cus_4", 2)
    assert typed("list", "nobody") == ("", "tidegate: no customer is found by 'nobody'\n")
    out, _ = typed("show", "cus_5")
    assert out.startswith(f"{found['profile']}\n    customer_id: cus_4\n    name: Person 4\n")
    assert "2 records of 1 account:\n    eu/acct_1/cus_4  since" in out
    assert "    email p2@people.test: 2 records\n" in out


def test_what_a_customer_wrote_does_not_reach_the_terminal_as_an_order(
    typed: Typed, place: piped.Place
) -> None:
    place.pulled(person(0, name="\x1b[2JAnn\nTwo"), version=9)
    place.run(place.job({"identifiers": ["customer_id", "email"]}))
    assert "    name: \\x1b[2JAnn\\nTwo\n" in typed("show", "cus_0")[0]
    assert "\x1b" not in typed("list")[0]


def test_why_two_are_one_and_two_are_not(typed: Typed) -> None:
    one, two = profile(typed, "cus_0"), profile(typed, "cus_2")
    assert typed("why", "cus_0", "cus_1")[0] == (
        f"cus_0 and cus_1 are one customer, {one}:\n"
        "    eu/acct_1/cus_0 and eu/acct_1/cus_1 have the same email: p0@people.test\n"
    )
    assert typed("why", one, two)[0] == (
        f"{one} and {two} are two customers, {one} and {two}:\n"
        "    no value of an identifier links them, directly or through others\n"
    )
    assert typed("why", one, one)[0] == f"{one} and {one} are one customer, {one}.\n"
    told = typed.json("why", "cus_0", "cus_1")
    assert told["one_customer"] is True
    assert told["path"][0]["identifier"] == "email"


def test_a_merge_is_noted_shown_and_withdrawn(typed: Typed) -> None:
    one, two = profile(typed, "cus_0"), profile(typed, "cus_2")
    _, err = typed("merge", one, two, "--yes", "--as", "ann", "--note", "same person")
    assert "eu/acct_1/cus_0 and eu/acct_1/cus_2 are merged by hand" in err
    assert err.endswith("tidegate: it shows after the next run of a pipeline, or at once with --now\n")
    assert profile(typed, "cus_2") == two
    assert "by ann: same person  (shows after the next run)\n" in typed("decisions")[0]
    again = typed.json("merge", one, two, "--yes", "--now")
    assert (again["resolved"]["merged"], again["decisions"][0]["decided_by"]) == (1, "ann")
    assert {profile(typed, id) for id in ("cus_0", "cus_2", one, two)} <= {one, two}
    assert profile(typed, "cus_0") == profile(typed, "cus_2")
    assert "are merged by hand" in typed("why", "cus_1", "cus_3")[0]
    assert "former profiles: cup_" in typed("show", "cus_0")[0]
    [decision] = typed.json("decisions")["decisions"]
    refused = typed("apart", "cus_0", "cus_2", "--yes", code=2)[1]
    assert f"by the decision {decision['decision']} among others; withdraw that first." in refused
    wrong = decision["decision"][:-1] + "x"
    assert f"did you mean {decision['decision']}?" in typed("withdraw", wrong, "--yes", code=2)[1]
    told = typed.json("withdraw", decision["decision"], "--yes", "--now", "--as", "ben")
    assert (told["resolved"]["split"], told["decisions"][0]["withdrawn_by"]) == (1, "ben")
    assert (profile(typed, "cus_0"), profile(typed, "cus_2")) == (one, two)
    assert typed("decisions") == ("", "tidegate: nothing was decided by hand\n")
    assert re.search(r"\(withdrawn 20[^)]* by ben\)", typed("decisions", "--withdrawn")[0])


def test_records_that_are_split_off_stay_together(typed: Typed) -> None:
    typed("merge", "cus_0", "cus_2", "--yes", "--now")
    both = profile(typed, "cus_0")
    typed("split", both, "--records", "eu/acct_1/cus_1,cus_3", "--yes", "--now")
    assert profile(typed, "cus_1") == profile(typed, "cus_3") != profile(typed, "cus_0")
    assert profile(typed, "cus_0") == profile(typed, "cus_2") == both
    why = typed("why", "cus_0", "cus_1")[0]
    assert "eu/acct_1/cus_1 stands alone" in why
    typed("split", "cus_5", "--yes", "--now")
    assert profile(typed, "cus_5") != profile(typed, "cus_4")
    typed("apart", "cus_0", "cus_4", "--yes", "--now")
    assert "eu/acct_1/cus_0 was taken away from eu/acct_1/cus_4" in typed("why", "cus_2", "cus_4")[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("split", "{0}"), "{0} has 2 records; say with --records which of them are somebody else's."),
        (
            ("split", "{0}", "--records", "cus_0,cus_1"),
            "These are all records of {0}; leave it at least one.",
        ),
        (("split", "{0}", "--records", "cus_4"), "cus_4 is no record of {0};"),
        (("merge", "{0}", "{0}"), "{0} and {0} are the same customer, {0};"),
        (("merge", "{0}", "cus_77"), "There is no customer cus_77"),
    ],
)
def test_what_cannot_be_decided_is_told(typed: Typed, words: tuple[str, ...], said: str) -> None:
    one = profile(typed, "cus_0")
    _, err = typed(*(word.format(one) for word in words), "--yes", code=2)
    assert err.startswith(f"tidegate: {said.format(one)}")
    assert typed.json("decisions")["decisions"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show",), "that is written so: tidegate customers show ID"),
        (("why", "a"), "that is written so: tidegate customers why ID ID"),
        (("list", "--note", "x"), "--note goes with merge and apart and split"),
        (("list", "--limit", "0"), "--limit must be 1 to 1,000"),
        (("preview", "--max-cluster", "1"), "--max-cluster must be 2 to 10,000"),
        (("list", "--warehouse", "x"), "there is no customer model in a warehouse 'x'; there is one in w"),
        (
            ("preview", "--identifiers", "fone"),
            "fone is no property of the customer model; did you mean phone?",
        ),
        (
            ("merge", "cus_0", "cus_2"),
            "merge asks before it acts, and there is no terminal to ask on; give --yes",
        ),
    ],
)
def test_what_is_written_wrongly_is_said_in_a_sentence(
    typed: Typed, words: tuple[str, ...], said: str
) -> None:
    out, err = typed(*words, code=2)
    assert (out, err) == ("", f"tidegate: {said}\n")


class Terminal(io.StringIO):
    """Somebody sits there."""

    def isatty(self) -> bool:
        return True


def test_somebody_is_asked_with_all_that_it_is_about(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    _, err = typed("merge", "cus_0", "cus_2", code=2)
    assert "This makes one customer of cus_0 (cup_" in err
    assert err.endswith("Note this decision? [y/N] tidegate: not confirmed; nothing was decided\n")
    assert typed.json("decisions")["decisions"] == []
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert "noted: dec_" in typed("split", "cus_0")[1]
    [decision] = typed.json("decisions")["decisions"]
    assert (decision["kind"], "@" in decision["decided_by"]) == ("alone", True)
    monkeypatch.setattr("sys.stdin", Terminal("yes\n"))
    _, err = typed("withdraw", decision["decision"])
    assert f"This withdraws: {decision['decision']}  eu/acct_1/cus_0 stands alone" in err


def test_a_preview_tells_what_would_change_and_changes_nothing(typed: Typed) -> None:
    before = typed.json("list")
    told = typed.json("preview", "--identifiers", "customer_id,email,phone")
    assert (told["merges"], told["splits"], told["profiles"], told["profiles_now"]) == (1, 0, 2, 3)
    out, _ = typed("preview", "--identifiers", "customer_id,email,phone", "--max-cluster", "3")
    assert out.startswith("by customer_id, email, phone, 3 records at most:\n    6 records, 3 customers")
    assert "not used:\n    phone: 1 customer that would be too large (4 records)\n" in out
    out, _ = typed("preview", "--identifiers", "phone")
    assert "1 profile would go into another, 3 parts would come off one\n" in out
    assert "would come apart:\n    cup_" in out
    assert typed.json("list") == before
    assert typed.json("preview")["merges"] == 0


def test_while_a_pipeline_runs_a_decision_is_noted_and_waits_for_its_end(
    typed: Typed, place: piped.Place, tmp_path: Path
) -> None:
    [of] = piping.models(config.load(tmp_path / "tidegate.yaml")).values()
    with leased.held(place.store, piping.lease(of), "busy"):
        _, err = typed("merge", "cus_0", "cus_2", "--yes", "--now", code=1)
    first, last = err.splitlines()
    assert first.startswith("tidegate: noted: dec_")
    assert last == (
        "tidegate: A pipeline is just writing the customer model tidegate.customer_profiles; what was decided "
        "shows at its end, or after its next run."
    )
    place.run(place.job({"identifiers": ["customer_id", "email"]}))
    assert profile(typed, "cus_0") == profile(typed, "cus_2")


def test_a_configuration_without_a_model_says_so(typed: Typed, tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(FILE.partition("customer_model")[0])
    assert "the configuration has no customer model" in typed("list", code=2)[1]
    two = FILE.replace("warehouses: {", "warehouses: {v: {type: duckdb, path: v.duckdb}, ")
    own = two.replace("customer_model: {warehouse: w, identifiers: [customer_id, email]}\n", "")
    file.write_text(own + "  us: {from: acme, to: v}\n")
    assert "say which with --warehouse: w, v" in typed("list", code=2)[1]
    assert typed("list", "--warehouse", "v")[1] == "tidegate: the customer model has no customers\n"
    assert len(typed.json("list", "--warehouse", "w")["customers"]) == 3
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/t.db")) as store:
        assert store.one("SELECT count(*) AS n FROM leases") == {"n": 0}


def test_the_audit_log_tells_who_sat_there_and_who_was_named(typed: Typed, place: piped.Place) -> None:
    typed("merge", "cus_0", "cus_2", "--yes", "--as", "ann")
    [decision] = typed.json("decisions")["decisions"]
    typed("withdraw", decision["decision"], "--yes")
    found = trail.listed(place.store, what="customers.w")[::-1]
    assert [each.action for each in found] == ["begin to merge", "merge", "begin to withdraw", "withdraw"]
    assert {(each.who, each.via) for each in found} == {(customers._somebody(), "cli")}
    assert [(each.after or each.before).get("as") for each in found] == ["ann", "ann", None, None]
