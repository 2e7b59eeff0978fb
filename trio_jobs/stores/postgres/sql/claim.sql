-- Claims: what is due, by rank, each attempt once.

-- The numbers and ranks of up to `most` jobs of handlers that are due, in that order. Jobs in lanes are not among them.
-- For each handler and priority they lie in the order of their ranks in one index, so that it costs the same however
-- many wait.
CREATE OR REPLACE FUNCTION trio_jobs.due_jobs(handlers text[], most integer, at double precision)
RETURNS TABLE (number bigint, rank double precision)
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    SELECT found.number, found.due + level.penalty
    FROM unnest(handlers) AS asked (handler) CROSS JOIN {levels} AS level CROSS JOIN LATERAL (
        SELECT job.number, job.due FROM trio_jobs.job AS job
        WHERE job.state IN {started} AND NOT job.behind AND job.lane IS NULL AND job.handler = asked.handler
            AND job.priority = level.priority AND job.due <= at AND (job.expires IS NULL OR job.expires > at)
        ORDER BY job.due, job.number LIMIT most
    ) AS found
    ORDER BY 2, 1 LIMIT most;
END $$;

-- Those of jobs that are due still, locked, in the order given; what others have locked is left out.
CREATE OR REPLACE FUNCTION trio_jobs.lock_due(numbers bigint[], at double precision) RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(
        SELECT job.number FROM (
            SELECT one.number FROM trio_jobs.job AS one
            WHERE one.number = ANY (numbers) AND one.state || '' IN {started} AND NOT one.behind AND one.lane IS NULL
                AND one.due <= at AND (one.expires IS NULL OR one.expires > at)
            ORDER BY one.number FOR UPDATE SKIP LOCKED
        ) AS job JOIN unnest(numbers) WITH ORDINALITY AS asked (number, place) USING (number)
        ORDER BY asked.place
    );
END $$;

-- Those of handlers that are not paused.
CREATE OR REPLACE FUNCTION trio_jobs.unpaused(handlers json) RETURNS text[] LANGUAGE plpgsql AS $$ BEGIN
    RETURN ARRAY(
        SELECT asked.handler FROM json_array_elements_text(handlers) AS asked (handler)
        WHERE NOT EXISTS (SELECT 1 FROM trio_jobs.pause WHERE pause.name IN ('', asked.handler))
    );
END $$;

-- Starts up to `most` jobs that are due; `rows` are those of `start_jobs`, and `more` says whether yet another is due.
-- Candidates are looked up without a lock, as a lock of all of them would keep other claims from those that are left.
CREATE OR REPLACE FUNCTION trio_jobs.claim_due(
    most integer, handlers json, worker text, lease double precision, claim text, OUT rows json, OUT more boolean
) LANGUAGE plpgsql AS $$
DECLARE
    names text[] := trio_jobs.unpaused(handlers);
    at double precision := trio_jobs.clock();
    looked integer := most + 1;
    found bigint[];
    tried bigint[] := ARRAY[]::bigint[];
    next bigint[];
    got bigint[] := ARRAY[]::bigint[];
BEGIN
    rows := '[]';
    more := false;
    IF most <= 0 OR cardinality(names) = 0 THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT 1 FROM trio_jobs.limited WHERE limited.handler = ANY (names))
        OR EXISTS (SELECT 1 FROM trio_jobs.lane_news AS news WHERE news.handler = ANY (names))
    THEN
        rows := trio_jobs.claim_limited(most, array_to_json(names), worker, lease, claim);
        RETURN;  -- whether more could start is for `due` to find out
    END IF;
    LOOP
        found := ARRAY(SELECT one.number FROM trio_jobs.due_jobs(names, looked, at) AS one);
        next := CASE WHEN cardinality(tried) = 0 THEN found ELSE ARRAY(
            SELECT one.number FROM unnest(found) WITH ORDINALITY AS one (number, place)
            WHERE one.number <> ALL (tried) ORDER BY one.place
        ) END;
        more := cardinality(next) > most - cardinality(got);
        next := next[:most - cardinality(got)];
        EXIT WHEN cardinality(next) = 0;
        got := got || trio_jobs.lock_due(next, at);
        tried := tried || next;
        EXIT WHEN cardinality(got) = most OR cardinality(found) < looked AND NOT more;
        looked := 2 * looked;  -- others are claiming the same jobs
    END LOOP;
    IF cardinality(got) > 0 THEN
        rows := (SELECT json_agg(one) FROM trio_jobs.start_jobs(got, worker, lease, claim) AS one);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION trio_jobs.claim_some(
    most integer, handlers json, worker text, lease double precision, claim text
) RETURNS json LANGUAGE plpgsql AS $$ BEGIN
    RETURN (trio_jobs.claim_due(most, handlers, worker, lease, claim)).rows;
