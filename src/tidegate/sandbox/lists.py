"""Lists: cursors, limits, filters and pages, newest first, over base objects and the overlay alike.

A page of untouched base objects is the world's bytes joined by commas; nothing is decoded on that way.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib import parse

import msgspec

from tidegate import catalog
from tidegate.sandbox import expand as expansions
from tidegate.sandbox import filters, forms, objects, refusals, shelves

DEFAULT_LIMIT = 10
PAGING = frozenset({"starting_after", "ending_before"})

Parents = tuple[tuple[str, str], ...]
"""Stream and id of the object that is listed, and of a second one where the list is by both."""


@dataclass(frozen=True)
class Listing:
    """One list endpoint: the streams its elements belong to (several for a mixed list)."""

    path: str
    api: str
    streams: tuple[tuple[catalog.Stream, catalog.Origin], ...]

    @functools.cached_property
    def narrowing(self) -> frozenset[str]:
        """The parameters that filter."""
        fixed = {name.partition("[")[0] for _, one in self.streams for name in one.params}
        return frozenset(name for _, one in self.streams for name in one.filters) | fixed

    @functools.cached_property
    def known(self) -> frozenset[str]:
        """All parameters that the list takes."""
        origin = self.streams[0][1]
        known = self.narrowing | {above.param for above in origin.parents} | {"expand"}
        if origin.created:
            known |= {origin.created}
        if origin.max_limit:
            known |= {"limit"}
        if origin.paged:
            known |= PAGING | {"page"} if self.api == "v2" else PAGING
        return known


@dataclass(frozen=True)
class Asked:
    """A list request after its parameters were read."""

    limit: int
    after: str
    before: str
    low: int | None
    """Created at this second or later."""
    top: int | None
    """Created before this second."""
    matches: tuple[filters.Match, ...]
    equal: Mapping[str, str]
    """Plain equality filters, which the world may answer from its structure."""
    own: frozenset[str]
    deep: list[tuple[str, ...]]


def page(
    book: objects.Book,
    listing: Listing,
    arguments: Mapping[str, str],
    params: forms.Tree,
    url: str,
    visible: filters.Match | None = None,
    oldest: int | None = None,
) -> bytes:
    """The answer to a list request; `visible` hides elements, and so does having been created before `oldest`."""
    params = dict(params)
    cursor = _open_token(params) if listing.api == "v2" else {}
    parents = _parents(book, listing, arguments, params)
    asked = _read(listing, {**params, **cursor}, parents)
    if visible is not None:
        asked = dataclasses.replace(asked, matches=(*asked.matches, visible))
    if oldest is not None:
        asked = dataclasses.replace(asked, low=max(asked.low or oldest, oldest))
    plain = _plain_page(book, listing, asked, parents)
    if plain is not None:
        data, more = plain
        found: list[tuple[str, shelves.Ref]] = []
    else:
        found, more = _page_refs(book, listing, asked, parents)
        data = b",".join([_render(book, name, ref, asked) for name, ref in found])
    if listing.api == "v2":
        return _v2_answer(book, data, found, more, asked, url, params)
    return b'{"object":"list","data":[%b],"has_more":%b,"url":%b}' % (
        data,
        b"true" if more else b"false",
        msgspec.json.encode(url),
    )


def _plain_page(
    book: objects.Book, listing: Listing, asked: Asked, parents: Parents
) -> tuple[bytes, bool] | None:
    """A page of untouched base objects, which are neighbours in the world; None when there is more to it."""
    stream = listing.streams[0][0]
    if (
        parents
        or asked.matches
        or asked.deep
        or asked.before
        or listing.api == "v2"
        or not book.pristine(stream.name)
    ):
        return None
    world, name = book.world, stream.name
    cursor = world.find(name, asked.after) if asked.after else None
    if asked.after and cursor is None:
        raise _no_cursor(stream, asked)
    bottom = 0 if asked.low is None else world.bisect(name, asked.low)
    top = world.count(name) if asked.top is None else world.bisect(name, asked.top)
    if cursor is not None:
        top = min(top, cursor[0])
    end = max(bottom, top - asked.limit)
    return world.render_many(name, range(top - 1, end - 1, -1), asked.own), end > bottom


def matches_all(asked: Asked, obj: objects.Object) -> bool:
    """Does the object pass every filter?"""
    return all(match(obj) for match in asked.matches)


def _render(book: objects.Book, stream: str, ref: shelves.Ref, asked: Asked) -> bytes:
    if not asked.deep:
        return book.render(stream, ref, asked.own)
    return msgspec.json.encode(expansions.apply(book, book.show(stream, ref, asked.own), asked.deep))


def _page_refs(
    book: objects.Book, listing: Listing, asked: Asked, parents: Parents
) -> tuple[list[tuple[str, shelves.Ref]], bool]:
    """The page's refs, newest first, and whether more follow in the direction that was asked for."""
    backwards = bool(asked.before)
    refs = _children(book, listing, asked, parents) if parents else _top_level(book, listing, asked)
    window = list(itertools.islice(refs, asked.limit + 1))
    more = len(window) > asked.limit
    window = window[: asked.limit]
    if backwards:
        window.reverse()
    return window, more


