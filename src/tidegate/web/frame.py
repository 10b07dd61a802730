"""The frame around every page: navigation, TEST / LIVE badge, flash lines, errors, and how templates are rendered.

Templates know `ui` (the macros of `parts.html`), `asset(name)`, `icon(name)`, `csrf()`: the hidden field of a form
that is written by hand, and `|told`, which makes a sentence's commands lead to pages. Without JavaScript every page
is whole; htmx asks for the same address and takes its part of the answer.
"""

from __future__ import annotations

import contextvars
import datetime
import functools
import http
import json
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2
import markupsafe
from starlette import requests, responses

from tidegate import config
from tidegate.server import asking
from tidegate.stripe import keys
from tidegate.views import configuration, start
from tidegate.web import addresses, assets, prose

TEMPLATES = Path(__file__).parent / "templates"
SAID = "tidegate_said"
"""The cookie that carries a flash line to the next page."""
THEME = "tidegate_theme"
"""The cookie that says `light` or `dark`; without it the browser's wish counts."""
LONGEST = 1500
"""Characters of a flash line; a cookie holds 4,096 bytes."""
ADDRESS = ":/%#?=@[]!$&'()*+,;"
"""What stays as it is, beside letters and digits, of an address in a header; the same as in other redirects."""
Kind = Literal["ok", "warn", "bad"]

NAVIGATION = (
    ("/", "Overview", "overview"),
    ("/accounts", "Stripe accounts", "stripe"),
    ("/warehouses", "Warehouses", "warehouse"),
    ("/streams", "Streams", "streams"),
    ("/pipelines", "Pipelines", "pipelines"),
    ("/customers", "Customers", "customers"),
    ("/models", "Models", "models"),
    ("/syncs", "Syncs to Stripe", "pushes"),
    ("/runs", "Runs", "runs"),
    ("/issues", "Issues", "issues"),
    ("/audits", "Audits", "check"),
    ("/settings", "Settings", "settings"),
)
"""Address, name and icon of every page of the side rail, in order."""
KEYS = {
    "/": "o",
    "/accounts": "a",
    "/warehouses": "w",
    "/streams": "s",
    "/pipelines": "p",
    "/customers": "c",
    "/models": "m",
    "/syncs": "y",
    "/runs": "r",
    "/issues": "i",
    "/audits": "u",
    "/settings": "t",
}
"""What follows `g` on the keyboard to go there."""
PROBLEMS = {
    400: "That could not be read",
    401: "Please sign in",
    403: "Not for your role",
    404: "There is no such page",
    405: "That cannot be done here",
    409: "That cannot be done now",
    410: "That is over",
    413: "That is too much at once",
    421: "Not known by this name",
    422: "Something is missing or wrong",
    429: "Slow down a little",
    500: "Something went wrong here",
    503: "Not now",
}
"""Titles of error pages."""


@dataclass(frozen=True, slots=True)
class Later:
    """A cell that is made while its page is: forms in it have the token of whoever asks, which none has before."""

    made: Callable[[], markupsafe.Markup]

    def __html__(self) -> str:
        return str(self.made())


_token: contextvars.ContextVar[str] = contextvars.ContextVar("csrf", default="")
"""The token of the session whose page is being rendered."""


def page(
    request: requests.Request,
    asker: asking.Asker | None,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    csrf_token: str = "",
    **context: Any,
) -> responses.Response:
    """A whole page, or its content alone where htmx asks; without an asker it has no navigation.

    The template extends `base.html` and fills `title`, `actions` and `content`. It is given `request`, `asker` and
    what is in `context`. A package without its bundle answers 503 and says so.
    """
    if not assets.manifest():
        return responses.PlainTextResponse(assets.MISSING + "\n", status_code=503)
    partly = is_partial(request)
    found = environment().get_template(template)
    said = flash(request)
    values = {
        "request": request,
        "asker": asker,
        "flashed": said,
        "mode": mode(request),
        "troubles": troubles(request) if asker is not None else (),
        "theme": theme(request),
        "here": request.url.path,
        "section": section(request.url.path),
        "navigation": NAVIGATION,
        "shortcuts": KEYS,
        "partly": partly,
        **context,
    }
    given = _token.set(asker.csrf if asker else csrf_token)
    try:
        html = found.render(values)
    finally:
        _token.reset(given)
    answer = _html(html, status, headers)
    if said:
        answer.delete_cookie(SAID, path="/")
    return answer


