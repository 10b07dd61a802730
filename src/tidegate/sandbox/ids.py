"""Ids that look like Stripe's and can be read backwards.

An id spells the ordinal with three tokens out of fixed tables of 4,096, scrambled by the world's seed and the
stream. So no id is ever stored, ids do not sort by creation, and `number` finds the ordinal of an id without a
search. As with Stripe's own, neighbours may begin alike.
"""

from __future__ import annotations

import functools
import random
import sys
import zlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

WORD = (1 << 64) - 1
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


ODD, SALT, ODDER = 0x9E3779B97F4A7C15, 0x1D8E4E27C47D124F, 0xD6E8FEB86659FD93


def mix(number: int) -> int:
    """64 well-stirred bits of an integer: the only source of chance in a generated object."""
    number = (number * ODD + SALT) & WORD
    number = ((number ^ (number >> 32)) * ODDER) & WORD
    return number ^ (number >> 32)


def mixed(numbers: Sequence[int]) -> list[int]:
    """`mix` of each number, which has at most 64 bits, in half the time.

    The numbers stand side by side in one long integer, 128 bits apart, so that no product reaches the next.
    """
    count = len(numbers)
    if count < 8:
        return list(map(mix, numbers))
    salts, words = _lanes(count)
    lanes = array("Q", bytes(16 * count))
    lanes[LOW::2] = array("Q", numbers)
    all = (int.from_bytes(lanes.tobytes(), sys.byteorder) * ODD + salts) & words
    all = (((all ^ (all >> 32)) & words) * ODDER) & words
    all = (all ^ (all >> 32)) & words
    return array("Q", all.to_bytes(16 * count, sys.byteorder))[LOW::2].tolist()


LOW = int(sys.byteorder == "big")
"""Which of a lane's two words is the low one."""


@functools.lru_cache(maxsize=256)
def _lanes(count: int) -> tuple[int, int]:
    """`SALT` and `WORD`, so many times side by side."""
    ones = sum(1 << 128 * lane for lane in range(count))
    return ones * SALT, ones * WORD


def key(seed: int, *words: str) -> int:
    """A 64-bit key of a seed and some words, the same in every process."""
    return mix((seed << 32) ^ zlib.crc32("/".join(words).encode()) ^ 0x5DEECE66D)


@functools.lru_cache(maxsize=1024)
def tail(seed: int) -> str:
    """The ten characters that all long ids of one account share, as Stripe's do."""
    number, found = key(seed, "tail"), []
    for _ in range(10):
        number, digit = divmod(number, 62)
        found.append(ALPHABET[digit])
    return "".join(found)


def namer(seed: int, stream: str, prefix: str, long: bool = True) -> Namer:
    """The two directions of a stream's ids: the prefix and 24 characters, or 14 when they are not `long`."""
    chance = random.Random(key(seed, "id", stream))
    low, high, more, lower, higher, most = (chance.randrange(1, 4096, 2) for _ in range(6))
    shift, shift_high, shift_more = (chance.randrange(4096) for _ in range(3))
    undo_low, undo_high, undo_most = (pow(odd, -1, 4096) for odd in (low, high, most))
    end = tail(seed)
    start, middle = (f"{prefix}1", end) if long else (f"{prefix}{end[0]}", "")
    first, second, third = TOKENS
    a, b, c = len(start) + 5, len(start) + 5 + len(middle), len(start) + 9 + len(middle)

    @functools.lru_cache(maxsize=1024)
    def within(block: int) -> tuple[str, int, int]:
        """What the ids of 4,096 neighbours share: their beginning, and where they stand in the tables."""
        place = block & 4095
        return (
            f"{start}{first[place * high + shift_high & 4095]}{middle}",
            place * more + shift,
            place * higher + (block >> 12) * most + shift_more,
        )

    def name(number: int) -> str:
        head, body, rest = within(number >> 12)
        return f"{head}{second[number * low + body & 4095]}{third[number * lower + rest & 4095]}"

    def names(numbers: Sequence[int]) -> list[str]:
        block = min(numbers, default=0) >> 12
        if max(numbers, default=0) >> 12 != block:
            return list(map(name, numbers))
        head, body, rest = within(block)
        return [
            f"{head}{second[number * low + body & 4095]}{third[number * lower + rest & 4095]}"
            for number in numbers
        ]

    def number(text: str) -> int | None:
        if len(text) != c + 4 or not text.startswith(start) or text[a:b] != middle:
            return None
        head, body, rest = (
            NUMBERS[0].get(text[len(start) : a]), NUMBERS[1].get(text[b:c]), NUMBERS[2].get(text[c:])
        )  # fmt: skip
        if head is None or body is None or rest is None:
            return None
        block = (head - shift_high) * undo_high & 4095
        at = (body - shift - block * more) * undo_low & 4095
        return ((rest - shift_more - at * lower - block * higher) * undo_most & 4095) << 24 | block << 12 | at

    return Namer(name, names, number)


def listed(names: tuple[str, ...]) -> Namer:
    """Ids that are words: countries, currencies, tax codes."""
    numbers = {name: number for number, name in enumerate(names)}

    def name(number: int) -> str:
        return names[number % len(names)]

    return Namer(name, lambda numbers: list(map(name, numbers)), numbers.get)


class Namer(NamedTuple):
    """Ordinal -> id, the same of several, and id -> ordinal or nothing."""

    name: Callable[[int], str]
    names: Callable[[Sequence[int]], list[str]]
    number: Callable[[str], int | None]


def _tokens(length: int) -> tuple[str, ...]:
    chance = random.Random(length)
    found: dict[str, None] = {}
    while len(found) < 4096:
        found["".join(chance.choices(ALPHABET, k=length))] = None
    return tuple(found)


TOKENS = (_tokens(5), _tokens(4), tuple(reversed(_tokens(4))))
NUMBERS: Sequence[Mapping[str, int]] = [{token: at for at, token in enumerate(part)} for part in TOKENS]
