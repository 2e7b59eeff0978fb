-- Jobs come in. A call has `jobs`, of which all are accepted or none, and `limit`, how many jobs are claimed in the
-- same step at most, with the `handlers`, `worker`, `lease` and `claim` for these. A job has the columns of its row
-- that are given, and `run_at` or `delay`, `queue` (its timeout), `tags` and what else `submitting.py` says.

CREATE OR REPLACE FUNCTION trio_jobs.refusal(error text, VARIADIC about json[]) RETURNS json LANGUAGE sql IMMUTABLE
AS $$ SELECT json_build_object('error', error, 'values', to_json(about)) $$;

-- If there is a refusal, undo what the call did: leave the block of `submit_jobs` or `submit_one`.
CREATE OR REPLACE FUNCTION trio_jobs.refuse(answer json) RETURNS void LANGUAGE plpgsql
AS $$
BEGIN
    IF answer IS NOT NULL THEN
        RAISE SQLSTATE 'TJREF' USING MESSAGE = answer::text;
    END IF;
END $$;

-- Calls that are `plain`, with jobs that have neither key nor exclusive name and are not submitted again, are handled
-- together, unless one of them has to be refused. They are read once, as each look into JSON reads all of it.
CREATE OR REPLACE FUNCTION trio_jobs.submit_jobs(calls json) RETURNS TABLE (place int, answer json)
LANGUAGE plpgsql
AS $$
DECLARE
    read trio_jobs.call[] := ARRAY(SELECT json_populate_recordset(NULL::trio_jobs.call, calls));
    refused json := trio_jobs.too_new(read[1].version);
    call json;
BEGIN
    IF refused IS NULL AND (SELECT bool_and(one.plain) FROM unnest(read) AS one) THEN
        IF trio_jobs.fits(read) THEN
            RETURN QUERY SELECT done.place - 1, done.answer FROM trio_jobs.submit_plain(read) AS done;
            RETURN;
        ELSIF cardinality(read) > 1 THEN
            BEGIN
                RETURN QUERY SELECT done.place - 1, done.answer FROM trio_jobs.submit_plain(read, calls -> 0) AS done;
                RETURN;
            EXCEPTION WHEN SQLSTATE 'TJREF' THEN NULL;
            END;
        END IF;
    END IF;
    FOR place, call IN SELECT ordinality - 1, value FROM json_array_elements(calls) WITH ORDINALITY LOOP
        answer := coalesce(refused, trio_jobs.submit_one(call, calls -> 0, true));
        RETURN NEXT;
    END LOOP;
END $$;

-- Return whether it is certain that no rule refuses plain calls: then nothing has to be undone.
CREATE OR REPLACE FUNCTION trio_jobs.fits(calls trio_jobs.call[]) RETURNS boolean LANGUAGE plpgsql
AS $$
DECLARE
    most bigint := calls[1].queue;
BEGIN
    RETURN NOT trio_jobs.bounds_waiting()
        AND NOT EXISTS (SELECT FROM unnest(calls) AS call WHERE call.submitted OR call.rooms IS NOT NULL)
        AND (most IS NULL OR most >= trio_jobs.waiting_jobs('all', '') + (
            SELECT sum(cardinality(call.jobs)) FROM unnest(calls) AS call
        ));
END $$;

-- Accept the jobs of a call, or answer why not. If another transaction took a key or a name meanwhile, look again.
-- What belongs to its client, `queue` and `keep`, is in `own`.
CREATE OR REPLACE FUNCTION trio_jobs.submit_one(call json, own json, locks boolean) RETURNS json LANGUAGE plpgsql
AS $$
DECLARE
    read trio_jobs.call := json_populate_record(NULL::trio_jobs.call, call);
BEGIN
    FOR again IN REVERSE 100..0 LOOP
        BEGIN
            IF read.plain THEN
                RETURN (SELECT done.answer FROM trio_jobs.submit_plain(ARRAY[read], own) AS done);
            END IF;
            RETURN trio_jobs.submit_odd(read, call -> 'jobs', own, locks);
        EXCEPTION
            WHEN SQLSTATE 'TJREF' THEN RETURN SQLERRM::json;
            WHEN unique_violation THEN
                IF again = 0 THEN
                    RAISE;
                END IF;
        END;
    END LOOP;
END $$;

