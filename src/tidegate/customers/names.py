"""The tables of the customer model: what they are called and what they hold.

All names derive from that of the table of profiles. The first two are written with the records, by
`Warehouse.load`; the others belong to the resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from tidegate.warehouse import base

LONGEST = 256
"""Characters of a record's key, and of a normalised value, at most: what MySQL can index three of."""

MOMENT = pa.timestamp("us", "UTC")


@dataclass(frozen=True, slots=True)
class Names:
    """The tables around a table of profiles, in the schema of the customer model."""

    profiles: str = "customer_profiles"

    def records(self, properties: Sequence[pa.Field] = ()) -> base.Table:
        """What each source record says: one row per record, live while `_deleted_at` is NULL.

        `record` is `pipeline/account/id`; the model's properties follow.
        """
        own = _fields(record=pa.string(), pipeline=pa.string(), account=pa.string(), id=pa.string())
        return base.Table(f"{self.profiles}_records", pa.schema([*own, *_BOOKS, *properties]), ("record",))

    @property
    def identifiers(self) -> base.Table:
        """What records can be recognised by: `value` is normalised, `number` counts the values of one `kind`.

        Which kind is how strong is said by the rules, not here, so that other rules need no other rows.
        """
        own = _fields(record=pa.string(), kind=pa.string(), number=pa.int64(), value=pa.string())
        key = ("record", "kind", "number")
        return base.Table(f"{self.profiles}_identifiers", pa.schema([*own, *_BOOKS]), key)

    @property
    def members(self) -> base.Table:
        """Which profile a record belongs to, since when.

        `left_at` is when the record left the model; if it comes back it is remembered. `home` is the profile's id
        that the record gets back when a merge is undone: its own profile's, or one that nobody uses. Records of one
        `component` are linked, at least through others, by whatever identifier.
        """
        own = _fields(
            record=pa.string(),
            profile_id=pa.string(),
            home=pa.string(),
            component=pa.string(),
            since=MOMENT,
            left_at=MOMENT,
        )
        return base.Table(f"{self.profiles}_members", pa.schema(own), ("record",))

    @property
    def ids(self) -> base.Table:
        """Every profile's id that was ever given; `gone_at` while it neither has records nor is an alias."""
        own = _fields(profile_id=pa.string(), born_at=MOMENT, gone_at=MOMENT)
        return base.Table(f"{self.profiles}_ids", pa.schema(own), ("profile_id",))

    @property
    def aliases(self) -> base.Table:
        """Ids of profiles that were merged into others, and whose they are now; that id is no alias itself.

        `why` is `merged`, or `moved` for an alias whose profile changed since.
        """
        own = _fields(alias=pa.string(), profile_id=pa.string(), since=MOMENT, why=pa.string())
        return base.Table(f"{self.profiles}_aliases", pa.schema(own), ("alias",))

    @property
    def decisions(self) -> base.Table:
        """What people decided about records; in force while `withdrawn_at` is NULL.

        `resolved_at` is NULL until the decision, or its withdrawal, has shown in the profiles.
        """
        own = _fields(
            decision=pa.string(),
            kind=pa.string(),
            record=pa.string(),
            other=pa.string(),
            decided_at=MOMENT,
            decided_by=pa.string(),
            note=pa.string(),
            withdrawn_at=MOMENT,
            withdrawn_by=pa.string(),
            resolved_at=MOMENT,
        )
        return base.Table(f"{self.profiles}_decisions", pa.schema(own), ("decision",))

    @property
    def shared(self) -> base.Table:
        """Values that link nothing, because too many records share them."""
        own = _fields(kind=pa.string(), value=pa.string(), records=pa.int64())
        return base.Table(f"{self.profiles}_shared", pa.schema(own), ("kind", "value"))

    @property
    def held(self) -> base.Table:
        """Records of which an identifier was ignored, to keep a cluster small or two records apart.

        `cause` is `size` (then the cluster would have had so many `records`) or `apart`. `cluster` is the first
        record of it, and the same for all that would have become one customer.
        """
        own = _fields(
            record=pa.string(), kind=pa.string(), cause=pa.string(), cluster=pa.string(), records=pa.int64()
        )
        return base.Table(f"{self.profiles}_held", pa.schema(own), ("record", "kind"))

    @property
    def touched(self) -> base.Table:
        """Ids of profiles, or of former ones, that must be written anew; who has written one deletes its row."""
        return base.Table(
            f"{self.profiles}_touched", pa.schema(_fields(profile_id=pa.string())), ("profile_id",)
        )

    @property
    def kept(self) -> tuple[base.Table, ...]:
        """The tables that the resolution keeps."""
        return (
            self.members,
            self.ids,
            self.aliases,
            self.decisions,
            self.shared,
            self.held,
            self.touched,
        )

    @property
    def state(self) -> str:
        """The key of the state under which the rules stand that the profiles were last resolved by."""
        return f"identity/{self.profiles}"


def _fields(**kinds: pa.DataType) -> list[pa.Field]:
    return [pa.field(name, kind) for name, kind in kinds.items()]


_BOOKS = _fields(_version=pa.int64(), _deleted_at=MOMENT, _synced_at=MOMENT)
