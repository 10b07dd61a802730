"""Old definitions of pipelines brought back into the files, and what keeps them out."""

from __future__ import annotations

import datetime as dt
import json
import os
import tempfile
from pathlib import Path

import pytest

from tidegate import catalog, config, errors
from tidegate.customers import shaping
from tidegate.engine import piping, restoring
from tidegate.rows import decode
from tidegate.shape import profile
from tidegate.store import definitions

HEAD = """# mine
stripe: {acme: {api_key: sk_test_123456789012}}
warehouses: {w: {type: duckdb, path: w.duckdb}}
pipelines:
"""
FIRST = """  eu:
    from: acme
    to: w
    schedule: every 1h   # not a definition's
    filter: {field: address.country, op: is one of, value: [DE, "no", "1e5"]}
    map:
      name: {sql: "trim(name)"}
      email: email
      description: {value: null}
    cases:
      - {name: trimmed, given: {id: cus_1, name: " Ann ", address: {country: DE}}, expected: {name: Ann}}
"""
PLAIN = "  eu:\n    from: acme\n    to: w\n    schedule: every 1h   # not a definition's\n"
CODE = "def transform(customer):\n    return {'customer_id': customer['id']}\n"


class Folder:
    """A configuration in a folder, and the versions that its pipeline had."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, path / "tidegate.yaml"
        self.versions: list[definitions.Definition] = []

    def ran(self, pipelines: str, **files: str) -> None:
        """The pipeline ran with this."""
        for name, text in files.items():
            (self.path / name.replace("_py", ".py").replace("_js", ".js")).write_text(text)
        self.file.write_text(HEAD + pipelines)
        file = config.load(self.file)
        pipeline, of = file.pipelines["eu"], profile.of(piping.model(file, "eu"))
        stream = decode.schema(catalog.load().streams[pipeline.stream])
        with shaping.opened("eu", pipeline, of, stream, dt.datetime.now(dt.UTC)) as shaper:
            number = len(self.versions) + 1
            self.versions.append(definitions.Definition("eu", number, str(number), shaper.text, 0.0))

    def restored(self, number: int) -> restoring.Restored:
        file = config.load(self.file)
        return restoring.restored(file, self.file, "eu", self.versions[number - 1], config.load)

    def written(self, number: int) -> str:
        """The configuration with a version written into it."""
        restoring.write(self.restored(number))
        return self.file.read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_what_a_definition_says_comes_back_and_the_rest_stays(folder: Folder) -> None:
    folder.ran(FIRST)
    folder.ran(PLAIN + "    filter: {field: id, op: exists}   # anybody\n")
    told = folder.written(1)
    assert told.startswith(HEAD + PLAIN + "    filter:   # anybody\n      field: address.country\n")
    assert folder.restored(1).changes == ()
    assert folder.written(2) == HEAD + PLAIN + "    filter:   # anybody\n      field: id\n      op: exists\n"
    assert [each.name for each in folder.path.iterdir()] == ["tidegate.yaml"]


def test_a_diff_shows_the_block_and_nothing_of_others(folder: Folder) -> None:
    folder.ran(FIRST)
    folder.ran(PLAIN)
    [change] = folder.restored(1).changes
    lines = list(change.diff())
    assert "+  filter:" in lines
    assert not any("sk_test" in line for line in lines)


def test_a_function_is_written_into_its_file(folder: Folder) -> None:
    own = PLAIN + "    function: {python: f.py, timeout: 9}\n"
    folder.ran(own, f_py=CODE)
    folder.ran(own, f_py=CODE.replace("'id'", "'name'"))
    (folder.path / "f.py").chmod(0o640)
    restored = folder.restored(1)
    assert restored.code == CODE
    assert [each.file.name for each in restored.changes] == ["f.py"]
    restoring.write(restored)
    assert (folder.path / "f.py").read_text() == CODE
    assert (folder.path / "f.py").stat().st_mode & 0o777 == 0o640
    assert folder.file.read_text() == HEAD + own


def test_a_function_that_others_use_too_gets_a_file_of_its_own(folder: Folder) -> None:
    both = (
        PLAIN
        + "    function: {python: f.py, timeout: 9}\n  us: {from: acme, to: w, function: {python: f.py}}\n"
    )
    folder.ran(both, f_py=CODE)
    folder.ran(both, f_py=CODE.replace("'id'", "'name'"))
    (folder.path / "eu.py").write_text("# something else\n")
    told = folder.written(1)
    assert config.load(folder.file).pipelines["eu"].function == config.Function(
        python=str(folder.path / "eu_v1.py"), timeout=9
    )
    assert (folder.path / "eu_v1.py").read_text() == CODE
    assert (folder.path / "eu.py").read_text() == "# something else\n"
    assert "us: {from: acme, to: w, function: {python: f.py}}\n" in told


def test_a_function_comes_and_goes_with_its_language(folder: Folder) -> None:
    folder.ran(PLAIN)
    folder.ran(
        PLAIN + "    function: {javascript: f.js}\n", f_js="const transform = (c) => ({name: c.name})\n"
    )
    folder.ran(PLAIN + "    function: {python: f.py}\n", f_py=CODE)
    assert "    function:\n      javascript: eu.js\n" in folder.written(2)
    assert "    function:\n      python: eu.py\n" in folder.written(3)
    assert folder.written(1) == HEAD + PLAIN


def test_a_configuration_that_is_a_link_stays_one(folder: Folder, tmp_path: Path) -> None:
    folder.ran(FIRST)
    folder.ran(PLAIN)
    (tmp_path / "there").mkdir()
    os.replace(folder.file, tmp_path / "there" / "real.yaml")
    folder.file.symlink_to(tmp_path / "there" / "real.yaml")
    folder.written(1)
    assert folder.file.is_symlink()
    assert config.load(folder.file).pipelines["eu"].filter is not None


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (PLAIN.replace("eu:", "eu: &eu") + "  us: *eu\n", "would change with it; change it by hand"),
        ("  us: &us\n    from: acme\n    to: w\n  eu: *us\n", "pipelines.eu is not written out in the file"),
        (
            PLAIN + "    filter: &f {field: id, op: exists}\n  us: {from: acme, to: w, filter: *f}\n",
            "pipelines.eu cannot be replaced in place, since something else is an alias of what stands there",
        ),
        (
            PLAIN + "customer_model: {warehouse: w, identifiers: [email], properties: {email: string}}\n",
            "The pipeline eu maps a property that the customer model does not have: description;",
        ),
    ],
)
def test_what_cannot_be_written_in_place_is_said_and_can_be_pasted(
    folder: Folder, now: str, said: str
) -> None:
    folder.ran(FIRST)
    before = HEAD + now
    folder.file.write_text(before)
    restored = folder.restored(1)
    assert said in restored.blocked
    assert ".tidegate-" not in restored.blocked
    with pytest.raises(errors.ConfigError):
        restoring.write(restored)
    assert folder.file.read_text() == before
    assert restored.yaml.startswith("eu:\n  from: acme\n  to: w\n")
    folder.file.write_text(HEAD + "".join(f"  {line}\n" for line in restored.yaml.splitlines()))
    assert folder.restored(1).changes == ()
    assert [each.name for each in folder.path.iterdir()] == ["tidegate.yaml"]


def test_a_file_that_somebody_changed_meanwhile_is_left_alone(folder: Folder) -> None:
    folder.ran(FIRST)
    folder.ran(PLAIN)
    restored = folder.restored(1)
    folder.file.write_text(HEAD + PLAIN + "# mine\n")
    with pytest.raises(errors.ConfigError, match="just changed by somebody else"):
        restoring.write(restored)
    assert folder.file.read_text() == HEAD + PLAIN + "# mine\n"


def test_where_nothing_can_be_written_there_is_something_to_paste(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.ran(FIRST)
    folder.ran(PLAIN)

    def refused(**_: object) -> tuple[int, str]:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkstemp", refused)
    restored = folder.restored(1)
    assert restored.blocked == (
        "tidegate.yaml cannot be written (Read-only file system); see that its folder can be, or change it by hand."
    )
    assert "trim(name)" in restored.yaml


def test_either_all_files_are_written_or_none(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    own = PLAIN + "    function: {python: f.py}\n"
    folder.ran(own + "    filter: {field: id, op: is, value: cus_1}\n", f_py=CODE)
    folder.ran(own, f_py=CODE.replace("'id'", "'name'"))
    restored = folder.restored(1)
    assert [each.file.name for each in restored.changes] == ["f.py", "tidegate.yaml"]
    before = {each.name: each.read_bytes() for each in folder.path.iterdir()}
    real = os.fsync

    def full(handle: int) -> None:
        if b"filter" in os.pread(handle, 1 << 16, 0):
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        errors.ConfigError, match=r"tidegate\.yaml cannot be written \(No space left on device\)"
    ):
        restoring.write(restored)
    assert {each.name: each.read_bytes() for each in folder.path.iterdir()} == before


def test_a_version_is_chosen_by_its_number(folder: Folder) -> None:
    folder.ran(FIRST)
    folder.ran(PLAIN)
    newest_first = folder.versions[::-1]
    assert restoring.chosen(newest_first, "eu", "1").number == 1
    with pytest.raises(errors.ConfigError, match="it has 1, 2"):
        restoring.chosen(newest_first, "eu", None)


def test_a_function_in_the_configuration_itself_is_left_where_it_says_the_same(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    inline = "    function: {language: python, code: " + json.dumps(CODE) + "}\n"
    folder.ran(PLAIN + inline)
    folder.ran(PLAIN + inline + "    map: {name: name}\n")
    found = folder.restored(1)
    assert found.blocked == ""
    assert [each.file for each in found.changes] == [folder.file]
    restoring.write(found)
    kept = config.load(folder.file).pipelines["eu"]
    assert kept.function is not None
    assert kept.function.code == CODE
    assert not kept.map


def test_an_old_function_of_a_file_takes_the_place_of_one_in_the_configuration(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.ran(PLAIN + "    function: {python: shape.py}\n", shape_py=CODE)
    other = CODE.replace("'id'", "'name'")
    folder.ran(PLAIN + "    function: {language: python, code: " + json.dumps(other) + ", timeout: 9}\n")
    restoring.write(folder.restored(1))
    function = config.load(folder.file).pipelines["eu"].function
    assert function is not None
    assert (function.code, function.timeout) == (None, 9)
    assert Path(str(function.python)).read_text() == CODE
