"""The process's own log: one line per event on stderr, as text for people or as JSON for machines.

Lines bear the run, the stream and the account they are about. Nothing of a row or a key is ever logged.
"""

from __future__ import annotations

import datetime as dt
import logging
import sys
from typing import Any, Literal

import structlog

from tidegate import errors

FIELDS = ("run", "flow", "stream", "account")
"""What a line may be about, given as `extra`."""


def begin(form: Literal["auto", "text", "json"] = "auto") -> None:
    """Have everything that the process logs go to stderr."""
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    last: Any = structlog.processors.JSONRenderer() if as_json else _text
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.ExtraAdder(FIELDS),
                _moment,
                _exception,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("tidegate").setLevel(logging.INFO)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # says each attempt; we say it once


def _moment(_: Any, __: str, event: Any) -> Any:
    event["at"] = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _exception(_: Any, __: str, event: Any) -> Any:
    """What kind of error, and where; never its text, which may quote rows or keys."""
    info = event.pop("exc_info", None)
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        at = " < ".join(errors.places(error)[:5])
        event["exception"] = f"{type(error).__name__} at {at or 'an unknown place'}"
    return event


def _text(_: Any, __: str, event: Any) -> str:
    """`12:00:01 warning: what happened`."""
    level = "" if event["level"] == "info" else f"{event['level']}: "
    trace = f"\n{event['exception']}" if event.get("exception") else ""
    return f"{event['at'][11:19]} {level}{event['event']}{trace}"
