"""A real OpenSearch for tests: the jars of Maven Central in a small Java program."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import hashlib
import shutil
import subprocess
from pathlib import Path

import kept

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def _program(name: str) -> str:
    found = shutil.which(name)
    assert found is not None, f"{name} is missing: apt-get install default-jdk-headless maven"
    return found


def _jars() -> Path:
    """A folder with what `opensearchd.xml` pins; filled by who comes first."""
    wanted = HERE / "opensearchd.xml"
    folder = ROOT / ".dev" / f"opensearch-{hashlib.sha256(wanted.read_bytes()).hexdigest()[:12]}"
    done = folder / "installed"
    folder.parent.mkdir(exist_ok=True)
    with open(folder.parent / "opensearch.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
            maven = [_program("mvn"), "--batch-mode", "--quiet", "--file", wanted, goal]
            subprocess.run([*maven, f"-DoutputDirectory={folder}"], check=True, stdin=subprocess.DEVNULL)
            done.touch()
    return folder


@functools.cache
def opensearch() -> str:
    """The URL of an OpenSearch of this process's own, to which nobody signs in."""
    folder = kept.folder("opensearch")
    java = [_program("java"), "-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    with open(folder / "log", "wb") as log:
        node = subprocess.Popen(
            [*java, "-cp", f"{_jars()}/*", HERE / "Opensearchd.java", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert node.stdin is not None
    assert node.stdout is not None

    def stop() -> None:
        node.kill()
        node.wait()
        for pipe in (node.stdin, node.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]  # they are pipes

    atexit.register(stop)
    port = node.stdout.readline().strip()
    assert port, (folder / "log").read_text()
    return f"http://127.0.0.1:{int(port)}"
