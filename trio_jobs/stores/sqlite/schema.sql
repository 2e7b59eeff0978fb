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

-- version: 2

ALTER TABLE trio_jobs_job ADD COLUMN metadata TEXT;  -- if there is any; as options, from `submit`
ALTER TABLE trio_jobs_job ADD COLUMN given TEXT;     -- of a job with a key: a digest of what its submitter gave
ALTER TABLE trio_jobs_job ADD COLUMN progress TEXT;  -- the last

-- Records are objects now, without what is as usual. Of what is no JSON, nothing can be made.
UPDATE trio_jobs_job SET
    metadata = CASE options -> '$.metadata' WHEN '{}' THEN NULL ELSE options -> '$.metadata' END,
    options = json_patch('{}', json_object(  -- which leaves out what is null
        'timeouts', json_object(
            'run', options -> '$.timeouts[0]', 'queue', options -> '$.timeouts[1]',
            'first_token', options -> '$.timeouts[2]', 'idle', options -> '$.timeouts[3]'
        ),
        'retry', json_object(
            'attempts', options -> '$.retry[0]', 'initial', options -> '$.retry[1]',
            'factor', json(
                CASE json_type(options, '$.retry[2]') WHEN 'null' THEN '"inf"' ELSE options -> '$.retry[2]' END
            ), 'maximum', options -> '$.retry[3]',
            'jitter', options -> '$.retry[4]', 'own', options -> '$.retry[5]'
        ),
        'delay', options -> '$.delay', 'run_at', options -> '$.run_at', 'tags', options -> '$.tags',
        'when_unread', options -> '$.when_unread', 'linger', options -> '$.linger'
    ))
WHERE json_valid(options) AND json_type(options, '$.retry') = 'array';

-- What was saved counts among what is kept of a log.
UPDATE trio_jobs_job AS job SET (kept, bytes) = (
    SELECT job.kept + coalesce(sum(count), 0), job.bytes + coalesce(sum(octet_length(data)), 0)
    FROM trio_jobs_event WHERE kind = 'saved' AND id BETWEEN job.number << 32 AND (job.number + 1 << 32) - 1
) WHERE saved IS NOT NULL;

