-- Every statement that reads, by name. Of arrays the planner must not see how many they are, or it makes a plan each time.

-- name: job
SELECT id, handler, state, reason, message, error, result, attempt, priority, options, metadata, owner, key, spent,
    saved, created, started, finished, due, cancel_requested, seq, unconsumed, parent, exclusive, replaced_by,
    resubmitted_from, ready, args, CASE WHEN behind AND finished IS NULL THEN (
        SELECT holder.id FROM trio_jobs.job AS holder
        WHERE holder.exclusive = job.exclusive AND coalesce(holder.owner, '') = coalesce(job.owner, '')
            AND (holder.owner IS NULL) = (job.owner IS NULL) AND NOT holder.behind AND holder.finished IS NULL
    ) END, waits.*
FROM trio_jobs.job LEFT JOIN LATERAL (
    SELECT trio_jobs.clock(), EXISTS (SELECT FROM trio_jobs.job WHERE state = 'running'),
        EXISTS (SELECT FROM trio_jobs.pause WHERE name IN ('', job.handler)),
        trio_jobs.limit_over(job.handler, job.options::json ->> 'limit_key')
    WHERE job.state IN {started}
) AS waits ON true
WHERE id = $1;

-- name: ended
SELECT id, handler, state, reason, message, error, result, attempt, priority, options, metadata, owner, key, spent,
    saved, created, started, finished, due, cancel_requested, seq, unconsumed, parent, exclusive, replaced_by,
    resubmitted_from, ready, args, NULL
FROM trio_jobs.job WHERE id = ANY (ARRAY(SELECT unnest($1::text[])));

-- name: submission
SELECT id, handler, args, options, metadata, priority, owner, key FROM trio_jobs.job WHERE id = $1;

-- name: page
SELECT * FROM trio_jobs.page($1, $2, $3);

-- name: history
SELECT job.seq, job.state IN {over}, event.seq, count, event.attempt, kind, at, event.received, data
FROM trio_jobs.job LEFT JOIN trio_jobs.event
    ON event.job = job.number AND kind NOT IN ('token', 'progress', 'input', 'ready')
WHERE job.id = $1 ORDER BY event.seq;

-- name: inputs
SELECT job.seq, job.state IN {over}, event.*
FROM trio_jobs.job LEFT JOIN LATERAL (
    SELECT seq, count, attempt, kind, at, received, data FROM trio_jobs.event
    WHERE event.job = job.number AND kind IN ('input', 'inputs_ended') AND seq > $2 ORDER BY seq LIMIT $3
) AS event ON true
WHERE job.id = $1 ORDER BY event.seq;

-- name: heard
SELECT asked.id FROM unnest($1::text[], $2::bigint[]) AS asked (id, place) LEFT JOIN trio_jobs.job USING (id)
WHERE job.number IS NULL OR job.last_input > asked.place OR job.seq < asked.place;

-- name: news
SELECT id, seq, state IN {over} FROM trio_jobs.job WHERE id = ANY (ARRAY(SELECT unnest($1::text[])));

-- name: totals
SELECT state, jobs FROM trio_jobs.count_jobs($1, $2) WHERE state <> 'awaiting_input';

-- name: schedules
SELECT trio_jobs.clock(), text, anchor, last_tick, revision, paused, added, declared_until
FROM (VALUES (1)) AS one LEFT JOIN trio_jobs.schedule ON true ORDER BY name;

-- name: limits
SELECT name, json_build_object(
    'at_once', at_once, 'per_second', per_second, 'burst', burst, 'waiting', waiting, 'keyed', keyed
), pinned, trio_jobs.running_under(name), (
    SELECT sum(trio_jobs.waiting_jobs('handler', handler)) FROM trio_jobs.limited WHERE limited.name = limits.name
) FROM trio_jobs.limits ORDER BY name;

-- name: next_due
SELECT trio_jobs.next_due($1), trio_jobs.clock();

