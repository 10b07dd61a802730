"""Rows of a stream to rows of the customer model: each property from a field, a constant or an SQL expression.

    compiled = mapping.compile(pipeline.map, profile.of(settings.customer_model), schema, named="pipeline eu")
    typed = compiled.apply(table)

A row of which one property cannot be made fails, and says why; the others go on.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Mappings
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tidegate import config, errors
from tidegate.shape import casting, computed, documents, profile, targets, values
from tidegate.warehouse import ddl

CUSTOMERS = "customers"
"""The stream whose fields the model takes by itself."""


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of the stream: a column, or a path inside one of JSON."""

    column: pa.Field
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Constant:
    """A value that all rows have, converted already."""

    value: pa.Scalar
    column: pa.Field


_Source = _Field | _Constant | computed.Expression


@dataclass(frozen=True, slots=True)
class _Rule:
    """Where a property comes from, or a member inside an object; `first` is a type to convert to before its own."""

    name: str
    members: tuple[str, ...]
    source: _Source
    first: targets.Target | None = None

    @property
    def origin(self) -> str:
        """How a failure begins to say what there is instead."""
        if isinstance(self.source, computed.Expression):
            return "its SQL gives"
        return "the field holds" if isinstance(self.source, _Field) else "the constant is"


@dataclass(frozen=True, slots=True)
class _Given:
    """What a rule finds for all rows: a column, or JSON as it is written, which is `checked` where rows have it."""

    values: Any
    column: pa.Field | None
    checked: bool = True

    def converted(self, target: targets.Target) -> casting.Converted:
        """As a column of a type."""
        if self.column is None:
            return casting.documents(self.values, target, checked=self.checked)
        return casting.column(self.values, self.column, target)

    def objects(self) -> list[object]:
        """As Python has it."""
        if self.column is not None and not ddl.is_json(self.column):
            return casting.python(self.values)
        raws = self.values if self.column is None else self.values.cast(pa.binary()).to_pylist()
        return [None if raw is None else casting.value(raw) for raw in raws]


@dataclass(frozen=True, slots=True)
class Mapping:
    """A compiled mapping; `columns` are the top-level columns of the stream that it needs."""

    columns: frozenset[str]
    _model: profile.Profile
    _schema: pa.Schema
    _engine: computed.Engine
    _rules: Mappings[str, tuple[_Rule, ...]]
    _readers: Mappings[str, documents.Reader]

    def apply(self, table: pa.Table) -> profile.Typed:
        """Rows of the model, and which rows failed; may be called from any thread.

        Batches of some ten thousand rows are fast, and bounded in memory.
        """
        failed: list[profile.Failure] = []
        columns: dict[str, casting.Converted] = {}
        given = iter(self._given(table, failed))
        for each in self._model.properties:
            rules = self._rules.get(each.name, ())
            if rules and rules[0].members:
                parts = [(rule, self._first(rule, next(given), failed)) for rule in rules]
                columns[each.name] = casting.objects(_objects(parts, table.num_rows), each.target)
            elif rules:
                columns[each.name] = self._first(rules[0], next(given), failed).converted(each.target)
        origins = {
            name: "it holds" if len({rule.origin for rule in rules}) > 1 else rules[0].origin
            for name, rules in self._rules.items()
        }
        return self._model.gathered(table.num_rows, columns, origins, failed)

    def close(self) -> None:
        """End the process in which its SQL runs, if it has any."""
        self._engine.close()

    def _given(self, table: pa.Table, failed: list[profile.Failure]) -> Iterator[_Given]:
        """What each rule finds, in the order of the properties; notes rows on which SQL fails."""
        rules = [rule for each in self._model.properties for rule in self._rules.get(each.name, ())]
        asked = [rule.source for rule in rules if isinstance(rule.source, computed.Expression)]
        answers = iter(self._engine.answers(asked, table, self._schema))
        inside = {
            column: reader.read(documents.mended(table.column(column)).cast(pa.binary()).to_pylist())
            for column, reader in self._readers.items()
        }
        for rule in rules:
            match rule.source:
                case _Constant(value, column):
                    yield _Given(pa.repeat(value, table.num_rows), column)
                case _Field(column, steps) if steps:
                    yield _Given(inside[column.name][steps], None)
                case _Field(column):
                    yield _Given(table.column(column.name), column)
                case computed.Expression(is_json=is_json):
                    answer = next(answers)
                    name = _dotted(rule)
                    failed += [
                        profile.Failure(row, rule.name, f"the property {name} cannot be made: {why}")
                        for row, why in answer.failed.items()
                    ]
                    if is_json:
                        yield _Given(answer.values.cast(pa.binary()).to_pylist(), None, checked=False)
                    else:
                        yield _Given(answer.values, pa.field(name, answer.values.type))

    @staticmethod
    def _first(rule: _Rule, given: _Given, failed: list[profile.Failure]) -> _Given:
        """The same after the type that the rule converts to first; notes rows that do not fit that."""
        if rule.first is None:
            return given
        made = given.converted(rule.first)
        name = _dotted(rule)
        failed += [
            profile.Failure(row, rule.name, why.sentence(name, rule.origin))
            for row, why in made.unfit.items()
        ]
        return _Given(made.values, rule.first.field(name))