def _top_level(book: objects.Book, listing: Listing, asked: Asked) -> Iterator[tuple[str, shelves.Ref]]:
    stream = listing.streams[0][0]
    name = stream.name
    cursor = _cursor(book, stream, asked)
    chosen, keys = book.narrowed(name, asked.equal)
    exact = chosen is not None and len(asked.equal) == len(asked.matches)
    if asked.before:
        assert cursor is not None, "a cursor that is not there was refused"
        refs = book.ascending(name, cursor, asked.low, asked.top, chosen, keys)
    else:
        refs = book.descending(name, cursor, asked.low, asked.top, chosen, keys)
    if not asked.matches:
        return zip(itertools.repeat(name), refs)
    return (
        (name, ref)
        for ref in refs
        if (exact and not ref.born and book.stored(name, ref) is None)
        or matches_all(asked, book.show(name, ref))
    )


def _children(
    book: objects.Book, listing: Listing, asked: Asked, parents: Parents
) -> Iterator[tuple[str, shelves.Ref]]:
    elements = [
        (stream.name, ref) for stream, _ in listing.streams for ref in book.children(stream.name, *parents[0])
    ]
    if len(parents) > 1:
        elements = [(name, ref) for name, ref in elements if _theirs(book, parents, ref)]
    kept = [(name, ref) for name, ref in elements if _kept(book, name, ref, asked)]
    cursor = asked.after or asked.before
    if cursor:
        position = next((i for i, (name, ref) in enumerate(elements) if book.id(name, ref) == cursor), None)
        if position is None:
            raise _no_cursor(listing.streams[0][0], asked)
        allowed = set(elements[position + 1 :] if asked.after else elements[:position])
        kept = [one for one in kept if one in allowed]
    return iter(reversed(kept) if asked.before else kept)


def _kept(book: objects.Book, stream: str, ref: shelves.Ref, asked: Asked) -> bool:
    if not asked.matches and asked.low is None and asked.top is None:
        return True
    obj = book.show(stream, ref)
    created = obj.get("created")
    if isinstance(created, int) and (
        (asked.low is not None and created < asked.low) or (asked.top is not None and created >= asked.top)
    ):
        return False
    return matches_all(asked, obj)


def _cursor(book: objects.Book, stream: catalog.Stream, asked: Asked) -> shelves.Ref | None:
    """Where the page begins; a cursor that was deleted meanwhile is refused, as at Stripe."""
    id = asked.after or asked.before
    if not id:
        return None
    if not book.exists(stream.name, id):
        raise _no_cursor(stream, asked)
    return book.locate(stream.name, id)


