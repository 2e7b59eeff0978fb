-- Limits: how they are defined, and claims under them; see lanes.sql for what waits.

-- ------------------------------------------------------------ claims

-- Locks the limits of those of these handlers that have any, and returns these.
CREATE OR REPLACE FUNCTION trio_jobs.lock_limits(asked text[]) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    names text[] := '{}';
    wanted text[];
BEGIN
    LOOP
        wanted := ARRAY(
            SELECT DISTINCT limited.name FROM trio_jobs.limited WHERE limited.handler = ANY (asked) ORDER BY 1
        );
        EXIT WHEN wanted <@ names;  -- while it waited for the locks, they may have been defined anew
        PERFORM FROM trio_jobs.limits WHERE limits.name = ANY (wanted) ORDER BY limits.name FOR UPDATE;
        names := wanted;
    END LOOP;
    RETURN ARRAY(SELECT DISTINCT limited.handler FROM trio_jobs.limited WHERE limited.handler = ANY (asked));
END $$;

-- Lets jobs leave their lanes whose handlers have no limits any more.
CREATE OR REPLACE FUNCTION trio_jobs.leave_lanes(handlers text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH news AS (
        DELETE FROM trio_jobs.lane_news AS news WHERE news.handler = ANY (handlers)
            AND NOT EXISTS (SELECT FROM trio_jobs.limited WHERE limited.handler = news.handler) RETURNING news.lane
    )
    UPDATE trio_jobs.job SET lane = NULL
    WHERE job.state IN {started} AND NOT job.behind AND job.lane IS NOT NULL AND job.lane IN (SELECT lane FROM news);
END $$;

-- Starts up to `most` jobs of handlers of which some have limits, as `claim_some`. Between handlers, and within a lane,
-- the order is by rank, and between the lanes of a handler by turn.
CREATE OR REPLACE FUNCTION trio_jobs.claim_limited(
    most integer, handlers json, worker text, lease double precision, claim text
) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    asked text[] := ARRAY(SELECT json_array_elements_text(handlers));
    mine text[];                -- those that have limits
    others text[];
    now double precision;
    names text[];               -- of the limits that are not keyed,
    places double precision[];  -- how many jobs each of them lets start,
    rooms double precision[];   -- and how many more, after what is picked
    free bigint[];              -- the jobs without limits that are due,
    ranks double precision[];   -- and their ranks
    next integer := 1;          -- the place among them
    picked bigint[] := '{}';
    lanes bigint[] := '{}';     -- of what is picked; 0 for none
    looks boolean := true;      -- whether the first lane is to be looked up
    one record;                 -- that lane, and the best rank in the lanes of its handler
    seen bigint[] := '{}';      -- what is picked of lanes, or could not be
BEGIN
    mine := trio_jobs.lock_limits(asked);
    others := ARRAY(SELECT unnest(asked) EXCEPT SELECT unnest(mine));
    IF EXISTS (SELECT FROM trio_jobs.lane_news AS news WHERE news.handler = ANY (others)) THEN
        PERFORM trio_jobs.leave_lanes(others);
    END IF;
    now := trio_jobs.clock();
    PERFORM trio_jobs.fold_lanes(mine, now);
    SELECT coalesce(array_agg(used.name), '{}'), coalesce(array_agg(used.room), '{}') INTO names, places FROM (
        SELECT limits.name, trio_jobs.room(
            limits, CASE WHEN limits.at_once IS NOT NULL THEN trio_jobs.running_under(limits.name) END, limits.moment, now
        )
        FROM trio_jobs.limits WHERE NOT limits.keyed
            AND limits.name IN (SELECT limited.name FROM trio_jobs.limited WHERE limited.handler = ANY (mine))
    ) AS used (name, room);
    rooms := places;
    SELECT array_agg(due.number ORDER BY due.rank, due.number), array_agg(due.rank ORDER BY due.rank, due.number)
    INTO free, ranks FROM trio_jobs.due_jobs(
        others, most, now
    ) AS due WHERE due.number = ANY (trio_jobs.lock_due(ARRAY[due.number], now));
    WHILE cardinality(picked) < most LOOP
        IF looks THEN
            SELECT lane.number, lane.handler, lane.best, best_rank.rank INTO one
            FROM unnest(mine) AS open (handler) CROSS JOIN LATERAL (
                SELECT lane.rank FROM trio_jobs.lane
                WHERE lane.handler = open.handler AND lane.rank IS NOT NULL ORDER BY lane.rank LIMIT 1
            ) AS best_rank CROSS JOIN LATERAL (
                SELECT lane.number, lane.handler, lane.best FROM trio_jobs.lane
                WHERE lane.handler = open.handler AND lane.rank IS NOT NULL ORDER BY lane.turn LIMIT 1
            ) AS lane
            WHERE NOT EXISTS (
                SELECT FROM unnest(names, rooms) AS used (name, room) JOIN trio_jobs.limited USING (name)
                WHERE limited.handler = open.handler AND used.room < 1
            )
            ORDER BY best_rank.rank LIMIT 1;
            looks := false;
        END IF;
        IF coalesce(one.rank, 'Infinity') >= coalesce(ranks[next], 'Infinity') THEN
            EXIT WHEN ranks[next] IS NULL;
            picked := picked || free[next];
            lanes := lanes || 0::bigint;
            next := next + 1;
            CONTINUE;
        END IF;
        looks := true;
        seen := seen || one.best;
        PERFORM FROM trio_jobs.job
        WHERE job.number = one.best AND job.state IN {started} AND NOT job.behind AND job.lane = one.number
            AND (job.expires IS NULL OR job.expires > now)
        FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            picked := picked || one.best;
            lanes := lanes || one.number;
            rooms := ARRAY(
                SELECT used.room - EXISTS (
                    SELECT FROM trio_jobs.limited WHERE limited.handler = one.handler AND limited.name = used.name
                )::integer
                FROM unnest(names, rooms) WITH ORDINALITY AS used (name, room, place) ORDER BY used.place
            );
            PERFORM trio_jobs.settle_lanes(ARRAY[one.number], true, seen, lanes, now);
        ELSE  -- it has expired, or another transaction is at it, after which the next claim looks again
            PERFORM trio_jobs.settle_lanes(ARRAY[one.number], false, seen, lanes, now);
            INSERT INTO trio_jobs.lane_news (handler, lane) VALUES (one.handler, one.number);
        END IF;
    END LOOP;
    UPDATE trio_jobs.limits SET
        moment = CASE WHEN used.starts > 0 THEN greatest(used.known, now) + used.starts / limits.per_second
            ELSE used.known END,
        last = CASE WHEN used.starts > 0 THEN now ELSE limits.last END
    FROM (
        SELECT rate.name, had.places - had.rooms AS starts, trio_jobs.known(rate, rate.moment, now) AS known
        FROM unnest(names, places, rooms) AS had (name, places, rooms) JOIN trio_jobs.limits AS rate USING (name)
        WHERE rate.per_second IS NOT NULL
    ) AS used
    WHERE limits.name = used.name AND (used.starts > 0 OR limits.moment > used.known);
    IF picked = '{}' THEN
        RETURN '[]';
    END IF;
    RETURN (SELECT json_agg(started) FROM trio_jobs.start_jobs(picked, worker, lease, claim) AS started);
END $$;

-- When a claim finds a job in a lane: up to now if it does now, infinity if not by waiting alone.
CREATE OR REPLACE FUNCTION trio_jobs.next_start(handlers text[]) RETURNS double precision LANGUAGE plpgsql STABLE AS $$
DECLARE
    now double precision := trio_jobs.clock();
    soonest double precision := 'Infinity';
    name text;
    opens double precision;
    begins double precision;
BEGIN
    IF EXISTS (
        SELECT FROM trio_jobs.lane_news AS news WHERE news.handler = ANY (handlers)
            AND NOT EXISTS (SELECT FROM trio_jobs.limited WHERE limited.handler = news.handler)
    ) THEN
        RETURN now;  -- so that a claim lets them leave
    END IF;
    FOR name, opens IN
        SELECT limited.handler, coalesce(max(CASE WHEN NOT limits.keyed THEN
            CASE WHEN limits.moment > trio_jobs.known(limits, limits.moment, now)
                    AND limits.per_second IS NOT NULL THEN now
                ELSE trio_jobs.opens_at(limits, trio_jobs.running_under(limits.name), limits.moment, now) END
        END), now)
        FROM trio_jobs.limited JOIN trio_jobs.limits USING (name)
        WHERE limited.handler = ANY (handlers) GROUP BY limited.handler
    LOOP
        CONTINUE WHEN opens >= soonest;
        IF EXISTS (SELECT FROM trio_jobs.lane WHERE lane.handler = name AND lane.rank IS NOT NULL)
            OR EXISTS (SELECT FROM trio_jobs.lane_news AS news WHERE news.handler = name AND news.back IS NOT NULL)
        THEN
            begins := now;
        ELSE
            SELECT min(lane.wakes) INTO begins FROM trio_jobs.lane WHERE lane.handler = name AND lane.wakes > now;
            SELECT least(begins, min(CASE
                WHEN woken.moment > look.used AND look.used > '-Infinity' THEN now  -- which a claim has to write
                WHEN look.best IS NULL THEN look.later ELSE look.opens
            END)) INTO begins
            FROM (
                SELECT lane.number, lane.moment FROM trio_jobs.lane WHERE lane.handler = name AND lane.wakes <= now
                UNION SELECT news.lane, coalesce(lane.moment, '-Infinity') FROM trio_jobs.lane_news AS news
                    LEFT JOIN trio_jobs.lane ON lane.number = news.lane WHERE news.handler = name
            ) AS woken CROSS JOIN LATERAL trio_jobs.look(
                name, woken.number, woken.moment, false, '{}', '{}', now
            ) AS look;
        END IF;
        soonest := least(soonest, greatest(coalesce(begins, 'Infinity'), opens));
    END LOOP;
    RETURN soonest;
END $$;

-- The first limit under which no job of a key may start now; with the key, if it is keyed.
CREATE OR REPLACE FUNCTION trio_jobs.limit_over(handler text, key text) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT limits.name || CASE WHEN limits.keyed THEN ' ' || coalesce(limit_over.key, '') ELSE '' END
        FROM trio_jobs.limited JOIN trio_jobs.limits USING (name)
            LEFT JOIN trio_jobs.lane ON lane.number = trio_jobs.lane_of(limit_over.handler, limit_over.key),
            LATERAL (SELECT trio_jobs.clock() AS now, CASE WHEN limits.keyed THEN (
                SELECT count(*) FROM trio_jobs.job WHERE job.state = 'running' AND job.lane IS NOT NULL
                    AND job.handler = limit_over.handler AND job.lane = trio_jobs.lane_of(limit_over.handler, limit_over.key)
            ) ELSE trio_jobs.running_under(limits.name) END AS running) AS used
        WHERE limited.handler = limit_over.handler AND trio_jobs.opens_at(
            limits, used.running, CASE WHEN limits.keyed THEN coalesce(lane.moment, '-Infinity') ELSE limits.moment END, used.now
        ) > used.now
        ORDER BY limited.place LIMIT 1
    );
