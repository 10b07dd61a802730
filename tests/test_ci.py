"""In CI a test that is skipped or excused fails the session; elsewhere it does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parent / "conftest.py"
PLUGINS = f"{CONFTEST.parent / 'support'} {CONFTEST.parent / 'fakes'}"
SKIPPED = "import pytest\n\ndef test_runs(): pass\n\n@pytest.mark.skip\ndef test_skipped(): pass\n"
EXCUSED = "import pytest\n\n@pytest.mark.xfail\ndef test_excused(): assert False\n"
WHOLE_FILE = "import pytest\npytest.skip('not here', allow_module_level=True)\n"
FINE = "def test_runs(): pass\n"


def session(folder: Path, text: str, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(CONFTEST, folder / "conftest.py")
    (folder / "test_it.py").write_text(text)
    base = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CI", "TIDEGATE_NO_SKIP") and not name.startswith("PYTEST")
    }
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", f"pythonpath={PLUGINS}"),
            *("--rootdir", folder, *words, folder),
        ],
        capture_output=True,
        text=True,
        env={**base, **environ},
        check=False,
    )


@pytest.mark.parametrize("text", [SKIPPED, EXCUSED])
@pytest.mark.parametrize("words", [(), ("-n", "1")])
def test_ci_fails_when_a_test_does_not_run(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    done = session(tmp_path, text, *words, CI="true")
    assert done.returncode == 1
    assert "not run, which CI forbids: " in done.stdout


def test_ci_fails_when_a_whole_file_is_skipped(tmp_path: Path) -> None:
    done = session(tmp_path, WHOLE_FILE, TIDEGATE_NO_SKIP="1")
    assert done.returncode != 0
    assert "not run, which CI forbids: " in done.stdout


def test_ci_is_content_when_all_run(tmp_path: Path) -> None:
    done = session(tmp_path, FINE, CI="true")
    assert done.returncode == 0
    assert "CI forbids" not in done.stdout


def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    assert session(tmp_path, SKIPPED).returncode == 0
