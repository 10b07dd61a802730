"""`tidegate plan` and `tidegate push` as a person uses them: what is shown, asked, written and answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pushed_people as people
import pytest
from following import Merchant

from tidegate import cli, sandbox
from tidegate.push import plan
from tidegate.stripe import attempts
from tidegate.views import push_words

PARTS = "invalid filtered unchanged unmatched held quarantined created updated failed unknown"
"""What the rows of the model add up from."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with sandbox.process(objects=30) as served:
        yield served


@pytest.fixture
def shop(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Merchant:
    """Three people in a file, one of them without what they are matched by."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    number = abs(hash(tmp_path)) % 10**9  # every test has people of its own
    some = [people.person(number + n) for n in range(2)]
    people.write(tmp_path, url, [*some, people.person(number + 2, email="")])
    return Merchant(url)


def emails(folder: Path) -> list[str]:
    """The e-mails of the model."""
    return [line.split(",")[1] for line in (folder / "people.csv").read_text().splitlines()[1:]]


def there(shop: Merchant, folder: Path) -> list[Any]:
    """The customers of these e-mails."""
    wanted = {each for each in emails(folder) if each}
    return [line["object"] for line in shop.truth("customers") if line["object"]["email"] in wanted]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    code = cli.main(words)
    told = capsys.readouterr()
    return code, told.out, told.err


def test_a_plan_shows_before_and_after_and_writes_nothing(
    shop: Merchant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "plan", "people")
    assert code == 0
    assert "to create" in out
    assert "metadata.plan" in out
    assert "A column that it is matched by (email) is empty." in out
    assert "2 writes, 4 requests" in err
    assert "Nothing was written." in err
    assert there(shop, tmp_path) == []


def test_rows_that_cannot_be_told_apart_are_named(
    shop: Merchant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = [people.person(n, id=id) for n, id in enumerate(("7", "12", "7", "[x]", "12", "7", "", ""))]
    people.write(tmp_path, shop.url, some)
    code, out, _ = run(capsys, "plan", "people", "--out", "plan.json")
    assert code == 0
    assert "keys that stand on several rows: 12, 7\n2 rows have no usable key\n" in out
    told = json.loads((tmp_path / "plan.json").read_text())
    assert (told["doubled"], told["doubles"], told["keyless"]) == (["12", "7"], 2, 2)
    assert (told["counts"]["quarantined"], told["counts"]["invalid"]) == (5, 2)
    many = [people.person(n, id=f"{n % 25:02}") for n in range(50)]
    people.write(tmp_path, shop.url, many)
    shown = " ".join(run(capsys, "plan", "people")[1].split())
    assert ": 00, 01, " in shown
    assert " 19, and 5 more" in shown
    assert "20," not in shown
    assert "no usable key" not in shown


@pytest.mark.usefixtures("shop")
def test_its_json_is_what_programs_read(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "plan", "people", "--json")
    found = json.loads(out.splitlines()[-1])
    names = "push run_id status source invalid filtered unchanged unmatched held quarantined created updated failed"
    assert {*names.split(), "unknown", "removed", "requests"} <= set(found)
    assert (code, found["source"], found["created"], found["invalid"]) == (0, 3, 2, 1)


def test_an_approved_plan_is_done_and_nothing_else(
    shop: Merchant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "plan", "people", "--out", "plan.json")[0] == 0
    assert (tmp_path / "plan.json").stat().st_mode & 0o77 == 0
    lines = (tmp_path / "people.csv").read_text().splitlines()
    (tmp_path / "people.csv").write_text("\n".join([*lines[:2], lines[2].replace(",pro", ",free"), lines[3]]))
    code, out, _ = run(capsys, "push", "people", "--plan", "plan.json", "--json")
    found = json.loads(out.splitlines()[-1])
    assert (code, found["created"], found["held"], found["left"]) == (3, 1, 1, 1)
    assert found["source"] == sum(found[name] for name in PARTS.split())
    assert [each["metadata"]["plan"] for each in there(shop, tmp_path)] == ["pro"]


def test_of_an_approved_plan_only_what_is_still_so_is_shown(
    shop: Merchant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "plan", "people", "--out", "plan.json")[0] == 0
    lines = (tmp_path / "people.csv").read_text().splitlines()
    (tmp_path / "people.csv").write_text("\n".join([*lines[:2], lines[2].replace(",pro", ",free"), lines[3]]))
    code, out, err = run(capsys, "push", "people", "--plan", "plan.json")
    keys = [line.split(",")[0] for line in lines[1:3]]
    assert (code, [key in out for key in keys]) == (3, [True, False])
    assert "1 write, 2 requests, about 1 s." in err
    assert "It changed since the plan was made, and is left; plan it again." in err
    assert "people: 1 created, 1 left, 1 invalid; 2 requests." in err
    assert len(there(shop, tmp_path)) == 1


def test_a_limit_says_what_is_done_now_and_what_is_left(
    shop: Merchant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "push", "people", "--yes", "--limit", "1")
    assert code == 0
    assert "2 writes are planned; 1 of them now (limit 1)." in err
    assert "people: 1 created, 1 left by --limit, 1 invalid; 2 requests." in err
    assert "`tidegate inbox people` lists it." in err
    assert len(there(shop, tmp_path)) == 1


def test_it_is_said_how_what_is_unknown_is_found_out(
    shop: Merchant, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not in the inbox, as nobody needs to decide yet; the row without an e-mail is."""
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.01)
    shop.faults({"kind": "reset", "method": "POST"})
    try:
        code, _, err = run(capsys, "push", "people", "--yes", "--limit", "1")
    finally:
        shop.faults()
    assert code == 1
    assert "1 left by --limit, 1 invalid, 1 unknown" in err
    assert "`tidegate inbox people` lists it." in err
    assert "A run of this push five minutes from now finds out what is unknown;" in err


