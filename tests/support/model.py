"""A business that lives while it is pulled, under everything that may happen to a pull; and whether it was exact.

A `Case` is one local Stripe, one warehouse and the choices of one user, all by seed. Stripe and the pull share one
event loop and one clock, which moves only where the case moves it: between requests, and between the moment when a
request is evaluated and the moment when it is answered. So a seed is the same interleaving each time.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb as engine
import exact
import msgspec
import pyarrow as pa

from tidegate import catalog, errors
from tidegate.config import conditions
from tidegate.pull import cycle, load, reconcile, report, run, scope
from tidegate.sandbox import asking, faults, history, objects, routes, server, traffic, versions
from tidegate.sandbox import clock as clocks
from tidegate.sandbox import world as worlds
from tidegate.stripe import attempts
from tidegate.stripe import clock as observed
from tidegate.warehouse import base, duckdb, duckdb_file

NOW = 1_790_000_000
DAY = 86_400
KEY = "rk_test_model"
STREAMS = catalog.load().streams

GROUPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "people": (
        (
            "customers",
            "cards",
            "bank_accounts",
            "customer_tax_ids",
            "customer_payment_methods",
            "customer_balance_transactions",
            "payment_methods",
            "setup_intents",
        ),
        ("customers", "balances", "sources", "tax_ids", "payment_methods", "setup_intents"),
    ),
    "prices": (
        ("products", "prices", "plans", "coupons", "promotion_codes", "tax_rates", "product_features"),
        ("products", "prices", "plans", "coupons", "promotion_codes", "tax_rates"),
    ),
    "payments": (
        ("charges", "payment_intents", "refunds", "disputes", "balance_transactions"),
        ("payment_intents", "charges", "refunds", "disputes"),
    ),
    "subscriptions": (
        ("subscriptions", "subscription_items", "invoices", "invoice_line_items", "invoice_payments"),
        ("subscriptions", "invoices"),
    ),
    "invoicing": (
        ("invoices", "invoice_line_items", "invoice_items", "credit_notes", "credit_note_line_items"),
        ("invoices", "invoice_items", "credit_notes"),
    ),
    "selling": (
        ("checkout_sessions", "checkout_sessions_line_items", "quotes", "quote_line_items"),
        ("checkout", "quotes"),
    ),
    "money": (
        ("payouts", "transfers", "transfer_reversals", "topups", "balance_transactions"),
        ("payouts", "transfers", "topups"),
    ),
    "rest": (
        (
            "radar_value_lists",
            "radar_value_list_items",
            "file_links",
            "shipping_rates",
            "terminal_locations",
            "webhook_endpoints",
        ),
        ("radar", "file_links", "shipping_rates", "terminal", "webhooks"),
    ),
}
"""Streams that belong together, and the kinds of traffic that change them."""

COUNTS = {
    "charges": 4,
    "checkout_sessions": 2,
    "coupons": 2,
    "credit_notes": 1,
    "customers": 4,
    "disputes": 1,
    "file_links": 1,
    "files": 1,
    "invoice_items": 2,
    "invoices": 4,
    "payment_intents": 4,
    "payment_methods": 4,
    "payouts": 2,
    "plans": 2,
    "prices": 4,
    "products": 3,
    "promotion_codes": 1,
    "quotes": 1,
    "radar_value_lists": 2,
    "refunds": 2,
    "setup_intents": 2,
    "shipping_rates": 1,
    "subscriptions": 3,
    "tax_rates": 1,
    "terminal_locations": 1,
    "topups": 1,
    "transfers": 2,
    "webhook_endpoints": 1,
    "balance_transactions": 8,
}
"""The world before anything happens."""


def _text(path: str, part: str) -> Callable[[exact.Object], bool]:
    def holds(each: exact.Object) -> bool:
        found: Any = each
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        return isinstance(found, str) and part in found

    return holds


WHERE: dict[str, list[tuple[dict[str, Any], Callable[[exact.Object], bool]]]] = {
    "customers": [
        ({"field": "name", "op": "contains", "value": "1"}, _text("name", "1")),
        ({"field": "metadata.plan", "op": "contains", "value": "2"}, _text("metadata.plan", "2")),
    ],
    "products": [({"field": "active", "op": "is", "value": True}, lambda each: each["active"] is True)],
    "coupons": [
        ({"field": "percent_off", "op": ">=", "value": 50}, lambda each: (each["percent_off"] or 0) >= 50)
    ],
    "prices": [({"field": "nickname", "op": "contains", "value": "3"}, _text("nickname", "3"))],
    "charges": [({"field": "refunded", "op": "is", "value": False}, lambda each: each["refunded"] is False)],
    "payment_intents": [
        ({"field": "status", "op": "is", "value": "succeeded"}, lambda each: each["status"] == "succeeded")
    ],
    "invoices": [
        ({"field": "status", "op": "is not", "value": "draft"}, lambda each: each["status"] != "draft")
    ],
    "subscriptions": [
        ({"field": "status", "op": "is", "value": "active"}, lambda each: each["status"] == "active")
    ],
    "subscription_items": [
        ({"field": "quantity", "op": ">", "value": 1}, lambda each: (each["quantity"] or 0) > 1)
    ],
    "invoice_line_items": [
        ({"field": "amount", "op": ">=", "value": 9000}, lambda each: each["amount"] >= 9000)
    ],
    "payouts": [({"field": "status", "op": "is", "value": "paid"}, lambda each: each["status"] == "paid")],
}
"""Filters, and the same said in Python."""

HASHED = {
    "customers": ("name", "email"),
    "products": ("name",),
    "charges": ("description",),
    "coupons": ("name",),
}
EXCLUDED = {
    "customers": ("email", "description"),
    "invoices": ("hosted_invoice_url", "number"),
    "charges": ("receipt_url",),
    "products": ("images", "url"),
    "payment_intents": ("client_secret",),
}


BUSIEST = 400
"""Times that something happens during a pull, at the most: of what it reads more, more would happen."""


@dataclass(frozen=True)
class Choices:
    """What the user of a case wants, and what kind of life the business has."""

    seed: int
    streams: tuple[str, ...]
    kinds: tuple[str, ...]
    evented: bool
    """Only what events tell happens."""
    views: Mapping[str, exact.View]
    choices: Mapping[str, scope.Choice]
    lookback: int
    given: bool = False
    start: int | None = None
    exclude: bool = False
    accounts: int = 0
    blind: bool = False
    """The key may not read events."""
    skew: float = 0.0
    """Seconds by which the user's own clock is wrong."""
    prompt: bool = False
    """Everything is committed as soon as it came, not seconds later with others."""
    between: float = cycle.BETWEEN
    """Seconds between two looks at the events while lists are read."""


