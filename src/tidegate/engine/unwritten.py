"""What needs a person about a push: a plan that nobody has approved, and rows that are not written.

Pure functions, as those of `matters`. Texts count rows by what keeps them; they name none.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.store import holds, notices, runs

KINDS = ("held", "quarantine", "unknown")
"""The kinds of matters that the rows of a push tell, also between its runs."""
BAD: tuple[holds.Kind, ...] = ("refused", "invalid", "doubled")
"""Kinds of holds of rows that cannot be written as they are; others wait for somebody to decide."""


def of_run(run: runs.Run, said: str, more: str) -> list[notices.Matter]:
    """A plan that waits for somebody, or rows that could not be written for now.

    `said` is why, in a sentence that may be told; `more` where there is more.
    """
    push = _own(run.flow)
    guards = [str(each) for each in run.totals.get("guards") or ()]
    if run.state != "partial":
        return []
    if guards:
        text = (
            f"{run.flow}: the plan waits for approval, and nothing is written until then: {' '.join(guards)} "
            f"`tidegate plan {push}` shows it; `tidegate push {push} --approve` does it."
        )
        return [notices.Matter(f"{run.flow}/approval", "approval", run.flow, text)]
    if failed := run.totals.get("failed", 0):
        text = (
            f"{run.flow}: {failed:,} of {run.totals.get('source', 0):,} rows could not be written; "
            f"they are tried again by the next run. {said} {more}"
        )
        return [notices.Matter(f"{run.flow}/rows", "rows", run.flow, text)]
    return []


def of_rows(
    flow: str, counts: Mapping[tuple[holds.Kind, holds.State], int], unknown: int
) -> list[notices.Matter]:
    """Rows that wait for a person, by kind and state of their hold, and operations that nobody can decide."""
    push, found = _own(flow), list[notices.Matter]()
    waiting: dict[holds.Kind, int] = {
        kind: number
        for (kind, state), number in sorted(counts.items())
        if state == "held" and number and kind != "unknown"  # those are told by their operations
    }
    open_ones: dict[holds.Kind, int] = {kind: number for kind, number in waiting.items() if kind not in BAD}
    bad: dict[holds.Kind, int] = {kind: number for kind, number in waiting.items() if kind in BAD}
    if open_ones:
        text = (
            f"{flow}: {_rows(open_ones)} held until somebody decides ({_listed(open_ones)}). "
            f"`tidegate inbox {push}` lists them and takes the decision."
        )
        found.append(notices.Matter(f"{flow}/held", "held", flow, text))
    if bad:
        text = (
            f"{flow}: {_rows(bad)} in quarantine ({_listed(bad)}), and written when row or mapping change. "
            f"`tidegate inbox {push}` says why, and has them tried again."
        )
        found.append(notices.Matter(f"{flow}/quarantine", "quarantine", flow, text))
    if unknown:
        text = (
            f"{flow}: of {unknown:,} {'write' if unknown == 1 else 'writes'} nobody can tell whether Stripe did "
            "them, so they are not sent again. Each run looks for them once more; `tidegate record "
            f"{push} KEY` shows what is known of a row, and `tidegate inbox {push}` takes a decision."
        )
        found.append(notices.Matter(f"{flow}/unknown", "unknown", flow, text))
    return found


def title(notice: notices.Notice) -> str:
    """A matter in a few words, for a subject."""
    match notice.kind:
        case "approval":
            return f"the plan of {notice.flow} waits for approval"
        case "rows":
            return f"{notice.flow} could not write all rows"
        case "quarantine":
            return f"{notice.flow} has rows in quarantine"
        case "unknown":
            return f"{notice.flow} has writes of which nobody knows what became"
    return f"{notice.flow} holds rows until somebody decides"


def _rows(counts: Mapping[holds.Kind, int]) -> str:
    number = sum(counts.values())
    return "1 row is" if number == 1 else f"{number:,} rows are"


def _listed(counts: Mapping[holds.Kind, int]) -> str:
    return ", ".join(f"{number:,} {kind}" for kind, number in counts.items())


def _own(flow: str) -> str:
    return flow.partition(":")[2]
