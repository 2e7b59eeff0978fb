-- Start the jobs that wait under limits, as `_lanes` does in memory: its lanes are rows here.
--
-- A lane is open if its best job could start as far as its key is concerned; then it has a `rank`. A claim takes from
-- the lanes that are open; what waits in others costs it nothing, however much it is. It begins with those that are in
-- the news, or have woken by the time. Claims for handlers that share a limit wait for each other, so what they count
-- as running is true: other transactions only make it less.

-- ------------------------------------------------------------ rules

-- How many jobs a limit lets start at one moment by its rate: `Limit.most`.
CREATE OR REPLACE FUNCTION trio_jobs.most_of(one trio_jobs.limits) RETURNS double precision LANGUAGE sql IMMUTABLE
AS $$ SELECT coalesce(one.burst, greatest(1, ceil(one.per_second))::numeric)::double precision $$;

-- `rates.known`: the moment as it counts.
CREATE OR REPLACE FUNCTION trio_jobs.known(one trio_jobs.limits, moment double precision, now double precision)
RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN one.per_second IS NULL THEN '-Infinity'
        ELSE least(moment, now + trio_jobs.most_of(one) / one.per_second) END
$$;

-- How many jobs a limit lets start now, of which so many run: `Use.opens_at`, for any number of starts at once.
CREATE OR REPLACE FUNCTION trio_jobs.room(
    one trio_jobs.limits, running bigint, moment double precision, now double precision
) RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(least(
        (one.at_once - running)::double precision,
        floor(trio_jobs.most_of(one) + 1e-6
            - greatest(0, trio_jobs.known(one, moment, now) - now) * one.per_second)
    ), 'Infinity')
$$;

-- `Use.opens_at`: from when on a job may start. A moment that has to be corrected lets a claim do that now.
CREATE OR REPLACE FUNCTION trio_jobs.opens_at(
    one trio_jobs.limits, running bigint, moment double precision, now double precision
) RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN one.at_once <= running THEN 'Infinity'
        WHEN trio_jobs.room(one, running, moment, now) >= 1 THEN now
        ELSE trio_jobs.known(one, moment, now) - (trio_jobs.most_of(one) - 1) / one.per_second
    END
$$;

-- The number of a lane. Whoever submits computes it, so that no row has to be made, or waited for.
CREATE OR REPLACE FUNCTION trio_jobs.lane_of(handler text, key text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT ('x' || encode(substr(sha256(
        convert_to(length(handler) || ' ' || handler || coalesce(' ' || key, ''), 'UTF8')
    ), 1, 8), 'hex'))::bit(64)::bigint
$$;

CREATE OR REPLACE FUNCTION trio_jobs.running_under(limit_name text) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT count(*) FROM trio_jobs.limited CROSS JOIN LATERAL (
            SELECT FROM trio_jobs.job
            WHERE job.state = 'running' AND job.lane IS NOT NULL AND job.handler = limited.handler
        ) AS job WHERE limited.name = limit_name
    );
END $$;

-- ------------------------------------------------------------ coming in, and leaving

CREATE OR REPLACE FUNCTION trio_jobs.move_in_lane() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO trio_jobs.lane_news (handler, lane) VALUES (new.handler, new.lane);
    RETURN NULL;
END $$;
-- A start is no news, as only a claim starts a job in a lane, and looks at the lane again.
CREATE OR REPLACE TRIGGER move_in_lane AFTER UPDATE OF state, due, behind ON trio_jobs.job FOR EACH ROW
WHEN (new.lane IS NOT NULL AND new.state <> 'running'
    AND (old.state, old.due, old.behind) IS DISTINCT FROM (new.state, new.due, new.behind))
EXECUTE FUNCTION trio_jobs.move_in_lane();

