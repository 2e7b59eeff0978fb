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
-- together, unless one of them has to be refused.
CREATE OR REPLACE FUNCTION trio_jobs.submit_jobs(calls json) RETURNS TABLE (place int, answer json)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    refused json := trio_jobs.too_new(calls);
    parts json[] := ARRAY(SELECT json_array_elements(calls));
    plain int[] := '{}';
BEGIN
    FOREACH place IN ARRAY ARRAY(SELECT generate_series(0, cardinality(parts) - 1)) LOOP
        IF refused IS NULL AND cardinality(parts) > 1 AND (parts[place + 1] ->> 'plain')::boolean THEN
            plain := plain || place;
        ELSE
            answer := coalesce(refused, trio_jobs.submit_one(parts[place + 1], true));
            RETURN NEXT;
        END IF;
    END LOOP;
    BEGIN
        RETURN QUERY SELECT plain[done.place], done.answer
            FROM trio_jobs.try_submit(ARRAY(SELECT parts[one + 1] FROM unnest(plain) AS one), true) AS done WHERE plain <> '{}';
    EXCEPTION WHEN SQLSTATE 'TJREF' OR unique_violation THEN
        FOREACH place IN ARRAY plain LOOP
            answer := trio_jobs.submit_one(parts[place + 1], true);
            RETURN NEXT;
        END LOOP;
    END;
END $$;

-- Accept the jobs of a call, or answer why not. If another transaction took a key or a name meanwhile, look again.
CREATE OR REPLACE FUNCTION trio_jobs.submit_one(call json, locks boolean) RETURNS json LANGUAGE plpgsql
AS $$
BEGIN
    FOR again IN REVERSE 100..0 LOOP
        BEGIN
            RETURN (SELECT done.answer FROM trio_jobs.try_submit(ARRAY[call], locks) AS done);
        EXCEPTION
            WHEN SQLSTATE 'TJREF' THEN RETURN SQLERRM::json;
            WHEN unique_violation THEN
                IF again = 0 THEN
                    RAISE;
                END IF;
        END;
    END LOOP;
END $$;

-- Accept the jobs of several plain calls, or of one of any kind; their places begin at 1.
CREATE OR REPLACE FUNCTION trio_jobs.try_submit(calls json[], locks boolean) RETURNS TABLE (place int, answer json)
LANGUAGE plpgsql
AS $$
DECLARE
    places int[] := ARRAY(SELECT generate_subscripts(calls, 1));
    call json := calls[1];
    most bigint := (call ->> 'queue')::bigint;
    waiting bigint := CASE WHEN most IS NOT NULL THEN trio_jobs.waiting_jobs('all', '') END;
    at double precision;
    part json;
    starts int[];
    new json;
    stand json;
    ids text[];
    number bigint;
    fresh bigint[] := '{}';
    taking int;  -- of these, how many need room
    room record;
