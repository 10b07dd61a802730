"""Records that are one customer, by the rules (`rules.Rules`), inside the warehouse.

Works over the work tables `scope` (record, n) of the records to look at, which must hold everything that any of
them is linked to, `rules` (kind, lvl), and `shared` (lvl, value, records) of the values that link nothing. Records
are numbers here, in the order of their keys; a cluster is the smallest number in it, a value is one beyond them.
"""

from __future__ import annotations

from tidegate.customers import components, decisions
from tidegate.customers import space as spaces
from tidegate.customers.names import Names
from tidegate.customers.rules import Rules
from tidegate.customers.space import NUMBER, TEXT

CLUSTERS = {"n": NUMBER, "c": NUMBER}
PARTS = {"v": NUMBER, "c": NUMBER}
PAIRS = {"v": NUMBER, "w": NUMBER}
HELD = {"n": NUMBER, "lvl": NUMBER, "cause": TEXT, "c": NUMBER, "records": NUMBER}
BY_HAND = -1
"""The level of what was merged by hand, before all identifiers."""


def read(space: spaces.Space, names: Names, more: str = "") -> None:
    """Make `raw` (lvl, value, n): the live values of the records in scope, for the identifiers of the rules.

    `more` names a work table (record, kind, value) whose kinds are taken from there alone.
    """
    stored = (
        f"SELECT record, kind, value FROM {space.script.name(names.identifiers.name)} "
        "WHERE _deleted_at IS NULL AND value IS NOT NULL"
    )
    if more:
        own = f"SELECT DISTINCT kind FROM {space[more]}"
        stored += f" AND kind NOT IN ({own}) UNION ALL SELECT record, kind, value FROM {space[more]}"
    space.fill(
        "raw",
        {"lvl": NUMBER, "value": TEXT, "n": NUMBER},
        ("lvl", "value", "n"),
        f"SELECT DISTINCT r.lvl, i.value, s.n FROM ({stored}) AS i "
        f"JOIN {space['scope']} AS s ON s.record = i.record JOIN {space['rules']} AS r ON r.kind = i.kind",
    )


def cluster(space: spaces.Space, names: Names, rules: Rules) -> None:
    """Make `clusters` (n, c), `components` (n, c) and `held` (n, lvl, cause, c, records); `raw` is used up.

    Records of one component are linked by some value that is not shared too widely, or by hand, at least through
    others; clusters are parts of components.
    """
    _Clustering(space, names).run(rules)


