"""Relations between streams as arithmetic: who belongs to whom, both ways, without a stored row.

Every map here is monotone, so that an object and its relatives lie at the same place in time, and every map can be
inverted, so that "all charges of this customer" costs as little as "the customer of this charge".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import overload


def scale(ordinal: int, count: int, into: int) -> int:
    """The one of `into` rows at the same place as this one of `count` rows."""
    return ordinal * into // count


def scaled(ordinal: int, count: int, into: int) -> range:
    """Inverse of `scale`: the rows out of `count` that map to this one of `into`."""
    return range(-(-ordinal * count // into), min(count, -(-(ordinal + 1) * count // into)))


class Thinned:
    """A stream of which one row in every complete group of `group` is odd, at a hashed place, never the last."""

    def __init__(self, total: int, group: int, salt: int) -> None:
        self.total = total
        self.group = group
        self.odd = whole = total // group
        self.even = total - whole
        last = group - 1

        def place(number: int) -> int:
            return (number * 0x9E3779B1 + salt >> 7) % last

        def index(ordinal: int) -> int:
            number = ordinal // group
            if number >= whole:
                return ordinal - whole
            at, odd = ordinal - number * group, (number * 0x9E3779B1 + salt >> 7) % last
            return ordinal - number if at < odd else ordinal - number - 1 if at > odd else ~number

        def ordinal(index: int) -> int:
            if index < 0:
                return ~index * group + place(~index)
            number = index // last
            if number >= whole:
                return index + whole
            return index + number + (index - number * last >= (number * 0x9E3779B1 + salt >> 7) % last)

        # Closures, as everywhere here: they are asked several times for every object that is rendered.
        self.place = place
        """Where in its group the odd row stands."""
        self.index = index
        """Ordinal -> index among the even rows; `~group` for an odd one."""
        self.ordinal = ordinal
        """Inverse of `index`."""


class Interleaved:
    """Two streams merged evenly into one: `many` and `few` rows, the few always after the many they belong to."""

    def __init__(self, many: int, few: int) -> None:
        self.many = many
        self.few = few
        self.total = total = many + few

        def split(at: int) -> tuple[bool, int, int]:
            before = at * few // total
            is_few = (at + 1) * few // total > before
            return is_few, before if is_few else at - before, at - before

        def of_many(index: int) -> int:
            return index * total // many

        def of_few(index: int) -> int:
            return -(-(index + 1) * total // few) - 1

        self.split = split
        """Place -> is it one of the few, its own index, and how many of the many stand before it."""
        self.of_many = of_many
        """The place of one of the many."""
        self.of_few = of_few
        """The place of one of the few."""


class Sampled:
    """Each of `few` rows picks one of `many`, all different and in order, at a hashed place of its own cell."""

    def __init__(self, few: int, many: int, salt: int) -> None:
        self.few = few
        self.many = many

        def target(index: int) -> int:
            if few > many:
                return index if index < many else -1
            first = -(-index * many // few)
            width = -(-(index + 1) * many // few) - first
            return first + (index * 0x9E3779B1 + salt >> 9) % (width + 1 >> 1)

        def source(index: int) -> int:
            if few > many or not few:
                return index if few else -1
            picker = index * few // many
            first = -(-picker * many // few)
            width = -(-(picker + 1) * many // few) - first
            return picker if first + (picker * 0x9E3779B1 + salt >> 9) % (width + 1 >> 1) == index else -1

        def sources(indexes: Sequence[int]) -> list[int]:
            low, high = min(indexes, default=0), max(indexes, default=0)
            if few > many or len(indexes) < 8 or high - low > 4 * len(indexes):
                return list(map(source, indexes))
            pickers = range(low * few // many, min(few, high * few // many + 1))
            picked = {target(picker): picker for picker in pickers}
            return [picked.get(index, -1) for index in indexes]

        self.target = target
        """The row that this one picked; -1 when there are not enough."""
        self.source = source
        """Inverse of `target`: which row picked this one, or -1."""
        self.sources = sources
        """The same of several rows, sooner if they are neighbours."""


class Picked(Sequence[int]):
    """Ordinals of a stream, computed when asked for: as long as it likes, as small as this."""

    __slots__ = ("_at", "_length")

    def __init__(self, length: int, at: Callable[[int], int]) -> None:
        self._length = length
        self._at = at

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        if isinstance(index, slice):
            return [self._at(at) for at in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(index)
        return self._at(index % self._length)

    def __iter__(self) -> Iterator[int]:
        return map(self._at, range(self._length))
