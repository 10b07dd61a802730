"""Jobs in the metadata database: one of a kind at a time, kept with what they found, and ended with their maker."""

from __future__ import annotations

import concurrent.futures

import pytest

from tidegate import errors
from tidegate.store import database, jobs, trail


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
    lines = [(True, {"n": 1}), (False, {"n": 2}), (True, {"n": 3})]
    assert jobs.finish(store, "job_1", "partial", {"missing": 1}, rows=lines)
    assert not jobs.finish(store, "job_1", "ok", {}, rows=[(True, {"n": 4})])
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


def killed(*_: object, **__: object) -> None:
    raise SystemExit


def test_a_job_and_its_line_in_the_audit_log_are_there_both_or_neither(
    store: database.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = trail.Note("ann", "audit", "pull:a", after={"job": "job_1"})
    with monkeypatch.context() as patched:
        patched.setattr(trail, "note", killed)
        with pytest.raises(SystemExit):
            jobs.begin(store, "job_1", "audit", "pull:a", {}, "ann", note=line)
    assert (jobs.get(store, "job_1"), trail.listed(store)) == (None, [])
    for new in (True, False):
        assert jobs.begin(store, "job_1", "audit", "pull:a", {}, "ann", note=line)[1] is new
    with pytest.raises(errors.StoreConflict):
        jobs.begin(store, "job_2", "audit", "pull:a", {}, "bob", note=trail.Note("bob", "audit", "pull:a"))
    assert [(each.who, each.after) for each in trail.listed(store)] == [("ann", {"job": "job_1"})]


def test_so_are_its_cancelling_and_the_line_of_who_was_first(
    store: database.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(store)
    with monkeypatch.context() as patched:
        patched.setattr(trail, "note", killed)
        with pytest.raises(SystemExit):
            jobs.stop(store, "job_1", "bob", trail.Note("bob", "cancel", "pull:a"))
    assert (begun(store).stop, trail.listed(store)) == ("", [])
    for who in ("bob", "cid"):
        jobs.stop(store, "job_1", who, trail.Note(who, "cancel", "pull:a"))
    assert [each.who for each in trail.listed(store)] == [begun(store).stop] == ["bob"]


def silent(store: database.Database) -> None:
    """Nothing was heard for long of whoever does jobs."""
    store.execute("UPDATE jobs SET seen_at = seen_at - :ago", {"ago": jobs.SILENT + 1})


def test_a_job_whose_worker_fell_silent_is_taken_up_by_one_other(store: database.Database) -> None:
    jobs.begin(store, "job_1", "audit", "pull:a", {"pull": "a"}, "ann", "here:1")
    jobs.beat(store, "job_1", {"rows": 3}, "here:1")
    assert jobs.take(store, "there:2") is None, "it lives"
    silent(store)
    taken = jobs.take(store, "there:2")
    assert taken is not None
    assert (taken.id, taken.attempts, taken.shown, taken.wish) == ("job_1", 2, {}, {"pull": "a"})
    assert jobs.take(store, "third:3") is None
    assert not jobs.beat(store, "job_1", {"rows": 4}, "here:1"), (
        "it woke, and the job is not its own any more"
    )
    assert not jobs.finish(store, "job_1", "failed", None, rows=[(True, {"n": 0})], worker="here:1")
    assert jobs.finish(store, "job_1", "ok", {"n": 1}, rows=[(False, {"n": 1})], worker="there:2")
    job = jobs.get(store, "job_1")
    assert job is not None
    assert (job.state, job.result, jobs.rows(store, "job_1")) == ("ok", {"n": 1}, [(1, {"n": 1})])
    silent(store)
    assert jobs.take(store, "third:3") is None, "it has ended"


def test_a_job_that_is_being_done_is_not_taken_up_by_who_does_it(store: database.Database) -> None:
    begun(store)
    silent(store)
    assert jobs.take(store, "w:2", besides={"job_0", "job_1"}) is None
    assert jobs.take(store, "w:2", besides={"job_0"}) is not None


def test_lines_of_an_attempt_that_came_to_no_end_are_replaced(store: database.Database) -> None:
    begun(store)
    store.execute("INSERT INTO job_rows (job, number, wrong, entry) VALUES ('job_1', 1, 0, '{}')")
    assert jobs.finish(store, "job_1", "ok", {}, rows=[(True, {"n": 1})])
    assert jobs.rows(store, "job_1") == [(1, {"n": 1})]


def test_of_many_servers_one_takes_a_job_up(store: database.Database) -> None:
    begun(store)
    silent(store)
    with concurrent.futures.ThreadPoolExecutor(8) as servers:
        taken = list(servers.map(lambda n: jobs.take(store, f"w:{n}"), range(8)))
    [one] = [each for each in taken if each is not None]
    assert (one.id, one.attempts) == ("job_1", 2)


def test_a_job_that_ends_its_worker_again_and_again_has_failed(store: database.Database) -> None:
    begun(store)
    for attempt in range(2, jobs.ATTEMPTS + 1):
        silent(store)
        taken = jobs.take(store, f"w:{attempt}")
        assert taken is not None
        assert taken.attempts == attempt
    silent(store)
    assert jobs.take(store, "w:9") is None
    job = jobs.get(store, "job_1")
    assert job is not None
    assert (job.state, job.error) == (
        "failed",
        "The process that did it ended before it 3 times; look into its log, then begin it again.",
    )
    assert begun(store, "job_2").alive


def test_a_worker_that_ends_leaves_its_job_to_others_at_once(store: database.Database) -> None:
    jobs.begin(store, "job_1", "audit", "pull:a", {}, "ann", "w:1")
    for n in range(2, 9):
        jobs.leave(store, "job_1", f"w:{n}")
        assert jobs.take(store, f"w:{n}") is None, "it was another one's"
        jobs.leave(store, "job_1", f"w:{n - 1}")
        taken = jobs.take(store, f"w:{n}")
        assert taken is not None
        assert taken.attempts == 1, "an end in order is no attempt"


def test_nobody_takes_up_what_nobody_wants(store: database.Database) -> None:
    begun(store)
    jobs.stop(store, "job_1", "bob")
    silent(store)
    assert jobs.take(store, "w:2") is None
    job = jobs.get(store, "job_1")
    assert job is not None
    assert (job.state, job.stop) == ("cancelled", "bob")


def test_a_clock_that_was_set_back_keeps_no_job_from_being_taken_up(store: database.Database) -> None:
    begun(store)
    store.execute("UPDATE jobs SET seen_at = seen_at + 86400")
    assert jobs.take(store, "w:2") is not None


def test_they_are_listed_newest_first_page_by_page_and_go_after_a_while(store: database.Database) -> None:
    for n in range(3):
        begun(store, f"job_{n}", f"pull:{n}")
        jobs.finish(store, f"job_{n}", "ok", {}, rows=[(False, {})])
        store.execute("UPDATE jobs SET begun_at = begun_at - 10, ended_at = ended_at - 10")
    first = jobs.listed(store, limit=2)
    assert [each.id for each in first] == ["job_2", "job_1"]
    rest = jobs.listed(store, before=(first[-1].begun_at, first[-1].id))
    assert [each.id for each in rest] == ["job_0"]
    assert jobs.listed(store, kind="forget") == jobs.listed(store, without=["audit"]) == []
    assert jobs.prune(store, 25.0) == 1
    assert [each.id for each in jobs.listed(store)] == ["job_2", "job_1"]
    assert jobs.rows(store, "job_0") == []
