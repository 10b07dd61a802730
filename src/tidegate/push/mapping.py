"""From the rows of a snapshot to what they want of Stripe: the table `wanted`, one row for each key.

`wanted(key, row, hash, match_<n>, folded_<n>, field_<n>)`: every value is text as Stripe takes it. A null says
nothing about its field, the empty text clears it. `row` is the number of the row in the source. `hash` is of the
fields and of the mapping itself, so that a mapping that was edited makes all rows look changed; which of them are
is then found field by field. Names stand apart, in `Wanted`: metadata tells `Plan` from `plan`, and SQL does not.

Beside it stand `refused(key, field, why)`, rows that have what Stripe can never be sent, and `filtered(row)`, the
numbers of rows that the push's filter or its function leaves out. Where the push has a function, its fields are of
the rows that this returns (see `shaping`), and its text is a part of the mapping.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from tidegate import config, errors
from tidegate.catalog import writes
from tidegate.config import pushes
from tidegate.push import canonical, columns, models, shaping, steps, workbook
from tidegate.shape import expressions, filters, functions
from tidegate.warehouse import ddl, faults

REASONS = {
    "number": "is not a number, or infinite, which Stripe has no text for",
    "nul": "holds a NUL character, which Stripe refuses",
}
"""Why a field keeps its row from being sent."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a mapping made of a snapshot: the names of its columns, and its counts.

    `rows` stand in `wanted`; those that are `refused` or `filtered`, or for which the function `failed`, do not.
    `fingerprint` changes with everything in the mapping that can change a value, or who owns it.
    """

    push: str
    fields: tuple[str, ...]
    matches: tuple[str, ...]
    fingerprint: str
    rows: int
    refused: int
    filtered: int
    failed: int = 0


def map_rows(
    book: workbook.Workbook, taken: models.Snapshot, name: str, push: config.Push, of: writes.Object
) -> Wanted:
    """Make `wanted` of the snapshot in a workbook; done again, it replaces what was there.

    Left out are rows without a usable key, doubled ones, those that the filter does not mean, and those that the
    function leaves out or fails for. Raises ConfigError that names the push and the field for a column that is not
    there and an expression that fails, and for a function that cannot be used.
    """
    fields = tuple(sorted(push.fields))
    code = None if push.function is None else _code(name, push.function)
    print_ = fingerprint(push, of, code)
    failed = 0
    if code is None:
        values, matches = _compiled(book, columns.of(taken), name, push, of)
        filtered = _filter(book, taken, name, push)
        usable = _usable(taken, filtered=filtered)
    else:
        filtered = _filter(book, taken, name, push)
        made = _shaped(book, taken, _usable(taken, filtered=filtered), name, push, code)
        filtered, failed = filtered + made.left, made.failed
        given = columns.shaped(made)
        values, matches = _compiled(book, given, name, push, of)
        usable = given.query
    try:
        with book.transaction():
            book.connection.execute(
                f"CREATE OR REPLACE TABLE mapped AS {_mapped(push, values, matches, usable, print_)}"
            )
    except duckdb.Error as error:
        for field, value in values.items():
            if value.is_own and expressions.fails(book.connection, value.sql, f"({usable})"):
                raise errors.ConfigError(
                    f"The push {name} cannot make its field {field}: its SQL fails on some row; use TRY_CAST or "
                    "TRY(...), which are null then."
                ) from None
        raise faults.explain(error, book.path) from None
    names = ", ".join(f"({n}, {ddl.literal(field)})" for n, field in enumerate((*fields, *matches)))
    book.execute(
        "CREATE OR REPLACE VIEW wanted AS SELECT * EXCLUDE (problem) FROM mapped WHERE problem IS NULL"
    )
    book.execute(
        "CREATE OR REPLACE VIEW refused AS "
        "SELECT key, name AS field, split_part(problem, ' ', 2) AS why FROM mapped "
        f"JOIN (VALUES {names}) AS names (number, name) ON number = CAST(split_part(problem, ' ', 1) AS INTEGER)"
    )
    steps.reached("rows mapped")
    rows = book.count("SELECT count(*) FROM wanted")
    refused = book.count("SELECT count(*) FROM mapped") - rows
    return Wanted(name, fields, tuple(matches), print_, rows, refused, filtered, failed)


def fingerprint(push: config.Push, of: writes.Object, code: shaping.Code | None = None) -> str:
    """What stands for a mapping: the same for any spelling of the same, another for any other.

    `code` is the text of its function, which is read where it is not given; raises ConfigError when it cannot be.
    """
    told = [
        (
            field,
            _kind(of, field),
            push.fields[field].model_dump(
                include={"source", "template", "sql", "value", "hash", "null", "owner"}
            ),
        )
        for field in sorted(push.fields)
    ]
    parts = [canonical.VERSION, told]
    if push.function is not None:
        code = code or shaping.code(push.function)
        parts.append([code.language, code.text])
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:16]


def rows(
    book: workbook.Workbook, wanted: Wanted, where: str = "true", size: int = workbook.BATCH
) -> Iterator[pa.RecordBatch]:
    """Rows of `wanted` for which SQL holds, as `key`, `hash`, and a column for each field under its dotted name."""
    shown = ", ".join(("key", "hash", *(f"field_{n}" for n in range(len(wanted.fields)))))
    for batch in book.batches(f"SELECT {shown} FROM wanted WHERE {where}", size):
        yield pa.RecordBatch.from_arrays(batch.columns, names=["key", "hash", *wanted.fields])


def fields_json(wanted: Wanted) -> str:
    """SQL over `wanted` for the fields of a row as JSON under their dotted names, without those that are null."""
    return without_nulls(
        ", ".join(f"{ddl.literal(field)}, field_{n}" for n, field in enumerate(wanted.fields))
    )


def without_nulls(pairs: str) -> str:
    """SQL for a JSON object of names and texts, without names whose text is null."""
    return f"CAST(json_merge_patch('{{}}', json_object({pairs})) AS VARCHAR)"


@dataclass(frozen=True, slots=True)
class _Value:
    """An expression over the columns of the model, its kind, what Stripe wants, and whether it is the user's."""

    sql: str
    kind: str
    wants: str
    is_own: bool = False


