"""The catalog is what the installed package says, and `--check` notices when it is not."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tidegate import catalog
from tidegate.catalog import build, facts, streams


def without(of: catalog.Catalog, stream: str, column: str) -> catalog.Catalog:
    """The catalog as if the stream had no such column."""
    one = of.streams[stream]
    less = msgspec.structs.replace(one, fields=tuple(f for f in one.fields if f.name != column))
    return msgspec.structs.replace(of, streams={**of.streams, stream: less})


def test_the_committed_catalog_is_what_the_package_gives(capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_rendering_is_lossless_and_readable() -> None:
    text = build.render(streams.derive())
    assert msgspec.json.decode(text, type=catalog.Catalog) == streams.derive()
    assert b'\n    {"name":"amount","type":"integer"' in text
    assert text == build.render(msgspec.json.decode(text, type=catalog.Catalog))


def test_writing_and_checking_a_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "catalog.json"
    assert build.main(["--file", str(copy)]) == 0
    assert copy.read_bytes() == build.COMMITTED.read_bytes()
    assert build.main(["--check", "--file", str(copy)]) == 0
    assert "streams of stripe" in capsys.readouterr().out


def test_a_tampered_copy_is_told_apart_column_by_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "catalog.json"
    copy.write_bytes(build.render(without(streams.derive(), "charges", "amount")))
    assert build.main(["--check", "--file", str(copy)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "stream charges: field amount: new"
    assert "run `./dev catalog`" in lines[-1]
    assert len(lines) == 2


def test_differences_name_what_changed() -> None:
    charges = msgspec.structs.replace(streams.derive().streams["charges"], permission="rak_other_read")
    rest = {name: each for name, each in streams.derive().streams.items() if name != "refunds"}
    old = msgspec.structs.replace(streams.derive(), package="16.0.0", streams={**rest, "charges": charges})
    assert build.differences(build.render(old), streams.derive()) == [
        "package: 16.0.0 -> 16.1.0",
        'stream charges: permission "rak_other_read" -> "rak_charge_read"',
        "stream refunds: new",
    ]


def test_an_unreadable_or_missing_file_is_a_difference(tmp_path: Path) -> None:
    assert build.main(["--check", "--file", str(tmp_path / "none.json")]) == 1
    assert build.differences(b"{", streams.derive())[0].startswith("the committed catalog cannot be read")
    assert build.differences(build.render(streams.derive()) + b" ", streams.derive()) == [
        "the same content in another form"
    ]


def test_a_fact_about_something_gone_fails_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    streams.derive.cache_clear()
    monkeypatch.setitem(facts.RELATIVES, "charges", {"no_such_field": ("invoices",)})
    monkeypatch.setitem(facts.NAMES, "/v1/no_such_list", "nothing")
    with pytest.raises(LookupError, match=r"'/v1/no_such_list', 'charges.no_such_field'"):
        streams.derive()
