"""Sentences on pages: where one names a command, the page that does the same is linked; so are runs and requests.

The same sentences are sent as mails and printed by commands, where they name the command.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass

import markupsafe

from tidegate.web import addresses

_NAME = r"(?P<name>[A-Za-z0-9][A-Za-z0-9_-]*)"
_MARKED = re.compile(
    r"(?P<lead>\b(?:run|with) )?`(?P<code>[^`\n]{1,400})`(?P<again> again\b)?"
    r"|\b(?P<run>run_[0-9a-f]{16})\b|\b(?P<request>req_[A-Za-z0-9]{6,40})\b"
)
_BEGINS = re.compile(r"(?:^|[.:!?] )$")
_COMMAND = re.compile(r"`tidegate [^`]*`")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_CLAUSE = re.compile(r"\s*;\s+")


@dataclass(frozen=True, slots=True)
class Way:
    """A command, what stands in its place, and the page that this leads to; none leads nowhere.

    `whole`: the words stand also for a `run` or `with` before it, and for an `again` behind; `noun` where there is
    none before it.
    """

    command: re.Pattern[str]
    words: str
    url: str = ""
    whole: bool = False
    noun: str = ""


def _way(command: str, words: str, url: str = "", *, whole: bool = False, noun: str = "") -> Way:
    return Way(re.compile(f"tidegate {command.replace('NAME', _NAME)}"), words, url, whole, noun)


WAYS = (
    _way(r"logs (?:-f )?NAME", "its log", "/runs/{}/log"),
    _way(r"plan NAME", "its plan", "/syncs/{}/plan"),
    _way(r"push NAME --approve", "approving that", "/syncs/{}/plan"),
    _way(r"push NAME", "make a new plan", "/syncs/{}/plan", whole=True, noun="a new plan"),
    _way(r"inbox NAME", "the page Issues", "/issues?flow=push:{}"),
    _way(r"record NAME KEY", "the list of its records", "/syncs/{}/records"),
    _way(r"undo NAME", "the list of its runs", "/syncs/{}/runs"),
    _way(r"runs NAME", "the list of its runs", "/runs?search={}"),
    _way(r"runs", "the page Runs", "/runs"),
    _way(r"start NAME", "on the page Runs", "/runs?search={}", whole=True, noun="a new run"),
    _way(r"cancel(?: NAME)?", "cancel"),
    _way(r"webhooks enable NAME.*", "bring it up to date", "/accounts/{}/webhooks", whole=True),
    _way(r"pull --accept-deletes NAME", "accept the deletes", "/streams?search={}", whole=True),
    _way(r"pull --full-refresh", "a full refresh"),
    _way(r"pipeline failures NAME", "its quarantine", "/pipelines/{}/failures"),
    _way(r"pipeline (?:preview|test) NAME", "its test", "/pipelines/{}/edit"),
    _way(
        r"pipeline run NAME --approve",
        "approve and run it",
        "/pipelines/{}",
        whole=True,
        noun="Approve and run",
    ),
    _way(r"account sign-in", "Sign in with Stripe", "/accounts"),
    _way(r"streams", "the page Streams", "/streams"),
    _way(r"customers (?:list|show)\b.*", "the page Customers", "/customers"),
    _way(r"user list", "the page Members", "/settings/members"),
    _way(r"token (?:list|create)", "the page API tokens", "/settings/tokens"),
    _way(r"secret set", "the page Secrets", "/settings/secrets"),
)
"""The commands that sentences name."""


def shown(text: str, *, requests: str = "", flow: str = "") -> markupsafe.Markup:
    """A sentence as HTML: escaped, with links in place of the commands, and what else stands in backquotes as code.

    `requests` is the address of the dashboard below which ids of requests are shown; without it they stay words.
    `flow` is the pull, pipeline or sync that the sentence is of.
    """
    if isinstance(text, markupsafe.Markup):
        return text
    made, end = markupsafe.Markup(""), 0
    for found in _MARKED.finditer(text):
        before = text[end : found.start()]
        made += markupsafe.escape(before)
        made += _marked(found, requests, flow, begins=bool(_BEGINS.search(text[: found.start()])))
        end = found.end()
    return made + markupsafe.escape(text[end:])


def cell(text: str, *, requests: str = "", flow: str = "") -> markupsafe.Markup:
    """The same for a cell of a table, as one element; nothing of nothing."""
    made = shown(text, requests=requests, flow=flow)
    return markupsafe.Markup("<span>{}</span>").format(made) if made else made


def plain(text: str) -> str:
    """A text without its sentences and clauses that name a command, where a link to the page stands beside it."""
    kept = []
    for sentence in _SENTENCE.split(text.strip()):
        clauses = _CLAUSE.split(sentence)
        left = [each for each in clauses if not _COMMAND.search(each)]
        if len(left) == len(clauses):
            kept.append(sentence)
        elif left:
            kept.append("; ".join(left).rstrip(".") + ".")
    found = " ".join(kept)
    return found[:1].upper() + found[1:]


def alone(text: str, flow: str) -> str:
    """A sentence without the name of the flow before it, which stands beside it."""
    return begun(text.removeprefix(f"{flow}: ").removeprefix(f"{flow}, ")) if flow else text


def begun(text: str) -> str:
    """A sentence with a large letter at its beginning, unless that is a name."""
    return text[0].upper() + text[1:] if text.startswith(("the ", "events ")) else text


def shower(*, requests: str = "", flow: str = "") -> Callable[[str], markupsafe.Markup]:
    """The same for sentences of one flow."""
    return lambda text: shown(text, requests=requests, flow=flow)


def _marked(found: re.Match[str], requests: str, flow: str, *, begins: bool) -> markupsafe.Markup:
    if run := found["run"]:
        return addresses.link(f"/runs/{run}", run)
    if request := found["request"]:
        return (
            addresses.link(requests + request, request, away=True) if requests else markupsafe.Markup(request)
        )
    lead, again = found["lead"] or "", found["again"] or ""
    for way in WAYS:
        if told := way.command.fullmatch(found["code"]):
            words = way.words if lead or not way.noun else way.noun
            if way.whole:
                lead = again = ""
            if begins and not lead:
                words = words[0].upper() + words[1:]
            name = told.groupdict().get("name") or ""
            return (
                markupsafe.escape(lead)
                + addresses.link(_url(way, name, flow), words)
                + markupsafe.escape(again)
            )
    return markupsafe.Markup("{}<code>{}</code>{}").format(lead, found["code"], again)


def _url(way: Way, name: str, flow: str) -> str:
    if way.words == "accept the deletes" and flow.startswith("pull:"):
        return f"{addresses.flow(flow)}/{urllib.parse.quote(name)}"
    return way.url.format(urllib.parse.quote(name))
