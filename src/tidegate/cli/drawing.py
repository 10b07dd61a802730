"""What stands on stderr while something runs: a live picture on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

FRAMES = 4
"""Pictures a second on a terminal."""
HEARTBEAT = 10.0
"""Seconds between two lines where there is no terminal."""


class Drawing:
    """Begins and ends a picture or its heartbeat; a context manager, to be derived from."""

    def __init__(self) -> None:
        self._picture: Live | None = None
        self._over = threading.Event()
        self._beat: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._beat is not None:
            self._beat.join()
        if self._picture is not None:
            self._picture.stop()
            self._picture = None

    def draw(self, console: Console, picture: Callable[[], RenderableType], *, above: bool) -> None:
        """Begin a live picture; `above`: what is said on stderr meanwhile stands above it."""
        from rich.live import Live

        self._picture = Live(
            console=console,
            get_renderable=picture,
            refresh_per_second=FRAMES,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=above,
        )
        self._picture.start()

    def beat(self, said: Callable[[], object]) -> None:
        """Begin to say something every HEARTBEAT seconds."""

        def beats() -> None:
            while not self._over.wait(HEARTBEAT):
                said()

        self._beat = threading.Thread(target=beats, name="progress", daemon=True)
        self._beat.start()
