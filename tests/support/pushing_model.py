"""A business and a push of it drawn from a seed: rows and their edits, trouble, and where each process is killed.

    drawn from the seed -> some runs under trouble -> undisturbed runs until nothing is left to do -> the judge

The judge is `pushing_judge`.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import signal
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import halting
import msgspec
import pushing_child
import pushing_judge
import pushing_kinds
import warm
from following import Merchant

from tidegate.store import database

DAY = 25 * 3600.0
DEAF = ("rak_customer_write", "rak_balance_read")
ENDED = "ended"
MODULES = (*warm.PULL, "pyarrow", "pushing_child", "tidegate.sources.files", "tidegate.push.recover")
CODE = "import os, sys, pushing_child; pushing_child.main(sys.argv[1]); os._exit(0)"
"""It does not clear up after itself: that would cost as much as a small run."""
TROUBLE: tuple[dict[str, Any], ...] = (
    {"kind": "reset", "when": "before"},
    {"kind": "reset", "when": "after"},
    {"kind": "reset", "when": "after", "method": "POST", "times": 1, "probability": 1.0},
    {"kind": "error", "when": "before"},
    {"kind": "error", "when": "after", "method": "POST"},
    {"kind": "error", "when": "after", "method": "POST", "times": 2, "probability": 1.0},
    {"kind": "unavailable", "when": "after"},
    {"kind": "truncate"},
    {"kind": "cut"},
    {"kind": "html"},
    {"kind": "lock", "method": "POST"},
    {"kind": "limit"},
    {"kind": "late", "seconds": 0.02},
)
AGED = {
    "operations": ("created_at", "first_sent_at", "last_sent_at", "decided_at"),
    "fences": ("until",),
    "links": ("linked_at", "gone_at"),
    "pushed": ("at",),
    "holds": ("opened_at", "seen_at", "next_at"),
    "claims": ("at",),
    "row_notes": ("at",),
}
"""The moments that a database of a push has."""

Row = pushing_kinds.Row


def passed(store: database.Database, seconds: float) -> None:
    """As if so much time had passed by the database's clock."""
    for table, columns in AGED.items():
        told = ", ".join(f"{column} = {column} - :seconds" for column in columns)
        store.execute(f"UPDATE {table} SET {told}", {"seconds": seconds})


