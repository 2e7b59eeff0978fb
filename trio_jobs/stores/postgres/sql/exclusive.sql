-- Jobs with exclusive names: what a submit does while one holds it; see `exclusion.py`.

-- What a submit does while the holder of a name waits, runs or stops, as `exclusion.MOVES` says.
CREATE OR REPLACE FUNCTION trio_jobs.move_of(policy text, holder text, OUT place text, OUT replaces boolean, OUT cancels boolean)
LANGUAGE sql IMMUTABLE
AS $$
    SELECT
        CASE WHEN holder = 'none' THEN 'first' WHEN holder = 'waits' THEN waits ELSE runs END,
        holder <> 'none' AND replacing, holder NOT IN ('none', 'waits') AND policy = 'cancel'
    FROM (VALUES
        ('reject', 'refused', 'refused', false), ('attach', 'attached', 'attached', false), ('after', 'behind', 'behind', false),
        ('replace', 'first', 'behind', true), ('cancel', 'first', 'behind', true), ('debounce', 'first', 'behind', true)
    ) AS move (word, waits, runs, replacing) WHERE word = policy
$$;

-- The jobs that have the exclusive name of a new one and have not ended, the one that holds it last.
CREATE OR REPLACE FUNCTION trio_jobs.namesakes(new json) RETURNS SETOF trio_jobs.job LANGUAGE plpgsql
AS $$
BEGIN
    RETURN QUERY SELECT * FROM trio_jobs.job
        WHERE exclusive = new ->> 'exclusive' AND behind AND finished IS NULL
            AND coalesce(owner, '') = coalesce(new ->> 'owner', '') AND (owner IS NULL) = (new ->> 'owner' IS NULL)
        ORDER BY number;
    RETURN QUERY SELECT * FROM trio_jobs.job
        WHERE exclusive = new ->> 'exclusive' AND NOT behind AND finished IS NULL
            AND coalesce(owner, '') = coalesce(new ->> 'owner', '') AND (owner IS NULL) = (new ->> 'owner' IS NULL);
END $$;

-- Return where a job stands that has a key or an exclusive name, or is submitted again: the id under which it is `known`,
-- and then it is not accepted; or `at` what time it is, when the job is `due`, whether `behind`, since when it is `put_off`,
-- and whether it `has_room`, that of what it replaces. What it replaces is `ended`, and the cancellation of what it cancels
-- requested.
-- The holder of its name is locked, so it cannot end in between; without `locks` only if something is done to it.
CREATE OR REPLACE FUNCTION trio_jobs.stand_of(new json, locks boolean) RETURNS json LANGUAGE plpgsql
AS $$
DECLARE
    known text := trio_jobs.known_as(new);
    holder record;
    move record;
    gone record;
    at double precision;
    since double precision;
    ended text[] := '{}';
    has_room boolean := false;
    locked bigint;
BEGIN
    IF known IS NOT NULL OR new ->> 'exclusive' IS NULL OR EXISTS (SELECT FROM trio_jobs.job WHERE id = new ->> 'id') THEN
        RETURN json_build_object('known', known, 'has_room', false);
    END IF;
    LOOP
        SELECT one.number, one.id, one.state <> 'running' AS waits, one.cancel_requested INTO holder
        FROM trio_jobs.namesakes(new) AS one WHERE NOT one.behind;
        move := trio_jobs.move_of(new ->> 'policy', CASE
            WHEN holder.number IS NULL THEN 'none' WHEN holder.waits THEN 'waits'
            WHEN holder.cancel_requested IS NULL THEN 'runs' ELSE 'stops'
        END);
        EXIT WHEN locked = holder.number OR holder.number IS NULL OR NOT (locks OR move.replaces OR move.cancels);
        PERFORM FROM trio_jobs.job WHERE number = holder.number FOR NO KEY UPDATE;
        locked := holder.number;  -- but it may have ended meanwhile, or do something else
    END LOOP;
    IF move.place = 'refused' THEN
        PERFORM trio_jobs.refuse(trio_jobs.refusal('Busy', to_json(holder.id)));
    ELSIF move.place = 'attached' THEN
        RETURN json_build_object('known', holder.id);
    END IF;
    at := trio_jobs.clock();
    FOR gone IN  -- the holder last, so that none of the others gets its name
        SELECT one.* FROM trio_jobs.namesakes(new) AS one WHERE move.replaces AND (one.behind OR holder.waits)
    LOOP
        PERFORM FROM trio_jobs.job WHERE number = gone.number AND finished IS NULL FOR NO KEY UPDATE;
        CONTINUE WHEN NOT FOUND;
        PERFORM trio_jobs.end_job(
            gone.number, 'cancelled', json_build_object('reason', 'replaced', 'replaced_by', new ->> 'id'),
            NULL, NULL, false, false, NULL, at
        );
        ended := ended || gone.id;
        since := least(since, gone.put_off);
        has_room := has_room OR gone.reason IS DISTINCT FROM 'awaiting_input';
    END LOOP;
    IF move.cancels THEN
        PERFORM trio_jobs.request_cancel_of(holder.id, 'another job is to take its place', 0);
    END IF;
    since := CASE WHEN new ->> 'policy' = 'debounce' THEN coalesce(since, at) END;
    RETURN json_build_object(
        'at', at, 'behind', move.place = 'behind', 'has_room', has_room, 'put_off', since, 'ended', ended,
        'asked', CASE WHEN move.cancels THEN holder.id END,
        'due', CASE WHEN since IS NOT NULL THEN least(at + (new ->> 'delay')::float8, since + (new ->> 'at_most')::float8) END
    );
END $$;

-- At the end of a transaction: let a new job hold its name if it turns out to be behind nobody, as the holder has ended
-- meanwhile, which then could not see it. If others are faster time and again, a sweep does it.
CREATE OR REPLACE FUNCTION trio_jobs.is_behind() RETURNS trigger LANGUAGE plpgsql
AS $$
DECLARE
    name json := json_build_object('exclusive', new.exclusive, 'owner', new.owner);
BEGIN
    FOR _ IN 1..3 LOOP
        PERFORM FROM trio_jobs.job WHERE finished IS NULL AND number = (
            SELECT one.number FROM trio_jobs.namesakes(name) AS one WHERE NOT one.behind
        ) FOR NO KEY UPDATE;
        EXIT WHEN FOUND;
        BEGIN
            UPDATE trio_jobs.job SET behind = false
            WHERE number = (SELECT min(one.number) FROM trio_jobs.namesakes(name) AS one WHERE one.behind);
            EXIT;
        EXCEPTION WHEN unique_violation THEN NULL;
        END;
    END LOOP;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS is_behind ON trio_jobs.job;
CREATE CONSTRAINT TRIGGER is_behind AFTER INSERT ON trio_jobs.job DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (new.behind) EXECUTE FUNCTION trio_jobs.is_behind();
