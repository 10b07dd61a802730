"""Where runs happen: the configuration, the metadata database, and the process that does them."""

from __future__ import annotations

import dataclasses
import os
import secrets
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tidegate import config, errors
from tidegate.engine import feed, flows, live
from tidegate.store import database
from tidegate.stripe import purse

BEAT = 1.0
"""Seconds between two signs of life of a run, and of a slice."""
SILENT = 60.0
"""Seconds without one after which a run's worker is taken for gone."""
PASSING = (
    errors.Unreachable,
    errors.RateLimited,
    errors.ServerFault,
    errors.WarehouseUnreachable,
    errors.WarehouseBusy,
    errors.StoreUnreachable,
)
"""What may be gone at the next attempt."""


def state(config_file: Path | None) -> Path:
    """Where pushes keep what they need on this machine: beside the configuration, or the one in this folder."""
    return (config_file or Path(config.DEFAULT_FILE)).absolute().parent / ".tidegate"


def worker_name() -> str:
    """A name for this process, as no other has had."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where runs happen: the configuration, the metadata database, and who runs them."""

    written: config.Config | live.Live
    """The configuration, or what says which one there is now."""
    store: database.Database
    """The metadata database."""
    worker: str = field(default_factory=worker_name)
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the process is to end: runs commit what they have read, and end."""
    arrivals: feed.Arrivals = field(default_factory=feed.Arrivals)
    purse: purse.Purse | None = None
    """The rate budget that it shares with every process of the same metadata database."""
    folder: Path = field(default_factory=lambda: state(None))
    """Where pushes keep their copies of what Stripe has: `state` of the configuration, of this machine alone."""

    @property
    def file(self) -> config.Config:
        """The configuration as it is now."""
        return self.written.config if isinstance(self.written, live.Live) else self.written

    @property
    def problem(self) -> str:
        """What is wrong with a newer configuration, which does not count therefore; empty where nothing is."""
        return self.written.problem if isinstance(self.written, live.Live) else ""

    def look(self) -> bool:
        """Read the configuration again where it was changed; is it another one? Raises StoreError."""
        return isinstance(self.written, live.Live) and self.written.look(self.store)

    def still(self) -> Place:
        """This place with the configuration of now, whatever becomes of it: for a run from its begin to its end."""
        return dataclasses.replace(self, written=self.file)

    @property
    def flows(self) -> Mapping[str, flows.Flow]:
        """What there is to run."""
        return flows.flows(self.file)