class _Clustering:
    """One way through all levels; `clusters` is the work table of the last that was done."""

    def __init__(self, space: spaces.Space, names: Names) -> None:
        self.space = space
        self.decided = decisions.numbered(space, names)
        self.records = spaces.number(space.script, f"SELECT max(n) AS n FROM {space['scope']}")
        self.clusters = ""

    def run(self, rules: Rules) -> None:
        """All levels, then the components."""
        space = self.space
        space.make("held", HELD, ("n", "lvl"))
        self._number_values()
        self.clusters = "by_record"
        space.fill("by_record", CLUSTERS, ("n",), f"SELECT n, n AS c FROM {space['scope']}")
        if "together" in self.decided:
            space.fill("hands", PAIRS, ("v", "w"), f"SELECT n AS v, m AS w FROM {space['together']}")
            self._level(BY_HAND, "hands", components.MOST)
        for level in range(rules.table().num_rows):
            self._meet("graph", f"WHERE l.lvl = {level}", "alone" in self.decided)
            self._level(level, "graph", rules.max_cluster)
        space.fill("clusters", CLUSTERS, ("n",), f"SELECT n, c FROM {space[self.clusters]}")
        self._components()
        space.drop(self.clusters, "links", *self.decided)

    def _number_values(self) -> None:
        """`links` (lvl, v, n): who has which value; only values that link."""
        space = self.space
        space.fill(
            "numbers",
            {"lvl": NUMBER, "value": TEXT, "v": NUMBER},
            ("lvl", "value"),
            f"SELECT q.lvl, q.value, {self.records} + row_number() OVER (ORDER BY q.lvl, q.value) AS v FROM ("
            f"SELECT r.lvl, r.value FROM {space['raw']} AS r LEFT JOIN {space['shared']} AS x "
            "ON x.lvl = r.lvl AND x.value = r.value WHERE x.lvl IS NULL GROUP BY r.lvl, r.value "
            "HAVING count(*) > 1) AS q",
        )
        space.fill(
            "links",
            {"lvl": NUMBER, "v": NUMBER, "n": NUMBER},
            ("lvl", "v", "n"),
            f"SELECT r.lvl, q.v, r.n FROM {space['raw']} AS r JOIN {space['numbers']} AS q "
            "ON q.lvl = r.lvl AND q.value = r.value",
        )
        space.drop("numbers", "raw")

    def _meet(self, to: str, where: str, without_alone: bool) -> None:
        """A graph (v, w): clusters, and the values that at least two of them share."""
        space, join = self.space, ""
        if without_alone:
            join, where = f"LEFT JOIN {space['alone']} AS a ON a.n = l.n", f"{where} AND a.n IS NULL"
        pairs = space.fill(
            "pairs",
            PAIRS,
            ("w", "v"),
            f"SELECT DISTINCT k.c AS v, l.v AS w FROM {space['links']} AS l "
            f"JOIN {space[self.clusters]} AS k ON k.n = l.n {join} {where}",
        )
        space.fill(
            to,
            PAIRS,
            ("v", "w"),
            f"SELECT p.v, p.w FROM {pairs} AS p JOIN (SELECT w FROM {pairs} GROUP BY w HAVING count(*) > 1) AS q "
            "ON q.w = p.w",
        )
        space.drop("pairs")

    def _level(self, level: int, graph: str, most: int) -> None:
        """Join clusters along a graph, which is used up, but for those that must not be."""
        space, before = self.space, self.space[self.clusters]
        if not space.count(graph):
            space.drop(graph)
            return
        joined = self._joined(graph, "joined")
        if "apart" in self.decided:
            joined = self._parted(level, graph, joined)
        big = space.fill(
            "big",
            {"c": NUMBER, "records": NUMBER},
            ("c",),
            f"SELECT t.c, count(*) AS records FROM {before} AS k JOIN {space[joined]} AS t ON t.v = k.c "
            f"GROUP BY t.c HAVING count(*) > {most}",
        )
        self._hold(
            f"SELECT k.n, {level} AS lvl, 'size' AS cause, t.c, b.records FROM {before} AS k "
            f"JOIN {space[joined]} AS t ON t.v = k.c JOIN {big} AS b ON b.c = t.c"
        )
        after = f"after_{level + 1}"
        space.fill(
            after,
            CLUSTERS,
            ("n",),
            f"SELECT k.n, CASE WHEN b.c IS NULL THEN coalesce(t.c, k.c) ELSE k.c END AS c FROM {before} AS k "
            f"LEFT JOIN {space[joined]} AS t ON t.v = k.c LEFT JOIN {big} AS b ON b.c = t.c",
        )
        space.drop(self.clusters, graph, joined, "big")
        self.clusters = after

    def _joined(self, graph: str, to: str) -> str:
        """`to` (v, c): clusters that become one have the same c, the smallest of them."""
        space = self.space
        components.found(space, space[graph], "part")
        part = space["part"]
        space.fill(
            to,
            PARTS,
            ("v",),
            f"SELECT p.v, q.c FROM {part} AS p JOIN (SELECT c AS part, min(v) AS c FROM {part} "
            f"WHERE v <= {self.records} GROUP BY c) AS q ON q.part = p.c WHERE p.v <= {self.records}",
        )
        space.drop("part")
        return to

    def _parted(self, level: int, graph: str, joined: str) -> str:
        """Take the clusters of records that were taken away out of what they would be joined to, and join anew."""
        space, before = self.space, self.space[self.clusters]
        space.fill(
            "taken",
            {"v": NUMBER, "c": NUMBER},
            ("v",),
            f"SELECT DISTINCT t.v, t.c FROM {space['apart']} AS a "
            f"JOIN {before} AS k ON k.n = a.n JOIN {before} AS l ON l.n = a.m "
            f"JOIN {space[joined]} AS t ON t.v = k.c JOIN {space[joined]} AS u ON u.v = l.c WHERE t.c = u.c",
        )
        taken = space["taken"]
        if not space.count("taken"):
            space.drop("taken")
            return joined
        self._hold(
            f"SELECT k.n, {level} AS lvl, 'apart' AS cause, t.c, 0 AS records FROM {before} AS k "
            f"JOIN {taken} AS t ON t.v = k.c"
        )
        parted = f"(SELECT DISTINCT c FROM {taken})"
        space.fill(
            "rest",
            PAIRS,
            ("v", "w"),
            f"SELECT g.v, g.w FROM {space[graph]} AS g JOIN {space[joined]} AS t ON t.v = g.v "
            f"JOIN {parted} AS q ON q.c = t.c LEFT JOIN {taken} AS x ON x.v = g.v "
            f"LEFT JOIN {taken} AS y ON y.v = g.w WHERE x.v IS NULL AND y.v IS NULL",
        )
        self._joined("rest", "rejoined")
        space.fill(
            "left_joined",
            PARTS,
            ("v",),
            f"SELECT t.v, t.c FROM {space[joined]} AS t LEFT JOIN {parted} AS q ON q.c = t.c WHERE q.c IS NULL "
            f"UNION ALL SELECT v, c FROM {space['rejoined']}",
        )
        space.drop(joined, "taken", "rest", "rejoined")
        return "left_joined"

    def _hold(self, query: str) -> None:
        self.space.script.execute(f"INSERT INTO {self.space['held']} ({', '.join(HELD)}) {query}")

    def _components(self) -> None:
        """`components` (n, c): clusters, joined by whatever links them that was not used."""
        space = self.space
        self._meet("unused", "", without_alone=False)
        if "together" in self.decided:
            space.script.execute(
                f"INSERT INTO {space['unused']} (v, w) SELECT DISTINCT k.c AS v, l.c AS w "
                f"FROM {space['together']} AS t JOIN {space[self.clusters]} AS k ON k.n = t.n "
                f"JOIN {space[self.clusters]} AS l ON l.n = t.m WHERE k.c <> l.c"
            )
        joined = f"SELECT n, c FROM {space[self.clusters]}"
        if space.count("unused"):
            self._joined("unused", "whole")
            joined = (
                f"SELECT k.n, coalesce(t.c, k.c) AS c FROM {space[self.clusters]} AS k "
                f"LEFT JOIN {space['whole']} AS t ON t.v = k.c"
            )
        space.fill("components", CLUSTERS, ("n",), joined)