def partial(
    request: requests.Request,
    asker: asking.Asker | None,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> responses.Response:
    """A piece of a page: what htmx puts somewhere, or an event of a live region."""
    return _html(fragment(request, asker, template, **context), status, headers)


def placed(
    request: requests.Request,
    asker: asking.Asker | None,
    template: str,
    whole: Callable[[markupsafe.Markup], responses.Response],
    **context: Any,
) -> responses.Response:
    """A piece of a page where htmx asks for it; else the page that `whole` makes with it in its place."""
    html = fragment(request, asker, template, **context)
    return _html(html, 200, None) if is_partial(request) else whole(html)


def fragment(
    request: requests.Request, asker: asking.Asker | None, template: str, **context: Any
) -> markupsafe.Markup:
    """The HTML of a piece of a page, for an event of a live region (`event: html`)."""
    given = _token.set(asker.csrf if asker else "")
    try:
        found = environment().get_template(template)
        return markupsafe.Markup(found.render({"request": request, "asker": asker, **context}))
    finally:
        _token.reset(given)


def done(request: requests.Request, url: str, said: str = "", kind: Kind = "ok") -> responses.Response:
    """After a change: go on at `url`, an address of this site, where the flash line stands above the page."""
    if not url.startswith("/") or url.startswith(("//", "/\\")):
        raise ValueError(f"{url} is no address of this site")
    if request.headers.get("hx-request") == "true":
        answer = responses.Response(headers={"HX-Redirect": urllib.parse.quote(url, safe=ADDRESS)})
    else:
        answer = responses.RedirectResponse(url, status_code=303)
    answer.headers["Cache-Control"] = "no-store"
    if said:
        value = urllib.parse.quote(json.dumps([kind, said[:LONGEST]]))
        answer.set_cookie(
            SAID, value, max_age=60, path="/", httponly=True, samesite="lax", secure=_is_https(request)
        )
    return answer


def failed(
    request: requests.Request,
    asker: asking.Asker | None,
    status: int,
    sentence: str,
    *,
    title: str = "",
    next_step: str = "",
) -> responses.Response:
    """An error as a page, with the way back to where a form was sent from; where htmx asked, a flash line."""
    if request.headers.get("hx-request") == "true":
        answer = partial(request, asker, "part_said.html", status=status, kind="bad", text=sentence)
        answer.headers["HX-Retarget"] = "#said"
        answer.headers["HX-Reswap"] = "innerHTML"
        answer.headers["HX-Push-Url"] = "false"
        return answer
    title = title or PROBLEMS.get(status, "Something went wrong")
    if status == 404 and sentence == http.HTTPStatus.NOT_FOUND.phrase:
        sentence = "The address may be old, or mistyped."
    return page(
        request,
        asker,
        "error.html",
        status=status,
        title=title,
        sentence=sentence,
        next_step=next_step,
        code=status,
        back="" if request.method in asking.SAFE else came_from(request),
    )


def came_from(request: requests.Request) -> str:
    """The page of this site on which a form was, as far as the browser says."""
    try:
        told = urllib.parse.urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return ""
    if told.netloc.lower() != request.headers.get("host", "").lower():
        return ""
    found = asking.onward(told.path + (f"?{told.query}" if told.query else ""))
    return "" if found == "/" else found


def flash(request: requests.Request) -> tuple[Kind, str] | None:
    """The line that the last change left, with its kind."""
    found = request.cookies.get(SAID)
    if not found:
        return None
    try:
        kind, text = json.loads(urllib.parse.unquote(found))
    except (ValueError, TypeError, RecursionError):
        return None
    return (kind if kind in ("ok", "warn", "bad") else "ok", str(text)[:LONGEST])


def mode(request: requests.Request) -> str:
    """Which Stripe the keys reach: `TEST`, `LIVE`, `TEST + LIVE`, `DEMO` for generated data; "" without a key."""
    desk = request.app.state.desk
    return modes(desk.place.file) if desk is not None else ""


def troubles(request: requests.Request) -> tuple[str, ...]:
    """What is wrong with a configuration that does not count therefore, which every page says."""
    desk = request.app.state.desk
    return configuration.troubles(desk.place) if desk is not None else ()


def modes(file: config.Config) -> str:
    """The same of a configuration."""
    found = set()
    for name, connection in file.stripe.items():
        if start.is_demo(name, connection):
            found.add("DEMO")
        elif connection.api_key is not None:
            found.add(keys.mode(connection.api_key.get_secret_value()).upper())
        elif connection.oauth is not None:
            found.add(keys.mode(connection.oauth.client_secret.get_secret_value()).upper())
    return " + ".join(sorted(found, reverse=True))


def link(href: str, text: Any) -> markupsafe.Markup:
    """A link to a page of this site, for a cell of a table or a fact."""
    return markupsafe.Markup('<a href="{}">{}</a>').format(urllib.parse.quote(href, safe=ADDRESS), text)


def csrf() -> markupsafe.Markup:
    """The hidden field that every form which changes something has; `ui.form` has it already."""
    token = markupsafe.escape(_token.get())
    return markupsafe.Markup('<input type="hidden" name="_csrf" value="{}">').format(token)


def theme(request: requests.Request) -> str:
    """`light` or `dark` where somebody chose, else nothing."""
    found = request.cookies.get(THEME, "")
    return found if found in ("light", "dark") else ""


def section(path: str) -> str:
    """The entry of the navigation that a page belongs to."""
    found = [url for url, _, _ in NAVIGATION if url != "/" and (path == url or path.startswith(url + "/"))]
    return max(found, key=len, default="/" if path == "/" else "")


def parts() -> Any:
    """The macros of `parts.html`, to be called from Python: `frame.parts().chip("ok")`."""
    return environment().globals["ui"]


@functools.cache
def environment() -> jinja2.Environment:
    """Templates of this package: autoescaped, and a name that is not there is an error, not an empty text."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        enable_async=False,
    )
    made.filters["number"] = number
    made.filters["duration"] = duration
    made.filters["json"] = _json
    made.filters["told"] = prose.shown
    made.globals.update(
        asset=assets.url,
        preloads=assets.preloads,
        csrf=csrf,
        csrf_token=_token.get,
        now=time.time,
        iso=iso,
        utc=utc,
        percent=percent,
        flow_links=addresses.flow_links,
    )
    made.globals["icon"] = made.get_template("icons.html").module.icon  # type: ignore[attr-defined]
    made.globals["ui"] = made.get_template("parts.html").module
    return made


def prepare() -> None:
    """Compile all templates, which takes half a second of a processor once; else each page's first view does."""
    made = environment()
    for name in made.list_templates():
        made.get_template(name)


def number(value: float | int | None) -> str:
    """`1,234,567`; nothing known is a dash."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def duration(seconds: float | None) -> str:
    """`4.2 s`, `3 min 20 s`, `2 h 5 min`, `6 d 4 h`: two units at most."""
    if seconds is None:
        return "–"
    if seconds < 0:
        return "-" + duration(-seconds)
    if seconds < 0.9995:
        return f"{round(seconds * 1000)} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for large, small, size, names in (
        (3600, 60, 60, ("min", "s")),
        (86400, 3600, 60, ("h", "min")),
        (float("inf"), 86400, 24, ("d", "h")),
    ):
        if whole < large:
            count, rest = divmod(whole, small)
            less = rest * size // small
            return f"{count} {names[0]}" + (f" {less} {names[1]}" if less else "")
    raise AssertionError("a duration is finite")


def iso(seconds: float) -> str:
    """Unix seconds as RFC 3339 in UTC, to the millisecond."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc(seconds: float) -> str:
    """Unix seconds for reading: `2026-03-01 14:05 UTC`."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def percent(share: float, of: float, *, least: float = 0.0) -> str:
    """How much of it, for the width of a bar: `37.5%`; never less than `least` where there is any."""
    if not of or share <= 0:
        return "0%"
    return f"{min(100.0, max(least, share / of * 100)):g}%"


def _json(value: Any) -> str:
    """A value for an attribute; autoescaping makes it safe there."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def is_partial(request: requests.Request) -> bool:
    """Does htmx ask for a part of the page that stands? Going back in the history it wants the whole."""
    headers = request.headers
    return headers.get("hx-request") == "true" and headers.get("hx-history-restore-request") != "true"


def _is_https(request: requests.Request) -> bool:
    return request.url.scheme == "https"


def _html(text: str, status: int, headers: Mapping[str, str] | None) -> responses.HTMLResponse:
    answer = responses.HTMLResponse(text, status_code=status, headers=dict(headers or {}))
    answer.headers.setdefault("Cache-Control", "no-store")
    answer.headers.setdefault("Vary", "HX-Request, Cookie")
    return answer
