"""Which id each cluster has: ids stay with customers, whatever is merged, split or taken back.

From `scope`, `clusters`, `components` and `gone`, and from what the tables kept of the last time:

- Ids in use come first, then former ones; among them the older is first. Each in its turn goes to the cluster that
  has most of its records, counting those that it was given to before those that it got by merges; of equal ones to
  that whose oldest record is older, and then to the smaller key. A cluster has one id, so the oldest stays with a
  merge, and the part of a split that is left without one may get back what its records had before they were merged.
- Who is left without an id gets a new one, which depends on the key of the cluster's first record alone.
- An id that is no longer used leads to the profile that has most of the records which had it; afterwards to the one
  that has most of those which would get it back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pyarrow as pa

from tidegate.customers import space as spaces
from tidegate.customers.names import Names
from tidegate.customers.space import NUMBER, TEXT, TIME

GIVEN = {"c": NUMBER, "id": TEXT}
CLAIMS = {"c": NUMBER, "id": TEXT, "place": NUMBER}
ONE = {"id": TEXT}
PAGE = 50_000
"""New ids that are made at a time."""


def new(record: str, attempt: int = 0) -> str:
    """The id of a profile whose first record has this key; `attempt` counts ids that were given already."""
    salted = f"{record}#{attempt}" if attempt else record
    return "cup_" + hashlib.md5(salted.encode(), usedforsecurity=False).hexdigest()[:20]


def claim(space: spaces.Space, names: Names) -> None:
    """Make `votes` (c, id, held, own, records, since, n): which clusters have records that have or had an id.

    `held` counts those that have it, `own` those of them that were given it.
    """
    members = space.script.name(names.members.name)
    mine = (
        f"{members} AS m JOIN {space['scope']} AS s ON s.record = m.record "
        f"JOIN {space['clusters']} AS k ON k.n = s.n"
    )
    space.fill(
        "votes",
        {
            "c": NUMBER,
            "id": TEXT,
            "held": NUMBER,
            "own": NUMBER,
            "records": NUMBER,
            "since": TIME,
            "n": NUMBER,
        },
        ("c", "id"),
        "SELECT q.c, q.id, CAST(sum(q.held) AS BIGINT) AS held, CAST(sum(q.own) AS BIGINT) AS own, "
        "count(*) AS records, min(q.since) AS since, min(q.n) AS n FROM ("
        "SELECT k.c, m.profile_id AS id, CASE WHEN m.left_at IS NULL THEN 1 ELSE 0 END AS held, "
        "CASE WHEN m.left_at IS NULL AND m.home = m.profile_id THEN 1 ELSE 0 END AS own, m.since, s.n "
        f"FROM {mine} UNION ALL SELECT k.c, m.home AS id, 0 AS held, 0 AS own, m.since, s.n "
        f"FROM {mine} WHERE m.home <> m.profile_id) AS q GROUP BY q.c, q.id",
    )


def give(space: spaces.Space, names: Names, *, whole: bool) -> None:
    """Make `given` (c, id), an id for each cluster, `born` (id) of those that are new, and `busy` (id).

    `busy` are those ids, of the ones that records in scope have or had, that live records out of scope have; none
    if the scope is `whole`.
    """
    script = space.script
    registered = script.name(names.ids.name)
    space.make("busy", ONE, ("id",))
    if not whole:
        _look_beyond(space, script.name(names.members.name))
    space.fill(
        "claims0",
        CLAIMS,
        ("c", "id"),
        "SELECT v.c, v.id, row_number() OVER (ORDER BY CASE WHEN v.held > 0 THEN 0 ELSE 1 END, i.born_at, v.id, "
        "v.own DESC, v.held DESC, v.records DESC, v.since, v.n) AS place "
        f"FROM {space['votes']} AS v JOIN {registered} AS i ON i.profile_id = v.id "
        f"LEFT JOIN {space['busy']} AS b ON b.id = v.id WHERE b.id IS NULL",
    )
    space.make("given", GIVEN, ("c",))
    _match(space)
    _bear(space, registered)


def _look_beyond(space: spaces.Space, members: str) -> None:
    """Fill `busy`."""
    space.fill(
        "had",
        ONE,
        ("id",),
        f"SELECT id FROM {space['votes']} "
        + " ".join(
            f"UNION SELECT m.{column} AS id FROM {members} AS m JOIN {space['gone']} AS g ON g.record = m.record"
            for column in ("profile_id", "home")
        ),
    )
    space.script.execute(
        f"INSERT INTO {space['busy']} (id) SELECT DISTINCT m.profile_id AS id FROM {members} AS m "
        f"JOIN {space['had']} AS h ON h.id = m.profile_id "
        f"LEFT JOIN {space['scope']} AS s ON s.record = m.record "
        f"LEFT JOIN {space['gone']} AS g ON g.record = m.record "
        "WHERE m.left_at IS NULL AND s.record IS NULL AND g.record IS NULL"
    )
    space.drop("had")


def _match(space: spaces.Space) -> None:
    """Give ids in the order of the claims' places: first those claims that come first for their id and cluster."""
    given, turn = space["given"], 0
    while space.count(f"claims{turn}"):
        claims = space[f"claims{turn}"]
        space.fill(
            "won",
            GIVEN,
            ("c",),
            f"SELECT a.c, b.id FROM (SELECT c, min(place) AS place FROM {claims} GROUP BY c) AS a "
            f"JOIN (SELECT id, min(place) AS place FROM {claims} GROUP BY id) AS b ON b.place = a.place",
        )
        won = space["won"]
        space.script.execute(f"INSERT INTO {given} (c, id) SELECT c, id FROM {won}")
        space.fill("taken_ids", ONE, ("id",), f"SELECT id FROM {won}")
        space.fill(
            f"claims{turn + 1}",
            CLAIMS,
            ("c", "id"),
            f"SELECT q.c, q.id, q.place FROM {claims} AS q LEFT JOIN {won} AS a ON a.c = q.c "
            f"LEFT JOIN {space['taken_ids']} AS b ON b.id = q.id WHERE a.c IS NULL AND b.id IS NULL",
        )
        space.drop(f"claims{turn}", "won", "taken_ids")
        turn += 1
    space.drop(f"claims{turn}")


