"""Passwords: long enough, hashed with Argon2id, and compared in the same time whoever is asked for.

Lengths are what counts (NIST SP 800-63B, 3.1.1): nothing is said of digits or capitals, and whatever characters
there are may stand in one.
"""

from __future__ import annotations

import contextlib
import functools
import secrets
import threading
import unicodedata
from collections.abc import Iterator

import argon2

from tidegate import errors
from tidegate.server import problems

SHORTEST = 12
LONGEST = 1000
"""Characters of a password."""
TYPED = 4 * LONGEST
"""Characters as they are typed, of which several may be one: what is beyond is looked at by nobody.

To normalize takes time by the square of a run of combining marks, in which the whole process stands still.
"""
AT_ONCE = 2
"""Hashes that are made at the same time: each takes 64 MiB."""

PATIENCE = 5.0
"""Seconds for which somebody waits for a turn."""

_hasher = argon2.PasswordHasher()
_turns = threading.BoundedSemaphore(AT_ONCE)


def check(password: str, name: str = "") -> None:
    """Raises ConfigError for a password that is too short, too long, or the name itself."""
    found = _normal(password)
    if len(password) > TYPED or len(found) > LONGEST:
        raise errors.ConfigError(f"A password has {LONGEST:,} characters at the most.")
    if len(found) < SHORTEST:
        raise errors.ConfigError(
            f"A password has {SHORTEST} characters at least; some words in a row are easy to remember."
        )
    if name and found.casefold().strip() in (name.casefold(), name.partition("@")[0].casefold()):
        raise errors.ConfigError("The name is no password; take another one.")
    if len(set(found)) < 4:
        raise errors.ConfigError(
            "A password of so few different characters is guessed at once; take another one."
        )


def hashed(password: str) -> str:
    """What is kept of a password; takes some 90 ms and 64 MiB. Raises Problem where too many ask."""
    with _turn():
        return _hasher.hash(_normal(password))


def same(kept: str | None, password: str) -> bool:
    """Is it the password of this hash? For None it takes as long to say no. Raises Problem where too many ask."""
    against = _nobody()
    with _turn():
        try:
            _hasher.verify(kept or against, _normal(password)[: LONGEST + 1])
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
    return kept is not None


def is_outdated(kept: str) -> bool:
    """Was it hashed with parameters that are not used any more?"""
    return _hasher.check_needs_rehash(kept)


@functools.cache
def _nobody() -> str:
    """The hash of a password that nobody has."""
    return _hasher.hash(secrets.token_urlsafe(32))


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    """One of a few at a time: memory is to last for all, and threads for whoever else asks."""
    if not _turns.acquire(timeout=PATIENCE):
        raise problems.Problem(503, "Too many sign in at once; try again in a moment.", {"Retry-After": "5"})
    try:
        yield
    finally:
        _turns.release()


def _normal(password: str) -> str:
    """The same characters however a keyboard writes them."""
    return unicodedata.normalize("NFKC", password[: TYPED + 1])
