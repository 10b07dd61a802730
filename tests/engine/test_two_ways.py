"""A pull and a push on the same field come to rest; those that never would are stopped."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import both_ways
import pytest
from following import Merchant
from pulling import KEY

from tidegate import sandbox
from tidegate.store import decisions

DOCS = Path(__file__).parents[2] / "docs" / "two-way.md"


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[both_ways.Flow]:
    with sandbox.process(objects=20) as url:
        yield both_ways.Flow(tmp_path, Merchant(url))


@pytest.mark.parametrize("seed", [1, 2])
def test_edits_on_both_sides_come_to_rest(flow: both_ways.Flow, seed: int) -> None:
    cycles = both_ways.Cycles(flow, random.Random(seed))
    cycles.begin(4)
    for _ in range(10):
        cycles.cycle()
    assert cycles.writes > 1
    assert cycles.rest() <= 4


def test_the_example_of_the_page_writes_once_and_is_quiet(flow: both_ways.Flow) -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    ids = flow.begin(3)
    flow.sql("create schema analytics; create table analytics.names as select * from crm.edits")
    connection = f'acme: {{api_key: {KEY}, api_base: "{flow.shop.url}", rate_limit: "off"}}'
    example, replaced = re.subn(r"  acme: .*\n", f"  {connection}\n", shown)
    assert replaced == 1
    (flow.folder / "tidegate.yaml").write_text(example)
    assert flow.push("names").counts.unchanged >= 3
    flow.sql(f"insert into analytics.names values ('{ids[0]}', 'Ours')")
    flow.shop.make(f"/v1/customers/{ids[1]}", name="Theirs")
    done = []
    for _ in range(4):
        flow.rest(900)
        flow.pull()
        done.append(flow.push("names").counts.updated)
    assert done == [1, 0, 0, 0]
    assert flow.names() == {ids[0]: "Ours", ids[1]: "Theirs", ids[2]: "Customer 2"}


def test_our_own_echo_makes_a_run_that_asks_nothing(flow: both_ways.Flow) -> None:
    ids = flow.begin(2)
    flow.configure(owner="warehouse")
    flow.push()
    flow.edit(ids[0], "Ours")
    flow.push()
    flow.rest(60)
    flow.pull()
    flow.shop.counted()
    assert flow.push().counts.unchanged == 2
    assert flow.shop.counted() == {}


def test_a_model_that_never_settles_is_stopped_and_a_person_resumes_it(flow: both_ways.Flow) -> None:
    [id] = flow.begin(1)
    flow.configure(both_ways.ECHO, owner="warehouse")

    def cycles(number: int) -> int:
        flow.shop.counted()
        for _ in range(number):
            flow.shop.later()
            flow.pull()
            assert flow.push().status == "ok"
        return flow.writes()

    assert cycles(10) == 5
    assert cycles(2) == 0
    hold = flow.hold(id)
    assert hold is not None
    assert (hold.kind, hold.state) == ("looping", "held")
    flow.configure(both_ways.ECHO.replace("name || '!'", "rtrim(name, '!')"), owner="warehouse")
    with flow.store() as store:
        decisions.retry(store, both_ways.NAMES, id)
    assert cycles(3) == 1
    assert (flow.names(), flow.hold(id)) == ({id: "Customer 0"}, None)