def chosen(seed: int) -> Choices:
    """The choices of a seed."""
    chance = random.Random(f"choices {seed}")
    evented = chance.random() < 0.5
    groups = chance.sample(
        [name for name in GROUPS if name != "rest" or not evented], chance.choice((2, 2, 3))
    )
    streams: list[str] = []
    for group in groups:
        names = list(GROUPS[group][0])
        streams += names[:2] + [name for name in names[2:] if chance.random() < 0.6]
    blind = not evented and chance.random() < 0.2
    if chance.random() < 0.2 and not blind:
        streams.append("events")
    streams = list(dict.fromkeys(streams))
    views, choices = {}, {}
    for name in streams:
        views[name], choices[name] = _view(chance, STREAMS[name])
    started = chance.random() < 0.15
    return Choices(
        seed=seed,
        streams=tuple(streams),
        kinds=tuple(dict.fromkeys(kind for group in groups for kind in GROUPS[group][1])),
        evented=evented,
        views=views,
        choices=choices,
        lookback=chance.choice((0, 0, 0, 7 * DAY) if evented else (3 * DAY, 30 * DAY, 600 * DAY)),
        given=chance.random() < 0.1,
        start=NOW - chance.choice((30, 200, 500)) * DAY if started else None,
        exclude=started and chance.random() < 0.5,
        accounts=chance.choice((1, 2)) if chance.random() < 0.15 else 0,
        blind=blind,
        skew=chance.choice((0.0, 0.0, -7200.0, 40.0)),
        prompt=chance.random() < 0.5,
        between=chance.choice((cycle.BETWEEN, 0.0)),
    )


