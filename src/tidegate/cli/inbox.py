"""`tidegate inbox`: the rows of pushes that are not written, why, and what a person says to that."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate import config, errors
from tidegate.cli import connect, output, pushing
from tidegate.store import database, holds, links

SHOWN = 100
PAGE = 1_000
"""Rows that are read at a time where all are decided on."""
FIRST, LAST = "oldest", "newest"
SIDES = ("warehouse", "stripe")


def inbox(
    push: str | None = None,
    key: str | None = None,
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    kind: Annotated[tuple[holds.Kind, ...] | None, Parameter(negative=())] = None,
    retry: bool = False,
    skip: bool = False,
    choose: str | None = None,
    all: bool = False,
    limit: int = SHOWN,
    after: str | None = None,
    json: bool = False,
) -> int:
    """List the rows of pushes that are not written, and decide on them.

    A decision is carried out by the next run of the push.

    Parameters
    ----------
    push
        One push; all by default.
    key
        The key of a row that is shown or decided on.
    config_file
        The configuration; tidegate.yaml by default.
    kind
        Only rows of this kind, such as `ambiguous`; several times for several kinds.
    retry
        Try the row again.
    skip
        Leave it as it is until it changes.
    choose
        Which object the row is: its id, `oldest` or `newest` of several, or `create` for a
        new one; of a conflict whose value counts, `warehouse` or `stripe`.
    all
        Decide on all rows of the push, or of a kind; not on those that somebody skipped,
        or chose for.
    limit
        How many are listed, the oldest first.
    after
        Go on where the page before ended, as it said.
    json
        Print a JSON object, last on stdout.
    """
    decision = _decision(push, key, retry=retry, skip=skip, choose=choose, every=all)
    if choose is not None and all:
        _for_all(choose, kind or ())
    file = connect.configuration(config_file)
    if push is not None and push not in file.pushes:
        known = ", ".join(file.pushes) or "none"
        raise errors.ConfigError(f"there is no push {push!r} in the configuration; it has {known}")
    with contextlib.closing(connect.store(file)) as store:
        if all and push is not None:
            told = _decide_all(store, push, kind or (), decision, choose or "")
            if json:
                output.print_json(told)
            else:
                others = f"; {told['left']:,} are of another kind, or decided already" if told["left"] else ""
                output.say(f"{push}: {output.counted(told['decided'], 'row')}: {WORDS[decision]}{others}")
            return 0
        if push is not None and key is not None:
            return _one(file, store, config_file, push, key, decision, choose or "", json=json)
        found = holds.listed(store, push, kinds=kind or (), limit=limit + 1, after=_placed(after))
        page, more = found[:limit], found[limit:]
        counts = {name: _counts(store, name) for name in ([push] if push else _pushes(file, page))}
        following = _place(page[-1]) if more else None
        if json:
            told_counts = {name: dict(each) for name, each in counts.items() if each}
            listed = [dataclasses.asdict(each) for each in page]
            output.print_json({"holds": listed, "counts": told_counts, "after": following})
        elif not page:
            output.say("every row is written, or needs nothing" if after is None else "there are no more")
        else:
            _list(file, store, config_file, page, counts)
            if following:
                output.say(f"there are more: --after {following}")
    return 0


WORDS = {
    "waiting": "tried again by the next run",
    "skipped": "left as it is until it changes",
    "chosen": "the next run does what you chose",
    "held": "held until it changes, or somebody decides",
}
NEXT: Mapping[holds.Kind, str] = {
    "invalid": "correct the row or the mapping; it is looked at again by each run",
    "doubled": "give each row a key and a match of its own",
    "refused": "correct the row or the mapping, or --retry when the reason is gone at Stripe",
    "ambiguous": "--choose ID, oldest or newest says which object it is, --choose create makes a new one; "
    "`on_many` in the configuration decides for all",
    "shared": "correct the key or the match of one of the rows, or --skip it",
    "claimed": "correct the match of one of the rows, or --skip it",
    "conflict": "--choose warehouse or --choose stripe says whose value counts",
    "immutable": "put the old value back, have `on_immutable: replace` make another object, or --skip it",
    "gone": "--choose create makes it anew, --choose ID takes another one, --skip leaves it",
    "unknown": "look for it in Stripe's dashboard; --choose ID says which object it is, --choose create that "
    "it was not made",
    "undone": "--retry writes it again",
    "watched": "nothing: it is left out of a few runs, and then written once more",
    "looping": "correct the model so that it settles, then --retry",
}
"""What a person can do about each kind."""


def _decision(
    push: str | None, key: str | None, *, retry: bool, skip: bool, choose: str | None, every: bool
) -> holds.State:
    """What becomes of the rows that are decided on; `held` where nothing is decided."""
    wished: dict[holds.State, bool] = {"waiting": retry, "skipped": skip, "chosen": choose is not None}
    decisions = [state for state, is_wished in wished.items() if is_wished]
    if len(decisions) > 1:
        raise errors.ConfigError("--retry, --skip and --choose exclude each other; give one of them")
    if every and not decisions:
        raise errors.ConfigError("say what becomes of all of them: --retry, --skip or --choose")
    if every and key is not None:
        raise errors.ConfigError(f"--all means every row of {push}, and {key} is one; give one of the two")
    if every and push is None:
        raise errors.ConfigError("say of which push all rows are meant: tidegate inbox PUSH --all --retry")
    if decisions and not every and (push is None or key is None):
        raise errors.ConfigError(
            "say which row is meant, tidegate inbox PUSH KEY --retry, or --all of a push's rows"
        )
    return decisions[0] if decisions else "held"


def _for_all(choose: str, kinds: Sequence[holds.Kind]) -> None:
    """Raises ConfigError for what cannot be chosen for many rows."""
    if choose not in (FIRST, LAST, holds.CREATE, *SIDES):
        raise errors.ConfigError(
            f"{choose} is one object, and not that of every row; choose {FIRST}, {LAST}, {holds.CREATE}, "
            f"{' or '.join(SIDES)} for all of them"
        )
    if not kinds:
        raise errors.ConfigError("say for which rows that is chosen: --kind ambiguous, gone or conflict")


def _decide_all(
    store: database.Database, push: str, kinds: Sequence[holds.Kind], decision: holds.State, choice: str
) -> dict[str, int]:
    """Decide on all rows that can be; says on how many, and how many are left as they are."""
    decided, left = 0, 0
    after: holds.Hold | None = None
    while page := holds.listed(store, push, kinds=kinds, limit=PAGE, after=after):
        after = page[-1]
        for each in page:
            meant = _meant(each, choice)
            if each.state in ("skipped", "chosen") or (decision == "chosen" and not meant):
                left += 1
                continue
            with contextlib.suppress(errors.ConfigError):  # it was written meanwhile
                _decide(store, each, decision, meant)
                decided += 1
    return {"decided": decided, "left": left}


def _meant(hold: holds.Hold, choice: str) -> str:
    """What a choice is for a row; nothing where it is none."""
    if choice in (FIRST, LAST):
        several = hold.kind == "ambiguous" and hold.candidates
        return "" if not several else hold.candidates[0 if choice == FIRST else -1]
    if choice in SIDES:
        return choice if hold.kind == "conflict" else ""
    if choice == holds.CREATE:
        return choice if hold.kind in holds.NEW else ""
    return choice if hold.kind in holds.CHOOSABLE else ""


def _decide(store: database.Database, hold: holds.Hold, decision: holds.State, choice: str) -> holds.Hold:
    match decision:
        case "waiting":
            return holds.retry(store, hold.push, hold.key)
        case "skipped":
            return holds.skip(store, hold.push, hold.key)
        case _:
            return holds.choose(store, hold.push, hold.key, choice)


def _one(
    file: config.Config,
    store: database.Database,
    config_file: Path | None,
    push: str,
    key: str,
    decision: holds.State,
    choice: str,
    *,
    json: bool,
) -> int:
    """Decide on one row, or show it."""
    hold = holds.find(store, push, key)
    if hold is None:
        raise errors.ConfigError(
            f"the row {key!r} of {push} is not held; `tidegate inbox {push}` lists those that are, "
            f"`tidegate record {push} {key}` shows what became of it"
        )
    if decision != "held":
        if decision == "chosen" and not _meant(hold, choice):
            raise errors.ConfigError(
                f"{choice} is nothing that can be chosen for {key}, which is {hold.kind}: {NEXT[hold.kind]}"
            )
        hold = _decide(store, hold, decision, _meant(hold, choice))
    if json:
        output.print_json({"holds": [dataclasses.asdict(hold)]})
    elif decision != "held":
        output.say(f"{key} of {push}: {WORDS[hold.state]}")
    else:
        _list(file, store, config_file, [hold], {})
    return 0


def _pushes(file: config.Config, page: Sequence[holds.Hold]) -> list[str]:
    return list(dict.fromkeys([*file.pushes, *(each.push for each in page)]))


def _counts(store: database.Database, push: str) -> dict[str, int]:
    """How many rows of each kind, the most first."""
    found: dict[str, int] = {}
    for (kind, _), number in holds.counts(store, push).items():
        found[kind] = found.get(kind, 0) + number
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _place(hold: holds.Hold) -> str:
    return f"{hold.opened_at!r}/{hold.push}/{hold.key}"


def _placed(after: str | None) -> holds.Hold | None:
    """The last row of the page before, as far as it says where the next one begins."""
    if after is None:
        return None
    at, _, rest = after.partition("/")
    push, _, key = rest.partition("/")
    with contextlib.suppress(ValueError):
        if key:
            place = float(at)
            return holds.Hold(
                push, key, "invalid", "held", "", "", "", "", "", (), "", "", 0, place, place, None
            )
    raise errors.ConfigError(f"{after!r} is no place in a list; give --after as the page before said it")


def _list(
    file: config.Config,
    store: database.Database,
    config_file: Path | None,
    page: Sequence[holds.Hold],
    counts: Mapping[str, Mapping[str, int]],
) -> None:
    """Rows on the screen, by push: how many of which kind, the rows, and what can be done."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    screen = output.console()
    for push in dict.fromkeys(each.push for each in page):
        mine = [each for each in page if each.push == push]
        told = counts.get(push, {})
        if told:
            kinds = ", ".join(f"{number:,} {kind}" for kind, number in told.items())
            screen.print(f"{push}: {output.counted(sum(told.values()), 'row')} not written: {kinds}")
        known = _objects(file, store, config_file, push, mine)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("row", overflow="fold")
        table.add_column("what", no_wrap=True)
        table.add_column("since (UTC)", no_wrap=True)
        table.add_column("why", overflow="fold")
        for each in mine:
            since = f"{dt.datetime.fromtimestamp(each.opened_at, dt.UTC):%Y-%m-%d %H:%M}"
            what = "\n".join([each.kind, *([] if each.state == "held" else [_state(each)])])
            table.add_row(Text(each.key), what, since, Text("\n".join([each.text, *known.get(each.key, ())])))
        screen.print(table)
    for kind in dict.fromkeys(each.kind for each in sorted(page, key=lambda each: each.kind)):
        screen.print(f"{kind}: {NEXT[kind]}.", markup=False)


