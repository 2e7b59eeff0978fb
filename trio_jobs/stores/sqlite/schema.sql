-- The file, version by version: each script brings it from the version before to its own.
-- Everything is named trio_jobs_…, so a program may keep its own tables in the same file.

-- version: 1

CREATE TABLE trio_jobs_meta (
    name TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- Times are seconds since 1970 on the file's clock, see clock.py. JSON is text.
CREATE TABLE trio_jobs_job (
    number INTEGER PRIMARY KEY,           -- in the order of their coming
    id TEXT NOT NULL UNIQUE,
    handler TEXT NOT NULL,
    args TEXT NOT NULL,
    options TEXT NOT NULL,                -- but for priority and owner
    priority INTEGER NOT NULL,
    owner TEXT,
    key TEXT,
    parent TEXT,                          -- the id of the job that spawned it
    state TEXT NOT NULL,
    reason TEXT,
    message TEXT,
    error TEXT,
    result TEXT,
    saved TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    spent INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL,            -- how many the retry rule allows, for the sweep
    appended INTEGER NOT NULL DEFAULT 0,  -- events that the present attempt has appended
    seq INTEGER NOT NULL DEFAULT 0,       -- the newest event
    kept INTEGER NOT NULL DEFAULT 0,      -- tokens and progress in the log,
    bytes INTEGER NOT NULL DEFAULT 0,     -- and their size
    created REAL NOT NULL,
    due REAL NOT NULL,
    expires REAL,                         -- the end of the queue timeout, until the first start
    started REAL,
    finished REAL,
    lease REAL,                           -- when it lapses; of a running job without one, never
    cancel_requested REAL,
    cancel_message TEXT,
    cancel_grace REAL
) STRICT;

CREATE UNIQUE INDEX trio_jobs_by_key ON trio_jobs_job (key, coalesce(owner, x'')) WHERE key IS NOT NULL;
CREATE INDEX trio_jobs_waiting ON trio_jobs_job (handler, priority, due, number)
    WHERE state IN ('queued', 'retrying');
CREATE INDEX trio_jobs_expiring ON trio_jobs_job (expires) WHERE expires IS NOT NULL;
CREATE INDEX trio_jobs_leased ON trio_jobs_job (lease) WHERE lease IS NOT NULL;
CREATE INDEX trio_jobs_children ON trio_jobs_job (parent) WHERE parent IS NOT NULL;
CREATE INDEX trio_jobs_finished ON trio_jobs_job (finished, number) WHERE finished IS NOT NULL;
CREATE INDEX trio_jobs_cancelling ON trio_jobs_job (number)
    WHERE state = 'running' AND cancel_requested IS NOT NULL;

-- A row holds `count` events that were appended together, as an array of what they carry. Its id is
-- job << 32 | seq of its last event, so that a log lies together and is read by cursor, with no index but this.
CREATE TABLE trio_jobs_event (
    id INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    data TEXT NOT NULL
) STRICT;

-- How many jobs are in each state: counted when they move, as counting a million of them takes a while.
CREATE TABLE trio_jobs_total (
    state TEXT PRIMARY KEY,
    jobs INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO trio_jobs_total VALUES
    ('queued', 0), ('running', 0), ('retrying', 0), ('completed', 0), ('failed', 0), ('cancelled', 0);

CREATE TRIGGER trio_jobs_came AFTER INSERT ON trio_jobs_job BEGIN
    UPDATE trio_jobs_total SET jobs = jobs + 1 WHERE state = new.state;
END;
CREATE TRIGGER trio_jobs_moved AFTER UPDATE OF state ON trio_jobs_job BEGIN
    UPDATE trio_jobs_total SET jobs = jobs + (state = new.state) - (state = old.state)
        WHERE state IN (old.state, new.state);
END;
CREATE TRIGGER trio_jobs_went AFTER DELETE ON trio_jobs_job BEGIN
    UPDATE trio_jobs_total SET jobs = jobs - 1 WHERE state = old.state;
END;
