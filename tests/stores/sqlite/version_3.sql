PRAGMA page_size=4096;

BEGIN TRANSACTION;

-- Table  trio_jobs_event
DROP TABLE IF EXISTS trio_jobs_event;
CREATE TABLE trio_jobs_event (
    id INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    data TEXT NOT NULL
, received INTEGER) STRICT;
INSERT INTO trio_jobs_event VALUES(4294967297,1,0,'submitted',1800000000.0,'["work"]',NULL);
INSERT INTO trio_jobs_event VALUES(4294967298,1,1,'started',1800000000.0,'["holder"]',NULL);
INSERT INTO trio_jobs_event VALUES(4294967301,3,1,'token',1800000000.0,'["a",null,{"b":[1]}]',NULL);
INSERT INTO trio_jobs_event VALUES(4294967302,1,1,'progress',1800000000.0,'[{"done":1,"message":"x","total":2}]',NULL);
INSERT INTO trio_jobs_event VALUES(4294967303,1,1,'input',1800000000.0,'["said"]',NULL);
INSERT INTO trio_jobs_event VALUES(4294967304,1,1,'saved',1800000000.0,'[{"half":true}]',7);
INSERT INTO trio_jobs_event VALUES(8589934593,1,0,'submitted',1800000000.0,'["work"]',NULL);
INSERT INTO trio_jobs_event VALUES(8589934594,1,1,'started',1800000000.0,'["holder"]',NULL);
INSERT INTO trio_jobs_event VALUES(12884901889,1,0,'submitted',1800000000.0,'["work"]',NULL);
INSERT INTO trio_jobs_event VALUES(12884901890,1,1,'started',1800000000.0,'["holder"]',NULL);
INSERT INTO trio_jobs_event VALUES(12884901891,1,1,'completed',1800000000.0,'[{"answer":42}]',0);
INSERT INTO trio_jobs_event VALUES(17179869185,1,0,'submitted',1800000000.0,'["work"]',NULL);
INSERT INTO trio_jobs_event VALUES(17179869186,1,1,'started',1800000000.0,'["holder"]',NULL);
INSERT INTO trio_jobs_event VALUES(17179869187,1,1,'failed',1800000000.0,'[{"message":"it failed","reason":"error"}]',0);
INSERT INTO trio_jobs_event VALUES(21474836481,1,0,'submitted',1800000000.0,'["work"]',NULL);
INSERT INTO trio_jobs_event VALUES(21474836482,1,1,'started',1800000000.0,'["doomed"]',NULL);
INSERT INTO trio_jobs_event VALUES(21474836483,1,1,'retried',1800000010.0,'[{"delay":0.0,"message":"Its worker was lost","reason":"worker_lost"}]',NULL);
INSERT INTO trio_jobs_event VALUES(21474836484,1,2,'started',1800000010.0,'["holder"]',NULL);
INSERT INTO trio_jobs_event VALUES(21474836485,1,2,'retried',1800000010.0,'[{"delay":0.0,"message":"once more","reason":"shutdown"}]',0);
INSERT INTO trio_jobs_event VALUES(25769803777,1,0,'submitted',1800000000.0,'["work"]',NULL);
INSERT INTO trio_jobs_event VALUES(25769803778,1,1,'started',1800000000.0,'["holder"]',NULL);
INSERT INTO trio_jobs_event VALUES(25769803779,1,1,'retried',1800000000.0,'[{"delay":"inf","message":"for an answer","reason":"awaiting_input"}]',0);
INSERT INTO trio_jobs_event VALUES(30064771073,1,0,'submitted',1800000010.0,'["work"]',NULL);
INSERT INTO trio_jobs_event VALUES(30064771074,1,1,'started',1800000010.0,'["holder"]',NULL);
INSERT INTO trio_jobs_event VALUES(30064771075,1,1,'retried',1800000010.0,'[{"delay":60.0,"message":"once more","reason":"error"}]',0);
INSERT INTO trio_jobs_event VALUES(34359738369,1,0,'submitted',1800000010.0,'["work"]',NULL);
-- Triggers and indices on  trio_jobs_event
CREATE INDEX trio_jobs_inputs ON trio_jobs_event (id) WHERE kind IN ('input', 'inputs_ended');

