"""What a resolution found, worked out in work tables as changes to the tables it keeps, then committed at once."""

from __future__ import annotations

from tidegate.customers import space as spaces
from tidegate.customers.linking import BY_HAND
from tidegate.customers.names import Names
from tidegate.customers.rules import Rules
from tidegate.customers.space import NUMBER, TEXT, TIME
from tidegate.warehouse import base

MEMBERS = {
    "record": TEXT,
    "profile_id": TEXT,
    "home": TEXT,
    "component": TEXT,
    "since": TIME,
    "left_at": TIME,
    "moved": NUMBER,
}
ALIASES = {"alias": TEXT, "profile_id": TEXT, "why": TEXT}
ONE = {"id": TEXT}


def work_out(space: spaces.Space, names: Names) -> None:
    """Make the changes from `scope`, `clusters`, `components`, `given`, `busy`, `votes`, `gone` and `changed`.

    They are `rows` of members, `turned` aliases, `dead` ids, ids of `used` profiles, `revived` ones, and `touch`.
    """
    _change_members(space, names)
    _change_aliases(space, names)
    _touch(space, names)


def commit(space: spaces.Space, names: Names, rules: Rules, fence: base.Fence | None, *, whole: bool) -> None:
    """Publish the changes, all in one transaction; raises Fenced when the fence no longer holds."""
    script = space.script
    members, registered = script.name(names.members.name), script.name(names.ids.name)
    aliases, held = script.name(names.aliases.name), script.name(names.held.name)
    shared, touched = script.name(names.shared.name), script.name(names.touched.name)
    decisions = script.name(names.decisions.name)
    columns = ", ".join(names.members.schema.names)
    now = f"(SELECT max(moment) FROM {space['clock']})"
    seen = f"SELECT decision FROM {space['seen']} WHERE withdrawn ="
    statements = [
        f"DELETE FROM {members} WHERE record IN (SELECT record FROM {space['rows']})",
        f"INSERT INTO {members} ({columns}) SELECT {columns} FROM {space['rows']}",
        # Records beyond the scope that would get an id back which somebody uses again.
        f"UPDATE {members} SET home = profile_id WHERE home <> profile_id "
        f"AND home IN (SELECT id FROM {space['revived']})",
        f"INSERT INTO {registered} (profile_id, born_at, gone_at) "
        f"SELECT b.id AS profile_id, c.moment AS born_at, NULL AS gone_at FROM {space['born']} AS b "
        f"CROSS JOIN {space['clock']} AS c",
        f"UPDATE {registered} SET gone_at = {now} WHERE gone_at IS NULL "
        f"AND profile_id IN (SELECT id FROM {space['dead']})",
        f"UPDATE {registered} SET gone_at = NULL WHERE gone_at IS NOT NULL "
        f"AND (profile_id IN (SELECT id FROM {space['used']}) "
        f"OR profile_id IN (SELECT alias FROM {space['turned']}))",
        f"DELETE FROM {aliases} WHERE alias IN (SELECT id FROM {space['used']})",
        f"DELETE FROM {aliases} WHERE alias IN (SELECT alias FROM {space['turned']})",
        f"INSERT INTO {aliases} (alias, profile_id, since, why) "
        f"SELECT t.alias, t.profile_id, c.moment AS since, t.why FROM {space['turned']} AS t "
        f"CROSS JOIN {space['clock']} AS c",
        f"DELETE FROM {shared}",
        f"INSERT INTO {shared} (kind, value, records) SELECT r.kind, s.value, s.records "
        f"FROM {space['shared']} AS s JOIN {space['rules']} AS r ON r.lvl = s.lvl",
        f"DELETE FROM {held}"
        if whole
        else f"DELETE FROM {held} WHERE record IN (SELECT record FROM {space['scope']}) "
        f"OR record IN (SELECT record FROM {space['gone']})",
        f"INSERT INTO {held} (record, kind, cause, cluster, records) "
        f"SELECT k.record, r.kind, h.cause, f.record AS cluster, h.records FROM {space['held']} AS h "
        f"JOIN {space['rules']} AS r ON r.lvl = h.lvl JOIN {space['keys']} AS k ON k.n = h.n "
        f"JOIN {space['keys']} AS f ON f.n = h.c WHERE h.lvl > {BY_HAND}",
        f"DELETE FROM {touched} WHERE profile_id IN (SELECT id FROM {space['touch']})",
        f"INSERT INTO {touched} (profile_id) SELECT id AS profile_id FROM {space['touch']}",
        f"UPDATE {decisions} SET resolved_at = {now} WHERE resolved_at IS NULL AND withdrawn_at IS NULL "
        f"AND decision IN ({seen} 0)",
        f"UPDATE {decisions} SET resolved_at = {now} WHERE resolved_at IS NULL AND withdrawn_at IS NOT NULL "
        f"AND decision IN ({seen} 1)",
    ]
    with script.transaction(fence):
        for statement in statements:
            script.execute(statement)
        script.put({names.state: rules.text()})


