-- Heartbeats. A claim gives each job a lease of its own; the first heartbeat lets the jobs point to the lease of their
-- worker, and from then on it renews that one row. Children have no lease.

-- Whether a job runs the attempt, of the claim, that a fence names. The job is found by its id, not by its state.
CREATE OR REPLACE FUNCTION trio_jobs.runs(job trio_jobs.job, fence json) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT (job.state = 'running') IS TRUE AND job.attempt = (fence ->> 0)::integer AND job.claim IS NOT DISTINCT FROM fence ->> 1
$$;

-- `held` has a fence by job id, and `mine` is the lease of the worker, if it had one before.
CREATE OR REPLACE FUNCTION trio_jobs.beat(held json, lease double precision, mine bigint)
RETURNS json LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
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
    leased := ARRAY(
        SELECT job.number FROM json_each(held) AS one JOIN trio_jobs.job AS job ON job.id = one.key
        WHERE trio_jobs.runs(job, one.value) AND job.parent IS NULL
    );
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
    FROM json_each(held) AS one
    WHERE job.id = one.key AND trio_jobs.runs(job, one.value) AND job.parent IS NULL
        AND job.leased_by IS DISTINCT FROM mine;
    SELECT json_agg(job.id), json_object_agg(job.id, coalesce(job.cancel_grace, 0.0)) FILTER (
        WHERE job.cancel_requested IS NOT NULL
    ) INTO alive, cancels
    FROM json_each(held) AS one JOIN trio_jobs.job AS job ON job.id = one.key WHERE trio_jobs.runs(job, one.value);
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
