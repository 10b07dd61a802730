"""A YAML or JSON document as plain data, with the position of every value and its `${...}` filled in.

Scalars follow the YAML 1.2 core schema, which is also JSON's: `off` and `yes` are text, `02:00` is text and
no number of minutes, dates are text. Duplicate keys are errors. Nothing here knows what the keys mean.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tidegate import errors

Step = str | int
Place = tuple[Step, ...]
"""The way to a value: `("pulls", "everything", "streams", "charges")`."""

MAX_DEPTH = 64
"""Levels of values in values, where they do not come from a file."""
MAX_VALUES = 100_000
"""Values in one document, aliases counted each time; more is a mistake or an attack, no configuration."""

_REFERENCE = re.compile(r"\$(?:(?P<escape>\$\{)|\{(?P<name>[^{}]*)\})")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_INTEGER = re.compile(r"[-+]?[0-9]+\Z")

_HINTS = (
    ("'\\t' that cannot start any token", "a tab stands where YAML wants spaces; indent with spaces"),
    ("cannot start any token", "quote text that begins with this character"),
    ("mapping values are not allowed here", "unexpected ':'; check the indentation, or quote the text"),
    ("could not find expected ':'", "a key without ':'; check this line and the one above"),
    ("expected ',' or '}'", 'the braces do not close here; inside { } quote values such as "${NAME}"'),
    ("expected ',' or ']'", 'the brackets do not close here; inside [ ] quote values such as "${NAME}"'),
    ("expected <block end>", "the indentation does not fit the lines above"),
    ("found undefined alias", "this *alias has no &anchor above it"),
    ("found unexpected end of stream", "a quote is opened and never closed"),
)


@dataclass(frozen=True, slots=True)
class Position:
    """Line and column, both counted from one."""

    line: int
    column: int


@dataclass(frozen=True)
class Document:
    """What a file says, and where it says it."""

    source: str
    data: object
    positions: Mapping[Place, Position]
    filled: frozenset[Place]
    """Values that came from the environment, a file or the secret store: never to be shown."""
    problems: tuple[tuple[Place, str], ...] = ()
    """What was wrong with single values: unknown variables, duplicate keys."""
    stored: frozenset[Place] = frozenset()
    """What was merged into it from the metadata database."""

    def kept(self, place: Place) -> Place | None:
        """What of the metadata database a value belongs to; None for the file's own."""
        return next((place[:n] for n in (1, 2) if place[:n] in self.stored), None)

    def where(self, place: Place) -> str:
        """`tidegate.yaml:12:5` of a value, or of the nearest thing around it that is written in the file.

        Of what was merged into it: `pulls.everything in the metadata database`.
        """
        if (kept := self.kept(place)) is not None:
            return f"{'.'.join(map(str, kept))} in the metadata database"
        position = self.position(place)
        return f"{self.source}:{position.line}:{position.column}"

    def position(self, place: Place) -> Position:
        """The position of a value, or of the nearest thing around it."""
        while place and place not in self.positions:
            place = place[:-1]
        return self.positions.get(place, Position(1, 1))