def _change_members(space: spaces.Space, names: Names) -> None:
    """`rows` of members as they are from now on, where they differ; `moved` is 1 where the profile does."""
    members = space.script.name(names.members.name)
    space.fill("used", ONE, ("id",), f"SELECT id FROM {space['given']}")
    space.fill("in_use", ONE, ("id",), f"SELECT id FROM {space['used']} UNION SELECT id FROM {space['busy']}")
    home = "CASE WHEN m.home IS NULL OR u.id IS NOT NULL THEN g.id ELSE m.home END"
    stayed = "m.record IS NOT NULL AND m.left_at IS NULL AND m.profile_id = g.id"
    space.fill(
        "rows",
        MEMBERS,
        ("record",),
        f"SELECT s.record, g.id AS profile_id, {home} AS home, f.record AS component, "
        f"CASE WHEN {stayed} THEN m.since ELSE t.moment END AS since, NULL AS left_at, "
        f"CASE WHEN {stayed} THEN 0 ELSE 1 END AS moved "
        f"FROM {space['scope']} AS s JOIN {space['clusters']} AS k ON k.n = s.n "
        f"JOIN {space['given']} AS g ON g.c = k.c JOIN {space['components']} AS q ON q.n = s.n "
        f"JOIN {space['keys']} AS f ON f.n = q.c CROSS JOIN {space['clock']} AS t "
        f"LEFT JOIN {members} AS m ON m.record = s.record LEFT JOIN {space['in_use']} AS u ON u.id = m.home "
        f"WHERE m.record IS NULL OR m.left_at IS NOT NULL OR m.profile_id <> g.id OR m.home <> {home} "
        "OR m.component IS NULL OR m.component <> f.record",
    )
    space.script.execute(
        f"INSERT INTO {space['rows']} ({', '.join(MEMBERS)}) "
        "SELECT m.record, m.profile_id, m.home, NULL AS component, m.since, t.moment AS left_at, 1 AS moved "
        f"FROM {members} AS m JOIN {space['gone']} AS g ON g.record = m.record CROSS JOIN {space['clock']} AS t"
    )
    space.fill(
        "revived",
        ONE,
        ("id",),
        f"SELECT g.id FROM {space['given']} AS g JOIN {space['votes']} AS v ON v.c = g.c AND v.id = g.id "
        "WHERE v.held = 0",
    )


