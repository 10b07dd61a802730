"""What may be written in the browser and by the API, and what only an admin may.

An editor's bodies reach neither the server's files, environment and identities, nor what answers to it alone.

Each function yields places within a body, and a sentence for each. What stands there already may stay.
"""

from __future__ import annotations

import contextlib
import json
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate import config, outward
from tidegate.config import document, hidden, warehouses
from tidegate.engine import concealing
from tidegate.store import database

Told = Iterator[tuple[document.Place, str]]

ONLY = "only an admin, or `tidegate apply`, may"
COMPANIONS = ("", "-wal", "-shm", "-journal", ".key")
"""What SQLite and the secrets' key add to the name of the metadata database."""
LIBPQ = {
    *("application_name", "client_encoding", "connect_timeout", "options", "dbname", "user", "password"),
    *("channel_binding", "gssencmode", "require_auth", "sslmode", "sslnegotiation", "target_session_attrs"),
    *("keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "tcp_user_timeout"),
}
"""Of what libpq takes after the question mark, what names neither a file nor another server.
https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS"""
CONNECTED = ("stripe", "warehouses", "alerts")
"""Kinds of parts that this server connects to."""
LIKE_POSTGRES = ("postgres", "redshift")
"""Kinds of warehouses that libpq connects to."""
LAKES = ("parquet", "delta", "iceberg")
"""Kinds of warehouses that may be folders of a bucket."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where the configuration is, and what the file allows to those who write it from elsewhere."""

    file: Path
    """The configuration's file."""
    site: config.Site
    own: tuple[Path, ...] = ()
    """Files of the metadata database."""

    @classmethod
    def of(cls, path: Path | None, store: database.Database, site: config.Site | None) -> Ground:
        """That of a configuration; `path` is None for the usual file."""
        base = Path(store.place) if store.kind == "sqlite" else None
        own = () if base is None else tuple(base.with_name(base.name + each) for each in COMPANIONS)
        return cls(Path(path or config.DEFAULT_FILE).absolute(), site or config.Site(), own)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where files of an editor may be."""
        return tuple(map(Path, self.site.folders)) or (self.file.parent,)

    def refusal(self, text: str) -> str:
        """Why an editor may not name a file, wherever links lead; empty where that is no matter."""
        try:
            found = Path(self.file.parent, Path(text).expanduser()).resolve()
            kept = {each.resolve() for each in (self.file, *self.own)}
            tops = [top for each in self.folders if found.is_relative_to(top := each.resolve())]
        except (OSError, ValueError, RuntimeError):
            tops, kept, found = [], set(), Path()
        if not tops:
            return f"{ONLY} name a file outside of {' and '.join(map(str, self.folders))}"
        steps = [found.relative_to(top).parts for top in tops]
        if found in kept or all(any(step.startswith(".") for step in each) for each in steps):
            return f"{ONLY} name hidden files, and those that Tidegate needs itself; name another"
        return ""


def references(
    kind: str, body: Mapping[str, Any], old: Mapping[str, Any] | None, new: concealing.Concealed
) -> Told:
    """A `${...}` reads what the environment, the files and the secrets of the server are, and may put it anywhere.

    One that stands there already stays where it is, or moves whole from one secret's place to another's. And a
    secret that is kept, or named, would be sent to whatever address is written beside it.
    """
    secret = frozenset(hidden.places(kind, body))
    before = [hidden.at(old, place) for place in hidden.places(kind, old)]
    stays = set(new.kept)
    for place, value in _texts(body, ()):
        names = document.references(value)
        if place in secret and value in before and names:
            stays.add(place)
        elif value != hidden.at(old, place):
            for name in names:
                yield place, f"{ONLY} write ${{{name}}}"
    if stays and old is not None and _address(kind, new.body) != _address(kind, old):
        yield min(stays, key=str), "this would go to another address than before; give it again"


def files(kind: str, body: Mapping[str, Any], old: Mapping[str, Any] | None, ground: Ground) -> Told:
    """Files and folders of the server: those that `folders` allows, and of functions none.

    Of a function's file it is shown what Python or JavaScript say against it, and no folder keeps files of code
    apart from others.
    """
    is_other = old is None or (kind == "warehouses" and warehouses.kind(body) != warehouses.kind(old))
    for place in hidden.files(kind, body):
        value = hidden.at(body, place)
        if not isinstance(value, str) or (value == hidden.at(old, place) and not is_other):
            continue
        if place[0] == "function":
            yield place, f"{ONLY} name a file on the server; write the function as `code`"
            continue
        named = _file(value.strip(), body)
        if named is not None and (why := ground.refusal(named)):
            yield place, why
    if kind == "warehouses":
        yield from _beside(body, old)


def identities(kind: str, body: Mapping[str, Any], old: Mapping[str, Any] | None) -> Told:
    """Where a warehouse is signed in to as the server itself: what that has may go where only an admin says."""
    if kind != "warehouses" or not (at := _as_itself(body)):
        return
    if old is not None and _as_itself(old) == at and _address(kind, body) == _address(kind, old):
        return
    what = "password" if warehouses.kind(body) in LIKE_POSTGRES and at == "url" else at
    yield (at,), f"{ONLY} {_LENT.get(what, _LENT[''])}"


_LENT = {
    "password": "leave out the password: one of the server's own would be sent to this address",
    "ssh": "change what is reached through `ssh`: this machine's own keys open the way",
    "catalog": "name a catalog: it says which files are read, written and removed",
    "s3": "send this machine's own identity to this address; give `key` and `secret`",
    "": "send a token of this machine's own identity to this address; give an identity of its own",
}
"""What an editor may not, by the key that says it."""


def addresses(kind: str, body: Mapping[str, Any], old: Mapping[str, Any] | None, ground: Ground) -> Told:
    """What answers to this machine alone, which the file has to allow, whoever asks for it."""
    if kind not in CONNECTED or ground.site.link_local:
        return
    for place, value in _texts(body, ()):
        named = (host for each in _said(value) for host in hosts(each))
        if value != hidden.at(old, place) and any(map(outward.is_inside, named)):
            yield (
                place,
                "this answers to the server alone, with credentials of its machine; where it is meant, write "
                "`link_local: true` under `server:` in tidegate.yaml",
            )


def hosts(text: str) -> Iterator[str]:
    """Every host that a text may name: itself, that of a URL, or one of its query."""
    parts = text.strip().partition("://")
    authority = (parts[2] if parts[1] else parts[0]).replace("\\", "/")
    for end in "/?#":
        authority = authority.partition(end)[0]
    for each in urllib.parse.unquote(authority).rpartition("@")[2].split(","):
        yield each
        yield each.rpartition("]")[0].strip("[") if each.startswith("[") else each.partition(":")[0]
    for _, value in urllib.parse.parse_qsl(text.partition("?")[2]):
        yield from hosts(value)


def _said(text: str) -> Iterator[str]:
    """A text, and those of the document that it is: a service account's says where its token is asked for."""
    yield text
    if text.lstrip().startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):
            yield from (each for _, each in _texts(json.loads(text), ()))


