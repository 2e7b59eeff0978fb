-- Starts of jobs.

-- The refusal of calls by a version of the package that is too old for the schema; NULL if it is not.
CREATE OR REPLACE FUNCTION trio_jobs.too_new(of_client bigint) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    RETURN (
        SELECT json_build_object('error', 'SchemaTooNew', 'values', json_build_array(
            'the database ' || current_database(), meta.value, of_client
        ))
        FROM trio_jobs.meta WHERE meta.name = 'compat' AND meta.value > of_client
    );
END $$;

-- The calls, with that refusal as the answer to each.
CREATE OR REPLACE FUNCTION trio_jobs.checked(calls json) RETURNS TABLE (place integer, call json, answer json)
LANGUAGE plpgsql AS $$
DECLARE
    refused json := trio_jobs.too_new((calls -> 0 ->> 'version')::bigint);
BEGIN
    RETURN QUERY SELECT (one.ordinality - 1)::integer, one.value, refused FROM json_array_elements(calls) WITH ORDINALITY AS one;
END $$;

-- The calls, whose jobs are locked now: in one order, so that no two transactions wait for each other.
CREATE OR REPLACE FUNCTION trio_jobs.lock_jobs(calls json) RETURNS TABLE (place integer, call json) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM trio_jobs.job
    WHERE job.id = ANY (ARRAY(SELECT value ->> 'job' FROM json_array_elements(calls))) ORDER BY job.number FOR UPDATE;
    RETURN QUERY SELECT (one.ordinality - 1)::integer, one.value FROM json_array_elements(calls) WITH ORDINALITY AS one;
END $$;

-- Starts jobs that wait and that the caller has locked; each row is what `Rows.claim_of` takes, in the order given.
-- Without a `lease`, in seconds, it never lapses.
CREATE OR REPLACE FUNCTION trio_jobs.start_jobs(numbers bigint[], worker text, lease double precision, claim text)
RETURNS SETOF json LANGUAGE plpgsql AS $$
DECLARE
    begun double precision := trio_jobs.clock();
    named text := '[' || to_json(start_jobs.worker) || ']';
BEGIN
    RETURN QUERY WITH started AS (
        UPDATE trio_jobs.job AS job
        SET state = 'running', claim = start_jobs.claim, attempt = job.attempt + 1, spent = job.spent + 1,
            appended = 0, seq = job.seq + 1, started = begun, lease = begun + start_jobs.lease, leased_by = NULL,
            expires = NULL, ready = NULL, reason = NULL, message = NULL, error = NULL, received = job.consumed,
            waited = CASE WHEN job.reason = 'awaiting_input' THEN
                CASE WHEN job.last_input > job.received THEN 'input' ELSE 'timeout' END
            END
        FROM unnest(numbers) WITH ORDINALITY AS asked (number, place)
        WHERE job.number = asked.number AND job.state || '' IN {started}
        RETURNING asked.place, job.number, job.attempt, job.seq, json_build_array(
            job.id, job.handler, job.args, job.options, job.metadata, job.priority, job.owner, job.key,
            job.attempt, job.spent, job.saved, job.seq, job.consumed, job.waited
        ) AS record
    ), logged AS (
        INSERT INTO trio_jobs.event (job, seq, count, attempt, kind, at, data)
        SELECT one.number, one.seq, 1, one.attempt, 'started', begun, named FROM started AS one
    )
    SELECT one.record FROM started AS one ORDER BY one.place;
END $$;
