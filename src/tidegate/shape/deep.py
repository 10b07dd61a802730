"""Containers in JSON that are nested too deep for a decoder: taken apart token by token, without recursion.

What they hold is not checked, only that brackets and quotes close: whoever stored the document has done that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tidegate.rows import text

_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},:]', re.DOTALL)


def members(raw: bytes) -> dict[str, bytes]:
    """As `rows.text.members`."""
    found: dict[str, bytes] = {}
    for part in _parts(raw, b"{"):
        key, colon, value = part
        name = text.value(raw[key:colon])
        if not isinstance(name, str):
            raise ValueError("a key of an object is no string")
        found[name] = raw[colon + 1 : value].strip()
    return found


def elements(raw: bytes) -> list[bytes]:
    """As `rows.text.elements`."""
    return [raw[start:end].strip() for start, _, end in _parts(raw, b"[")]


def depth(raw: bytes) -> int:
    """How many lists and objects stand inside each other."""
    if raw.count(b"{") + raw.count(b"[") < 2:  # of most documents this says enough
        return raw.count(b"{") + raw.count(b"[")
    now = most = 0
    for token in _TOKENS.finditer(raw):
        if token[0] in b"[{":
            now += 1
            most = max(most, now)
        elif token[0] in b"]}":
            now -= 1
    return most


def _parts(raw: bytes, opening: bytes) -> Iterator[tuple[int, int, int]]:
    """Where each member or element begins, where the colon behind its key is, and where it ends."""
    if not raw.startswith(opening):
        raise ValueError(f"it begins with no {opening.decode()}")
    now, start, colon = 0, 1, 0
    for token in _TOKENS.finditer(raw):
        match token[0]:
            case b"{" | b"[":
                now += 1
            case b"}" | b"]":
                now -= 1
                if now == 0:
                    if raw[start : token.start()].strip() or colon:
                        yield start, colon, token.start()
                    return
            case b"," if now == 1:
                yield start, colon, token.start()
                start, colon = token.end(), 0
            case b":" if now == 1:
                colon = token.start()
    raise ValueError("it does not end")
