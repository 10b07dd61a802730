"""What a plan says of every row, what it counts, and what keeps it from being done at once."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning import before, customer, planned, push

from tidegate import config
from tidegate.push import compare, plan

JANE = {"id": "1", "email": "jane@example.com", "name": "Jane", "plan": "pro"}
JOE = {"id": "2", "email": "joe@example.com", "name": "Joe", "plan": "free"}
CUS = customer("cus_1", "jane@example.com", "Jane", metadata={"plan": "free", "other": "x"})


def changes(entry: plan.Entry) -> dict[str, tuple[str | None, str]]:
    """Before and after, by field."""
    return {path: (each.before, each.after) for path, each in entry.changes.items()}


def test_before_and_after_of_what_changes() -> None:
    told = planned([JANE], [CUS])
    assert changes(told.entries["1"]) == {"metadata.plan": ("free", "pro")}
    assert told.entries["1"].fields == {"metadata.plan": "pro", "name": "Jane"}
    assert (told.counts.source, told.counts.updated, told.requests) == (1, 1, 2)


def test_a_create_carries_what_it_is_found_by() -> None:
    told = planned([JANE], [])
    assert changes(told.entries["1"]) == {
        "email": (None, "jane@example.com"),
        "metadata.plan": (None, "pro"),
        "name": (None, "Jane"),
    }


def test_what_stripe_has_already_costs_no_request() -> None:
    told = planned([JANE], [{**CUS, "metadata": {"plan": "pro"}}])
    assert told.verdicts() == {"1": "equal"}
    assert (told.counts.unchanged, told.requests) == (1, 0)


def test_a_row_as_it_was_acknowledged_is_not_looked_at() -> None:
    known = before({"1": {"metadata.plan": "pro", "name": "Jane"}}, {"1": "cus_1"})
    told = planned([JANE], [CUS], known=known)
    assert told.entries == {}
    assert told.counts.unchanged == 1


@pytest.mark.parametrize(
    ("behavior", "there", "verdict"),
    [
        ("update_or_create", False, "create"),
        ("update_or_create", True, "update"),
        ("update_only", False, "unmatched"),
        ("update_only", True, "update"),
        ("create_only", False, "create"),
        ("create_only", True, "unmatched"),
    ],
)
def test_behaviors(behavior: str, there: bool, verdict: str) -> None:
    told = planned([JANE], [CUS] if there else [], push(behavior=behavior))
    assert told.verdicts() == {"1": verdict}


def test_what_cannot_be_created_or_changed_is_unmatched() -> None:
    subscriptions = push(
        object="subscription", match={"metadata.ours": "id"}, fields={"metadata.plan": "plan"}
    )
    assert planned([JANE], [], subscriptions).verdicts() == {"1": "unmatched"}
    events = push(object="meter_event", match={"identifier": "id"}, fields={"event_name": "plan"})
    known = before({"1": {"event_name": "free"}}, {"1": "1"})
    assert planned([JANE], [], events, known).verdicts() == {"1": "unmatched"}


PRICE = {
    "id": "price_1",
    "object": "price",
    "created": 1,
    "active": True,
    "billing_scheme": "per_unit",
    "currency": "eur",
    "lookup_key": "gold",
    "metadata": {"tidegate_op": "op_1", "theirs": "x"},
    "nickname": "Gold",
    "product": "prod_1",
    "recurring": {"interval": "month", "interval_count": 1, "meter": None, "usage_type": "licensed"},
    "tax_behavior": "inclusive",
    "unit_amount": 1000,
    "unit_amount_decimal": "1000",
}


class TestWhatNeverChanges:
    ROW: ClassVar = {"id": "1", "key": "gold", "cents": "1200", "currency": "EUR", "tax": "inclusive"}
    LINKED = before({"1": {"unit_amount": "1000"}}, {"1": "price_1"})

    def entry(
        self, more: dict[str, Any] | None = None, row: dict[str, Any] | None = None, **known: Any
    ) -> plan.Entry:
        fields = {"unit_amount": "cents", "currency": "currency", "tax_behavior": "tax"}
        told = push(object="price", match={"lookup_key": "key"}, fields=fields, **(more or {}))
        return planned([{**self.ROW, **(row or {})}], [PRICE], told, self.LINKED, **known).entries["1"]

    def test_is_held_by_default(self) -> None:
        entry = self.entry()
        assert (entry.verdict, entry.kind, entry.field) == ("held", "immutable", "unit_amount")
        assert entry.candidates == ("replace", "stripe")
        assert entry.text == (
            "unit_amount of a price never changes; choose `replace` to create a new one and archive price_1, or "
            "`stripe` to leave it as it is."
        )

    def test_several_are_named(self) -> None:
        assert self.entry(row={"currency": "usd"}).text.startswith(
            "currency and unit_amount of a price never"
        )
        assert self.entry(row={"currency": "usd", "tax": "exclusive"}).text.startswith(
            "currency, tax_behavior and unit_amount of a price never"
        )

    @pytest.mark.parametrize("said", [{"more": {"on_immutable": "replace"}}, {"sides": {"1": "replace"}}])
    def test_is_one_replacement_with_before_and_after(self, said: dict[str, Any]) -> None:
        entry = self.entry(**said)
        assert (entry.verdict, entry.action, entry.target) == ("update", "replace", "price_1")
        assert changes(entry) == {"unit_amount": ("1000", "1200")}

    def test_a_case_that_stripe_does_not_keep_is_no_change(self) -> None:
        assert self.entry(row={"cents": "1000", "currency": "Eur"}).verdict == "equal"

    def test_what_the_new_one_would_lack_makes_it_invalid(self) -> None:
        tiered = {**PRICE, "billing_scheme": "tiered", "tiers_mode": "graduated", "unit_amount": None}
        told = push(
            object="price",
            match={"lookup_key": "key"},
            fields={"currency": "currency"},
            on_immutable="replace",
        )
        entry = planned([{**self.ROW, "currency": "usd"}], [tiered], told, self.LINKED).entries["1"]
        assert (entry.verdict, entry.field) == ("invalid", "tiers_mode")
        assert entry.text == "With billing_scheme tiered both tiers and tiers_mode are required."

    def test_left_to_stripe_it_is_not_looked_at(self) -> None:
        told = {"fields": {"unit_amount": {"from": "cents", "owner": "stripe"}}}
        wanted = push(object="price", match={"lookup_key": "key"}, **told)
        assert planned([self.ROW], [PRICE], wanted, self.LINKED).verdicts() == {"1": "equal"}


def test_what_stripe_would_refuse_is_invalid_and_names_the_field() -> None:
    told = planned([{**JANE, "name": "x" * 300}, {**JOE, "plan": "y" * 501}], [CUS])
    assert told.verdicts() == {"1": "invalid", "2": "invalid"}
    assert [each.field for each in told.entries.values()] == ["name", "metadata.plan"]
    assert "256" in told.entries["1"].text
    assert not any("xxx" in each.text for each in told.entries.values()), "No value in a sentence."
    assert told.counts.invalid == 2


def test_metadata_of_the_object_counts_against_its_limit() -> None:
    full = {**CUS, "metadata": {f"k{n}": "v" for n in range(50)}}
    told = planned([JANE], [full])
    assert told.verdicts() == {"1": "invalid"}
    assert told.entries["1"].field.startswith("metadata")


class TestOwners:
    def three_way(self, there: str, acknowledged: str | None, **more: Any) -> plan.Entry:
        told = push(fields={"name": {"from": "name", "owner": "three_way"}})
        known = before({"1": {"name": acknowledged}} if acknowledged else {}, {"1": "cus_1"})
        [entry] = planned([JANE], [{**CUS, "name": there}], told, known, **more).entries.values()
        return entry

    def test_it_changed_here(self) -> None:
        assert changes(self.three_way("Old", "Old")) == {"name": ("Old", "Jane")}

    def test_it_changed_on_both_sides(self) -> None:
        entry = self.three_way("Theirs", "Old")
        assert (entry.verdict, entry.kind, entry.candidates) == ("held", "conflict", ("warehouse", "stripe"))

    def test_a_person_says_whose_value_counts(self) -> None:
        assert changes(self.three_way("Theirs", "Old", sides={"1": "warehouse"})) == {
            "name": ("Theirs", "Jane")
        }
        left = self.three_way("Theirs", "Old", sides={"1": "stripe"})
        assert (left.verdict, left.fields) == ("equal", {"name": "Jane"}), "It is known from now on."

    def test_what_is_left_to_stripe_is_not_acknowledged(self) -> None:
        told = push(fields={"name": {"from": "name", "owner": "stripe"}, "metadata.plan": "plan"})
        [entry] = planned([JANE], [{**CUS, "name": "Theirs"}], told).entries.values()
        assert changes(entry) == {"metadata.plan": ("free", "pro")}
        assert entry.fields == {"metadata.plan": "pro"}


class TestRowsThatAreGone:
    KNOWN = before({"1": {"name": "Jane", "metadata.plan": "pro"}}, {"1": "cus_1"})

    def removal(self, on_missing: Any, objects: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        told = planned([JOE], [CUS] if objects is None else objects, push(on_missing=on_missing), self.KNOWN)
        entry = told.entries.get("1")
        return {} if entry is None else {entry.action: changes(entry), "verdict": entry.verdict}

    def test_nothing_happens_by_default(self) -> None:
        assert self.removal("nothing") == {}

    def test_clear_empties_what_was_sent(self) -> None:
        assert self.removal("clear") == {
            "clear": {"name": ("Jane", ""), "metadata.plan": ("free", "")},
            "verdict": "remove",
        }

    def test_flag_marks(self) -> None:
        assert self.removal({"flag": "metadata.gone"})["flag"] == {"metadata.gone": (None, "true")}

    def test_delete_deletes(self) -> None:
        assert self.removal("delete") == {"delete": {}, "verdict": "remove"}

    def test_of_what_is_not_there_nothing_is_left_to_do(self) -> None:
        assert self.removal("delete", []) == {}

    def test_nothing_is_done_twice(self) -> None:
        flagged = {**CUS, "metadata": {"gone": "true"}}
        assert self.removal({"flag": "metadata.gone"}, [flagged])["verdict"] == "over"

    def test_only_objects_of_this_push_go(self) -> None:
        unlinked = before({"1": {"name": "Jane"}})
        told = planned([JOE], [CUS], push(on_missing="delete"), unlinked)
        assert "1" not in told.entries

    def test_it_waits_for_a_person(self) -> None:
        told = planned([JOE], [CUS], push(on_missing="delete"), self.KNOWN)
        assert told.counts.removed == 1
        assert any("max_removed" in each for each in told.guards)


class TestRowsThatFailed:
    def verdict(self, hash: str | None, state: str, *, due: bool = False, kind: str = "refused") -> str:
        same = planned([JANE], [CUS]).entries["1"].hash
        version = "" if hash is not None else self.version()
        paused = plan.Paused(kind, state, hash or same, version, due)
        return planned([JANE], [CUS], paused={"1": paused}).verdicts()["1"]

    def version(self) -> str:
        from tidegate.catalog import writes
        from tidegate.push import mapping

        return mapping.fingerprint(push(), writes.load()["customer"])

    def test_they_stay_where_they_are(self) -> None:
        assert self.verdict(None, "held") == "quarantined:refused"
        assert self.verdict(None, "waiting") == "quarantined:refused"
        assert self.verdict(None, "skipped", kind="conflict") == "held:conflict"

    def test_what_was_held_for_another_reason_is_looked_at_anew(self) -> None:
        assert self.verdict(None, "held", kind="doubled") == "update"

    def test_until_they_are_due(self) -> None:
        assert self.verdict(None, "waiting", due=True) == "update"

    def test_or_change(self) -> None:
        assert self.verdict("another", "held") == "update"


class TestGuards:
    def guards(
        self, acknowledged: int, told: dict[str, Any] | None = None, *, changed: int = 0, **counts: int
    ) -> list[str]:
        guard = config.Push.model_validate(
            {
                "model": "m",
                "to": "a",
                "object": "customer",
                "match": {"email": "e"},
                "fields": {"name": "n"},
                "guard": told or {},
            }
        ).guard
        found = plan.guards(plan.Counts(**counts), guard, acknowledged, changed)
        return [each.rpartition("(guard.")[2].rstrip(").") if "(guard" in each else each for each in found]

    def test_an_empty_model_always_waits(self) -> None:
        assert self.guards(0) == ["The model is empty."]
        assert self.guards(10) == ["The model is empty, and 10 of its rows were sent before."]

    @pytest.mark.parametrize(("source", "waits"), [(70, False), (69, True)])
    def test_a_model_that_shrank(self, source: int, waits: bool) -> None:
        assert self.guards(100, source=source) == (["rows_down"] if waits else [])

    @pytest.mark.parametrize(("changed", "waits"), [(50, False), (51, True)])
    def test_too_many_changes(self, changed: int, waits: bool) -> None:
        found = self.guards(100, source=100, updated=changed, changed=changed)
        assert found == (["max_changed"] if waits else [])

    def test_a_few_rows_say_nothing(self) -> None:
        assert self.guards(10, source=10, updated=10, changed=10) == []

    def test_a_model_that_grows_to_customers_who_are_there_changes_nothing_that_was_sent(self) -> None:
        rows = [{"id": str(n), "email": f"{n}@example.com", "name": "New", "plan": "pro"} for n in range(90)]
        there = [customer(f"cus_{n}", f"{n}@example.com", "Old") for n in range(90)]
        sent = {str(n): {"metadata.plan": "pro", "name": "New"} for n in range(40)}
        known = before(sent, {key: f"cus_{key}" for key in sent})
        told = planned(rows, there, known=known)
        assert (told.counts.unchanged, told.counts.updated, told.guards) == (40, 50, ())

    def test_of_what_was_sent_no_more_changes_than_all(self) -> None:
        rows = [{"id": str(n), "email": f"{n}@example.com", "name": "New", "plan": "pro"} for n in range(90)]
        there = [customer(f"cus_{n}", f"{n}@example.com", "Old") for n in range(90)]
        sent = {str(n): {"metadata.plan": "free", "name": "Old"} for n in range(40)}
        known = before(sent, {key: f"cus_{key}" for key in sent})
        [said] = planned(rows, there, known=known).guards
        assert said.startswith("40 of 40 rows that were sent before would be changed; 50% are allowed")
        assert planned(rows, there, push(guard={"max_changed": "100%"}), known).guards == ()

    def test_too_many_creates(self) -> None:
        assert self.guards(0, {"max_creates": 9}, source=10, created=10) == ["max_creates"]
        assert self.guards(0, {"max_creates": 10}, source=10, created=10) == []

    @pytest.mark.parametrize(("created", "said"), [(1, "1 object would"), (2_000, "2,000 objects would")])
    def test_how_many_would_be_created(self, created: int, said: str) -> None:
        push = {
            "model": "m",
            "to": "a",
            "object": "customer",
            "match": {"email": "e"},
            "fields": {"name": "n"},
        }
        guard = config.Push.model_validate({**push, "guard": {"max_creates": 0}}).guard
        [found] = plan.guards(plan.Counts(source=3_000, created=created), guard, 0, 0)
        assert found == f"{said} be created; 0 are allowed (guard.max_creates)."

    def test_any_removal(self) -> None:
        assert self.guards(100, source=100, removed=1) == ["max_removed"]
        assert self.guards(100, {"max_removed": 1}, source=100, removed=1) == []


def test_a_plan_is_json_that_a_person_can_read() -> None:
    told = planned([JANE, {**JOE, "name": "x" * 300}], [CUS])
    header = plan.Plan(
        "people", "run_1", "customer", "acct_1", False, "print", 1.0, 2, told.counts, told.guards, 2, 0.1
    )
    text = "".join(plan.document(header, told.entries.values()))
    found = json.loads(text)
    assert found["counts"] == {**found["counts"], "source": 2, "updated": 1, "invalid": 1}
    assert [row["key"] for row in found["rows"]] == ["1", "2"]
    assert found["rows"][0]["changes"] == {"metadata.plan": ["free", "pro"]}
    assert len(text.splitlines()) == 4, "A line for each row."


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from([None, "", *"abcde"]),
            "email": st.sampled_from([None, "a@x.com", "b@x.com", "nobody"]),
            "name": st.sampled_from([None, "N", "x" * 300]),
            "plan": st.sampled_from([None, "pro", "free"]),
        }
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=40)
@given(ROWS, st.sampled_from(["update_or_create", "update_only", "create_only"]), st.booleans())
def test_every_row_is_counted_once(rows: list[dict[str, Any]], behavior: str, filtered: bool) -> None:
    more = {"filter": {"field": "plan", "op": "is not", "value": "free"}} if filtered else {}
    objects = [customer("cus_1", "a@x.com", "N"), customer("cus_2", "b@x.com"), customer("cus_3", "b@x.com")]
    known = before({"a": {"name": "N", "metadata.plan": "pro"}}, {"a": "cus_1", "b": "cus_9"})
    told = planned(rows, objects, push(behavior=behavior, **more), known)
    assert told.counts.source == len(rows)  # that the parts add up is asserted when the plan is made
    writes = {each.key for each in told.entries.values() if each.verdict in plan.WRITES}
    assert writes <= {row["id"] for row in rows}


def test_a_change_is_before_and_after() -> None:
    assert compare.Change(None, "x") != compare.Change("", "x")


def test_a_row_that_says_little_is_read_as_it_was_written() -> None:
    for entry in (
        plan.Entry("", "", "over"),
        plan.Entry("1", "h", "update", "update", "cus_1", changes={"name": compare.Change("a", None)}),
        plan.Entry("2", "h", "held", kind="ambiguous", text="2 match.", candidates=("cus_1", "cus_2")),
    ):
        assert plan.loaded(json.loads(json.dumps(plan.dumped(entry)))) == entry