def read(
    path: str | os.PathLike[str],
    *,
    environ: Mapping[str, str] | None = None,
    secret: Callable[[str], str] | None = None,
    as_written: bool = False,
) -> Document:
    """Read a file as `parse` does its text; raises ConfigError when it cannot be read, or is no YAML."""
    source = os.fspath(path)
    try:
        text = Path(source).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise errors.ConfigError(
            f"there is no {source} here; `tidegate init` writes one, `-c FILE` chooses another"
        ) from None
    except IsADirectoryError:
        raise errors.ConfigError(
            f"{source} is a folder, not a file; choose the file with `-c FILE`"
        ) from None
    except UnicodeDecodeError as error:
        raise errors.ConfigError(
            f"{source} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None
    except OSError as error:
        raise errors.ConfigError(f"{source} cannot be read: {error.strerror or 'unknown reason'}") from None
    return parse(text, source, environ=environ, secret=secret, as_written=as_written)


def parse(
    text: str,
    source: str,
    *,
    environ: Mapping[str, str] | None = None,
    secret: Callable[[str], str] | None = None,
    as_written: bool = False,
) -> Document:
    """Parse YAML or JSON text; wrong syntax raises ConfigError, wrong values stand in `problems`.

    `${NAME}` is the environment's, `${file:/path}` a file's text without its last line end, `${secret:name}`
    whatever `secret` answers (it raises ConfigError or KeyError for a name it does not know), `$${` a plain
    `${`. What they give is text and never parsed again. `as_written` leaves all of them as they are.
    """
    is_json = _is_json(text)
    try:
        # A raw tab cannot stand inside a JSON string, and YAML does not indent with tabs.
        node = _Loader(text.replace("\t", " ") if is_json else text).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise errors.ConfigError(_syntax(source, error)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise errors.ConfigError(
            f"{source}:{line}: a control character stands in the file; remove it"
        ) from None
    except RecursionError:
        raise errors.ConfigError(f"{source} is nested too deeply to be a configuration") from None
    reading = _Reading(source, os.environ if environ is None else environ, secret, is_json, as_written)
    data = reading.value(node, ()) if node is not None else None
    return Document(
        source, data, reading.positions, frozenset(reading.filled), tuple(dict.fromkeys(reading.problems))
    )


def references(text: str) -> list[str]:
    """The names of all `${...}` in a text, in their order."""
    return [found["name"] for found in _REFERENCE.finditer(text) if not found["escape"]]


def merged(
    doc: Document,
    more: Sequence[tuple[Place, object]],
    *,
    environ: Mapping[str, str] | None = None,
    secret: Callable[[str], str] | None = None,
) -> Document:
    """A document with more values, each at the place of a key of it or of a key below one, which it has not yet.

    They are data as JSON has it, with `${...}` as in a file. A place inside of what is no mapping is left out: that
    is wrong in the file itself.
    """
    reading = _Reading(doc.source, os.environ if environ is None else environ, secret)
    data: dict[str, object] = dict(doc.data) if isinstance(doc.data, dict) else {}
    stored: set[Place] = set()
    for place, value in more:
        into, key = data, str(place[0])
        if len(place) == 2:
            inner = data.get(key)
            if inner is not None and not isinstance(inner, dict):
                continue
            into = data[key] = dict(inner or {})
            key = str(place[1])
        into[key] = reading.plain(value, place)
        stored.add(place)
    return Document(
        doc.source,
        data,
        doc.positions,
        doc.filled | reading.filled,
        (*doc.problems, *dict.fromkeys(reading.problems)),
        doc.stored | stored,
    )


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _syntax(source: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
    problem = error.problem or "this is no YAML"
    text = f"{error.context or ''} {problem}"
    if "expected a single document" in text:
        return f"{where}: a second document starts here ('---'); keep one"
    for part, hint in _HINTS:
        if part in text:
            return f"{where}: {hint}"
    return f"{where}: this is not valid YAML: {problem}"


class _Loader(yaml.SafeLoader):
    """Composes nodes only; its own resolvers are those of YAML 1.2."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML reads it off the class
        first: [("tag:yaml.org,2002:merge", re.compile(r"<<\Z"))] for first in "<"
    }


for _tag, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z", list("-+0123456789")),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z",
        list("-+.0123456789"),
    ),
):
    yaml.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first, Loader=_Loader)


@dataclass
class _Reading:
    """One walk over the nodes: data out, positions and problems noted on the way."""

    source: str
    environ: Mapping[str, str]
    secret: Callable[[str], str] | None
    is_json: bool = False
    as_written: bool = False
    positions: dict[Place, Position] = field(default_factory=dict)
    filled: set[Place] = field(default_factory=set)
    problems: list[tuple[Place, str]] = field(default_factory=list)
    count: int = 0
    open: set[int] = field(default_factory=set)

    def value(self, node: yaml.Node, place: Place) -> object:
        self.count += 1
        mark = node.start_mark
        self.positions.setdefault(place, Position(mark.line + 1, mark.column + 1))
        if self.count > MAX_VALUES or id(node) in self.open:
            what = "an alias contains itself" if id(node) in self.open else f"more than {MAX_VALUES:,} values"
            raise errors.ConfigError(f"{self.source}:{mark.line + 1}:{mark.column + 1}: {what}")
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, place)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(child, (*place, n)) for n, child in enumerate(node.value)]
            return self.scalar(node, place)
        finally:
            self.open.discard(id(node))

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, object]:
        found: dict[str, object] = {}
        merged: dict[str, object] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                self.merge(value_node, place, merged)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                mark = key_node.start_mark
                raise errors.ConfigError(
                    f"{self.source}:{mark.line + 1}:{mark.column + 1}: a key must be a name; "
                    'quote text that begins with { or [, such as "${NAME}"'
                )
            key = self.text(key_node.value)
            at = (*place, key)
            mark = key_node.start_mark
            if key in found:
                self.problems.append((at, f"the key stands twice, here and in line {mark.line + 1}"))
                continue
            self.positions[at] = Position(mark.line + 1, mark.column + 1)
            found[key] = self.value(value_node, at)
        return {**merged, **found}

    def merge(self, node: yaml.Node, place: Place, into: dict[str, object]) -> None:
        """`<<: *anchor`, or a list of them: keys that the mapping itself does not have."""
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for each in nodes:
            if not isinstance(each, yaml.MappingNode):
                self.problems.append((place, "'<<' must be followed by an *alias of a mapping"))
                continue
            value = self.value(each, place)
            assert isinstance(value, dict), "a mapping node gives a mapping"
            for key, one in value.items():
                into.setdefault(key, one)

    def scalar(self, node: yaml.Node, place: Place) -> object:
        text = self.text(str(node.value))
        kind = node.tag.rpartition(":")[2]
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        try:
            if kind == "int":
                return int(text) if _INTEGER.match(text) else int(text, 0)
            if kind == "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            self.problems.append((place, "this is no number that can be read"))
            return None
        return text if self.as_written else self.fill(text, place)

    def plain(self, data: object, place: Place) -> object:
        """What is data already, a document of JSON, with its `${...}` filled in."""
        self.count += 1
        if self.count > MAX_VALUES or len(place) > MAX_DEPTH:
            raise errors.ConfigError(f"{self.source}: more than {MAX_VALUES:,} values, or nested too deeply")
        if isinstance(data, dict):
            return {str(key): self.plain(value, (*place, str(key))) for key, value in data.items()}
        if isinstance(data, list):
            return [self.plain(value, (*place, n)) for n, value in enumerate(data)]
        return self.fill(data, place) if isinstance(data, str) else data

    def text(self, text: str) -> str:
        """JSON writes characters beyond the BMP as two surrogates, which YAML leaves apart."""
        if not self.is_json:
            return text
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def fill(self, text: str, place: Place) -> str:
        """Replace every `${...}`; one that cannot be had becomes empty text and a problem."""

        def replace(match: re.Match[str]) -> str:
            if match["escape"]:
                return "${"
            self.filled.add(place)
            try:
                return self.resolve(match["name"])
            except errors.ConfigError as error:
                self.problems.append((place, str(error)))
                return ""

        return _REFERENCE.sub(replace, text)

    def resolve(self, name: str) -> str:
        kind, colon, rest = name.partition(":")
        if colon and kind == "file":
            try:
                return Path(rest).expanduser().read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, ValueError, RuntimeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
                raise errors.ConfigError(f"the file {rest} cannot be read: {reason}") from None
        if colon and kind == "secret":
            if self.secret is None:
                raise errors.ConfigError(
                    f"${{secret:{rest}}} needs the secret store, which this command does not open; "
                    "use ${NAME} from the environment or ${file:/path}"
                )
            try:
                return self.secret(rest)
            except KeyError:
                raise errors.ConfigError(f"the secret store has no secret named {rest!r}") from None
        if not _ENV_NAME.match(name):
            raise errors.ConfigError(
                f"${{{name}}} is not understood; write ${{NAME}}, ${{file:/path}} or ${{secret:name}}, "
                "and $${ for a plain ${"
            )
        if name not in self.environ:
            raise errors.ConfigError(
                f"the environment variable {name} is not set; set it, or use ${{file:/path}}"
            )
        return self.environ[name]
