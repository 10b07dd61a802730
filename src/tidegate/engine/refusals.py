"""Connections whose key Stripe refuses: their pulls and pushes rest until it is mended, and one matter says why.

A key that was rolled, revoked or has expired, and an account that took its sign-in back, make every run fail alike.
So the first run that is refused is the last one by itself; what somebody begins by hand still tries. Whether a key
is another one by now follows from the configuration, and Stripe is asked from time to time whether it takes the old
one again. Ticks that come meanwhile wait and become one run, which reads from where the tables stand: a pull finds
what it missed among the events of 30 days, and lists again what they reach back to no further.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Mapping

from tidegate import config, errors
from tidegate.engine import consents, flows, matters
from tidegate.pull import scope, settings
from tidegate.store import database, notices, runs

log = logging.getLogger(__name__)

KEY, SIGN_IN = "key", "sign_in"
KINDS = (KEY, SIGN_IN)
"""What mends it: another key, or somebody who signs in with Stripe."""
RESTING = ("pull", "push")
"""Kinds of flows that ask Stripe; a pipeline reads what was pulled."""
PATIENCE = 20.0
"""Seconds for which Stripe is asked; of a key for which it has not answered by then nothing is known."""
NOT_YET = "nobody is signed in over this connection"
NOBODY = "none"
"""What stands for the key of a connection that has none."""


def refused(file: config.Config, store: database.Database, run: runs.Run, said: str) -> None:
    """Note that Stripe refused the key of a run's connection, as it `said`; `file` is what the run had."""
    flow = flows.flows(file).get(run.flow)
    if flow is None or flow.kind not in RESTING:
        return
    notices.settle(store, "", [_matter(file, flow.connection, matters.scrubbed(said))])


def well(file: config.Config, store: database.Database, run: runs.Run) -> None:
    """Note that a run of a connection went well, which ends what was refused before it began."""
    flow = flows.flows(file).get(run.flow)
    if flow is None or flow.kind not in RESTING or run.started_at is None:
        return
    known = _open(store)
    for each in known:
        if _connection(each) == flow.connection and each.opened_at < run.started_at:
            _resolve(store, known, [each])


def tidy(file: config.Config, store: database.Database) -> None:
    """Open a matter for each connection over which flows wait for somebody to sign in; resolve those that are over.

    Over are those of a connection that is gone, or has another key by now.
    """
    known = _open(store)
    wanted = []
    for name, each in file.stripe.items():
        if each.key is None and _waiting(file, name):
            wanted.append(_matter(file, name, NOT_YET))
    names = {each.name for each in wanted}
    over = [each for each in known if each.matter not in names and not _holds(file, each)]
    if wanted:
        notices.settle(store, "", wanted)
    _resolve(store, known, over)


def resting(file: config.Config, store: database.Database) -> Mapping[str, str]:
    """The flows that rest, each with the reason in a sentence."""
    said: dict[str, str] = {}
    for each in notices.listed(store, kinds=(*KINDS, consents.KIND)):
        if _holds(file, each):
            said.setdefault(_connection(each), each.text)
    for name, connection in file.stripe.items():
        if connection.key is None:
            said.setdefault(name, _matter(file, name, NOT_YET).text)
    return {
        flow.name: said[flow.connection]
        for flow in flows.flows(file).values()
        if flow.kind in RESTING and flow.schedule != "manual" and flow.connection in said
    }


def why(file: config.Config, store: database.Database, name: str) -> str:
    """Why Stripe does not take the key of a connection, and what to do, in sentences; empty where it does."""
    found = [each for each in notices.listed(store, kinds=KINDS) if _connection(each) == name]
    return next((each.text for each in found if _holds(file, each)), "")


def ask(file: config.Config, store: database.Database) -> bool:
    """Ask Stripe whether it takes the refused keys again, and resolve those; is one refused still?

    Never raises for what Stripe says.
    """
    known = notices.listed(store, kinds=(*KINDS, consents.KIND))
    asked = [each for each in known if _holds(file, each) and file.stripe[_connection(each)].key is not None]
    if not asked:
        return False
    names = sorted({_connection(each) for each in asked})
    mended = set(asyncio.run(_taken(file, names)))
    for name in sorted(mended):
        consents.given(file, store, name)
    _resolve(store, _open(store), [each for each in asked if _connection(each) in mended])
    return len(mended) < len(names)


async def _taken(file: config.Config, names: Iterable[str]) -> list[str]:
    """The connections whose key Stripe takes."""
    tasks = {asyncio.create_task(_takes(file.stripe[name])): name for name in names}
    done, late = await asyncio.wait(tasks, timeout=PATIENCE)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return [tasks[task] for task in done if task.result()]


async def _takes(connection: config.Connection) -> bool:
    """Does Stripe take a key? Where it gives no answer, that is not known, and so not said."""
    try:
        async with scope.connect(settings.source(connection)) as stripe:
            await stripe.get("/v1/account", {})
    except (errors.PermissionMissing, errors.Missing, errors.InvalidRequest, errors.NotEnabled):
        return True  # it was taken, for something else than this
    except errors.TidegateError as error:
        log.info("%s Whether Stripe takes the key again is looked for later.", error)
        return False
    return True


def _waiting(file: config.Config, name: str) -> bool:
    """Are there flows over a connection that would run by themselves?"""
    return any(
        flow.connection == name and flow.kind in RESTING and flow.schedule != "manual"
        for flow in flows.flows(file).values()
    )


def _matter(file: config.Config, name: str, why: str) -> notices.Matter:
    connection, page = file.stripe[name], f"on the page of {name} under Stripe accounts"
    kind, mend = KEY, f"give it another key, {page} or in the file"
    if connection.oauth is not None:
        kind, mend = SIGN_IN, f"sign in with Stripe, {page}"
    text = (
        f"{name}: {why.rstrip('.')}. Its pulls and pushes rest: {mend}. They go on by themselves then, from where "
        "they stopped."
    )
    return notices.Matter(f"{kind}/{name}/{_mark(connection)}", kind, "", text)


def _mark(connection: config.Connection) -> str:
    """What tells a key from another one, and tells nothing of it."""
    if connection.key is None:
        return NOBODY
    return hashlib.sha256(connection.key.get_secret_value().encode()).hexdigest()[:16]


def _connection(notice: notices.Notice) -> str:
    return notice.matter.split("/")[1]


def _holds(file: config.Config, notice: notices.Notice) -> bool:
    """Is the connection of a matter still the one that was refused?"""
    connection = file.stripe.get(_connection(notice))
    if connection is None:
        return False
    if notice.kind == consents.KIND:
        return True
    return notice.matter.endswith(f"/{_mark(connection)}")


def _open(store: database.Database) -> list[notices.Notice]:
    return notices.listed(store, kinds=KINDS)


def _resolve(
    store: database.Database, known: Iterable[notices.Notice], over: Iterable[notices.Notice]
) -> None:
    gone = {each.matter for each in over}
    if gone:
        notices.settle(store, "", [], KINDS, spared={each.matter for each in known} - gone)