-- Accept the jobs of plain calls, all at once; the places of the calls begin at 1. Without `own` there is nothing that could
-- refuse them.
CREATE OR REPLACE FUNCTION trio_jobs.submit_plain(calls trio_jobs.call[], own json DEFAULT NULL)
RETURNS TABLE (place int, answer json) LANGUAGE plpgsql
AS $$
DECLARE
    at double precision := trio_jobs.clock();
    starts boolean := trio_jobs.starting(calls, at);
    excess bigint;
    claiming int[] := ARRAY(
        SELECT one.ordinality FROM unnest(calls) WITH ORDINALITY AS one
        WHERE one."limit" > 0 AND NOT (starts AND coalesce(one.at_once, false))
    );
    fresh bigint[];
BEGIN
    IF own IS NOT NULL THEN
        PERFORM trio_jobs.refuse(trio_jobs.lost_submitter(calls));
        excess := trio_jobs.excess(own);
    END IF;
    fresh := ARRAY(SELECT added.number FROM trio_jobs.insert_jobs(calls, starts, at) AS added);
    IF starts AND cardinality(fresh) < (SELECT sum(cardinality(one.jobs)) FROM unnest(calls) AS one) THEN
        RAISE serialization_failure;  -- another transaction has just added one of them
    END IF;
    IF own IS NOT NULL THEN
        excess := excess + nullif(cardinality(fresh), 0);
        PERFORM trio_jobs.check_waiting(fresh, excess, own, CASE WHEN cardinality(calls) = 1 THEN calls[1]."limit" END, at);
    END IF;
    RETURN QUERY
    SELECT one.ordinality::int, json_strip_nulls(json_build_object(
        'value', json_build_object(), 'started', new.ids, 'grown', new.ids, 'work', CASE WHEN new.ids IS NULL THEN true END,
        'alarm', at + least(CASE WHEN new.ids IS NOT NULL THEN one.lease END, new.queue)
    ))
    FROM unnest(calls) WITH ORDINALITY AS one CROSS JOIN LATERAL (
        SELECT CASE WHEN starts AND one.at_once THEN array_agg(job.id) END AS ids, min(job.queue) AS queue
        FROM unnest(one.jobs) AS job
    ) AS new
    WHERE one.ordinality <> ALL (claiming);
    FOREACH place IN ARRAY claiming LOOP
        answer := trio_jobs.came_in(calls[place], at, NULL, NULL);
        RETURN NEXT;
    END LOOP;
    IF own IS NOT NULL AND fresh <> '{}' THEN
        PERFORM trio_jobs.check_left(calls, fresh, excess, own);
    END IF;
END $$;

-- Accept the jobs of a call, given as JSON too, one after the other: where each stands depends on those that are there.
CREATE OR REPLACE FUNCTION trio_jobs.submit_odd(call trio_jobs.call, jobs json, own json, locks boolean) RETURNS json
LANGUAGE plpgsql
AS $$
DECLARE
    excess bigint := trio_jobs.excess(own);
    at double precision;
    new json;
    stand json;
    ids text[];
    number bigint;
    fresh bigint[] := '{}';
    taking int := 0;  -- of these, how many need room
    answer json;
BEGIN
    PERFORM trio_jobs.refuse(trio_jobs.lost_submitter(ARRAY[call]));
    FOR new IN SELECT value FROM json_array_elements(jobs) LOOP
        stand := trio_jobs.stand_of(new, locks);
        ids := ids || coalesce(stand ->> 'known', new ->> 'id');
        CONTINUE WHEN stand ->> 'known' IS NOT NULL;
        number := (SELECT added.number FROM trio_jobs.insert_jobs(ARRAY[
            json_populate_record(NULL::trio_jobs.call, json_build_object(
                'jobs', json_build_array(new), 'behind', stand -> 'behind', 'put_off', stand -> 'put_off', 'due', stand -> 'due'
            ))
        ], false, coalesce((stand ->> 'at')::float8, trio_jobs.clock())) AS added);
        CONTINUE WHEN number IS NULL;  -- it was accepted before
        fresh := fresh || number;
        taking := taking + (stand ->> 'has_room' = 'false' AND new ->> 'service' IS DISTINCT FROM 'true')::int;
        UPDATE trio_jobs.job SET resubmitted_as = new ->> 'id' WHERE id = new ->> 'resubmitted_from';
    END LOOP;
    at := trio_jobs.clock();
    PERFORM trio_jobs.keep_few((own -> 'keep' ->> 'finished')::bigint, json_array_length(stand -> 'ended'));
    excess := excess + nullif(taking, 0);
    PERFORM trio_jobs.check_waiting(fresh, excess, own, CASE WHEN stand ->> 'behind' = 'true' THEN 0 ELSE call."limit" END, at);
    answer := trio_jobs.came_in(call, at, ids, stand);
    IF taking > 0 THEN
        PERFORM trio_jobs.check_left(ARRAY[call], fresh, excess, own);
    END IF;
    RETURN answer;