END $$;

-- ------------------------------------------------------------ definitions

CREATE OR REPLACE FUNCTION trio_jobs.limits_of(handler text) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_object_agg(limits.name, json_build_object(
        'at_once', limits.at_once, 'per_second', limits.per_second, 'burst', limits.burst,
        'waiting', limits.waiting, 'keyed', limits.keyed
    ) ORDER BY limited.place)
    FROM trio_jobs.limited JOIN trio_jobs.limits USING (name) WHERE limited.handler = limits_of.handler
$$;

-- Writes limits, unless those that are there are pinned; those of nobody go.
CREATE OR REPLACE FUNCTION trio_jobs.define_limits(given json, pins boolean) RETURNS void LANGUAGE sql AS $$
    INSERT INTO trio_jobs.limits AS old (name, at_once, per_second, burst, waiting, keyed, pinned)
    SELECT new.name, new.at_once, new.per_second, new.burst, new.waiting, new.keyed, pins
    FROM json_to_recordset(given) AS new (
        name text, at_once numeric, per_second double precision, burst numeric, waiting numeric, keyed boolean
    ) ORDER BY new.name
    ON CONFLICT (name) DO UPDATE SET
        at_once = excluded.at_once, per_second = excluded.per_second, burst = excluded.burst,
        waiting = excluded.waiting, keyed = excluded.keyed, pinned = pins
    WHERE pins OR NOT old.pinned;
    DELETE FROM trio_jobs.limits WHERE NOT limits.pinned
        AND NOT EXISTS (SELECT FROM trio_jobs.limited WHERE limited.name = limits.name);
