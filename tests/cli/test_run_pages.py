"""`tidegate run`, run as it is typed: the first link that it prints, and where it may be reached."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from signing import Client

from tidegate.cli import main
from tidegate.server import asking
from tidegate.store import database, people

TIDEGATE = str(Path(sys.executable).parent / "tidegate")


@contextlib.contextmanager
def running(folder: Path, *words: str) -> Iterator[list[str]]:
    """What it says until it is served, without the mark before each line; it is stopped in the end."""
    process = subprocess.Popen(
        [TIDEGATE, "run", "--port", "0", *words], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said: list[str] = []
    with process:
        try:
            for line in process.stderr:
                said.append(line.removeprefix("tidegate: ").strip())
                if line.startswith("tidegate: serving ") and has_admin(folder):
                    break
                if "/enter/" in line:
                    break
            yield said
        finally:
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
    assert process.returncode == 0, rest
    assert "Traceback" not in rest


def has_admin(folder: Path) -> bool:
    with contextlib.closing(database.open_database(f"sqlite:///{folder}/tidegate.db")) as store:
        return people.has_admin(store)


def test_the_first_start_in_an_empty_folder_prints_a_link_that_makes_the_admin(tmp_path: Path) -> None:
    with running(tmp_path) as said:
        assert said[-2] == "nobody can sign in yet; this link makes the first admin, once, within an hour:"
        url, _, link = said[-1].partition("/enter/")
        assert said[-3] == f"serving {url}"
        browser = Client(url)
        browser.jar["tidegate-form"] = "of this browser"
        form = {
            "_csrf": asking.csrf("of this browser"),
            "link": link,
            "name": "ann@example.com",
            "password": "correct horse battery",
        }
        assert browser.post("/enter", form).headers["location"] == "/start"  # nothing is configured yet
        (ann,) = browser.get("/api/v1/members").json["items"]
        assert (ann["name"], ann["role"], ann["state"]) == ("ann@example.com", "admin", "active")
    assert not any(link in file.read_text(errors="ignore") for file in tmp_path.iterdir() if file.is_file())
    with running(tmp_path) as again:
        assert again[-1].startswith("serving http://127.0.0.1:")


def test_where_others_can_reach_it_tls_is_spoken_of(tmp_path: Path) -> None:
    with running(tmp_path, "--host", "0.0.0.0") as said:
        assert any("0.0.0.0 can be reached without TLS" in each for each in said)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/enter/[\w-]{43}", said[-1])


def test_the_link_has_the_public_address(tmp_path: Path) -> None:
    (tmp_path / "tidegate.yaml").write_text("server: {public_url: 'https://tidegate.example.com'}\n")
    with running(tmp_path, "--host", "0.0.0.0", "--behind-proxy", "10.0.0.0/8") as said:
        assert said[-1].startswith("https://tidegate.example.com/enter/")
        assert not any("without TLS" in each for each in said)


def test_a_proxy_is_named_by_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--behind-proxy", "my-proxy"]) == 2
    assert "--behind-proxy: write an address such as 10.0.0.7" in capsys.readouterr().err
