"""Idempotency keys: the first answer to a POST is kept and replayed, 500s included, for 24 hours."""

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
    """The keys of all accounts; times are the sandbox's clock."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def begin(self, account: str, key: str, path: str, fingerprint: str, now: int) -> Answer | None:
        """The stored answer to replay, or None: then the caller executes and must `finish` or `forget`."""
        if len(key) > LONGEST:
            raise refusals.invalid(
                "idempotency_key", f"Keys for idempotent requests can be at most {LONGEST} characters."
            )
        entry = self._entries.get((account, key))
        if entry is not None and entry.since <= now - KEPT:
            entry = None
        if entry is None:
            self._entries[account, key] = _Entry(path, fingerprint, now)
            return None
        if (entry.path, entry.fingerprint) != (path, fingerprint):
            raise refusals.key_reused(entry.path)
        if entry.answer is None:
            raise refusals.key_in_use()
        return entry.answer

    def finish(self, account: str, key: str, answer: Answer) -> None:
        """Keep the answer."""
        self._entries[account, key].answer = answer

    def forget(self, account: str, key: str) -> None:
        """The request did not begin to execute: the key is as good as new."""
        self._entries.pop((account, key), None)

    def prune(self, now: int) -> int:
        """Drop what is older than a day; how many went."""
        old = [key for key, entry in self._entries.items() if entry.since <= now - KEPT]
        for key in old:
            del self._entries[key]
        return len(old)
