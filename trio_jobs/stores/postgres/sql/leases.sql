-- Heartbeats. A claim gives each job a lease of its own; the first heartbeat lets the jobs point to the lease of their
-- worker, and from then on it renews that one row. Children have no lease.

-- The jobs that run the attempt, of the claim, that `held` names by their ids.
CREATE OR REPLACE FUNCTION trio_jobs.held_jobs(held json)
RETURNS TABLE (number bigint, id text, parent text, leased_by bigint, asked boolean, grace double precision)
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    SELECT job.number, job.id, job.parent, job.leased_by, job.cancel_requested IS NOT NULL, job.cancel_grace
    FROM json_each(held) AS one CROSS JOIN LATERAL (
        SELECT found.number, found.id, found.parent, found.state, found.attempt, found.claim, found.leased_by,
            found.cancel_requested, found.cancel_grace
        FROM trio_jobs.job AS found WHERE found.id = one.key OFFSET 0
    ) AS job
    WHERE job.state = 'running' AND job.attempt = (one.value ->> 0)::integer
        AND job.claim IS NOT DISTINCT FROM one.value ->> 1;
END $$;

-- `held` has an attempt and the id of its claim, by job id, and `mine` is the lease of the worker, if it had one before.
CREATE OR REPLACE FUNCTION trio_jobs.beat(held json, lease double precision, mine bigint)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    before double precision;
    lapses double precision;
    leased bigint[];
    alive json;
    cancels json;
BEGIN
    -- Locked before the jobs are looked at: a sweep that takes them back holds it, and is done when this goes on.
    SELECT one.until INTO before FROM trio_jobs.lease AS one WHERE one.number = mine FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        mine := NULL;
    END IF;
    leased := ARRAY(SELECT one.number FROM trio_jobs.held_jobs(held) AS one WHERE one.parent IS NULL);
    lapses := coalesce(trio_jobs.clock() + lease, 'infinity');
    IF cardinality(leased) > 0 AND mine IS NULL THEN
        INSERT INTO trio_jobs.lease (until) VALUES (lapses) RETURNING number INTO mine;
    ELSIF cardinality(leased) > 0 THEN  -- others that point to it are not renewed
        UPDATE trio_jobs.job AS job SET lease = nullif(before, 'infinity'), leased_by = NULL
        WHERE job.state = 'running' AND job.leased_by = mine AND job.number <> ALL (leased);
        UPDATE trio_jobs.lease AS one SET until = lapses WHERE one.number = mine;
    END IF;
    PERFORM 1 FROM trio_jobs.job AS job WHERE job.number = ANY (leased) AND job.leased_by IS DISTINCT FROM mine
        ORDER BY job.number FOR NO KEY UPDATE;
    UPDATE trio_jobs.job AS job SET lease = nullif(lapses, 'infinity'), leased_by = mine
    WHERE job.number = ANY (ARRAY(
        SELECT one.number FROM trio_jobs.held_jobs(held) AS one
        WHERE one.parent IS NULL AND one.leased_by IS DISTINCT FROM mine
    ));
    SELECT json_agg(one.id), json_object_agg(one.id, coalesce(one.grace, 0.0)) FILTER (WHERE one.asked)
    INTO alive, cancels FROM trio_jobs.held_jobs(held) AS one;
    RETURN json_build_object(
        'value', json_build_object('alive', coalesce(alive, '[]'), 'cancels', cancels, 'mine', mine),
        'alarm', nullif(lapses, 'infinity')
    );
END $$;

-- Each call has `held`, `lease` and `mine`, as `beat`.
CREATE OR REPLACE FUNCTION trio_jobs.heartbeat(calls json) RETURNS TABLE (place integer, answer json)
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT (one.ordinality - 1)::integer, trio_jobs.beat(
        one.value -> 'held', (one.value ->> 'lease')::double precision, (one.value ->> 'mine')::bigint
    ) FROM json_array_elements(calls) WITH ORDINALITY AS one;
END $$;
