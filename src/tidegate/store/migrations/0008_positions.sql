-- What lists of tables ask of a position, beside the document that says all of it: so that a database counts and
-- sorts a million of them. `status` is NULL where the document is of another version and cannot be read.
ALTER TABLE positions ADD COLUMN status TEXT;
ALTER TABLE positions ADD COLUMN complete INTEGER NOT NULL DEFAULT 0;
ALTER TABLE positions ADD COLUMN as_of DOUBLE PRECISION;
ALTER TABLE positions ADD COLUMN staleness DOUBLE PRECISION;
ALTER TABLE positions ADD COLUMN stored BIGINT NOT NULL DEFAULT 0;
ALTER TABLE positions ADD COLUMN deleted BIGINT NOT NULL DEFAULT 0;

UPDATE positions SET
    status = CAST(position AS {json}) ->> 'status',
    complete = CASE WHEN position LIKE '%"complete":true%' THEN 1 ELSE 0 END,
    as_of = {moment CAST(position AS {json}) ->> 'as_of'},
    staleness = CAST(CAST(position AS {json}) ->> 'staleness_s' AS DOUBLE PRECISION),
    stored = coalesce(CAST(CAST(position AS {json}) ->> 'rows' AS BIGINT), 0),
    deleted = coalesce(CAST(CAST(position AS {json}) ->> 'deleted' AS BIGINT), 0);

-- Where they stand is told from this alone: in it those that differ in nothing but their age stand by it.
CREATE INDEX positions_standing ON positions
    (flow, stream, status, complete, staleness, as_of, account, at, stored, deleted);