-- Lists: each filter has an index in which what matches lies in the order of its coming.
CREATE INDEX trio_jobs_by_state ON trio_jobs_job (state);
CREATE INDEX trio_jobs_by_handler ON trio_jobs_job (handler);
CREATE INDEX trio_jobs_by_owner ON trio_jobs_job (owner, state) WHERE owner IS NOT NULL;
CREATE TABLE trio_jobs_tag (
    job INTEGER NOT NULL,                 -- its number
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (job, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX trio_jobs_by_tag ON trio_jobs_tag (name, value, job);
INSERT OR IGNORE INTO trio_jobs_tag SELECT number, tag.key, tag.value FROM trio_jobs_job AS job, json_each(
    CASE WHEN json_valid(options) THEN options ELSE '{}' END, '$.tags'
) AS tag WHERE tag.type = 'text';

-- How many jobs are in each state: of all, of a handler and of an owner.
DROP TRIGGER trio_jobs_came;
DROP TRIGGER trio_jobs_moved;
DROP TRIGGER trio_jobs_went;
DROP TABLE trio_jobs_total;
CREATE TABLE trio_jobs_total (
    what TEXT NOT NULL,                   -- all, handler or owner
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    PRIMARY KEY (what, name, state)
) STRICT, WITHOUT ROWID;
INSERT INTO trio_jobs_total SELECT 'all', '', state, count(*) FROM trio_jobs_job GROUP BY state
    UNION ALL SELECT 'handler', handler, state, count(*) FROM trio_jobs_job GROUP BY handler, state
    UNION ALL SELECT 'owner', owner, state, count(*) FROM trio_jobs_job
        WHERE owner IS NOT NULL GROUP BY owner, state;
CREATE TRIGGER trio_jobs_came AFTER INSERT ON trio_jobs_job BEGIN
    INSERT INTO trio_jobs_total VALUES ('all', '', new.state, 1), ('handler', new.handler, new.state, 1)
        ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER trio_jobs_moved AFTER UPDATE OF state ON trio_jobs_job WHEN old.state <> new.state BEGIN
    UPDATE trio_jobs_total SET jobs = jobs - 1 WHERE what = 'all' AND name = '' AND state = old.state;
    UPDATE trio_jobs_total SET jobs = jobs - 1
        WHERE what = 'handler' AND name = old.handler AND state = old.state;
    INSERT INTO trio_jobs_total VALUES ('all', '', new.state, 1), ('handler', new.handler, new.state, 1)
        ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER trio_jobs_went AFTER DELETE ON trio_jobs_job BEGIN
    UPDATE trio_jobs_total SET jobs = jobs - 1 WHERE what = 'all' AND name = '' AND state = old.state;
    UPDATE trio_jobs_total SET jobs = jobs - 1
        WHERE what = 'handler' AND name = old.handler AND state = old.state;
    DELETE FROM trio_jobs_tag WHERE job = old.number;
    -- No number is given twice, so that a page goes on behind the last job also when that is gone.
    REPLACE INTO trio_jobs_meta SELECT 'last_number', old.number WHERE old.number > max(
        coalesce((SELECT max(number) FROM trio_jobs_job), 0),
        coalesce((SELECT value FROM trio_jobs_meta WHERE name = 'last_number'), 0)
    );
END;
CREATE TRIGGER trio_jobs_came_owned AFTER INSERT ON trio_jobs_job WHEN new.owner IS NOT NULL BEGIN
    INSERT INTO trio_jobs_total VALUES ('owner', new.owner, new.state, 1)
        ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER trio_jobs_moved_owned AFTER UPDATE OF state ON trio_jobs_job
WHEN old.owner IS NOT NULL AND old.state <> new.state BEGIN
    UPDATE trio_jobs_total SET jobs = jobs - 1
        WHERE what = 'owner' AND name = old.owner AND state = old.state;
    DELETE FROM trio_jobs_total
        WHERE what = 'owner' AND name = old.owner AND state = old.state AND jobs = 0;
    INSERT INTO trio_jobs_total VALUES ('owner', new.owner, new.state, 1)
        ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER trio_jobs_went_owned AFTER DELETE ON trio_jobs_job WHEN old.owner IS NOT NULL BEGIN
    UPDATE trio_jobs_total SET jobs = jobs - 1
        WHERE what = 'owner' AND name = old.owner AND state = old.state;
    DELETE FROM trio_jobs_total
        WHERE what = 'owner' AND name = old.owner AND state = old.state AND jobs = 0;
END;

-- What may claim, submit and sweep, at least: a process that runs on while its file is brought up has to see it.
INSERT INTO trio_jobs_meta VALUES ('compat', 2);

-- version: 3

-- What is sent to a job. Numbers of events are 0 where there is none.
ALTER TABLE trio_jobs_job ADD COLUMN consumed INTEGER NOT NULL DEFAULT 0;    -- the last input that is consumed
ALTER TABLE trio_jobs_job ADD COLUMN received INTEGER NOT NULL DEFAULT 0;    -- the last that the attempt before got
ALTER TABLE trio_jobs_job ADD COLUMN last_input INTEGER NOT NULL DEFAULT 0;  -- the newest, or the end of the inputs
ALTER TABLE trio_jobs_job ADD COLUMN inputs_ended INTEGER;                   -- the event that says so, if there is one
ALTER TABLE trio_jobs_job ADD COLUMN unconsumed INTEGER NOT NULL DEFAULT 0;  -- how many inputs,
ALTER TABLE trio_jobs_job ADD COLUMN input_bytes INTEGER NOT NULL DEFAULT 0; -- and their size
ALTER TABLE trio_jobs_job ADD COLUMN waited TEXT;                            -- what ended the wait for an input: as in `Claim`
ALTER TABLE trio_jobs_job ADD COLUMN repeated TEXT;                          -- the reason of the end of the attempt before,
ALTER TABLE trio_jobs_job ADD COLUMN repeats INTEGER NOT NULL DEFAULT 0;     -- and how many went before it
ALTER TABLE trio_jobs_job ADD COLUMN steps INTEGER NOT NULL DEFAULT 0;       -- how many are kept,
ALTER TABLE trio_jobs_job ADD COLUMN step_bytes INTEGER NOT NULL DEFAULT 0;  -- and their size
ALTER TABLE trio_jobs_event ADD COLUMN received INTEGER;                     -- as in `Event`

CREATE INDEX trio_jobs_inputs ON trio_jobs_event (id) WHERE kind IN ('input', 'inputs_ended');

-- The ids under which inputs were sent, as long as these are in the log.
CREATE TABLE trio_jobs_input (
    job INTEGER NOT NULL,                 -- its number
    id TEXT NOT NULL,
    digest BLOB NOT NULL,                 -- of the values
    seq INTEGER NOT NULL,                 -- the last of the events
    PRIMARY KEY (job, id)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER trio_jobs_went_inputs AFTER DELETE ON trio_jobs_job BEGIN
    DELETE FROM trio_jobs_input WHERE job = old.number;
END;

-- Jobs that wait for an input are counted as 'retrying', and once more apart, as the bound of the queue does not
-- count them.
CREATE TRIGGER trio_jobs_awaits AFTER UPDATE OF state ON trio_jobs_job
WHEN new.state = 'retrying' AND new.reason = 'awaiting_input' AND old.state <> 'retrying' BEGIN
    INSERT INTO trio_jobs_total VALUES ('all', '', 'awaiting_input', 1) ON CONFLICT DO UPDATE SET jobs = jobs + 1;
    INSERT INTO trio_jobs_total SELECT 'owner', new.owner, 'awaiting_input', 1 WHERE new.owner IS NOT NULL
        ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER trio_jobs_awaited AFTER UPDATE OF state ON trio_jobs_job
WHEN old.state = 'retrying' AND old.reason = 'awaiting_input' AND new.state <> 'retrying' BEGIN
    UPDATE trio_jobs_total SET jobs = jobs - 1 WHERE what = 'all' AND name = '' AND state = 'awaiting_input';
    UPDATE trio_jobs_total SET jobs = jobs - 1
        WHERE what = 'owner' AND name = old.owner AND state = 'awaiting_input';
    DELETE FROM trio_jobs_total
        WHERE what = 'owner' AND name = old.owner AND state = 'awaiting_input' AND jobs = 0;
END;

UPDATE trio_jobs_meta SET value = 3 WHERE name = 'compat';

-- version: 4

-- A job without a bound of attempts has 0 in `attempts` from now on.
ALTER TABLE trio_jobs_job ADD COLUMN first_due REAL;                     -- of a job of version 3 not known
ALTER TABLE trio_jobs_job ADD COLUMN losses INTEGER NOT NULL DEFAULT 0;  -- attempts in a row that lost their worker
ALTER TABLE trio_jobs_job ADD COLUMN claim TEXT;                         -- the id of the claim that started the attempt
ALTER TABLE trio_jobs_job ADD COLUMN ready REAL;                         -- when that said that it is ready
CREATE INDEX trio_jobs_claimed ON trio_jobs_job (claim)
    WHERE claim IS NOT NULL AND state = 'running' AND parent IS NULL;

-- Of the jobs that have an exclusive name and have not ended, one holds it, and the others stand behind that one.
ALTER TABLE trio_jobs_job ADD COLUMN exclusive TEXT;                         -- as in the options
ALTER TABLE trio_jobs_job ADD COLUMN behind INTEGER;                         -- 1 if it stands behind another one
ALTER TABLE trio_jobs_job ADD COLUMN put_off REAL;                           -- since when it is, by a debounce
ALTER TABLE trio_jobs_job ADD COLUMN replaced_by TEXT;                       -- the id of the job that took its place
ALTER TABLE trio_jobs_job ADD COLUMN resubmitted_from TEXT;                  -- the id of the job that this one is again
ALTER TABLE trio_jobs_job ADD COLUMN resubmitted_as TEXT;                    -- the id of the last job that is this one again
CREATE UNIQUE INDEX trio_jobs_holding ON trio_jobs_job (exclusive, coalesce(owner, x''))
    WHERE exclusive IS NOT NULL AND behind IS NULL AND finished IS NULL;
CREATE INDEX trio_jobs_behind ON trio_jobs_job (exclusive, coalesce(owner, x''), number)
    WHERE behind IS NOT NULL AND finished IS NULL;
DROP INDEX trio_jobs_waiting;
CREATE TRIGGER trio_jobs_handed_on AFTER UPDATE OF finished ON trio_jobs_job
WHEN new.exclusive IS NOT NULL AND new.finished IS NOT NULL AND old.behind IS NULL BEGIN
    UPDATE trio_jobs_job SET behind = NULL WHERE number = (
        SELECT min(number) FROM trio_jobs_job WHERE behind IS NOT NULL AND finished IS NULL
            AND exclusive = new.exclusive AND coalesce(owner, x'') = coalesce(new.owner, x'')
    );
END;

CREATE TABLE trio_jobs_schedule (
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL,                   -- what was declared
    every REAL,
    anchor REAL NOT NULL,                 -- these are as in `ScheduleRow`
    last_tick REAL NOT NULL,
    revision INTEGER NOT NULL DEFAULT 1,
    paused INTEGER NOT NULL DEFAULT 0,
    added INTEGER NOT NULL DEFAULT 0,
    declared_until REAL NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- The handlers that are paused; an empty name stands for all.
CREATE TABLE trio_jobs_pause (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;

-- The jobs of a handler that has limits wait in lanes, one for each `limit_key`; see lanes.py. Triggers count them and
-- wake their lanes when they move, also for a worker of version 3, which may end jobs.
ALTER TABLE trio_jobs_job ADD COLUMN lane INTEGER;                           -- the number of its lane; children have none
CREATE INDEX trio_jobs_waiting ON trio_jobs_job (handler, priority, due, number)
    WHERE state IN ('queued', 'retrying') AND behind IS NULL AND lane IS NULL;
CREATE INDEX trio_jobs_in_lane ON trio_jobs_job (lane, priority, due, number)
    WHERE state IN ('queued', 'retrying') AND behind IS NULL AND lane IS NOT NULL;
CREATE TABLE trio_jobs_limit (
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL,                   -- how it is defined
    pinned INTEGER NOT NULL DEFAULT 0,    -- whether openings leave it so
    running INTEGER NOT NULL DEFAULT 0,   -- how many jobs run under it,
    waiting INTEGER NOT NULL DEFAULT 0,   -- and wait, other than for an input
    moment REAL NOT NULL DEFAULT -9e999,  -- of its rate, see rates.py, unless it is keyed;
    last REAL NOT NULL DEFAULT -9e999     -- and of the last start
) STRICT, WITHOUT ROWID;
CREATE TABLE trio_jobs_limited (
    handler TEXT NOT NULL,
    place INTEGER NOT NULL,               -- among its limits
    name TEXT NOT NULL,                   -- of the limit
    PRIMARY KEY (handler, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE trio_jobs_lane (
    number INTEGER PRIMARY KEY,
    handler TEXT NOT NULL,
    limit_key TEXT,
    jobs INTEGER NOT NULL DEFAULT 0,      -- how many of its jobs have not ended,
    running INTEGER NOT NULL DEFAULT 0,   -- run,
    waiting INTEGER NOT NULL DEFAULT 0,   -- and wait, other than for an input
    moment REAL NOT NULL DEFAULT -9e999,  -- of the rate of the keyed limit,
    last REAL NOT NULL DEFAULT -9e999,    -- and of the last start
    turn INTEGER,                         -- its place among the lanes, while one of its jobs is due
    rank REAL,                            -- the rank of the best of these, while the lane is open
    wakes REAL                            -- when these two have to be decided anew
) STRICT;
CREATE UNIQUE INDEX trio_jobs_lane_of ON trio_jobs_lane (handler, coalesce(limit_key, x''));
CREATE INDEX trio_jobs_lane_turn ON trio_jobs_lane (handler, turn) WHERE rank IS NOT NULL;
CREATE INDEX trio_jobs_lane_rank ON trio_jobs_lane (handler, rank) WHERE rank IS NOT NULL;
CREATE INDEX trio_jobs_lane_wakes ON trio_jobs_lane (handler, wakes) WHERE wakes IS NOT NULL;
CREATE TRIGGER trio_jobs_moved_in_lane AFTER UPDATE OF state, due, behind, lane ON trio_jobs_job
WHEN new.lane IS NOT NULL BEGIN
    UPDATE trio_jobs_lane SET
        jobs = jobs + (old.lane IS NULL) - (old.finished IS NULL AND new.finished IS NOT NULL),
        running = running + (new.state = 'running') - (old.lane IS NOT NULL AND old.state = 'running'),
        waiting = waiting + (new.state IN ('queued', 'retrying') AND new.reason IS NOT 'awaiting_input') - (
            old.lane IS NOT NULL AND old.state IN ('queued', 'retrying') AND old.reason IS NOT 'awaiting_input'
        ),
        wakes = iif(old.state = 'running' OR new.finished IS NOT NULL, 0, min(new.due, coalesce(wakes, new.due)))
    WHERE number = new.lane;
END;
CREATE TRIGGER trio_jobs_moved_under_limit AFTER UPDATE OF running, waiting ON trio_jobs_lane BEGIN
    UPDATE trio_jobs_limit SET
        running = running + new.running - old.running, waiting = waiting + new.waiting - old.waiting
    WHERE name IN (SELECT name FROM trio_jobs_limited WHERE handler = new.handler);
END;
INSERT INTO trio_jobs_meta VALUES ('turn', 0);

UPDATE trio_jobs_meta SET value = 4 WHERE name = 'compat';