def wishes(*streams: str, evented: bool = True, history: Sequence[str] = (), **more: Any) -> Choices:
    """Choices of a test's own: all of these streams as they are, but for `views` and `choices` in `more`."""
    views = {name: exact.View(STREAMS[name], history=name in history) for name in streams}
    views |= more.pop("views", {})
    choices = {name: scope.Choice(history=True) for name in history} | more.pop("choices", {})
    given: dict[str, Any] = {"lookback": 0, "seed": 1, "kinds": ()}
    return Choices(streams=streams, evented=evented, views=views, choices=choices, **given | more)


def _view(chance: random.Random, stream: catalog.Stream) -> tuple[exact.View, scope.Choice]:
    name = stream.name
    condition, holds = None, None
    if name in WHERE and chance.random() < 0.3:
        written, holds = chance.choice(WHERE[name])
        condition = conditions.Condition.model_validate(written)
    columns = None
    if name in EXCLUDED and chance.random() < 0.25:
        nested = {each.path.partition(".")[0] for each in stream.nested}
        columns = frozenset(field.name for field in stream.fields) - nested - set(EXCLUDED[name])
    hashed = frozenset(HASHED[name] if name in HASHED and chance.random() < 0.25 else ())
    if columns is not None:
        hashed &= columns
    if condition is not None and columns is not None:
        columns |= {condition.field.partition(".")[0]}
    hard = name != "events" and chance.random() < 0.3
    kept = name != "events" and chance.random() < 0.35
    view = exact.View(stream, columns, hashed, holds, hard, kept)
    return view, scope.Choice(columns=columns, hashed=hashed, where=condition, hard=hard, history=kept)


class Recorder(history.History):
    """Every state that an object ever had, not only the last of each second."""

    def __init__(self, state: history.State) -> None:
        super().__init__(state)
        self.states: dict[history.Key, list[exact.Object]] = {}

    def touch(self, key: history.Key, at: int) -> None:
        """The state that is about to end is kept, whenever that is."""
        del at
        now = self.state(key)
        if now is not None:
            self.states.setdefault(key, []).append(now)


class Moments:
    """What happens between two requests of a pull, or between a request and its answer."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.requests = 0
        self.between: Callable[[], None] | None = None

    def passes(self) -> None:
        """One such moment."""
        if self.between is not None:
            self.between()


class Ticking(clocks.Clock):
    """The case's clock, as traffic moves it."""

    def __init__(self, moments: Moments) -> None:
        super().__init__(source=lambda: moments.now)
        self._moments = moments

    def advance(self, seconds: float) -> None:
        """Move the case on."""
        self._moments.now += seconds


class Stripe(server.Sandbox):
    """The sandbox, with moments, and with every state remembered."""

    def __init__(self, world: worlds.World, moments: Moments, **options: Any) -> None:
        self.moments = moments
        super().__init__(world, clock=Ticking(moments), record=True, **options)

    def _perform(
        self,
        asked: asking.Asked,
        route: routes.Route,
        arguments: dict[str, str],
        params: Any,
        version: str,
        key: str | None,
    ) -> bytes:
        self.moments.requests += 1
        self.moments.passes()
        body = super()._perform(asked, route, arguments, params, version, key)
        self.moments.passes()
        return body


class Memory(duckdb_file.File):
    """A DuckDB file that never reaches the disk; opening and closing it is tested elsewhere."""

    @contextlib.contextmanager
    def writing(
        self, wait: float | None = None, memory_limit: int | None = None
    ) -> Iterator[duckdb_file.Session]:
        """The engine, for this caller alone, with all the memory it wants."""
        del memory_limit
        with self._alone(wait):
            if self._engine is None:
                self._engine = engine.connect(":memory:", config={"threads": 1})
                self._engine.execute("SET GLOBAL TimeZone = 'UTC'; ATTACH ':memory:' AS kept; USE kept")
                self._engine.execute("PRAGMA disable_optimizer")
            yield duckdb_file.Session(self._engine, "kept", self.memory_limit)

    @contextlib.contextmanager
    def reading(self) -> Iterator[duckdb_file.Session]:
        """The same."""
        with self.writing() as session:
            yield session

    @contextlib.contextmanager
    def lent(self) -> Iterator[engine.DuckDBPyConnection]:
        """The same."""
        with self.writing() as session:
            yield session.connection

    def exists(self) -> bool:
        """Was it ever written?"""
        return self._engine is not None