-- name: next_overdue
SELECT least(
    (SELECT min(expires) FROM trio_jobs.job WHERE expires IS NOT NULL),
    (SELECT min(coalesce(held.until, job.lease)) FROM trio_jobs.job LEFT JOIN trio_jobs.lease AS held
        ON held.number = job.leased_by WHERE job.state = 'running'),
    'Infinity'
), trio_jobs.clock();

-- name: workers
SELECT until - trio_jobs.clock(), (
    SELECT data FROM trio_jobs.event
    WHERE event.job = held.number AND kind = 'started' AND event.attempt = held.attempt ORDER BY event.seq LIMIT 1
) FROM (
    SELECT job.number, job.attempt, coalesce(lease.until, job.lease) AS until
    FROM trio_jobs.job LEFT JOIN trio_jobs.lease ON lease.number = job.leased_by
    WHERE job.state = 'running' AND coalesce(lease.until, job.lease) < 'Infinity' ORDER BY until LIMIT $1
) AS held ORDER BY until;

-- name: cancelling
SELECT id, coalesce(cancel_grace, 0) FROM trio_jobs.job WHERE state = 'running' AND cancel_requested IS NOT NULL;

-- name: handler_of
SELECT handler FROM trio_jobs.job WHERE id = $1;

-- name: summary
SELECT job.number, job.id, handler, state, reason,
    left(coalesce(nullif(message, ''), CASE WHEN error IS NOT NULL THEN trio_jobs.told(error) END), 200),
    attempt, priority, options, owner, parent, created, started, finished, due, cancel_requested, seq,
    octet_length(args), octet_length(result), bytes, progress, CASE WHEN octet_length(args) <= 16384 THEN left(args, 200) END

-- name: notify
SELECT pg_notify($1, $2);

-- name: fold_news
SELECT trio_jobs.fold_news();

-- What the command line asks.

-- name: handlers
SELECT name FROM trio_jobs.total WHERE what = 'handler' UNION SELECT name FROM trio_jobs.news WHERE what = 'handler';

-- name: size
SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
WHERE relkind = 'r' AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'trio_jobs.job'::regclass);

-- name: begin_with
SELECT id FROM trio_jobs.job WHERE id >= $1 AND id < $1 || E'\x7f' ORDER BY id LIMIT $2;

-- name: near
SELECT max(id) FROM trio_jobs.job WHERE id < $1 UNION ALL SELECT min(id) FROM trio_jobs.job WHERE id > $1;

-- name: wrong_totals
WITH there AS (
    SELECT handler, owner, CASE WHEN state = 'retrying' AND reason = 'awaiting_input' THEN 'awaiting_input' END AS waits,
        state, count(*) AS jobs
    FROM trio_jobs.job GROUP BY 1, 2, 3, 4
), counted AS (
    SELECT what, name, known.state, sum(jobs) AS jobs FROM there CROSS JOIN LATERAL (VALUES
        ('handler', handler, there.state), ('owner', owner, there.state), ('handler', handler, waits), ('owner', owner, waits)
    ) AS known (what, name, state) WHERE name IS NOT NULL AND known.state IS NOT NULL GROUP BY 1, 2, 3
), said AS (
    SELECT what, name, state, sum(jobs) AS jobs
    FROM (SELECT * FROM trio_jobs.total UNION ALL SELECT * FROM trio_jobs.news) AS known GROUP BY 1, 2, 3
)
SELECT what, name, state, coalesce(said.jobs, 0), coalesce(counted.jobs, 0)
FROM said FULL JOIN counted USING (what, name, state) WHERE coalesce(said.jobs, 0) <> coalesce(counted.jobs, 0);

-- name: orphans
SELECT DISTINCT job FROM trio_jobs.event WHERE NOT EXISTS (SELECT FROM trio_jobs.job WHERE job.number = event.job);

-- name: to_check
SELECT number, id, kept, state = 'running' AND parent IS NULL AND lease IS NULL AND leased_by IS NULL FROM trio_jobs.job;

-- name: pauses
SELECT name FROM trio_jobs.pause;
