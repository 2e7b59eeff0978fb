-- How attempts and jobs end: the rules of `rules.py`, and what `sqlite/ends.py` is for a file.
-- An end, `ended`, is an object with the fields of `Ended`, but `error` is text: JSON in it.

-- The state that follows. The caller has locked the job and looked at its state, so a refusal is unexpected.
CREATE OR REPLACE FUNCTION trio_jobs.next_state(state text, how text) RETURNS text LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    after text;
BEGIN
    SELECT move.after INTO after FROM (VALUES {moves}) AS move (before, how, after)
    WHERE move.before = next_state.state AND move.how = next_state.how;
    IF after IS NULL THEN
        RAISE EXCEPTION 'a job that is % cannot be %', state, how;
    END IF;
    RETURN after;
END $$;

-- An end as it stands in the log, the reason first.
CREATE OR REPLACE FUNCTION trio_jobs.ended_text(ended json) RETURNS text LANGUAGE sql IMMUTABLE
AS $$
    SELECT '{' || concat_ws(
        ',', '"reason":' || to_json(ended ->> 'reason'), '"message":' || to_json(ended ->> 'message'),
        '"error":' || (ended ->> 'error'), '"delay":' || CASE WHEN ended ->> 'delay' IS NOT NULL THEN ended -> 'delay' END,
        '"repeats":' || nullif(ended ->> 'repeats', '0'), '"replaced_by":' || to_json(ended ->> 'replaced_by')
    ) || '}'
$$;

-- `rules.conclude`: what the end of a running attempt means for its job. Of a service, whose attempt ends with
-- reason `restarted`, `rule` is its `Restart`; of every other job that is null.
CREATE OR REPLACE FUNCTION trio_jobs.conclude(
    outcome json, asked boolean, said text, last_input bigint, before text, before_repeats integer,
    rule json, ran double precision, restarts bigint,
    OUT how text, OUT ended json, OUT delay double precision, OUT keeps_rank boolean, OUT unspent boolean
) LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    reason text;
    message text;
    repeats integer;
BEGIN
    how := outcome ->> 'transition';
    ended := outcome ->> 'ended';
    reason := ended ->> 'reason';
    message := ended ->> 'message';
    repeats := coalesce((ended ->> 'repeats')::integer, 0);
    keeps_rank := false;
    unspent := false;
    IF ended IS NULL THEN
        RETURN;
    ELSIF how = 'retried' AND asked OR how <> 'retried' AND reason = 'user' THEN
        how := CASE how WHEN 'retried' THEN 'cancelled' ELSE how END;
        IF reason = 'worker_lost' THEN  -- the message tells it
            said := coalesce(said || ' (' || message || ')', message);
        END IF;
        ended := json_build_object('reason', 'user', 'message', said, 'error', ended ->> 'error');
    ELSIF how = 'retried' AND rule IS NOT NULL THEN
        IF restarts >= (rule ->> 'most')::integer THEN
            how := 'failed';
            message := concat_ws(
                ': ',
                'It ended ' || restarts + 1 || ' times within ' || trio_jobs.short((rule ->> 'within')::float8) || 's',
                nullif(message, '')
            );
            ended := json_build_object('reason', 'restarts', 'message', message, 'error', ended ->> 'error');
            RETURN;
        END IF;
        repeats := CASE
            WHEN before IS DISTINCT FROM 'restarted' OR ran >= (rule ->> 'healthy')::float8 THEN 0
            ELSE before_repeats + 1
        END;
        delay := trio_jobs.restart_delay(rule, repeats + 1);
        ended := trio_jobs.with_repeats(ended, repeats, to_json(delay));
    ELSIF how = 'retried' THEN
        IF reason = before AND reason IN {repeated} THEN
            ended := trio_jobs.with_repeats(ended, before_repeats + 1, ended -> 'delay');
        END IF;
        delay := coalesce((ended ->> 'delay')::float8, 0);
        IF reason = 'awaiting_input' AND last_input > coalesce((outcome ->> 'received')::bigint, 0) THEN
            delay := 0;
        END IF;
        keeps_rank := reason IN {keeps_rank};
        unspent := reason IN {unspent};
    END IF;
END $$;

CREATE OR REPLACE FUNCTION trio_jobs.with_repeats(ended json, repeats integer, delay json) RETURNS json LANGUAGE sql IMMUTABLE
AS $$
    SELECT json_build_object(
        'reason', ended ->> 'reason', 'message', ended ->> 'message', 'error', ended ->> 'error', 'delay', delay,
        'repeats', repeats, 'replaced_by', ended ->> 'replaced_by'
    )
$$;

