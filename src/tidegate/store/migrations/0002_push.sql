-- What is written to Stripe, and what of it is known. Times and documents are as in 0001.

-- Who writes for a push. `number` grows whenever it is taken anew, so that whoever had it before is told; rows stay
-- for ever. `account` and `livemode` are where the push wrote first, and no other place may follow.
CREATE TABLE fences (
    push TEXT PRIMARY KEY,
    number BIGINT NOT NULL,
    holder TEXT NOT NULL,
    until DOUBLE PRECISION NOT NULL,
    account TEXT NOT NULL DEFAULT '',
    livemode INTEGER NOT NULL DEFAULT 0
);

-- One row per request that changes something at Stripe, committed with its exact bytes before they are sent.
-- `target` is empty while it is not known what a create made. `hash`, `fields` and `version` are what is acknowledged
-- of the row with it; where `hash` is empty the row is gone from its source.
CREATE TABLE operations (
    id TEXT PRIMARY KEY,
    push TEXT NOT NULL,
    run TEXT NOT NULL,
    key TEXT NOT NULL,
    account TEXT NOT NULL,
    livemode INTEGER NOT NULL,
    object TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    body TEXT NOT NULL,
    api_version TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    hash TEXT NOT NULL,
    fields TEXT NOT NULL,
    version TEXT NOT NULL,
    claims TEXT NOT NULL,
    fence BIGINT NOT NULL,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    created_at DOUBLE PRECISION NOT NULL,
    first_sent_at DOUBLE PRECISION,
    last_sent_at DOUBLE PRECISION,
    decided_at DOUBLE PRECISION,
    response INTEGER NOT NULL DEFAULT 0,
    request_id TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT '',
    before TEXT,
    after TEXT
);
-- One at a time: of a row, and of an object of Stripe, whatever push it is of.
CREATE UNIQUE INDEX operations_open_row ON operations (push, key) WHERE status IN ('intent', 'sent', 'unknown');
CREATE UNIQUE INDEX operations_open_target ON operations (account, livemode, object, target)
    WHERE status IN ('intent', 'sent', 'unknown') AND target <> '';
CREATE INDEX operations_open ON operations (created_at, id) WHERE status IN ('intent', 'sent', 'unknown');
CREATE INDEX operations_by_row ON operations (push, key, created_at, id);
CREATE INDEX operations_by_target ON operations (account, livemode, object, target, decided_at);
CREATE INDEX operations_by_fence ON operations (push, fence);
CREATE INDEX operations_by_run ON operations (push, run, created_at, id);
CREATE INDEX operations_replacing ON operations (push, id) WHERE action IN ('replace', 'retire');
CREATE INDEX operations_by_decision ON operations (decided_at) WHERE status IN ('done', 'refused', 'void');

-- Which object of Stripe a row is; `created`: by us. `gone` is empty, or 'deleted' by us, or 'missing': somebody else
-- deleted it, and no row makes it anew.
CREATE TABLE links (
    push TEXT NOT NULL,
    key TEXT NOT NULL,
    account TEXT NOT NULL,
    livemode INTEGER NOT NULL,
    object TEXT NOT NULL,
    target TEXT NOT NULL,
    created INTEGER NOT NULL,
    operation TEXT NOT NULL,
    linked_at DOUBLE PRECISION NOT NULL,
    gone TEXT NOT NULL DEFAULT '',
    gone_at DOUBLE PRECISION,
    PRIMARY KEY (push, key)
);
CREATE UNIQUE INDEX links_alive ON links (push, account, livemode, object, target) WHERE gone = '';
CREATE INDEX links_by_target ON links (account, livemode, object, target);

-- What of a row stands in Stripe as far as it was acknowledged, and by which operation; none where Stripe had it.
CREATE TABLE pushed (
    push TEXT NOT NULL,
    key TEXT NOT NULL,
    hash TEXT NOT NULL,
    fields TEXT NOT NULL,
    version TEXT NOT NULL,
    operation TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (push, key)
);

-- Rows that are not written for now: tried again at `next_at`, or left until a person says what to do with them.
CREATE TABLE holds (
    push TEXT NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    text TEXT NOT NULL,
    field TEXT NOT NULL,
    code TEXT NOT NULL,
    hash TEXT NOT NULL,
    version TEXT NOT NULL,
    candidates TEXT NOT NULL,
    choice TEXT NOT NULL DEFAULT '',
    operation TEXT NOT NULL,
    failures INTEGER NOT NULL,
    opening TEXT NOT NULL,
    opened_at DOUBLE PRECISION NOT NULL,
    seen_at DOUBLE PRECISION NOT NULL,
    next_at DOUBLE PRECISION,
    PRIMARY KEY (push, key)
);

-- Values of which Stripe may hold one object only because we see to it, as SHA-256, over all pushes.
CREATE TABLE claims (
    digest TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    livemode INTEGER NOT NULL,
    object TEXT NOT NULL,
    field TEXT NOT NULL,
    push TEXT NOT NULL,
    key TEXT NOT NULL,
    operation TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL
);
CREATE INDEX claims_by_row ON claims (push, key);
CREATE INDEX claims_by_operation ON claims (operation);

-- What became of a row beside its operations: held, linked, decided on by a person.
CREATE TABLE row_notes (
    id TEXT PRIMARY KEY,
    push TEXT NOT NULL,
    key TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    what TEXT NOT NULL,
    text TEXT NOT NULL,
    operation TEXT NOT NULL
);
CREATE INDEX row_notes_by_row ON row_notes (push, key, at, id);
CREATE INDEX row_notes_by_time ON row_notes (at);
