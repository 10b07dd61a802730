"""What a function is given, what may become of a record, and what the author is told."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from tidegate import config, errors
from tidegate.shape import answers, bounded, functions
from tidegate.shape.answers import Failed, Left, Made
from tidegate.shape.functions import Code, Limits

BOTH = pytest.mark.parametrize("language", ["python", "javascript"])
AS_IT_IS: dict[str, Code] = {
    "python": Code("python", "def transform(customer):\n    return {'given': customer}\n", "f.py"),
    "javascript": Code("javascript", "const transform = (customer) => ({given: customer});\n", "f.js"),
}
EVERY_TYPE = {
    "nothing": None,
    "yes": True,
    "balance": -1200,
    "largest": 2**53,
    "beyond": 2**53 + 1,
    "huge": -(10**40),
    "rate": 0.1,
    "tiny": 5e-324,
    "name": "Zoë \U0001f600",
    "price": Decimal("19.50"),
    "exact": Decimal("-1234567890123456789012345678.0123456789"),
    "created": dt.datetime(2024, 2, 29, 12, 30, 15, tzinfo=dt.UTC),
    "precise": dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC),
    "first": dt.datetime(1, 1, 1, tzinfo=dt.UTC),
    "last": dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC),
    "birthday": dt.date(1984, 1, 24),
    "tags": ["a", 1, None, [Decimal("1.0")], {"at": dt.date(2024, 1, 1)}],
    "empty": {"list": [], "dict": {}, "text": ""},
    "marks": ["~t", 1, 2],
    "metadata": {"__proto__": {"x": Decimal(1)}, "constructor": "c", "": "none", "a.b": "dots"},
}


def python(*lines: str, returns: str = "{}") -> Code:
    """A function in Python, from what it does."""
    body = "".join(f"    {line}\n" for line in lines)
    return Code("python", f"def transform(customer):\n{body}    return {returns}\n", "f.py")


def javascript(*lines: str, returns: str = "{}") -> Code:
    """A function in JavaScript, from what it does."""
    body = "".join(f"  {line}\n" for line in lines)
    return Code("javascript", f"const transform = (customer) => {{\n{body}  return {returns};\n}};\n", "f.js")


def outcomes(code: Code, *records: dict[str, Any], **limits: Any) -> list[answers.Outcome]:
    """What becomes of some records in a run of their own."""
    with functions.opened(code, Limits(**limits)) as run:
        return list(run.records(records))


def one(code: Code, record: dict[str, Any] | None = None, **limits: Any) -> answers.Outcome:
    """What becomes of one record."""
    (outcome,) = outcomes(code, record or {"id": "cus_1"}, **limits)
    return outcome


def made(code: Code, record: dict[str, Any] | None = None) -> dict[str, Any]:
    """The properties that become of one record."""
    outcome = one(code, record)
    assert isinstance(outcome, Made), outcome
    return outcome.record


def why(code: Code, record: dict[str, Any] | None = None) -> str:
    """Why a record fails."""
    outcome = one(code, record)
    assert isinstance(outcome, Failed), outcome
    return outcome.why


def refused(code: Code) -> str:
    """Why a function cannot be loaded."""
    with pytest.raises(errors.ConfigError) as caught:
        functions.opened(code)
    return str(caught.value)


# Records and results


@BOTH
def test_every_type_comes_and_goes_exactly(language: str) -> None:
    given = made(AS_IT_IS[language], EVERY_TYPE)["given"]
    assert given == EVERY_TYPE
    assert {key: type(value) for key, value in given.items()} == {
        key: type(value) for key, value in EVERY_TYPE.items()
    }
    assert str(given["price"]) == "19.50"
    assert given["created"].tzinfo is dt.UTC


def test_python_sees_the_types_themselves() -> None:
    code = python(returns="{key: type(value).__name__ for key, value in customer.items()}")
    assert made(code, EVERY_TYPE) == {key: type(value).__name__ for key, value in EVERY_TYPE.items()}


def test_javascript_sees_dates_bigints_and_decimals() -> None:
    code = javascript(
        "const {created, beyond, birthday, price} = customer;",
        returns="""{
            date: created instanceof Date, year: created.getUTCFullYear(),
            big: typeof beyond, more: beyond + 1n,
            day: birthday.day, next: birthday.add({days: 8}),
            decimal: price instanceof Decimal, text: `${price}`, number: price * 2, json: JSON.stringify(price),
            back: new Decimal("0.10"), instant: Temporal.Instant.from("2024-01-01T00:00:00.000001Z"),
        }""",
    )
    assert made(code, EVERY_TYPE) == {
        "date": True,
        "year": 2024,
        "big": "bigint",
        "more": 2**53 + 2,
        "day": 24,
        "next": dt.date(1984, 2, 1),
        "decimal": True,
        "text": "19.50",
        "number": 39,
        "json": '"19.50"',
        "back": Decimal("0.10"),
        "instant": dt.datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC),
    }


def test_a_changed_date_in_javascript_is_another_time() -> None:
    code = javascript("customer.at.setUTCHours(0);", returns="{at: customer.at}")
    at = dt.datetime(2024, 1, 1, 5, 0, 0, 123_456, tzinfo=dt.UTC)
    assert made(code, {"at": at}) == {"at": at.replace(hour=0)}


@BOTH
def test_numbers_that_json_cannot_write_arrive(language: str) -> None:
    given = made(
        {
            "python": python(returns="{key: str(value) for key, value in customer.items()}"),
            "javascript": javascript(
                "const text = (value) => `${value}`.slice(0, 3).toLowerCase();",
                returns="{nan: text(customer.nan), inf: text(customer.inf)}",
            ),
        }[language],
        {"nan": math.nan, "inf": math.inf},
    )
    assert given == {"nan": "nan", "inf": "inf"}


@BOTH
def test_half_surrogates_become_the_replacement_character(language: str) -> None:
    given = {"name": "half \ud83d", "\udc00": 2**80, "in": [{"a": "\udfff"}]}
    expected = {"name": "half \ufffd", "\ufffd": 2**80, "in": [{"a": "\ufffd"}]}
    assert made(AS_IT_IS[language], given) == {"given": expected}


def test_text_cut_in_the_middle_of_a_character_is_no_failure() -> None:
    assert made(javascript(returns='{name: "\U0001f600".slice(0, 1), ["\U0001f600".slice(1)]: 1}')) == {
        "name": "\ufffd",
        "\ufffd": 1,
    }
    assert made(python(returns='{"name": "\\ud83d", "\\ude00": [1]}')) == {"name": "\ufffd", "\ufffd": [1]}


def test_large_floats_of_javascript_stay_floats() -> None:
    assert made(javascript(returns="{a: 1e21, b: 2 ** 53, c: 0.5, d: 3.0, e: [1e300]}")) == {
        "a": 1e21,
        "b": 2.0**53,
        "c": 0.5,
        "d": 3,
        "e": [1e300],
    }


def test_python_results_of_related_types_are_taken() -> None:
    code = Code(
        "python",
        """