def _file(value: str, body: Mapping[str, Any]) -> str | None:
    """The file or folder that a value names; None for what is elsewhere, of the kinds that may be."""
    scheme, marked, rest = value.partition("://")
    scheme, kind = scheme.lower(), warehouses.kind(body)
    if kind == "motherduck":
        return rest if scheme == "motherduck+file" else None
    if scheme == "duckdb" or scheme.endswith("+file"):
        # As in SQLAlchemy, three slashes are relative and four absolute.
        return urllib.parse.unquote(rest[1:])
    if marked and kind in LAKES and scheme.rpartition("+")[2] == "s3":
        return None
    return f"/{value}" if marked else value


def _beside(body: Mapping[str, Any], old: Mapping[str, Any] | None) -> Told:
    """Sockets and files that a server's address names."""
    host, url = body.get("host"), body.get("url")
    if isinstance(host, str) and host != hidden.at(old, ("host",)) and _is_socket(host):
        yield ("host",), f"{ONLY} name a socket of this machine; give a host"
    if not isinstance(url, str) or url == hidden.at(old, ("url",)):
        return
    kind = warehouses.kind(body)
    asked = {name for name, _ in _asked(url)}
    known = LIBPQ if kind in LIKE_POSTGRES else {"sslmode"} if kind == "mysql" else asked
    for name in sorted(asked - known):
        yield ("url",), f"{ONLY} give `{name}` in it"
    authority = url.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]
    if kind in LIKE_POSTGRES and _is_socket(urllib.parse.unquote(authority)):
        yield ("url",), f"{ONLY} name a socket of this machine; give a host"