-- Table  trio_jobs_input
DROP TABLE IF EXISTS trio_jobs_input;
CREATE TABLE trio_jobs_input (
    job INTEGER NOT NULL,                 -- its number
    id TEXT NOT NULL,
    digest BLOB NOT NULL,                 -- of the values
    seq INTEGER NOT NULL,                 -- the last of the events
    PRIMARY KEY (job, id)
) STRICT, WITHOUT ROWID;
INSERT INTO trio_jobs_input VALUES(1,'one',X'60F5795C34021062B4E409C9E787F3209AE78EB84034EB9DE4FD35E439AC02DD',7);

-- Table  trio_jobs_job
DROP TABLE IF EXISTS trio_jobs_job;
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
, metadata TEXT, given TEXT, progress TEXT, consumed INTEGER NOT NULL DEFAULT 0, received INTEGER NOT NULL DEFAULT 0, last_input INTEGER NOT NULL DEFAULT 0, inputs_ended INTEGER, unconsumed INTEGER NOT NULL DEFAULT 0, input_bytes INTEGER NOT NULL DEFAULT 0, waited TEXT, repeated TEXT, repeats INTEGER NOT NULL DEFAULT 0, steps INTEGER NOT NULL DEFAULT 0, step_bytes INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO trio_jobs_job VALUES(1,'00a3e7126c68a936fe6514ba739dec38','work','[]','{"timeouts":{},"retry":{"initial":1.0,"factor":2.0,"maximum":60.0,"jitter":0.5},"delay":0.0,"tags":{},"linger":10.0}',2,NULL,NULL,NULL,'running',NULL,NULL,NULL,NULL,'{"half":true}',1,1,1,5,8,6,79,1800000000.0,1800000000.0,NULL,1800000000.0,NULL,1800000060.0,NULL,NULL,NULL,NULL,NULL,'{"done":1,"message":"x","total":2}',7,0,7,NULL,0,0,NULL,NULL,0,0,0);
INSERT INTO trio_jobs_job VALUES(2,'668ce66a1b25be7aa3daa3b4257e060a','work','[]','{"timeouts":{},"retry":{"initial":1.0,"factor":2.0,"maximum":60.0,"jitter":0.5},"delay":0.0,"tags":{},"linger":10.0}',2,NULL,NULL,'00a3e7126c68a936fe6514ba739dec38','running',NULL,NULL,NULL,NULL,NULL,1,1,1,0,2,0,0,1800000000.0,1800000000.0,NULL,1800000000.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,NULL,0,0,NULL,NULL,0,0,0);
INSERT INTO trio_jobs_job VALUES(3,'8ed2a4c3a7e64c0ae5e19953d5c8ecfd','work','[]','{"timeouts":{},"retry":{"initial":1.0,"factor":2.0,"maximum":60.0,"jitter":0.5},"delay":0.0,"tags":{},"linger":10.0}',2,NULL,NULL,NULL,'completed',NULL,NULL,NULL,'{"answer":42}',NULL,1,1,1,0,3,0,0,1800000000.0,1800000000.0,NULL,1800000000.0,1800000000.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,NULL,0,0,NULL,NULL,0,0,0);
INSERT INTO trio_jobs_job VALUES(4,'7c08ab29e6c8d973deed5ecd669f4a1d','work','[]','{"timeouts":{},"retry":{"initial":1.0,"factor":2.0,"maximum":60.0,"jitter":0.5},"delay":0.0,"tags":{},"linger":10.0}',2,NULL,NULL,NULL,'failed','error','it failed',NULL,NULL,NULL,1,1,1,0,3,0,0,1800000000.0,1800000000.0,NULL,1800000000.0,1800000000.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,NULL,0,0,NULL,'error',0,0,0);
INSERT INTO trio_jobs_job VALUES(5,'ff3efe3aa1543410691f11e5a03707d7','work','[]','{"timeouts":{},"retry":{"initial":1.0,"factor":2.0,"maximum":60.0,"jitter":0.5},"delay":0.0,"tags":{},"linger":10.0}',2,NULL,NULL,NULL,'retrying','shutdown','once more',NULL,NULL,NULL,2,1,1,0,5,0,0,1800000000.0,1800000010.0,NULL,1800000010.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,NULL,0,0,NULL,'shutdown',0,0,0);
INSERT INTO trio_jobs_job VALUES(6,'799d78e00cd19ce204e74cef7eea69b2','work','[]','{"timeouts":{},"retry":{"initial":1.0,"factor":2.0,"maximum":60.0,"jitter":0.5},"delay":0.0,"tags":{},"linger":10.0}',2,NULL,NULL,NULL,'retrying','awaiting_input','for an answer',NULL,NULL,NULL,1,0,1,0,3,0,0,1800000000.0,9e999,NULL,1800000000.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,NULL,0,0,NULL,'awaiting_input',0,0,0);
INSERT INTO trio_jobs_job VALUES(7,'fd8443b281f9b1f0eaaad49d42349f7b','work','[]','{"timeouts":{},"retry":{"attempts":2,"initial":1.0,"factor":2.0,"maximum":60.0,"jitter":0.5},"delay":0.0,"tags":{},"linger":10.0}',2,NULL,NULL,NULL,'retrying','error','once more',NULL,NULL,NULL,1,1,2,0,3,0,0,1800000010.0,1800000070.0,NULL,1800000010.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,NULL,0,0,NULL,'error',0,0,0);
INSERT INTO trio_jobs_job VALUES(8,'55e9a460f54ac5986cbec6218773c977','work','["queued"]','{"timeouts":{},"retry":{"initial":1.0,"factor":2.0,"maximum":60.0,"jitter":0.5},"delay":5.0,"tags":{"a":"b"},"linger":10.0}',0,'me','k',NULL,'queued',NULL,NULL,NULL,NULL,NULL,0,0,1,0,1,0,0,1800000010.0,1800000015.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{"m":1}','71715363249dfd367cb71b840d53da301aa29e5c2707afd2e3392b8382779296',NULL,0,0,0,NULL,0,0,NULL,NULL,0,0,0);
-- Triggers and indices on  trio_jobs_job
CREATE TRIGGER trio_jobs_awaited AFTER UPDATE OF state ON trio_jobs_job
WHEN old.state = 'retrying' AND old.reason = 'awaiting_input' AND new.state <> 'retrying' BEGIN
    UPDATE trio_jobs_total SET jobs = jobs - 1 WHERE what = 'all' AND name = '' AND state = 'awaiting_input';
    UPDATE trio_jobs_total SET jobs = jobs - 1
        WHERE what = 'owner' AND name = old.owner AND state = 'awaiting_input';
    DELETE FROM trio_jobs_total
        WHERE what = 'owner' AND name = old.owner AND state = 'awaiting_input' AND jobs = 0;
END;
CREATE TRIGGER trio_jobs_awaits AFTER UPDATE OF state ON trio_jobs_job
WHEN new.state = 'retrying' AND new.reason = 'awaiting_input' AND old.state <> 'retrying' BEGIN
    INSERT INTO trio_jobs_total VALUES ('all', '', 'awaiting_input', 1) ON CONFLICT DO UPDATE SET jobs = jobs + 1;
    INSERT INTO trio_jobs_total SELECT 'owner', new.owner, 'awaiting_input', 1 WHERE new.owner IS NOT NULL
        ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE INDEX trio_jobs_by_handler ON trio_jobs_job (handler);
CREATE UNIQUE INDEX trio_jobs_by_key ON trio_jobs_job (key, coalesce(owner, x'')) WHERE key IS NOT NULL;
CREATE INDEX trio_jobs_by_owner ON trio_jobs_job (owner, state) WHERE owner IS NOT NULL;
CREATE INDEX trio_jobs_by_state ON trio_jobs_job (state);
CREATE TRIGGER trio_jobs_came AFTER INSERT ON trio_jobs_job BEGIN
    INSERT INTO trio_jobs_total VALUES ('all', '', new.state, 1), ('handler', new.handler, new.state, 1)
        ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER trio_jobs_came_owned AFTER INSERT ON trio_jobs_job WHEN new.owner IS NOT NULL BEGIN
    INSERT INTO trio_jobs_total VALUES ('owner', new.owner, new.state, 1)
        ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE INDEX trio_jobs_cancelling ON trio_jobs_job (number)
    WHERE state = 'running' AND cancel_requested IS NOT NULL;
CREATE INDEX trio_jobs_children ON trio_jobs_job (parent) WHERE parent IS NOT NULL;
CREATE INDEX trio_jobs_expiring ON trio_jobs_job (expires) WHERE expires IS NOT NULL;
CREATE INDEX trio_jobs_finished ON trio_jobs_job (finished, number) WHERE finished IS NOT NULL;
CREATE INDEX trio_jobs_leased ON trio_jobs_job (lease) WHERE lease IS NOT NULL;
CREATE TRIGGER trio_jobs_moved AFTER UPDATE OF state ON trio_jobs_job WHEN old.state <> new.state BEGIN
    UPDATE trio_jobs_total SET jobs = jobs - 1 WHERE what = 'all' AND name = '' AND state = old.state;
    UPDATE trio_jobs_total SET jobs = jobs - 1
        WHERE what = 'handler' AND name = old.handler AND state = old.state;
    INSERT INTO trio_jobs_total VALUES ('all', '', new.state, 1), ('handler', new.handler, new.state, 1)
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
CREATE INDEX trio_jobs_waiting ON trio_jobs_job (handler, priority, due, number)
    WHERE state IN ('queued', 'retrying');
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
CREATE TRIGGER trio_jobs_went_inputs AFTER DELETE ON trio_jobs_job BEGIN
    DELETE FROM trio_jobs_input WHERE job = old.number;
END;
CREATE TRIGGER trio_jobs_went_owned AFTER DELETE ON trio_jobs_job WHEN old.owner IS NOT NULL BEGIN
    UPDATE trio_jobs_total SET jobs = jobs - 1
        WHERE what = 'owner' AND name = old.owner AND state = old.state;
    DELETE FROM trio_jobs_total
        WHERE what = 'owner' AND name = old.owner AND state = old.state AND jobs = 0;
END;

-- Table  trio_jobs_meta
DROP TABLE IF EXISTS trio_jobs_meta;
CREATE TABLE trio_jobs_meta (
    name TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO trio_jobs_meta VALUES('behind',0);
INSERT INTO trio_jobs_meta VALUES('boot','a boot long ago');
INSERT INTO trio_jobs_meta VALUES('compat',3);
INSERT INTO trio_jobs_meta VALUES('epoch',1700000000.0);
INSERT INTO trio_jobs_meta VALUES('version',3);

-- Table  trio_jobs_tag
DROP TABLE IF EXISTS trio_jobs_tag;
CREATE TABLE trio_jobs_tag (
    job INTEGER NOT NULL,                 -- its number
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (job, name)
) STRICT, WITHOUT ROWID;
INSERT INTO trio_jobs_tag VALUES(8,'a','b');
-- Triggers and indices on  trio_jobs_tag
CREATE INDEX trio_jobs_by_tag ON trio_jobs_tag (name, value, job);

-- Table  trio_jobs_total
DROP TABLE IF EXISTS trio_jobs_total;
CREATE TABLE trio_jobs_total (
    what TEXT NOT NULL,                   -- all, handler or owner
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    PRIMARY KEY (what, name, state)
) STRICT, WITHOUT ROWID;
INSERT INTO trio_jobs_total VALUES('all','','awaiting_input',1);
INSERT INTO trio_jobs_total VALUES('all','','completed',1);
INSERT INTO trio_jobs_total VALUES('all','','failed',1);
INSERT INTO trio_jobs_total VALUES('all','','queued',1);
INSERT INTO trio_jobs_total VALUES('all','','retrying',3);
INSERT INTO trio_jobs_total VALUES('all','','running',2);
INSERT INTO trio_jobs_total VALUES('handler','work','completed',1);
INSERT INTO trio_jobs_total VALUES('handler','work','failed',1);
INSERT INTO trio_jobs_total VALUES('handler','work','queued',1);
INSERT INTO trio_jobs_total VALUES('handler','work','retrying',3);
INSERT INTO trio_jobs_total VALUES('handler','work','running',2);
INSERT INTO trio_jobs_total VALUES('owner','me','queued',1);

COMMIT TRANSACTION;
