-- Every statement of the store, by name. {started} and the like stand for the states from which that
-- transition is legal, {over} for those that no transition leaves: they are written in from the table.
-- {is_over} asks whether a job is in one of the latter, without the table that SQLite makes for an IN each time.
-- A `+state` keeps SQLite from walking through all the jobs that run, where another index finds those wanted.

-- name: totals
SELECT state, CAST(jobs AS INTEGER) FROM trio_jobs_total
WHERE what = :what AND name = :name AND state IN {known} AND CAST(jobs AS INTEGER) > 0;

-- name: odd_total
SELECT 1 FROM trio_jobs_total WHERE typeof(jobs) <> 'integer' OR jobs NOT BETWEEN 0 AND 1 << 31
UNION ALL SELECT 1 FROM trio_jobs_limit WHERE typeof(running + waiting) <> 'integer' OR min(running, waiting) < 0
UNION ALL SELECT 1 FROM trio_jobs_lane
    WHERE typeof(jobs + running + waiting) <> 'integer' OR min(jobs, running, waiting) < 0
LIMIT 1;

-- name: forget_totals
DELETE FROM trio_jobs_total;

-- name: count_anew
INSERT INTO trio_jobs_total SELECT 'all', '', state, count(*) FROM trio_jobs_job
    WHERE typeof(state) = 'text' GROUP BY state
UNION ALL SELECT 'handler', handler, state, count(*) FROM trio_jobs_job
    WHERE typeof(state) = 'text' AND typeof(handler) = 'text' GROUP BY handler, state
UNION ALL SELECT 'owner', owner, state, count(*) FROM trio_jobs_job
    WHERE typeof(state) = 'text' AND typeof(owner) = 'text' GROUP BY owner, state
UNION ALL SELECT 'all', '', 'awaiting_input', count(*) FROM trio_jobs_job
    WHERE state = 'retrying' AND reason = 'awaiting_input'
UNION ALL SELECT 'owner', owner, 'awaiting_input', count(*) FROM trio_jobs_job
    WHERE state = 'retrying' AND reason = 'awaiting_input' AND typeof(owner) = 'text' GROUP BY owner;

-- name: compat
SELECT value, EXISTS (SELECT 1 FROM trio_jobs_limited), EXISTS (SELECT 1 FROM trio_jobs_pause)
FROM trio_jobs_meta WHERE name = 'compat';

-- name: count_waiting
SELECT max(0, total(iif(state = 'awaiting_input', -jobs, jobs))), total(iif(state = 'awaiting_input', jobs, 0))
FROM trio_jobs_total WHERE what = :what AND name = :name AND (state IN {started} OR state = 'awaiting_input');

-- name: count_ended
SELECT total(jobs) FROM trio_jobs_total WHERE what = 'all' AND name = '' AND state IN {over};

-- name: find_key
SELECT CAST(id AS BLOB), coalesce(given = :given, handler = :handler AND args = :args)  -- what version 1 wrote has no digest
FROM trio_jobs_job WHERE key = :key AND coalesce(owner, x'') = coalesce(:owner, x'');

-- name: insert_job
INSERT INTO trio_jobs_job (
    number, id, handler, args, options, metadata, given, priority, owner, key, parent, state, attempts, attempt,
    spent, seq, created, due, first_due, expires, started, lease, claim, exclusive, behind, put_off, resubmitted_from
) VALUES (
    max(
        coalesce((SELECT max(number) FROM trio_jobs_job WHERE number < 1 << 31), 0),
        coalesce((SELECT value FROM trio_jobs_meta WHERE name = 'last_number' AND value < 1 << 31), 0)
    ) + 1, :id, :handler, :args, :options, :metadata, :given, :priority, :owner, :key, :parent, :state, :attempts,
    :attempt, :attempt, :seq, :now, :due, :due, :expires, :started, :lease, :claim, :exclusive, :behind, :put_off, :resubmitted_from
) ON CONFLICT (id) DO NOTHING;

