"""Cutting a list by creation time: nothing twice, nothing missed, few requests, all readers busy."""

from __future__ import annotations

import bisect
import heapq
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.pull import slices

NOW = 1_795_000_000
TWO_YEARS = 2 * 365 * 86_400


@dataclass
class Stripe:
    """A list of objects by creation time, as Stripe answers it: newest first, 100 a page."""

    times: list[int]
    gone: set[int] = field(default_factory=set)
    requests: int = 0

    def page(
        self, low: int | None, high: int | None, after: int | None
    ) -> tuple[list[int], list[int], bool] | None:
        """Positions, creation times and `has_more`; None when the cursor was deleted."""
        self.requests += 1
        if after in self.gone:
            return None
        top = len(self.times) if high is None else bisect.bisect_left(self.times, high)
        top = top if after is None else min(top, after)
        bottom = 0 if low is None else bisect.bisect_left(self.times, low)
        alive = [i for i in range(top - 1, bottom - 1, -1) if i not in self.gone]
        return alive[:100], [self.times[i] for i in alive[:100]], len(alive) > 100


def read(
    times: list[int],
    cut: slices.Slices | None = None,
    readers: int = 12,
    rate: float = 25,
    latency: float = 0.15,
) -> tuple[list[int], int, float]:
    """Read a list with several readers at a steady pace: positions read, requests, simulated seconds."""
    stripe = Stripe(sorted(times))
    cut = cut or slices.Slices(newest=NOW)
    seen: list[int] = []
    flying: list[tuple[float, int, slices.Slice, int | None, int | None, str | None]] = []
    free, slot, now = readers, 0.0, 0.0

    def send(part: slices.Slice) -> None:
        nonlocal slot
        start = max(now, slot)
        slot = start + 1 / rate
        order = stripe.requests + len(flying)
        heapq.heappush(flying, (start + latency, order, part, part.low, part.high, part.after))

    def hire() -> None:
        nonlocal free
        while free and (part := cut.take()) is not None:
            free -= 1
            send(part)

    hire()
    while flying:
        now, _, part, low, high, after = heapq.heappop(flying)
        answer = stripe.page(low, high, None if after is None else int(after))
        assert answer is not None
        positions, created, more = answer
        seen += [positions[i] for i in cut.belongs(part, created)]
        cut.advance(part, created, str(positions[-1]) if positions else None, more)
        if part in cut.open:
            send(part)
        else:
            free += 1
        hire()
    assert cut.done
    return seen, stripe.requests, now