$$;

-- Sets the limits of a handler, and returns what they were and what they are. Jobs are locked before limits.
CREATE OR REPLACE FUNCTION trio_jobs.limit_handler(handler text, given json) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    before json := trio_jobs.limits_of(handler);
    ends boolean := json_array_length(given) = 0;
    numbers bigint[] := '{}';
BEGIN
    IF ends AND before IS NULL THEN
        RETURN json_build_object('value', NULL);
    END IF;
    IF before IS NULL THEN
        numbers := ARRAY(
            SELECT job.number FROM trio_jobs.job WHERE job.handler = limit_handler.handler AND job.finished IS NULL
                AND job.lane IS NULL AND job.parent IS NULL ORDER BY job.number + 0 FOR UPDATE
        );
    END IF;
    PERFORM trio_jobs.lock_limits(ARRAY[handler]);
    DELETE FROM trio_jobs.limited WHERE limited.handler = limit_handler.handler;
    INSERT INTO trio_jobs.limited (handler, place, name)
        SELECT limit_handler.handler, new.ordinality, new.value ->> 'name'
        FROM json_array_elements(given) WITH ORDINALITY AS new;
    PERFORM trio_jobs.define_limits(given, false);
    IF ends THEN
        WITH gone AS (DELETE FROM trio_jobs.lane WHERE lane.handler = limit_handler.handler RETURNING lane.number)
        INSERT INTO trio_jobs.lane_news (handler, lane) SELECT limit_handler.handler, gone.number FROM gone;
    ELSE
        PERFORM trio_jobs.move_in(numbers);
        UPDATE trio_jobs.lane SET wakes = 0 WHERE lane.handler = limit_handler.handler;
    END IF;
    RETURN json_build_object('work', true, 'value', json_build_object(
        'before', before, 'after', trio_jobs.limits_of(handler)
    ));
