"""Flows: what there is to run, how each stands, and having one run.

A flow that is begun is a run that is queued; whoever runs flows begins it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tidegate import catalog, errors, views
from tidegate.engine import flows, matters, refusals, scheduler, schedules
from tidegate.engine import place as places
from tidegate.store import calls, database, history, runs, trail
from tidegate.views import standing

State = Literal["fresh", "behind", "failed", "running", "stopped", "off"]
"""How a flow is: `running` the first time, `stopped` where it is continuous and was cancelled, `off` where it never
ran.
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """A flow and how it stands; times are unix seconds, `age` and `bound` seconds."""

    name: str
    kind: str
    own: str
    connection: str
    schedule: str
    """In words."""
    continuous: bool
    state: State
    waiting: str
    """Why it is due without a tick: `schedule`, `after`, `retry`, `api`, `trigger`; empty where it is not."""
    next_at: float | None
    running: runs.Run | None
    """The run that is queued or running."""
    last: runs.Run | None
    """The newest run that has ended."""
    age: float | None
    """How old the oldest of its tables is; of what is not a pull, how long ago its newest good run began."""
    bound: float | None
    """What `age` may be; None where nothing bounds it."""
    resting: str = ""
    """Why it does not run by itself, in sentences: Stripe refuses the key, or nobody is signed in."""
    stopped_until: float | None = None
    """When it is begun again by itself, of a flow that is stopped."""

    @property
    def stopped(self) -> str:
        """Who stopped it until when, and what begins it again; empty where it is not stopped."""
        if self.stopped_until is None or self.last is None:
            return ""
        by = f" by {self.last.cancelled_by}" if self.last.cancelled_by else ""
        until = matters.moment(self.stopped_until)
        return f"{self.name} is stopped{by} until {until}; `tidegate start {self.own}` begins it again."


def listed(
    place: places.Place, *, kind: str = "", groups: Sequence[standing.Group] | None = None
) -> list[Standing]:
    """All flows of the configuration, or those of a kind, in its order, each as it stands now.

    `groups` are all of `standing.grouped`, where they were just asked for.
    """
    known = {name: flow for name, flow in place.flows.items() if kind in ("", flow.kind)}
    if groups is None:
        groups = standing.grouped(place) if kind in ("", "pull") else ()
    return _stand(place, known, groups)


def one(place: places.Place, name: str) -> Standing:
    """One flow by its full name, or by its own where one flow only has that; raises Unknown."""
    flow = named(place, name)
    [found] = _stand(place, {flow.name: flow}, standing.grouped(place, flow.name))
    return found


def named(place: places.Place, name: str) -> flows.Flow:
    """A flow by its full name, or by its own where one flow only has that; raises Unknown.

    Raises Refused for one that is disabled.
    """
    try:
        return flows.of(place.file, name)
    except flows.Disabled as error:
        raise views.Refused(str(error)) from None
    except errors.ConfigError as error:
        raise views.Unknown(str(error)) from None


def meant(place: places.Place, name: str) -> str:
    """The full name of a flow, also of one that is disabled; raises Unknown."""
    return flows.off(place.file, name) or named(place, name).name


def begin(
    place: places.Place,
    who: views.Who,
    name: str,
    *,
    full_refresh: bool = False,
    limit: int | None = None,
) -> runs.Run:
    """Queue a run of a flow by hand; raises StoreConflict where it has one that is queued or running."""
    flow = named(place, name)
    options = {**(_full(flow) if full_refresh else {}), **_limited(flow, limit)}
    cause: runs.Cause = "continuous" if flow.continuous else "manual"
    run_id, line = runs.new_id(), _noting(who, "start", flow.name, options)
    return runs.queue(place.store, run_id, flow.name, cause, options=options, note=line(run_id))


