-- What pipelines could not make of rows. Times and documents are as in 0001.

-- One row per row of a stream that failed the last time it was read: `why` names no values, `said` and `payload` may.
-- `shape` stands for the filter, mapping and function that failed, `version` for the state of the row.
CREATE TABLE failed_records (
    pipeline TEXT NOT NULL,
    account TEXT NOT NULL,
    source_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    shape TEXT NOT NULL,
    property TEXT NOT NULL,
    why TEXT NOT NULL,
    said TEXT NOT NULL,
    line INTEGER,
    payload TEXT NOT NULL,
    run TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 1,
    first_at DOUBLE PRECISION NOT NULL,
    last_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (pipeline, account, source_id)
);
CREATE INDEX failed_records_by_time ON failed_records (pipeline, last_at, account, source_id);
CREATE INDEX failed_records_by_object ON failed_records (source_id);

-- Every definition that a pipeline ran with, numbered from 1: its filter, mapping, function with its text, and cases.
CREATE TABLE definitions (
    pipeline TEXT NOT NULL,
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    body TEXT NOT NULL,
    first_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (pipeline, number)
);