def _is_socket(hosts: str) -> bool:
    """Is one of some hosts a path, or none, which to libpq is a socket too?"""
    return any(each.startswith(("/", "@", ":")) or not each for each in map(str.strip, hosts.split(",")))


def _as_itself(body: Mapping[str, Any]) -> str:
    """The key by which a warehouse is signed in to as this machine, and is not surely whose that identity is."""
    kind, url = warehouses.kind(body), body.get("url")
    if body.get("ssh"):
        return "ssh"
    if kind in ("sqlserver", "synapse"):
        own = body.get("authentication") in ("ActiveDirectoryDefault", "ActiveDirectoryMSI")
        return "authentication" if own else ""
    if kind in LIKE_POSTGRES and not _has_password(body):
        return "password" if url is None else "url"
    if kind == "iceberg" and body.get("catalog"):
        return "catalog"
    s3 = body.get("s3")
    if isinstance(s3, Mapping) and not s3.get("key") and (s3.get("endpoint") or _is_odd(s3.get("region"))):
        return "s3"
    if kind != "bigquery" or body.get("credentials"):
        return ""
    try:
        asked = dict(_asked(url)) if isinstance(url, str) else {}
        base = urllib.parse.urlsplit(str(body.get("api_base") or asked.get("api_base") or ""))
        # To what answers without TLS, an emulator, nobody signs in.
        known = base.scheme in ("", "http") or (base.hostname or "").endswith(".googleapis.com")
    except ValueError:
        known = False
    return "" if known else "api_base" if body.get("api_base") else "url"


def _has_password(body: Mapping[str, Any]) -> bool:
    """Has a Postgres server a password of its own, so that libpq looks for none in the environment or in files?"""
    url, password = body.get("url"), body.get("password")
    if isinstance(url, str) and not hidden.reference(url):
        user = url.partition("://")[2].partition("/")[0].rpartition("@")[0]
        return bool(dict(_asked(url)).get("password", user.partition(":")[2]).strip())
    if url is not None:  # it is kept, as it was seen before
        return True
    return isinstance(password, Mapping) or bool(isinstance(password, str) and password.strip())


def _is_odd(region: object) -> bool:
    """Is the name of a region none? It becomes a part of the host's."""
    return region is not None and not str(region).replace("-", "").isalnum()


def _asked(url: str) -> list[tuple[str, str]]:
    return urllib.parse.parse_qsl(url.partition("?")[2], keep_blank_values=True)


def _address(kind: str, body: Mapping[str, Any]) -> object:
    """Of a body what says where its secrets are sent."""
    if kind == "stripe":
        return body.get("api_base")
    return {key: value for key, value in body.items() if key != "schema"} if kind == "warehouses" else None


def _texts(value: object, place: document.Place) -> Iterator[tuple[document.Place, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _texts(each, (*place, key))
    elif isinstance(value, list):
        for n, each in enumerate(value):
            yield from _texts(each, (*place, n))