def compile(
    map: Mappings[str, config.MapValue],
    model: profile.Profile,
    schema: pa.Schema,
    *,
    named: str,
    stream: str = CUSTOMERS,
    seconds: float = computed.SECONDS,
) -> Mapping:
    """Make a mapping ready for tables of a schema, or of one that has its columns at least.

    Without a mapping, properties come from where they stand in Stripe's customer, or from the column of their name;
    with one, those that it does not name are null. `named` is `pipeline eu_customers`, for errors. Raises
    ConfigError in one sentence for a property or field that is not there, with the nearest name, a constant that
    does not fit, and an expression that is none. What stands inside JSON is not known before its rows are.
    `seconds` are for the SQL of one batch of rows.
    """
    if not map and stream != CUSTOMERS:
        raise errors.ConfigError(
            f"The {named} reads {stream}, where Tidegate does not know what is a customer's; say under `map` where "
            "each property comes from."
        )
    compiler = _Compiler(model, schema, named, computed.Engine(named, computed.Limits(seconds)))
    rules = compiler.told(map) if map else compiler.usual()
    columns: set[str] = set()
    readers: dict[str, set[tuple[str, ...]]] = {}
    grouped: dict[str, tuple[_Rule, ...]] = {}
    for rule in rules:
        grouped[rule.name] = (*grouped.get(rule.name, ()), rule)
        if isinstance(rule.source, computed.Expression):
            columns |= rule.source.columns
        elif isinstance(rule.source, _Field):
            columns.add(rule.source.column.name)
            if rule.source.steps:
                readers.setdefault(rule.source.column.name, set()).add(rule.source.steps)
    ready = {name: documents.Reader(frozenset(paths)) for name, paths in readers.items()}
    return Mapping(frozenset(columns), model, schema, compiler.engine, grouped, ready)