def _code(name: str, function: config.Function) -> shaping.Code:
    try:
        return shaping.code(function)
    except errors.ConfigError as error:
        raise errors.ConfigError(f"The push {name} cannot shape its rows: {_ended(str(error))}") from None


def _shaped(
    book: workbook.Workbook,
    taken: models.Snapshot,
    usable: str,
    name: str,
    push: config.Push,
    code: shaping.Code,
) -> shaping.Shaped:
    """What the function makes of usable rows."""
    assert push.function is not None, "The caller has read it."
    limits = functions.Limits(push.function.timeout, push.function.memory)
    try:
        return shaping.shape(book, taken, usable, columns.asked(book, push), code, limits)
    except errors.ConfigError as error:
        raise errors.ConfigError(f"The push {name} cannot shape its rows: {_ended(str(error))}") from None


def _compiled(
    book: workbook.Workbook, given: columns.Columns, name: str, push: config.Push, of: writes.Object
) -> tuple[dict[str, _Value], dict[str, tuple[str, bool]]]:
    """The fields and the matches of a push, over the columns that it has."""
    values = {field: _value(book, given, name, push, of, field) for field in sorted(push.fields)}
    return values, {field: _match(given, name, field, each) for field, each in push.match.items()}


def _value(
    book: workbook.Workbook,
    given: columns.Columns,
    name: str,
    push: config.Push,
    of: writes.Object,
    field: str,
) -> _Value:
    told, wants = push.fields[field], _kind(of, field)
    try:
        if told.source is not None:
            return _Value(*given.found(told.source), wants)
        if told.template is not None:
            return _Value(_template(given, told.template), "VARCHAR", wants)
        if told.sql is not None:
            expressions.check(book.connection, told.sql)
            kind = expressions.kind(book.connection, told.sql, f"({given.query})")
            return _Value(f"(\n{told.sql}\n)", kind, wants, is_own=True)
        return _Value(_constant(told.value), "VARCHAR", wants)
    except errors.ConfigError as error:
        raise errors.ConfigError(
            f"The push {name} cannot make its field {field}: {_ended(str(error))}"
        ) from None


def _match(given: columns.Columns, name: str, field: str, match: config.Match) -> tuple[str, bool]:
    """SQL for the text by which a row finds its object, and whether its case does not count."""
    try:
        sql, kind = given.found(match.source)
    except errors.ConfigError as error:
        raise errors.ConfigError(f"The push {name} cannot match by {field}: {_ended(str(error))}") from None
    return canonical.text(sql, kind), match.folded(field)


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "?")) else f"{sentence}."


def _kind(of: writes.Object, path: str) -> str:
    field = of.field(path)
    return "string" if field is None else field.kind


def _template(given: columns.Columns, text: str) -> str:
    parts = []
    for part in pushes.template(text):
        if isinstance(part, pushes.Column):
            parts.append(f"({canonical.text(*given.found(part.name))})")
        else:
            parts.append(ddl.literal(part))
    return "(" + " || ".join(parts) + ")"


def _constant(value: object) -> str:
    if isinstance(value, bool):
        return ddl.literal(str(value).lower())
    text = ddl.literal(str(value))
    return f"tidegate_numeral({text})" if isinstance(value, float) else text