-- `Restart.delay`: the seconds before the restart of that number in a row, from 1.
CREATE OR REPLACE FUNCTION trio_jobs.restart_delay(rule json, number integer) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    first float8 := (rule ->> 'first')::float8;
    factor float8 := (rule ->> 'factor')::float8;
    longest float8 := (rule ->> 'maximum')::float8;
BEGIN
    IF first = 0 THEN
        RETURN 0;
    ELSIF greatest(0, ln(first)) + (number - 1) * ln(factor) > 700 THEN  -- it would be beyond what a float can hold
        RETURN longest;
    END IF;
    RETURN least(longest, first * power(factor, number - 1));
END $$;

-- A number with six digits, as people read it.
CREATE OR REPLACE FUNCTION trio_jobs.short(number double precision) RETURNS text LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE WHEN number = 0 OR abs(number) NOT BETWEEN 1e-4 AND 999999 THEN number::text
        ELSE trim_scale(round(number::numeric, 5 - floor(log(abs(number)))::integer))::text END
$$;

-- Ends a running attempt of a locked job, closes its children, and returns an answer: its new state and what changed.
CREATE OR REPLACE FUNCTION trio_jobs.settle_job(of_job bigint, outcome json) RETURNS json LANGUAGE plpgsql
AS $$
DECLARE
    now float8 := trio_jobs.clock();
    job record;
    done record;
    rule json;
    restarts bigint := 0;
    children bigint[] := trio_jobs.lock_children(of_job);
    child bigint;
    ids text[];
    state text;
BEGIN
    SELECT one.id, one.options, one.cancel_requested IS NOT NULL AS asked, one.cancel_message, one.last_input,
        one.repeated, one.repeats, coalesce(one.started, now) AS started, one.exclusive, one.lane
    INTO job FROM trio_jobs.job AS one WHERE one.number = of_job;
    IF outcome -> 'ended' ->> 'reason' = 'restarted' THEN
        rule := job.options::json ->> 'restart';
        SELECT count(*) INTO restarts FROM trio_jobs.event AS event
        WHERE event.job = of_job AND event.kind = 'retried' AND event.at > now - (rule ->> 'within')::float8
            AND event.data LIKE '[{"reason":"restarted"%';
    END IF;
    done := trio_jobs.conclude(
        outcome, job.asked, job.cancel_message, job.last_input, job.repeated, job.repeats, rule, now - job.started, restarts
    );
    FOREACH child IN ARRAY children LOOP
        PERFORM trio_jobs.end_job(
            child, 'cancelled', '{"reason": "parent"}', NULL, NULL, false, false, NULL, now
        );
    END LOOP;
    state := trio_jobs.end_job(
        of_job, done.how, done.ended, outcome ->> 'result', done.delay, done.keeps_rank, done.unspent,
        (outcome ->> 'received')::bigint, now
    );
    SELECT array_agg(one.id) INTO ids FROM trio_jobs.job AS one WHERE one.number = ANY (children);
    RETURN trio_jobs.end_answer(job.id, state, ids, job.exclusive IS NOT NULL OR job.lane IS NOT NULL);
END $$;

-- The answer of a verb that has moved a job to a state: its value, and what changed.
CREATE OR REPLACE FUNCTION trio_jobs.end_answer(id text, state text, children text[], freed boolean) RETURNS json
LANGUAGE sql IMMUTABLE
AS $$
    SELECT json_strip_nulls(json_build_object(
        'value', state, 'grown', array_append(children, id),
        'ended', CASE WHEN state IN {over} THEN array_append(children, id) ELSE children END,
        'work', nullif(freed OR state NOT IN {over}, false)
    ))
$$;

-- The children of a job that run.
CREATE OR REPLACE FUNCTION trio_jobs.open_children(parent text) RETURNS TABLE (id text, number bigint)
LANGUAGE sql STABLE
AS $$
    SELECT child.id, child.number FROM (
        SELECT one.id, one.number, one.state FROM trio_jobs.job AS one WHERE one.parent = $1 OFFSET 0
    ) AS child WHERE child.state = 'running'
$$;

-- Locks the open children of a locked job, and theirs, and returns them, the last first: a child comes after its parent.
CREATE OR REPLACE FUNCTION trio_jobs.lock_children(of_job bigint) RETURNS bigint[] LANGUAGE plpgsql
AS $$
DECLARE
    known bigint[] := '{}';
    found bigint[];
BEGIN
    LOOP
        WITH RECURSIVE below (id, number) AS (
            SELECT job.id, job.number FROM trio_jobs.job AS job WHERE job.number = of_job
            UNION SELECT child.id, child.number FROM below CROSS JOIN trio_jobs.open_children(below.id) AS child
        )
        SELECT coalesce(array_agg(number ORDER BY number DESC), '{}') INTO found FROM below WHERE number <> of_job;
        IF found = known THEN  -- all are locked, so none can have been added, or have ended, since then
            RETURN known;
        END IF;
        PERFORM 1 FROM trio_jobs.job AS job WHERE job.number = ANY (found) ORDER BY job.number FOR UPDATE;
        known := found;
    END LOOP;