def ask(
    place: places.Place,
    who: views.Who,
    name: str,
    *,
    full_refresh: bool = False,
    accept_deletes: Sequence[str] = (),
    approve: bool = False,
    limit: int | None = None,
    cause: runs.Cause = "api",
) -> calls.Call:
    """Have a flow run once more, together with whoever asks meanwhile: see `store.calls`.

    Of the streams of `accept_deletes` even very many rows may go; with `approve` more customers may leave than a
    pipeline's guard lets go; a push writes `limit` rows at most. Raises StoreConflict for a flow that cannot be due
    again, ConfigError for options that it does not have.
    """
    flow = named(place, name)
    options = _full(flow) if full_refresh else {}
    if accept_deletes:
        options |= {"accept_deletes": _taken(place, flow, accept_deletes)}
    options |= _approved(flow) if approve else {}
    options |= _limited(flow, limit)
    why: runs.Cause = "continuous" if flow.continuous else cause
    line = _noting(who, "start", flow.name, options)
    return calls.begin(place.store, flow.name, why, options=options, note=line)


def following(place: places.Place, run: runs.Run) -> runs.Run | None:
    """The run of the same flow after this one; None while it is due and not queued. Raises Unknown."""
    found, due = calls.following(place.store, run)
    if found is None and not due:
        raise views.Unknown(f"No run of {run.flow} is due after {run.id}.")
    return found


def again(place: places.Place, who: views.Who, run: runs.Run) -> runs.Run:
    """Queue what a run was to do once more, from where the tables stand now.

    An approval of its plan is not given again. Raises Refused for a run that goes on, for one whose flow is gone,
    and for a push that somebody began by hand; StoreConflict where the flow has a run.
    """
    from tidegate.engine import piping  # which needs much that a command beside it does not

    if run.alive:
        raise views.Refused(f"{run.id} is {run.state}; `tidegate cancel` ends it.")
    flow = place.flows.get(run.flow)
    if flow is None:
        if off := flows.off(place.file, run.flow):
            raise views.Refused(str(flows.disabled(off)))
        raise views.Refused(f"{run.flow} is not in the configuration any more.")
    if flow.kind == "push" and run.options.get("by_hand") and flow.schedule == "manual":
        raise views.Refused(f"{run.id} was begun by hand; `tidegate push {flow.own}` plans it anew and asks.")
    cause: runs.Cause = "continuous" if run.cause == "continuous" else "retry"
    options = {name: value for name, value in run.options.items() if name != piping.APPROVE}
    run_id, line = runs.new_id(), _noting(who, "retry", run.flow, {"of": run.id, **options})
    return runs.queue(place.store, run_id, run.flow, cause, options=options, note=line(run_id))


def _full(flow: flows.Flow) -> dict[str, Any]:
    if flow.kind == "push":
        raise errors.ConfigError(
            f"{flow.name} reads its whole model each time; a full refresh is for pulls and pipelines."
        )
    return {"full_refresh": True}


def _approved(flow: flows.Flow) -> dict[str, Any]:
    from tidegate.engine import piping  # which needs much that a command beside it does not

    if flow.kind == "push":
        raise errors.ConfigError(f"approve: a plan of {flow.name} is approved, and not a run; make one.")
    if flow.kind != "pipeline":
        raise errors.ConfigError(f"approve: {flow.name} is no pipeline, so that no customers leave by it.")
    return {piping.APPROVE: True}


def _limited(flow: flows.Flow, limit: int | None) -> dict[str, Any]:
    if limit is None:
        return {}
    if flow.kind != "push":
        raise errors.ConfigError(f"limit: {flow.name} is no push; a limit is for the rows that one writes.")
    if limit < 1:
        raise errors.ConfigError("limit is how many rows are written at most; give 1 or more.")
    return {calls.LIMIT: limit}


def _taken(place: places.Place, flow: flows.Flow, streams: Sequence[str]) -> list[str]:
    """These streams, where they are a pull's; raises ConfigError."""
    if flow.kind != "pull":
        raise errors.ConfigError(
            f"accept_deletes: {flow.name} is no pull, so that no rows go by Stripe's lists."
        )
    taken = place.file.pulls[flow.own]
    known = catalog.load().streams
    for each in streams:
        if each not in known or not taken.takes(each, default=known[each].default):
            raise errors.ConfigError(
                f"accept_deletes: {flow.own} does not take a stream of the name it was given."
            )
    return sorted(set(streams))


