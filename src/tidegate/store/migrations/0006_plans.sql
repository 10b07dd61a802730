-- What pushes would write, kept until a person approves it and a run has done that. Times and documents are as in 0001.

-- `body` is what was planned as a whole, `wish` what was asked for; `digest` is the SHA-256 of all its rows, so that
-- what is done is what was shown. A plan that is approved names the run that does it.
CREATE TABLE plans (
    id TEXT PRIMARY KEY,
    push TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    wish TEXT NOT NULL,
    body TEXT NOT NULL DEFAULT '{}',
    digest TEXT NOT NULL DEFAULT '',
    phase TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT '',
    made_by TEXT NOT NULL,
    begun_at DOUBLE PRECISION NOT NULL,
    seen_at DOUBLE PRECISION NOT NULL,
    planned_at DOUBLE PRECISION,
    approved_by TEXT NOT NULL DEFAULT '',
    approved_at DOUBLE PRECISION,
    run TEXT NOT NULL DEFAULT '',
    applied_at DOUBLE PRECISION
);
CREATE INDEX plans_by_push ON plans (push, begun_at);
-- Of a push one plan is being made at a time, and one is being done.
CREATE UNIQUE INDEX plans_alive ON plans (push) WHERE state IN ('making', 'approved');

-- The rows of a plan in their order.
CREATE TABLE plan_rows (
    plan TEXT NOT NULL,
    number BIGINT NOT NULL,
    verdict TEXT NOT NULL,
    key TEXT NOT NULL,
    entry TEXT NOT NULL,
    PRIMARY KEY (plan, number)
);
CREATE INDEX plan_rows_by_verdict ON plan_rows (plan, verdict, number);
CREATE INDEX plan_rows_by_key ON plan_rows (plan, key);

-- Everything that waits for a person stands in one list, the oldest first.
CREATE INDEX holds_by_time ON holds (opened_at, push, key);
CREATE INDEX failed_records_by_begin ON failed_records (first_at, pipeline, account, source_id);