-- name: mark_resubmitted
UPDATE trio_jobs_job SET resubmitted_as = :id WHERE id = :job_id;

-- name: resubmitted_as
SELECT CAST(resubmitted_as AS BLOB) FROM trio_jobs_job WHERE id = :job_id AND resubmitted_as IS NOT NULL;

-- name: holder
SELECT CAST(id AS BLOB), state, cancel_requested FROM trio_jobs_job
WHERE exclusive = :exclusive AND coalesce(owner, x'') = coalesce(:owner, x'') AND behind IS NULL AND finished IS NULL;

-- name: replaceable
SELECT number, state, reason, put_off FROM trio_jobs_job
WHERE exclusive = :exclusive AND coalesce(owner, x'') = coalesce(:owner, x'') AND behind IS NOT NULL AND finished IS NULL
UNION ALL SELECT number, state, reason, put_off FROM trio_jobs_job
WHERE exclusive = :exclusive AND coalesce(owner, x'') = coalesce(:owner, x'') AND behind IS NULL AND finished IS NULL
    AND +state IN {started};

-- name: hand_on
UPDATE trio_jobs_job SET behind = NULL WHERE number IN (
    SELECT min(number) FROM trio_jobs_job AS one WHERE behind IS NOT NULL AND finished IS NULL
    GROUP BY exclusive, coalesce(owner, x'')
    HAVING NOT EXISTS (
        SELECT 1 FROM trio_jobs_job AS holder
        WHERE holder.exclusive = one.exclusive AND coalesce(holder.owner, x'') = coalesce(one.owner, x'')
            AND holder.behind IS NULL AND holder.finished IS NULL
    )
);

-- name: born
SELECT attempt, spent, saved, seq, consumed FROM trio_jobs_job WHERE id = :id;

-- name: insert_tag
REPLACE INTO trio_jobs_tag (job, name, value) VALUES (:job, :name, :value);

-- name: insert_event
INSERT INTO trio_jobs_event (id, count, attempt, kind, at, received, data)
VALUES (? << 32 | ?, ?, ?, ?, ?, ?, ?);

-- name: due_jobs
SELECT job.number, job.due + level.penalty AS rank
FROM json_each(:handlers) AS lane CROSS JOIN {levels} AS level CROSS JOIN trio_jobs_job AS job ON job.number IN (
    SELECT number FROM trio_jobs_job
    WHERE state IN {started} AND handler = lane.value AND priority = level.priority AND due <= :now
        AND behind IS NULL AND lane IS NULL AND (expires IS NULL OR expires > :now)
    ORDER BY due, number LIMIT :limit
)
ORDER BY rank, job.number LIMIT :limit;

-- name: next_due
SELECT min((
    SELECT min(due) FROM trio_jobs_job
    WHERE state IN {started} AND handler = lane.value AND priority = level.priority AND due > -9e999 AND due < 9e999
        AND behind IS NULL AND lane IS NULL AND (expires IS NULL OR expires > :now)
)), EXISTS (SELECT 1 FROM trio_jobs_limited) FROM json_each(:handlers) AS lane CROSS JOIN {levels} AS level;

-- name: news
SELECT asked.value, coalesce(CAST(job.seq AS INTEGER), 0), coalesce(job.state IN {over}, 0)
FROM json_each(:ids) AS asked CROSS JOIN trio_jobs_job AS job ON job.id = asked.value;

-- name: start
UPDATE trio_jobs_job
SET state = 'running', claim = :claim, attempt = attempt + 1, spent = spent + 1, appended = 0, seq = seq + 1, started = :now,
    lease = :lease, expires = NULL, ready = NULL, reason = NULL, message = NULL, error = NULL, received = consumed,
    waited = CASE WHEN reason = 'awaiting_input' THEN iif(last_input > received, 'input', 'timeout') END
WHERE number = :number AND state IN {started}
RETURNING id, handler, args, options, metadata, priority, owner, key, attempt, spent, saved, seq, consumed, waited;

