"""What signing in with Stripe gave a connection that is written in the file: kept encrypted, and filled in.

The file says which platform people sign in to (`client_id`, `client_secret`). The account that signed in and its
key stand in the metadata database, as the secret `stripe/NAME/oauth`. What the file says itself counts first.
"""

from __future__ import annotations

import msgspec
import pydantic

from tidegate import config
from tidegate.store import database, objects, secrets, trail


class Grant(msgspec.Struct, frozen=True):
    """What an account gave: its key, for one platform."""

    client_id: str
    account: str
    access_token: str


def secret(name: str) -> str:
    """The secret that keeps what signing in gave a connection."""
    return f"stripe/{name}/oauth"


def filled(file: config.Config, store: database.Database) -> config.Config:
    """The configuration with the keys that signing in gave; one that is of another platform or account is left out.

    Raises StoreError where no key opens what is kept, and ConfigError where there is no key to open it.
    """
    without = {
        name: each.oauth
        for name, each in file.stripe.items()
        if each.oauth is not None and each.oauth.access_token is None
    }
    if not without:
        return file
    there = secrets.names(store)
    found = dict(file.stripe)
    for name, oauth in without.items():
        if secret(name) not in there or (grant := _kept(store, name)) is None:
            continue
        if grant.client_id == oauth.client_id and oauth.account in (None, grant.account):
            given = {"account": grant.account, "access_token": pydantic.SecretStr(grant.access_token)}
            found[name] = found[name].model_copy(update={"oauth": oauth.model_copy(update=given)})
    return file.model_copy(update={"stripe": found})


def keep(store: database.Database, name: str, grant: Grant, who: str, via: str, *, only: str = "") -> str:
    """Keep what signing in gave a connection; whoever runs notices. The account that it has then.

    That is another one where the file names one (`only`), or somebody else's signed in meanwhile: nothing is kept.
    """
    if only and only != grant.account:
        return only
    vault, line = secrets.vault(store), trail.new_id()

    def work(session: database.Session) -> str:
        objects.bump(session)  # of two at once, the second waits here until the first is done
        there = _read(vault.held(session, secret(name)))
        is_known = not only and there is not None and there.client_id == grant.client_id
        if there is not None and is_known and there.account != grant.account:
            return there.account
        vault.keep(session, secret(name), msgspec.json.encode(grant).decode())
        said = {"account": grant.account}
        trail.note(session, who, "sign-in", f"stripe.{name}", after=said, via=via, line_id=line)
        return grant.account

    return store.transact(work)


def forget(store: database.Database, name: str) -> bool:
    """Forget what signing in gave a connection; was there something?"""
    return secret(name) in secrets.names(store) and secrets.vault(store).remove(secret(name))


def _kept(store: database.Database, name: str) -> Grant | None:
    return _read(secrets.vault(store).get(secret(name)))


def _read(text: str | None) -> Grant | None:
    try:
        return None if text is None else msgspec.json.decode(text, type=Grant)
    except msgspec.DecodeError:  # somebody has set a secret of that name by hand
        return None