class Warehouse(duckdb.DuckDB):
    """A warehouse whose commits can fail: `fails` counts down to the one that does, done or not."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = Memory(
            path, reserved=("stripe",), wait=60.0, memory_limit=self._file.memory_limit, threads=1
        )
        self.fails: int | None = None
        self.done = False
        self.dead = False

    def load(
        self,
        loads: Sequence[base.Load],
        state: Mapping[str, str | None],
        fence: base.Fence | None = None,
        *,
        wait: float | None = None,
    ) -> list[base.Loaded]:
        """As the real one, until it fails."""
        if self.dead:
            raise errors.WarehouseError("the warehouse is gone")
        if self.fails is not None:
            self.fails -= 1
            self.dead = self.fails < 0
            if self.dead and not self.done:
                raise errors.WarehouseError("the warehouse is gone")
        found = super().load(loads, state, fence, wait=wait)
        if self.dead:
            raise errors.WarehouseError("the warehouse is gone")
        return found

    def heal(self) -> None:
        """From now on nothing fails."""
        self.fails, self.dead = None, False


Step = tuple[str, dict[str, Any]]


@dataclass
class Case:
    """One business and one warehouse; `step` does what may happen, `differences` says whether it was exact."""

    choices: Choices
    folder: Path
    runner: asyncio.Runner
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        seed = self.choices.seed
        self.moments = Moments(float(NOW))
        world = worlds.build(
            seed=seed, accounts=self.choices.accounts, counts=COUNTS, now=NOW, account_objects=60
        )
        self.stripe = Stripe(world, self.moments, seed=seed)
        permissions = {stream.permission for stream in STREAMS.values()} | {"rak_accounts_kyc_basic_read"}
        if self.choices.blind:
            permissions -= {"rak_event_read"}
        self.stripe.keys.register(KEY, permissions)
        self.dropped: set[str] = set()
        self.warehouse = Warehouse(self.folder / "kept.duckdb")
        self.url = self.runner.run(self.stripe.start())
        self.stored: dict[tuple[str, str], set[exact.Key]] = {}
        self.pulled: list[float] = []
        self.late = 0.0

    def close(self) -> None:
        """Let go of everything."""
        self.warehouse.close()
        self.runner.run(self.stripe.stop())

    @property
    def accounts(self) -> list[str]:
        """The accounts that are pulled."""
        own = [self.stripe.platform.account]
        return own + (list(self.stripe.world.accounts) if self.choices.accounts else [])

    def step(self, name: str, /, **given: Any) -> None:
        """Do one step, by name."""
        getattr(self, name)(**given)

    # What may happen.

    def live(self, *, seed: int, steps: int, tick: float, account: int = 0) -> None:
        """The business goes on: at a tick of 0 within one second."""
        accounts = self.accounts
        plan = traffic.Plan(
            seed=seed,
            steps=steps,
            tick=tick,
            account=accounts[account % len(accounts)],
            kinds=self.choices.kinds,
            only_evented=self.choices.evented,
        )
        life = self.stripe.life(plan)
        for _ in traffic.run(life, plan, traffic.Told()):
            pass

    def ask(self, method: str, path: str, **params: Any) -> exact.Object:
        """One request of the merchant's."""
        return self.stripe.life(traffic.Plan()).ask(method, path, params)

    def wait(self, *, seconds: float) -> None:
        """Nothing happens for a while."""
        self.moments.now += seconds

    def delay(self, *, seconds: float) -> None:
        """From now on, events become visible late, each by a time of its own."""
        self.stripe.journal.delay, self.stripe.journal.spread = seconds, True
        self.late = max(self.late, seconds)

    def version(self, *, name: str) -> None:
        """The account's default version changes, and with it what new payloads look like."""
        self.stripe.journal.set_version(name or self.stripe.facts.api_version)

    def lose(self, *, stream: str) -> None:
        """The key loses a permission."""
        permission = STREAMS[stream].permission
        if permission == "rak_event_read" and self.choices.blind:
            return
        self.dropped.add(permission)
        self.stripe.keys.drop(KEY, permission)

    def regain(self) -> None:
        """The key may do everything again."""
        for permission in sorted(self.dropped):
            self.stripe.keys.grant(KEY, permission)
        self.dropped.clear()

    def pull(
        self,
        *,
        seed: int = 0,
        busy: float = 0.0,
        drag: float = 0.0,
        kill: int | None = None,
        fails: int | None = None,
        done: bool = False,
        trouble: Sequence[Mapping[str, Any]] = (),
        full: bool = False,
    ) -> report.Result | None:
        """Pull, while things go on: see the parameters.

        `busy` is how likely something happens in each moment, `drag` the longest that a moment lasts. `kill` ends
        the pull at that request, with nothing more committed; `fails` is the commit that fails, `done` or not.
        """
        chance = random.Random(f"pull {seed}")
        left = BUSIEST
        began, self.moments.requests = self.moments.now, 0
        self.warehouse.fails, self.warehouse.done = fails, done
        self.stripe.script.set(msgspec.convert(trouble, list[faults.Fault]))
        task: asyncio.Task[report.Result] | None = None
        killed = False

        def between() -> None:
            nonlocal killed, left
            if drag:
                self.moments.now += chance.choice((0.0, 0.0, chance.uniform(0, 1.5), chance.uniform(0, drag)))
            if busy and left and chance.random() < busy:
                left -= 1
                self.live(
                    seed=chance.randrange(1 << 30),
                    steps=chance.choice((1, 1, 2, 4)),
                    tick=chance.choice((0.0, 0.0, 0.4)),
                    account=chance.randrange(4),
                )
            if kill is not None and self.moments.requests >= kill and task is not None and not killed:
                killed = self.warehouse.dead = True
                task.cancel()

        async def go() -> report.Result | None:
            nonlocal task
            task = asyncio.create_task(self._run(full=full))
            self.moments.between = between
            try:
                return await task
            except asyncio.CancelledError:
                if not killed:
                    raise
                return None
            except errors.TidegateError as error:
                self.notes.append(f"the pull ended: {error}")
                return None
            finally:
                self.moments.between = None

        result = self.runner.run(go())
        self.warehouse.heal()
        self.stripe.script.set([])
        if result is not None and result.status != "failed" and not trouble:
            self.pulled.append(began)
        self._remember()
        return result

    async def _run(self, *, full: bool = False, accept: frozenset[str] = frozenset()) -> report.Result:
        wanted = self.choices
        options = scope.Options(
            streams=wanted.streams,
            start=wanted.start,
            choices=wanted.choices,
            lookback=wanted.lookback,
            lookback_given=wanted.given,
            before_start="exclude" if wanted.exclude else "include",
            full_refresh=full,
            accept=accept,
        )
        source = scope.Source(
            KEY, self.url, accounts="all" if wanted.accounts else "own", rate_limit="off", budget=1.0
        )
        screen = _Noting(self.notes)
        with self._time():
            async with scope.connect(source) as stripe:
                made = run.Pull(source, self.warehouse, options, screen, stripe, between=self.choices.between)
                return await made.once()

    @contextlib.contextmanager
    def _time(self) -> Iterator[None]:
        """The client's clocks are the case's; nobody waits before trying again, and nothing runs in threads."""
        skew, moments, real = self.choices.skew, self.moments, observed.Clock
        patience = (0.0, 0.0) if self.choices.prompt else (load.FIRST, load.SECONDS)

        def clock() -> observed.Clock:
            return real(lambda: moments.now - NOW, lambda: moments.now + skew)

        with (
            mock.patch.object(observed, "Clock", clock),
            mock.patch.object(attempts, "FIRST_WAIT", 0.0),
            mock.patch.multiple(load, FIRST=patience[0], SECONDS=patience[1]),
            mock.patch.object(asyncio, "to_thread", _at_once),
            mock.patch.object(concurrent.futures, "ThreadPoolExecutor", Inline),
        ):
            yield

    def _remember(self) -> None:
        """Note which rows are stored now."""
        if not self.warehouse._file.exists():
            return
        there = {row["name"] for row in self.rows("select table_name as name from duckdb_tables()")}
        for name in self.choices.streams:
            if name in there:
                key = ", ".join(STREAMS[name].key)
                rows = f'select _account_id, {key} from stripe."{name}" where _deleted_at is null'
                for row in self.rows(rows):
                    account, *rest = row.values()
                    self.stored.setdefault((account, name), set()).add(tuple(rest))

    def row(self, stream: str, id: str) -> dict[str, Any]:
        """A stored row."""
        (found,) = self.rows(f'select * from stripe."{stream}" where id = ?', id)
        return found

    def rows(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        """The rows of a query."""
        batches = list(self.warehouse.read(sql, parameters))
        return pa.Table.from_batches(batches).to_pylist() if batches else []

    def tamper(self, statement: str, *parameters: object) -> None:
        """Do to the tables what no pull does."""
        with self.warehouse._file.writing() as session:
            session.connection.execute(statement, list(parameters))

    # How it ends.

    def settle(self) -> list[str]:
        """Quiet returns: nothing fails, every event is visible, every turn comes. Says what did not end well."""
        self.regain()
        self.moments.now += self.late + reconcile.BANDS[0].every + 30  # new rows that no event names
        if not self.choices.evented:
            self.moments.now += 15 * DAY
        self.stripe.journal.delay = 0.0
        wrong = []
        for turn in range(2):
            result = self.runner.run(self._run())
            self.pulled.append(self.moments.now)
            self._remember()
            held = frozenset(
                each.stream
                for each in result.outcomes
                if each.status == "partial" and "--accept-deletes" in each.error
            )
            if held:
                result = self.runner.run(self._run(accept=held))
            self.moments.now += 30
            if turn and result.status != "ok":
                wrong += [
                    f"{e.stream} ends {e.status}: {e.error}" for e in result.outcomes if e.status != "ok"
                ]
                wrong += [f"the pull ends {result.status}: {result.end}"] if result.end else []
        return wrong

    def differences(self) -> list[str]:
        """Everything in which the warehouse is not what Stripe is."""
        wrong: list[str] = []
        for account in self.accounts:
            book = self.stripe.book("" if account == self.stripe.platform.account else account)
            for name, view in self.choices.views.items():
                truth = self._truth(book, name)
                rows = self.rows(f'select * from stripe."{name}" where _account_id = ?', account)
                wrong += exact.differences(view, account, rows, truth)
                if view.history:
                    table = f'stripe."{name}_history"'
                    past = self.rows(f"select * from {table} where _account_id = ?", account)
                    wrong += exact.past(view, past, rows, truth)
        return wrong

    def _truth(self, book: objects.Book, name: str) -> exact.Truth:
        view = self.choices.views[name]
        things: list[exact.Thing] = []
        if name == "events":
            for _, ref in book.every("events"):
                each = self.stripe.journal.aged(book, book.show("events", ref))
                things.append(exact.Thing("", msgspec.json.decode(msgspec.json.encode(each))))
        else:
            expand = frozenset(STREAMS[name].expand)
            for parent, ref in book.every(name):
                things.append(exact.Thing(parent, msgspec.json.decode(book.render(name, ref, expand))))
            for parent, last, when in book.gone(name):
                things.append(exact.Thing(parent, last, when))
        stored = self.stored.get((book.account, name), set())
        if name == "customer_payment_methods":  # a detached one is not deleted, but no longer its customer's
            here = {thing.object["id"] for thing in things}
            methods = {book.id("payment_methods", ref): ref for _, ref in book.every("payment_methods")}
            for id in sorted(methods.keys() - here):
                last = book.show("payment_methods", methods[id])
                things.append(exact.Thing("", last, int(self.moments.now)))
        source = "payment_methods" if name == "customer_payment_methods" else name
        states: dict[exact.Key, list[exact.Object]] = {}
        assert isinstance(book.history, Recorder), "every book of a case has one"
        for key, found in book.history.states.items():
            if key.stream == source:
                states.setdefault(view.key(key.parent, {"id": key.id}), []).extend(found)
        return exact.Truth(
            things,
            stored,
            lambda thing: self._is_due(name, thing),
            lambda thing: self._is_known(book, name, thing),
            states,
        )

    def _is_due(self, name: str, thing: exact.Thing) -> bool:
        """Must the table have it? Not an event that no pull could see in time."""
        if name == "events":
            made = thing.object["created"]
            return any(made + self.late + 10 <= at <= made + 29.9 * DAY for at in self.pulled)
        return True

    def _is_known(self, book: objects.Book, name: str, thing: exact.Thing) -> bool:
        """Must its newest state be known? Beyond the lookback, what changed in silence is not."""
        born = _born(book, name, thing)
        wanted = self.choices
        if born is not None and wanted.start is not None and born < wanted.start:
            return False
        if wanted.evented or name == "events" or born is None:
            return True
        if not wanted.blind and STREAMS[name].told.whole:
            return True
        return born >= self.moments.now - wanted.lookback + DAY


class Inline(concurrent.futures.Executor):
    """Runs everything in the thread of the caller, so that a seed is the same each time."""

    def __init__(self, *_: object) -> None: ...

    def submit(
        self, work: Callable[..., Any], /, *given: Any, **named: Any
    ) -> concurrent.futures.Future[Any]:
        """Do it now."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            future.set_result(work(*given, **named))
        except BaseException as error:
            future.set_exception(error)
        return future


async def _at_once(work: Callable[..., Any], /, *given: Any, **named: Any) -> Any:
    return work(*given, **named)


class _Noting(report.Silent):
    """A screen that keeps its notes."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def note(self, text: str) -> None:
        """Keep it."""
        self.notes.append(text)


def _born(book: objects.Book, name: str, thing: exact.Thing) -> int | None:
    """When the row at the root of a list that is cut by creation time was created; None where nothing is cut."""
    stream = STREAMS[name]
    while stream.parent:
        names = [origin.parents[0].stream for origin in stream.origins if origin.parents]
        above = next((each for each in names if book.locate(each, thing.parent) is not None), "")
        if not above:
            return None
        found = book.get(above, thing.parent)
        if found is None:
            found = next(last for _, last, _ in book.gone(above) if last["id"] == thing.parent)
        thing, stream = exact.Thing(book.parent_of(above, thing.parent), found), STREAMS[above]
    if not stream.created_filter:
        return None
    born = thing.object.get(stream.created_field)
    return born if isinstance(born, int) else 0  # an account that does not tell is in no span


# Cases by seed.


def script(choices: Choices, length: int = 12) -> list[Step]:
    """What happens in the case of a seed."""
    chance = random.Random(f"steps {choices.seed}")
    steps: list[Step] = []
    kinds = {
        "live": 6,
        "pull": 6,
        "wait": 3,
        "gap": 0.5,
        "delay": 0.6,
        "version": 0.5,
        "lose": 0.7,
        "regain": 0.7,
    }
    for _ in range(length):
        (kind,) = chance.choices(list(kinds), list(kinds.values()))
        steps.append(one(kind, chance, choices))
    return steps


def one(kind: str, chance: random.Random, choices: Choices) -> Step:
    """One step of a kind."""
    if kind == "live":
        return kind, {
            "seed": chance.randrange(1 << 30),
            "steps": chance.choice((1, 3, 8, 20)),
            "tick": chance.choice((0.0, 0.0, 0.3, 1.5, 40.0)),
            "account": chance.randrange(4),
        }
    if kind == "wait":
        return kind, {"seconds": chance.choice((0.5, 1.0, 4.0, 7.0, 60.0, 650.0, 4_000.0, 90_000.0))}
    if kind == "gap":
        return "wait", {"seconds": chance.choice((28.9, 29.1, 31.0, 45.0)) * DAY}
    if kind == "delay":
        return kind, {"seconds": chance.choice((0.0, 30.0, 120.0, 500.0))}
    if kind == "version":
        names = [each for each in versions.RELEASES if each >= "2020-03-02"]
        return kind, {"name": chance.choice(["", "", *names[-4:], chance.choice(names)])}
    if kind == "lose":
        return kind, {"stream": chance.choice((*choices.streams, "events"))}
    if kind == "regain":
        return kind, {}
    return kind, _pull(chance, choices)


def _pull(chance: random.Random, choices: Choices) -> dict[str, Any]:
    given: dict[str, Any] = {"seed": chance.randrange(1 << 30)}
    if chance.random() < 0.6:
        given |= {"busy": chance.choice((0.1, 0.3, 0.7)), "drag": chance.choice((0.0, 1.0, 6.0))}
    if chance.random() < 0.15:
        given["kill"] = chance.randrange(1, 30)
    elif chance.random() < 0.2:
        given |= {"fails": chance.randrange(0, 6), "done": chance.random() < 0.5}
    if chance.random() < 0.2:
        given["trouble"] = [_fault(chance, choices)]
    if chance.random() < 0.05:
        given["full"] = True
    return given


def _fault(chance: random.Random, choices: Choices) -> dict[str, Any]:
    stream = STREAMS[chance.choice((*choices.streams, "events"))]
    paths = ["*", f"{stream.path}*", "/v1/events"]
    if stream.retrieve:
        paths.append(stream.retrieve)
    found: dict[str, Any] = {
        "kind": chance.choice(("error", "reset", "truncate", "cut", "html", "unavailable", "lock")),
        "path": chance.choice(paths),
        "probability": chance.choice((0.1, 0.5, 1.0)),
    }
    if found["probability"] == 1.0 and chance.random() < 0.5:
        found["times"] = chance.randrange(1, 12)
    return found


@contextlib.contextmanager
def case(choices: Choices) -> Iterator[Case]:
    """A case that ends with the block."""
    with (
        mock.patch.object(history, "History", Recorder),
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner() as runner,
    ):
        made = Case(choices, Path(folder), runner)
        try:
            yield made
        finally:
            made.close()


def described(choices: Choices) -> str:
    """What the user of a case wants, for people."""
    lines = [
        f"only what events tell: {choices.evented}; lookback {choices.lookback // DAY} days"
        + (", given" if choices.given else "")
        + (f"; since {(NOW - choices.start) // DAY} days before" if choices.start is not None else "")
        + (", nothing older" if choices.exclude else "")
        + (f"; {choices.accounts} connected accounts" if choices.accounts else "")
        + ("; no events" if choices.blind else "")
        + (f"; the user's clock is {choices.skew:+.0f} s off" if choices.skew else "")
        + ("; commits at once" if choices.prompt else "")
        + ("; looks at the events all the time" if not choices.between else "")
    ]
    for name, view in choices.views.items():
        where = choices.choices[name].where
        wants = [
            "deletes: hard" if view.hard else "",
            "history" if view.history else "",
            f"where {where.field} {where.op} {where.value}"
            if isinstance(where, conditions.Condition)
            else "",
            "not all columns" if view.columns is not None else "",
            f"hashed {', '.join(sorted(view.hashed))}" if view.hashed else "",
        ]
        lines.append(f"{name}: {'; '.join(filter(None, wants)) or 'as it is'}")
    return "\n".join(lines)


def outcome(choices: Choices, steps: Sequence[Step]) -> list[str]:
    """What is wrong after these steps, and after quiet has returned."""
    with case(choices) as made:
        for name, given in steps:
            made.step(name, **given)
        return made.settle() + made.differences()


def least(choices: Choices, steps: Sequence[Step]) -> list[Step]:
    """As few of the steps as still go wrong."""
    left = list(steps)
    size = max(1, len(left) // 2)
    while size:
        start = 0
        while start < len(left):
            fewer = left[:start] + left[start + size :]
            if outcome(choices, fewer):
                left = fewer
            else:
                start += size
        size //= 2
    return left