-- Puts jobs into lanes that came in before their handlers had limits.
CREATE OR REPLACE FUNCTION trio_jobs.move_in(numbers bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH moved AS (
        UPDATE trio_jobs.job SET lane = trio_jobs.lane_of(job.handler, job.options::json ->> 'limit_key')
        WHERE job.number = ANY (numbers) AND job.lane IS NULL AND job.finished IS NULL AND job.parent IS NULL
            AND EXISTS (SELECT FROM trio_jobs.limited WHERE limited.handler = job.handler)
        RETURNING job.handler, job.lane
    )
    INSERT INTO trio_jobs.lane_news (handler, lane) SELECT DISTINCT moved.handler, moved.lane FROM moved;
END $$;

-- Whether a limit says how many jobs may wait.
CREATE OR REPLACE FUNCTION trio_jobs.bounds_waiting() RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN
    RETURN EXISTS (SELECT FROM trio_jobs.limits WHERE limits.waiting IS NOT NULL);
END $$;

-- The refusal of new jobs, which are in lanes, if more would wait than a limit allows, else NULL.
CREATE OR REPLACE FUNCTION trio_jobs.enter_lanes(numbers bigint[]) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    one record;
    came bigint;
BEGIN
    IF NOT trio_jobs.bounds_waiting() THEN
        RETURN NULL;
    END IF;
    FOR one IN
        SELECT limits.name, limits.waiting, limits.keyed, under.lane, under.key
        FROM (
            SELECT job.handler, job.lane, job.options::json ->> 'limit_key' AS key, min(job.number) AS number
            FROM trio_jobs.job WHERE job.number = ANY (numbers) AND job.lane IS NOT NULL GROUP BY 1, 2, 3
        ) AS under JOIN trio_jobs.limited USING (handler) JOIN trio_jobs.limits USING (name)
        WHERE limits.waiting IS NOT NULL ORDER BY under.number, limited.place
    LOOP
        IF one.keyed THEN
            SELECT count(*) INTO came FROM (
                SELECT FROM trio_jobs.job
                WHERE job.state IN {started} AND NOT job.behind AND job.lane IS NOT NULL AND job.lane = one.lane
                    AND job.reason IS DISTINCT FROM 'awaiting_input'
                UNION ALL SELECT FROM trio_jobs.job
                WHERE job.behind AND job.finished IS NULL AND job.lane IS NOT NULL AND job.lane = one.lane
                LIMIT least(one.waiting + 1, 1e9)::bigint
            ) AS found;
        ELSE
            SELECT sum(trio_jobs.waiting_jobs('handler', limited.handler)) INTO came
            FROM trio_jobs.limited WHERE limited.name = one.name;
        END IF;
        IF came > one.waiting THEN
            RETURN json_build_object('error', 'QueueFull', 'values', json_build_array(
                one.waiting, one.name, CASE WHEN one.keyed THEN one.key END
            ));
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- Takes back that a running job started, for the rates of its limits: the next claim does it.
CREATE OR REPLACE FUNCTION trio_jobs.give_back(number bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO trio_jobs.lane_news (handler, lane, back) SELECT job.handler, job.lane, job.started
    FROM trio_jobs.job WHERE job.number = give_back.number AND job.state = 'running' AND job.lane IS NOT NULL;
END $$;

-- ------------------------------------------------------------ looking at lanes

-- What the jobs of a lane are, of which some were `seen` already: the `best` that is due, its `rank` and when and as
-- which the first came; the moment that the lane has `used`, perhaps with one more start; from when on it `opens`, as
-- far as its key is concerned; and when the next job is due that is not: `later`.
CREATE OR REPLACE FUNCTION trio_jobs.look(
    handler text, lane bigint, moment double precision, started boolean, seen bigint[], lanes bigint[],
    now double precision, OUT best bigint, OUT rank double precision, OUT came double precision, OUT first bigint,
    OUT used double precision, OUT opens double precision, OUT later double precision
) LANGUAGE plpgsql STABLE AS $$
DECLARE
    one trio_jobs.limits;
    running bigint := 0;
BEGIN
    SELECT limits.* INTO one FROM trio_jobs.limited JOIN trio_jobs.limits USING (name)
    WHERE limited.handler = look.handler AND limits.keyed;
    SELECT (array_agg(found.number ORDER BY found.due + level.penalty, found.number))[1],
        min(found.due + level.penalty), min(found.due), (array_agg(found.number ORDER BY found.due, found.number))[1]
    INTO best, rank, came, first
    FROM {levels} AS level CROSS JOIN LATERAL (
        SELECT job.number, job.due FROM trio_jobs.job
        WHERE job.state IN {started} AND NOT job.behind AND job.lane IS NOT NULL AND job.lane = look.lane
            AND job.priority = level.priority AND job.due <= now AND (job.expires IS NULL OR job.expires > now)
            AND job.number <> ALL (seen)
        ORDER BY job.due, job.number LIMIT 1
    ) AS found;
    SELECT coalesce(min(found.due), 'Infinity') INTO later
    FROM {levels} AS level CROSS JOIN LATERAL (
        SELECT job.due FROM trio_jobs.job
        WHERE job.state IN {started} AND NOT job.behind AND job.lane IS NOT NULL AND job.lane = look.lane
            AND job.priority = level.priority AND job.due > now AND job.due < 'Infinity'
        ORDER BY job.due LIMIT 1
    ) AS found;
    IF one.at_once IS NOT NULL THEN
        running := (
            SELECT count(*) FROM trio_jobs.job
            WHERE job.state = 'running' AND job.lane IS NOT NULL AND job.handler = look.handler AND job.lane = look.lane
        ) + cardinality(array_positions(lanes, look.lane));
    END IF;
    used := trio_jobs.known(one, moment, now);
    IF started AND one.per_second IS NOT NULL THEN
        used := greatest(used, now) + 1 / one.per_second;
    END IF;
    opens := trio_jobs.opens_at(one, running, used, now);
END $$;

-- Opens lanes, or closes them, or forgets them. `started` are those that have just had their turn.
CREATE OR REPLACE FUNCTION trio_jobs.settle_lanes(
    numbers bigint[], started boolean, seen bigint[], lanes bigint[], now double precision
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH looked AS MATERIALIZED (
        SELECT lane.number, lane.turn, look.*,
            look.best IS NULL AND look.later = 'Infinity' AND look.used <= now AS idle
        FROM trio_jobs.lane CROSS JOIN LATERAL trio_jobs.look(
            lane.handler, lane.number, lane.moment, started, seen, lanes, now
        ) AS look
        WHERE lane.number = ANY (numbers)
    ), forgotten AS (
        DELETE FROM trio_jobs.lane USING looked WHERE lane.number = looked.number AND looked.idle
    ), turned AS MATERIALIZED (
        SELECT fresh.number, nextval('trio_jobs.turn') AS turn FROM (
            SELECT looked.number FROM looked WHERE looked.best IS NOT NULL AND (looked.turn IS NULL OR started)
            ORDER BY looked.came, looked.first  -- as they came, so they take turns
        ) AS fresh
    )
    UPDATE trio_jobs.lane SET
        moment = looked.used,
        last = CASE WHEN started THEN now ELSE lane.last END,
        turn = CASE WHEN looked.best IS NOT NULL THEN coalesce(turned.turn, looked.turn) END,
        rank = CASE WHEN looked.opens <= now THEN looked.rank END,
        best = looked.best,
        wakes = nullif(CASE
            WHEN looked.best IS NOT NULL AND looked.opens > now THEN looked.opens
            WHEN looked.best IS NULL AND looked.later = 'Infinity' THEN looked.used
            ELSE looked.later
        END, 'Infinity')
    FROM looked LEFT JOIN turned USING (number) WHERE lane.number = looked.number AND NOT looked.idle;
END $$;

-- Takes in the news of handlers whose limits are locked, and settles the lanes that have woken.
CREATE OR REPLACE FUNCTION trio_jobs.fold_lanes(handlers text[], now double precision) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    backs json;
    back record;
    late bigint[] := ARRAY(  -- what came in before its handler had limits, and was committed after
        SELECT job.number FROM trio_jobs.job
        WHERE job.state IN {started} AND NOT job.behind AND job.lane IS NULL AND job.handler = ANY (handlers)
        FOR UPDATE SKIP LOCKED
    );
BEGIN
    IF late <> '{}' THEN
        PERFORM trio_jobs.move_in(late);
    END IF;
    WITH news AS (
        DELETE FROM trio_jobs.lane_news AS news WHERE news.handler = ANY (handlers) RETURNING *
    ), woken AS (
        INSERT INTO trio_jobs.lane (number, handler, wakes) SELECT DISTINCT news.lane, news.handler, 0 FROM news
        ON CONFLICT (number) DO UPDATE SET wakes = 0
    )
    SELECT json_agg(news) INTO backs FROM news WHERE news.back IS NOT NULL;
    FOR back IN SELECT * FROM json_to_recordset(backs) AS one (handler text, lane bigint, back double precision) LOOP
        UPDATE trio_jobs.limits SET moment = limits.moment - 1 / limits.per_second FROM trio_jobs.limited
        WHERE limited.handler = back.handler AND limits.name = limited.name AND NOT limits.keyed
            AND limits.per_second IS NOT NULL AND limits.last <= back.back;
        UPDATE trio_jobs.lane SET moment = lane.moment - 1 / limits.per_second
        FROM trio_jobs.limited JOIN trio_jobs.limits USING (name)
        WHERE limited.handler = back.handler AND lane.number = back.lane AND limits.keyed
            AND limits.per_second IS NOT NULL AND lane.last <= back.back;
    END LOOP;
    PERFORM trio_jobs.settle_lanes(ARRAY(
        SELECT lane.number FROM trio_jobs.lane WHERE lane.handler = ANY (handlers) AND lane.wakes <= now
        ORDER BY lane.wakes LIMIT 1000
    ), false, '{}', '{}', now);
END $$;