BEGIN
    FOREACH part IN ARRAY calls LOOP
        PERFORM trio_jobs.refuse(trio_jobs.lost_submitter(part -> 'jobs')) WHERE (part ->> 'submitted')::boolean;
    END LOOP;
    IF (call ->> 'plain')::boolean THEN
        at := trio_jobs.clock();
        starts := trio_jobs.starting(calls, at);
        SELECT coalesce(array_agg(added.number), '{}') INTO fresh FROM trio_jobs.insert_jobs(calls, starts, at) AS added;
        taking := cardinality(fresh);
        IF starts <> '{}' AND taking < (SELECT sum(json_array_length(one -> 'jobs')) FROM unnest(calls) AS one) THEN
            RAISE unique_violation;  -- another transaction has just added one of them
        END IF;
    ELSE
        taking := 0;
        FOR new IN SELECT value FROM json_array_elements(call -> 'jobs') LOOP
            stand := trio_jobs.stand_of(new, locks);
            ids := ids || coalesce(stand ->> 'known', new ->> 'id');
            CONTINUE WHEN stand ->> 'known' IS NOT NULL;
            at := coalesce((stand ->> 'at')::float8, trio_jobs.clock());
            number := (SELECT added.number FROM trio_jobs.insert_jobs(ARRAY[json_build_object(
                'jobs', json_build_array(new), 'behind', stand -> 'behind', 'put_off', stand -> 'put_off', 'due', stand -> 'due'
            )], '{}', at) AS added);
            CONTINUE WHEN number IS NULL;  -- it was accepted before
            fresh := fresh || number;
            taking := taking + (stand ->> 'has_room' = 'false' AND new ->> 'service' IS DISTINCT FROM 'true')::int;
            UPDATE trio_jobs.job SET resubmitted_as = new ->> 'id' WHERE id = new ->> 'resubmitted_from';
        END LOOP;
        at := trio_jobs.clock();
        PERFORM trio_jobs.keep_few((call -> 'keep' ->> 'finished')::bigint, json_array_length(stand -> 'ended'));
    END IF;
    PERFORM trio_jobs.refuse(trio_jobs.enter_lanes(fresh));
    PERFORM trio_jobs.refuse(trio_jobs.refusal('QueueFull', to_json(most)))
    WHERE taking > 0 AND waiting + taking > most AND (cardinality(calls) > 1 OR waiting + taking - least(
        CASE WHEN stand ->> 'behind' = 'true' THEN 0 ELSE coalesce((call ->> 'limit')::int, 0) END,
        (SELECT count(*) FROM trio_jobs.job WHERE job.number = ANY (fresh) AND job.due <= at)
    ) > most);
    FOREACH place IN ARRAY places LOOP
        answer := trio_jobs.came_in(calls[place], at, coalesce(place = ANY (starts), false), ids, stand);
        RETURN NEXT;
    END LOOP;
    PERFORM trio_jobs.refuse(trio_jobs.refusal('QueueFull', to_json(most)))  -- perhaps others were claimed
    WHERE taking > 0 AND waiting + taking > most AND trio_jobs.waiting_jobs('all', '') > most;
    FOR room IN
        SELECT one.key AS owner, min(one.value::bigint) AS most
        FROM unnest(calls) AS each (call), json_each_text(each.call -> 'rooms') AS one
        WHERE taking > 0 AND one.key IN (SELECT job.owner FROM trio_jobs.job WHERE job.number = ANY (fresh))
        GROUP BY 1
    LOOP
        PERFORM trio_jobs.refuse(
            trio_jobs.refusal('QueueFull', to_json(room.most), 'null', 'null', to_json(room.owner))
        ) WHERE trio_jobs.waiting_jobs('owner', room.owner) > room.most;
    END LOOP;
END $$;

