"""Who is forgotten leaves customer models and quarantine, while nobody else writes the model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import piped
import pytest
from piped import person

from tidegate import config, errors
from tidegate.engine import forgets, leased, piping
from tidegate.store import failed, leases

FILE = """
stripe: {acme: {api_key: sk_test_123456789012}}
warehouses: {w: {type: duckdb, path: w.duckdb}}
pipelines:
  eu: {from: acme, to: w}
"""
CHARGE = failed.Failed(
    "pay", "acct_1", "ch_1", 1, "s", "", "why", "said", None, '{"customer":"cus_0"}', "run_1"
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[piped.Place]:
    """Two customers in a model, and a charge of one of them in quarantine."""
    with contextlib.closing(piped.Place(tmp_path)) as place:
        place.pulled(person(0), person(2))
        place.run(place.job())
        failed.keep(place.store, [CHARGE])
        yield place


@pytest.fixture
def file(tmp_path: Path) -> config.Config:
    (tmp_path / "tidegate.yaml").write_text(FILE)
    return config.load(tmp_path / "tidegate.yaml")


def test_they_leave_the_model_and_every_quarantine(place: piped.Place, file: config.Config) -> None:
    told = {"tidegate.customer_profiles": 1, "rows in quarantine": 1}
    assert forgets.models(file, place.store, ["cus_0"], dry_run=True) == told
    assert len(place.profiles()) == 2
    assert forgets.models(file, place.store, ["cus_0"], account="acct_2") == {}
    assert forgets.models(file, place.store, ["cus_0"]) == told
    assert place.profiles("customer_id") == [("cus_2",)]
    assert failed.counts(place.store) == {}
    assert forgets.models(file, place.store, ["cus_0"]) == {}


def test_nobody_is_forgotten_while_a_pipeline_writes_the_model(
    place: piped.Place, file: config.Config
) -> None:
    [name] = piping.models(file)
    with leased.held(place.store, name, "busy"):
        before = leases.holder(place.store, name)
        with pytest.raises(errors.StoreConflict, match="nobody was forgotten there; give the command again"):
            forgets.models(file, place.store, ["cus_0"])
        assert leases.holder(place.store, name) == before
    assert len(place.profiles()) == 2
    assert failed.counts(place.store) == {"pay": 1}
    assert forgets.models(file, place.store, ["cus_0"])["tidegate.customer_profiles"] == 1
    assert leases.holder(place.store, name) == ""
