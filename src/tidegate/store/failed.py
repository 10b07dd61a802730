"""The quarantine of pipelines: rows that could not be shaped, by their ids, with the reason and what was given.

The warehouse knows which rows failed, together with the records (`customers.records.progress`); what stands here is
why. It is written before the warehouse is, and what the warehouse does not call failed afterwards is taken out.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass

from tidegate.store import database

STEP = 500
"""Rows of one transaction, so that others get their turn."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A row that failed; times are unix seconds of the database's clock, set when it is kept."""

    pipeline: str
    account: str
    source_id: str
    version: int
    shape: str
    property: str
    why: str
    said: str
    line: int | None
    payload: str
    run: str
    attempts: int = 1
    first_at: float = 0.0
    last_at: float = 0.0


def keep(store: database.Database, failed: Iterable[Failed]) -> None:
    """Keep rows, each in the place of what was kept of it; the same again count as the same attempt."""
    rest = iter(failed)
    while some := list(itertools.islice(rest, STEP)):
        rows = [
            {name: value for name, value in asdict(each).items() if name not in _COUNTED} for each in some
        ]

        def work(session: database.Session, rows: Sequence[database.Parameters] = rows) -> None:
            session.each(_KEEP, rows)

        store.transact(work)


def settle(store: database.Database, pipeline: str, still: Collection[tuple[str, str]]) -> int:
    """Take out the rows that are not among `still`, accounts and ids; says how many."""
    known = {
        (row["account"], row["source_id"])
        for row in store.execute(
            "SELECT account, source_id FROM failed_records WHERE pipeline = :pipeline", {"pipeline": pipeline}
        )
    }
    gone = sorted(known.difference(still))
    for start in range(0, len(gone), STEP):
        rows = [
            {"pipeline": pipeline, "account": account, "source_id": source_id}
            for account, source_id in gone[start : start + STEP]
        ]

        def work(session: database.Session, rows: Sequence[database.Parameters] = rows) -> None:
            session.each(
                "DELETE FROM failed_records WHERE pipeline = :pipeline AND account = :account "
                "AND source_id = :source_id",
                rows,
            )

        store.transact(work)
    return len(gone)


def listed(
    store: database.Database, pipeline: str, limit: int, after: int = 0, search: str = ""
) -> list[Failed]:
    """Rows that failed, the latest first, `after` so many; see `count` for `search`."""
    where, parameters = _where(pipeline, search)
    rows = store.execute(
        f"SELECT * FROM failed_records WHERE {where} "
        "ORDER BY last_at DESC, account, source_id LIMIT :limit OFFSET :after",
        {**parameters, "limit": limit, "after": after},
    )
    return [Failed(**row) for row in rows]


def get(store: database.Database, pipeline: str, account: str, source_id: str) -> Failed | None:
    """One row."""
    row = store.one(
        "SELECT * FROM failed_records WHERE pipeline = :pipeline AND account = :account AND source_id = :id",
        {"pipeline": pipeline, "account": account, "id": source_id},
    )
    return None if row is None else Failed(**row)


def count(store: database.Database, pipeline: str, search: str = "") -> int:
    """How many rows of a pipeline failed; with `search`, of this id or property, or for this reason."""
    where, parameters = _where(pipeline, search)
    row = store.one(f"SELECT count(*) AS n FROM failed_records WHERE {where}", parameters)
    assert row is not None, "An aggregate has a row."
    return int(row["n"])


def _where(pipeline: str, search: str) -> tuple[str, dict[str, object]]:
    if not search:
        return "pipeline = :pipeline", {"pipeline": pipeline}
    text = search.lower().replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return (
        "pipeline = :pipeline AND (source_id = :exact OR property = :exact OR lower(why) LIKE :part ESCAPE '!')",
        {"pipeline": pipeline, "exact": search, "part": f"%{text}%"},
    )


