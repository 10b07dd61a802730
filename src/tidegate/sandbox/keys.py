"""API keys: who asks, for which account, and what a restricted key may do."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field

from tidegate.sandbox import refusals

PREFIXES = ("sk_test_", "sk_live_", "rk_test_", "rk_live_", "sk_org_test_", "sk_org_live_")
ORGANISATION = "sk_org_"
IMPLIED = {"rak_balance_read": "rak_balance_transaction_source_read"}
"""A permission, and another one that grants it too: the dashboard has one row for both."""


@dataclass
class Key:
    """A key that was made: `scopes` is None for a secret key, which may do everything."""

    secret: str
    scopes: frozenset[str] | None = None
    revoked: bool = False
    dropped: set[str] = field(default_factory=set)
    members: frozenset[str] = frozenset()
    """Of an organisation's key: its accounts beside the platform."""
    account: str = ""
    """Of a token that came of signing in: the connected account that it is a key of."""
    reads: bool = False
    """Was it given for reading only?"""

    @property
    def live(self) -> bool:
        """Is it a live-mode key?"""
        return self.secret.removeprefix(ORGANISATION).removeprefix("sk_").removeprefix("rk_")[:5] == "live_"

    @property
    def organisation(self) -> bool:
        """Is it an organisation's key, which belongs to no account?"""
        return self.secret.startswith(ORGANISATION)

    def may(self, permission: str) -> bool:
        """Does it carry the permission? Write includes read, as at Stripe."""
        if self.reads and permission.endswith("_write"):
            return False
        if self.scopes is None or not permission:
            return True
        held = self.scopes - self.dropped
        return permission in held or (
            permission.endswith("_read")
            and (permission.removesuffix("_read") + "_write" in held or IMPLIED.get(permission, "") in held)
        )


def _with_write(scope: str) -> set[str]:
    return {scope, scope.removesuffix("_read") + "_write"} if scope.endswith("_read") else {scope}


def masked(secret: str) -> str:
    """A key as Stripe shows it in errors: the prefix and the last four characters."""
    prefix = next((one for one in PREFIXES if secret.startswith(one)), "")
    rest = secret[len(prefix) :]
    if len(rest) <= 8:
        return prefix + "*" * len(rest)
    return prefix + "*" * (len(rest) - 4) + rest[-4:]


def given(authorization: str | None) -> str:
    """The key out of an `Authorization` header: bearer, or basic with the key as the user."""
    scheme, _, rest = (authorization or "").strip().partition(" ")
    if scheme.lower() == "bearer" and rest.strip():
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            user = base64.b64decode(rest.strip(), validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            user = ""
        if user:
            return user
    raise refusals.no_key()


class Keys:
    """The keys of the platform: any `sk_test_` key works unless the ring is closed; others must be registered."""

    def __init__(self, *, open: bool = True) -> None:
        self.open = open
        self._keys: dict[str, Key] = {}

    def register(self, secret: str, scopes: Iterable[str] | None = None, members: Iterable[str] = ()) -> Key:
        """Make a key, or give an existing one other scopes."""
        key = Key(secret, None if scopes is None else frozenset(scopes), members=frozenset(members))
        self._keys[secret] = key
        return key

    def revoke(self, secret: str) -> None:
        """From now on the key answers 401."""
        self._keys.setdefault(secret, Key(secret)).revoked = True

    def drop(self, secret: str, scope: str) -> None:
        """Take one scope from a restricted key; its write form goes with its read form."""
        self._registered(secret).dropped |= _with_write(scope)

    def grant(self, secret: str, scope: str) -> None:
        """Give a restricted key a scope, or one back that it lost, in the forms in which it had it."""
        key = self._registered(secret)
        key.dropped -= _with_write(scope)
        if key.scopes is not None:
            key.scopes |= {scope}

    def _registered(self, secret: str) -> Key:
        key = self._keys.get(secret)
        if key is None:
            raise refusals.invalid("key", "No such key is registered, so its scopes cannot be changed.")
        return key

    def authenticate(self, authorization: str | None) -> Key:
        """The key of a request; refuses unknown, expired and publishable ones."""
        secret = given(authorization)
        key = self._keys.get(secret)
        if key is not None:
            if key.revoked:
                raise refusals.expired_key(masked(secret))
            return key
        if secret.startswith("pk_"):
            raise refusals.Refusal(
                401,
                "This API call cannot be made with a publishable API key. Please use a secret API key. You can "
                "find a list of your API keys at https://dashboard.stripe.com/account/apikeys.",
                code="secret_key_required",
            )
        for prefix in ("sk_test_", "sk_org_test_"):
            if self.open and secret.startswith(prefix) and len(secret) > len(prefix):
                return self.register(secret)
        raise refusals.wrong_key(masked(secret))