END $$;

-- The rows of `start_jobs` of what an earlier call with this claim id has started and still runs, with new leases.
-- The answer to that call was lost, so it may be at it still, and is waited for.
CREATE OR REPLACE FUNCTION trio_jobs.claimed(claim text, lease double precision)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    numbers bigint[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(claim, 0));
    numbers := ARRAY(
        SELECT job.number FROM trio_jobs.job AS job
        WHERE job.claim = claimed.claim AND job.state = 'running' AND job.parent IS NULL
        ORDER BY job.number + 0 FOR UPDATE
    );
    IF cardinality(numbers) = 0 THEN
        RETURN NULL;
    END IF;
    UPDATE trio_jobs.job AS job SET lease = trio_jobs.clock() + claimed.lease, leased_by = NULL
    WHERE job.number = ANY (numbers);
    RETURN (
        SELECT json_agg(json_build_array(
            job.id, job.handler, job.args, job.options, job.metadata, job.priority, job.owner, job.key,
            job.attempt, job.spent, job.saved, (  -- inputs may have come since it started
                SELECT max(event.seq) FROM trio_jobs.event WHERE event.job = job.number AND event.kind = 'started'
            ), job.consumed, job.waited
        ) ORDER BY job.number) FROM trio_jobs.job AS job WHERE job.number = ANY (numbers)
    );
END $$;

-- Each call has `limit`, `handlers`, `worker`, `lease` and `claim`.
CREATE OR REPLACE FUNCTION trio_jobs.claim_jobs(calls json) RETURNS TABLE (place integer, answer json)
LANGUAGE plpgsql AS $$
DECLARE
    call json;
    lasts double precision;
    found record;
    ids json;
BEGIN
    FOR place, call, answer IN SELECT * FROM trio_jobs.checked(calls) LOOP
        lasts := call ->> 'lease';
        IF answer IS NULL THEN
            SELECT known AS rows, true AS more INTO found FROM trio_jobs.claimed(call ->> 'claim', lasts) AS known;
            IF found.rows IS NULL THEN
                found := trio_jobs.claim_due(
                    (call ->> 'limit')::integer, call -> 'handlers', call ->> 'worker', lasts, call ->> 'claim'
                );
            END IF;
            ids := coalesce((SELECT json_agg(one -> 0) FROM json_array_elements(found.rows) AS one), '[]');
            answer := json_build_object(
                'value', json_build_object('rows', found.rows, 'more', found.more), 'started', ids, 'grown', ids,
                'alarm', CASE WHEN json_array_length(ids) > 0 THEN trio_jobs.clock() + lasts END
            );
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

-- Each call has `names`, or none for all handlers, and `paused`.
CREATE OR REPLACE FUNCTION trio_jobs.pause_handlers(calls json) RETURNS TABLE (place integer, answer json)
LANGUAGE plpgsql AS $$
DECLARE
    call json;
    names text[];
BEGIN
    FOR place, call, answer IN SELECT * FROM trio_jobs.checked(calls) LOOP
        IF answer IS NULL THEN
            names := CASE WHEN call ->> 'names' IS NULL THEN ARRAY['']
                ELSE ARRAY(SELECT json_array_elements_text(call -> 'names') ORDER BY 1) END;
            IF (call ->> 'paused')::boolean THEN
                INSERT INTO trio_jobs.pause (name) SELECT unnest(names) ON CONFLICT DO NOTHING;
            ELSE
                DELETE FROM trio_jobs.pause WHERE pause.name = ANY (names) OR call ->> 'names' IS NULL;
            END IF;
            answer := json_build_object('value', NULL, 'work', true);
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
