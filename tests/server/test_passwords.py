"""Passwords: which ones will do, and that they are told apart in the same way whoever is asked for."""

from __future__ import annotations

import threading
import unicodedata
from typing import Literal

import argon2
import guessing
import pytest

from tidegate import errors
from tidegate.server import passwords, problems


def test_a_password_is_known_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = passwords.hashed("correct horse battery")
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.same(kept, "correct horse battery")
    assert not passwords.same(kept, "correct horse batterz")
    assert not passwords.is_outdated(kept)
    guessing.cheaply(monkeypatch)
    assert passwords.is_outdated(kept)


def test_the_same_characters_are_one_password_however_they_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    guessing.cheaply(monkeypatch)
    kept = passwords.hashed("Z\u00fcrich am See 1")
    assert passwords.same(kept, "Zu\u0308rich am See 1")


def test_two_hashes_of_one_password_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    guessing.cheaply(monkeypatch)
    assert passwords.hashed(guessing.GOOD) != passwords.hashed(guessing.GOOD)


def test_nobodys_password_takes_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    guessing.cheaply(monkeypatch)
    kept = passwords.hashed(guessing.GOOD)
    compared: list[str] = []

    class Counting(argon2.PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:
            compared.append(argon2.extract_parameters(str(hash)).__repr__())
            return super().verify(hash, password)

    monkeypatch.setattr(passwords, "_hasher", Counting(1, 8, 1))
    assert not passwords.same(None, guessing.GOOD)
    assert not passwords.same(kept, "something else")
    assert len(compared) == 2
    assert compared[0] == compared[1]


def test_what_is_kept_may_be_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    guessing.cheaply(monkeypatch)
    assert not passwords.same("no hash at all", guessing.GOOD)


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "12 characters"),
        ("elevenchars", "12 characters"),
        ("x" * 1001, "1,000 characters"),
        ("aaaaaaaaaaaaaaaa", "few different"),
        ("abababababababab", "few different"),
        ("ann@example.com", "name is no password"),
        ("ANN@example.com ", "name is no password"),
    ],
)
def test_some_passwords_will_not_do(password: str, why: str) -> None:
    with pytest.raises(errors.ConfigError, match=why):
        passwords.check(password, "ann@example.com")


@pytest.mark.parametrize("password", ["twelve chars", "пароль из слов", "0123456789ab", "🦀🦞🦐🐙" * 3])
def test_nothing_is_said_of_what_a_password_is_made_of(password: str) -> None:
    passwords.check(password, "ann@example.com")


def test_who_finds_no_turn_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    guessing.cheaply(monkeypatch)
    monkeypatch.setattr(passwords, "_turns", threading.BoundedSemaphore(1))
    monkeypatch.setattr(passwords, "PATIENCE", 0.0)
    with passwords._turns, pytest.raises(problems.Problem) as busy:
        passwords.hashed(guessing.GOOD)
    assert (busy.value.status, busy.value.headers["Retry-After"]) == (503, "5")
    assert passwords.same(passwords.hashed(guessing.GOOD), guessing.GOOD)


def test_however_much_is_sent_little_of_it_is_normalized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or else a stranger has the whole process stand still: marks that combine are put in order one by one."""
    guessing.cheaply(monkeypatch)
    kept, normalize = passwords.hashed(guessing.GOOD), unicodedata.normalize
    lengths: list[int] = []

    def noting(form: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> str:
        lengths.append(len(text))
        return normalize(form, text)

    monkeypatch.setattr(unicodedata, "normalize", noting)
    endless = "a" + "\u0301\u0316" * 500_000
    assert not passwords.same(kept, endless)
    assert not passwords.same(None, endless)
    with pytest.raises(errors.ConfigError, match="1,000 characters at the most"):
        passwords.check(endless)
    assert max(lengths) <= passwords.TYPED + 1


def test_a_password_may_be_typed_in_more_characters_than_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    guessing.cheaply(monkeypatch)
    text = "\u1ec7\u1ed9\u1ead\u1ee3" * (passwords.LONGEST // 4)
    typed = unicodedata.normalize("NFD", text)
    assert len(typed) > passwords.LONGEST
    passwords.check(typed)
    assert passwords.same(passwords.hashed(text), typed)