@dataclass
class Business:
    """A source, a Stripe and a push between them, as a seed has it."""

    shop: Merchant
    store: database.Database
    folder: Path
    database: str
    seed: int
    wrong: str = ""
    fate: Mapping[str, Any] = field(default_factory=dict)
    """What is not drawn, but so: `beside`, `how`, `at`, `seconds`, `trouble`."""
    beside: bool = field(init=False)
    """Is there a second push of the same objects?"""
    removes: bool = field(init=False)
    """Are objects deleted whose rows are gone?"""
    key: str = field(init=False)
    """The key of the pushes, which may be one that reads no events."""
    light: bool = field(init=False)
    """Are objects and rows read in the way that takes least?"""
    rows: list[Row] = field(default_factory=list)
    keys_of: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The rows that ever had a value, by it."""
    theirs: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """The objects that others made before the first run, by their value."""
    edits: dict[str, str] = field(default_factory=dict)
    """The descriptions that others gave objects, by id."""
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(f"push {self.seed}")
        self.kind = self.chance.choice(pushing_kinds.KINDS[:2] * 2 + pushing_kinds.KINDS[2:])
        self.beside = bool(self.kind.beside) and self.fated("beside", self.chance.random() < 0.25)
        self.removes = self.kind.deletes and self.chance.random() < 0.25
        deaf = self.kind.object == "customer" and self.chance.random() < 0.2
        self.key = "rk_test_deaf12345678" if deaf else "sk_test_123456789"
        self.light = self.chance.random() < 0.9
        self.customer = ""
        self.numbers = iter(range(1, 1000))

    def fated(self, name: str, drawn: Any) -> Any:
        """What was drawn, unless it is said."""
        return self.fate.get(name, drawn)

    # What there is, and what becomes of it

    def begin(self) -> None:
        """Make the source and the objects that are there before."""
        chance = self.chance
        self.shop.control(
            "reset", {"seed": self.seed + 1, "objects": 0, "only": ["customers"], "accounts": 1}
        )
        self.shop.control("keys", {"key": "rk_test_deaf12345678", "scopes": DEAF})
        self.shop.make("/v1/products", id="prod_all", name="All")
        self.shop.make("/v1/coupons", id="coupon_all", percent_off=5, duration="once")
        self.customer = self.shop.make("/v1/customers", name="Payer")["id"]
        self.shop.control("writes/reset", {})
        for _ in range(chance.randint(3, 5)):
            self.add()
        for row in self.rows:
            value = row[self.kind.column]
            there = chance.choice((0, 0, 0, 1, 2 if self.kind.several else 1))
            if value and not self.theirs[self.kind.fold(value)]:
                for _ in range(there):
                    self.theirs[self.kind.fold(value)].append(self.their(value))
        self.their("NOBODY0X" if self.kind.column == "pid" else "nobody@else.test")
        self.later(30)
        self.configure()

    def their(self, value: str) -> str:
        """An object that somebody else makes."""
        given = self.kind.given(value) | ({"customer": self.customer} if self.kind.money else {})
        id: str = self.shop.make(self.kind.path, **given)["id"]
        return id

    def add(self) -> None:
        """A row more; some have what a row should not have."""
        chance, number = self.chance, next(self.numbers)
        row = {
            "id": f"k{number}",
            "mail": f"p{number}@people.test",
            "pid": f"P{number}X",
            "name": f"Person {number}",
            "plan": "free",
            "score": "0",
            "customer": self.customer,
        }
        odd = chance.random()
        if odd < 0.05:
            row["id"] = ""
        elif odd < 0.1 and self.rows:
            row["id"] = self.rows[-1]["id"]
        elif odd < 0.15 and self.kind.column != "id":
            row[self.kind.column] = ""
        elif odd < 0.25 and self.rows and self.kind.column != "id":
            twin = self.rows[-1][self.kind.column]
            row[self.kind.column] = twin.upper() if self.kind.folded else twin
        self.rows.append(row)

    def edit(self) -> None:
        """The rows change, and the objects in what nobody pushes."""
        chance = self.chance
        for row in self.rows:
            if chance.random() < 0.4:
                row["plan"] = f"plan {chance.randrange(100)}"
            if chance.random() < 0.2:
                row["name"] = f"{row['name'].partition(',')[0]}, {chance.randrange(100)}"
            if chance.random() < 0.3:
                row["score"] = str(chance.randrange(100))
            if self.kind.folded and chance.random() < 0.1:
                row["mail"] = row["mail"].swapcase()
        if chance.random() < 0.3:
            self.add()
        if chance.random() < (0.3 if self.removes else 0.1) and len(self.rows) > 2:
            self.rows.pop(chance.randrange(len(self.rows)))
        if self.kind.object == "customer" and chance.random() < 0.3:
            id = chance.choice(self.objects())["id"]
            self.edits[id] = f"Theirs {chance.randrange(100)}"
            self.shop.make(f"{self.kind.path}/{id}", description=self.edits[id])

    def trouble(self) -> None:
        """What goes wrong at Stripe from now on."""
        chance = self.chance
        some = chance.sample(TROUBLE, chance.choice((0, 1, 2, 3)))
        some = self.fated("trouble", some)
        self.shop.control("faults", {"faults": [{"probability": 0.15, **each} for each in some]})
        meddles: list[dict[str, Any]] = []
        if chance.random() < 0.4:
            values = {"metadata": {"somebody": f"else {chance.randrange(100)}"}}
            meddles.append({"stream": self.kind.stream, "probability": 0.3, "values": values})
        if self.kind.column == "mail" and chance.random() < 0.3:
            meddles.append({"kind": "double", "probability": 0.3, "times": 2, "values": {"name": "Double"}})
        if self.kind.deletes and chance.random() < 0.2:
            meddles.append({"kind": "delete", "stream": self.kind.stream, "probability": 0.3, "times": 1})
        self.shop.control("meddle", {"meddles": meddles})
        late = chance.choice((0, 0, 20, 60))
        self.shop.control("delays", {"events": late, "spread": bool(late), "search": chance.choice((0, 90))})
        self.shop.control("locks", {"on": chance.random() < 0.2})

    def calm(self) -> None:
        """Nothing goes wrong any more."""
        self.meddled()
        for name, what in (
            ("faults", {"faults": []}),
            ("meddle", {"meddles": []}),
            ("delays", {"events": 0, "spread": False, "search": 0}),
            ("locks", {"on": False}),
        ):
            self.shop.control(name, what)

    def meddled(self) -> None:
        """Remember what others did in between."""
        for each in self.shop.control("meddle")["done"]:
            self.log.append(f"{each['kind']} {each['id']}")

    def later(self, seconds: float) -> None:
        """Time passes, everywhere."""
        self.shop.later(seconds)
        passed(self.store, seconds)

    def configure(self) -> None:
        """Write the configuration."""
        kind = self.kind
        fields = {**kind.fields, **kind.once}
        second = {path: f"{{from: {column}, owner: stripe}}" for path, column in kind.fields.items()}
        second |= {**kind.once, "metadata.score": "score"}
        head = f"model: rows, to: acme, object: {kind.object}, match: {kind.match}"
        missing = ", on_missing: delete" if self.removes else ""
        pushes = {
            "first": f"{{{head}{missing}, fields: {_yaml(fields)}}}",
            "second": f"{{{head}, behavior: {kind.beside or 'update_only'}, fields: {_yaml(second)}}}",
        }
        if not self.beside:
            del pushes["second"]
        told = "\n".join(f"  {name}: {push}" for name, push in pushes.items())
        (self.folder / "tidegate.yaml").write_text(
            f'stripe: {{acme: {{api_key: {self.key}, api_base: "{self.shop.url}", rate_limit: "off"}}}}\n'
            f"models: {{rows: {{file: rows.csv, key: id}}}}\npushes:\n{told}\n"
        )

    def write(self) -> None:
        """Write the source."""
        for row in self.rows:
            if row[self.kind.column]:
                self.keys_of[self.kind.fold(row[self.kind.column])].add(row["id"])
        with (self.folder / "rows.csv").open("w", newline="") as out:
            writer = csv.DictWriter(out, ["id", "mail", "pid", "name", "plan", "score", "customer"])
            writer.writeheader()
            writer.writerows(self.rows)

    # Runs

    def start(self, push: str, step: int = 0, how: str = "killed", machine: str = "") -> warm.Process:
        """Begin a run in a process of its own, on a machine of each push unless another is named."""
        told = pushing_child.Told(
            *(str(self.folder), self.database, push, machine or push),
            step=step,
            at=self.fated("at", ""),
            how=how,
            light=self.light,
            wrong=self.wrong,
        )
        words = msgspec.json.encode(told).decode()
        env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        return warm.started(CODE, words, modules=MODULES, stdin=True, stdout=True, text=True, env=env)

    def end(self, process: warm.Process, push: str) -> dict[str, Any]:
        """Wait for a run; what it came to, nothing where it was killed."""
        assert process.stdout is not None
        said = process.stdout.read()
        code = process.wait()
        assert code in (0, -signal.SIGKILL), f"{push} ended with {code}: {said}"
        self.log.append(f"{push}: {said.strip()}")
        if code:
            return {}
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        if found["status"] != ENDED:
            pushing_judge.balanced(found)
        return found

    def disturbed(self) -> None:
        """A run, or two at a time, which may be killed; then time passes."""
        chance = self.chance
        self.calm()
        self.edit()
        self.write()
        self.trouble()
        how = self.fated("how", chance.choice(("killed",) * 6 + ("soon", "soon", "stopped", "")))
        most = 3 if "at" in self.fate else 16 + 12 * len(self.rows)
        step = chance.randint(1, most) if how else 0
        if how == "stopped" and not self.database.startswith("sqlite"):
            how = "killed"  # nothing keeps it from being stopped inside of a transaction there
        if how == "stopped":
            self.stopped(step)
        else:
            with contextlib.ExitStack() as stack:
                going = {"first": stack.enter_context(self.start("first", step, how or "killed"))}
                if self.beside and self.fated("beside", chance.random() < 0.6):
                    step = chance.choice((0, chance.randint(1, 50)))
                    going["second"] = stack.enter_context(self.start("second", step))
                for push, process in going.items():
                    self.end(process, push)
        seconds = self.fated("seconds", chance.choice((70.0, 70.0, 400.0, 4000.0, DAY)))
        self.log.append(f"{seconds:.0f} seconds later")
        self.later(seconds)
        if seconds == DAY:
            self.shop.control("prune", {})

    def stopped(self, step: int) -> None:
        """A process stands still for 25 hours, in which another one does the work, and then goes on."""
        with self.start("first", step, "stopped") as process:
            assert process.stdout is not None
            assert process.stdin is not None
            said = process.stdout.readline()
            self.log.append(f"stopped {said.strip()}")
            if not said.startswith("at "):
                process.wait()
                return
            try:
                # Stopped inside of a transaction it would keep all others out of a SQLite file.
                self.store.transact(lambda _: halting.halt(process.pid))
                (self.folder / "passed").write_text(str(DAY))
                self.later(DAY)
                self.shop.control("prune", {})
                with self.start("first", machine="another") as other:
                    self.end(other, "first")
            finally:
                os.kill(process.pid, signal.SIGCONT)
            process.stdin.write("go on\n")
            process.stdin.flush()
            self.end(process, "first")
        (self.folder / "passed").unlink()

    def settled(self) -> None:
        """Undisturbed runs, until there is nothing left to do."""
        self.calm()
        if self.chance.random() < 0.5:
            self.mend()
        self.write()
        names = pushing_kinds.PUSHES if self.beside else pushing_kinds.PUSHES[:1]
        for _ in range(6):
            self.later(700)
            before = self.store.execute("SELECT id, status FROM operations ORDER BY id")
            found = []
            for push in names:
                with self.start(push) as process:
                    found.append(self.end(process, push))
            assert all(each and each["status"] != ENDED for each in found), "An undisturbed run ended."
            after = self.store.execute("SELECT id, status FROM operations ORDER BY id")
            if before == after and not any(each[name] for each in found for name in DOING):
                self.undecided_is_told(found)
                return
        raise AssertionError("It does not come to rest.")

    def undecided_is_told(self, found: list[dict[str, Any]]) -> None:
        """What is unknown is said to be so, and only where a key may not read what would tell."""
        names = [each["push"] for each in found]
        rows = self.store.execute("SELECT push FROM operations WHERE status IN ('intent', 'sent', 'unknown')")
        there = Counter(row["push"] for row in rows)
        assert [each["undecided"] for each in found] == [there[name] for name in names], "It is not told."
        assert self.deaf or not there, "Something is undecided for ever."

    @property
    def deaf(self) -> bool:
        """May the key not read events?"""
        return self.key.startswith("rk_")

    def mend(self) -> None:
        """Somebody corrects the source: of rows that are one, the first stays."""
        seen: set[str] = set()
        kept = []
        for row in self.rows:
            marks = {f"key {row['id']}", f"value {self.kind.fold(row[self.kind.column])}"}
            if row["id"] and row[self.kind.column] and not marks & seen:
                kept.append(row)
            seen |= marks
        self.rows = kept or self.rows

    # What the sandbox tells

    def objects(self, deleted: bool = False) -> list[dict[str, Any]]:
        """The objects that there are, or were."""
        name = f"truth/{self.kind.stream}{'?deleted=1' if deleted else ''}"
        return [{**each["object"], "dead": each.get("deleted_at") is not None} for each in self.lines(name)]

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """What the sandbox tells line by line."""
        with urllib.request.urlopen(f"{self.shop.url}/_sandbox/{name}", timeout=60) as answer:
            for line in answer:
                yield json.loads(line)


DOING = ("created", "updated", "removed", "failed", "unknown")


def lived(business: Business) -> None:
    """Everything from the beginning to the judge; what happened is told with what is wrong."""
    try:
        business.begin()
        for _ in range(business.chance.choice((2, 2, 2, 3))):
            business.disturbed()
        business.settled()
        pushing_judge.judge(business)
    except AssertionError as error:
        kind = f"{business.kind.object} {business.kind.name}"
        story = "\n".join(business.log)
        raise AssertionError(f"seed {business.seed}, {kind}: {error}\n{story}") from None


def _yaml(fields: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{path}: {told}" for path, told in fields.items()) + "}"