def _state(hold: holds.Hold) -> str:
    if hold.state == "waiting" and hold.next_at is not None and hold.failures:
        return f"until {dt.datetime.fromtimestamp(hold.next_at, dt.UTC):%H:%M}"
    return {"waiting": "to be retried", "chosen": f"-> {hold.choice}"}.get(hold.state, hold.state)


def _objects(
    file: config.Config,
    store: database.Database,
    config_file: Path | None,
    push: str,
    page: Sequence[holds.Hold],
) -> dict[str, list[str]]:
    """What a person tells objects apart by, a line each: the candidates of rows, else the object that a row is.

    As the last run of the push left them, on this machine; only their ids where that is not to be had.
    """
    from tidegate.engine import mirrors, preparing

    linked = links.find(store, push, [each.key for each in page])
    named: dict[str, list[str]] = {}
    for each in page:
        own = [linked[each.key].target] if each.key in linked else []
        named[each.key] = [id for id in each.candidates if id not in SIDES] or own
    wanted = [id for ids in named.values() for id in ids]
    found: Mapping[str, Mapping[str, object]] = {}
    if wanted and push in file.pushes:
        with contextlib.suppress(errors.TidegateError):
            job = preparing.job(file, push)
            state = pushing.folder(config_file)
            found = mirrors.glimpse(state, job.push.connection, job.source, job.of, wanted)
    texts = {each.key: each.text for each in page}
    return {
        key: [f"  {_told(id, found.get(id))}" for id in ids if id in found or id not in texts[key]]
        for key, ids in named.items()
    }


def _told(id: str, live: Mapping[str, object] | None) -> str:
    if live is None:
        return id
    created = live.get("created")
    made = f"{dt.datetime.fromtimestamp(created, dt.UTC):%Y-%m-%d}" if isinstance(created, int) else ""
    facts = (live.get(name) for name in ("name", "email", "nickname", "code", "lookup_key", "description"))
    shown = [str(each) for each in facts if each][:2]
    return "  ".join(each for each in (id, made, *shown) if each)
