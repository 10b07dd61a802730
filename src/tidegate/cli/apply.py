"""`tidegate apply`: what a YAML file configures, taken into the metadata database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tidegate import config, errors, views
from tidegate.cli import connect, output
from tidegate.engine import differences, editing
from tidegate.views import configuration

if TYPE_CHECKING:
    from rich.text import Text

SIGNS = {"create": ("+", "green"), "change": ("~", "yellow"), "delete": ("-", "red")}
"""What is done with a part: its sign and its colour."""


def apply(
    file: Path,
    *,
    dry_run: bool = False,
    yes: bool = False,
    prune: bool = False,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    json: bool = False,
) -> int:
    """Take what a YAML file configures into the metadata database.

    There it can be changed in the browser. What would change is shown, before and
    after, and asked for; then all of it is done, or nothing. Plain secrets of the file
    are kept encrypted. What the file does not have stays, unless --prune is given.

    Parameters
    ----------
    file
        The file, such as one that `tidegate export` wrote.
    dry_run
        Show what would change, and change nothing.
    yes
        Do not ask.
    prune
        Remove what the metadata database has and the file does not.
    config_file
        The configuration, beside which it is kept; tidegate.yaml by default.
    json
        Print a JSON object, last on stdout; nothing is asked.
    """
    if json and not (yes or dry_run):
        raise errors.ConfigError("--json asks nothing; give --yes or --dry-run too")
    own = config_file or Path(config.DEFAULT_FILE)
    if own.exists() and file.exists() and own.samefile(file):
        raise errors.ConfigError(
            f"{file} is the configuration itself, and counts already; to manage it in the browser, give it another "
            f"name, write a {own} with `database:` alone, and apply the other one"
        )
    with connect.place(config_file, mending=True) as place:
        found = configuration.proposed(place, file, prune=prune)
        for section in found.left_out:
            output.say(f"`{section}` is left out: it is said in {own} only")
        if not json:
            _show(found)
        done = False
        if found.changes and not dry_run and (yes or _agreed(found)):
            configuration.take(place, views.person(), found, admin=True)
            done = True
    if json:
        output.print_json(_document(found, done))
    elif done:
        output.say(f"{output.counted(len(found.changes), 'change')} made; what runs notices within seconds")
    elif found.changes:
        output.say("nothing was changed")
    return 0


def _agreed(found: configuration.Proposal) -> bool:
    try:
        said = input(f"Make {output.counted(len(found.changes), 'change')}? [y/N] ")
    except EOFError:
        print(flush=True)
        return False
    return said.strip().lower() in ("y", "yes")


def _show(found: configuration.Proposal) -> None:
    screen = output.console()
    for each in found.changes:
        for line in _lines(each):
            screen.print(line, soft_wrap=True)
    if not found.changes:
        output.say("nothing would change")
    if found.unpruned:
        output.say(f"not in the file, and kept: {', '.join(found.unpruned)}; --prune removes them")


def _lines(change: editing.Change) -> list[Text]:
    from rich.text import Text

    sign, colour = SIGNS[change.action]
    name = configuration.parts_of([change])[0]
    lines = [Text(f"{sign} {name}", style=f"bold {colour}")]
    for each in differences.between(change.before, change.after):
        line = Text(f"    {each.field}: ")
        if change.action == "change":
            line.append(each.before or "(nothing)", style="red").append(" -> ")
        value = each.after if change.action != "delete" else each.before
        lines.append(
            line.append(value or "(nothing)", style=colour if change.action != "change" else "green")
        )
    return lines


def _document(found: configuration.Proposal, done: bool) -> dict[str, object]:
    names = configuration.parts_of(found.changes)
    return {
        "changed": done,
        "changes": [
            {"part": name, "action": each.action, "before": each.before, "after": each.after}
            for name, each in zip(names, found.changes, strict=True)
        ],
        "unchanged": found.unchanged,
        "kept": list(found.unpruned),
    }
