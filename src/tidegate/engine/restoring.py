"""An old definition of a pipeline brought back, into its block of the configuration and its function's file."""

from __future__ import annotations

import dataclasses
import datetime as dt
import difflib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tidegate import catalog, config, errors
from tidegate.config import patching
from tidegate.customers import cases, shaping
from tidegate.engine import piping
from tidegate.rows import decode
from tidegate.shape import profile
from tidegate.store import definitions

KEYS = ("stream", "filter", "map", "function", "cases")
"""What a definition says of a pipeline; all else of it stays as it is."""
SUFFIXES = {"python": ".py", "javascript": ".js"}

Load = Callable[[Path], config.Config]
"""Reads and checks a configuration."""


@dataclass(frozen=True, slots=True)
class Change:
    """A file as it is and as it is to be; `before` is None for a new one. `shown` are the lines it is about."""

    file: Path
    before: str | None
    after: str
    shown: tuple[str, str]

    def diff(self) -> Iterator[str]:
        """What changes, line by line."""
        name = self.file.name
        first, last = (each.splitlines() for each in self.shown)
        return difflib.unified_diff(first, last, name, name, lineterm="")


@dataclass(frozen=True, slots=True)
class Restored:
    """A definition brought back: YAML to paste, the function's text, and what would be written.

    `blocked` says why it cannot be written; empty where it can.
    """

    pipeline: str
    number: int
    yaml: str
    code: str
    changes: tuple[Change, ...]
    blocked: str = ""


def restored(
    file: config.Config, config_file: Path, name: str, version: definitions.Definition, load: Load
) -> Restored:
    """Work out what a version makes of the files; nothing is written.

    It is `blocked` where it cannot be now: a case comes out differently, a property is gone, or the configuration
    says the pipeline in a way that cannot be replaced in place.
    """
    body: dict[str, Any] = msgspec.json.decode(version.body)
    code = next(iter(body.get("function", {}).items()), None)
    text = "" if code is None else "".join(f"{line}\n" for line in code[1])
    told = _told(body)
    try:
        function, written = _function(file, config_file, name, version.number, code and code[0], text)
        found = _replaced(
            file, config_file, Restored(name, version.number, "", text, ()), {**told, "function": function}
        )
        found = dataclasses.replace(found, changes=(*([written] if written else []), *found.changes))
        _check(file, found, config_file, version, load)
    except errors.ConfigError as error:
        pipeline = file.pipelines[name]
        own = {"from": pipeline.connection, "to": pipeline.warehouse}
        yaml = patching.dumped(
            {name: {**own, **{key: each for key, each in told.items() if each is not None}}}
        )
        return Restored(name, version.number, yaml, text, (), str(error))
    return found


def _replaced(file: config.Config, config_file: Path, found: Restored, wanted: Mapping[str, Any]) -> Restored:
    """The same with the pipeline's block of the configuration."""
    now = {
        **_told(_body(file.pipelines[found.pipeline])),
        "function": _function_now(file, config_file, found.pipeline),
    }
    differing = {key: wanted[key] for key in KEYS if wanted[key] != now[key]}
    before, place = _read(config_file), ("pipelines", found.pipeline)
    after = patching.replaced(before, place, differing)
    shown = (patching.told(before, place), patching.told(after, place))
    changes = () if after == before else (Change(config_file, before, after, shown),)
    return dataclasses.replace(found, yaml=shown[1], changes=changes)