def oldest(
    store: database.Database,
    pipeline: str = "",
    *,
    search: str = "",
    limit: int = 100,
    after: tuple[float, str, str, str] | None = None,
) -> list[Failed]:
    """Rows that failed, of one pipeline or of all, in the order in which they did the first time.

    `after` is the first_at, pipeline, account and source_id of the last one seen; `search` is how an id begins, or
    in the reason. What was given, and what was said of it, stays away.
    """
    where, given = ["1 = 1"], dict[str, object](limit=limit)
    if pipeline:
        where.append("pipeline = :pipeline")
        given["pipeline"] = pipeline
    if search:
        where.append("(substr(source_id, 1, :length) = :search OR lower(why) LIKE :like ESCAPE '!')")
        like = "".join(f"!{each}" if each in "!%_" else each for each in search.lower())
        given |= {"search": search, "length": len(search), "like": f"%{like}%"}
    if after is not None:
        where.append("(first_at, pipeline, account, source_id) > (:at, :of, :account, :id)")
        given |= {"at": after[0], "of": after[1], "account": after[2], "id": after[3]}
    rows = store.execute(
        "SELECT pipeline, account, source_id, version, shape, property, why, '' AS said, line, '' AS payload, run, "
        f"attempts, first_at, last_at FROM failed_records WHERE {' AND '.join(where)} "
        "ORDER BY first_at, pipeline, account, source_id LIMIT :limit",
        given,
    )
    return [Failed(**row) for row in rows]


def counts(store: database.Database) -> dict[str, int]:
    """How many rows stand in quarantine, by pipeline."""
    rows = store.execute(
        "SELECT pipeline, count(*) AS n FROM failed_records GROUP BY pipeline ORDER BY pipeline"
    )
    return {row["pipeline"]: row["n"] for row in rows}


def forget(
    store: database.Database, ids: Collection[str], *, account: str = "", dry_run: bool = False
) -> int:
    """Take out the rows of these customers and every row that names one of them; says how many.

    Whatever pipeline read them, of any account unless one is given. All that is kept is read once, so that rows of
    other streams, a charge of theirs, go by what their payload says.
    """
    chosen, done = frozenset(ids), 0
    after: database.Parameters = {
        "pipeline": "",
        "own": "",
        "source_id": "",
        "account": account,
        "limit": STEP,
    }
    while rows := store.execute(_PAGE, after):
        after = {**after, **{key: rows[-1][key] for key in ("pipeline", "own", "source_id")}}
        theirs = [
            {key: row[key] for key in ("pipeline", "own", "source_id")}
            for row in rows
            if row["source_id"] in chosen or not chosen.isdisjoint(_WORD.findall(row["payload"]))
        ]
        done += len(theirs)
        if theirs and not dry_run:

            def work(session: database.Session, theirs: Sequence[database.Parameters] = theirs) -> None:
                session.each(
                    "DELETE FROM failed_records WHERE pipeline = :pipeline AND account = :own "
                    "AND source_id = :source_id",
                    theirs,
                )

            store.transact(work)
    return done


_WORD = re.compile(r"\w+")
"""Ids of Stripe's are words, wherever in a text they stand."""
_PAGE = (
    "SELECT pipeline, account AS own, source_id, payload FROM failed_records "
    "WHERE (:account = '' OR account = :account) AND (pipeline > :pipeline OR (pipeline = :pipeline "
    "AND (account > :own OR (account = :own AND source_id > :source_id)))) "
    "ORDER BY pipeline, account, source_id LIMIT :limit"
)
_COUNTED = ("attempts", "first_at", "last_at")
_KEEP = (
    "INSERT INTO failed_records (pipeline, account, source_id, version, shape, property, why, said, line, payload, "
    "run, attempts, first_at, last_at) VALUES (:pipeline, :account, :source_id, :version, :shape, :property, :why, "
    ":said, :line, :payload, :run, 1, {now}, {now}) ON CONFLICT (pipeline, account, source_id) DO UPDATE SET "
    "version = excluded.version, shape = excluded.shape, property = excluded.property, why = excluded.why, "
    "said = excluded.said, line = excluded.line, payload = excluded.payload, last_at = excluded.last_at, "
    "attempts = failed_records.attempts + CASE WHEN failed_records.run = excluded.run THEN 0 ELSE 1 END, "
    "run = excluded.run"
)
