"""`tidegate account`: a connection of the file signs in with Stripe from a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pulling
import pytest
from agreeing import agreed

from tidegate import cli, sandbox
from tidegate.cli import account as command
from tidegate.cli import asking
from tidegate.engine import live
from tidegate.store import database

APP, SECRET = "ca_rockets", "sk_test_platform1234567"


@pytest.fixture(scope="module")
def stripe() -> Iterator[pulling.Stripe]:
    with sandbox.process(objects=30, accounts=2) as url:
        yield pulling.Stripe(url)


@pytest.fixture
def folder(stripe: pulling.Stripe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    app = f"{{client_id: {APP}, client_secret: {SECRET}}}"
    (tmp_path / "tidegate.yaml").write_text(f'stripe:\n  shop: {{oauth: {app}, api_base: "{stripe.url}"}}\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def key(folder: Path) -> str:
    store = database.open_database(f"sqlite:///{folder}/tidegate.db")
    found = live.Live(folder / "tidegate.yaml", store).config.stripe["shop"].key
    store.close()
    return "" if found is None else found.get_secret_value()


class Pasted(io.StringIO):
    """Somebody who opens the address that was printed, agrees, and pastes where they came out."""

    def __init__(self, out: pytest.CaptureFixture[str], account: str, answer: str = "connect") -> None:
        super().__init__()
        self._out, self._account, self._answer = out, account, answer
        self.address = ""
        """What was printed."""

    def readline(self, *_: object) -> str:  # type: ignore[override]
        self.address = self._out.readouterr().out.strip()
        came = agreed(self.address, self._account, self._answer)
        return f"{command.BACK}?" + "&".join(f"{name}={value}" for name, value in came.items()) + "\n"


def test_who_agrees_has_the_key_kept_and_takes_it_back(
    folder: Path,
    stripe: pulling.Stripe,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    account = stripe.truth("accounts")[0]["object"]["id"]
    person = Pasted(capfd, account)
    monkeypatch.setattr("sys.stdin", person)
    assert cli.main(["account", "sign-in", "shop"]) == 0
    assert f"{account} signed in (TEST); shop may read its data" in capfd.readouterr().err
    token = key(folder)
    assert token
    assert "scope=read_only" in person.address
    assert cli.main(["account", "disconnect", "shop", "--yes"]) == 0
    assert "shop is disconnected" in capfd.readouterr().err
    assert key(folder) == ""


@pytest.mark.parametrize(
    ("pasted", "words"),
    [
        ("https://dashboard.stripe.com/\n", "not the address that Stripe sends people back to"),
        (f"{command.BACK}?state=forged&code=ac_1\n", "did not begin in this session"),
    ],
)
def test_what_is_no_answer_keeps_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], pasted: str, words: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(pasted))
    assert cli.main(["account", "sign-in", "shop"]) == 2
    assert words in capfd.readouterr().err
    assert key(folder) == ""


def test_who_does_not_agree_changes_nothing(
    folder: Path,
    stripe: pulling.Stripe,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    account = stripe.truth("accounts")[0]["object"]["id"]
    person = Pasted(capfd, account, "deny")
    monkeypatch.setattr("sys.stdin", person)
    assert cli.main(["account", "sign-in", "shop", "--write"]) == 2
    assert "scope=read_write" in person.address
    assert "so shop stays as it is" in capfd.readouterr().err
    assert key(folder) == ""


def test_a_connection_with_a_key_has_nobody_sign_in(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "tidegate.yaml").write_text("stripe:\n  shop: {api_key: sk_test_geheim123456789}\n")
    assert cli.main(["account", "sign-in", "shop"]) == 2
    (said,) = capfd.readouterr().err.splitlines()
    assert "has a key of its own" in said


@pytest.mark.parametrize(
    ("connection", "words"), [("shopp", "did you mean"), ("shop", "Nobody has signed in")]
)
def test_nobody_is_asked_about_what_cannot_be_disconnected(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    connection: str,
    words: str,
) -> None:
    assert folder.exists()
    monkeypatch.setattr(asking, "confirm", lambda *_, **__: pytest.fail("somebody was asked"))
    assert cli.main(["account", "disconnect", connection]) == 2
    assert words in capfd.readouterr().err