END $$;

-- Return how many more jobs wait than may: fewer than none if there is room, and null if no bound is given.
CREATE OR REPLACE FUNCTION trio_jobs.excess(own json) RETURNS bigint LANGUAGE plpgsql
AS $$
BEGIN
    RETURN CASE WHEN own ->> 'queue' IS NOT NULL THEN trio_jobs.waiting_jobs('all', '') - (own ->> 'queue')::bigint END;
END $$;

-- Refuse new jobs before any is claimed if a limit has no room for them, or if too many would wait although as many of the
-- new jobs as are due, up to `claims`, were claimed.
CREATE OR REPLACE FUNCTION trio_jobs.check_waiting(
    fresh bigint[], excess bigint, own json, claims int, at double precision
) RETURNS void LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM trio_jobs.refuse(trio_jobs.enter_lanes(fresh));
    PERFORM trio_jobs.refuse(trio_jobs.refusal('QueueFull', own -> 'queue'))
    WHERE excess > 0 AND excess > least(
        coalesce(claims, 0), (SELECT count(*) FROM trio_jobs.job WHERE job.number = ANY (fresh) AND job.due <= at)
    );
END $$;

-- Refuse new jobs if after the claims too many wait, in all or of an owner: perhaps others were claimed.
CREATE OR REPLACE FUNCTION trio_jobs.check_left(calls trio_jobs.call[], fresh bigint[], excess bigint, own json) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    room record;
BEGIN
    PERFORM trio_jobs.refuse(trio_jobs.refusal('QueueFull', own -> 'queue')) WHERE excess > 0 AND trio_jobs.excess(own) > 0;
    FOR room IN
        SELECT one.key AS owner, min(one.value::bigint) AS most
        FROM unnest(calls) AS each, json_each_text(each.rooms) AS one
        WHERE one.key IN (SELECT job.owner FROM trio_jobs.job WHERE job.number = ANY (fresh))
        GROUP BY 1
    LOOP
        PERFORM trio_jobs.refuse(
            trio_jobs.refusal('QueueFull', to_json(room.most), 'null', 'null', to_json(room.owner))
        ) WHERE trio_jobs.waiting_jobs('owner', room.owner) > room.most;
    END LOOP;
END $$;

-- Return the refusal of a new job whose submitter, [job id, attempt, claim id], does not run; null if there is none.
-- The row is locked, so the attempt cannot end before this transaction does.
CREATE OR REPLACE FUNCTION trio_jobs.lost_submitter(calls trio_jobs.call[]) RETURNS json LANGUAGE plpgsql
AS $$
DECLARE
    ids text[] := ARRAY(SELECT new.submitter ->> 0 FROM unnest(calls) AS call, unnest(call.jobs) AS new WHERE call.submitted);
BEGIN
    IF ids = '{}' THEN
        RETURN NULL;
    END IF;
    PERFORM FROM trio_jobs.job WHERE id = ANY (ids) ORDER BY number FOR NO KEY UPDATE;
    RETURN (
        SELECT trio_jobs.refusal('LeaseLost', new.submitter -> 0, new.submitter -> 1)
        FROM unnest(calls) WITH ORDINALITY AS call, unnest(call.jobs) WITH ORDINALITY AS new
        WHERE call.submitted AND new.submitter ->> 0 IS NOT NULL
            AND NOT EXISTS (SELECT FROM trio_jobs.job WHERE id = new.id)
            AND NOT EXISTS (
                SELECT FROM trio_jobs.job
                WHERE id = new.submitter ->> 0 AND state = 'running' AND attempt::text = new.submitter ->> 1
                    AND claim IS NOT DISTINCT FROM new.submitter ->> 2
            )
        ORDER BY call.ordinality, new.ordinality LIMIT 1
    );
END $$;

