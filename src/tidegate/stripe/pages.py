"""The parameters of one page of a list, v1 and v2 alike."""

from __future__ import annotations

import datetime
import urllib.parse
from collections.abc import Mapping, Sequence

from tidegate import catalog, errors

Params = dict[str, str | int | Sequence[str]]


def is_v2(path: str) -> bool:
    """Does the path belong to Stripe's second API, with its own paging and times?"""
    return path.startswith("/v2/")


def path(template: str, ids: Mapping[str, str]) -> str:
    """`/v1/invoices/{invoice}/lines` with its ids in place, quoted: coupons may be called anything."""
    quoted = {name: urllib.parse.quote(value, safe="") for name, value in ids.items()}
    return template.format_map(quoted)


def list_params(
    origin: catalog.Origin,
    *,
    after: str | None = None,
    limit: int = 100,
    gte: int | None = None,
    lt: int | None = None,
    expand: Sequence[str] = (),
) -> Params:
    """Query parameters of the page after the object `after`, of objects created in [gte, lt).

    `expand` names fields of the listed objects (`tax_ids`). A v2 list has no cursor of ids: its next page is
    had by `next_page`. A filter that the list doesn't take is a mistake of the caller, never left out.
    """
    params: Params = dict(origin.params)
    v2 = is_v2(origin.path)
    if origin.max_limit:
        params["limit"] = min(limit, origin.max_limit)
    if after is not None:
        takes_cursor = origin.paged and not v2
        assert takes_cursor, f"The list {origin.path} takes no cursor, but got one."
        params["starting_after"] = after
    for bound, moment in (("gte", gte), ("lt", lt)):
        if moment is not None:
            assert origin.created, f"The list {origin.path} can't be filtered by creation time."
            params[f"{origin.created}[{bound}]"] = rfc3339(moment) if v2 else moment
    if expand and v2:
        params["include"] = list(expand)
    elif expand:
        params["expand[]"] = [f if f.startswith("data.") else f"data.{f}" for f in expand]
    return params


def next_page(url: str) -> tuple[str, Params]:
    """Path and parameters of a v2 `next_page_url`, absolute or relative.

    Its host is left out on purpose: the client sends it to its own host, so the key goes nowhere else.
    """
    parts = urllib.parse.urlsplit(url)
    if not parts.path.startswith(("/v1/", "/v2/")):
        raise errors.BadPage(
            f"Stripe named {keyless(url)!r} as the next page, which is no path of its API;"
            " check `api_base`, and run again."
        )
    params: dict[str, list[str]] = {}
    for name, value in urllib.parse.parse_qsl(parts.query, keep_blank_values=True):
        params.setdefault(name, []).append(value)
    return parts.path, {name: values[0] if len(values) == 1 else values for name, values in params.items()}


def keyless(url: str) -> str:
    """The URL without its query and sign-in, to be shown."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def rfc3339(moment: int) -> str:
    """Unix seconds as v2 writes them: `2026-01-31T00:00:00Z`."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(moment: str) -> int:
    """The whole unix second of a v2 time, its fraction dropped."""
    return int(datetime.datetime.fromisoformat(moment).timestamp() // 1)


def query(params: Mapping[str, str | int | Sequence[str]], *, v2: bool = False) -> str:
    """The query string; a sequence becomes `name[]=a&name[]=b`, in v2 `name[0]=a&name[1]=b`."""
    pairs: list[tuple[str, str | int]] = []
    for name, value in params.items():
        if isinstance(value, str | int):
            pairs.append((name, value))
        elif v2:
            bare = name.removesuffix("[]")
            pairs += [(name if "[" in bare else f"{bare}[{i}]", item) for i, item in enumerate(value)]
        else:
            pairs += [(name if name.endswith("]") else f"{name}[]", item) for item in value]
    return urllib.parse.urlencode(pairs, safe="[]")


Form = Mapping[str, object]


def form(values: Form) -> str:
    """A v1 form body: nested mappings and sequences in brackets, true and false in words, None as empty."""
    return urllib.parse.urlencode(list(_flat("", values)), safe="[]")


def _flat(name: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        inner = ((f"{name}[{key}]" if name else str(key), item) for key, item in value.items())
        return [pair for key, item in inner for pair in _flat(key, item)]
    if isinstance(value, list | tuple):
        return [pair for i, item in enumerate(value) for pair in _flat(f"{name}[{i}]", item)]
    if isinstance(value, bool):
        return [(name, "true" if value else "false")]
    return [(name, "" if value is None else str(value))]
