-- Who may sign in to the pages. Times and documents are as in 0001.

-- One row per member: `name` is an e-mail address in lower case, `password` an Argon2id hash or empty, `issuer` and
-- `subject` are who that is for an OpenID provider.
CREATE TABLE members (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    password TEXT NOT NULL DEFAULT '',
    issuer TEXT NOT NULL DEFAULT '',
    subject TEXT NOT NULL DEFAULT '',
    disabled INTEGER NOT NULL DEFAULT 0,
    made_at DOUBLE PRECISION NOT NULL,
    made_by TEXT NOT NULL,
    signed_in_at DOUBLE PRECISION
);
CREATE UNIQUE INDEX members_by_subject ON members (issuer, subject) WHERE subject <> '';

-- One row per browser in which a member is signed in: the SHA-256 of what its cookie holds. `id` names it on pages.
CREATE TABLE member_sessions (
    digest TEXT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    member TEXT NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    made_at DOUBLE PRECISION NOT NULL,
    seen_at DOUBLE PRECISION NOT NULL,
    address TEXT NOT NULL,
    agent TEXT NOT NULL
);
CREATE INDEX member_sessions_by_member ON member_sessions (member, made_at);
CREATE INDEX member_sessions_by_time ON member_sessions (made_at);

-- Links that sign in once: their SHA-256. One without a member makes the first admin.
CREATE TABLE member_links (
    digest TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    member TEXT REFERENCES members (id) ON DELETE CASCADE,
    made_at DOUBLE PRECISION NOT NULL,
    made_by TEXT NOT NULL,
    expires_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX member_links_by_member ON member_links (member);

-- How many attempts to sign in somebody has made, or some address: a bucket that leaks. Keys are SHA-256.
CREATE TABLE sign_in_attempts (
    bucket TEXT PRIMARY KEY,
    level DOUBLE PRECISION NOT NULL,
    at DOUBLE PRECISION NOT NULL
);
CREATE INDEX sign_in_attempts_by_time ON sign_in_attempts (at);

-- Who went to an OpenID provider and has not come back yet; `state` and `browser` are SHA-256.
CREATE TABLE sign_in_journeys (
    state TEXT PRIMARY KEY,
    browser TEXT NOT NULL,
    nonce TEXT NOT NULL,
    verifier TEXT NOT NULL,
    next TEXT NOT NULL,
    made_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX sign_in_journeys_by_time ON sign_in_journeys (made_at);