-- Add the jobs of calls, if `starts` those that start at once as jobs that run from the start; return those that are new.
CREATE OR REPLACE FUNCTION trio_jobs.insert_jobs(calls trio_jobs.call[], starts boolean, at double precision)
RETURNS TABLE (number bigint, id text) LANGUAGE plpgsql
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH new AS MATERIALIZED (
        SELECT DISTINCT ON (one.id)
            one.*, call.worker, call.claim, call.parent, call.put_off, coalesce(call.behind, false) AS behind,
            call.ordinality * 1000000 + one.ordinality AS place, coalesce(starts AND call.at_once, false) AS runs,
            coalesce(call.due, CASE WHEN one.run_at IS NULL THEN at + one.delay ELSE greatest(at, one.run_at) END) AS due,
            at + call.lease AS lapses
        FROM unnest(calls) WITH ORDINALITY AS call, unnest(call.jobs) WITH ORDINALITY AS one
        ORDER BY one.id, place
    ), added AS (
        INSERT INTO trio_jobs.job (
            id, handler, args, options, metadata, given, priority, owner, key, exclusive, resubmitted_from, attempts,
            parent, behind, put_off, created, due, first_due, state, attempt, spent, seq, started, claim, lease, expires,
            lane
        )
        SELECT
            id, handler, args, options, metadata, given, priority, owner, key, exclusive, resubmitted_from, attempts,
            parent, behind, put_off, at, due, due, CASE WHEN runs THEN 'running' ELSE 'queued' END, runs::int, runs::int,
            1 + runs::int, CASE WHEN runs THEN at END, CASE WHEN runs THEN claim END, CASE WHEN runs THEN lapses END,
            CASE WHEN NOT runs THEN due + queue END,
            CASE WHEN parent IS NULL AND handler IN (SELECT limited.handler FROM trio_jobs.limited)
                THEN trio_jobs.lane_of(handler, options::json ->> 'limit_key') END
        FROM new ORDER BY place
        ON CONFLICT (id) DO NOTHING RETURNING number, id, handler, lane
    ), entered AS (
        INSERT INTO trio_jobs.lane_news (handler, lane) SELECT DISTINCT handler, lane FROM added WHERE lane IS NOT NULL
    ), logged AS (
        INSERT INTO trio_jobs.event (job, seq, count, attempt, kind, at, data)
        SELECT added.number, 1, 1, 0, 'submitted', at, json_build_array(added.handler)::text FROM added
        UNION ALL
        SELECT added.number, 2, 1, 1, 'started', at, json_build_array(worker)::text FROM added JOIN new USING (id) WHERE runs
    ), tagged AS (
        INSERT INTO trio_jobs.tag (job, name, value)
        SELECT added.number, tag.key, tag.value FROM added JOIN new USING (id), json_each_text(new.tags) AS tag
        WHERE new.tags IS NOT NULL
    )
    SELECT added.number, added.id FROM added;
END $$;

-- Return whether jobs that are to start at once may run from the start, as they are due, and nothing is overtaken by that: no
-- job of these handlers waits that is due, none of them is paused or has limits, and all the jobs are new.
CREATE OR REPLACE FUNCTION trio_jobs.starting(calls trio_jobs.call[], at double precision) RETURNS boolean LANGUAGE plpgsql
AS $$
DECLARE
    names text[] := (SELECT call.handlers FROM unnest(calls) AS call WHERE call.at_once LIMIT 1);
    ids text[];
BEGIN
    IF names IS NULL THEN
        RETURN false;
    END IF;
    ids := ARRAY(SELECT new.id FROM unnest(calls) AS call, unnest(call.jobs) AS new);
    RETURN NOT (EXISTS (SELECT FROM trio_jobs.pause WHERE name = '' OR name = ANY (names))
        OR EXISTS (SELECT FROM trio_jobs.limited WHERE handler = ANY (names))
        OR EXISTS (
            SELECT FROM unnest(names) AS name, {levels} AS level, LATERAL (
                SELECT FROM trio_jobs.job
                WHERE state IN {started} AND NOT behind AND lane IS NULL
                    AND handler = name AND priority = level.priority AND due <= at
                ORDER BY due, number LIMIT 1
            ) AS job
        )
        OR EXISTS (SELECT FROM trio_jobs.job WHERE id = ANY (ids))
        OR cardinality(ids) > (SELECT count(DISTINCT id) FROM unnest(ids) AS id));
END $$;

