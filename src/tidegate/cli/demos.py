"""A local Stripe with generated data, for the pages' first run: started when somebody asks, ever the same."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from pathlib import Path
from typing import Any

OBJECTS = 20_000
"""About so many objects the business has."""


class Demo:
    """Starts a sandbox once, in a process of its own that dies with this one."""

    def __init__(self, folder: Path, objects: int = OBJECTS) -> None:
        """`folder` is where it is written down which business was generated, so that a restart has the same."""
        self._file, self._objects = folder / "demo.json", objects
        self._stack = contextlib.ExitStack()
        self._lock = threading.Lock()
        self._url = ""

    def start(self) -> tuple[str, str]:
        """Its address and a key; it is started where it does not run yet."""
        from tidegate import sandbox
        from tidegate.sandbox import serving

        with self._lock:
            if not self._url:
                self._url = self._stack.enter_context(sandbox.process(**self._options()))
            return self._url, serving.KEY

    def close(self) -> None:
        """End it."""
        with self._lock:
            self._url = ""
            self._stack.close()

    def _options(self) -> dict[str, Any]:
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            return {name: int(found[name]) for name in ("seed", "objects", "now")}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            made = {"seed": secrets.randbelow(2**31), "objects": self._objects, "now": int(time.time())}
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps(made), encoding="utf-8")
            return made
