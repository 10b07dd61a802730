"""The configuration of a place: the file and what the metadata database keeps, read as one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydantic

from tidegate import config, errors
from tidegate.config import document, flows, merging, values
from tidegate.engine import grants
from tidegate.store import database, objects, secrets


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, the generation of the metadata database that it is of, and what the file's names hide."""

    config: config.Config
    generation: int
    shadowed: tuple[merging.Stored, ...]
    document: document.Document
    """The file as it is written, `${...}` and all."""


def load(path: Path | None, store: database.Database, *, missing: bool = True) -> Loaded:
    """The file and what the metadata database keeps; without a path, the usual file, where there is one.

    `missing` says that neither needs to say anything yet. Raises ConfigError.
    """
    state = objects.state(store)
    stored = parts(state)
    file = path or Path(config.DEFAULT_FILE)
    none = path is None and (missing or bool(stored))
    found = config.load(file, secret=opener(store), stored=stored, missing=none)
    doc = merging.read(file, missing=path is None, as_written=True)
    shadowed = tuple(each for each in stored if merging.has(doc, each.kind, each.name))
    return Loaded(grants.filled(found, store), state.generation, shadowed, doc)


def parts(state: objects.State) -> list[merging.Stored]:
    """What the metadata database keeps, in the order in which one may refer to another."""
    order = {kind: n for n, kind in enumerate(merging.KINDS)}
    kept = [each for each in state.objects if each.kind in order]
    kept.sort(key=lambda each: (order[each.kind], each.name))
    return [merging.Stored(each.kind, each.name, each.body) for each in kept]


def opener(store: database.Database, more: Mapping[str, str] | None = None) -> Callable[[str], str]:
    """What answers for the name of a secret; `more` are some that are not kept yet."""
    vaults: list[secrets.Vault] = []

    def secret(name: str) -> str:
        if more is not None and name in more:
            return more[name]
        if not vaults:
            vaults.append(secrets.vault(store))
        found = vaults[0].get(name)
        if found is None:
            raise errors.ConfigError(f"there is no secret {name!r}; `tidegate secret set` keeps one")
        return found

    return secret


def database_url(path: Path | None) -> str:
    """The metadata database of a configuration of which nothing else is read: it may need secrets yet to be set.

    Without a path, the usual file, where there is one. Raises ConfigError.
    """

    def none(_: str) -> str:
        raise errors.ConfigError(
            "this is where secrets are kept, and cannot be one itself; use ${NAME} from the environment or "
            "${file:/path}"
        )

    file = path or Path(config.DEFAULT_FILE)
    doc = merging.read(file, secret=none, missing=path is None)
    place: document.Place = ("database",)
    for at, what in doc.problems:
        if at == place:
            raise errors.ConfigError(f"{doc.where(place)}: database: {what}")
    written = doc.data.get("database") if isinstance(doc.data, dict) else None
    adapter: pydantic.TypeAdapter[pydantic.SecretStr] = pydantic.TypeAdapter(flows.DatabaseUrl)
    try:
        url = adapter.validate_python(
            "sqlite:///tidegate.db" if written is None else written,
            context=values.Context(file.absolute().parent),
        )
    except pydantic.ValidationError as error:
        why = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise errors.ConfigError(f"{doc.where(place)}: database: {why}") from None
    return url.get_secret_value()


def exists(url: str) -> bool:
    """Is there a metadata database: a server's address, or a file that somebody has made?"""
    scheme, _, rest = url.partition(":///")
    return scheme != "sqlite" or Path(rest).exists()


def digest(path: Path | None) -> str | None:
    """What stands for the text of the file; None where there is none, or it cannot be read."""
    try:
        return hashlib.sha256((path or Path(config.DEFAULT_FILE)).read_bytes()).hexdigest()
    except OSError:
        return None


def wrong(
    path: Path | None, stored: Sequence[merging.Stored], secret: Callable[[str], str]
) -> tuple[document.Document, list[tuple[document.Place, str]]]:
    """The whole configuration with these parts beside the file, and every problem in it."""
    doc, _, problems = judged(path, stored, secret)
    return doc, problems


def judged(
    path: Path | None, stored: Sequence[merging.Stored], secret: Callable[[str], str]
) -> tuple[document.Document, config.Config | None, list[tuple[document.Place, str]]]:
    """The same, and what it comes to as values where nothing is wrong."""
    file = path or Path(config.DEFAULT_FILE)
    doc = merging.merged(merging.read(file, secret=secret, missing=path is None), stored, secret=secret)
    return doc, *config.judged(doc, file.absolute().parent)