def _usable(taken: models.Snapshot, *, filtered: int = 0) -> str:
    """A query for the rows that can be sent, with their keys and numbers."""
    shown = f"{models.KEY}, {models.ROW}, {columns.every(taken)}"
    sql = f"SELECT {shown} FROM source AS model WHERE {models.WHY} IS NULL"
    if taken.doubled:
        sql += f" AND NOT EXISTS (SELECT 1 FROM doubled WHERE key = {models.KEY})"
    if filtered:
        sql += f" AND NOT EXISTS (SELECT 1 FROM filtered WHERE row = {models.ROW})"
    return sql


def _filter(book: workbook.Workbook, taken: models.Snapshot, name: str, push: config.Push) -> int:
    """Make `filtered`, the numbers of usable rows that the filter leaves out; how many they are."""
    book.execute("CREATE OR REPLACE TABLE filtered (row BIGINT)")
    if push.filter is None:
        return 0
    schema = pa.schema([_seeable(field) for field in taken.columns])
    try:
        predicate = filters.compile(push.filter, schema, dt.datetime.fromtimestamp(taken.taken_at, dt.UTC))
    except errors.ConfigError as error:
        raise errors.ConfigError(f"The push {name} cannot choose its rows: {_ended(str(error))}") from None
    seen = pa.schema([field for field in schema if field.name in predicate.columns])
    shown = ", ".join((models.ROW, *map(workbook.quoted, seen.names)))
    for batch in book.batches(f"SELECT {shown} FROM ({_usable(taken)})"):
        columns = [batch.column(field.name).cast(field.type) for field in seen]
        holds = predicate.matches(pa.table(columns, schema=seen))
        out = pa.table({"row": batch.column(models.ROW).filter(pc.invert(holds))})
        book.insert("filtered", out)
    return book.count("SELECT count(*) FROM filtered")


def _seeable(field: pa.Field) -> pa.Field:
    """A column as filters look at it: dates are times, long decimals text."""
    if pa.types.is_date(field.type):
        return pa.field(field.name, pa.timestamp("us"))
    return pa.field(field.name, pa.string()) if pa.types.is_decimal256(field.type) else field


_TEXTS = {"timestamp": canonical.unix_seconds, "boolean": canonical.boolean, "list": canonical.items}
"""How what Stripe wants is spelled, where it is not the same for every field."""


def _mapped(
    push: config.Push,
    values: Mapping[str, _Value],
    matches: Mapping[str, tuple[str, bool]],
    usable: str,
    print_: str,
) -> str:
    """A query for the columns of `wanted`, and `problem`: the number of a name and why its value cannot be sent."""
    raw = [f"{value.sql} AS raw_{n}" for n, value in enumerate(values.values())]
    raw += [f"{sql} AS found_{n}" for n, (sql, _) in enumerate(matches.values())]
    texts = [
        f"{_TEXTS.get(value.wants, canonical.text)(f'raw_{n}', value.kind)} AS text_{n}"
        for n, value in enumerate(values.values())
    ]
    texts += [
        f"CASE WHEN NOT tidegate_blank(found_{n}) THEN found_{n} END AS match_{n}"
        for n in range(len(matches))
    ]
    shown = [f"match_{n}" for n in range(len(matches))]
    shown += [
        f"{f'tidegate_folded(match_{n})' if folded else f'match_{n}'} AS folded_{n}"
        for n, (_, folded) in enumerate(matches.values())
    ]
    shown += [f"{_field(push.fields[field], f'text_{n}')} AS field_{n}" for n, field in enumerate(values)]
    checked = [f"text_{n}" for n in range(len(values))] + [f"match_{n}" for n in range(len(matches))]
    problem = " ".join(
        f"WHEN contains({text}, {canonical.NUL}) THEN '{n} ' || "
        f"CASE WHEN contains({text}, {canonical.NOT_FINITE}) THEN 'number' ELSE 'nul' END"
        for n, text in enumerate(checked)
    )
    said = ", ".join(f"coalesce(strlen(field_{n}) || ':', '-'), field_{n}" for n in range(len(values)))
    return (
        f"SELECT key, left(sha256(concat('{print_}', {said})), 32) AS hash, * EXCLUDE (key) FROM ("
        f"SELECT key, row, {', '.join(shown)}, CASE {problem} END AS problem FROM ("
        f"SELECT key, row, {', '.join(texts)} FROM ("
        f"SELECT {models.KEY} AS key, {models.ROW} AS row, {', '.join(raw)} FROM ({usable}) AS model)))"
    )


def _field(told: config.FieldValue, text: str) -> str:
    """What is sent of a text: empty text and empty lists are null, and null may clear."""
    value = f"nullif(nullif({text}, ''), '[]')"
    if told.hash:
        value = f"sha256({value})"
    return f"coalesce({value}, '')" if told.null == "clear" else value
