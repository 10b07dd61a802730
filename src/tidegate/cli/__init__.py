"""The `tidegate` command: one file per command, each parses, calls one function and prints.

Results go to stdout, everything else to stderr. The front page is plain text and imports nothing, a command's
module is imported when it is called. Exit codes: 0 all well, 1 failed, 2 usage or configuration, 3 partial,
130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tidegate import __version__, errors
from tidegate.cli import lean, output

if TYPE_CHECKING:
    import cyclopts

COMMANDS = {
    "init": "Write a commented tidegate.yaml to start from.",
    "check": "Test keys, permissions, warehouses and models beforehand.",
    "account": "Sign in with Stripe for a connection with `oauth`, or out.",
    "streams": "List every Stripe stream, its path and the permission it needs.",
    "pull": "Bring Stripe objects into a warehouse.",
    "pipelines": "List pipelines: what they read, and how their last runs were.",
    "pipeline": "Run a pipeline, or see what it would make of rows.",
    "customers": "Find customers of the model, ask why records are one, and decide.",
    "plan": "Show what a push would write to Stripe, and write nothing.",
    "push": "Write a model's rows into Stripe: plan, ask, do it once.",
    "inbox": "List the rows of pushes that are not written, and decide on them.",
    "undo": "Put back what a run of a push wrote: plan, ask, do it once.",
    "record": "Show what became of a row of a push: writes, holds, decisions.",
    "audit": "Prove, row by row, that the warehouse holds what Stripe has.",
    "forget": "Erase customers' personal data from the warehouse, for good.",
    "status": "Show what the warehouse holds: rows, completeness, freshness.",
    "run": "Run all flows by their schedules, until stopped.",
    "worker": "Do runs that another machine schedules.",
    "runs": "List runs, newest first.",
    "logs": "Show what a run did, line by line.",
    "start": "Have a flow run now.",
    "cancel": "End a run; what it committed stays.",
    "retry": "Run once more what a run was to do.",
    "alerts": "List what needs a person, or test whether alerts arrive.",
    "export": "Write what was configured in the browser as YAML.",
    "apply": "Take what a YAML file configures into the metadata database.",
    "changes": "List who changed what: the audit log.",
    "secret": "Keep the secrets that the configuration names, encrypted.",
    "token": "Make, list and revoke what programs need to begin runs over HTTP.",
    "user": "Say who may sign in to the pages, and what each may do.",
    "webhooks": "Have Stripe deliver events as they happen, and see how that goes.",
    "preview": "Show a stream's newest rows, without a warehouse.",
    "schema": "Print the JSON Schema of tidegate.yaml, or a stream's columns.",
    "sandbox": "Serve a local Stripe with a generated business in it.",
    "demo": "Pull a local Stripe into demo.duckdb and show what came.",
}
"""Name -> the first sentence of its help; `tidegate.cli.NAME:NAME` is its function."""

_HELP = ("-h", "--help", "help")
_VERSION = ("-V", "--version", "version")


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; the answer is the exit code."""
    rest = list(sys.argv[1:] if words is None else words)
    output.survive_encoding()
    debug = _switch(rest, "--debug") or os.environ.get("TIDEGATE_DEBUG", "0") not in ("", "0")
    try:
        code = _dispatch(rest)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output went away; a second flush at exit must not complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        if debug:
            output.trace(error)
        return _tell(error)
    return code


def app() -> cyclopts.App:
    """Every command with its flags; the modules are imported when they are asked for."""
    import cyclopts

    application = cyclopts.App(
        name="tidegate",
        help="Moves Stripe data both ways.",
        version_flags=(),
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        default_parameter=cyclopts.Parameter(negative=()),
    )
    for name in COMMANDS:
        application.command(f"tidegate.cli.{name}:{name}", name=name)
    return application


def front_page() -> str:
    """What `tidegate --help` says."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            f"tidegate {__version__}: every Stripe object into your warehouse.",
            "",
            "Usage: tidegate COMMAND [--help]",
            "",
            *lines,
            "",
            "  -c FILE    choose the configuration (tidegate.yaml)",
            "  --debug    show the traceback of an internal error (or TIDEGATE_DEBUG=1)",
            "  --version  show the version",
            "",
            "Try it now, without an account: tidegate demo",
        ]
    )


def _dispatch(words: list[str]) -> int:
    chosen = _leading_config(words)
    if not words or words[0] in _HELP:
        if words[1:2] and words[1] in COMMANDS:
            return _run([words[1], "--help"])
        print(front_page())
        return 0
    if words[0] in _VERSION:
        print(f"tidegate {__version__}")
        return 0
    if words[0] not in COMMANDS:
        what = "option" if words[0].startswith("-") else "command"
        near = output.suggestion(words[0], COMMANDS)
        raise errors.ConfigError(f"there is no {what} {words[0]}{near or '; `tidegate --help` lists them'}")
    return _run([words[0], *chosen, *words[1:]])


def _run(words: list[str]) -> int:
    import cyclopts

    with lean.without_pandas():
        importlib.import_module(f"tidegate.cli.{words[0]}")
    try:
        code = app()(words)
    except cyclopts.CycloptsError as error:
        text = " ".join(str(error).split())
        raise errors.ConfigError(f"{text} `tidegate {words[0]} --help` shows how") from None
    return code if isinstance(code, int) else 0


def _switch(words: list[str], name: str) -> bool:
    """Take a switch out of the words, wherever it stands before `--`."""
    end = words.index("--") if "--" in words else len(words)
    found = name in words[:end]
    words[:end] = [word for word in words[:end] if word != name]
    return found


def _leading_config(words: list[str]) -> list[str]:
    """`tidegate -c FILE pull` means `tidegate pull -c FILE`."""
    if words and words[0] in ("-c", "--config"):
        if len(words) < 2:
            raise errors.ConfigError(f"{words[0]} needs the name of a file")
        taken, words[:2] = words[:2], []
        return taken
    if words and words[0].startswith("--config="):
        return [words.pop(0)]
    return []


def _tell(error: BaseException) -> int:
    """One sentence for an error, and the exit code that goes with it."""
    known = errors.inside(error, errors.TidegateError)
    if known is not None:
        output.say(str(known))
        return known.exit_code
    stopped = errors.inside(error, KeyboardInterrupt)
    if stopped is not None:
        said = str(stopped) or "what was committed is safe, and the same command goes on from there"
        output.say(f"interrupted; {said}")
        return 130
    system = errors.inside(error, OSError)
    if system is not None and system.strerror and system.filename:
        output.say(f"{system.filename}: {system.strerror}")
        return 1
    if system is not None and system.strerror:
        output.say(f"the system says: {system.strerror}; what was committed is safe")
        return 1
    output.say(
        f"internal error: {type(error).__name__} at {next(iter(errors.places(error)), 'an unknown place')}; "
        "run it again with --debug for the traceback, and please report it"
    )
    return 1
