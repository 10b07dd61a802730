"""Where things have their pages: flows, and parts of the configuration."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Mapping

import markupsafe

FLOWS: Mapping[str, str] = {"pull": "/streams", "pipeline": "/pipelines", "push": "/syncs"}
"""Below what the flows of a kind have their pages."""
PARTS: Mapping[str, str] = {
    "stripe": "/accounts",
    "warehouses": "/warehouses",
    "pulls": "/streams",
    "pipelines": "/pipelines",
    "models": "/models",
    "pushes": "/syncs",
}
"""Below what the parts of a section of the configuration have their pages."""
SINGLE: Mapping[str, str] = {"customer_model": "/customers/-/rules", "alerts": "/settings/alerts"}
"""The pages of sections that are one part each."""


def flow(name: str) -> str:
    """The page of a flow such as `pull:everything`; all runs for what is none."""
    kind, _, own = name.partition(":")
    return f"{FLOWS[kind]}/{urllib.parse.quote(own)}" if kind in FLOWS and own else "/runs"


def part(kind: str, name: str) -> str:
    """The page of a part of the configuration; empty where it has none."""
    if kind in PARTS and name:
        return f"{PARTS[kind]}/{urllib.parse.quote(name)}"
    return SINGLE.get(kind, "")


def link(url: str, words: str, *, away: bool = False) -> markupsafe.Markup:
    """Words that lead to an address, of another site in a tab of its own; without one, the words."""
    if not url:
        return markupsafe.escape(words)
    more = markupsafe.Markup(' rel="noreferrer" target="_blank"') if away else markupsafe.Markup("")
    return markupsafe.Markup('<a href="{}"{}>{}</a>').format(url, more, words)


def flow_link(name: str, words: str = "") -> markupsafe.Markup:
    """A flow by its name, or in other words, which lead to its page."""
    return link(flow(name), words or name)


def flow_links(names: Iterable[str]) -> markupsafe.Markup:
    """Several of them, with commas between."""
    return markupsafe.Markup(", ").join(flow_link(each) for each in names)