-- name: claimed
UPDATE trio_jobs_job SET lease = :lease WHERE claim = :claim AND state = 'running' AND parent IS NULL
RETURNING
    id, handler, args, options, metadata, priority, owner, key, attempt, spent, saved, seq, consumed, waited, number;

-- name: started_at
SELECT max(id) & (1 << 32) - 1 FROM trio_jobs_event WHERE id BETWEEN :first AND :last AND kind = 'started';

-- name: begun
SELECT CAST(id AS BLOB), CAST(handler AS BLOB), (
    SELECT CAST(data AS BLOB) FROM trio_jobs_event
    WHERE id BETWEEN :first AND :last AND kind = 'started' ORDER BY id DESC LIMIT 1
) FROM trio_jobs_job WHERE number = :number;

-- name: workers
SELECT job.lease - :now, (
    SELECT CAST(data AS BLOB) FROM trio_jobs_event
    WHERE id BETWEEN job.number << 32 AND (job.number + 1 << 32) - 1 AND kind = 'started' AND attempt = job.attempt
    ORDER BY id LIMIT 1
) FROM trio_jobs_job AS job WHERE job.lease < 9e999 ORDER BY job.lease LIMIT :limit;

-- name: running
{running} WHERE id = :id AND state = 'running' AND attempt = :attempt AND claim IS :claim;

-- name: finished
SELECT state FROM trio_jobs_job WHERE id = :id AND attempt = :attempt AND claim = :claim AND state <> 'running';

-- name: running_number
{running} WHERE number = :number AND state = 'running';

-- name: append
UPDATE trio_jobs_job
SET seq = :seq, appended = appended + :count, kept = kept + :kept, bytes = bytes + :bytes,
    saved = coalesce(:saved, saved), progress = coalesce(:progress, progress), ready = coalesce(:ready, ready)
WHERE number = :number AND state = 'running' AND attempt = :attempt;

-- name: oldest_chunks
SELECT id, count, octet_length(data) FROM trio_jobs_event
WHERE id BETWEEN :first AND :last AND {trimmable} ORDER BY id;

-- name: chunk_data
SELECT data FROM trio_jobs_event WHERE id = :id;

-- name: shorten_chunk
UPDATE trio_jobs_event SET count = :count, data = :data WHERE id = :id;

-- name: drop_chunks
DELETE FROM trio_jobs_event
WHERE id BETWEEN :first AND :last AND {trimmable};

-- name: kept_for_good
SELECT octet_length(saved), consumed FROM trio_jobs_job WHERE number = :number;

-- name: last_saved
SELECT max(id) FROM trio_jobs_event WHERE id BETWEEN :first AND :last AND kind = 'saved';

-- name: retries
SELECT id, data FROM trio_jobs_event WHERE id BETWEEN :first AND :last AND kind = 'retried' ORDER BY id;

-- name: drop_wait
DELETE FROM trio_jobs_event WHERE id IN (:id, (  -- inputs may have come between the two
    SELECT id FROM trio_jobs_event WHERE id BETWEEN :id + 1 AND :last AND kind = 'started' ORDER BY id LIMIT 1
));

-- name: inbox
SELECT
    number, seq, handler, state, reason, due, attempt, inputs_ended, unconsumed, input_bytes, consumed, received
FROM trio_jobs_job WHERE id = :id;

-- name: known_input
SELECT CAST(seq AS INTEGER), digest FROM trio_jobs_input WHERE job = :number AND id = :id;

-- name: remember_input
INSERT INTO trio_jobs_input (job, id, digest, seq) VALUES (:number, :id, :digest, :seq);

-- name: forget_inputs
DELETE FROM trio_jobs_input WHERE job = :number AND seq <= :seq;

-- name: put_in
UPDATE trio_jobs_job
SET seq = :seq, last_input = :seq, unconsumed = unconsumed + :count, input_bytes = input_bytes + :bytes,
    inputs_ended = :ended, due = coalesce(:due, due)
WHERE number = :number;