def write(restored: Restored) -> None:
    """Write the files, each by one rename, once all that is to be in them is on the disk.

    Raises ConfigError, before anything is written, where it is blocked, a file was changed meanwhile, or one has no
    room.
    """
    if restored.blocked:
        raise errors.ConfigError(restored.blocked)
    for each in restored.changes:
        if (_read(each.file) if each.file.exists() else None) != each.before:
            raise errors.ConfigError(
                f"{each.file.name} was just changed by somebody else; give the command again."
            )
    drafts: dict[Path, Path] = {}
    try:
        for each in restored.changes:
            target = each.file.resolve()
            drafts[target] = _draft(target, each.after)
            if target.exists():
                shutil.copymode(target, drafts[target])
            else:
                drafts[target].chmod(0o644)
        for target, draft in drafts.items():
            try:
                os.replace(draft, target)
            except OSError as reason:
                raise _unwritable(target, reason) from None
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _told(body: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a definition as somebody would write them; None for those that it leaves out."""
    told: dict[str, Any] = {key: body.get(key) for key in KEYS if key != "function"}
    if told["map"]:
        told["map"] = {each: _short(value) for each, value in told["map"].items()}
    return told


def _short(value: Mapping[str, Any]) -> Any:
    if set(value) == {"from"}:
        return value["from"]
    return dict(value) if value else {"value": None}


def _body(pipeline: config.Pipeline) -> dict[str, Any]:
    """The definition as it is kept, but for the function."""
    told: dict[str, Any] = pipeline.model_dump(
        mode="json", include=set(KEYS) - {"function"}, by_alias=True, exclude_defaults=True
    )
    return told


def _function_now(file: config.Config, config_file: Path, name: str) -> dict[str, Any] | None:
    """The function as the configuration names it."""
    function = file.pipelines[name].function
    if function is None:
        return None
    told = function.model_dump(mode="json", exclude_unset=True)
    if function.code is not None:
        return {**told, "code": function.code.replace("${", "$${")}
    path = function.python or function.javascript or ""
    return {**told, _language(function): _relative(Path(path), config_file)}


def _language(function: config.Function) -> str:
    return "python" if function.python is not None else "javascript"


def _relative(path: Path, config_file: Path) -> str:
    return os.path.relpath(path, config_file.absolute().parent)


def _function(
    file: config.Config, config_file: Path, name: str, number: int, language: str | None, text: str
) -> tuple[dict[str, Any] | None, Change | None]:
    """What names the function, and its file as it is to be; None where it is so already.

    A file that another flow uses, too, is left alone: the function gets one of its own.
    """
    if language is None:
        return None, None
    now, function = _function_now(file, config_file, name), file.pipelines[name].function
    if function is not None and (function.language, function.code) == (language, text):
        return now, None
    if function is not None and now is not None and language in now:
        path = Path(function.python or function.javascript or "")
        if _is(path, text):
            return now, None
        if _users(file, path) < 2:
            return now, _code(path, text)
    limits = {key: each for key, each in (now or {}).items() if key not in (*SUFFIXES, "code", "language")}
    for stem in (name, f"{name}_v{number}"):
        path = config_file.absolute().parent / f"{stem}{SUFFIXES[language]}"
        told = {language: path.name, **limits}
        if _is(path, text):
            return told, None
        if not path.exists():
            return told, _code(path, text)
    raise errors.ConfigError(
        f"{path.name} is there already and says something else; move it away, then give the command again."
    )


def _users(file: config.Config, path: Path) -> int:
    """How many flows take their function from a file."""
    functions = [each.function for each in file.pipelines.values()]
    functions += [each.function for each in file.pushes.values()]
    return sum(each is not None and str(path) in (each.python, each.javascript) for each in functions)


def _is(path: Path, text: str) -> bool:
    return path.exists() and _read(path).splitlines() == text.splitlines()


def _code(path: Path, text: str) -> Change:
    before = _read(path) if path.exists() else None
    return Change(path, before, text, (before or "", text))


def _check(
    before: config.Config, found: Restored, config_file: Path, version: definitions.Definition, load: Load
) -> None:
    """Raises ConfigError where the files would not say just what the version says, or could not be run."""
    name, drafts = found.pipeline, dict[Path, Path]()
    try:
        for each in found.changes:
            drafts[each.file] = _draft(each.file, each.after)
        draft = drafts.get(config_file, config_file)
        try:
            file = load(draft)
        except errors.ConfigError as error:
            raise errors.ConfigError(str(error).replace(draft.name, config_file.name)) from None
        if _others(file, name) != _others(before, name):
            raise errors.ConfigError(
                f"Other parts of {config_file.name} share what stands under pipelines.{name} by an alias, and "
                "would change with it; change it by hand."
            )
        pipeline, of = file.pipelines[name], profile.of(piping.model(file, name))
        if pipeline.function is not None and pipeline.function.code is None:
            language = _language(pipeline.function)
            path = Path(getattr(pipeline.function, language))
            told = {language: str(drafts.get(path, path))}
            pipeline = pipeline.model_copy(update={"function": pipeline.function.model_copy(update=told)})
        stream = decode.schema(catalog.load().streams[pipeline.stream])
        with shaping.opened(name, pipeline, of, stream, dt.datetime.now(dt.UTC)) as shaper:
            cases.check(name, pipeline, shaper, stream)
            if shaper.text != version.body:
                raise errors.ConfigError(
                    f"Version {version.number} of the pipeline {name} cannot be said in {config_file.name} as it "
                    "was; change it by hand, `tidegate pipeline versions` shows what differs."
                )
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _others(file: config.Config, name: str) -> config.Config:
    """A configuration without one of its pipelines."""
    others = {each: pipeline for each, pipeline in file.pipelines.items() if each != name}
    return file.model_copy(update={"pipelines": others})


def _draft(file: Path, text: str) -> Path:
    """A file beside another, on the disk, with what is to be in it; raises ConfigError where there can be none."""
    draft: Path | None = None
    try:
        handle, name = tempfile.mkstemp(
            dir=file.absolute().parent, prefix=f".{file.stem}-", suffix=file.suffix
        )
        draft = Path(name)
        with os.fdopen(handle, "wb") as written:
            written.write(text.encode())
            written.flush()
            os.fsync(written.fileno())
    except OSError as reason:
        if draft is not None:
            draft.unlink(missing_ok=True)
        raise _unwritable(file, reason) from None
    return draft


def _unwritable(file: Path, reason: OSError) -> errors.ConfigError:
    return errors.ConfigError(
        f"{file.name} cannot be written ({reason.strerror}); see that its folder can be, or change it by hand."
    )


def _read(file: Path) -> str:
    """A file's text with its line ends, and its byte order mark where it has one."""
    return file.read_bytes().decode()


def chosen(
    versions: Sequence[definitions.Definition], name: str, number: str | None
) -> definitions.Definition:
    """A version by its number; raises ConfigError where there is none."""
    found = next((each for each in versions if str(each.number) == number), None)
    if found is None:
        known = ", ".join(str(each.number) for each in reversed(versions)) or "none"
        raise errors.ConfigError(
            f"say which version of {name}: tidegate pipeline restore {name} VERSION; it has {known}"
        )
    return found