def test_somebody_is_asked(
    shop: Merchant, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    asked: list[str] = []

    def answer(text: str) -> str:
        asked.append(text)
        return "" if len(asked) == 1 else "y"

    monkeypatch.setattr("builtins.input", answer)
    assert run(capsys, "push", "people")[0] == 3
    assert there(shop, tmp_path) == []
    assert run(capsys, "push", "people")[0] == 0
    assert len(there(shop, tmp_path)) == 2


def test_a_guard_holds_and_says_how_to_go_on(
    shop: Merchant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people.write(tmp_path, shop.url, map(people.person, range(0)))
    code, _, err = run(capsys, "push", "people", "--yes")
    assert code == 3
    assert "It waits for approval: The model is empty." in err
    assert "Nothing was written; --approve does it all the same." in err


def test_who_approves_and_then_says_no_is_not_told_to_approve(
    shop: Merchant, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(file.read_text().replace("{model: people,", "{model: people, guard: {max_creates: 1},"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    code, _, err = run(capsys, "push", "people", "--approve")
    assert code == 3
    assert "Approved by --approve: 2 objects would be created" in err
    assert "Nothing was written.\n" in err
    assert "all the same" not in err
    assert there(shop, tmp_path) == []


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("phone", "phone is longer than 20 characters.", "phone is longer than 20 characters."),
        ("name", "It is empty.", "name: It is empty."),
        ("name", "names differ.", "name: names differ."),
        ("", "It is held.", "It is held."),
    ],
)
def test_why_a_row_is_not_written_names_its_field_once(field: str, text: str, said: str) -> None:
    assert push_words.why(plan.Entry("1", "", "invalid", field=field, text=text)) == said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["push", "people"], "give --yes, or --plan FILE"),
        (["push", "nobody", "--yes"], "there is no push 'nobody' in the configuration; it has people"),
        (["plan", "nobody"], "there is no push 'nobody'"),
        (["plan"], "say which push: people"),
        (["push"], "say which push: people"),
        (["undo"], "say which push: people"),
        (["push", "people", "--plan", "none.json"], "none.json cannot be read"),
        (["push", "people", "--plan", "people.csv"], "people.csv is no plan"),
        (["push", "people", "--yes", "--limit", "0"], "give 1 or more"),
        (["plan", "people", "--out", "nowhere/plan.json"], "cannot be written"),
    ],
)
def test_bad_words_get_a_sentence(
    shop: Merchant, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    code, _, err = run(capsys, *words)
    assert (code, sentence in err) == (2, True), err
    assert there(shop, tmp_path) == []


def test_a_wrong_key_writes_nothing(
    shop: Merchant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(file.read_text().replace("sk_test_123456789", "sk_live_123456789"))
    code, _, err = run(capsys, "push", "people", "--yes")
    assert code == 1
    assert "rejected the key" in err
    assert "123456789" not in err
    assert there(shop, tmp_path) == []


@pytest.mark.parametrize(
    ("push", "sentence"),
    [
        (
            "{model: people, to: acme, object: dragon, match: {email: email}, fields: {name: name}}",
            "dragon cannot be written; choose ",
        ),
        (
            "{model: people, to: acme, object: custmer, match: {email: email}, fields: {name: name}}",
            "custmer cannot be written; did you mean customer?",
        ),
        (
            "{model: people, to: acme, object: customer, match: {emial: email}, fields: {name: name}}",
            "no customer is found by emial; did you mean email?",
        ),
        (
            "{model: people, to: acme, object: customer, match: {name: name}, fields: {name: name}}",
            "found by name",
        ),
        (
            "{model: people, to: acme, object: customer, match: {email: email}, fields: {balance: id}}",
            "balance",
        ),
        ("{model: people, to: acme, object: customer, match: {email: email}, fields: {nme: name}}", "nme"),
        (
            "{model: people, to: acme, object: customer, match: {email: mail}, fields: {name: name}}",
            "no column mail",
        ),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_written(
    shop: Merchant, tmp_path: Path, capsys: pytest.CaptureFixture[str], push: str, sentence: str
) -> None:
    people.write(tmp_path, shop.url, [people.person(1)], push)
    code, _, err = run(capsys, "plan", "people")
    assert (code, sentence in err) == (2, True), err


def test_what_is_held_is_listed_and_decided_on(
    shop: Merchant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    email = emails(tmp_path)[0]
    key = (tmp_path / "people.csv").read_text().splitlines()[1].split(",")[0]
    ids = [shop.make("/v1/customers", email=email)["id"] for _ in range(2)]
    shop.later()
    assert run(capsys, "push", "people", "--yes")[0] == 0
    code, out, _ = run(capsys, "inbox", "people")
    assert code == 0
    assert "ambiguous" in out
    assert all(each in out for each in ids)
    assert run(capsys, "inbox", "people", key, "--choose", "cus_other")[0] == 2
    assert run(capsys, "inbox", "people", key, "--choose", ids[0])[0] == 0
    assert run(capsys, "push", "people", "--yes")[0] == 0
    held = json.loads(run(capsys, "inbox", "--json")[1].splitlines()[-1])["holds"]
    assert [each["kind"] for each in held] == ["invalid"]
    code, out, _ = run(capsys, "record", "people", key)
    assert code == 0
    assert ids[0] in out
    assert "chosen" in out
    assert "done" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["inbox", "nobody"], "there is no push 'nobody'"),
        (["inbox", "people", "1"], "lists those that are"),
        (["inbox", "people", "--retry"], "say which row is meant"),
        (["inbox", "people", "1", "--retry", "--skip"], "exclude each other"),
        (["inbox", "people", "none", "--retry"], "is not held"),
        (["record", "people", "none"], "nothing is known of a row 'none'"),
    ],
)
@pytest.mark.usefixtures("shop")
def test_bad_words_about_rows_get_a_sentence(
    capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    code, _, err = run(capsys, *words)
    assert (code, sentence in err) == (2, True), err
