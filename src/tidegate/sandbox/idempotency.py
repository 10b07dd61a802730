"""Idempotency keys: the first answer to a POST is kept and replayed, 500s included, for 24 hours.

Each account has its own, and each mode of it; a request that did not begin to execute leaves none.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.sandbox import refusals

KEPT = 24 * 3600
LONGEST = 255


@dataclass(frozen=True)
class Answer:
    """A stored answer and the request that got it."""

    status: int
    body: bytes
    request_id: str


@dataclass
class _Entry:
    path: str
    fingerprint: str
    since: int
    answer: Answer | None = None


class Ledger:
    """The keys of all accounts; times are the sandbox's clock, and a scope is an account in a mode."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def begin(self, scope: str, key: str, path: str, fingerprint: str, now: int) -> Answer | None:
        """The stored answer to replay, or None: then the caller executes and must `finish` or `forget`."""
        if len(key) > LONGEST:
            raise refusals.invalid(
                "idempotency_key", f"Keys for idempotent requests can be at most {LONGEST} characters."
            )
        entry = self._entries.get((scope, key))
        if entry is not None and entry.answer is not None and entry.since <= now - KEPT:
            entry = None
        if entry is None:
            self._entries[scope, key] = _Entry(path, fingerprint, now)
            return None
        if (entry.path, entry.fingerprint) != (path, fingerprint):
            raise refusals.key_reused(entry.path)
        if entry.answer is None:
            raise refusals.key_in_use()
        return entry.answer

    def finish(self, scope: str, key: str, answer: Answer) -> None:
        """Keep the answer."""
        self._entries[scope, key].answer = answer

    def forget(self, scope: str, key: str) -> None:
        """The request did not begin to execute: the key is as good as new."""
        self._entries.pop((scope, key), None)

    def prune(self, now: int, older: float = KEPT, only: str = "") -> int:
        """Drop what is older than so many seconds (of one key) and not in flight; how many went."""
        old = [
            key
            for key, entry in self._entries.items()
            if entry.answer is not None and entry.since <= now - older and only in ("", key[1])
        ]
        for key in old:
            del self._entries[key]
        return len(old)
