"""Paths inside the documents of one column of JSON: every document is read once, whatever it is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.shape import values

Path = tuple[str, ...]

_ABSENT = msgspec.Raw(b"")
_UNNAMEABLE = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')
"""What msgspec takes in no name of a field."""

_ESCAPES = re.compile(
    r"(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)


class Reader:
    """Finds values at paths, as they are written; it may be used from any thread."""

    def __init__(self, paths: frozenset[Path]) -> None:
        self._paths = sorted(paths)
        keys = sorted({path[0] for path in paths})
        self._keys = {
            key: f"f{n}"
            for n, key in enumerate(keys)
            if not _UNNAMEABLE.search(key) and not key.isdecimal()  # a number may lead into a list
        }
        struct = msgspec.defstruct(
            "Document",
            [(attribute, msgspec.Raw, _ABSENT) for attribute in self._keys.values()],
            rename={attribute: key for key, attribute in self._keys.items()},
            gc=False,
        )
        self._many: msgspec.json.Decoder[list[object]] = msgspec.json.Decoder(list[struct | None])  # type: ignore[valid-type]  # made at run time

    def read(self, given: Sequence[bytes | None]) -> Mapping[Path, list[bytes | None]]:
        """For each path what stands there in each document, None where nothing does."""
        tops = self._tops(given)
        return {
            path: _found(given, path)
            if tops is None or path[0] not in tops
            else _found(tops[path[0]], path[1:])
            for path in self._paths
        }

    def _tops(self, given: Sequence[bytes | None]) -> dict[str, list[bytes | None]] | None:
        """What stands at the first step of every path; None where some document is no object."""
        joined = b"[" + b",".join([each or b"null" for each in given]) + b"]"
        try:
            found = self._many.decode(joined)
        except (msgspec.DecodeError, RecursionError):  # or has half a surrogate, which msgspec does not read
            return None
        if len(found) != len(given):
            return None
        return {
            key: [None if each is None else bytes(getattr(each, attribute)) or None for each in found]
            for key, attribute in self._keys.items()
        }


def _found(given: Sequence[bytes | None], path: Path) -> list[bytes | None]:
    if not path:
        return list(given)
    find = values.finder(path)
    return [None if document is None else find(document) for document in given]


def mended(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """JSON with U+FFFD for half surrogates: Stripe passes on what its users typed, and no database reads them."""
    seen = pc.match_substring_regex(column, r"\\u[dD][89a-fA-F]")
    if not pc.any(seen).as_py():
        return column
    return pa.chunked_array(
        [pa.array([each and _ESCAPES.sub(_whole, each) for each in column.to_pylist()], pa.string())]
    )


def _whole(escape: re.Match[str]) -> str:
    return "\\ufffd" if escape["half"] else escape[0]
