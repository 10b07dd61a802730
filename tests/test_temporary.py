"""Folders that are gone when they are let go of, also by a kill."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tidegate import temporary

HOLDER = """
import pathlib, sys
from tidegate import temporary
with temporary.folder("work") as found:
    (found / "rows").write_text("somebody's data")
    print(found, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder(system: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that has a folder, until its input ends; and the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(system)},
    )
    assert process.stdout is not None
    try:
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


SPILLER = """
import os, sys
from tidegate import temporary
found = temporary.spilling()
assert found == temporary.spilling()
(found / "rows").write_text("somebody's data")
if os.fork() == 0:
    assert temporary.spilling() != found
    sys.exit()
os.wait()
assert (found / "rows").exists()
print(found, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("killed", [False, True])
def test_what_a_process_spilled_goes_with_it(system: Path, killed: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SPILLER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(system)},
    ) as process:
        assert process.stdout is not None
        found = Path(process.stdout.readline().strip())
        assert (found / "rows").exists()
        if killed:
            process.kill()
        process.communicate()
    assert found.exists() is killed
    temporary.sweep()
    assert list(system.iterdir()) == []


def test_a_folder_for_what_is_spilled_that_somebody_took_away_is_made_anew() -> None:
    first = temporary.spilling()
    first.rmdir()
    second = temporary.spilling()
    assert second.exists()
    assert second == temporary.spilling() != first


def test_a_folder_is_its_owners_alone_and_goes_with_what_is_in_it(system: Path) -> None:
    with temporary.folder("work") as found:
        assert found.parent == system
        assert found.name.startswith(f"tidegate-work-{os.getpid()}-")
        assert found.stat().st_mode & 0o777 == 0o700
        (found / "deeper").mkdir()
        (found / "deeper" / "file").write_text("x")
    assert list(system.iterdir()) == []


def test_it_goes_when_the_block_fails(system: Path) -> None:
    with pytest.raises(ValueError, match="broken"), temporary.folder("work"):
        raise ValueError("broken")
    assert list(system.iterdir()) == []


def test_each_has_its_own() -> None:
    with temporary.folder("work") as one, temporary.folder("work") as other:
        assert one != other
        assert one.exists()


def test_no_file_stays_open() -> None:
    before = psutil.Process().num_fds()
    with temporary.folder("work"):
        pass
    assert psutil.Process().num_fds() == before


def test_what_a_killed_process_left_goes_when_the_next_is_made(
    holder: tuple[subprocess.Popen[str], Path],
) -> None:
    process, left = holder
    with temporary.folder("other"):
        assert (left / "rows").exists()
    process.kill()
    process.wait()
    assert (left / "rows").exists()
    with temporary.folder("other"):
        assert not left.exists()


def test_one_that_ends_by_itself_leaves_nothing(holder: tuple[subprocess.Popen[str], Path]) -> None:
    process, left = holder
    process.communicate("")
    assert process.returncode == 0
    assert not left.exists()


def test_a_process_of_the_same_number_keeps_nothing_of_the_dead(system: Path) -> None:
    left = system / f"tidegate-work-{os.getpid()}-abc.held"
    left.mkdir()
    temporary.sweep()
    assert not left.exists()


def test_what_a_child_inherits_does_not_hold_it(system: Path) -> None:
    with temporary.folder("work") as found:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, cwd=found)
        handle = os.open(found, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(handle)
    child.communicate(b"\n")
    assert list(system.iterdir()) == []


def test_files_of_others_stay(system: Path) -> None:
    (system / "tidegate-work-1-abc").mkdir()
    (system / "else-work-1-abc.held").mkdir()
    (system / "tidegate-file.held").write_text("no folder")
    aim = system / "aim"
    aim.mkdir()
    (aim / "file").write_text("x")
    (system / "tidegate-work-link.held").symlink_to(aim)
    before = sorted(system.iterdir())
    temporary.sweep()
    assert sorted(system.iterdir()) == before
    assert (aim / "file").exists()


def test_those_of_another_user_stay(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = system / "tidegate-work-1-abc.held"
    left.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: left.stat().st_uid + 1)
    temporary.sweep()
    assert left.exists()


def test_one_that_was_swept_before_it_was_locked_is_made_again(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, swept = fcntl.flock, []

    def late(handle: int, how: int) -> None:
        if not swept:
            swept.extend(system.iterdir())
            swept[0].rmdir()
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with temporary.folder("work") as found:
        assert found.exists()
        assert found not in swept
    assert list(system.iterdir()) == []


def test_where_there_are_no_locks_nothing_is_swept(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_handle: int, _how: int) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with temporary.folder("work") as found:
        temporary.sweep()
        assert found.exists()
    assert list(system.iterdir()) == []