-- name: inputs_between
SELECT count(*), coalesce(sum(octet_length(data)), 0) FROM trio_jobs_event
WHERE id BETWEEN :first AND :last AND kind IN ('input', 'inputs_ended') AND kind = 'input';

-- name: consume
UPDATE trio_jobs_job
SET consumed = :seq, unconsumed = max(0, unconsumed - :count), input_bytes = max(0, input_bytes - :bytes + 2 * :count),
    kept = kept + :count, bytes = bytes + :bytes
WHERE number = :number;

-- name: inputs
SELECT id, count, attempt, kind, at, received, data FROM trio_jobs_event
WHERE id BETWEEN :first AND :last AND kind IN ('input', 'inputs_ended') ORDER BY id LIMIT :limit;

-- name: heard
SELECT asked.key FROM json_each(:places) AS asked LEFT JOIN trio_jobs_job AS job ON job.id = asked.key
WHERE job.number IS NULL OR job.last_input > asked.value OR job.seq < asked.value;

-- name: steps
SELECT steps, step_bytes FROM trio_jobs_job WHERE number = :number;

-- name: add_steps
UPDATE trio_jobs_job SET steps = steps + :count, step_bytes = step_bytes + :bytes WHERE number = :number;

-- name: set_kept
UPDATE trio_jobs_job SET kept = :kept, bytes = :bytes WHERE number = :number;

-- name: end
UPDATE trio_jobs_job
SET state = :state, reason = :reason, message = :message, error = :error, result = :result, lease = NULL,
    ready = NULL, expires = NULL, finished = :finished, seq = seq + 1,
    due = iif(:first, coalesce(first_due, due), coalesce(:due, due)), spent = spent - :unspent,
    claim = iif(state = 'running' AND :received IS NULL, NULL, claim),
    losses = iif(:reason = 'worker_lost', losses + 1, 0),
    received = coalesce(:received, received), repeated = :reason, repeats = :repeats,
    replaced_by = :replaced_by
WHERE number = :number AND state IN {sources}
RETURNING id, seq, attempt, lane IS NOT NULL, {columns};

-- name: open_children
WITH RECURSIVE below (id, number) AS (  -- each once, so that a circle ends, which only damage makes
    SELECT id, number FROM trio_jobs_job WHERE number = :number
    UNION SELECT child.id, child.number
        FROM below CROSS JOIN trio_jobs_job AS child ON child.parent = below.id WHERE +child.state = 'running'
)
SELECT number FROM below WHERE number <> :number ORDER BY number DESC;  -- a child comes after its parent

-- name: renew
UPDATE trio_jobs_job SET lease = CASE WHEN trio_jobs_job.parent IS NULL THEN :lease END
FROM json_each(:held) AS held
WHERE trio_jobs_job.id = held.key AND +state = 'running'
    AND attempt = held.value ->> 0 AND claim IS held.value ->> 1
RETURNING id, cancel_requested IS NOT NULL, coalesce(CAST(cancel_grace AS REAL), 0.0);

-- name: cancellable
SELECT number, state, cancel_requested, seq, attempt FROM trio_jobs_job WHERE id = :id;

-- name: request_cancel
UPDATE trio_jobs_job
SET cancel_requested = :now, cancel_message = :message, cancel_grace = :grace, seq = seq + 1
WHERE number = :number AND state NOT IN {over} AND cancel_requested IS NULL;

-- name: shorten_grace
UPDATE trio_jobs_job SET cancel_grace = :grace WHERE number = :number AND cancel_grace > :grace;

-- name: cancelling
SELECT CAST(id AS BLOB), coalesce(CAST(cancel_grace AS REAL), 0.0)
FROM trio_jobs_job INDEXED BY trio_jobs_cancelling WHERE state = 'running' AND cancel_requested IS NOT NULL;

-- name: expired
SELECT number FROM trio_jobs_job WHERE expires <= :now ORDER BY expires LIMIT :limit;

