-- Counting the jobs in each state. Each statement that moves jobs appends to `news` what it changes, so no writer
-- waits for another one; whoever folds the news adds them up.

DO $do$
DECLARE
    moved record;
BEGIN
    FOR moved IN SELECT * FROM (VALUES
        ('insert', 'NEW TABLE AS came', 'SELECT *, 1 AS jobs FROM came'),
        ('update', 'OLD TABLE AS gone NEW TABLE AS came',
            'SELECT *, 1 AS jobs FROM came UNION ALL SELECT *, -1 FROM gone'),
        ('delete', 'OLD TABLE AS gone', 'SELECT *, -1 AS jobs FROM gone')
    ) AS known (event, tables, rows) LOOP
        EXECUTE format($sql$
            CREATE OR REPLACE FUNCTION trio_jobs.count_%1$s() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                INSERT INTO trio_jobs.news (what, name, state, jobs)
                SELECT counted.what, counted.name, counted.state, sum(moved.jobs)
                FROM (
                    SELECT handler, owner, state,
                        CASE WHEN state = 'retrying' AND reason = 'awaiting_input' THEN 'awaiting_input' END AS awaits,
                        sum(jobs) AS jobs
                    FROM (%3$s) AS rows GROUP BY 1, 2, 3, 4 HAVING sum(jobs) <> 0
                ) AS moved CROSS JOIN LATERAL (VALUES
                    ('handler', handler, moved.state), ('owner', owner, moved.state),
                    ('handler', handler, awaits), ('owner', owner, awaits)
                ) AS counted (what, name, state)
                WHERE counted.name IS NOT NULL AND counted.state IS NOT NULL
                GROUP BY 1, 2, 3 HAVING sum(moved.jobs) <> 0;
                RETURN NULL;
            END $$;
            CREATE OR REPLACE TRIGGER count_%1$s AFTER %1$s ON trio_jobs.job
                REFERENCING %2$s FOR EACH STATEMENT EXECUTE FUNCTION trio_jobs.count_%1$s();
        $sql$, moved.event, moved.tables, moved.rows);
    END LOOP;
END $do$;

-- How many jobs are in each state: of all, of a handler or of an owner. As in `total`.
CREATE OR REPLACE FUNCTION trio_jobs.count_jobs(kind text, called text) RETURNS TABLE (state text, jobs bigint)
LANGUAGE sql STABLE AS $$
    SELECT counted.state, sum(counted.jobs)::bigint FROM (
        SELECT * FROM trio_jobs.total UNION ALL SELECT * FROM trio_jobs.news
    ) AS counted
    WHERE counted.what = CASE kind WHEN 'all' THEN 'handler' ELSE kind END AND (kind = 'all' OR counted.name = called)
    GROUP BY counted.state HAVING sum(counted.jobs) > 0
$$;

-- How many jobs wait, but for those that wait for an input.
CREATE OR REPLACE FUNCTION trio_jobs.waiting_jobs(kind text, called text) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN  -- a function in SQL would be planned at each submit
    RETURN (
        SELECT greatest(0, coalesce(sum(CASE WHEN state = 'awaiting_input' THEN -jobs ELSE jobs END), 0))::bigint
        FROM (SELECT * FROM trio_jobs.total UNION ALL SELECT * FROM trio_jobs.news) AS counted
        WHERE what = CASE kind WHEN 'all' THEN 'handler' ELSE kind END AND (kind = 'all' OR name = called)
            AND (state IN {started} OR state = 'awaiting_input')
    );
END $$;

-- Add up the news, unless another transaction does. Nobody else writes rows of `total`, so nobody waits for this.
CREATE OR REPLACE FUNCTION trio_jobs.fold_news() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock('trio_jobs.news'::regclass::oid::bigint) THEN
        RETURN;
    END IF;
    WITH read AS (DELETE FROM trio_jobs.news RETURNING *)
    INSERT INTO trio_jobs.total SELECT what, name, state, sum(jobs) FROM read GROUP BY what, name, state
    ON CONFLICT (what, name, state) DO UPDATE SET jobs = total.jobs + excluded.jobs;
    DELETE FROM trio_jobs.total WHERE jobs = 0;
END $$;

-- The first line of a stored error. JSON may hold what a text of PostgreSQL cannot; that is shown as it is.
CREATE OR REPLACE FUNCTION trio_jobs.told(error text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN (error::json ->> 'type') || coalesce(': ' || nullif(error::json ->> 'message', ''), '');
EXCEPTION WHEN OTHERS THEN
    RETURN error;
END $$;

-- When the first job is due that a claim for these handlers may start.
CREATE OR REPLACE FUNCTION trio_jobs.next_due(handlers json) RETURNS double precision LANGUAGE plpgsql STABLE AS $$
DECLARE
    found double precision;
    asked text[] := ARRAY(
        SELECT value FROM json_array_elements_text(handlers) AS value
        WHERE NOT EXISTS (SELECT FROM trio_jobs.pause WHERE name IN ('', value))
    );
BEGIN
    SELECT min(soonest.due) INTO found
    FROM unnest(asked) AS wanted CROSS JOIN {levels} AS level CROSS JOIN LATERAL (
        SELECT due FROM trio_jobs.job
        WHERE state IN {started} AND handler = wanted AND job.priority = level.priority
            AND NOT behind AND lane IS NULL AND (expires IS NULL OR expires > trio_jobs.clock())
        ORDER BY due LIMIT 1
    ) AS soonest;
    RETURN least(found, trio_jobs.next_start(asked));
END $$;

-- The events of a job behind a cursor, beside its newest cursor and whether it is over; a job without such events has
-- one row. This is a function, as a session plans its statement once.
CREATE OR REPLACE FUNCTION trio_jobs.page(job_id text, after bigint, most bigint) RETURNS TABLE (
    newest bigint, over boolean, seq bigint, count integer, attempt integer, kind text, at double precision,
    received bigint, data text
) LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY SELECT job.seq, job.state IN {over}, found.seq, found.count, found.attempt, found.kind, found.at,
        found.received, found.data
    FROM trio_jobs.job LEFT JOIN LATERAL (
        SELECT * FROM (
            SELECT *, sum(least(chunk.count, chunk.seq - after)) OVER (ORDER BY chunk.seq)
                - least(chunk.count, chunk.seq - after) AS before
            FROM (
                SELECT * FROM trio_jobs.event WHERE event.job = job.number AND event.seq > after
                ORDER BY event.seq LIMIT most
            ) AS chunk
        ) AS counted WHERE counted.before < most
    ) AS found ON true
    WHERE job.id = job_id ORDER BY found.seq;
END $$;
