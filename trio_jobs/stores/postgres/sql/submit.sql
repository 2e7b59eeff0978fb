-- Jobs come in. A call has `jobs`, of which all are accepted or none; and `limit`, how many jobs are claimed in the
-- same step at most, with the `handlers`, `worker`, `lease` and `claim` for these. A job has the columns of its row
-- that are given, and `run_at` or `delay`, `queue` (its timeout), `tags` and what else stands in `submitting.py`.

CREATE OR REPLACE FUNCTION trio_jobs.refusal(error text, VARIADIC about json[]) RETURNS json LANGUAGE sql IMMUTABLE
AS $$ SELECT json_build_object('error', error, 'values', to_json(about)) $$;

-- Leave the block that `submit_one` handles, so that what the call did is undone.
CREATE OR REPLACE FUNCTION trio_jobs.refuse(answer json) RETURNS void LANGUAGE plpgsql
AS $$ BEGIN RAISE SQLSTATE 'TJREF' USING MESSAGE = answer::text; END $$;

-- Add the jobs of some `calls`, those of `starts` as jobs that run from the start; return those that are new.
-- A call may say more of its jobs: `parent`, `behind`, `put_off` and `due`.
CREATE OR REPLACE FUNCTION trio_jobs.insert_jobs(calls json, wanted int[], starts int[], at double precision)
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
        FROM (SELECT ordinality - 1 AS place, value FROM json_array_elements(calls) WITH ORDINALITY) AS list,
            json_to_record(list.value) AS call (
                jobs json, worker text, lease float8, claim text, parent text, behind boolean, put_off float8, due float8
            ),
            ROWS FROM (json_to_recordset(call.jobs) AS (
                id text, handler text, args text, options text, metadata text, given text, priority smallint, owner text,
                key text, exclusive text, resubmitted_from text, attempts bigint, delay float8, run_at float8, queue float8,
                tags json
            )) WITH ORDINALITY AS one
        WHERE list.place = ANY (wanted)
        ORDER BY one.id, place
    ), added AS (
        INSERT INTO trio_jobs.job (
            id, handler, args, options, metadata, given, priority, owner, key, exclusive, resubmitted_from, attempts,
            parent, behind, put_off, created, due, first_due, state, attempt, spent, seq, started, claim, lease, expires
        )
        SELECT
            id, handler, args, options, metadata, given, priority, owner, key, exclusive, resubmitted_from, attempts,
            parent, behind, put_off, at, due, due, CASE WHEN runs THEN 'running' ELSE 'queued' END, runs::int, runs::int,
            1 + runs::int, CASE WHEN runs THEN at END, CASE WHEN runs THEN claim END, CASE WHEN runs THEN lapses END,
            CASE WHEN NOT runs THEN due + queue END
        FROM new ORDER BY place
        ON CONFLICT (id) DO NOTHING RETURNING number, id
    ), logged AS (
        INSERT INTO trio_jobs.event (job, seq, count, attempt, kind, at, data)
        SELECT added.number, 1, 1, 0, 'submitted', at, json_build_array(handler)::text FROM added JOIN new USING (id)
        UNION ALL
        SELECT added.number, 2, 1, 1, 'started', at, json_build_array(worker)::text FROM added JOIN new USING (id) WHERE runs
    ), tagged AS (
        INSERT INTO trio_jobs.tag (job, name, value)
        SELECT added.number, tag.key, tag.value FROM added JOIN new USING (id), json_each_text(new.tags) AS tag
        WHERE new.tags IS NOT NULL
    )
    SELECT added.number, added.id FROM added;
END $$;

-- Return the answer about a new job whose submitter, [job id, attempt, claim id], does not run; null if there is none.
-- The row is locked, so the attempt cannot end before this transaction does.
CREATE OR REPLACE FUNCTION trio_jobs.lost_submitter(jobs json) RETURNS json LANGUAGE plpgsql
AS $$
DECLARE
    lost json;