class _Compiler:
    """Finds what the rules of one mapping speak of."""

    def __init__(
        self, model: profile.Profile, schema: pa.Schema, named: str, engine: computed.Engine
    ) -> None:
        self.schema, self.named, self.engine = schema, named, engine
        self.properties = {each.name: each for each in model.properties}

    def told(self, map: Mappings[str, config.MapValue]) -> list[_Rule]:
        """The rules of a mapping as it is written."""
        rules = [self._rule(name, told) for name, told in map.items()]
        for whole, part in itertools.permutations(rules, 2):
            if whole.name == part.name and whole.members == part.members[: len(whole.members)]:
                raise errors.ConfigError(
                    f"The {self.named} maps {_dotted(whole)} as a whole, and {_dotted(part)} inside it; take one."
                )
        return rules

    def usual(self) -> list[_Rule]:
        """The rules where nothing is written; fields that the stream does not have are left out."""
        fields = {name: self._usual_field(each) for name, each in self.properties.items()}
        return [
            self._rule(name, config.MapValue.model_validate({"from": field}))
            for name, field in fields.items()
            if field is not None
        ]

    def _usual_field(self, of: profile.Property) -> str | None:
        fields = [field for field in (of.source, of.name) if field is not None]
        return next((field for field in fields if values.path(field)[0] in self.schema.names), None)

    def _rule(self, name: str, told: config.MapValue) -> _Rule:
        root, *members = name.split(".")
        if root not in self.properties:
            known = targets.key_named(root, tuple(self.properties))
            raise errors.ConfigError(
                targets.ended(
                    f"The {self.named} maps a property that the customer model does not have: {known}"
                )
            )
        target = self._member(name, self.properties[root].target, members)
        try:
            source = self._source(name, told, target)
        except errors.ConfigError as error:
            raise errors.ConfigError(targets.ended(f"The {self.named} cannot make {name}: {error}")) from None
        first = None if told.type in (None, target.type) else targets.Target(told.type)
        return _Rule(root, tuple(members), source, None if isinstance(source, _Constant) else first)

    def _member(self, name: str, target: targets.Target, members: Sequence[str]) -> targets.Target:
        """The type of a member inside an object."""
        for member in members:
            if target.type != "object":
                raise errors.ConfigError(
                    f"The {self.named} maps {name}, but only an object has something inside, and this is in "
                    f"a property of the type {target.type}; map that as a whole."
                )
            known = dict(target.members)
            if not known and all(members):
                return targets.Target("json")
            if member not in known:
                there = targets.key_named(member, tuple(known))
                raise errors.ConfigError(
                    targets.ended(f"The {self.named} maps {name}, but the object has no key {there}")
                )
            target = known[member]
        return target

    def _source(self, name: str, told: config.MapValue, target: targets.Target) -> _Source:
        """Raises ConfigError as the rest of a sentence."""
        if told.source is not None:
            return self._field(told.source)
        if told.sql is not None:
            return self.engine.expression(told.sql, self.schema, name)
        steps = [each for each in (told.type and targets.Target(told.type), target) if each]
        made = casting.objects([told.value], steps[0])
        for step in steps[1:]:
            if not made.unfit:
                made = casting.column(made.values, steps[0].field(name), step)
        for why in made.unfit.values():
            raise errors.ConfigError(why.sentence(name, "the constant is"))
        return _Constant(made.values[0], target.field(name))

    def _field(self, field: str) -> _Field:
        """The column and the path inside it."""
        if field in self.schema.names:
            return _Field(self.schema.field(field))
        try:
            column, *steps = values.path(field)
        except ValueError as reason:
            raise errors.ConfigError(
                f"{field} is no field: {reason}; put dots between names, and quotes around one that has dots itself"
            ) from None
        if column not in self.schema.names:
            near = difflib.get_close_matches(column, self.schema.names, n=1)
            hint = f"did you mean {'.'.join([near[0], *steps])}?" if near else "check how it is written"
            raise errors.ConfigError(f"the field {field} is not there; {hint}")
        if steps and not ddl.is_json(self.schema.field(column)):
            raise errors.ConfigError(
                f"the field {field} is not there: {column} holds single values, and has nothing inside it"
            )
        return _Field(self.schema.field(column), tuple(steps))


def _objects(parts: Sequence[tuple[_Rule, _Given]], count: int) -> list[object]:
    """An object for each row, of what the rules for its members find; None where they find nothing at all."""
    found = [(rule.members, given.objects()) for rule, given in parts]
    made: list[object] = []
    for row in range(count):
        whole: dict[str, Any] = {}
        for members, column in found:
            if column[row] is not None:
                inner = whole
                for member in members[:-1]:
                    inner = inner.setdefault(member, {})
                inner[members[-1]] = column[row]
        made.append(whole or None)
    return made


def _dotted(rule: _Rule) -> str:
    return ".".join((rule.name, *rule.members))
