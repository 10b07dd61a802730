"""Jobs in the metadata database: one of a kind at a time, kept with what they found, and ended with their maker."""

from __future__ import annotations

import pytest

from tidegate import errors
from tidegate.store import database, jobs


def begun(store: database.Database, job_id: str = "job_1", what: str = "pull:a") -> jobs.Job:
    return jobs.begin(store, job_id, "audit", what, {"pull": "a"}, "ann")[0]


def test_a_job_goes_on_is_told_of_and_ends(store: database.Database) -> None:
    job, new = jobs.begin(store, "job_1", "audit", "pull:a", {"pull": "a"}, "ann")
    assert (new, job.state, job.wish, job.result, job.made_by) == (
        True,
        "running",
        {"pull": "a"},
        None,
        "ann",
    )
    assert jobs.beat(store, "job_1", {"phase": "charges", "rows": 3})
    assert begun(store).shown == {"phase": "charges", "rows": 3}, "by the same id it is the same job"
    assert jobs.add(store, "job_1", [(True, {"n": 1}), (False, {"n": 2}), (True, {"n": 3})]) == 3
    assert jobs.finish(store, "job_1", "partial", {"missing": 1})
    assert not jobs.finish(store, "job_1", "ok", {})
    job = begun(store)
    assert (job.state, job.result, job.alive) == ("partial", {"missing": 1}, False)
    assert jobs.rows(store, "job_1", limit=2) == [(1, {"n": 1}), (2, {"n": 2})]
    assert jobs.rows(store, "job_1", wrong=True, after=1) == [(3, {"n": 3})]


def test_the_same_is_done_by_one_at_a_time_and_not_too_much_at_once(store: database.Database) -> None:
    begun(store)
    with pytest.raises(errors.StoreConflict, match=r"The same is being done already \(job_1\)"):
        begun(store, "job_2")
    for n in range(3, jobs.MOST + 2):
        begun(store, f"job_{n}", f"pull:{n}")
    with pytest.raises(errors.StoreConflict, match="go on already"):
        begun(store, "job_x", "pull:x")


def test_whoever_does_it_hears_that_it_is_not_wanted_any_more(store: database.Database) -> None:
    begun(store)
    jobs.stop(store, "job_1", "bob")
    assert not jobs.beat(store, "job_1", {})
    assert begun(store).stop == "bob"
    jobs.finish(store, "job_1", "cancelled", None)
    assert not jobs.beat(store, "job_1", {})


def test_a_job_ends_with_who_does_it(store: database.Database) -> None:
    begun(store)
    store.execute("UPDATE jobs SET seen_at = seen_at - :ago", {"ago": jobs.SILENT + 1})
    job = jobs.get(store, "job_1")
    assert job is not None
    assert (job.state, job.error) == ("failed", "The process that did it is gone; begin it again.")
    assert begun(store, "job_2").alive


def test_they_are_listed_newest_first_page_by_page_and_go_after_a_while(store: database.Database) -> None:
    for n in range(3):
        begun(store, f"job_{n}", f"pull:{n}")
        jobs.add(store, f"job_{n}", [(False, {})])
        jobs.finish(store, f"job_{n}", "ok", {})
        store.execute("UPDATE jobs SET begun_at = begun_at - 10, ended_at = ended_at - 10")
    first = jobs.listed(store, limit=2)
    assert [each.id for each in first] == ["job_2", "job_1"]
    rest = jobs.listed(store, before=(first[-1].begun_at, first[-1].id))
    assert [each.id for each in rest] == ["job_0"]
    assert jobs.listed(store, kind="forget") == jobs.listed(store, without=["audit"]) == []
    assert jobs.prune(store, 25.0) == 1
    assert [each.id for each in jobs.listed(store)] == ["job_2", "job_1"]
    assert jobs.rows(store, "job_0") == []
