-- What is configured in the browser and by the API, and who changed what. Times and documents are as in 0001.

-- One row, which counts the changes of objects and secrets, so that whoever runs notices them.
CREATE TABLE configuration (
    id INTEGER PRIMARY KEY,
    generation BIGINT NOT NULL
);
INSERT INTO configuration (id, generation) VALUES (1, 0);

-- Parts of the configuration as they would be written in the file; `version` is the generation of their last change.
-- Secrets stand in them as `${secret:NAME}`.
CREATE TABLE objects (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    version BIGINT NOT NULL,
    changed_at DOUBLE PRECISION NOT NULL,
    changed_by TEXT NOT NULL,
    PRIMARY KEY (kind, name)
);

-- Who changed what: `was` and `became` are documents without secrets; `id` keeps a change that is done again from
-- being told twice.
CREATE TABLE trail (
    number {serial},
    id TEXT NOT NULL UNIQUE,
    at DOUBLE PRECISION NOT NULL,
    who TEXT NOT NULL,
    via TEXT NOT NULL,
    action TEXT NOT NULL,
    what TEXT NOT NULL,
    was TEXT,
    became TEXT
);
CREATE INDEX trail_by_time ON trail (at);
CREATE INDEX trail_by_what ON trail (what, number);
