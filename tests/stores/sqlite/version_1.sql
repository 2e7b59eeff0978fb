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
INSERT INTO trio_jobs_event VALUES(8589934593,1,0,'submitted',1800000000.0,'["work"]');
INSERT INTO trio_jobs_event VALUES(8589934594,1,1,'started',1800000000.0,'["holder"]');
INSERT INTO trio_jobs_event VALUES(8589934597,3,1,'token',1800000000.0,'["a",null,{"b":[1]}]');
INSERT INTO trio_jobs_event VALUES(8589934598,1,1,'progress',1800000000.0,'[[1,2,"x"]]');
INSERT INTO trio_jobs_event VALUES(8589934599,1,1,'saved',1800000000.0,'[{"half":true}]');
INSERT INTO trio_jobs_event VALUES(12884901889,1,0,'submitted',1800000000.0,'["work"]');
INSERT INTO trio_jobs_event VALUES(12884901890,1,1,'started',1800000000.0,'["holder"]');
INSERT INTO trio_jobs_event VALUES(17179869185,1,0,'submitted',1800000000.0,'["work"]');
INSERT INTO trio_jobs_event VALUES(17179869186,1,1,'started',1800000000.0,'["holder"]');
INSERT INTO trio_jobs_event VALUES(17179869187,1,1,'completed',1800000000.0,'[{"answer":42}]');
INSERT INTO trio_jobs_event VALUES(21474836481,1,0,'submitted',1800000000.0,'["work"]');
INSERT INTO trio_jobs_event VALUES(21474836482,1,1,'started',1800000000.0,'["holder"]');
INSERT INTO trio_jobs_event VALUES(21474836483,1,1,'failed',1800000000.0,'[["error","it failed",["ValueError","no such thing: é 😀","Traceback\n  line\n"],null]]');
INSERT INTO trio_jobs_event VALUES(25769803777,1,0,'submitted',1800000000.0,'["work"]');
INSERT INTO trio_jobs_event VALUES(25769803778,1,1,'started',1800000000.0,'["holder"]');
INSERT INTO trio_jobs_event VALUES(25769803779,1,1,'cancelled',1800000000.0,'[["user",null,null,null]]');
INSERT INTO trio_jobs_event VALUES(30064771073,1,0,'submitted',1800000000.0,'["work"]');
INSERT INTO trio_jobs_event VALUES(30064771074,1,1,'started',1800000000.0,'["holder"]');
INSERT INTO trio_jobs_event VALUES(30064771075,1,1,'retried',1800000000.0,'[["error","once more",null,60.0]]');

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
) STRICT;
INSERT INTO trio_jobs_job VALUES(1,'8b10bfb95edcb8bc0f1e3243e285f197','work','["queued"]','{"delay":60.0,"linger":10.0,"metadata":{},"retry":[1,1.0,2.0,60.0,0.5,false],"run_at":null,"tags":{"a":"b"},"timeouts":[null,null,null,null],"when_unread":"continue"}',2,'me','k',NULL,'queued',NULL,NULL,NULL,NULL,NULL,0,0,1,0,1,0,0,1800000000.0,1800000060.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO trio_jobs_job VALUES(2,'3bb503e0cde1f51316bf9c34469dae0b','work','[]','{"delay":0.0,"linger":10.0,"metadata":{},"retry":[3,1.0,2.0,60.0,0.5,false],"run_at":null,"tags":{},"timeouts":[null,null,null,null],"when_unread":"continue"}',2,NULL,NULL,NULL,'running',NULL,NULL,NULL,NULL,'{"half":true}',1,1,3,5,7,4,31,1800000000.0,1800000000.0,NULL,1800000000.0,NULL,1800000060.0,NULL,NULL,NULL);
INSERT INTO trio_jobs_job VALUES(3,'7276ddc676e1640bd29c28e3261683c4','work','["child"]','{"delay":0.0,"linger":10.0,"metadata":{},"retry":[1,1.0,2.0,60.0,0.5,false],"run_at":null,"tags":{},"timeouts":[null,null,null,null],"when_unread":"continue"}',2,NULL,NULL,'3bb503e0cde1f51316bf9c34469dae0b','running',NULL,NULL,NULL,NULL,NULL,1,1,1,0,2,0,0,1800000000.0,1800000000.0,NULL,1800000000.0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO trio_jobs_job VALUES(4,'b04bc98eb45b20b51f65fc59ecc8a399','work','[]','{"delay":0.0,"linger":10.0,"metadata":{},"retry":[1,1.0,2.0,60.0,0.5,false],"run_at":null,"tags":{},"timeouts":[null,null,null,null],"when_unread":"continue"}',2,NULL,NULL,NULL,'completed',NULL,NULL,NULL,'{"answer":42}',NULL,1,1,1,0,3,0,0,1800000000.0,1800000000.0,NULL,1800000000.0,1800000000.0,NULL,NULL,NULL,NULL);
INSERT INTO trio_jobs_job VALUES(5,'c4426c9df8e5d17b51158351694a0445','work','[]','{"delay":0.0,"linger":10.0,"metadata":{},"retry":[1,1.0,2.0,60.0,0.5,false],"run_at":null,"tags":{},"timeouts":[null,null,null,null],"when_unread":"continue"}',2,NULL,NULL,NULL,'failed','error','it failed','["ValueError","no such thing: é 😀","Traceback\n  line\n"]',NULL,NULL,1,1,1,0,3,0,0,1800000000.0,1800000000.0,NULL,1800000000.0,1800000000.0,NULL,NULL,NULL,NULL);
INSERT INTO trio_jobs_job VALUES(6,'c0f670c26ccce846dddf2fec0cf1c555','work','[]','{"delay":0.0,"linger":10.0,"metadata":{},"retry":[1,1.0,2.0,60.0,0.5,false],"run_at":null,"tags":{},"timeouts":[null,null,null,null],"when_unread":"continue"}',2,NULL,NULL,NULL,'cancelled','user',NULL,NULL,NULL,NULL,1,1,1,0,3,0,0,1800000000.0,1800000000.0,NULL,1800000000.0,1800000000.0,NULL,NULL,NULL,NULL);
INSERT INTO trio_jobs_job VALUES(7,'b1789411d0e1971a349085f1590ae868','work','[]','{"delay":0.0,"linger":10.0,"metadata":{},"retry":[1,1.0,2.0,60.0,0.5,false],"run_at":null,"tags":{},"timeouts":[null,null,null,null],"when_unread":"continue"}',2,NULL,NULL,NULL,'retrying','error','once more',NULL,NULL,NULL,1,1,1,0,3,0,0,1800000000.0,1800000060.0,NULL,1800000000.0,NULL,NULL,NULL,NULL,NULL);
CREATE UNIQUE INDEX trio_jobs_by_key ON trio_jobs_job (key, coalesce(owner, x'')) WHERE key IS NOT NULL;
CREATE TRIGGER trio_jobs_came AFTER INSERT ON trio_jobs_job BEGIN
    UPDATE trio_jobs_total SET jobs = jobs + 1 WHERE state = new.state;
END;
CREATE INDEX trio_jobs_cancelling ON trio_jobs_job (number)
    WHERE state = 'running' AND cancel_requested IS NOT NULL;
CREATE INDEX trio_jobs_children ON trio_jobs_job (parent) WHERE parent IS NOT NULL;
CREATE INDEX trio_jobs_expiring ON trio_jobs_job (expires) WHERE expires IS NOT NULL;
CREATE INDEX trio_jobs_finished ON trio_jobs_job (finished, number) WHERE finished IS NOT NULL;
CREATE INDEX trio_jobs_leased ON trio_jobs_job (lease) WHERE lease IS NOT NULL;
CREATE TRIGGER trio_jobs_moved AFTER UPDATE OF state ON trio_jobs_job BEGIN
    UPDATE trio_jobs_total SET jobs = jobs + (state = new.state) - (state = old.state)
        WHERE state IN (old.state, new.state);
END;
CREATE INDEX trio_jobs_waiting ON trio_jobs_job (handler, priority, due, number)
    WHERE state IN ('queued', 'retrying');
CREATE TRIGGER trio_jobs_went AFTER DELETE ON trio_jobs_job BEGIN
    UPDATE trio_jobs_total SET jobs = jobs - 1 WHERE state = old.state;
END;

DROP TABLE IF EXISTS trio_jobs_meta;
CREATE TABLE trio_jobs_meta (
    name TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO trio_jobs_meta VALUES('boot','a boot long ago');
INSERT INTO trio_jobs_meta VALUES('epoch',1700000000.0);
INSERT INTO trio_jobs_meta VALUES('version',1);

DROP TABLE IF EXISTS trio_jobs_total;
CREATE TABLE trio_jobs_total (
    state TEXT PRIMARY KEY,
    jobs INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO trio_jobs_total VALUES('cancelled',1);
INSERT INTO trio_jobs_total VALUES('completed',1);
INSERT INTO trio_jobs_total VALUES('failed',1);
INSERT INTO trio_jobs_total VALUES('queued',1);
INSERT INTO trio_jobs_total VALUES('retrying',1);
INSERT INTO trio_jobs_total VALUES('running',2);

COMMIT TRANSACTION;
