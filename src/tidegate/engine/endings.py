"""How a run ended, told in the same words whatever it did: its state, why, what it came to, and its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tidegate import errors
from tidegate.engine import place as places
from tidegate.engine import recorder
from tidegate.pull import report
from tidegate.store import runs

if TYPE_CHECKING:
    from tidegate.engine import piping, pushes


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended."""

    state: runs.State
    error: str = ""
    passing: bool = False
    """The same may go well soon."""
    refused: bool = False
    """Stripe refused the key, as it will the next time."""
    leads: bool = True
    """Those that run after it begin, where it ended `ok` or `partial`."""
    totals: Mapping[str, object] = field(default_factory=dict)
    tables: Sequence[Mapping[str, Any]] = ()
    """Its loading report."""


def of_pull(result: report.Result) -> Ending:
    """How a pull ended that came to its end, well or badly."""
    end = result.end
    state: runs.State = "failed" if end is not None else result.status
    error = _worst(result) if end is None else str(end)
    passing = isinstance(end, places.PASSING)
    return Ending(
        state,
        error,
        passing,
        isinstance(end, errors.Unauthorized),
        totals=_totals(result),
        tables=tuple(recorder.tables(result.outcomes)),
    )


def of_push(result: pushes.Result, table: Mapping[str, Any], *, asked: bool = True) -> Ending:
    """How a push ended that came to its end; `asked`: it was to write, and not only to plan.

    One whose plan waits for a person is `partial`, and nothing runs after it. One of which single rows were refused
    is no failed run, though it wrote nothing, where others of its rows are as Stripe has them.
    """
    name, said = result.made.push, " ".join(result.made.guards)
    totals = {**recorder.written(table), "guards": list(result.made.guards)}
    if not asked and table["left"]:
        error = f"It was begun by hand and wrote nothing more; `tidegate push {name}` goes on."
        return Ending("partial", error, leads=False, totals=totals, tables=(table,))
    if result.status == "held" and said:
        how = f"`tidegate plan {name}` shows it all; `tidegate push {name} --approve` does it."
        error = f"waits for approval: {said} {how}"
        return Ending("partial", error, leads=False, totals=totals, tables=(table,))
    if result.status == "held":
        error = "Nobody approved the plan; nothing was written."
        return Ending("cancelled", error, leads=False, totals=totals, tables=(table,))
    state: runs.State = result.status
    if state == "failed" and not result.error and result.counts.unchanged:
        state = "partial"
    return Ending(state, str(table["error"]), totals=totals, tables=(table,))


def of_pipeline(result: piping.Result, table: Mapping[str, Any]) -> Ending:
    """How a pipeline ended that came to its end; nothing runs after one that its guard holds."""
    known = ("stream", "account", "status", "error")
    totals = {name: figure for name, figure in table.items() if name not in known}
    state: runs.State = "partial" if table["error"] else "ok"
    return Ending(
        state,
        str(table["error"]),
        leads=not result.held,
        totals={**totals, "deleted": table["removed"]},
        tables=(table,),
    )


def _worst(result: report.Result) -> str:
    """Why a run that went to its end is not all well."""
    wrong = [outcome for outcome in result.outcomes if outcome.error and outcome.status != "not_enabled"]
    if result.status == "ok" or not wrong:
        return ""
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return f"{wrong[0].stream}: {wrong[0].error}{more}"


def _totals(result: report.Result) -> dict[str, object]:
    told = result.as_json()
    return {
        **{name: told[name] for name in ("requests", "retries", "rate_limited", "duration_s")},
        "read": sum(each.read for each in result.outcomes),
        "written": sum(each.written for each in result.outcomes),
        "deleted": sum(each.deleted for each in result.outcomes),
        "streams": len({each.stream for each in result.outcomes}),
        "accounts": len({each.account for each in result.outcomes}),
    }