END $$;

-- A call has `handler` and `limits`, each with its `name`.
CREATE OR REPLACE FUNCTION trio_jobs.limit(calls json) RETURNS TABLE (place integer, answer json) LANGUAGE plpgsql AS $$
DECLARE
    call json;
BEGIN
    LOCK TABLE trio_jobs.limited IN SHARE ROW EXCLUSIVE MODE;  -- one definition at a time; claims go on
    FOR place, call, answer IN SELECT * FROM trio_jobs.checked(calls) LOOP
        answer := coalesce(answer, trio_jobs.limit_handler(call ->> 'handler', call -> 'limits'));
        RETURN NEXT;
    END LOOP;
END $$;

-- A call has the `name` of a limit and the `limit`, or null for that to be pinned no longer.
CREATE OR REPLACE FUNCTION trio_jobs.pin_limit(calls json) RETURNS TABLE (place integer, answer json) LANGUAGE plpgsql AS $$
DECLARE
    call json;
BEGIN
    LOCK TABLE trio_jobs.limited IN SHARE ROW EXCLUSIVE MODE;
    FOR place, call, answer IN SELECT * FROM trio_jobs.checked(calls) LOOP
        IF answer IS NULL THEN
            PERFORM trio_jobs.lock_limits(ARRAY(SELECT handler FROM trio_jobs.limited WHERE name = call ->> 'name'));
            UPDATE trio_jobs.limits SET pinned = false WHERE limits.name = call ->> 'name';
            PERFORM trio_jobs.define_limits(
                CASE WHEN call ->> 'limit' IS NULL THEN '[]' ELSE json_build_array(call -> 'limit') END, true
            );
            UPDATE trio_jobs.lane SET wakes = 0
            FROM trio_jobs.limited WHERE limited.name = call ->> 'name' AND lane.handler = limited.handler;
            answer := json_build_object('value', NULL, 'work', true);
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
