"""What makes two records one customer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self

import pyarrow as pa

from tidegate import config


@dataclass(frozen=True, slots=True)
class Rules:
    """Identifiers, strongest first, and how many records may be one customer at most.

    The clusters that follow from them do not depend on the order in which records came:

    1. Records that somebody merged by hand are one.
    2. For each identifier in its order, clusters that share a value of it become one, however many lie between.
       A value that more than `max_cluster` records have links nothing.
    3. Where that would join records of which one was taken away from the other, the cluster of the one taken away
       stays as it was before this identifier, and the rest is joined without it.
    4. Where more than `max_cluster` records would be one, they stay in the clusters that they were in before this
       identifier.

    A record that stands alone by decision shares no values.
    """

    identifiers: tuple[str, ...]
    max_cluster: int = 100

    @classmethod
    def of(cls, model: config.CustomerModel) -> Self:
        """The rules of a configured model."""
        return cls(tuple(model.identifiers), model.max_cluster)

    def table(self) -> pa.Table:
        """The identifiers by name, with their levels: 0 is the strongest."""
        kinds = list(dict.fromkeys(self.identifiers))
        return pa.table(
            {"kind": pa.array(kinds, pa.string()), "lvl": pa.array(range(len(kinds)), pa.int64())}
        )

    def text(self) -> str:
        """The rules as they are written into the warehouse's state; equal rules have equal texts."""
        return json.dumps({"identifiers": self.identifiers, "max_cluster": self.max_cluster})
