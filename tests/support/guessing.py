"""Passwords that cost nothing to hash."""

from __future__ import annotations

import argon2
import pytest

from tidegate.server import passwords

GOOD = "correct horse battery"
"""A password that will do."""


def cheaply(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords with the least parameters there are, until the test ends."""
    monkeypatch.setattr(passwords, "_hasher", argon2.PasswordHasher(1, 8, 1))
    passwords._nobody.cache_clear()
