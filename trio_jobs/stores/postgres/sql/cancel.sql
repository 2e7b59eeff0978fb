-- Requests to cancel.
CREATE OR REPLACE FUNCTION trio_jobs.request_cancels(calls json) RETURNS TABLE (place int, answer json) LANGUAGE plpgsql
AS $$
DECLARE
    call json;
BEGIN
    FOR place, call IN SELECT * FROM trio_jobs.lock_jobs(calls) LOOP
        answer := trio_jobs.request_cancel_of(call ->> 'job', call ->> 'message', (call ->> 'grace')::float8);
        RETURN NEXT;
    END LOOP;
    RETURN QUERY SELECT * FROM trio_jobs.keep_few((calls -> 0 -> 'keep' ->> 'finished')::bigint, json_array_length(calls));
END $$;

-- Cancels a job that waits, or records the request of one that runs; returns an answer.
CREATE OR REPLACE FUNCTION trio_jobs.request_cancel_of(job_id text, message text, grace double precision) RETURNS json
LANGUAGE plpgsql
AS $$
DECLARE
    now float8;
    job record;
    state text;
    grown json;
BEGIN
    SELECT one.number, one.id, one.state, one.cancel_requested, one.seq + 1 AS seq, one.attempt, one.exclusive, one.lane
    INTO job FROM trio_jobs.job AS one WHERE one.id = job_id FOR UPDATE;
    now := trio_jobs.clock();
    IF NOT FOUND THEN
        RETURN json_build_object('error', 'UnknownJob', 'values', json_build_array(job_id));
    ELSIF job.state IN {over} THEN
        RETURN json_build_object('value', 'already_over');
    END IF;
    UPDATE trio_jobs.job AS one SET
        cancel_requested = coalesce(one.cancel_requested, now),
        cancel_message = CASE WHEN one.cancel_requested IS NULL THEN request_cancel_of.message ELSE one.cancel_message END,
        cancel_grace = CASE WHEN one.cancel_requested IS NULL THEN request_cancel_of.grace
            ELSE least(one.cancel_grace, request_cancel_of.grace) END,
        seq = one.seq + (one.cancel_requested IS NULL)::int
    WHERE one.number = job.number;
    IF job.cancel_requested IS NULL THEN
        grown := json_build_array(job.id);
        INSERT INTO trio_jobs.event (job, seq, count, attempt, kind, at, data) VALUES (
            job.number, job.seq, 1, job.attempt, 'cancel_requested', now,
            '[' || coalesce(to_json(message)::text, 'null') || ']'
        );
    END IF;
    IF job.state = 'running' THEN
        RETURN json_strip_nulls(json_build_object('value', 'requested', 'grown', grown, 'asked', true));
    END IF;
    state := trio_jobs.end_job(
        job.number, 'cancelled', json_build_object('reason', 'user', 'message', message), NULL, NULL, false, false, NULL, now
    );
    RETURN json_strip_nulls(json_build_object(
        'value', 'cancelled', 'grown', json_build_array(job.id), 'ended', json_build_array(job.id),
        'work', nullif(job.exclusive IS NOT NULL OR job.lane IS NOT NULL, false)
    ));
END $$;
