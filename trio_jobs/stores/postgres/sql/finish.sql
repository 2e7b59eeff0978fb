-- Ends running attempts. An outcome has the fields of `Outcome`, its result and `ended.error` as text.
-- Most attempts complete and have nothing that has to be looked after; these are ended all at once.
CREATE OR REPLACE FUNCTION trio_jobs.finish_jobs(calls json) RETURNS TABLE (place int, answer json)
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    ids text[] := ARRAY(SELECT value ->> 'job' FROM json_array_elements(calls));
    rest int[] := '{}';
    one record;
BEGIN
    PERFORM 1 FROM trio_jobs.job AS job WHERE job.id = ANY (ids) ORDER BY job.number FOR UPDATE;
    -- Another statement, which sees all that was committed before the locks were held.
    FOR one IN
        WITH call AS MATERIALIZED (
            SELECT DISTINCT ON (job) * FROM (
                SELECT
                    (ordinality - 1)::int AS place, value ->> 'job' AS job, (value ->> 'attempt')::int AS attempt,
                    value ->> 'claim' AS claim, value -> 'outcome' ->> 'result' AS result,
                    (value -> 'outcome' ->> 'received')::bigint AS received
                FROM json_array_elements(calls) WITH ORDINALITY
                WHERE value -> 'outcome' ->> 'transition' = 'completed'
                    AND coalesce(value -> 'outcome' ->> 'begun', 'true') = 'true'
            ) AS given ORDER BY job
        ), held AS MATERIALIZED (  -- found by their ids alone: see `lock_due`
            SELECT job.number, call.place, call.result, call.received FROM (
                SELECT found.id, found.number, found.state, found.attempt, found.claim, found.exclusive, found.lane, found.consumed
                FROM trio_jobs.job AS found WHERE found.id = ANY (ids) OFFSET 0
            ) AS job JOIN call ON call.job = job.id
            WHERE job.state = 'running' AND job.attempt = call.attempt AND job.claim IS NOT DISTINCT FROM call.claim
                AND job.exclusive IS NULL AND job.lane IS NULL AND coalesce(call.received, 0) <= job.consumed
                AND NOT EXISTS (SELECT 1 FROM trio_jobs.open_children(job.id))
        ), done AS (
            UPDATE trio_jobs.job AS job SET
                state = trio_jobs.next_state('running', 'completed'), reason = NULL, message = NULL, error = NULL,
                result = held.result, lease = NULL, leased_by = NULL, ready = NULL, expires = NULL,
                finished = trio_jobs.clock(), seq = job.seq + 1,
                claim = CASE WHEN held.received IS NOT NULL THEN job.claim END, losses = 0,
                received = coalesce(held.received, job.received), repeated = NULL, repeats = 0, replaced_by = NULL
            FROM held WHERE job.number = held.number
            RETURNING job.number, job.id, job.state, job.seq, job.attempt, job.finished, held.result, held.received,
                held.place
        ), written AS (
            INSERT INTO trio_jobs.event (job, seq, count, attempt, kind, at, received, data)
            SELECT number, seq, 1, attempt, 'completed', finished, received, '[' || coalesce(result, 'null') || ']'
            FROM done
        )
        SELECT done.place, done.id, done.state FROM done
    LOOP
        place := one.place;
        answer := trio_jobs.end_answer(one.id, one.state, '{}', false);
        rest := rest || place;
        RETURN NEXT;
    END LOOP;
    FOR one IN
        SELECT (ordinality - 1)::int AS place, value FROM json_array_elements(calls) WITH ORDINALITY
        WHERE ordinality - 1 <> ALL (rest)
    LOOP
        place := one.place;
        answer := trio_jobs.finish_job(one.value);
        RETURN NEXT;
    END LOOP;
    RETURN QUERY SELECT * FROM trio_jobs.keep_few((calls -> 0 -> 'keep' ->> 'finished')::bigint, json_array_length(calls));
END $$;

-- Ends the attempt of one call, whose job is locked, and returns its answer.
CREATE OR REPLACE FUNCTION trio_jobs.finish_job(call json) RETURNS json LANGUAGE plpgsql
AS $$
DECLARE
    outcome json := call -> 'outcome';
    job record;
    consumed bigint := 0;
    answer json;
BEGIN
    SELECT one.number, one.state, one.consumed INTO job FROM trio_jobs.job AS one
    WHERE one.id = call ->> 'job' AND one.attempt = (call ->> 'attempt')::integer
        AND one.claim IS NOT DISTINCT FROM call ->> 'claim';
    IF NOT FOUND OR job.state <> 'running' AND call ->> 'claim' IS NULL THEN
        RETURN json_build_object(
            'error', 'LeaseLost', 'values', json_build_array(call ->> 'job', (call ->> 'attempt')::integer)
        );
    ELSIF job.state <> 'running' THEN  -- the answer to an earlier call was lost
        RETURN json_build_object('value', job.state);
    END IF;
    IF outcome ->> 'begun' = 'false' THEN
        PERFORM trio_jobs.give_back(job.number);
    END IF;
    IF outcome ->> 'transition' = 'completed' THEN
        consumed := trio_jobs.consume(job.number, job.consumed, (outcome ->> 'received')::bigint);
    END IF;
    answer := trio_jobs.settle_job(job.number, outcome);
    IF consumed > 0 THEN
        PERFORM trio_jobs.trim_log(job.number, call -> 'keep');
    END IF;
    RETURN answer;
END $$;