import collections, datetime, decimal, enum, zoneinfo

class Plan(enum.StrEnum):
    PRO = "pro"

class Level(enum.IntEnum):
    HIGH = 3

Pair = collections.namedtuple("Pair", "a b")

def transform(customer):
    return collections.OrderedDict(
        plan=Plan.PRO, level=Level.HIGH, pair=Pair(1, Plan.PRO), counts=collections.Counter("aab"),
        berlin=datetime.datetime(2024, 7, 1, 2, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        naive=datetime.datetime(2024, 7, 1), large=10 ** 30,
    )
""",
    )
    assert made(code) == {
        "plan": "pro",
        "level": 3,
        "pair": [1, "pro"],
        "counts": {"a": 2, "b": 1},
        "berlin": dt.datetime(2024, 7, 1, tzinfo=dt.UTC),
        "naive": dt.datetime(2024, 7, 1, tzinfo=dt.UTC),
        "large": 10**30,
    }


@BOTH
def test_nothing_leaves_the_record_out(language: str) -> None:
    code = {
        "python": python("if customer['n'] % 2:", "    return None", returns="{'n': customer['n']}"),
        "javascript": javascript("if (customer.n % 2) return;", returns="{n: customer.n}"),
    }[language]
    assert outcomes(code, *({"n": n} for n in range(4))) == [
        Made({"n": 0}),
        Left(),
        Made({"n": 2}),
        Left(),
    ]


def test_null_leaves_a_record_out_and_undefined_a_property() -> None:
    assert one(javascript(returns="null")) == Left()
    assert made(javascript(returns="{a: undefined, b: null, c: [undefined]}")) == {"b": None, "c": [None]}


@BOTH
def test_a_megabyte_goes_in_and_out(language: str) -> None:
    record = {"text": "x" * 1_000_000, "n": 1}
    assert made(AS_IT_IS[language], record) == {"given": record}


@BOTH
def test_outcomes_come_in_the_order_of_many_records(language: str) -> None:
    code = {
        "python": python("if customer['n'] % 1000 == 7: raise ValueError", returns="{'n': customer['n']}"),
        "javascript": javascript("if (customer.n % 1000 === 7) throw new Error()", returns="{n: customer.n}"),
    }[language]
    for n, outcome in enumerate(outcomes(code, *({"n": n} for n in range(5000)))):
        assert isinstance(outcome, Failed) if n % 1000 == 7 else outcome == Made({"n": n})


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        ("5", "the result is an int; return a dict of properties, or None to leave the record out"),
        ("[customer]", "the result is a list; return a dict of properties, or None to leave the record out"),
        ("{'address': {'lines': {1}}}", "the property address.lines is a set; return a list"),
        ("{'a': [0, {'b': object()}]}", "the property a.1.b is an object; return text, a number, a list or a dict"),
        ("{'a': b'x'}", "the property a is a bytes; return text, a number, a list or a dict"),
        ("{'a': {1: 2}}", "the property a has a key that is an int; keys must be text"),
        ("{None: 2}", "the result has a key that is a NoneType; keys must be text"),
        ("{'a': float('nan')}", "the property a is not a number (NaN) or infinite; return None"),
        ("{'a': [float('-inf')]}", "the property a.0 is not a number (NaN) or infinite; return None"),
        ("{'a': 10 ** 5000}", "the property a is a whole number of more than 4,300 digits; return text"),
        ("{'a': 'x' * (17 << 20)}", "the result is larger than 16 MB"),
        (
            "customer.setdefault('a', customer)",
            "the property a contains itself; return a copy of the part that is needed",
        ),
    ],
)  # fmt: skip
def test_python_results_that_hold_no_properties(returned: str, sentence: str) -> None:
    assert one(python(returns=returned)) == Failed(sentence, sentence, None, "result")


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        ("5", "the result is a number; return an object of properties, or null to leave the record out"),
        ("[customer]", "the result is an array; return an object of properties, or null to leave the record out"),
        ("new Date(0)", "the result is a single value; return an object of properties"),
        ("{address: {lines: new Set([1])}}", "the property address.lines is a Set; return an array"),
        ("{a: new Map()}", "the property a is a Map; return an object"),
        ("{a: [1, {b: () => 1}]}", "the property a.1.b is a function; return text, a number, a list or an object"),
        ("{a: Symbol()}", "the property a is a symbol; return text, a number, a list or an object"),
        ("{a: {b: NaN}}", "the property a.b is not a number (NaN) or infinite; return null"),
        ("{a: -Infinity}", "the property a is not a number (NaN) or infinite; return null"),
        ("{a: new Date(NaN)}", "the property a is an invalid Date; return null"),
        ("{a: new Date(8.64e15)}", "the property a is a time outside the years 1 to 9999"),
        ("{a: Temporal.PlainDate.from('-000001-01-01')}", "the property a is a date outside the years 1 to 9999"),
        ("{a: 10n ** 5000n}", "the property a is a whole number of more than 4,300 digits; return text"),
        ("{a: new Uint8Array(1)}", "the property a is a Uint8Array; return an array"),
        ("{a: 'x'.repeat(17 << 20)}", "the result is larger than 16 MB"),
        (
            "Promise.resolve({})",
            "the result is a promise; a function must return its result at once, so write it without `async`",
        ),
    ],
)  # fmt: skip
def test_javascript_results_that_hold_no_properties(returned: str, sentence: str) -> None:
    assert one(javascript(returns=returned)) == Failed(sentence, sentence, None, "result")


def test_a_coroutine_is_no_result() -> None:
    code = Code("python", "async def transform(customer):\n    return customer\n")
    assert why(code) == "the result is a coroutine; write `def transform` without `async`"


@BOTH
def test_nesting_ends_at_a_hundred_levels(language: str) -> None:
    def code(levels: int) -> Code:
        if language == "python":
            return python("x = {}", f"for _ in range({levels}): x = {{'a': x}}", returns="x")
        return javascript("let a = {};", f"for (let n = 0; n < {levels}; n++) a = {{a}};", returns="a")

    assert isinstance(one(code(100)), Made)
    for levels in (101, 100_000):
        assert why(code(levels)).startswith("the property a.a.a is nested more than 100 levels deep")


# Errors of the function


@BOTH
def test_an_exception_fails_its_record_with_message_and_line(language: str) -> None:
    code = {
        "python": python(
            "def plan():", "    return customer['metadata']['plan']", returns="{'plan': plan()}"
        ),
        "javascript": javascript("const plan = () =>", "  customer.metadata.plan;", returns="{plan: plan()}"),
    }[language]
    good: dict[str, Any] = {"metadata": {"plan": "pro"}}
    first, failed, last = outcomes(code, good, {"metadata": {} if language == "python" else None}, good)
    assert first == last == Made({"plan": "pro"})
    assert (
        failed
        == {
            "python": Failed("line 3: KeyError: 'plan'", "line 3: KeyError", 3, "error"),
            "javascript": Failed(
                "line 3: TypeError: Cannot read properties of null (reading 'plan')",
                "line 3: TypeError",
                3,
                "error",
            ),
        }[language]
    )


@BOTH
def test_what_may_be_logged_quotes_no_value(language: str) -> None:
    code = {
        "python": python("int(customer['email'])"),
        "javascript": javascript("throw new RangeError(customer.email);"),
    }[language]
    failed = one(code, {"email": "jenny@example.com"})
    assert isinstance(failed, Failed)
    assert "jenny@example.com" in failed.why
    assert "jenny" not in failed.safe
    assert failed.line == 2


def test_the_name_of_an_error_is_no_way_into_a_log() -> None:
    name = "type(customer['email'], (Exception,), {})"
    failed = one(python(f"raise {name}(1)"), {"email": "jenny@example.com"})
    assert isinstance(failed, Failed)
    assert failed.safe == "line 2: an error"
    failed = one(
        javascript("const e = new Error(); e.name = customer.email; throw e;"), {"email": "j@example.com"}
    )
    assert isinstance(failed, Failed)
    assert failed.safe == "line 2: an error"


def test_long_names_are_cut_in_sentences() -> None:
    for code in (
        python(returns="{'k' * 10_000: {1}}"),
        javascript(returns="{['k'.repeat(10_000)]: new Set()}"),
    ):
        assert why(code).startswith(f"the property {'k' * 80} is a")


def test_javascript_may_throw_anything() -> None:
    assert one(javascript("throw 'no plan';")) == Failed(
        "threw string: no plan", "threw string", None, "error"
    )
    assert why(javascript("throw {get message() { throw 1 }};")) == "threw object: [object Object]"
    assert why(javascript("throw null;")) == "threw object: null"
    assert why(javascript("throw {toString() { throw 1 }};")) == "an error that cannot be read"


def test_python_may_raise_anything() -> None:
    code = "class Odd(BaseException):\n    def __str__(self): raise self\ndef transform(customer):\n    raise Odd\n"
    assert why(Code("python", code)) == "line 4: Odd: (its message cannot be read)"
    assert why(python("raise KeyboardInterrupt")) == "line 2: KeyboardInterrupt"
    assert why(python("raise ValueError('x' * 100_000)")) == f"line 2: ValueError: {'x' * 1000}"
    assert why(python(returns="transform(customer)")).startswith("line 2: RecursionError: maximum recursion")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("def transform(customer):\n    return (\n", ", line 2: syntax error: '(' was never closed"),
        ("def shape(customer): ...", ": it has no function `transform`; write `def transform(customer):`"),
        ("transform = 5", ": it has no function `transform`; write `def transform(customer):`"),
        ("x = 1\nx / 0", ", line 2: it fails as it is loaded: ZeroDivisionError: division by zero"),
        ("\nimport requests", ", line 2: it imports requests, which a function cannot"),
        ("def transform(c):\n    from os import path", ", line 2: it imports os, which a function cannot"),
        ("from . import x", ", line 1: it imports ., which a function cannot"),
        ("import antigravity", ", line 1: it imports antigravity, which a function cannot"),
    ],
)
def test_python_that_cannot_be_loaded(code: str, sentence: str) -> None:
    assert refused(Code("python", code, "f.py")) == f"the function f.py cannot be used{sentence}"
    assert refused(Code("python", code)) == f"the function cannot be used{sentence}"


def test_python_that_is_too_much_for_its_compiler() -> None:
    assert refused(Code("python", f"x = {'-' * 300_000}1", "f.py")).startswith(
        "the function f.py cannot be used"
    )


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("const transform = (c) => {\n  return (;\n}", ", line 2: syntax error: Unexpected token ';'"),
        (
            "const shape = 1;",
            ": it has no function `transform`; write `const transform = (customer) => ({...})`",
        ),
        (
            "var transform = 5;",
            ": it has no function `transform`; write `const transform = (customer) => ({...})`",
        ),
        ("\nfoo();", ", line 2: it fails as it is loaded: ReferenceError: foo is not defined"),
        (
            "export const transform = (c) => c;",
            ", line 1: syntax error: Unexpected token 'export'; write it without `import` and `export`",
        ),
    ],
)
def test_javascript_that_cannot_be_loaded(code: str, sentence: str) -> None:
    assert refused(Code("javascript", code, "f.js")) == f"the function f.js cannot be used{sentence}"


@pytest.mark.parametrize(
    "code", ["function transform(c) { return {n: c.n + 1} }", "let transform = c => ({n: c.n + 1})"]
)
def test_javascript_declares_its_function_in_any_way(code: str) -> None:
    assert made(Code("javascript", code), {"n": 1}) == {"n": 2}


def test_names_of_a_function_collide_with_nothing() -> None:
    code = "const batch = 1, state = 2; let at = 3; var printed = 4; function begin() {}\n"
    assert made(Code("javascript", code + "const transform = () => ({at, printed});")) == {
        "at": 3,
        "printed": 4,
    }
    code = "begun = answers = settings = wire = json = 5\n"
    assert made(Code("python", code + "def transform(customer): return {'wire': wire}")) == {"wire": 5}


# What a function can use


def test_python_has_the_modules_that_compute() -> None:
    code = Code(
        "python",
        """
import base64, hashlib, json, math, random, re, statistics, uuid
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from urllib import parse
from urllib.parse import quote
import zoneinfo

def transform(customer):
    import unicodedata
    assert 0 <= random.random() < 1 and len(str(uuid.uuid4())) == 36
    berlin = datetime(2024, 7, 1, tzinfo=timezone.utc).astimezone(zoneinfo.ZoneInfo("Europe/Berlin"))
    return {
        "hash": hashlib.sha256(b"a").hexdigest()[:8],
        "json": json.dumps({"a": base64.b64encode(b"a").decode()}),
        "root": math.isqrt(81) + statistics.mean([1, 3]),
        "words": re.findall(r"\\w+", "a b"),
        "host": parse.urlsplit("https://exämple.com/x").hostname + quote(" "),
        "hour": berlin.hour,
        "parsed": datetime.strptime("31.12.2024", "%d.%m.%Y").date(),
        "domain": "münchen.de".encode("idna").decode("ascii"),
        "old": b"\\xe4\\x80".decode("cp1252") + b"\\xa4".decode("iso-8859-15"),
        "plain": unicodedata.normalize("NFKD", "é")[0],
        "total": sum([Decimal("0.10")] * 3),
    }
""",
    )
    assert made(code) == {
        "hash": "ca978112",
        "json": '{"a": "YQ=="}',
        "root": 11,
        "words": ["a", "b"],
        "host": "exämple.com%20",
        "hour": 2,
        "parsed": dt.date(2024, 12, 31),
        "domain": "xn--mnchen-3ya.de",
        "old": "ä€€",
        "plain": "e",
        "total": Decimal("0.30"),
    }


@pytest.mark.parametrize(
    "module",
    ["calendar", "csv", "dataclasses", "difflib", "email.utils", "enum", "fractions", "heapq", "html", "ipaddress",
     "itertools", "pprint", "secrets", "string", "textwrap", "types", "typing", "warnings", "zlib"],
)  # fmt: skip
def test_every_module_of_the_list_loads(module: str) -> None:
    assert made(
        Code("python", f"import {module}\ndef transform(customer): return {{'name': {module}.__name__}}")
    ) == {"name": module}


def test_times_are_utc() -> None:
    code = "from datetime import datetime\ndef transform(c): return {'at': datetime.fromtimestamp(0)}"
    assert made(Code("python", code)) == {"at": dt.datetime(1970, 1, 1, tzinfo=dt.UTC)}
    assert made(
        javascript(returns="{zone: new Date(0).getTimezoneOffset(), at: `${new Date(0)}`.slice(0, 24)}")
    ) == {
        "zone": 0,
        "at": "Thu Jan 01 1970 00:00:00",
    }


@BOTH
def test_globals_live_as_long_as_the_run(language: str) -> None:
    code = {
        "python": "SEEN = []\ndef transform(customer):\n    SEEN.append(1)\n    return {'seen': len(SEEN)}",
        "javascript": "let seen = 0; const transform = () => ({seen: ++seen});",
    }[language]
    for _ in range(2):
        assert outcomes(Code(language, code), {}, {}) == [Made({"seen": 1}), Made({"seen": 2})]  # type: ignore[arg-type]


@BOTH
def test_a_changed_record_is_not_seen_by_the_next_one(language: str) -> None:
    shared = {"tags": ["a"]}
    code = {
        "python": python("customer['shared']['tags'].append('b')", returns="customer"),
        "javascript": javascript("customer.shared.tags.push('b');", returns="customer"),
    }[language]
    assert (
        outcomes(code, {"shared": shared}, {"shared": shared}) == [Made({"shared": {"tags": ["a", "b"]}})] * 2
    )
    assert shared == {"tags": ["a"]}


# What it prints


def printed(code: Code, *records: dict[str, Any], room: int = 64 << 10) -> str:
    with functions.opened(code, Limits(printed=room)) as run:
        list(run.records(records or ({"id": "cus_1"},)))
        return run.printed


def test_print_is_kept_for_the_author() -> None:
    code = Code(
        "python",
        "print('loaded')\ndef transform(c):\n    print(c['id'], 1, sep='-', end='!\\n')\n    return {}\n",
    )
    assert printed(code, {"id": "a"}, {"id": "ü\ud800"}) == "loaded\na-1!\nü\ufffd-1!\n"


def test_console_is_kept_for_the_author() -> None:
    code = javascript(
        'console.log("a", 1, 2n, null, undefined, {b: [1n]}, new Error("x"), print);',
        "console.error('ü\U0001f600');",
    )
    text = "const print = function log() {};\n" + code.text
    assert (
        printed(Code("javascript", text))
        == 'a 1 2 null undefined {"b":["1n"]} Error: x [function log]\nü\U0001f600\n'
    )


@BOTH
def test_what_is_printed_is_bounded_over_the_run(language: str) -> None:
    code = {"python": python("print('x' * 9)"), "javascript": javascript("console.log('x'.repeat(9));")}[
        language
    ]
    expected = "xxxxxxxxx\nxxxxxxxxx\nxxxxx\n"
    assert printed(code, *[{}] * 1000, room=25) == f"{expected}... and 998 more lines\n"
    assert printed(code, *[{}] * 3, room=25) == f"{expected}... and 1 more line\n"
    assert printed(code, {}, {}, room=25) == "xxxxxxxxx\nxxxxxxxxx\n"


@BOTH
def test_a_gigabyte_printed_stays_outside(language: str) -> None:
    code = {
        "python": python("for _ in range(1000): print('x' * 1_000_000)"),
        "javascript": javascript("for (let n = 0; n < 1000; n++) console.log('x'.repeat(1e6));"),
    }[language]
    text = printed(code, {})
    assert len(text) < 66_000
    assert text.endswith("x\n... and 1,000 more lines\n")


@BOTH
def test_what_was_printed_before_an_endless_loop_is_kept_once(language: str) -> None:
    code = {
        "python": python("print(customer['n'])", "while customer['n'] == 3: pass"),
        "javascript": javascript("console.log(customer.n);", "while (customer.n === 3);"),
    }[language]
    with functions.opened(code, Limits(seconds=1)) as run:
        kinds = [type(outcome) for outcome in run.records({"n": n} for n in range(5))]
        assert kinds == [Made, Made, Made, Failed, Made]
        lines = run.printed.split()
    assert lines[-1] == "4"
    assert lines.count("3") == 1
    if language == "python":
        assert lines == ["0", "1", "2", "3", "4"]


# Runs


def test_a_run_reads_ahead_but_not_far() -> None:
    taken = 0

    def records() -> Iterator[dict[str, Any]]:
        nonlocal taken
        for taken in range(100_000):
            yield {"n": taken}

    with functions.opened(AS_IT_IS["python"]) as run:
        first = next(run.records(records()))
        assert first == Made({"given": {"n": 0}})
        assert taken < 5000
        assert list(run.records([{"n": 7}])) == [Made({"given": {"n": 7}})]


def test_large_records_are_not_read_ahead_in_hundreds() -> None:
    taken = 0

    def records() -> Iterator[dict[str, Any]]:
        nonlocal taken
        for taken in range(100):
            yield {"text": "x" * 1_000_000, "n": taken}

    with functions.opened(AS_IT_IS["python"]) as run:
        next(run.records(records()))
        assert taken < 10


def test_an_error_of_the_source_is_passed_on() -> None:
    def records() -> Iterator[dict[str, Any]]:
        yield {"n": 1}
        raise OSError("the disk is gone")

    with functions.opened(AS_IT_IS["python"]) as run:
        with pytest.raises(OSError, match="the disk is gone"):
            list(run.records(records()))
        assert run.one({"n": 2}) == Made({"given": {"n": 2}})


def test_a_record_of_another_type_is_refused_before_the_process_sees_it() -> None:
    with functions.opened(AS_IT_IS["python"]) as run:
        with pytest.raises(TypeError, match="a record holds a value of type set"):
            run.one({"n": {1}})
        with pytest.raises(TypeError, match="a record holds a value of type PosixPath"):
            run.one({"n": [Path("x")]})


def test_one_run_answers_one_caller() -> None:
    with functions.opened(AS_IT_IS["python"]) as run:
        outer = run.records({"n": n} for n in range(10))
        next(outer)
        with pytest.raises(RuntimeError, match="one caller at a time"):
            next(run.records([{}]))
        assert len(list(outer)) == 9


def test_nothing_is_left_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    me = psutil.Process()
    before = me.num_fds()
    run = functions.opened(AS_IT_IS["javascript"])
    (process,) = [each for each in me.children() if each.pid == run.pid]
    assert list(tmp_path.iterdir()) == []
    assert "env" not in process.environ()
    assert set(process.environ()) <= {"TZ", "LC_CTYPE"}
    run.close()
    run.close()
    assert not process.is_running()
    assert run.pid is None
    assert list(tmp_path.iterdir()) == []
    assert me.num_fds() <= before + 1


def test_many_runs_at_once_in_threads() -> None:
    found: dict[int, list[answers.Outcome]] = {}

    def use(n: int) -> None:
        code = (
            python(returns=f"{{'n': customer['n'] + {n}}}")
            if n % 2
            else javascript(returns=f"{{n: customer.n + {n}}}")
        )
        found[n] = outcomes(code, *({"n": each * 1000} for each in range(600)))

    threads = [threading.Thread(target=use, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [Made({"n": each * 1000 + n}) for each in range(600)] for n in range(6)}


def test_a_run_outlives_the_thread_that_opened_it() -> None:
    opened: list[functions.Run] = []
    thread = threading.Thread(target=lambda: opened.append(functions.opened(AS_IT_IS["python"])))
    thread.start()
    thread.join()
    with opened[0] as run:
        assert run.one({"n": 1}) == Made({"given": {"n": 1}})
        assert run.restarts == 0


async def _in_a_loop() -> list[answers.Outcome]:
    return await asyncio.to_thread(outcomes, AS_IT_IS["javascript"], {"n": 1})


def test_a_run_inside_asyncio() -> None:
    assert asyncio.run(_in_a_loop()) == [Made({"given": {"n": 1}})]


def test_a_configured_function_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "shape.js"
    file.write_text("const transform = (c) => ({n: c.n * 2});\n")
    function = config.Function.model_construct(javascript=str(file), python=None, timeout=2.0, memory=128)
    with functions.opened(function) as run:
        assert run.one({"n": 21}) == Made({"n": 42})
        assert run.limits == Limits(2.0, 128)
        assert run.code.name == "shape.js"


def test_a_file_that_cannot_be_read_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    def opened(path: Path) -> str:
        function = config.Function.model_construct(python=str(path), javascript=None, timeout=1.0, memory=64)
        with pytest.raises(errors.ConfigError) as caught:
            functions.opened(function)
        return str(caught.value)

    missing = tmp_path / "missing.py"
    assert opened(missing) == f"the function {missing} cannot be read: No such file or directory"
    latin = tmp_path / "latin.py"
    latin.write_bytes(b"x = '\xe4'")
    assert opened(latin) == f"the function {latin} cannot be read: it is not UTF-8 text"


def test_javascript_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert refused(AS_IT_IS["javascript"]) == (
        "the function f.js is JavaScript, which is not installed; run `pip install 'tidegate[javascript]'`, "
        "or write it in Python"
    )


def test_a_process_that_cannot_be_started_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(bounded, "_start", refuse)
    before = psutil.Process().num_fds()
    with pytest.raises(
        errors.TidegateError, match=r"no process could be started for the function f\.py: Too many"
    ):
        functions.opened(AS_IT_IS["python"])
    assert psutil.Process().num_fds() == before


# Records of unusual size


@BOTH
def test_a_record_that_is_nested_far_too_deep_fails_alone(language: str) -> None:
    deep: dict[str, Any] = {}
    for _ in range(1_000):
        deep = {"a": [deep]}
    first, second, third, *others = outcomes(AS_IT_IS[language], {"n": 1}, deep, {"n": 3}, *[deep] * 600)
    why = "the record is nested more than 100 levels deep, which no function is given"
    assert (first, third) == (Made({"given": {"n": 1}}), Made({"given": {"n": 3}}))
    assert second == Failed(why, why, None, "record")
    assert others == [second] * 600


@BOTH
def test_a_record_of_ninety_levels_is_given_and_taken(language: str) -> None:
    deep: Any = "end"
    for _ in range(90):
        deep = {"a": deep}
    assert one(AS_IT_IS[language], {"deep": deep}) == Made({"given": {"deep": deep}})


@BOTH
def test_a_record_of_a_megabyte_and_one_of_many_keys(language: str) -> None:
    large = {"text": "x" * (1 << 20)}
    wide = {f"key_{n}": n for n in range(100_000)}
    assert outcomes(AS_IT_IS[language], large, wide) == [Made({"given": large}), Made({"given": wide})]


# A system that guards no function


@pytest.fixture
def old_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of functions believe that they are on a machine for which Tidegate has no filter."""
    program = bounded._program
    prefix = "import platform; platform.machine = lambda: 'riscv64'; "
    monkeypatch.setattr(bounded, "_program", lambda *given: prefix + program(*given))


@pytest.mark.usefixtures("old_kernel")
@pytest.mark.parametrize(
    ("language", "by"),
    [
        ("python", "by Python's own hooks alone, and code that is out to harm can get around them"),
        ("javascript", "by V8 alone, which has neither"),
    ],
)
def test_a_system_that_guards_no_function_is_told(
    language: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with functions.opened(AS_IT_IS[language]) as run:
        assert run.one({"n": 1}) == Made({"given": {"n": 1}})
        monkeypatch.setattr("sys.platform", "linux")
        assert run.unguarded == (
            f"The kernel of this system guards no function (it offers no seccomp): the function {run.code.name} is "
            f"kept from the network and from other processes {by}; run only code that you trust here."
        )
        monkeypatch.setattr("sys.platform", "darwin")
        assert (", and its memory has no limit;" in run.unguarded) is (language == "python")


@pytest.mark.usefixtures("old_kernel")
def test_without_the_kernel_python_and_limits_still_refuse() -> None:
    for line in ("open('/etc/passwd')", "__import__('os')", "__import__('socket')"):
        assert isinstance(one(python(line)), Failed)
    by_itself = "().__class__.__base__.__subclasses__()"
    lines = [
        f"system = next(each for each in {by_itself} if each.__name__ == '_wrap_close').__init__.__globals__",
        "system['open']('/etc/passwd', 0)",
    ]
    outcome = one(python(*lines))
    assert isinstance(outcome, Failed)
    assert outcome.why.endswith("PermissionError: a function cannot reach files")


def test_a_system_that_guards_functions_has_nothing_to_tell() -> None:
    with functions.opened(AS_IT_IS["python"]) as run:
        assert run.confined is (run.unguarded == "")


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "def transform(customer):\n    return {'name': customer['name']}\n"),
        ("javascript", "const transform = (customer) => ({name: `${customer.name}`});\n"),
    ],
)
def test_a_function_may_stand_in_the_configuration_itself(language: str, code: str) -> None:
    function = config.Function.model_validate({"language": language, "code": code, "timeout": 2})
    with functions.opened(function) as run:
        assert run.limits.seconds == 2
        assert run.one({"name": "Jane"}) == Made({"name": "Jane"})
