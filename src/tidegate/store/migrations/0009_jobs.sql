-- What is done once in the background, and calls that are named by a key. Times and documents are as in 0001.

-- `wish` is what was asked for, `result` what came of it; `shown` is how far it is, and `stop` who ended it.
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    what TEXT NOT NULL,
    state TEXT NOT NULL,
    wish TEXT NOT NULL,
    result TEXT NOT NULL DEFAULT 'null',
    shown TEXT NOT NULL DEFAULT '{}',
    error TEXT NOT NULL DEFAULT '',
    made_by TEXT NOT NULL,
    stop TEXT NOT NULL DEFAULT '',
    begun_at DOUBLE PRECISION NOT NULL,
    seen_at DOUBLE PRECISION NOT NULL,
    ended_at DOUBLE PRECISION
);
CREATE INDEX jobs_by_time ON jobs (begun_at, id);
-- The same is done by one at a time.
CREATE UNIQUE INDEX jobs_alive ON jobs (kind, what) WHERE state = 'running';

-- What a job found, line by line, the weightiest first.
CREATE TABLE job_rows (
    job TEXT NOT NULL,
    number BIGINT NOT NULL,
    wrong INTEGER NOT NULL,
    entry TEXT NOT NULL,
    PRIMARY KEY (job, number)
);

-- `asked` is the SHA-256 of a call, `made` what its steps came to so far, `answer` what it was answered; its ids
-- follow from `seed`. Keys from before this file name calls that nobody can compare any more: they are used up.
CREATE TABLE keyed (
    asker TEXT NOT NULL,
    key TEXT NOT NULL,
    asked TEXT NOT NULL,
    seed TEXT NOT NULL,
    state TEXT NOT NULL,
    holder TEXT NOT NULL DEFAULT '',
    made TEXT NOT NULL DEFAULT '{}',
    status INTEGER NOT NULL DEFAULT 0,
    headers TEXT NOT NULL DEFAULT '{}',
    answer TEXT,
    at DOUBLE PRECISION NOT NULL,
    seen_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (asker, key)
);
CREATE INDEX keyed_by_time ON keyed (at);
INSERT INTO keyed (asker, key, asked, seed, state, at, seen_at)
    SELECT CASE WHEN token LIKE 'session:%' THEN token ELSE 'token:' || token END, key, asked, '', 'done', at, at
    FROM calls;
DROP TABLE calls;
