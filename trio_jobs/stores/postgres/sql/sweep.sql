-- Sweeps, and what is deleted.

-- As `rules.not_started`: how a job ends that was not started within its queue timeout.
CREATE OR REPLACE FUNCTION trio_jobs.not_started(waited double precision) RETURNS json LANGUAGE sql AS $$
    SELECT json_build_object('reason', 'queue_timeout', 'message', format(
        'Job was not started within %ss', trio_jobs.short(round(waited::numeric, 6)::double precision)
    ))
$$;

-- As `rules.worker_lost`: how the attempt of a job ends whose worker was lost.
CREATE OR REPLACE FUNCTION trio_jobs.worker_lost(job trio_jobs.job) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    service boolean := job.options::json ->> 'restart' IS NOT NULL;
    deadly boolean := NOT service AND job.losses + 1 >= greatest(job.attempts, {crashes});
BEGIN
    RETURN json_build_object(
        'transition', CASE WHEN deadly AND job.cancel_requested IS NULL THEN 'failed' ELSE 'retried' END,
        'ended', json_build_object(
            'reason', CASE WHEN service THEN 'restarted' ELSE 'worker_lost' END,
            'message', 'Its worker was lost' || CASE WHEN deadly THEN
                format(', %s times in all, and no attempt ended in between', job.losses + 1) ELSE '' END,
            'delay', 0.0
        ),
        'received', NULL
    );
END $$;

-- Locks and returns up to 500 jobs that waited too long, and as many whose leases have lapsed. What others have locked
-- is left to them. The leases of workers stay locked, so that no heartbeat renews one in between.
CREATE OR REPLACE FUNCTION trio_jobs.lock_overdue(OUT expired bigint[], OUT lapsed bigint[])
LANGUAGE plpgsql AS $$
DECLARE
    at double precision := trio_jobs.clock();
    leases bigint[];
BEGIN
    expired := ARRAY(
        SELECT job.number FROM trio_jobs.job AS job WHERE job.expires <= at AND job.state || '' = 'queued'
        ORDER BY job.expires LIMIT 500 FOR UPDATE SKIP LOCKED
    );
    leases := ARRAY(SELECT one.number FROM trio_jobs.lease AS one WHERE one.until <= at FOR UPDATE SKIP LOCKED);
    DELETE FROM trio_jobs.lease AS one WHERE one.number = ANY (leases) AND NOT EXISTS (
        SELECT 1 FROM trio_jobs.job AS job WHERE job.state = 'running' AND job.leased_by = one.number
    );
    lapsed := ARRAY(
        SELECT job.number FROM trio_jobs.job AS job
        WHERE job.state = 'running' AND job.parent IS NULL AND (
            job.leased_by = ANY (leases) OR job.lease <= at AND NOT EXISTS (
                SELECT 1 FROM trio_jobs.lease AS one WHERE one.number = job.leased_by
            )
        ) ORDER BY job.number LIMIT 500 FOR UPDATE SKIP LOCKED
    );
END $$;

-- Expires a locked job, or takes it back; returns what changed, as an answer.
CREATE OR REPLACE FUNCTION trio_jobs.end_overdue(number bigint) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    job trio_jobs.job;
BEGIN
    SELECT one.* INTO job FROM trio_jobs.job AS one WHERE one.number = end_overdue.number;
    IF job.state = 'running' THEN
        RETURN trio_jobs.settle_job(number, trio_jobs.worker_lost(job));
    END IF;
    RETURN trio_jobs.end_answer(job.id, trio_jobs.end_job(
        number, 'expired', trio_jobs.not_started(job.expires - job.due), NULL, NULL, false, false, NULL, trio_jobs.clock()
    ), NULL, true);
END $$;

