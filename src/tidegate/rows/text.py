"""JSON as bytes: whitespace removed and containers split, every value left exactly as it was written.

msgspec does the work. It refuses a lone surrogate (`\\ud800`) anywhere in a document, though JSON allows one
and Stripe passes on what its users typed; then the standard library reads the document instead.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

import msgspec

_HEAD = 256
_TOKENS = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+', re.DOTALL)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])


def compact(body: bytes) -> bytes:
    """The same document without whitespace between its tokens; numbers and strings are untouched.

    A document that shows no whitespace at its start and has no line break is returned as it is. Raises
    ValueError when it is no JSON in UTF-8.
    """
    if b"\n" in body or b'": ' in body[:_HEAD]:
        try:
            body = msgspec.json.format(body, indent=-1)
        except msgspec.DecodeError:
            body = _TOKENS.sub(r"\1", body.decode()).encode()
    if not body.isascii():
        body.decode()
    return body


def members(raw: bytes) -> dict[str, bytes]:
    """The members of an object by key, values as written; the last of equal keys wins.

    Raises ValueError when `raw` is no JSON object; `raw` must be compact.
    """
    try:
        return {key: bytes(value) for key, value in _MEMBERS.decode(raw).items()}
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return _members(raw.decode())


def elements(raw: bytes) -> list[bytes]:
    """The elements of an array as written; raises ValueError when compact `raw` is no JSON array."""
    try:
        return [bytes(value) for value in _ELEMENTS.decode(raw)]
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return _elements(raw.decode())


def value(raw: bytes) -> object:
    """A value as Python has it; a string with a lone surrogate keeps it."""
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return json.loads(raw)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


# Numbers stay text: a conversion would cost time, and Python refuses integers beyond 4,300 digits.
_SCAN = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)


def _members(text: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    at = _expect(text, 0, "{")
    while text[at : at + 1] != "}" or found:
        key, at = _SCAN.raw_decode(text, at)
        if not isinstance(key, str):
            raise ValueError("a key of an object is no string")
        start = _expect(text, at, ":")
        _, at = _SCAN.raw_decode(text, start)
        found[key] = text[start:at].encode()
        if text[at : at + 1] == "}":
            break
        at = _expect(text, at, ",")
    _end(text, at + 1)
    return found


def _elements(text: str) -> list[bytes]:
    found: list[bytes] = []
    at = _expect(text, 0, "[")
    while text[at : at + 1] != "]" or found:
        start = at
        _, at = _SCAN.raw_decode(text, start)
        found.append(text[start:at].encode())
        if text[at : at + 1] == "]":
            break
        at = _expect(text, at, ",")
    _end(text, at + 1)
    return found


def _expect(text: str, at: int, token: str) -> int:
    if text[at : at + 1] != token:
        raise ValueError(f"expected {token} at character {at}")
    return at + 1


def _end(text: str, at: int) -> None:
    if at != len(text):
        raise ValueError(f"more text after the end, at character {at}")