END $$;

-- Moves a locked job to the next state, writes the event, and hands an exclusive name on to the first behind it.
-- `received` is null if that is not known, as its worker was lost, or as it did not run.
CREATE OR REPLACE FUNCTION trio_jobs.end_job(
    number bigint, how text, ended json, result text, delay double precision, keeps_rank boolean, unspent boolean,
    received bigint, at double precision
) RETURNS text LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    job record;
BEGIN
    UPDATE trio_jobs.job AS one SET
        state = trio_jobs.next_state(one.state, how), reason = ended ->> 'reason', message = ended ->> 'message',
        error = ended ->> 'error', result = end_job.result, lease = NULL, leased_by = NULL, ready = NULL, expires = NULL,
        finished = CASE WHEN trio_jobs.next_state(one.state, how) IN {over} THEN at END, seq = one.seq + 1,
        due = CASE WHEN keeps_rank THEN one.first_due ELSE coalesce(at + delay, one.due) END,
        spent = one.spent - coalesce(unspent, false)::int,
        claim = CASE WHEN one.state <> 'running' OR end_job.received IS NOT NULL THEN one.claim END,
        losses = CASE ended ->> 'reason' WHEN 'worker_lost' THEN one.losses + 1 ELSE 0 END,
        received = coalesce(end_job.received, one.received), repeated = ended ->> 'reason',
        repeats = coalesce((ended ->> 'repeats')::integer, 0), replaced_by = ended ->> 'replaced_by'
    WHERE one.number = end_job.number
    RETURNING one.state, one.seq, one.attempt, one.exclusive, one.owner, one.behind, one.finished INTO job;
    INSERT INTO trio_jobs.event (job, seq, count, attempt, kind, at, received, data) VALUES (
        end_job.number, job.seq, 1, job.attempt, how, end_job.at, end_job.received,
        '[' || CASE WHEN ended IS NULL THEN coalesce(end_job.result, 'null') ELSE trio_jobs.ended_text(ended) END || ']'
    );
    IF how = 'retried' AND job.attempt % {fold_every} = 0 THEN
        PERFORM trio_jobs.fold_log(end_job.number);
    ELSIF job.finished IS NOT NULL AND job.exclusive IS NOT NULL AND NOT job.behind THEN
        UPDATE trio_jobs.job AS next SET behind = false WHERE next.number = (
            SELECT first.number FROM trio_jobs.job AS first
            WHERE first.behind AND first.finished IS NULL AND first.exclusive = job.exclusive
                AND coalesce(first.owner, '') = coalesce(job.owner, '') AND (first.owner IS NULL) = (job.owner IS NULL)
            ORDER BY first.number LIMIT 1 FOR UPDATE
        );
    END IF;
    RETURN job.state;
END $$;

-- Deletes the oldest ended jobs if more than so many are kept. As looking costs as much as that are, not every end looks.
-- What was deleted is told by a row for no call.
CREATE OR REPLACE FUNCTION trio_jobs.keep_few(most bigint, ends bigint) RETURNS TABLE (place int, answer json) LANGUAGE plpgsql
AS $$
BEGIN
    IF most < 1::bigint << 60 AND random() * most < 32 * ends THEN
        answer := trio_jobs.gone(NULL, trio_jobs.forget(array(
            SELECT job.number FROM trio_jobs.job AS job WHERE job.finished IS NOT NULL
            ORDER BY job.finished DESC, job.number DESC OFFSET most LIMIT 500
        )));
        RETURN NEXT;
    END IF;
END $$;

-- Deletes jobs that have ended, unless another transaction is at it; returns their ids.
CREATE OR REPLACE FUNCTION trio_jobs.forget(numbers bigint[]) RETURNS text[] LANGUAGE plpgsql
AS $$
DECLARE
    found bigint[];
    ids text[];
BEGIN
    SELECT array_agg(one.number), array_agg(one.id) INTO found, ids FROM (
        SELECT job.number, job.id FROM trio_jobs.job AS job
        WHERE job.number = ANY (numbers) AND job.state || '' IN {over} ORDER BY job.number FOR UPDATE SKIP LOCKED
    ) AS one;
    DELETE FROM trio_jobs.event AS event WHERE event.job = ANY (found);
    DELETE FROM trio_jobs.tag AS tag WHERE tag.job = ANY (found);
    DELETE FROM trio_jobs.input AS input WHERE input.job = ANY (found);
    DELETE FROM trio_jobs.job AS job WHERE job.number = ANY (found);
    RETURN coalesce(ids, '{}');
END $$;