-- name: lapsed
SELECT number FROM trio_jobs_job WHERE lease <= :heard AND +state = 'running' ORDER BY lease LIMIT :limit;

-- name: columns
SELECT name, type, "notnull" FROM pragma_table_info('trio_jobs_job') WHERE name <> 'number';

-- name: newest_event
SELECT max(id) FROM trio_jobs_event WHERE id BETWEEN :first AND :last;

-- name: restarts
SELECT data FROM trio_jobs_event WHERE id BETWEEN :first AND :last AND kind = 'retried' AND at > :since;

-- name: service
SELECT options, started FROM trio_jobs_job WHERE number = :number;

-- name: terms
SELECT state, attempts, expires - due FROM trio_jobs_job WHERE number = :number;

-- name: number_of
SELECT number FROM trio_jobs_job WHERE id = :id;

-- name: leave_alone
UPDATE trio_jobs_job SET expires = NULL, lease = NULL, due = 9e999 WHERE number = :number;

-- name: next_overdue
SELECT min(
    coalesce((SELECT min(expires) FROM trio_jobs_job WHERE expires < 9e999), 9e999),
    coalesce((SELECT min(lease) FROM trio_jobs_job WHERE lease < 9e999), 9e999)
);

-- name: job
{snapshot} WHERE job.id = :id;

-- name: submission
SELECT id, handler, args, options, metadata, priority, owner, key FROM trio_jobs_job WHERE id = :id;

-- name: busy
SELECT 1 FROM trio_jobs_total WHERE what = 'all' AND name = '' AND state = 'running' AND CAST(jobs AS INTEGER) > 0;

-- name: log_place
SELECT number, seq, {is_over} FROM trio_jobs_job WHERE id = :id;

-- name: chunks
SELECT id, count, attempt, kind, at, received, data FROM trio_jobs_event
WHERE id BETWEEN :first AND :last ORDER BY id;

-- name: history
SELECT id, count, attempt, kind, at, received, data FROM trio_jobs_event
WHERE id BETWEEN :first AND :last AND kind NOT IN ('token', 'progress', 'input', 'ready') ORDER BY id;

-- name: oldest_ended
SELECT number FROM trio_jobs_job WHERE finished IS NOT NULL ORDER BY finished, number LIMIT :limit;

-- name: ended_before
SELECT number FROM trio_jobs_job WHERE finished < :before ORDER BY finished LIMIT :limit;

-- name: id_of
SELECT CAST(id AS BLOB) FROM trio_jobs_job WHERE number = :number;

-- name: forget_events
DELETE FROM trio_jobs_event WHERE id BETWEEN :number << 32 AND (:number + 1 << 32) - 1;

-- name: forget_job
DELETE FROM trio_jobs_job WHERE number = :number;

-- name: pauses
SELECT CAST(name AS BLOB) FROM trio_jobs_pause;

-- name: pause
INSERT INTO trio_jobs_pause VALUES (:name) ON CONFLICT DO NOTHING;

-- name: resume
DELETE FROM trio_jobs_pause WHERE name = :name;

-- name: resume_all
DELETE FROM trio_jobs_pause;

-- name: schedules
SELECT text, anchor, last_tick, revision, paused, added, declared_until FROM trio_jobs_schedule ORDER BY name;

-- name: schedule
SELECT NOT added AND declared_until > :now FROM trio_jobs_schedule WHERE name = :name;

-- name: keep_schedule
INSERT INTO trio_jobs_schedule (name, text, every, anchor, last_tick) VALUES (:name, :text, :every, :now, :now)
ON CONFLICT DO UPDATE SET
    text = excluded.text,
    every = excluded.every,
    anchor = iif(every IS excluded.every, anchor, :now),
    last_tick = max(last_tick, :now),
    revision = revision + 1
WHERE text <> excluded.text;

-- name: claim_schedule
UPDATE trio_jobs_schedule SET added = :added, declared_until = :until WHERE name = :name;

-- name: remove_schedule
DELETE FROM trio_jobs_schedule WHERE name = :name;

