"""Random lives of a business, pulled while they go on: at the end every table is exact.

`tests/support/model.py` is the machine. The seeds here are as many as fit beside the other tests; `./dev bench
exactness` judges a thousand and more.
"""

from __future__ import annotations

import contextlib
import random

import hypothesis
import model
import pytest
from hypothesis import stateful
from hypothesis import strategies as st

SEEDS = range(1, 61)
CHUNKS = 12
EXAMPLES = 5
"""Measured: a seed takes two to four seconds of one core, an example about as much."""


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_table_is_exact_whatever_happened(chunk: int) -> None:
    for seed in SEEDS[chunk::CHUNKS]:
        choices = model.chosen(seed)
        wrong = model.outcome(choices, model.script(choices))
        repeat = f"./dev bench exactness --from {seed} --seeds 1 --verbose"
        assert wrong == [], f"{repeat}\n{model.described(choices)}"


numbers = st.integers(min_value=0, max_value=1 << 30)


class Life(stateful.RuleBasedStateMachine):
    """The steps of the model in whatever order hypothesis likes best; what they do in detail is by number."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.case: model.Case | None = None

    @stateful.initialize(seed=numbers)
    def begin(self, seed: int) -> None:
        """A business, and the wishes of a user."""
        self.case = self.stack.enter_context(model.case(model.chosen(seed)))

    def step(self, kind: str, number: int) -> None:
        """One step of a kind."""
        assert self.case is not None, "A case has begun."
        name, given = model.one(kind, random.Random(number), self.case.choices)
        self.case.step(name, **given)

    @stateful.rule(number=numbers)
    def live(self, number: int) -> None:
        """The business goes on."""
        self.step("live", number)

    @stateful.rule(number=numbers)
    def pull(self, number: int) -> None:
        """A pull, with whatever befalls it."""
        self.step("pull", number)

    @stateful.rule(kind=st.sampled_from(("wait", "wait", "gap")), number=numbers)
    def wait(self, kind: str, number: int) -> None:
        """Time passes."""
        self.step(kind, number)

    @stateful.rule(kind=st.sampled_from(("delay", "version", "lose", "regain")), number=numbers)
    def change(self, kind: str, number: int) -> None:
        """The account or its key is changed."""
        self.step(kind, number)

    @stateful.rule()
    def quiet(self) -> None:
        """Quiet returns, and every table must be exact; life may go on after it."""
        assert self.case is not None, "A case has begun."
        assert self.case.settle() + self.case.differences() == []

    def teardown(self) -> None:
        """The end."""
        self.stack.close()


def test_every_table_is_exact_in_whatever_order() -> None:
    stateful.run_state_machine_as_test(
        Life,
        settings=hypothesis.settings(
            max_examples=EXAMPLES,
            stateful_step_count=10,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("update stripe.customers set name = 'Eve' where id = ?", "name: 'Eve' instead of"),
        ("update stripe.customers set metadata = '{}' where id = ?", "metadata: {} instead of"),
        ("delete from stripe.customers where id = ?", "is missing"),
        ("update stripe.customers set id = id || 'x' where id = ?", "is no more at Stripe and never was"),
        ("update stripe.customers set _deleted_at = now() where id = ?", "but lives at Stripe"),
        ("insert into stripe.customers select * from stripe.customers where id = ?", "is there twice"),
        (
            "update stripe.cards set _parent_id = 'cus_1' where _parent_id = ?",
            "_parent_id: 'cus_1' instead of",
        ),
        ("update stripe.customers_history set _valid_to = now() where id = ?", "has no open version"),
        ("update stripe.customers_history set name = 'Eve' where id = ?", "never was"),
        (
            "insert into stripe.customers_history select * from stripe.customers_history where id = ?",
            "has 2 open versions",
        ),
        ("delete from stripe.customers where _deleted_at is not null and id <> ?", "left no tombstone"),
        (
            "update stripe.customers set _deleted_at = null where _deleted_at is not null and id <> ?",
            "is alive at version",
        ),
    ],
)
def test_the_judge_sees_what_is_wrong(statement: str, says: str) -> None:
    with model.case(model.wishes("customers", "cards", history=("customers",))) as case:
        kept = case.ask("POST", "/v1/customers", name="Ada", metadata={"plan": "pro"})["id"]
        case.ask("POST", f"/v1/customers/{kept}/sources", source="tok_visa")
        gone = case.ask("POST", "/v1/customers", name="Bob")["id"]
        case.pull()
        case.ask("DELETE", f"/v1/customers/{gone}")
        assert case.settle() + case.differences() == []
        case.tamper(statement, kept)
        assert any(says in sentence for sentence in case.differences()), case.differences()
