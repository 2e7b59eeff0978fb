-- Schedules: see `KeepsSchedules`.

-- A call has the `schedules` that are declared, each with `name`, `every` and `text`; or the `names` of those that
-- are declared still; and `lasts`, for how many seconds they are.
CREATE OR REPLACE FUNCTION trio_jobs.declare_schedules(calls json) RETURNS TABLE (place integer, answer json)
LANGUAGE plpgsql AS $$
DECLARE
    refused json := trio_jobs.too_new(calls);
    call json;
    one json;
BEGIN
    FOR place, call IN SELECT list.ordinality - 1, list.value FROM json_array_elements(calls) WITH ORDINALITY AS list LOOP
        IF refused IS NULL THEN
            FOR one IN SELECT value FROM json_array_elements(call -> 'schedules') ORDER BY value ->> 'name' LOOP
                PERFORM trio_jobs.keep_schedule(one);
            END LOOP;
            UPDATE trio_jobs.schedule SET added = false, declared_until = trio_jobs.clock() + (call ->> 'lasts')::float8
            WHERE name IN (
                SELECT value ->> 'name' FROM json_array_elements(call -> 'schedules')
                UNION SELECT json_array_elements_text(call -> 'names')
            );
        END IF;
        answer := coalesce(refused, '{"value": null}');
        RETURN NEXT;
    END LOOP;
END $$;

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

-- What the verbs about one schedule answer if they may not do it: with `new` it need not be there, and with `any` it may
-- be declared. The row is locked.
CREATE OR REPLACE FUNCTION trio_jobs.schedule_refusal(called text, new boolean, "any" boolean) RETURNS json
LANGUAGE plpgsql AS $$
DECLARE
    declared boolean;
BEGIN
    SELECT NOT added AND declared_until > trio_jobs.clock() INTO declared
    FROM trio_jobs.schedule WHERE name = called FOR UPDATE;
    RETURN CASE
        WHEN declared IS NULL AND NOT new THEN json_build_object('error', 'UnknownSchedule', 'values', json_build_array(called))
        WHEN declared AND NOT "any" THEN json_build_object('error', 'ScheduleDeclared', 'values', json_build_array(called))
    END;
END $$;

-- A call has a schedule: `name`, `every` and `text`.
CREATE OR REPLACE FUNCTION trio_jobs.add_schedule(calls json) RETURNS TABLE (place integer, answer json)
LANGUAGE plpgsql AS $$
DECLARE
    refused json := trio_jobs.too_new(calls);
    call json;
BEGIN
    FOR place, call IN SELECT list.ordinality - 1, list.value FROM json_array_elements(calls) WITH ORDINALITY AS list LOOP
        answer := coalesce(refused, trio_jobs.schedule_refusal(call ->> 'name', true, false));
        IF answer IS NULL THEN
            PERFORM trio_jobs.keep_schedule(call);
            UPDATE trio_jobs.schedule SET added = true, declared_until = 0 WHERE name = call ->> 'name';
            answer := '{"value": null}';
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

-- A call has a `name`.
CREATE OR REPLACE FUNCTION trio_jobs.remove_schedule(calls json) RETURNS TABLE (place integer, answer json)
LANGUAGE plpgsql AS $$
DECLARE
    refused json := trio_jobs.too_new(calls);
    call json;
BEGIN
    FOR place, call IN SELECT list.ordinality - 1, list.value FROM json_array_elements(calls) WITH ORDINALITY AS list LOOP
        answer := coalesce(refused, trio_jobs.schedule_refusal(call ->> 'name', false, false));
        IF answer IS NULL THEN
            DELETE FROM trio_jobs.schedule WHERE name = call ->> 'name';
            answer := '{"value": null}';
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

-- A call has a `name`, and `paused`.
CREATE OR REPLACE FUNCTION trio_jobs.pause_schedule(calls json) RETURNS TABLE (place integer, answer json)
LANGUAGE plpgsql AS $$
DECLARE
    refused json := trio_jobs.too_new(calls);
    call json;
BEGIN
    FOR place, call IN SELECT list.ordinality - 1, list.value FROM json_array_elements(calls) WITH ORDINALITY AS list LOOP
        answer := coalesce(refused, trio_jobs.schedule_refusal(call ->> 'name', false, true));
        IF answer IS NULL THEN
            UPDATE trio_jobs.schedule SET paused = NOT paused, revision = revision + 1,
                last_tick = CASE WHEN paused THEN greatest(last_tick, trio_jobs.clock()) ELSE last_tick END
            WHERE name = call ->> 'name' AND paused <> (call ->> 'paused')::boolean;
            answer := '{"value": null}';
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

-- A call is one of `submit_jobs`, with the `name` of a schedule, the `revision` and the `last` tick in which its `tick` was
-- found due. That its job is refused for its exclusive name makes no difference to the tick; else it may fire later.
CREATE OR REPLACE FUNCTION trio_jobs.fire_schedule(calls json) RETURNS TABLE (place integer, answer json)
LANGUAGE plpgsql AS $$
DECLARE
    refused json := trio_jobs.too_new(calls);
    call json;
BEGIN
    FOR place, call IN SELECT list.ordinality - 1, list.value FROM json_array_elements(calls) WITH ORDINALITY AS list LOOP
        answer := refused;
        IF refused IS NULL THEN
            PERFORM FROM trio_jobs.schedule
            WHERE name = call ->> 'name' AND revision = (call ->> 'revision')::bigint AND NOT paused
                AND last_tick = (call ->> 'last')::float8 AND last_tick < (call ->> 'tick')::float8 FOR UPDATE;
            IF FOUND THEN
                answer := trio_jobs.submit_one(call, true);
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