-- As `end_overdue`, of a job that may be damaged: then it fails, or else it is left as it is, and is neither claimed nor
-- swept any more. An error that is not about what is stored is raised.
CREATE OR REPLACE FUNCTION trio_jobs.end_alone(number bigint) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    RETURN trio_jobs.end_overdue(number);
EXCEPTION WHEN data_exception OR integrity_constraint_violation OR raise_exception THEN
    RAISE WARNING 'job number % is damaged, so it fails: %', number, SQLERRM;
    BEGIN
        PERFORM trio_jobs.end_job(
            number, 'failed',
            json_build_object('reason', 'error', 'message', 'what is stored of it is damaged: ' || SQLERRM),
            NULL, NULL, false, false, NULL, trio_jobs.clock()
        );
    EXCEPTION WHEN data_exception OR integrity_constraint_violation OR raise_exception THEN
        UPDATE trio_jobs.job AS job SET expires = NULL, lease = NULL, leased_by = NULL, due = 'infinity'
        WHERE job.number = end_alone.number;
    END;
    RETURN (
        SELECT trio_jobs.end_answer(job.id, job.state, NULL, true) FROM trio_jobs.job AS job
        WHERE job.number = end_alone.number
    );
END $$;

-- Lets the first of those that stand behind a name hold it, where nobody does.
CREATE OR REPLACE FUNCTION trio_jobs.hand_on_all() RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE trio_jobs.job AS job SET behind = false WHERE job.number IN (
        SELECT first.number FROM trio_jobs.job AS first WHERE first.behind AND first.number IN (
            SELECT min(one.number) FROM trio_jobs.job AS one WHERE one.behind AND one.finished IS NULL
            GROUP BY one.exclusive, one.owner
            HAVING NOT EXISTS (
                SELECT 1 FROM trio_jobs.job AS holder
                WHERE holder.exclusive = one.exclusive AND coalesce(holder.owner, '') = coalesce(one.owner, '')
                    AND (holder.owner IS NULL) = (one.owner IS NULL) AND NOT holder.behind AND holder.finished IS NULL
            )
        ) ORDER BY first.number FOR UPDATE SKIP LOCKED
    );
    RETURN FOUND;
EXCEPTION WHEN unique_violation THEN  -- somebody was faster, and the next sweep looks again
    RETURN false;
END $$;

-- What was reclaimed: the fields of `Reclaimed`, with the row of the `started` event in place of the worker.
CREATE OR REPLACE FUNCTION trio_jobs.reclaimed(numbers bigint[]) RETURNS json LANGUAGE sql AS $$
    SELECT coalesce(json_agg(json_build_array(job.id, job.handler, job.attempt, (
        SELECT event.data FROM trio_jobs.event AS event
        WHERE event.job = job.number AND event.kind = 'started' ORDER BY event.seq DESC LIMIT 1
    ), job.state)), '[]') FROM trio_jobs.job AS job WHERE job.number = ANY (numbers) AND job.state <> 'running'
$$;

-- One sweep serves all the calls. Each `value` says how many jobs it has handled; that of the first also what it
-- has reclaimed, which is told once.
CREATE OR REPLACE FUNCTION trio_jobs.sweep(calls json) RETURNS TABLE (place integer, answer json)
LANGUAGE plpgsql AS $$
DECLARE
    found record;
    numbers bigint[];
    done json[];
    reclaimed json;
    freed boolean;
    others json;