BEGIN
    PERFORM FROM trio_jobs.job
        WHERE id IN (SELECT value #>> '{submitter,0}' FROM json_array_elements(jobs)) ORDER BY number FOR NO KEY UPDATE;
    SELECT trio_jobs.refusal('LeaseLost', value #> '{submitter,0}', value #> '{submitter,1}') INTO lost
    FROM json_array_elements(jobs) WITH ORDINALITY
    WHERE value #>> '{submitter,0}' IS NOT NULL
        AND NOT EXISTS (SELECT FROM trio_jobs.job WHERE id = value ->> 'id')
        AND NOT EXISTS (
            SELECT FROM trio_jobs.job
            WHERE id = value #>> '{submitter,0}' AND state = 'running' AND attempt::text = value #>> '{submitter,1}'
                AND claim IS NOT DISTINCT FROM value #>> '{submitter,2}'
        )
    ORDER BY ordinality LIMIT 1;
    RETURN lost;
END $$;

-- Calls that are `plain`, with jobs that have neither key nor exclusive name and are not submitted again, are handled
-- together, as long as there is room for all.
CREATE OR REPLACE FUNCTION trio_jobs.submit_jobs(calls json) RETURNS TABLE (place int, answer json)
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    refused json := trio_jobs.too_new(calls);
    plain int[] := '{}';
    call json;
BEGIN
    FOR place, call IN SELECT ordinality - 1, value FROM json_array_elements(calls) WITH ORDINALITY LOOP
        IF refused IS NULL AND (call ->> 'plain')::boolean THEN
            plain := plain || place;
        ELSE
            answer := coalesce(refused, trio_jobs.submit_one(call));
            RETURN NEXT;
        END IF;
    END LOOP;
    IF plain <> '{}' THEN
        RETURN QUERY SELECT * FROM trio_jobs.submit_plain(calls, plain);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION trio_jobs.submit_plain(calls json, plain int[]) RETURNS TABLE (place int, answer json)
LANGUAGE plpgsql
AS $$
DECLARE
    fits boolean := trio_jobs.fits(calls, plain);
    at double precision;
    idle boolean;
    starts int[] := '{}';
    fresh text[];
    call json;
BEGIN
    FOREACH place IN ARRAY plain LOOP
        call := calls -> place;
        IF NOT fits THEN
            answer := trio_jobs.submit_one(call);
        ELSIF (call ->> 'submitted')::boolean THEN
            answer := trio_jobs.lost_submitter(call -> 'jobs');
        END IF;
        IF answer IS NOT NULL THEN
            RETURN NEXT;
            plain := array_remove(plain, place);
            answer := NULL;
        END IF;
    END LOOP;
    at := trio_jobs.clock();
    FOREACH place IN ARRAY plain LOOP  -- they start at once only if they overtake nobody
        IF (calls -> place ->> 'at_once')::boolean THEN
            idle := coalesce(idle, trio_jobs.is_idle(calls -> place -> 'handlers', at));
            starts := CASE WHEN idle THEN starts || place ELSE starts END;
        END IF;
    END LOOP;
    SELECT array_agg(new.id) INTO fresh FROM trio_jobs.insert_jobs(calls, plain, starts, at) AS new;
    FOREACH place IN ARRAY plain LOOP
        call := calls -> place;
        answer := trio_jobs.came_in(call, at, CASE WHEN place = ANY (starts) THEN fresh END);
        RETURN NEXT;
    END LOOP;
END $$;

-- Return whether jobs of these calls have no limits, and there is room for them even if none starts.
CREATE OR REPLACE FUNCTION trio_jobs.fits(calls json, plain int[]) RETURNS boolean LANGUAGE plpgsql
AS $$
DECLARE
    most bigint;
    many bigint;
    one record;
BEGIN
    SELECT min((value ->> 'queue')::bigint), sum(json_array_length(value -> 'jobs')) INTO most, many
    FROM json_array_elements(calls) WITH ORDINALITY WHERE ordinality - 1 = ANY (plain);
    IF trio_jobs.waiting_jobs('all', '') + many > most THEN
        RETURN false;
    END IF;
    FOR one IN
        SELECT room.key, min(room.value::bigint) AS most, sum(json_array_length(list.value -> 'jobs')) AS many
        FROM json_array_elements(calls) WITH ORDINALITY AS list, json_each_text(list.value -> 'rooms') AS room
        WHERE ordinality - 1 = ANY (plain) AND list.value -> 'rooms' IS NOT NULL
        GROUP BY room.key
    LOOP
        IF trio_jobs.waiting_jobs('owner', one.key) + one.many > one.most THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN NOT EXISTS (
        SELECT FROM trio_jobs.limited
        WHERE handler IN (
            SELECT job ->> 'handler'
            FROM json_array_elements(calls) WITH ORDINALITY AS list, json_array_elements(list.value -> 'jobs') AS job
            WHERE ordinality - 1 = ANY (plain)
        )
    );
END $$;

-- Return whether no job of these handlers waits that is due, and none of them is paused or has limits.
CREATE OR REPLACE FUNCTION trio_jobs.is_idle(handlers json, at double precision) RETURNS boolean LANGUAGE plpgsql
AS $$
BEGIN
    RETURN NOT EXISTS (SELECT FROM trio_jobs.pause WHERE name = '' OR name IN (SELECT json_array_elements_text(handlers)))
    AND NOT EXISTS (SELECT FROM trio_jobs.limited WHERE handler IN (SELECT json_array_elements_text(handlers)))
    AND NOT EXISTS (
        SELECT FROM json_array_elements_text(handlers) AS name, {levels} AS level, LATERAL (
            SELECT FROM trio_jobs.job
            WHERE state IN {started} AND NOT behind AND lane IS NULL
                AND handler = name AND priority = level.priority AND due <= at
            ORDER BY due, number LIMIT 1
        ) AS job
    );
END $$;

-- Return the answer to a call whose jobs were accepted, and claim for it. `fresh` are the ids of new jobs, if those of
-- the call run already; if all of the call are among them, its client knows what there is to know about them.
CREATE OR REPLACE FUNCTION trio_jobs.came_in(
    call json, at double precision, fresh text[], ids text[] DEFAULT NULL, stand json DEFAULT NULL
) RETURNS json LANGUAGE plpgsql
AS $$
DECLARE
    most int := coalesce((call ->> 'limit')::int, 0);
    lease double precision := (call ->> 'lease')::float8;
    claims json;
    started text[];
BEGIN
    IF fresh IS NOT NULL AND (SELECT every(job ->> 'id' = ANY (fresh)) FROM json_array_elements(call -> 'jobs') AS job) THEN
        SELECT array_agg(job ->> 'id') INTO started FROM json_array_elements(call -> 'jobs') AS job;
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

-- ------------------------------------------------------------ one call by itself

-- Accept the jobs of a call, or answer why not. If another transaction took a key or a name meanwhile, look again.
CREATE OR REPLACE FUNCTION trio_jobs.submit_one(call json, locks boolean DEFAULT true) RETURNS json LANGUAGE plpgsql
AS $$
BEGIN
    FOR _ IN 1..100 LOOP
        BEGIN
            RETURN trio_jobs.try_submit(call, locks);
        EXCEPTION
            WHEN SQLSTATE 'TJREF' THEN RETURN SQLERRM::json;
            WHEN unique_violation THEN NULL;
        END;
    END LOOP;
    RETURN trio_jobs.try_submit(call, locks);
END $$;

CREATE OR REPLACE FUNCTION trio_jobs.try_submit(call json, locks boolean) RETURNS json LANGUAGE plpgsql
AS $$
DECLARE
    most bigint := (call ->> 'queue')::bigint;
    waiting bigint := CASE WHEN most IS NOT NULL THEN trio_jobs.waiting_jobs('all', '') END;
    at double precision;
    new json;
    stand json;
    known text;
    number bigint;
    ids text[] := '{}';
    fresh bigint[] := '{}';
    taking int := 0;  -- of these, how many need room
    answer json := trio_jobs.lost_submitter(call -> 'jobs');
BEGIN
    FOR new IN SELECT value FROM json_array_elements(call -> 'jobs') WHERE answer IS NULL LOOP
        stand := json_build_object();
        known := trio_jobs.known_as(new);
        IF known IS NULL AND new ->> 'exclusive' IS NOT NULL
            AND NOT EXISTS (SELECT FROM trio_jobs.job AS old WHERE old.id = new ->> 'id')
        THEN
            stand := trio_jobs.stand_of(new, locks);
            known := stand ->> 'attached';
        END IF;
        ids := ids || coalesce(known, new ->> 'id');
        CONTINUE WHEN known IS NOT NULL;
        at := trio_jobs.clock();
        number := (
            SELECT added.number FROM trio_jobs.insert_jobs(json_build_array(json_build_object(
                'jobs', json_build_array(new), 'behind', stand -> 'behind', 'put_off', stand -> 'put_off', 'due', stand -> 'due'
            )), '{0}', '{}', at) AS added
        );
        CONTINUE WHEN number IS NULL;
        fresh := fresh || number;
        IF NOT coalesce((stand ->> 'has_room')::boolean, false) AND NOT coalesce((new ->> 'service')::boolean, false) THEN
            taking := taking + 1;
        END IF;
        UPDATE trio_jobs.job SET resubmitted_as = new ->> 'id' WHERE id = new ->> 'resubmitted_from';
    END LOOP;
    answer := coalesce(answer, trio_jobs.enter_lanes(fresh));
    IF answer IS NULL AND taking > 0 AND waiting + taking > most AND waiting + taking - least(
        CASE WHEN stand ->> 'behind' = 'true' THEN 0 ELSE coalesce((call ->> 'limit')::int, 0) END,
        (SELECT count(*) FROM trio_jobs.job WHERE job.number = ANY (fresh) AND due <= at)
    ) > most THEN
        answer := trio_jobs.refusal('QueueFull', to_json(most));
    END IF;
    IF answer IS NULL THEN
        answer := trio_jobs.came_in(call, coalesce(at, trio_jobs.clock()), NULL, ids, stand);
    END IF;
    IF answer -> 'error' IS NULL AND taking > 0 THEN  -- perhaps others were claimed, so count what waits after it
        answer := coalesce(trio_jobs.no_room(call, fresh, waiting + taking > most), answer);
    END IF;
    IF answer -> 'error' IS NOT NULL THEN
        PERFORM trio_jobs.refuse(answer);
    END IF;
    RETURN answer;
END $$;

-- Return the answer about new jobs for which there is no room; null if there is.
CREATE OR REPLACE FUNCTION trio_jobs.no_room(call json, fresh bigint[], crowded boolean) RETURNS json LANGUAGE plpgsql
AS $$
DECLARE
    most bigint := (call ->> 'queue')::bigint;
    room record;
BEGIN
    IF crowded AND trio_jobs.waiting_jobs('all', '') > most THEN
        RETURN trio_jobs.refusal('QueueFull', to_json(most));
    END IF;
    FOR room IN
        SELECT key AS owner, value::bigint AS most FROM json_each_text(call -> 'rooms')
        WHERE key IN (SELECT owner FROM trio_jobs.job WHERE number = ANY (fresh))
    LOOP
        IF trio_jobs.waiting_jobs('owner', room.owner) > room.most THEN
            RETURN trio_jobs.refusal('QueueFull', to_json(room.most), 'null', 'null', to_json(room.owner));
        END IF;
    END LOOP;
    RETURN NULL;
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

-- ------------------------------------------------------------ exclusive names

-- What a submit does while the holder of a name waits, runs or stops, as `exclusion.MOVES` says.
CREATE OR REPLACE FUNCTION trio_jobs.move_of(policy text, holder text, OUT place text, OUT replaces boolean, OUT cancels boolean)
LANGUAGE sql IMMUTABLE
AS $$
    SELECT
        CASE WHEN holder = 'none' THEN 'first' WHEN holder = 'waits' THEN waits ELSE runs END,
        holder <> 'none' AND replacing, holder NOT IN ('none', 'waits') AND policy = 'cancel'
    FROM (VALUES
        ('reject', 'refused', 'refused', false),
        ('attach', 'attached', 'attached', false),
        ('after', 'behind', 'behind', false),
        ('replace', 'first', 'behind', true),
        ('cancel', 'first', 'behind', true),
        ('debounce', 'first', 'behind', true)
    ) AS move (word, waits, runs, replacing) WHERE word = policy
$$;

-- Return the job that holds the exclusive name of a new one, and what it does; locked, it stays so.
CREATE OR REPLACE FUNCTION trio_jobs.holder_of(new json, locks boolean, OUT number bigint, OUT id text, OUT does text)
LANGUAGE plpgsql
AS $$
DECLARE
    found trio_jobs.job;
BEGIN
    IF locks THEN
        SELECT * INTO found FROM trio_jobs.job AS job
        WHERE exclusive = new ->> 'exclusive' AND NOT behind AND finished IS NULL
            AND coalesce(owner, '') = coalesce(new ->> 'owner', '') AND (owner IS NULL) = (new ->> 'owner' IS NULL)
        FOR NO KEY UPDATE;
    ELSE
        SELECT * INTO found FROM trio_jobs.job AS job
        WHERE exclusive = new ->> 'exclusive' AND NOT behind AND finished IS NULL
            AND coalesce(owner, '') = coalesce(new ->> 'owner', '') AND (owner IS NULL) = (new ->> 'owner' IS NULL);
    END IF;
    number := found.number;
    id := found.id;
    does := CASE
        WHEN found.number IS NULL THEN 'none'
        WHEN found.state <> 'running' THEN 'waits'
        WHEN found.cancel_requested IS NULL THEN 'runs'
        ELSE 'stops'
    END;
END $$;

-- End what a new job with an exclusive name replaces, request the cancellation of what it cancels, and return where it
-- stands: the id of the job to which it is `attached`; or when it is `due`, whether `behind`, since when it is `put_off`,
-- and whether it `has_room`, that of what it replaced. The holder is locked, so it cannot end in between. Without `locks`
-- it is locked only if something is done to it; a sweep lets a job hold its name that turns out to be behind nobody.
CREATE OR REPLACE FUNCTION trio_jobs.stand_of(new json, locks boolean) RETURNS json LANGUAGE plpgsql
AS $$
DECLARE
    holder record;
    move record;
    gone record;
    at double precision;
    since double precision;
    ended text[] := '{}';
    has_room boolean := false;
BEGIN
    SELECT * INTO holder FROM trio_jobs.holder_of(new, locks);
    SELECT * INTO move FROM trio_jobs.move_of(new ->> 'policy', holder.does);
    IF NOT locks AND (move.replaces OR move.cancels) THEN
        RETURN trio_jobs.stand_of(new, true);
    ELSIF move.place = 'refused' THEN
        PERFORM trio_jobs.refuse(trio_jobs.refusal('Busy', to_json(holder.id)));
    ELSIF move.place = 'attached' THEN
        RETURN json_build_object('attached', holder.id);
    END IF;
    at := trio_jobs.clock();
    FOR gone IN  -- the holder last, so that none of the others gets its name
        SELECT number, id, reason, put_off FROM trio_jobs.job
        WHERE move.replaces AND exclusive = new ->> 'exclusive' AND behind AND finished IS NULL
            AND coalesce(owner, '') = coalesce(new ->> 'owner', '') AND (owner IS NULL) = (new ->> 'owner' IS NULL)
        ORDER BY number FOR NO KEY UPDATE
    LOOP
        PERFORM trio_jobs.replace_job(gone.number, new ->> 'id', at);
        ended := ended || gone.id;
        since := least(since, gone.put_off);
        has_room := has_room OR gone.reason IS DISTINCT FROM 'awaiting_input';
    END LOOP;
    IF move.replaces AND holder.does = 'waits' THEN
        SELECT number, id, reason, put_off INTO gone FROM trio_jobs.job WHERE number = holder.number;
        PERFORM trio_jobs.replace_job(gone.number, new ->> 'id', at);
        ended := ended || gone.id;
        since := least(since, gone.put_off);
        has_room := has_room OR gone.reason IS DISTINCT FROM 'awaiting_input';
    END IF;
    IF move.cancels THEN
        PERFORM trio_jobs.request_cancel_of(holder.id, 'another job is to take its place', 0);
    END IF;
    since := CASE WHEN new ->> 'policy' = 'debounce' THEN coalesce(since, at) END;
    RETURN json_build_object(
        'behind', move.place = 'behind', 'has_room', has_room, 'put_off', since, 'ended', ended,
        'asked', CASE WHEN move.cancels THEN holder.id END,
        'due', CASE WHEN since IS NOT NULL THEN least(at + (new ->> 'delay')::float8, since + (new ->> 'at_most')::float8) END
    );
END $$;

CREATE OR REPLACE FUNCTION trio_jobs.replace_job(number bigint, by text, at double precision) RETURNS void LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM trio_jobs.end_job(
        number, 'cancelled', json_build_object('reason', 'replaced', 'replaced_by', by), NULL, NULL, false, false, NULL, at
    );
END $$;

-- ------------------------------------------------------------ child jobs

-- Accept children, which run from the start. The row of a parent is locked, so its attempt cannot end in between.
CREATE OR REPLACE FUNCTION trio_jobs.spawn_jobs(calls json) RETURNS TABLE (place int, answer json)
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off
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
            PERFORM trio_jobs.insert_jobs(json_build_array(call), '{0}', '{0}', at);
            SELECT json_build_object(
                'value', json_build_array(attempt, spent, saved, seq, consumed), 'started', json_build_array(id)
            ) INTO answer FROM trio_jobs.job WHERE id = call #>> '{jobs,0,id}';
        ELSE
            answer := trio_jobs.refusal('LeaseLost', call -> 'parent', call -> 'attempt');
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