-- Return the refusal of a new job whose submitter, [job id, attempt, claim id], does not run; null if there is none.
-- The row is locked, so the attempt cannot end before this transaction does.
CREATE OR REPLACE FUNCTION trio_jobs.lost_submitter(jobs json) RETURNS json LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM FROM trio_jobs.job
        WHERE id IN (SELECT value #>> '{submitter,0}' FROM json_array_elements(jobs)) ORDER BY number FOR NO KEY UPDATE;
    RETURN (
        SELECT trio_jobs.refusal('LeaseLost', value #> '{submitter,0}', value #> '{submitter,1}')
        FROM json_array_elements(jobs) WITH ORDINALITY
        WHERE value #>> '{submitter,0}' IS NOT NULL
            AND NOT EXISTS (SELECT FROM trio_jobs.job WHERE id = value ->> 'id')
            AND NOT EXISTS (
                SELECT FROM trio_jobs.job
                WHERE id = value #>> '{submitter,0}' AND state = 'running' AND attempt::text = value #>> '{submitter,1}'
                    AND claim IS NOT DISTINCT FROM value #>> '{submitter,2}'
            )
        ORDER BY ordinality LIMIT 1
    );
END $$;

-- Add the jobs of calls, those in the places `starts` as jobs that run from the start; return those that are new.
-- A call may say more of its jobs: `parent`, `behind`, `put_off` and `due`.
CREATE OR REPLACE FUNCTION trio_jobs.insert_jobs(calls json[], starts int[], at double precision)
RETURNS TABLE (number bigint, id text) LANGUAGE plpgsql
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH new AS MATERIALIZED (
        SELECT DISTINCT ON (one.id)
            one.*, call.worker, call.claim, call.parent, call.put_off, coalesce(call.behind, false) AS behind,
            list.place * 1000000 + one.ordinality AS place, list.place = ANY (starts) AS runs,
            coalesce(call.due, CASE WHEN one.run_at IS NULL THEN at + one.delay ELSE greatest(at, one.run_at) END) AS due,
            at + call.lease AS lapses
        FROM unnest(calls) WITH ORDINALITY AS list (value, place),
            json_to_record(list.value) AS call (
                jobs json, worker text, lease float8, claim text, parent text, behind boolean, put_off float8, due float8
            ),
            ROWS FROM (json_to_recordset(call.jobs) AS (
                id text, handler text, args text, options text, metadata text, given text, priority smallint, owner text,
                key text, exclusive text, resubmitted_from text, attempts bigint, delay float8, run_at float8, queue float8,
                tags json
            )) WITH ORDINALITY AS one
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

-- Return the places of the calls whose jobs may run from the start, as they are due, and nothing is overtaken by that: no
-- job of these handlers waits that is due, none of them is paused or has limits, and all the jobs are new.
CREATE OR REPLACE FUNCTION trio_jobs.starting(calls json[], at double precision) RETURNS int[] LANGUAGE plpgsql
AS $$
DECLARE
    places int[] := ARRAY(SELECT ordinality FROM unnest(calls) WITH ORDINALITY AS one (call) WHERE (call ->> 'at_once')::boolean);
    names text[] := ARRAY(SELECT json_array_elements_text(calls[places[1]] -> 'handlers'));
    ids text[];
BEGIN
    IF places = '{}' THEN
        RETURN places;
    END IF;
    ids := ARRAY(SELECT job ->> 'id' FROM unnest(calls) AS call, json_array_elements(call -> 'jobs') AS job);
    IF EXISTS (SELECT FROM trio_jobs.pause WHERE name = '' OR name = ANY (names))
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
        OR cardinality(ids) > (SELECT count(DISTINCT id) FROM unnest(ids) AS id)
    THEN
        RETURN '{}';
    END IF;
    RETURN places;
END $$;

-- Return the answer to a call whose jobs were accepted, and claim for it, unless they run from the start: then its client
-- knows all about them.
CREATE OR REPLACE FUNCTION trio_jobs.came_in(call json, at double precision, born boolean, ids text[], stand json) RETURNS json
LANGUAGE plpgsql
AS $$
DECLARE
    most int := coalesce((call ->> 'limit')::int, 0);
    lease double precision := (call ->> 'lease')::float8;
    claims json;
    started text[];
BEGIN
    IF born THEN
        started := ARRAY(SELECT job ->> 'id' FROM json_array_elements(call -> 'jobs') AS job);
    ELSIF most > 0 THEN
        claims := coalesce(trio_jobs.claimed(call ->> 'claim', lease), trio_jobs.claim_some(
            most, call -> 'handlers', call ->> 'worker', lease, call ->> 'claim'
        ), '[]');
        SELECT array_agg(claim ->> 0) INTO started FROM json_array_elements(claims) AS claim;
    END IF;
    RETURN json_strip_nulls(json_build_object(
        'value', json_build_object('ids', ids, 'claims', claims),
        'started', started,
        'grown', array_remove(started || ARRAY(SELECT json_array_elements_text(stand -> 'ended')) || (stand ->> 'asked'), NULL),
        'ended', stand -> 'ended',
        'asked', CASE WHEN stand ->> 'asked' IS NOT NULL THEN true END,
        'work', CASE WHEN coalesce(cardinality(started), 0) < json_array_length(call -> 'jobs') THEN true END,
        'alarm', at + least(
            CASE WHEN started IS NOT NULL THEN lease END,
            (SELECT min((job ->> 'queue')::float8) FROM json_array_elements(call -> 'jobs') AS job)
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
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    call json;
    at double precision;
BEGIN
    PERFORM FROM trio_jobs.job
        WHERE id IN (SELECT value ->> 'parent' FROM json_array_elements(calls)) ORDER BY number FOR NO KEY UPDATE;
    at := trio_jobs.clock();
    FOR place, call IN SELECT ordinality - 1, value FROM json_array_elements(calls) WITH ORDINALITY LOOP
        IF EXISTS (
            SELECT FROM trio_jobs.job
            WHERE id = call ->> 'parent' AND state = 'running' AND attempt = (call ->> 'attempt')::int
                AND claim IS NOT DISTINCT FROM call ->> 'claim'
        ) THEN
            PERFORM trio_jobs.insert_jobs(ARRAY[call], '{1}', at);
            SELECT json_build_object(
                'value', json_build_array(attempt, spent, saved, seq, consumed), 'started', json_build_array(id)
            ) INTO answer FROM trio_jobs.job WHERE id = call #>> '{jobs,0,id}';
        ELSE
            answer := trio_jobs.refusal('LeaseLost', call -> 'parent', call -> 'attempt');
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