BEGIN
    answer := trio_jobs.too_new((calls -> 0 ->> 'version')::bigint);
    others := answer;
    IF answer IS NULL THEN
        found := trio_jobs.lock_overdue();
        numbers := found.expired || found.lapsed;
        BEGIN
            done := ARRAY(SELECT trio_jobs.end_overdue(one) FROM unnest(numbers) AS one);
        EXCEPTION WHEN data_exception OR integrity_constraint_violation OR raise_exception THEN
            done := ARRAY(SELECT trio_jobs.end_alone(one) FROM unnest(numbers) AS one);
        END;
        reclaimed := trio_jobs.reclaimed(found.lapsed);  -- now, as those that failed may be deleted
        freed := trio_jobs.hand_on_all();
        PERFORM trio_jobs.move_in(ARRAY(  -- what started just as its handler got its first limit
            SELECT job.number FROM trio_jobs.job WHERE job.state = 'running' AND job.lane IS NULL
                AND job.handler IN (SELECT limited.handler FROM trio_jobs.limited) FOR UPDATE SKIP LOCKED
        ));
        RETURN QUERY SELECT * FROM trio_jobs.keep_few((calls -> 0 -> 'keep' ->> 'finished')::bigint, cardinality(numbers));
        PERFORM trio_jobs.fold_news();
        answer := json_build_object(
            'value', json_build_array(cardinality(numbers), reclaimed), 'work', freed OR cardinality(numbers) > 0,
            'grown', ARRAY(SELECT json_array_elements_text(one -> 'grown') FROM unnest(done) AS one),
            'ended', ARRAY(SELECT json_array_elements_text(one -> 'ended') FROM unnest(done) AS one)
        );
        others := json_build_object('value', json_build_array(cardinality(numbers), json_build_array()));
    END IF;
    RETURN QUERY SELECT one.place, CASE one.place WHEN 0 THEN sweep.answer ELSE others END
    FROM generate_series(0, json_array_length(calls) - 1) AS one (place);
END $$;

-- What tells the tasks that wait for jobs that these have been deleted.
CREATE OR REPLACE FUNCTION trio_jobs.gone(value json, ids text[]) RETURNS json LANGUAGE sql AS $$
    SELECT json_build_object('value', value, 'grown', ids, 'ended', ids, 'heard', (
        SELECT coalesce(json_object_agg(one.id, NULL::bigint), json_build_object()) FROM unnest(ids) AS one (id)
    ))
$$;

-- Each call has `job`, the id.
CREATE OR REPLACE FUNCTION trio_jobs.remove(calls json) RETURNS TABLE (place integer, answer json)
LANGUAGE plpgsql AS $$
DECLARE
    call json;
    job record;
BEGIN
    FOR place, call IN
        SELECT one.ordinality - 1, one.value FROM json_array_elements(calls) WITH ORDINALITY AS one
        ORDER BY one.value ->> 'job'
    LOOP
        SELECT one.number, one.state, one.state IN {over} AS over INTO job
        FROM trio_jobs.job AS one WHERE one.id = call ->> 'job' FOR UPDATE;
        IF job.number IS NULL THEN
            answer := json_build_object('error', 'UnknownJob', 'values', json_build_array(call ->> 'job'));
        ELSIF NOT job.over THEN
            answer := json_build_object('error', 'IllegalTransition', 'values', json_build_array(
                job.state, 'removed', '; cancel it first, or wait for its end'
            ));
        ELSE
            answer := trio_jobs.gone(NULL, trio_jobs.forget(ARRAY[job.number]));
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

-- Each call has `before`, a time, or `older_than`, seconds. Up to 500 jobs go at a time; `value` is their number, and
-- the `before` with which to go on.
CREATE OR REPLACE FUNCTION trio_jobs.prune(calls json) RETURNS TABLE (place integer, answer json)
LANGUAGE plpgsql AS $$
DECLARE
    call json;
    before double precision;
    gone text[];
BEGIN
    FOR place, call IN
        SELECT one.ordinality - 1, one.value FROM json_array_elements(calls) WITH ORDINALITY AS one
    LOOP
        before := coalesce(
            (call ->> 'before')::double precision, trio_jobs.clock() - (call ->> 'older_than')::double precision
        );
        gone := trio_jobs.forget(ARRAY(
            SELECT job.number FROM trio_jobs.job AS job WHERE job.finished < before ORDER BY job.finished LIMIT 500
        ));
        answer := trio_jobs.gone(json_build_array(cardinality(gone), before), gone);
        RETURN NEXT;
    END LOOP;
END $$;
