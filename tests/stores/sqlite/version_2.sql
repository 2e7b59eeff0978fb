PRAGMA page_size=4096;

BEGIN TRANSACTION;

DROP TABLE IF EXISTS trio_jobs_event;
CREATE TABLE trio_jobs_event (
    id INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    data TEXT NOT NULL
) STRICT;
INSERT INTO trio_jobs_event VALUES(4294967297,1,0,'submitted',1800000000.0,'["work"]');
INSERT INTO trio_jobs_event VALUES(4294967298,1,1,'started',1800000000.0,'["holder"]');
INSERT INTO trio_jobs_event VALUES(4294967301,3,1,'token',1800000000.0,'["a",null,{"b":[1]}]');
INSERT INTO trio_jobs_event VALUES(4294967302,1,1,'progress',1800000000.0,'[{"done":1,"message":"x","total":2}]');
INSERT INTO trio_jobs_event VALUES(4294967303,1,1,'saved',1800000000.0,'[{"half":true}]');
INSERT INTO trio_jobs_event VALUES(8589934593,1,0,'submitted',1800000000.0,'["work"]');
INSERT INTO trio_jobs_event VALUES(8589934594,1,1,'started',1800000000.0,'["holder"]');
INSERT INTO trio_jobs_event VALUES(12884901889,1,0,'submitted',1800000000.0,'["work"]');
INSERT INTO trio_jobs_event VALUES(12884901890,1,1,'started',1800000000.0,'["holder"]');
INSERT INTO trio_jobs_event VALUES(12884901891,1,1,'completed',1800000000.0,'[{"answer":42}]');
INSERT INTO trio_jobs_event VALUES(17179869185,1,0,'submitted',1800000000.0,'["work"]');
INSERT INTO trio_jobs_event VALUES(17179869186,1,1,'started',1800000000.0,'["holder"]');
INSERT INTO trio_jobs_event VALUES(17179869187,1,1,'failed',1800000000.0,'[{"message":"it failed","reason":"error"}]');
INSERT INTO trio_jobs_event VALUES(21474836481,1,0,'submitted',1800000000.0,'["work"]');
INSERT INTO trio_jobs_event VALUES(21474836482,1,1,'started',1800000000.0,'["holder"]');
INSERT INTO trio_jobs_event VALUES(21474836483,1,1,'cancel_requested',1800000000.0,'["no"]');
INSERT INTO trio_jobs_event VALUES(21474836484,1,1,'cancelled',1800000000.0,'[{"message":"no","reason":"user"}]');
INSERT INTO trio_jobs_event VALUES(25769803777,1,0,'submitted',1800000000.0,'["work"]');
INSERT INTO trio_jobs_event VALUES(25769803778,1,1,'started',1800000000.0,'["holder"]');
INSERT INTO trio_jobs_event VALUES(25769803779,1,1,'retried',1800000000.0,'[{"delay":60.0,"message":"once more","reason":"error"}]');
INSERT INTO trio_jobs_event VALUES(30064771073,1,0,'submitted',1800000000.0,'["work"]');
INSERT INTO trio_jobs_event VALUES(30064771074,1,1,'started',1800000000.0,'["holder"]');
INSERT INTO trio_jobs_event VALUES(30064771075,1,1,'retried',1800000000.0,'[{"delay":60.0,"message":"later","reason":"snoozed"}]');
INSERT INTO trio_jobs_event VALUES(34359738369,1,0,'submitted',1800000000.0,'["work"]');

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
, metadata TEXT, given TEXT, progress TEXT) STRICT;
INSERT INTO trio_jobs_job VALUES(1,'b1500d189ea73ac5c4ccbd8c943cfb5b','work','["x"]','{"timeouts":{},"retry":{"initial":1.0,"factor":2.0,"maximum":60.0,"jitter":0.5},"delay":0.0,"tags":{},"linger":10.0}',2,NULL,NULL,NULL,'running',NULL,NULL,NULL,NULL,'{"half":true}',1,1,1,5,7,5,71,1800000000.0,1800000000.0,NULL,1800000000.0,NULL,1800000060.0,NULL,NULL,NULL,NULL,NULL,'{"done":1,"message":"x","total":2}');
INSERT INTO trio_jobs_job VALUES(2,'3207af48ccb592bcd373e253c4631b17','work','["child"]','{"timeouts":{},"retry":{"initial":1.0,"factor":2.0,"maximum":60.0,"jitter":0.5},"delay":0.0,"tags":{},"linger":10.0}',2,NULL,NULL,'b1500d189ea73ac5c4ccbd8c943cfb5b','running',NULL,NULL,NULL,NULL,NULL,1,1,1,0,2,0,0,1800000000.0,1800000000.0,NULL,1800000000.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO trio_jobs_job VALUES(3,'c609222c437605c7a3c453b10a76f9a8','work','["x"]','{"timeouts":{},"retry":{"initial":1.0,"factor":2.0,"maximum":60.0,"jitter":0.5},"delay":0.0,"tags":{},"linger":10.0}',2,NULL,NULL,NULL,'completed',NULL,NULL,NULL,'{"answer":42}',NULL,1,1,1,0,3,0,0,1800000000.0,1800000000.0,NULL,1800000000.0,1800000000.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO trio_jobs_job VALUES(4,'65ab83482f5e82da4e482840ee54b96e','work','["x"]','{"timeouts":{},"retry":{"initial":1.0,"factor":2.0,"maximum":60.0,"jitter":0.5},"delay":0.0,"tags":{},"linger":10.0}',2,NULL,NULL,NULL,'failed','error','it failed',NULL,NULL,NULL,1,1,1,0,3,0,0,1800000000.0,1800000000.0,NULL,1800000000.0,1800000000.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO trio_jobs_job VALUES(5,'98b99983e8a48cddba0bb69eac456cf6','work','["x"]','{"timeouts":{},"retry":{"initial":1.0,"factor":2.0,"maximum":60.0,"jitter":0.5},"delay":0.0,"tags":{},"linger":10.0}',2,NULL,NULL,NULL,'cancelled','user','no',NULL,NULL,NULL,1,1,1,0,4,0,0,1800000000.0,1800000000.0,NULL,1800000000.0,1800000000.0,NULL,1800000000.0,'no',1.0,NULL,NULL,NULL);
INSERT INTO trio_jobs_job VALUES(6,'dfb246aee0abc9583283a353bb8c913b','work','["x"]','{"timeouts":{},"retry":{"initial":1.0,"factor":2.0,"maximum":60.0,"jitter":0.5},"delay":0.0,"tags":{},"linger":10.0}',2,NULL,NULL,NULL,'retrying','error','once more',NULL,NULL,NULL,1,1,1,0,3,0,0,1800000000.0,1800000060.0,NULL,1800000000.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO trio_jobs_job VALUES(7,'cc053811810fbda485e5438be0b71376','work','["x"]','{"timeouts":{},"retry":{"initial":1.0,"factor":2.0,"maximum":60.0,"jitter":0.5},"delay":0.0,"tags":{},"linger":10.0}',2,NULL,NULL,NULL,'retrying','snoozed','later',NULL,NULL,NULL,1,0,1,0,3,0,0,1800000000.0,1800000060.0,NULL,1800000000.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO trio_jobs_job VALUES(8,'181acbe7e9fc91786409a57a1815ccf7','work','["queued"]','{"timeouts":{},"retry":{"initial":1.0,"factor":2.0,"maximum":60.0,"jitter":0.5},"delay":0.0,"tags":{"a":"b"},"linger":10.0}',2,'me','k',NULL,'queued',NULL,NULL,NULL,NULL,NULL,0,0,1,0,1,0,0,1800000000.0,1800000000.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{"m":1}','9574a4a9b423808209b44191d702ce973895d68ab084c27287ec4c3dc78efaf4',NULL);
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
CREATE TRIGGER trio_jobs_went_owned AFTER DELETE ON trio_jobs_job WHEN old.owner IS NOT NULL BEGIN
    UPDATE trio_jobs_total SET jobs = jobs - 1
        WHERE what = 'owner' AND name = old.owner AND state = old.state;
    DELETE FROM trio_jobs_total
        WHERE what = 'owner' AND name = old.owner AND state = old.state AND jobs = 0;
END;

DROP TABLE IF EXISTS trio_jobs_meta;
CREATE TABLE trio_jobs_meta (
    name TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO trio_jobs_meta VALUES('behind',0);
INSERT INTO trio_jobs_meta VALUES('boot','a boot long ago');
INSERT INTO trio_jobs_meta VALUES('compat',2);
INSERT INTO trio_jobs_meta VALUES('epoch',1700000000.0);
INSERT INTO trio_jobs_meta VALUES('version',2);

DROP TABLE IF EXISTS trio_jobs_tag;
CREATE TABLE trio_jobs_tag (
    job INTEGER NOT NULL,                 -- its number
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (job, name)
) STRICT, WITHOUT ROWID;
INSERT INTO trio_jobs_tag VALUES(8,'a','b');
CREATE INDEX trio_jobs_by_tag ON trio_jobs_tag (name, value, job);

DROP TABLE IF EXISTS trio_jobs_total;
CREATE TABLE trio_jobs_total (
    what TEXT NOT NULL,                   -- all, handler or owner
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    PRIMARY KEY (what, name, state)
) STRICT, WITHOUT ROWID;
INSERT INTO trio_jobs_total VALUES('all','','cancelled',1);
INSERT INTO trio_jobs_total VALUES('all','','completed',1);
INSERT INTO trio_jobs_total VALUES('all','','failed',1);
INSERT INTO trio_jobs_total VALUES('all','','queued',1);
INSERT INTO trio_jobs_total VALUES('all','','retrying',2);
INSERT INTO trio_jobs_total VALUES('all','','running',2);
INSERT INTO trio_jobs_total VALUES('handler','work','cancelled',1);
INSERT INTO trio_jobs_total VALUES('handler','work','completed',1);
INSERT INTO trio_jobs_total VALUES('handler','work','failed',1);
INSERT INTO trio_jobs_total VALUES('handler','work','queued',1);
INSERT INTO trio_jobs_total VALUES('handler','work','retrying',2);
INSERT INTO trio_jobs_total VALUES('handler','work','running',2);
INSERT INTO trio_jobs_total VALUES('owner','me','queued',1);

COMMIT TRANSACTION;