def even(n: int) -> list[int]:
    return [NOW - TWO_YEARS + i * TWO_YEARS // n for i in range(n)]


def skewed(n: int, where: float) -> list[int]:
    """Half the rows in one percent of the span."""
    dice = random.Random(1)
    dense = NOW - TWO_YEARS + int(where * TWO_YEARS * 0.99)
    return [dense + int(dice.random() * TWO_YEARS / 100) for _ in range(n // 2)] + [
        NOW - TWO_YEARS + int(dice.random() * TWO_YEARS) for _ in range(n - n // 2)
    ]


def bursts(n: int) -> list[int]:
    """Fifty rows in every second."""
    return [NOW - n // 50 + i // 50 for i in range(n)]


SHAPES = {
    "even": even(100_000),
    "dense beginning": skewed(100_000, 0),
    "dense middle": skewed(100_000, 0.5),
    "dense end": skewed(100_000, 1),
    "bursts": bursts(100_000),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_large_list_is_read_at_the_limit_with_hardly_a_request_wasted(shape: str) -> None:
    times = SHAPES[shape]
    seen, requests, seconds = read(times)
    assert sorted(seen) == list(range(len(times)))
    assert requests <= 1.05 * len(times) / 100 + 1
    assert len(times) / seconds >= 0.95 * 2_500


@pytest.mark.parametrize("rows", [0, 1, 99, 100])
def test_one_page_costs_one_request(rows: int) -> None:
    seen, requests, _ = read(even(max(rows, 1))[:rows])
    assert (len(seen), requests) == (rows, 1)


@pytest.mark.parametrize("rows", [101, 150, 199, 200])
def test_two_pages_cost_two_requests(rows: int) -> None:
    seen, requests, _ = read(even(rows))
    assert (len(seen), requests) == (rows, 2)


def test_a_second_that_holds_a_thousand_rows_is_read_whole() -> None:
    seen, _, _ = read([NOW - 5] * 1_000)
    assert sorted(seen) == list(range(1_000))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(NOW - 3_000, NOW), max_size=2_000)
    | st.lists(st.sampled_from([NOW, NOW - 1, NOW - 10**6, NOW - 10**8]), max_size=2_000),
    st.integers(1, 20),
)
def test_every_row_is_read_exactly_once(times: list[int], readers: int) -> None:
    seen, _, _ = read(times, readers=readers)
    assert sorted(seen) == list(range(len(times)))


def test_a_start_leaves_out_what_is_older() -> None:
    times = even(5_000)
    start = times[3_000]
    seen, _, _ = read(times, slices.Slices(low=start, newest=NOW))
    assert sorted(seen) == list(range(3_000, 5_000))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 60), st.integers(0, 2**32))
def test_a_snapshot_taken_anywhere_covers_all_that_was_not_read(stop: int, seed: int) -> None:
    dice = random.Random(seed)
    times = sorted(
        dice.choice([NOW - dice.randrange(10**5), NOW - dice.randrange(10**8)]) for _ in range(4_000)
    )
    stripe, cut = Stripe(times), slices.Slices(newest=NOW)
    seen: set[int] = set()
    taken: list[slices.Slice] = []
    for _ in range(stop):
        while len(taken) < 8 and (part := cut.take()) is not None:
            taken.append(part)
        if not taken:
            break
        part = dice.choice(taken)
        answer = stripe.page(part.low, part.high, None if part.after is None else int(part.after))
        assert answer is not None
        positions, created, more = answer
        seen.update(positions[i] for i in cut.belongs(part, created))
        cut.advance(part, created, str(positions[-1]) if positions else None, more)
        taken = [part for part in taken if part in cut.open]
    rest, _, _ = read(times, slices.Slices.restored(cut.snapshot(), newest=NOW)) if cut.open else ([], 0, 0)
    assert seen | set(rest) == set(range(len(times)))


def test_a_deleted_cursor_reads_its_second_again_and_skips_nothing() -> None:
    times = sorted([NOW - 100] * 150 + [NOW - 50] * 150)
    stripe, cut = Stripe(times), slices.Slices(newest=NOW)
    part = cut.take()
    assert part is not None
    seen: set[int] = set()
    deleted = False
    while part in cut.open:
        answer = stripe.page(part.low, part.high, None if part.after is None else int(part.after))
        if answer is None:
            cut.rewind(part)
            continue
        positions, created, more = answer
        seen.update(positions)
        cut.advance(part, created, str(positions[-1]) if positions else None, more)
        if not deleted and part.after is not None:
            stripe.gone.add(int(part.after))
            deleted = True
    assert seen == set(range(len(times)))


def test_rows_that_were_cut_off_while_the_page_came_belong_to_the_older_part() -> None:
    cut = slices.Slices(low=0, newest=1_000)
    first = cut.take()
    assert first is not None
    cut.advance(first, list(range(1_000, 900, -1)), "a", True)
    cut.advance(first, list(range(900, 800, -1)), "b", True)
    older = cut.take()
    assert older is not None
    assert older.high == first.low
    page = list(range(800, 0, -8))
    own = cut.belongs(first, page)
    assert [page[i] for i in own] == [when for when in page if when >= (first.low or 0)]
    cut.advance(first, page, "c", True)
    assert first not in cut.open


def test_a_cursor_that_is_deleted_again_and_again_at_one_place_is_counted() -> None:
    """Whoever reads can then give up, instead of going in a circle."""
    cut = slices.Slices(newest=NOW)
    part = cut.take()
    assert part is not None
    for expected in (0, 1, 2):
        cut.advance(part, [NOW - 10] * 100, "x", True)
        cut.rewind(part)
        assert (part.rewound, part.high, part.after) == (expected, NOW - 9, None)
    cut.advance(part, [NOW - 20] * 100, "y", True)
    cut.rewind(part)
    assert (part.rewound, part.high) == (0, NOW - 19)


def test_a_list_out_of_order_is_begun_anew_from_where_it_began() -> None:
    """Its oldest row so far says nothing about what is still to come."""
    cut = slices.Slices(low=0, newest=NOW)
    part = cut.take()
    assert part is not None
    cut.advance(part, [5, 900, 7], "x", True)
    cut.rewind(part)
    assert (part.low, part.high, part.after) == (0, None, None)


def test_a_list_out_of_order_is_not_left_at_its_first_row_that_is_too_old() -> None:
    cut = slices.Slices(low=100, newest=NOW)
    part = cut.take()
    assert part is not None
    cut.advance(part, [300, 900, 50], "x", True)
    assert part in cut.open
    assert cut.belongs(part, [300, 900, 50]) == [0, 1]