def _noting(who: views.Who, action: str, flow: str, said: Mapping[str, Any]) -> calls.Noting:
    """The line in the audit log of a run that is queued."""
    return lambda run_id: trail.Note(who.name, action, flow, after={"run": run_id, **said}, via=who.via)


_Rows = tuple[dict[str, database.Row], dict[str, runs.Run], dict[str, runs.Run], dict[str, float], float]


def _rows(session: database.Session, names: Iterable[str]) -> _Rows:
    """The ticks, what runs, what ended last and when the last good run began, by flow; and the time."""
    wanted = list(names)
    ticks = {
        row["flow"]: row for row in session.execute("SELECT flow, next_at, retry_at, waiting FROM ticks")
    }
    going = {run.flow: run for run in history.going(session)}
    ended, well = dict[str, runs.Run](), dict[str, float]()
    for name in wanted:
        if (last := history.last(session, name)) is None:
            continue
        ended[name] = last
        good = last if last.state == "ok" else history.last(session, name, state="ok")
        if good is not None and good.started_at is not None:
            well[name] = good.started_at
    return ticks, going, ended, well, session.now()


def _stand(
    place: places.Place, known: Mapping[str, flows.Flow], groups: Iterable[standing.Group]
) -> list[Standing]:
    ticks, going, ended, well, now = place.store.transact(lambda session: _rows(session, known))
    worst = {each.flow: each for each in standing.worst_of_each(place, _worst(groups))}
    found = [
        _standing(
            flow, ticks.get(name), going.get(name), ended.get(name), well.get(name), worst.get(name), now
        )
        for name, flow in known.items()
    ]
    return _rested(place, found)


def _worst(groups: Iterable[standing.Group]) -> Iterable[standing.Group]:
    """Of every flow the tables that stand worst; those that are behind before those that failed."""
    found: dict[str, standing.Group] = {}
    for each in groups:
        known = found.get(each.flow)
        if known is None or _lateness(each) < _lateness(known):
            found[each.flow] = each
    return found.values()


def _lateness(group: standing.Group) -> tuple[bool, tuple[int, float]]:
    return group.state != "behind", group.badness


def _standing(
    flow: flows.Flow,
    tick: database.Row | None,
    running: runs.Run | None,
    last: runs.Run | None,
    well: float | None,
    worst: standing.Table | None,
    now: float,
) -> Standing:
    until = (
        None if running is not None or last is None or not flow.continuous else scheduler.stopped_until(last)
    )
    until = until if until is not None and until > now else None
    due = [at for at in (tick["next_at"], tick["retry_at"]) if at is not None] if tick else []
    age = worst.age if worst is not None else None if well is None else max(0.0, now - well)
    return Standing(
        flow.name,
        flow.kind,
        flow.own,
        flow.connection,
        schedules.words(flow.schedule),
        flow.continuous,
        "stopped" if until is not None else _state(flow, running, last, worst),
        "" if tick is None else tick["waiting"],
        min(due, default=until),
        running,
        last,
        age,
        None if worst is None else worst.bound,
        stopped_until=until,
    )


def _rested(place: places.Place, found: list[Standing]) -> list[Standing]:
    """The same, and those that rest are due at no time."""
    why = refusals.resting(place.file, place.store)
    return [
        dataclasses.replace(each, waiting="", next_at=None, resting=why[each.name])
        if each.name in why
        else each
        for each in found
    ]


def _state(
    flow: flows.Flow, running: runs.Run | None, last: runs.Run | None, worst: standing.Table | None
) -> State:
    if last is not None and last.state in ("failed", "interrupted") and not (running and flow.continuous):
        return "failed"
    if worst is not None and worst.state == "behind":
        return "behind"
    if last is None:
        return "running" if running is not None else "off"
    return "fresh"
