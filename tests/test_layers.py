"""Imports point down only, and rooms of one floor leave each other alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "tidegate"
FLOORS = (
    ("cli",),
    ("web",),
    ("api",),
    ("server",),
    ("views",),
    ("engine",),
    ("audit",),
    ("customers", "pull", "push"),
    ("shape", "privacy", "sources"),
    ("adapters",),
    ("rows", "stripe", "warehouse", "sandbox"),
    ("config", "store"),
    ("catalog",),
    ("errors", "outward", "temporary"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ALLOWED = {("cli", "sandbox")}
"""The sandbox is started by a command, and knows only the catalog itself."""
ONLY = {"sandbox": {"catalog"}}


def imports(file: Path) -> set[str]:
    """The rooms of Tidegate that a file imports, wherever in it the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "tidegate":
            found |= {alias.name for alias in node.names} - {"__version__"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tidegate."):
            found.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("tidegate.")}
    return found


def room(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda file: str(file.relative_to(SOURCE)))
def test_imports_point_down(file: Path) -> None:
    own = room(file)
    if own == "__init__":
        assert imports(file) == set()
        return
    for other in imports(file) - {own}:
        assert other in ONLY.get(own, FLOOR), f"{own} imports {other}"
        assert FLOOR[own] < FLOOR[other], f"{own} imports {other}, which does not stand below it"


def test_there_is_one_level_of_folders_and_every_room_has_its_floor() -> None:
    for file in SOURCE.rglob("*.py"):
        assert len(file.relative_to(SOURCE).parts) <= 2
        assert room(file) in {*FLOOR, "__init__"}


def test_imports_inside_functions_are_seen_too(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from tidegate.pull import run\n    import tidegate.stripe.client\n")
    assert imports(file) == {"pull", "stripe"}
