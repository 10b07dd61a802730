"""Who changed what, and how it was before: the audit log, written in the transaction of the change itself.

Of a change that this database does not hold, at Stripe or in a warehouse, one line tells before it and one after
(`around`). Lines are added and read, never changed; they go after `KEPT`. No secret stands in them: who writes one
gives the last four characters at most, and what looks like a key of Stripe is shortened here all the same.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tidegate import errors
from tidegate.store import database, keyed

KEPT = 730 * 86_400.0
"""Seconds for which a line is kept: two years."""
STEP = 500
LOST = (errors.Unreachable, errors.ServerFault, errors.WarehouseUnreachable)
"""Errors after which nobody knows whether a change elsewhere was made."""

_KEY = re.compile(r"\b((?:sk|rk|pk|whsec|tg)_(?:live_|test_|org_)?)[A-Za-z0-9_-]{8,}?([A-Za-z0-9]{4})\b")


@dataclass(frozen=True, slots=True)
class Line:
    """One change; `number` grows with every line."""

    number: int
    at: float
    """Unix seconds."""
    who: str
    via: str
    """`session`, `token`, `cli`, or how else it came."""
    action: str
    """Such as `create`, `change`, `delete`, `sign in`."""
    what: str
    """Such as `pulls.everything`."""
    before: Any
    after: Any
    """What was and what became: documents, or None."""


def new_id() -> str:
    """An id for a line, to be made before the transaction that writes it."""
    return keyed.new_id("line", 12)


@dataclass(frozen=True, slots=True)
class Note:
    """A line that is to be written with a change, in its transaction; done again, it is one line."""

    who: str
    action: str
    what: str
    before: object = None
    after: object = None
    via: str = ""
    id: str = field(default_factory=new_id)

    def write(self, session: database.Session | database.Database) -> None:
        """Write it."""
        note(
            session, self.who, self.action, self.what, self.before, self.after, via=self.via, line_id=self.id
        )


def note(
    session: database.Session | database.Database,
    who: str,
    action: str,
    what: str,
    before: object = None,
    after: object = None,
    *,
    via: str = "",
    line_id: str | None = None,
) -> None:
    """Write a line, in the transaction of the change where a session is given.

    With a `line_id` made before the transaction, work that is done again leaves one line.
    """
    session.execute(
        "INSERT INTO trail (id, at, who, via, action, what, was, became) "
        "VALUES (:id, {now}, :who, :via, :action, :what, :was, :became) ON CONFLICT (id) DO NOTHING",
        {
            "id": line_id or new_id(),
            "who": who,
            "via": via,
            "action": action,
            "what": what,
            "was": _text(before),
            "became": _text(after),
        },
    )


@dataclass(slots=True)
class Elsewhere:
    """A change that this database does not hold, and what is known of it."""

    store: database.Database
    line: Note
    known: dict[str, object]
    after: object = None
    """What became; what is `known` where nothing else is said."""
    is_begun: bool = False

    def begin(self) -> None:
        """Write that the change begins, before anything of it is done; a second time, nothing."""
        if not self.is_begun:
            self.write(f"begin to {self.line.action}", self.known)
            self.is_begun = True

    def write(self, action: str, after: object) -> None:
        """Write a line; its id is always a new one, since what is done again elsewhere is done twice."""
        replace(self.line, action=action, after=after or None, id=secrets.token_hex(12)).write(self.store)


@contextlib.contextmanager
def around(store: database.Database, line: Note, **known: object) -> Iterator[Elsewhere]:
    """Tell of a change elsewhere that the block makes: `begin to ...` before it, and after it the line.

    What fails has `fail to ...` and the error as its second line, and whether its answer was lost; what is refused
    before `begin` has none. Killed in between, the first one is there alone.
    """
    made = Elsewhere(store, line, known)
    try:
        yield made
    except Exception as error:
        if made.is_begun:
            lost = {"answer": "lost"} if isinstance(error, LOST) else {}
            with contextlib.suppress(errors.StoreError):  # what went wrong matters more
                # What is not ours to say may quote somebody's data.
                said = str(error) if isinstance(error, errors.TidegateError) else type(error).__name__
                made.write(f"fail to {line.action}", {**made.known, "error": said, **lost})
        raise
    made.write(line.action, made.known if made.after is None else made.after)


def noted(session: database.Session, line_id: str) -> bool:
    """Is a line written? Then the work that it belongs to was done, and its answer lost."""
    return session.one("SELECT number FROM trail WHERE id = :id", {"id": line_id}) is not None


def listed(
    store: database.Database,
    *,
    who: str = "",
    action: str = "",
    what: str = "",
    search: str = "",
    since: float | None = None,
    until: float | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Line]:
    """Lines, the newest first; `before` is the number of the last one seen, for the next page.

    `what` is an object (`pulls.everything`) or a kind (`pulls`, everything in it); `search` finds a part of who,
    action and what, whatever its case.
    """
    conditions, given = ["1 = 1"], dict[str, object](limit=limit)
    if who:
        conditions.append("who = :who")
        given["who"] = who
    if action:
        conditions.append("action = :action")
        given["action"] = action
    if what:
        conditions.append("(what = :what OR what LIKE :inside ESCAPE '!')")
        given |= {"what": what, "inside": _escaped(what) + ".%"}
    if search:
        conditions.append(
            "(lower(who) LIKE :search ESCAPE '!' OR lower(action) LIKE :search ESCAPE '!' "
            "OR lower(what) LIKE :search ESCAPE '!')"
        )
        given["search"] = f"%{_escaped(search.lower())}%"
    if since is not None:
        conditions.append("at >= :since")
        given["since"] = since
    if until is not None:
        conditions.append("at < :until")
        given["until"] = until
    if before is not None:
        conditions.append("number < :before")
        given["before"] = before
    rows = store.execute(
        f"SELECT number, at, who, via, action, what, was, became FROM trail "
        f"WHERE {' AND '.join(conditions)} ORDER BY number DESC LIMIT :limit",
        given,
    )
    return [_line(row) for row in rows]


def get(store: database.Database, number: int) -> Line | None:
    """One line."""
    row = store.one(
        "SELECT number, at, who, via, action, what, was, became FROM trail WHERE number = :number",
        {"number": number},
    )
    return None if row is None else _line(row)


def actions(store: database.Database) -> list[str]:
    """The actions that there are lines of."""
    rows = store.execute("SELECT DISTINCT action FROM trail ORDER BY action")
    return [row["action"] for row in rows]


def each(store: database.Database, **filters: Any) -> Iterator[Line]:
    """All lines that `listed` would find, the newest first, page by page."""
    before: int | None = None
    while page := listed(store, **filters, before=before, limit=STEP):
        yield from page
        before = page[-1].number


def prune(store: database.Database, older: float = KEPT) -> int:
    """Remove up to `STEP` lines that are older than so many seconds; says how many."""
    return len(
        store.execute(
            "DELETE FROM trail WHERE number IN (SELECT number FROM trail WHERE at < (SELECT {now}) - :older "
            "ORDER BY at LIMIT :step) RETURNING number",
            {"older": older, "step": STEP},
        )
    )


def _line(row: database.Row) -> Line:
    was, became = (None if row[key] is None else json.loads(row[key]) for key in ("was", "became"))
    return Line(row["number"], row["at"], row["who"], row["via"], row["action"], row["what"], was, became)


def _escaped(text: str) -> str:
    return re.sub(r"([!%_])", r"!\1", text)


def _text(document: object) -> str | None:
    return None if document is None else json.dumps(_shortened(document))


def _shortened(document: object) -> object:
    if isinstance(document, str):
        return _KEY.sub(r"\1...\2", document)
    if isinstance(document, dict):
        return {str(key): _shortened(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [_shortened(value) for value in document]
    return document
