"""The configuration as it is now: read again when the file or the metadata database has another one.

What cannot be read or is not valid changes nothing: the last valid configuration goes on, and `problem` says what
is wrong. A file that is gone is such a one, unless it is not missed: the last valid configuration had nothing of
it. Runs keep the one with which they began.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from pathlib import Path

from tidegate import config, errors
from tidegate.config import document, merging
from tidegate.engine import configuration
from tidegate.store import database, objects

log = logging.getLogger(__name__)


class Live:
    """One per process; `look` is called again and again by whoever acts on the configuration."""

    def __init__(self, path: Path | None, store: database.Database, *, mending: bool = False) -> None:
        """Read it for the first time; `path` is None for the usual file of this folder, which may be missing.

        Raises ConfigError where it is not valid. For `mending` it then counts as empty, with its `problem`.
        """
        self.path = path
        self._lock = threading.Lock()
        self._digest, self._generation = configuration.digest(path), -1
        self._was_there = self._digest is not None
        self._problem = ""
        self._gone = False
        self._document: document.Document | None = None
        self._shadowed: tuple[merging.Stored, ...] = ()
        try:
            loaded = configuration.load(path, store)
        except errors.ConfigError as error:
            if not mending:
                raise
            self._config, self._problem = config.Config(), str(error)
        else:
            self._config, self._generation = loaded.config, loaded.generation
            self._shadowed, self._document = loaded.shadowed, loaded.document

    @property
    def config(self) -> config.Config:
        """The last one that was valid."""
        return self._config

    @property
    def problem(self) -> str:
        """What is wrong with a newer one, in sentences; empty while there is none."""
        return self._problem

    @property
    def gone(self) -> bool:
        """Is the file gone, and missed?"""
        return self._gone

    @property
    def document(self) -> document.Document | None:
        """The file as it was written when it was valid the last time; None where it never was."""
        return self._document

    @property
    def shadowed(self) -> tuple[merging.Stored, ...]:
        """What the metadata database keeps in vain, since the file has a part of its name."""
        return self._shadowed

    def look(self, store: database.Database) -> bool:
        """Read it again where it is another one; is it? Raises StoreUnreachable."""
        with self._lock:
            digest, generation = configuration.digest(self.path), objects.generation(store)
            if (digest, generation) == (self._digest, self._generation):
                return False
            file = self.path or Path(config.DEFAULT_FILE)
            gone = digest is None and self._was_there and not file.exists()
            try:
                if gone:
                    self._miss(file, store)
                loaded = configuration.load(self.path, store)
            except errors.StoreUnreachable:
                raise
            except errors.TidegateError as error:
                self._seen(digest, generation, str(error), gone=gone)
                return False
            # It is read after both were looked at: what changed in between is read once more.
            problem, fresh, kept = "", loaded.config, self._config.database
            if fresh.database != kept:
                fresh = fresh.model_copy(update={"database": kept})
                problem = f"{file}: `database` is another one now; start tidegate again to use it."
            self._was_there = self._was_there and not gone
            self._seen(digest, generation, problem)
            self._shadowed, self._document = loaded.shadowed, loaded.document
            if fresh == self._config:
                return False
            self._config = fresh
            log.info("The configuration has changed; what begins from now on has the new one.")
            return True

    def _miss(self, file: Path, store: database.Database) -> None:
        """Raises ConfigError where a file that is gone said something that counts."""
        if self.path is None:
            with contextlib.suppress(errors.ConfigError):
                if configuration.load(None, store).config == self._config:
                    return
        raise errors.ConfigError(f"{file} is gone; bring it back, or start tidegate again without it.")

    def _seen(self, digest: str | None, generation: int, problem: str, *, gone: bool = False) -> None:
        self._digest, self._generation, self._gone = digest, generation, gone
        self._was_there = self._was_there or digest is not None
        if problem and problem != self._problem:
            log.warning("The configuration is not valid; the last valid one goes on. %s", problem)
        self._problem = problem