def _no_cursor(stream: catalog.Stream, asked: Asked) -> refusals.Refusal:
    param = "starting_after" if asked.after else "ending_before"
    if stream.api == "v2":
        return refusals.invalid(
            "page", "The page token is invalid or its object is gone; begin the list anew."
        )
    return refusals.missing(noun(stream), asked.after or asked.before, param, status=400)


def noun(stream: catalog.Stream) -> str:
    """The word Stripe uses in "No such ...": the object's name without its family."""
    return stream.object.rpartition(".")[2]


def _parents(
    book: objects.Book, listing: Listing, arguments: Mapping[str, str], params: forms.Tree
) -> Parents:
    """The parents' streams and ids, out of the path or the query; refused when one is not there."""
    found: list[tuple[str, str]] = []
    for parent in listing.streams[0][1].parents:
        in_path = parent.param in arguments
        if not in_path and parent.param not in params:
            raise refusals.missing_parameter(parent.param)
        value = arguments[parent.param] if in_path else str(params[parent.param])
        if parent.field != "id":
            continue
        if not book.exists(parent.stream, value):
            word = noun(book.stream(parent.stream))
            raise refusals.missing(word, value, parent.param, status=404 if in_path else 400)
        found.append((parent.stream, value))
    return tuple(found)


def _theirs(book: objects.Book, parents: Parents, ref: shelves.Ref) -> bool:
    """Of a list by two parents, whose children the world knows by the first: the second one's turn?"""
    return all(
        (found := book.world.find(stream, id)) is not None and ref.n == found[0] for stream, id in parents[1:]
    )


def _read(listing: Listing, params: forms.Tree, parents: Parents) -> Asked:
    stream, origin = listing.streams[0]
    narrowing = listing.narrowing
    forms.refuse_unknown(params, listing.known)
    for name in origin.window:
        if name not in params:
            raise refusals.missing_parameter(name)
    limit = forms.integer("limit", params.get("limit", DEFAULT_LIMIT), 1, origin.max_limit or None)
    if not origin.paged:
        limit = 1_000_000
    after, before = str(params.get("starting_after", "")), str(params.get("ending_before", ""))
    if after and before:
        raise refusals.invalid(
            "starting_after", "You can only provide one of starting_after or ending_before."
        )
    low, top = filters.span(params.get(origin.created)) if origin.created else (None, None)
    wanted = forms.strings("expand", params["expand"]) if "expand" in params else []
    own, deep = expansions.split(stream, wanted, inside="data")
    taken = {above.param for above in origin.parents}
    given = {
        name: value
        for name, value in params.items()
        if name in narrowing and name != origin.created and name not in taken
    }
    equal, matches = filters.read(stream, given, top_level=not parents)
    return Asked(limit, after, before, low, top, tuple(matches), equal, own, deep)


def _open_token(params: forms.Tree) -> forms.Tree:
    """A v2 page token as a cursor."""
    token = params.pop("page", None)
    if token is None:
        return {}
    try:
        side, _, id = base64.urlsafe_b64decode(str(token).encode()).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        side = ""
    if side not in PAGING:
        raise refusals.invalid("page", "The page token is invalid; take it from next_page_url.")
    return {side: id}


def _v2_answer(
    book: objects.Book,
    data: bytes,
    found: list[tuple[str, shelves.Ref]],
    more: bool,
    asked: Asked,
    url: str,
    params: forms.Tree,
) -> bytes:
    following = more if not asked.before else True
    preceding = bool(asked.after) or (bool(asked.before) and more)
    urls: list[str | None] = []
    for wanted, side, at in ((following, "starting_after", -1), (preceding, "ending_before", 0)):
        if not wanted or not found:
            urls.append(None)
            continue
        token = base64.urlsafe_b64encode(f"{side}:{book.id(*found[at])}".encode()).decode()
        urls.append(f"{url}?{forms.encode_form(params)}{'&' if params else ''}page={parse.quote(token)}")
    return b'{"data":[%b],"next_page_url":%b,"previous_page_url":%b}' % (
        data,
        msgspec.json.encode(urls[0]),
        msgspec.json.encode(urls[1]),
    )
