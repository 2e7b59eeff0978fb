-- Ends running attempts. An outcome has the fields of `Outcome`, its result and `ended.error` as text.
-- Most attempts complete and have nothing that has to be looked after; these are ended all at once.
CREATE OR REPLACE FUNCTION trio_jobs.finish_jobs(calls json) RETURNS TABLE (place int, answer json)
LANGUAGE plpgsql
AS $$
DECLARE
    keep json := calls -> 0 -> 'keep';  -- all calls have the same, and the first has it for all
    ids text[];
    attempts int[];
    claims text[];
    outcomes json[];
    plain boolean[];
    results text[];
    inputs bigint[];
    counts bigint[];
    rest int[] := '{}';
    one record;
BEGIN
    -- The calls are read once, as each look into JSON reads all of it.
    SELECT array_agg(call.job), array_agg(call.attempt), array_agg(call.claim), array_agg(call.outcome),
        array_agg(how.transition = 'completed' AND coalesce(how.begun, true)), array_agg(how.result), array_agg(how.received),
        array_agg(coalesce(how.appended, 0))
    INTO ids, attempts, claims, outcomes, plain, results, inputs, counts
    FROM json_to_recordset(calls) AS call (job text, attempt int, claim text, outcome json) CROSS JOIN LATERAL
        json_to_record(call.outcome) AS how (transition text, begun boolean, result text, received bigint, appended bigint);
    PERFORM 1 FROM trio_jobs.job AS job WHERE job.id = ANY (ids) ORDER BY job.number FOR UPDATE;
    -- Another statement, which sees all that was committed before the locks were held.
    FOR one IN
        WITH call AS MATERIALIZED (
            SELECT DISTINCT ON (job) given.place - 1 AS place, given.job, given.attempt, given.claim, given.result, given.received,
                given.appended
            FROM unnest(ids, attempts, claims, plain, results, inputs, counts) WITH ORDINALITY
                AS given (job, attempt, claim, plain, result, received, appended, place)
            WHERE given.plain ORDER BY job
        ), held AS MATERIALIZED (
            SELECT job.number, call.place, call.result, call.received
            FROM trio_jobs.job AS job JOIN call ON call.job = job.id
            WHERE job.id = ANY (ids) AND job.state || '' = 'running' AND job.attempt = call.attempt AND job.claim IS NOT DISTINCT FROM call.claim
                AND job.exclusive IS NULL AND job.lane IS NULL AND coalesce(call.received, 0) <= job.consumed
                AND call.appended <= job.appended
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
    FOREACH place IN ARRAY ARRAY(SELECT generate_series(0, cardinality(ids) - 1) EXCEPT SELECT unnest(rest) ORDER BY 1) LOOP
        answer := trio_jobs.finish_job(
            ids[place + 1], attempts[place + 1], claims[place + 1], outcomes[place + 1], keep
        );
        RETURN NEXT;
    END LOOP;
    RETURN QUERY SELECT * FROM trio_jobs.keep_few((keep ->> 'finished')::bigint, cardinality(ids));
END $$;

-- Ends the attempt of one call, whose job is locked, and returns its answer.
CREATE OR REPLACE FUNCTION trio_jobs.finish_job(
    of_job text, of_attempt int, of_claim text, outcome json, keep json
) RETURNS json LANGUAGE plpgsql
AS $$
DECLARE
    job record;
    consumed bigint := 0;
    answer json;
BEGIN
    SELECT one.number, one.state, one.consumed, one.appended, one.last_input INTO job FROM trio_jobs.job AS one
    WHERE one.id = of_job AND one.attempt = of_attempt AND one.claim IS NOT DISTINCT FROM of_claim;
    IF NOT FOUND OR job.state <> 'running' AND of_claim IS NULL OR job.state = 'running' AND (
        -- a fail-over has lost what the attempt appended or received
        (outcome ->> 'appended')::bigint > job.appended OR (outcome ->> 'received')::bigint > job.last_input
    ) THEN
        RETURN json_build_object('error', 'LeaseLost', 'values', json_build_array(of_job, of_attempt));
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
        PERFORM trio_jobs.trim_log(job.number, keep);
    END IF;
    RETURN answer;
END $$;