def _bear(space: spaces.Space, registered: str) -> None:
    """New ids for clusters without one; what was ever given to another is not given again."""
    script, given = space.script, space["given"]
    space.make("born", {"id": TEXT}, ("id",))
    missing = {"c": NUMBER, "record": TEXT}
    space.fill(
        "nameless",
        missing,
        ("c",),
        f"SELECT s.n AS c, s.record FROM {space['scope']} AS s JOIN {space['clusters']} AS k "
        f"ON k.n = s.n AND k.c = s.n LEFT JOIN {given} AS g ON g.c = s.n WHERE g.c IS NULL",
    )
    attempt, left = 0, space.count("nameless")
    while left:
        _propose(space, attempt)
        space.fill(
            "fresh",
            GIVEN,
            ("c",),
            f"SELECT p.c, p.id FROM {space['proposed']} AS p "
            f"JOIN (SELECT id, min(c) AS c FROM {space['proposed']} GROUP BY id) AS q ON q.c = p.c "
            f"LEFT JOIN {registered} AS i ON i.profile_id = p.id LEFT JOIN {space['born']} AS b ON b.id = p.id "
            "WHERE i.profile_id IS NULL AND b.id IS NULL",
        )
        script.execute(f"INSERT INTO {given} (c, id) SELECT c, id FROM {space['fresh']}")
        script.execute(f"INSERT INTO {space['born']} (id) SELECT id FROM {space['fresh']}")
        script.execute(f"DELETE FROM {space['nameless']} WHERE c IN (SELECT c FROM {space['fresh']})")
        space.drop("proposed", "fresh")
        attempt, left = attempt + 1, space.count("nameless")
    space.drop("nameless")


def _propose(space: spaces.Space, attempt: int) -> None:
    """`proposed` (c, id) for the nameless, page by page."""
    proposed, last = space.make("proposed", GIVEN, ("c",)), 0
    while True:
        rows = space.script.rows(
            f"SELECT c, record FROM {space['nameless']} WHERE c > {last} ORDER BY c LIMIT {PAGE}"
        )
        if not rows:
            return
        last = int(rows[-1][0])
        page: Mapping[str, pa.Array] = {
            "c": pa.array([int(c) for c, _ in rows], pa.int64()),
            "id": pa.array([new(record, attempt) for _, record in rows], pa.string()),
        }
        space.script.append(proposed, pa.table(page))
