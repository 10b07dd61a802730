"""`bundle.py`: what is built of the pages, when, and what is said where that is not possible."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
NODE = """\
#!/bin/sh
if [ "$1" = --version ]; then echo {version}; exit; fi
case "$1" in
  *build.mjs) ;;
  *typescript/bin/tsc)
    echo "$2 $3" > {root}/linted
    if [ -e {root}/wrong ]; then echo "js/app.js(1,2): error TS2339: There is no such property."; exit 2; fi
    exit 0 ;;
  *eslint/bin/eslint.js)
    echo "$2 $3 $4 in $(pwd)" >> {root}/linted
    if [ -e {root}/careless ]; then echo "js/app.js 3:4 error Use the strict equality"; exit 1; fi
    exit 0 ;;
  *) exit 3 ;;
esac
if [ -e {root}/broken ]; then echo "js/app.js:1: expected ;" >&2; exit 1; fi
mkdir -p "$3" && echo '{{"files": {{}}}}' > "$3/manifest.json" && echo built >> {root}/built
"""
NPM = """\
#!/bin/sh
if [ -e {root}/away ]; then echo "npm error code ENOTFOUND" >&2; exit 1; fi
echo "$@" >> {root}/npm
mkdir -p node_modules
"""


@pytest.fixture
def bundle() -> ModuleType:
    """The module, which stands beside the packages."""
    spec = importlib.util.spec_from_file_location("bundle", ROOT / "bundle.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with sources, and a node and an npm that note what they are asked for."""
    sources = tmp_path / "root" / "src" / "tidegate" / "web" / "assets"
    (sources / "js").mkdir(parents=True)
    for name in ("package.json", "package-lock.json", "build.mjs", "js/app.js"):
        (sources / name).write_text(name)
    tools(tmp_path, "v22.1.0")
    (tmp_path / "bin" / "mkdir").symlink_to(shutil.which("mkdir") or "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "path", [])
    return tmp_path / "root"


def tools(folder: Path, version: str) -> None:
    (folder / "bin").mkdir(exist_ok=True)
    for name, text in (("node", NODE), ("npm", NPM)):
        (folder / "bin" / name).write_text(text.format(version=version, root=folder / "root"))
        (folder / "bin" / name).chmod(0o755)


def static(root: Path) -> Path:
    return root / "src" / "tidegate" / "web" / "static"


def test_it_is_built_when_a_source_is_added_changed_renamed_or_gone(bundle: ModuleType, root: Path) -> None:
    app = static(root).parent / "assets" / "js" / "app.js"
    seen = set()
    for step in (
        lambda: None,
        lambda: app.write_text("other"),
        lambda: app.rename(app.with_name("main.js")),
        lambda: app.with_name("more.js").touch(),
        lambda: app.with_name("more.js").unlink(),
        lambda: app.with_name("main.js").unlink(),
    ):
        step()
        bundle.build(str(root))
        assert bundle.is_fresh(str(root))
        seen.add((static(root) / "built-from").read_text())
    assert len(seen) == 5  # one of them was as before
    assert (root / "built").read_text() == "built\n" * 6


def test_packages_are_installed_without_scripts_and_again_only_with_another_lock(
    bundle: ModuleType, root: Path
) -> None:
    sources = static(root).parent / "assets"
    bundle.build(str(root))
    (sources / "js" / "app.js").write_text("other")
    bundle.build(str(root))
    assert (root / "npm").read_text() == "ci --ignore-scripts --no-audit --no-fund --loglevel=error\n"
    (sources / "package-lock.json").write_text("other")
    bundle.build(str(root))
    assert len((root / "npm").read_text().splitlines()) == 2
    assert (root / ".dev" / "web" / "package-lock.json").read_text() == "other"


def test_what_was_built_stays_where_the_sources_are_broken(bundle: ModuleType, root: Path) -> None:
    bundle.build(str(root))
    (root / "broken").touch()
    (static(root).parent / "assets" / "js" / "app.js").write_text("broken")
    with pytest.raises(bundle.Failed) as caught:
        bundle.build(str(root))
    assert str(caught.value) == "the pages could not be bundled:\njs/app.js:1: expected ;"
    assert (static(root) / "manifest.json").exists()
    assert not bundle.is_fresh(str(root))
    assert [each.name for each in static(root).parent.iterdir() if "static" in each.name] == ["static"]


def test_an_old_node_or_none_is_said_and_a_packaged_one_is_found(
    bundle: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools(root.parent, "v20.18.3")
    with pytest.raises(bundle.Failed, match=r"the pages need Node.js 20.19 or newer, with npm, to be built"):
        bundle.build(str(root))
    (root.parent / "bin" / "node").unlink()
    assert bundle.find_node() == ""
    packaged = Path(bundle.in_folder(str(root.parent / "site")))
    packaged.parent.mkdir(parents=True)
    packaged.write_text(NODE.format(version="v24.0.0", root=root))
    packaged.chmod(0o755)
    monkeypatch.setattr(sys, "path", [str(root.parent / "site")])
    assert bundle.find_node() == str(packaged)
    bundle.build(str(root))
    assert bundle.is_fresh(str(root))


def test_node_without_npm_is_not_enough(bundle: ModuleType, root: Path) -> None:
    (root.parent / "bin" / "npm").unlink()
    assert bundle.find_node() == ""


def test_npm_of_the_same_installation_is_preferred(bundle: ModuleType, root: Path) -> None:
    own = root.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    own.parent.mkdir(parents=True)
    own.write_text("")
    node = str(root.parent / "bin" / "node")
    assert bundle._npm(node) == [node, str(own)]


def test_the_scripts_are_read_by_the_compiler_and_the_linter_that_the_lock_pins(
    bundle: ModuleType, root: Path
) -> None:
    sources = static(root).parent / "assets"
    bundle.build(str(root))
    assert bundle.lint(str(root)) == ""
    assert (root / "linted").read_text() == f"--project {sources}\n--max-warnings 0 . in {sources}\n"
    (root / "careless").touch()
    assert bundle.lint(str(root)) == "js/app.js 3:4 error Use the strict equality"
    (root / "wrong").touch()
    assert bundle.lint(str(root)).splitlines() == [
        "js/app.js(1,2): error TS2339: There is no such property.",
        "js/app.js 3:4 error Use the strict equality",
    ]
    assert len((root / "npm").read_text().splitlines()) == 1


def test_without_the_registry_they_are_read_if_the_tools_are_there(bundle: ModuleType, root: Path) -> None:
    (root / "away").touch()
    with pytest.raises(bundle.Failed) as caught:
        bundle.lint(str(root))
    assert str(caught.value) == (
        "the scripts were not checked, since npm could not bring what checks them; "
        "run ./dev setup where its registry can be reached"
    )
    (root / "away").unlink()
    bundle.build(str(root))
    (root / "away").touch()
    assert bundle.lint(str(root)) == ""


def test_without_node_it_is_said_who_brings_it(bundle: ModuleType, root: Path) -> None:
    (root.parent / "bin" / "node").unlink()
    with pytest.raises(bundle.Failed, match=r"Node.js 20.19 or newer, with npm, to be checked; ./dev setup"):
        bundle.lint(str(root))
    own = Path(bundle.in_folder(str(root / ".dev" / "node")))
    own.parent.mkdir(parents=True)
    own.write_text(NODE.format(version="v24.0.0", root=root))
    own.chmod(0o755)
    assert bundle.lint(str(root)) == ""


@pytest.mark.parametrize(
    ("fresh", "code", "said"),
    [
        (True, 0, ""),
        (False, 1, "bundle: the pages are not built from what stands here; ./dev setup does it\n"),
    ],
)
def test_a_bundle_that_is_not_up_to_date_is_said(
    bundle: ModuleType,
    fresh: bool,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bundle, "is_fresh", lambda: fresh)
    assert bundle.main(["--check"]) == code
    assert capsys.readouterr().err == said


def test_where_there_are_no_sources_there_is_nothing_to_build(bundle: ModuleType, root: Path) -> None:
    shutil.rmtree(static(root).parent / "assets")
    bundle.build(str(root))
    assert not static(root).exists()


def test_the_lock_file_pins_every_package_by_its_content() -> None:
    lock = json.loads((ROOT / "src" / "tidegate" / "web" / "assets" / "package-lock.json").read_text())
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert {name for name, each in packages.items() if not each.get("integrity")} == set()
    assert not any(
        "resolved" in each and "registry.npmjs.org" not in each["resolved"] for each in packages.values()
    )


def test_unknown_words_are_told_the_usage(bundle: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert bundle.main(["--help"]) == 2
    assert "python bundle.py --check" in capsys.readouterr().err
