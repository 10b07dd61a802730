"""The command as a person meets it: help, version, wrong words, errors, interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tidegate import __version__, cli, errors
from tidegate.cli import output

TIDEGATE = str(Path(sys.executable).parent / "tidegate")


def run(*words: str, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    base = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "TIDEGATE_DEBUG")}
    return subprocess.run(
        [TIDEGATE, *words], capture_output=True, text=True, cwd=cwd, env={**base, **environ}, check=False
    )


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_the_front_page_names_every_command(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    for name, summary in cli.COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert summary in done.stdout


def test_the_front_page_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tidegate import cli; cli.main(['--help']); "
        "print([m for m in ('cyclopts', 'rich', 'pydantic', 'pyarrow', 'aiohttp', 'duckdb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_command_imports_no_pandas_until_somebody_wants_it() -> None:
    """Arrow would, with its first value, wherever it is installed: 0.3 CPU-seconds and 40 MB for nothing."""
    code = (
        "import sys; from tidegate import cli; cli.main(['pull', '--help']); import pyarrow as pa; "
        "table = pa.table({'n': [1]}); assert 'pandas' not in sys.modules; assert len(table.to_pandas()) == 1"
    )
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)


@pytest.mark.parametrize("word", ["--version", "-V", "version"])
def test_the_version(word: str) -> None:
    done = run(word)
    assert (done.returncode, done.stdout) == (0, f"tidegate {__version__}\n")


@pytest.mark.parametrize("words", [("streams", "--help"), ("help", "streams"), ("streams", "-h")])
def test_a_command_has_help_of_its_own(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: tidegate streams")
    assert cli.COMMANDS["streams"] in done.stdout
    assert "--json" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("strems",), "there is no command strems; did you mean 'streams'?"),
        (("zzz",), "there is no command zzz; `tidegate --help` lists them"),
        (("--zzz",), "there is no option --zzz; `tidegate --help` lists them"),
        (("-c",), "-c needs the name of a file"),
        (
            ("streams", "--jsn"),
            "Unknown option: --jsn. Did you mean --json? `tidegate streams --help` shows how",
        ),
        (("streams", "a", "b"), "`tidegate streams --help` shows how"),
        (("schema", "charges", "--to", "x"), "`tidegate schema --help` shows how"),
        (("run", "--port", "99999"), "no such port; give 1 to 65535, or 0 for any that is free"),
        (("run", "--port", "-1"), "no such port; give 1 to 65535, or 0 for any that is free"),
        (("run", "--port", "http"), "`tidegate run --help` shows how"),
        (("sandbox", "--port", "65536"), "no such port; give 1 to 65535, or 0 for any that is free"),
    ],
)
def test_wrong_words_are_one_sentence_and_exit_2(words: tuple[str, ...], says: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("tidegate: ")
    assert line.endswith(says)


@pytest.mark.parametrize("words", [("--help",), ("streams",), ("streams", "--json"), ("schema",)])
def test_a_reader_that_went_away_is_no_error(words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([TIDEGATE, *words], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)
    return monkeypatch


def told(
    failing: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: BaseException, *words: str
) -> tuple[int, str]:
    """The exit code and what is said when a command raises."""

    def dispatch(_: list[str]) -> int:
        raise error

    failing.setattr(cli, "_dispatch", dispatch)
    code = cli.main(["streams", *words])
    return code, capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (errors.ConfigError("a b"), 2, "a b"),
        (errors.Unauthorized("no"), 1, "no"),
        (errors.WarehouseBusy("held"), 3, "held"),
        (ExceptionGroup("g", [ExceptionGroup("h", [errors.Unauthorized("deep")])]), 1, "deep"),
        (
            KeyboardInterrupt(),
            130,
            "interrupted; what was committed is safe, and the same command goes on from there",
        ),
        (BaseExceptionGroup("g", [KeyboardInterrupt()]), 130, "interrupted; what was committed is safe, "),
        (FileNotFoundError(2, "No such file or directory", "x.txt"), 1, "x.txt: No such file or directory"),
        (OSError(28, "No space left on device"), 1, "the system says: No space left on device; what was"),
        (errors.Unauthorized("key sk_live_51AbC is wrong"), 1, "key sk_live_… is wrong"),
        (errors.WarehouseError("postgres://u:secret@h is gone"), 1, "postgres://u:…@h is gone"),
    ],
)
def test_an_error_is_one_sentence_with_its_exit_code(
    failing: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    found, said = told(failing, capfd, error)
    assert found == code
    assert said.startswith(f"tidegate: {line}")
    assert len(said.splitlines()) == 1


def test_several_problems_are_a_line_each(
    failing: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code, said = told(failing, capfd, errors.ConfigError("f:1:1: a\nf:2:1: b"))
    assert (code, said) == (2, "tidegate: f:1:1: a\ntidegate: f:2:1: b\n")


def test_an_unexpected_error_tells_its_place_but_not_its_message(
    failing: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code, said = told(failing, capfd, ValueError("jane@example.com"))
    assert code == 1
    assert said.startswith("tidegate: internal error: ValueError at ")
    assert "--debug" in said
    assert "jane" not in said
    assert "Traceback" not in said


def test_debug_shows_the_traceback_without_keys(
    failing: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _, said = told(failing, capfd, ValueError("rk_test_51AbC"), "--debug")
    assert "Traceback (most recent call last)" in said
    assert "ValueError: rk_test_…" in said


def test_debug_may_come_from_the_environment(
    failing: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    failing.setenv("TIDEGATE_DEBUG", "1")
    _, said = told(failing, capfd, ValueError("x"))
    assert "Traceback" in said


@pytest.mark.parametrize(
    ("words", "passed"),
    [
        (["-c", "a.yaml", "pull", "x"], ["pull", "-c", "a.yaml", "x"]),
        (["--config=a.yaml", "pull"], ["pull", "--config=a.yaml"]),
        (["pull", "--debug", "x"], ["pull", "x"]),
        (["pull", "--", "--debug"], ["pull", "--", "--debug"]),
    ],
)
def test_global_options_may_stand_before_the_command(
    failing: pytest.MonkeyPatch, words: list[str], passed: list[str]
) -> None:
    seen: list[list[str]] = []

    def keep(given: list[str]) -> int:
        seen.append(given)
        return 7

    failing.setattr(cli, "_run", keep)
    assert cli.main(words) == 7
    assert seen == [passed]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sk_test_51AbC9 and rk_live_xyz", "sk_test_… and rk_live_…"),
        ("whsec_abc123", "whsec_…"),
        ("sk_org_live_abc", "sk_org_live_…"),
        ("postgresql://u:p%40ss@h:5432/d", "postgresql://u:…@h:5432/d"),
        ("https://example.com/a:b@c", "https://example.com/a:b@c"),
        ("task_test and risk_live_rates", "task_test and risk_live_rates"),
        ("cus_123 ch_9 tg_short", "cus_123 ch_9 tg_short"),
        (f"token tg_{43 * 'a'}", "token tg_…"),
    ],
)
def test_secrets_are_cut_out_of_any_text(text: str, shown: str) -> None:
    assert output.redacted(text) == shown


def test_a_terminal_without_utf_8_gets_ascii() -> None:
    done = subprocess.run(
        [TIDEGATE, "streams", "refunds"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "COLUMNS": "150"},
        check=False,
    )
    assert done.returncode == 0
    assert b"/v1/refunds" in done.stdout
    assert done.stdout.isascii()


def test_ctrl_c_in_a_real_command_is_one_line_and_exit_130(tmp_path: Path) -> None:
    # Reading a FIFO that nobody writes blocks for as long as it takes to interrupt it.
    fifo = tmp_path / "tidegate.yaml"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [TIDEGATE, "check", "-c", str(fifo)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    writer = None
    while writer is None and process.poll() is None:
        try:
            writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # the command has not opened it yet
            time.sleep(0.01)
    assert writer is not None, "the command ended before it read its configuration"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    os.close(writer)
    assert process.returncode == 130
    assert said == (
        "tidegate: interrupted; what was committed is safe, and the same command goes on from there\n"
    )


def test_what_an_interruption_left_behind_is_said_where_it_is_known(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def stopped(_words: list[str]) -> int:
        raise KeyboardInterrupt("nothing was erased")

    monkeypatch.setattr(cli, "_dispatch", stopped)
    assert cli.main(["forget"]) == 130
    assert capfd.readouterr().err == "tidegate: interrupted; nothing was erased\n"


def test_the_front_page_fits_a_narrow_terminal() -> None:
    assert max(map(len, cli.front_page().splitlines())) <= 80
