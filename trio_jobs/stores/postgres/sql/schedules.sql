-- Schedules: see `KeepsSchedules`.

-- Keeps a schedule: `name`, `every` and `text`. One that is the same as before changes nothing.
CREATE OR REPLACE FUNCTION trio_jobs.keep_schedule(one json) RETURNS void LANGUAGE sql AS $$
    INSERT INTO trio_jobs.schedule AS old (name, text, every, anchor, last_tick)
    SELECT one ->> 'name', one ->> 'text', (one ->> 'every')::float8, clock.now, clock.now
    FROM (SELECT trio_jobs.clock() AS now) AS clock
    ON CONFLICT (name) DO UPDATE SET
        text = excluded.text,
        every = excluded.every,
        anchor = CASE WHEN old.every IS NOT DISTINCT FROM excluded.every THEN old.anchor ELSE excluded.anchor END,
        last_tick = greatest(old.last_tick, excluded.last_tick),
        revision = old.revision + 1
    WHERE old.text <> excluded.text
$$;

-- What is to be done with the schedule of a call, which is called `name`: `add`, `remove` or `pause` it. Returns the
-- answer.
CREATE OR REPLACE FUNCTION trio_jobs.change_schedule(call json) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    called text := call ->> 'name';
    verb text := call ->> 'do';
    declared boolean;
BEGIN
    SELECT NOT added AND declared_until > trio_jobs.clock() INTO declared
    FROM trio_jobs.schedule WHERE name = called FOR UPDATE;
    IF declared IS NULL AND verb <> 'add' THEN
        RETURN json_build_object('error', 'UnknownSchedule', 'values', json_build_array(called));
    ELSIF declared AND verb <> 'pause' THEN
        RETURN json_build_object('error', 'ScheduleDeclared', 'values', json_build_array(called));
    ELSIF verb = 'add' THEN
        PERFORM trio_jobs.keep_schedule(call);
        UPDATE trio_jobs.schedule SET added = true, declared_until = 0 WHERE name = called;
    ELSIF verb = 'remove' THEN
        DELETE FROM trio_jobs.schedule WHERE name = called;
    ELSE
        UPDATE trio_jobs.schedule SET paused = NOT paused, revision = revision + 1,
            last_tick = CASE WHEN paused THEN greatest(last_tick, trio_jobs.clock()) ELSE last_tick END
        WHERE name = called AND paused <> (call ->> 'paused')::boolean;
    END IF;
    RETURN '{"value": null}';
END $$;

-- A call is as in `change_schedule`; or it has the `schedules` that are declared, or the `names` of those that are still,
-- and `lasts`, for how many seconds they are.
CREATE OR REPLACE FUNCTION trio_jobs.change_schedules(calls json) RETURNS TABLE (place integer, answer json)
LANGUAGE plpgsql AS $$
DECLARE
    call json;
BEGIN
    FOR place, call, answer IN SELECT * FROM trio_jobs.checked(calls) LOOP
        IF answer IS NULL AND call ->> 'do' = 'declare' THEN
            PERFORM trio_jobs.keep_schedule(one.value)
            FROM (SELECT value FROM json_array_elements(call -> 'schedules') ORDER BY value ->> 'name') AS one;
            UPDATE trio_jobs.schedule SET added = false, declared_until = trio_jobs.clock() + (call ->> 'lasts')::float8
            WHERE name IN (
                SELECT value ->> 'name' FROM json_array_elements(call -> 'schedules')
                UNION SELECT json_array_elements_text(call -> 'names')
            );
            answer := '{"value": null}';
        ELSIF answer IS NULL THEN
            answer := trio_jobs.change_schedule(call);
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

-- A call is one of `submit_jobs`, with the `name` of a schedule, the `revision` and the `last` tick in which its `tick` was
-- found due. That its job is refused for its exclusive name makes no difference to the tick; else it may fire later.
CREATE OR REPLACE FUNCTION trio_jobs.fire_schedule(calls json) RETURNS TABLE (place integer, answer json)
LANGUAGE plpgsql AS $$
DECLARE
    call json;
BEGIN
    FOR place, call, answer IN SELECT * FROM trio_jobs.checked(calls) LOOP
        IF answer IS NULL THEN
            PERFORM FROM trio_jobs.schedule
            WHERE name = call ->> 'name' AND revision = (call ->> 'revision')::bigint AND NOT paused
                AND last_tick = (call ->> 'last')::float8 AND last_tick < (call ->> 'tick')::float8 FOR UPDATE;
            IF FOUND THEN
                answer := trio_jobs.submit_one(call, calls -> 0, true);
                IF coalesce(answer ->> 'error', 'Busy') = 'Busy' THEN
                    UPDATE trio_jobs.schedule SET last_tick = (call ->> 'tick')::float8 WHERE name = call ->> 'name';
                    answer := (answer::jsonb - 'error' - 'values' || '{"value": true}')::json;
                END IF;
            ELSE
                answer := '{"value": false}';
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
