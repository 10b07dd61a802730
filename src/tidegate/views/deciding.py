"""Deciding on rows of pushes that are not written: one of them, or all that a filter finds.

They are tried again, left as they are, or one of several objects or values is chosen. The next run of the push
carries a decision out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from tidegate import errors, views
from tidegate.engine import place as places
from tidegate.store import database, decisions, holds, trail
from tidegate.views import issues

_ID = re.compile(
    r"([a-z]{1,12}[_-])?[0-9]{1,9}|[a-z]{2,10}_(test_|live_)?(?=[A-Za-z]*[0-9])[A-Za-z0-9]{14,64}|[0-9a-fA-F-]{32,36}"
)
"""Keys that tell nothing of a person: numbers, Stripe's ids, UUIDs."""
PAGE = 500
"""Rows that are decided on at a time where all are."""
FIRST, LAST = "oldest", "newest"
SIDES = ("warehouse", "stripe")
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
"""What a person can do about each kind, as the command line says it."""
ADVICE: Mapping[holds.Kind, str] = {
    "invalid": "Correct the row or the mapping; each run looks at it again.",
    "doubled": "Give each row a key and a match of its own.",
    "refused": "Correct the row or the mapping, or retry when the reason is gone at Stripe.",
    "ambiguous": "Choose which object it is, or have a new one made. The sync can decide that for all such rows.",
    "shared": "Correct the key or the match of one of the rows, or skip it.",
    "claimed": "Correct the match of one of the rows, or skip it.",
    "conflict": "Choose whose value counts.",
    "immutable": "Put the old value back, have the sync make another object, or skip it.",
    "gone": "Have it made anew, name another object, or skip it.",
    "unknown": "Look for it in Stripe's dashboard; then name the object, or say that it was not made.",
    "undone": "Retry writes it again.",
    "watched": "Nothing: it is left out of a few runs, and then written once more.",
    "looping": "Correct the model so that it settles, then retry.",
}
"""The same for those who have buttons."""


def decide(
    place: places.Place, who: views.Who, push: str, key: str, decision: holds.State, choice: str = ""
) -> holds.Hold:
    """Decide on one row; raises Unknown where it is not held, ConfigError for what cannot be chosen."""
    hold = holds.find(place.store, push, key)
    if hold is None:
        raise views.Unknown(f"The row {key!r} of {push} is not held any more.")
    if decision == "chosen" and not meant(hold, choice):
        what = choice or "Nothing"
        raise errors.ConfigError(
            f"{what} cannot be chosen for a row that is {hold.kind}. {ADVICE[hold.kind]}"
        )
    return decided(place.store, who, hold, decision, choice)


def decide_all(
    place: places.Place, who: views.Who, only: issues.Only, decision: holds.State, choice: str = ""
) -> dict[str, int]:
    """Decide on all rows that a filter finds and nobody has decided on; says on how many, and how many are left.

    Raises ConfigError for what cannot be chosen for many rows.
    """
    if not only.holds or not set(only.kinds).issubset(holds.KINDS):
        raise errors.ConfigError("Only rows of syncs to Stripe can be decided on; choose one of their kinds.")
    if decision == "chosen":
        for_all(choice, only.kinds)
    return all_decided(
        place.store,
        who,
        only.flow.partition(":")[2] or None,
        only.kinds,
        decision,
        choice,
        search=only.search,
    )


def traced(key: str) -> str:
    """A row as the audit log names it for years: by its key, or by a digest of one that is more than an id.

    An address or a name would outlive the person's wish to be forgotten. Whoever knows the key finds the line by
    `printf %s KEY | sha256sum`.
    """
    return key if _ID.fullmatch(key) else f"sha256:{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def for_all(choose: str, kinds: Sequence[str]) -> None:
    """Raises ConfigError for what cannot be chosen for many rows."""
    if choose not in (FIRST, LAST, decisions.CREATE, *SIDES):
        raise errors.ConfigError(
            f"{choose} is one object, and not that of every row; choose {FIRST}, {LAST}, {decisions.CREATE}, "
            f"{' or '.join(SIDES)} for all of them"
        )
    if not kinds:
        raise errors.ConfigError("say for which rows that is chosen: --kind ambiguous, gone or conflict")


def all_decided(
    store: database.Database,
    who: views.Who,
    push: str | None,
    kinds: Sequence[str],
    decision: holds.State,
    choice: str,
    *,
    search: str = "",
) -> dict[str, int]:
    """Decide on all rows that can be; says on how many, and how many are left as they are.

    They are many transactions: a line in the audit log comes before, and one with the figures, or with what went
    wrong, after.
    """
    said = {
        "decision": decision,
        "choice": choice,
        "kind": ", ".join(kinds),
        "search": traced(search) if search else "",
    }
    meant_for = {name: value for name, value in said.items() if value}
    what = f"push:{push}" if push else "pushes"
    with trail.around(store, trail.Note(who.name, "decide", what, via=who.via), **meant_for) as made:
        made.begin()
        told = _all_decided(store, push, kinds, decision, choice, search)
        made.known |= told
    return told


def _all_decided(
    store: database.Database,
    push: str | None,
    kinds: Sequence[str],
    decision: holds.State,
    choice: str,
    search: str,
) -> dict[str, int]:
    done, left = 0, 0
    after: holds.Hold | None = None
    while page := holds.listed(store, push, kinds=kinds, limit=PAGE, after=after, search=search):
        after = page[-1]
        wanted: dict[str, dict[str, str]] = {}
        for each in page:
            choosing = meant(each, choice)
            if each.state in ("skipped", "chosen") or (decision == "chosen" and not choosing):
                left += 1
            else:
                wanted.setdefault(each.push, {})[each.key] = choosing if decision == "chosen" else ""
        for name, rows in wanted.items():
            done += decisions.decide(store, name, rows, decision)
    return {"decided": done, "left": left}


def meant(hold: holds.Hold, choice: str) -> str:
    """What a choice is for a row; nothing where it is none."""
    if choice in (FIRST, LAST):
        several = hold.kind == "ambiguous" and hold.candidates
        return "" if not several else hold.candidates[0 if choice == FIRST else -1]
    if choice in SIDES:
        return choice if hold.kind == "conflict" else ""
    if choice == decisions.CREATE:
        return choice if hold.kind in decisions.NEW else ""
    return choice if hold.kind in decisions.CHOOSABLE else ""


def decided(
    store: database.Database, who: views.Who, hold: holds.Hold, decision: holds.State, choice: str
) -> holds.Hold:
    """Decide on a row, with a line in the audit log; raises ConfigError where it was written meanwhile, or that
    cannot be chosen.
    """
    said = {"key": traced(hold.key), "decision": decision, **({"choice": choice} if choice else {})}
    line = trail.Note(who.name, "decide", f"push:{hold.push}", after=said, via=who.via)
    choice = meant(hold, choice)
    match decision:
        case "waiting":
            return decisions.retry(store, hold.push, hold.key, line)
        case "skipped":
            return decisions.skip(store, hold.push, hold.key, line)
        case _:
            return decisions.choose(store, hold.push, hold.key, choice, line)
