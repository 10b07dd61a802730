-- Whose tokens are whose. Times and documents are as in 0001.

-- A token that a member made ends with the member, and may no more than the member may now; one that was made on the
-- command line has no maker.
ALTER TABLE tokens ADD COLUMN maker TEXT REFERENCES members (id) ON DELETE CASCADE;
CREATE INDEX tokens_by_maker ON tokens (maker);
UPDATE tokens SET maker = (
    SELECT members.id FROM trail JOIN members ON members.name = trail.who
    WHERE trail.via = 'session' AND trail.number = (
        SELECT max(number) FROM trail AS made WHERE made.action = 'create' AND made.what = 'tokens.' || tokens.name
    )
);