-- name: pause_schedule
UPDATE trio_jobs_schedule
SET paused = :paused, last_tick = iif(:paused, last_tick, max(last_tick, :now)), revision = revision + 1
WHERE name = :name AND paused <> :paused;

-- name: fire_schedule
UPDATE trio_jobs_schedule SET last_tick = :tick
WHERE name = :name AND revision = :revision AND last_tick = :last AND last_tick < :tick AND NOT paused;

-- name: limits_of
SELECT limited.handler, one.name, one.text, one.pinned, one.running, one.waiting, one.moment, one.last
FROM json_each(:handlers) AS asked CROSS JOIN trio_jobs_limited AS limited ON limited.handler = asked.value
CROSS JOIN trio_jobs_limit AS one ON one.name = limited.name
ORDER BY limited.handler, limited.place;

-- name: limits
SELECT name, text, pinned, running, waiting FROM trio_jobs_limit ORDER BY name;

-- name: pin_limit
INSERT INTO trio_jobs_limit (name, text, pinned) VALUES (:name, :text, 1)
ON CONFLICT DO UPDATE SET text = :text, pinned = 1;

-- name: unpin_limit
UPDATE trio_jobs_limit SET pinned = 0 WHERE name = :name;

-- name: limited_by
SELECT handler FROM trio_jobs_limited WHERE name = :name;

-- name: define_limit
INSERT INTO trio_jobs_limit (name, text) VALUES (:name, :text)
ON CONFLICT DO UPDATE SET text = :text WHERE text <> :text AND NOT pinned;

-- name: forget_limited
DELETE FROM trio_jobs_limited WHERE handler = :handler;

-- name: add_limited
INSERT INTO trio_jobs_limited (handler, place, name) VALUES (:handler, :place, :name);

-- name: forget_limits
DELETE FROM trio_jobs_limit WHERE NOT pinned AND name NOT IN (SELECT name FROM trio_jobs_limited);

-- name: use_limit
UPDATE trio_jobs_limit SET moment = :moment, last = :last WHERE name = :name;

-- name: make_lanes
INSERT INTO trio_jobs_lane (handler, limit_key)
SELECT DISTINCT handler, CASE WHEN json_valid(options) THEN options ->> '$.limit_key' END FROM trio_jobs_job
WHERE handler = :handler AND number BETWEEN :first AND :last AND finished IS NULL AND parent IS NULL AND lane IS NULL
ON CONFLICT DO NOTHING;

-- name: enter_lanes
UPDATE trio_jobs_job SET lane = (
    SELECT number FROM trio_jobs_lane AS lane WHERE lane.handler = trio_jobs_job.handler AND coalesce(limit_key, x'')
        = coalesce(CASE WHEN json_valid(options) THEN options ->> '$.limit_key' END, x'')
)
WHERE handler = :handler AND number BETWEEN :first AND :last AND finished IS NULL AND parent IS NULL AND lane IS NULL;

-- name: leave_lanes
UPDATE trio_jobs_job SET lane = NULL
WHERE handler = :handler AND lane IS NOT NULL AND finished IS NULL;

-- name: forget_lanes
DELETE FROM trio_jobs_lane WHERE handler = :handler;

-- name: count_limits
UPDATE trio_jobs_limit SET (running, waiting) = (
    SELECT CAST(total(lane.running) AS INTEGER), CAST(total(lane.waiting) AS INTEGER)
    FROM trio_jobs_limited AS limited CROSS JOIN trio_jobs_lane AS lane ON lane.handler = limited.handler
    WHERE limited.name = trio_jobs_limit.name
);

-- name: clear_lanes
UPDATE trio_jobs_lane SET jobs = 0, running = 0, waiting = 0, wakes = 0;

