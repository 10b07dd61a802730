"""Pipelines that are about to be kept, proved beforehand: whoever keeps one, and however.

One that can never work, or of which a saved case comes out differently, is not kept, since its runs would be
refused.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate import catalog, config, errors
from tidegate.config import merging
from tidegate.engine import configuration, revisions
from tidegate.store import database, objects

if TYPE_CHECKING:
    from tidegate.customers import cases

KIND = "pipelines"
RESTARTS = 2
"""How often a function that is tried may hang, or end its process, before it is given up: somebody waits for it."""
BESIDE = frozenset(("enabled", "schedule", "description"))
"""What no case depends on: whoever changes only this is not kept from it by a case that failed before."""


def prove(
    path: Path | None, store: database.Database, state: objects.State, plan: Sequence[revisions.Step]
) -> None:
    """Raises ConfigError where a pipeline of a plan can never work, or has cases that fail.

    These are its `problems`, at `cases[n]`.
    """
    changed = [step for step in plan if _concerns(step)]
    file = _afterwards(path, store, state, plan) if changed else None
    if file is None:
        return
    wrong = [each for step in changed for each in _wrong(file, step.edit.name)]
    if wrong:
        raise errors.ConfigError("\n".join(map(str, wrong)), wrong)


def tried(file: config.Config, name: str) -> tuple[tuple[cases.Tried, ...], str]:
    """What becomes of the saved cases of a pipeline, and what its function printed; raises ConfigError."""
    from tidegate.customers import cases, shaping
    from tidegate.engine import piping
    from tidegate.rows import decode
    from tidegate.shape import profile

    found = file.pipelines[name]
    stream = decode.schema(catalog.load().streams[found.stream])
    of = profile.of(piping.model(file, name))
    now = dt.datetime.now(dt.UTC)
    with shaping.opened(name, found, of, stream, now, restarts=RESTARTS) as shaper:
        return tuple(cases.tried(found, shaper, stream)), shaper.printed


def _concerns(step: revisions.Step) -> bool:
    if step.edit.kind != KIND or step.body is None:
        return False
    return step.old is None or _proved(step.old.body) != _proved(step.body)


def _proved(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in body.items() if key not in BESIDE}


def _afterwards(
    path: Path | None, store: database.Database, state: objects.State, plan: Sequence[revisions.Step]
) -> config.Config | None:
    """The whole configuration once the plan is done; None where something that was wrong before stays so."""
    kept = {(each.kind, each.name): each for each in configuration.parts(state)}
    fresh: dict[str, str] = {}
    for step in plan:
        key = (step.edit.kind, step.edit.name)
        kept.pop(key, None)
        fresh |= step.fresh
        if step.body is not None:
            kept[key] = merging.Stored(*key, step.body)
    return configuration.judged(path, list(kept.values()), configuration.opener(store, fresh))[1]


def _wrong(file: config.Config, name: str) -> list[revisions.Problem]:
    try:
        found = tried(file, name)[0]
    except errors.ConfigError:
        raise
    except errors.TidegateError as error:  # its function hangs
        return [revisions.Problem(("cases",), str(error), f"{KIND}.{name}")]
    return [
        revisions.Problem(("cases", n), f"{each.name!r} comes out differently: {each.why}", f"{KIND}.{name}")
        for n, each in enumerate(found)
        if not each.ok
    ]
