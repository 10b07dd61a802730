-- Times are unix seconds of the database's own clock, with a fraction. Documents are JSON as text.

-- What is due: one row per flow. `fired_at` is the tick that was fired last; `waiting` says why it is due and has
-- no run, `options` what that run is to do; after `failures` that may pass it is due again at `retry_at`.
CREATE TABLE ticks (
    flow TEXT PRIMARY KEY,
    schedule TEXT NOT NULL,
    since DOUBLE PRECISION NOT NULL,
    next_at DOUBLE PRECISION,
    fired_at DOUBLE PRECISION,
    waiting TEXT NOT NULL DEFAULT '',
    options TEXT NOT NULL DEFAULT '{}',
    retry_at DOUBLE PRECISION,
    failures INTEGER NOT NULL DEFAULT 0
);

-- One row per run of a flow, of which one at most is queued or running.
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    flow TEXT NOT NULL,
    state TEXT NOT NULL,
    cause TEXT NOT NULL,
    options TEXT NOT NULL DEFAULT '{}',
    due_at DOUBLE PRECISION NOT NULL,
    queued_at DOUBLE PRECISION NOT NULL,
    started_at DOUBLE PRECISION,
    finished_at DOUBLE PRECISION,
    worker TEXT NOT NULL DEFAULT '',
    seen_at DOUBLE PRECISION,
    attempts INTEGER NOT NULL DEFAULT 0,
    cancelled_by TEXT NOT NULL DEFAULT '',
    claim TEXT NOT NULL DEFAULT '{}',
    progress TEXT NOT NULL DEFAULT '{}',
    totals TEXT NOT NULL DEFAULT '{}',
    error TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX runs_alive ON runs (flow) WHERE state IN ('queued', 'running');
CREATE INDEX runs_by_flow ON runs (flow, queued_at, id);
CREATE INDEX runs_by_flow_and_state ON runs (flow, state, queued_at, id);
CREATE INDEX runs_by_state ON runs (state, queued_at, id);
CREATE INDEX runs_by_time ON runs (queued_at, id);

-- The loading report: what each table of a run got.
CREATE TABLE run_tables (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    stream TEXT NOT NULL,
    account TEXT NOT NULL,
    status TEXT NOT NULL,
    report TEXT NOT NULL,
    PRIMARY KEY (run, stream, account)
);

-- What happened, line by line.
CREATE TABLE run_lines (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    writer TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    level TEXT NOT NULL,
    stream TEXT NOT NULL DEFAULT '',
    account TEXT NOT NULL DEFAULT '',
    text TEXT NOT NULL,
    PRIMARY KEY (run, writer, number)
);

-- The parts of a run that several workers share: some accounts each; `lost` workers fell silent with it.
CREATE TABLE slices (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    accounts TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    worker TEXT NOT NULL DEFAULT '',
    seen_at DOUBLE PRECISION,
    not_before DOUBLE PRECISION NOT NULL DEFAULT 0,
    lost INTEGER NOT NULL DEFAULT 0,
    result TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (run, number)
);
CREATE INDEX slices_open ON slices (run, number) WHERE state IN ('queued', 'running');

-- Secrets, encrypted.
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    changed_at DOUBLE PRECISION NOT NULL
);

-- Tokens of those who ask over HTTP: their SHA-256, and the characters that they begin with.
CREATE TABLE tokens (
    name TEXT PRIMARY KEY,
    start TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    scope TEXT NOT NULL,
    flows TEXT NOT NULL,
    made_at DOUBLE PRECISION NOT NULL,
    used_at DOUBLE PRECISION,
    expires_at DOUBLE PRECISION
);
CREATE INDEX tokens_by_start ON tokens (start);

-- What was asked for with a key, so that it may be asked again: its run, or with `waits` the one that follows it.
CREATE TABLE calls (
    token TEXT NOT NULL,
    key TEXT NOT NULL,
    asked TEXT NOT NULL,
    run TEXT NOT NULL,
    waits INTEGER NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (token, key)
);
CREATE INDEX calls_by_time ON calls (at);

-- A copy of what the warehouses' states say of their tables, for those who only look.
CREATE TABLE positions (
    flow TEXT NOT NULL,
    stream TEXT NOT NULL,
    account TEXT NOT NULL,
    position TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (flow, stream, account)
);

-- The endpoints that Stripe sends events to; their signing secrets stand in `secrets`.
CREATE TABLE endpoints (
    connection TEXT NOT NULL,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    url TEXT NOT NULL,
    version TEXT NOT NULL,
    made_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (connection, scope)
);

-- Events as Stripe delivered them, each once.
CREATE TABLE deliveries (
    number {serial},
    connection TEXT NOT NULL,
    account TEXT NOT NULL,
    event TEXT NOT NULL,
    type TEXT NOT NULL,
    created BIGINT NOT NULL,
    received_at DOUBLE PRECISION NOT NULL,
    payload TEXT NOT NULL
);
CREATE UNIQUE INDEX deliveries_once ON deliveries (connection, account, event);
CREATE INDEX deliveries_by_number ON deliveries (connection, number);
CREATE INDEX deliveries_by_time ON deliveries (received_at);
CREATE INDEX deliveries_by_connection_and_time ON deliveries (connection, received_at);

-- Up to which delivery a flow has committed everything.
CREATE TABLE hearings (
    flow TEXT PRIMARY KEY,
    connection TEXT NOT NULL,
    number BIGINT NOT NULL
);
CREATE INDEX hearings_by_connection ON hearings (connection, number);

-- What needs a person, once per matter; told again only when it came back.
CREATE TABLE alerts (
    matter TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    flow TEXT NOT NULL,
    text TEXT NOT NULL,
    opened_at DOUBLE PRECISION NOT NULL,
    seen_at DOUBLE PRECISION NOT NULL,
    resolved_at DOUBLE PRECISION,
    told TEXT NOT NULL DEFAULT '{}'
);

-- The shared rate budget of an account, or of one of its endpoints: what Stripe refused there.
CREATE TABLE budgets (
    name TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    paused_until DOUBLE PRECISION NOT NULL DEFAULT 0,
    factor DOUBLE PRECISION NOT NULL DEFAULT 1,
    refused_at DOUBLE PRECISION NOT NULL DEFAULT 0,
    touched_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX budgets_by_account ON budgets (account);

-- Who may send how many requests a second of a budget, and until when.
CREATE TABLE shares (
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    holder TEXT NOT NULL,
    rate DOUBLE PRECISION NOT NULL,
    wanted DOUBLE PRECISION NOT NULL,
    until DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (account, name, holder)
);

-- How long a request of an account has waited for its rate budget, by process; nothing where none waits for long.
CREATE TABLE waits (
    account TEXT NOT NULL,
    holder TEXT NOT NULL,
    seconds DOUBLE PRECISION NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (account, holder)
);

-- Who does what of which there may be one: a scheduler, a follower of a flow.
CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until DOUBLE PRECISION NOT NULL
);