-- name: count_lanes
UPDATE trio_jobs_lane SET jobs = counted.jobs, running = counted.running, waiting = counted.waiting
FROM (
    SELECT lane, count(*) AS jobs, sum(state = 'running') AS running,
        sum(state IN ('queued', 'retrying') AND reason IS NOT 'awaiting_input') AS waiting
    FROM trio_jobs_job WHERE lane IS NOT NULL AND finished IS NULL GROUP BY lane
) AS counted
WHERE trio_jobs_lane.number = counted.lane;

-- name: wake_lanes
UPDATE trio_jobs_lane SET wakes = 0, moment = min(moment, :latest) WHERE handler = :handler;

-- name: lanes_woken
SELECT {lane} FROM json_each(:handlers) AS asked
CROSS JOIN trio_jobs_lane ON handler = asked.value AND wakes <= :now
ORDER BY wakes LIMIT :limit;

-- name: next_woken
SELECT EXISTS (SELECT 1 FROM trio_jobs_lane WHERE handler = :handler AND rank IS NOT NULL),
    (SELECT min(wakes) FROM trio_jobs_lane WHERE handler = :handler AND wakes > :now);

-- name: first_lane
SELECT (SELECT min(rank) FROM trio_jobs_lane WHERE handler = :handler AND rank IS NOT NULL), {lane}
FROM trio_jobs_lane WHERE handler = :handler AND rank IS NOT NULL ORDER BY turn LIMIT 1;

-- name: lane_of
SELECT waiting, {lane} FROM trio_jobs_lane WHERE handler = :handler AND coalesce(limit_key, x'') = coalesce(:key, x'');

-- name: best_in_lane
SELECT job.number, job.due + level.penalty AS rank
FROM {levels} AS level CROSS JOIN trio_jobs_job AS job ON job.number = (
    SELECT number FROM trio_jobs_job
    WHERE state IN {started} AND lane = :lane AND priority = level.priority AND due <= :now
        AND behind IS NULL AND (expires IS NULL OR expires > :now)
    ORDER BY due, number LIMIT 1
)
ORDER BY rank, job.number LIMIT 1;

-- name: first_in_lane
SELECT job.due, job.number
FROM {levels} AS level CROSS JOIN trio_jobs_job AS job ON job.number = (
    SELECT number FROM trio_jobs_job
    WHERE state IN {started} AND lane = :lane AND priority = level.priority AND due <= :now
        AND behind IS NULL AND (expires IS NULL OR expires > :now)
    ORDER BY due, number LIMIT 1
)
ORDER BY job.due, job.number LIMIT 1;

-- name: later_in_lane
SELECT min((
    SELECT min(due) FROM trio_jobs_job
    WHERE state IN {started} AND lane = :lane AND priority = level.priority AND due > :now AND due < 9e999
        AND behind IS NULL
)) FROM {levels} AS level;

-- name: due_in_lanes
SELECT job.number
FROM json_each(:handlers) AS asked
CROSS JOIN trio_jobs_lane AS lane ON lane.handler = asked.value AND (rank IS NOT NULL OR wakes <= :now)
CROSS JOIN {levels} AS level CROSS JOIN trio_jobs_job AS job ON job.number IN (
    SELECT number FROM trio_jobs_job
    WHERE state IN {started} AND lane = lane.number AND priority = level.priority AND due <= :now
        AND behind IS NULL AND (expires IS NULL OR expires > :now)
    ORDER BY due, number LIMIT :limit
)
LIMIT 10 * :limit;

-- name: next_turn
UPDATE trio_jobs_meta SET value = value + 1 WHERE name = 'turn' RETURNING value;

-- name: set_lane
UPDATE trio_jobs_lane SET moment = :moment, last = :last, turn = :turn, rank = :rank, wakes = :wakes
WHERE number = :number;

-- name: use_lane
UPDATE trio_jobs_lane SET moment = :moment, last = :last WHERE number = :number;

-- name: forget_lane
DELETE FROM trio_jobs_lane WHERE number = :number;

-- name: held
SELECT started, {lane} FROM trio_jobs_job AS job CROSS JOIN trio_jobs_lane ON trio_jobs_lane.number = job.lane
WHERE job.number = :number;