-- Return the answer to a call whose jobs were accepted and do not run from the start, and claim for it.
CREATE OR REPLACE FUNCTION trio_jobs.came_in(call trio_jobs.call, at double precision, ids text[], stand json) RETURNS json
LANGUAGE plpgsql
AS $$
DECLARE
    claims json;
    started text[];
BEGIN
    IF call."limit" > 0 THEN
        claims := coalesce(trio_jobs.claimed(call.claim, call.lease), trio_jobs.claim_some(
            call."limit", to_json(call.handlers), call.worker, call.lease, call.claim
        ), '[]');
        SELECT array_agg(claim ->> 0) INTO started FROM json_array_elements(claims) AS claim;
    END IF;
    RETURN json_strip_nulls(json_build_object(
        'value', json_build_object('ids', ids, 'claims', claims),
        'started', started,
        'grown', array_remove(started || ARRAY(SELECT json_array_elements_text(stand -> 'ended')) || (stand ->> 'asked'), NULL),
        'ended', stand -> 'ended',
        'asked', CASE WHEN stand ->> 'asked' IS NOT NULL THEN true END,
        'work', CASE WHEN coalesce(cardinality(started), 0) < cardinality(call.jobs) THEN true END,
        'alarm', at + least(
            CASE WHEN started IS NOT NULL THEN call.lease END, (SELECT min(job.queue) FROM unnest(call.jobs) AS job)
        )
    ));
END $$;

-- Return the id of the job that has the key of a new one, or is what that is to be only once.
CREATE OR REPLACE FUNCTION trio_jobs.known_as(new json) RETURNS text LANGUAGE plpgsql
AS $$
DECLARE
    known text;
    same boolean;
BEGIN
    IF new ->> 'resubmitted_from' IS NOT NULL THEN
        SELECT resubmitted_as INTO known FROM trio_jobs.job WHERE id = new ->> 'resubmitted_from' FOR NO KEY UPDATE;
        IF known IS NOT NULL AND (new ->> 'once')::boolean THEN
            RETURN known;
        END IF;
    END IF;
    IF new ->> 'key' IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT id, given = new ->> 'given' INTO known, same FROM trio_jobs.job
    WHERE key = new ->> 'key'
        AND coalesce(owner, '') = coalesce(new ->> 'owner', '') AND (owner IS NULL) = (new ->> 'owner' IS NULL);
    IF NOT same THEN
        PERFORM trio_jobs.refuse(trio_jobs.refusal('KeyConflict', new -> 'key', to_json(known)));
    END IF;
    RETURN CASE WHEN FOUND THEN known END;
END $$;

-- ------------------------------------------------------------ child jobs

-- Accept children, which run from the start. The row of a parent is locked, so its attempt cannot end in between.
CREATE OR REPLACE FUNCTION trio_jobs.spawn_jobs(calls json) RETURNS TABLE (place int, answer json)
LANGUAGE plpgsql
AS $$
DECLARE
    read trio_jobs.call[] := ARRAY(SELECT json_populate_recordset(NULL::trio_jobs.call, calls));
    held int[];  -- the places of those whose parents run
BEGIN
    PERFORM FROM trio_jobs.job WHERE id = ANY (ARRAY(SELECT parent FROM unnest(read))) ORDER BY number FOR NO KEY UPDATE;
    held := ARRAY(
        SELECT call.ordinality FROM unnest(read) WITH ORDINALITY AS call WHERE EXISTS (
            SELECT FROM (SELECT * FROM trio_jobs.job WHERE id = call.parent OFFSET 0) AS job
            WHERE job.state = 'running' AND job.attempt = call.attempt AND job.claim IS NOT DISTINCT FROM call.claim
        )
    );
    PERFORM trio_jobs.insert_jobs(ARRAY(SELECT read[one] FROM unnest(held) AS one), true, trio_jobs.clock());
    RETURN QUERY
    SELECT call.ordinality::int - 1, CASE WHEN call.ordinality = ANY (held) THEN (
        SELECT json_build_object('value', json_build_array(attempt, spent, saved, seq, consumed), 'started', json_build_array(id))
        FROM trio_jobs.job WHERE id = (call.jobs[1]).id
    ) ELSE trio_jobs.refusal('LeaseLost', to_json(call.parent), to_json(call.attempt)) END
    FROM unnest(read) WITH ORDINALITY AS call;
END $$;
