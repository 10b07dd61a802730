"""Which records a resolution must look at, and which values too many records share.

All of them; or, when it is known which records changed, the changed ones with everything that is or was linked to
them. What was linked stands in the components of the last resolution, and what is linked now shares a value with a
changed record, so that one step each way reaches all of it.
"""

from __future__ import annotations

from tidegate.customers import linking
from tidegate.customers import space as spaces
from tidegate.customers.names import Names
from tidegate.customers.rules import Rules
from tidegate.customers.space import NUMBER, TEXT

SHARED = {"lvl": NUMBER, "value": TEXT, "records": NUMBER}
ONE = {"record": TEXT}


def everything(space: spaces.Space, names: Names, rules: Rules, more: str = "") -> None:
    """Make `scope` (record, n), `raw` and `shared` of all live records, and `gone` (record) of those that left.

    `more`: see `linking.read`.
    """
    records = space.script.name(names.records().name)
    _number(space, f"SELECT record FROM {records} WHERE _deleted_at IS NULL")
    linking.read(space, names, more)
    space.fill(
        "shared",
        SHARED,
        ("lvl", "value"),
        f"SELECT lvl, value, count(*) AS records FROM {space['raw']} GROUP BY lvl, value "
        f"HAVING count(*) > {rules.max_cluster}",
    )
    _leave(space, names, "")


def changed(space: spaces.Space, names: Names, rules: Rules) -> None:
    """The same for what the work table `changed` (record) concerns; adds records of decisions not yet resolved."""
    script = space.script
    members, identifiers = script.name(names.members.name), script.name(names.identifiers.name)
    decisions, live = script.name(names.decisions.name), script.name(names.records().name)
    _share(space, names, rules)
    known = _ranked(script.name(names.shared.name), space)
    # Values that link again since fewer records have them; who lost one is among the changed, who kept it is not.
    space.fill(
        "freed",
        {"lvl": NUMBER, "value": TEXT},
        ("lvl", "value"),
        f"SELECT k.lvl, k.value FROM {known} AS k LEFT JOIN {space['shared']} AS x "
        "ON x.lvl = k.lvl AND x.value = k.value WHERE x.lvl IS NULL",
    )
    # A value that too many have, and had before, links nothing and never did.
    space.fill(
        "linking",
        {"lvl": NUMBER, "value": TEXT},
        ("lvl", "value"),
        f"SELECT c.lvl, c.value FROM {space['candidates']} AS c "
        f"LEFT JOIN (SELECT k.lvl, k.value FROM {known} AS k JOIN {space['shared']} AS x "
        "ON x.lvl = k.lvl AND x.value = k.value) AS q ON q.lvl = c.lvl AND q.value = c.value WHERE q.lvl IS NULL "
        f"UNION SELECT lvl, value FROM {space['freed']}",
    )
    space.fill(
        "near",
        ONE,
        ("record",),
        f"SELECT record FROM {space['changed']} UNION SELECT i.record FROM {identifiers} AS i "
        f"JOIN {space['rules']} AS r ON r.kind = i.kind JOIN {space['linking']} AS v "
        "ON v.lvl = r.lvl AND v.value = i.value WHERE i._deleted_at IS NULL "
        + "".join(
            f"UNION SELECT d.{one} AS record FROM {decisions} AS d JOIN {space['changed']} AS c "
            f"ON c.record = d.{other} WHERE d.kind = 'together' AND d.withdrawn_at IS NULL "
            for one, other in (("record", "other"), ("other", "record"))
        ),
    )
    space.fill(
        "components_before",
        {"component": TEXT},
        ("component",),
        f"SELECT DISTINCT m.component FROM {members} AS m JOIN {space['near']} AS n ON n.record = m.record "
        "WHERE m.component IS NOT NULL",
    )
    space.fill(
        "reach",
        ONE,
        ("record",),
        f"SELECT record FROM {space['near']} UNION SELECT m.record FROM {members} AS m "
        f"JOIN {space['components_before']} AS c ON c.component = m.component",
    )
    _number(
        space,
        f"SELECT q.record FROM {live} AS q JOIN {space['reach']} AS r ON r.record = q.record "
        "WHERE q._deleted_at IS NULL",
    )
    linking.read(space, names)
    _leave(space, names, f"JOIN {space['reach']} AS r ON r.record = m.record ")
    space.drop("candidates", "freed", "linking", "near", "components_before", "reach")


def add_decided(space: spaces.Space, names: Names, given: str) -> None:
    """Make `changed` (record) of the records of a work table and of decisions that have not shown yet."""
    decisions = space.script.name(names.decisions.name)
    space.fill(
        "changed",
        ONE,
        ("record",),
        f"SELECT record FROM {given} WHERE record IS NOT NULL "
        + "".join(
            f"UNION SELECT {one} AS record FROM {decisions} WHERE resolved_at IS NULL AND {one} IS NOT NULL "
            for one in ("record", "other")
        ),
    )


def _share(space: spaces.Space, names: Names, rules: Rules) -> None:
    """`candidates` (lvl, value) that may have become shared by too many, or no longer; `shared` that are."""
    script = space.script
    identifiers, live = script.name(names.identifiers.name), script.name(names.records().name)
    space.fill(
        "candidates",
        {"lvl": NUMBER, "value": TEXT},
        ("lvl", "value"),
        f"SELECT r.lvl, i.value FROM {identifiers} AS i JOIN {space['changed']} AS c ON c.record = i.record "
        f"JOIN {space['rules']} AS r ON r.kind = i.kind WHERE i._deleted_at IS NULL AND i.value IS NOT NULL "
        f"UNION SELECT k.lvl, k.value FROM {_ranked(script.name(names.shared.name), space)} AS k",
    )
    space.fill(
        "shared",
        SHARED,
        ("lvl", "value"),
        f"SELECT v.lvl, v.value, count(DISTINCT i.record) AS records FROM {identifiers} AS i "
        f"JOIN {space['rules']} AS r ON r.kind = i.kind "
        f"JOIN {space['candidates']} AS v ON v.lvl = r.lvl AND v.value = i.value "
        f"JOIN {live} AS q ON q.record = i.record WHERE i._deleted_at IS NULL AND q._deleted_at IS NULL "
        f"GROUP BY v.lvl, v.value HAVING count(DISTINCT i.record) > {rules.max_cluster}",
    )


def _ranked(shared: str, space: spaces.Space) -> str:
    """The values that were shared by too many at the last resolution, with their levels, to select from."""
    return f"(SELECT r.lvl, s.value FROM {shared} AS s JOIN {space['rules']} AS r ON r.kind = s.kind)"


def _number(space: spaces.Space, query: str) -> None:
    """Records by number, in the order of their keys; `keys` (n, record) is the same, to be found by the number."""
    space.fill(
        "scope",
        {"record": TEXT, "n": NUMBER},
        ("record",),
        f"SELECT q.record, row_number() OVER (ORDER BY q.record) AS n FROM ({query}) AS q",
    )
    space.fill("keys", {"n": NUMBER, "record": TEXT}, ("n",), f"SELECT n, record FROM {space['scope']}")


def _leave(space: spaces.Space, names: Names, join: str) -> None:
    """Members that are no longer live."""
    space.fill(
        "gone",
        ONE,
        ("record",),
        f"SELECT m.record FROM {space.script.name(names.members.name)} AS m {join}"
        f"LEFT JOIN {space['scope']} AS s ON s.record = m.record WHERE m.left_at IS NULL AND s.record IS NULL",
    )