def _change_aliases(space: spaces.Space, names: Names) -> None:
    """`former` (id) are ids that records had which now nobody uses; `heirs` (id, profile_id) where they lead."""
    members, aliases = space.script.name(names.members.name), space.script.name(names.aliases.name)
    registered = space.script.name(names.ids.name)
    changed = f"{members} AS m JOIN {space['rows']} AS w ON w.record = m.record"
    space.fill(
        "former",
        ONE,
        ("id",),
        "SELECT q.id FROM ("
        f"SELECT m.profile_id AS id FROM {changed} UNION SELECT m.home AS id FROM {changed}) AS q "
        f"LEFT JOIN {space['in_use']} AS u ON u.id = q.id WHERE u.id IS NULL",
    )
    # Where the records are that had the id until now; of none, those that would get it back; then those that left
    # with it and came back.
    found = (
        "SELECT f.id, m.profile_id, 1 AS turn, m.since, m.record "
        f"FROM {members} AS m JOIN {space['former']} AS f ON f.id = m.home "
        f"LEFT JOIN {space['rows']} AS w ON w.record = m.record WHERE m.left_at IS NULL AND w.record IS NULL "
        "UNION ALL SELECT f.id, w.profile_id, 1 AS turn, w.since, w.record "
        f"FROM {space['rows']} AS w JOIN {space['former']} AS f ON f.id = w.home WHERE w.left_at IS NULL "
        "UNION ALL SELECT f.id, w.profile_id, CASE WHEN m.left_at IS NULL THEN 0 ELSE 2 END AS turn, "
        "w.since, w.record "
        f"FROM {changed} JOIN {space['former']} AS f ON f.id = m.profile_id WHERE w.left_at IS NULL"
    )
    space.fill(
        "heirs",
        {"id": TEXT, "profile_id": TEXT},
        ("id",),
        "SELECT r.id, r.profile_id FROM (SELECT q.id, q.profile_id, row_number() OVER ("
        "PARTITION BY q.id ORDER BY q.turn, q.records DESC, q.since, q.record) AS place FROM ("
        "SELECT p.id, p.profile_id, p.turn, count(*) AS records, min(p.since) AS since, min(p.record) AS record "
        f"FROM ({found}) AS p GROUP BY p.id, p.profile_id, p.turn) AS q) AS r WHERE r.place = 1",
    )
    space.fill(
        "turned",
        ALIASES,
        ("alias",),
        "SELECT h.id AS alias, h.profile_id, CASE WHEN a.alias IS NULL THEN 'merged' ELSE 'moved' END AS why "
        f"FROM {space['heirs']} AS h LEFT JOIN {aliases} AS a ON a.alias = h.id "
        "WHERE a.alias IS NULL OR a.profile_id <> h.profile_id "
        "UNION ALL SELECT a.alias, h.profile_id, 'moved' AS why "
        f"FROM {aliases} AS a JOIN {space['heirs']} AS h ON h.id = a.profile_id "
        f"LEFT JOIN {space['heirs']} AS o ON o.id = a.alias LEFT JOIN {space['in_use']} AS u ON u.id = a.alias "
        "WHERE o.id IS NULL AND u.id IS NULL",
    )
    space.fill(
        "dead",
        ONE,
        ("id",),
        f"SELECT f.id FROM {space['former']} AS f JOIN {registered} AS i ON i.profile_id = f.id "
        f"LEFT JOIN {space['heirs']} AS h ON h.id = f.id LEFT JOIN {aliases} AS a ON a.alias = f.id "
        "WHERE h.id IS NULL AND a.alias IS NULL AND i.gone_at IS NULL",
    )


def _touch(space: spaces.Space, names: Names) -> None:
    """`touch` (id): all profiles, and former ones, whose records are others than before, or changed."""
    members = space.script.name(names.members.name)
    space.fill(
        "touch",
        ONE,
        ("id",),
        f"SELECT profile_id AS id FROM {space['rows']} WHERE moved = 1 "
        f"UNION SELECT m.profile_id AS id FROM {members} AS m "
        f"JOIN {space['rows']} AS w ON w.record = m.record WHERE w.moved = 1 "
        f"UNION SELECT alias AS id FROM {space['turned']} "
        f"UNION SELECT g.id FROM {space['changed']} AS c JOIN {space['scope']} AS s ON s.record = c.record "
        f"JOIN {space['clusters']} AS k ON k.n = s.n JOIN {space['given']} AS g ON g.c = k.c",
    )
