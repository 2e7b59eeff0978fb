-- Logs, in rows of events that were appended together: what `sqlite/chunks.py` is for a file.

-- Drops the oldest events that may go if there are too many or they are too large: tokens, progress, saved values and
-- consumed inputs. An eighth of the bound is dropped at a time, which makes the cost per event constant. The row of
-- the job counts the last saved value with the others, but it is neither dropped nor a cause to drop others.
-- Returns whether any were dropped.
CREATE OR REPLACE FUNCTION trio_jobs.trim_log(of_job bigint, keep json) RETURNS boolean LANGUAGE plpgsql
AS $$
DECLARE
    events bigint := (keep ->> 'events')::bigint;
    largest bigint := (keep ->> 'bytes')::bigint;
    fewest bigint := events - events / 8;
    smallest bigint := largest - largest / 8;
    many bigint;
    size bigint;
    stays bigint;
    done bigint;  -- the last input that is consumed
    last bigint;  -- the last saved value
    gone bigint := 0;
    chunk record;
    cut record;
BEGIN
    SELECT job.kept - (job.saved IS NOT NULL)::int, coalesce(octet_length(job.saved) + 2, 0), job.bytes, job.consumed
    INTO many, stays, size, done FROM trio_jobs.job AS job WHERE job.number = of_job;
    size := size - stays;
    IF keep IS NULL OR many <= events AND size <= largest THEN
        RETURN false;
    END IF;
    SELECT max(event.seq) INTO last FROM trio_jobs.event AS event WHERE event.job = of_job AND event.kind = 'saved';
    FOR chunk IN
        SELECT event.seq, event.count, octet_length(event.data) AS length FROM trio_jobs.event AS event
        WHERE event.job = of_job AND trio_jobs.may_go(event.kind, event.seq, last, done) ORDER BY event.seq
    LOOP
        IF many - chunk.count >= fewest OR size - chunk.length >= smallest THEN  -- drop all of it
            many := many - chunk.count;
            size := size - chunk.length;
            gone := chunk.seq;
            CONTINUE;
        END IF;
        IF many > fewest OR size > smallest THEN
            cut := trio_jobs.cut_chunk(of_job, chunk.seq, many - fewest, size - smallest);
            many := many - cut.fewer;
            size := size - cut.smaller;
            chunk.count := chunk.count - cut.fewer;
            IF many > chunk.count AND (many > events OR size > largest) THEN  -- what is left of it is too large
                many := many - chunk.count;
                size := size - (chunk.length - cut.smaller);
                gone := chunk.seq;
                CONTINUE;
            END IF;
        END IF;
        EXIT;
    END LOOP;
    DELETE FROM trio_jobs.event AS event
    WHERE event.job = of_job AND event.seq <= gone AND trio_jobs.may_go(event.kind, event.seq, last, done);
    DELETE FROM trio_jobs.input AS input WHERE input.job = of_job AND input.seq <= least(gone, done);
    UPDATE trio_jobs.job AS job SET kept = many + (job.saved IS NOT NULL)::int, bytes = size + stays
    WHERE job.number = of_job;
    RETURN true;
END $$;

-- Whether a row may go of a log of which `last` is the last saved value and `done` the last input that is consumed.
CREATE OR REPLACE FUNCTION trio_jobs.may_go(kind text, seq bigint, last bigint, done bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE
AS $$
    SELECT seq IS DISTINCT FROM last
        AND (kind IN ('token', 'progress', 'saved', 'ready') OR kind = 'input' AND seq <= done)
$$;

-- Drops at least so many events and bytes from the start of a row, but never all; returns how many were dropped.
CREATE OR REPLACE FUNCTION trio_jobs.cut_chunk(
    of_job bigint, chunk bigint, events bigint, size bigint, OUT fewer bigint, OUT smaller bigint
) LANGUAGE plpgsql
AS $$
DECLARE
    found json;
BEGIN
    SELECT event.data::json INTO found FROM trio_jobs.event AS event WHERE event.job = of_job AND event.seq = chunk;
    SELECT coalesce(max(place), 0), coalesce(max(upto), 0) INTO fewer, smaller FROM (
        SELECT place, length, sum(length) OVER (ORDER BY place) AS upto FROM (
            SELECT place, octet_length(value::text) + 1 AS length
            FROM json_array_elements(found) WITH ORDINALITY AS one (value, place)
        ) AS ones
    ) AS sums
    WHERE place < json_array_length(found) AND (place <= events OR upto - length < size);
    UPDATE trio_jobs.event AS event SET count = event.count - fewer, data = trio_jobs.behind(event.data, fewer)
    WHERE event.job = of_job AND event.seq = chunk;
END $$;

-- An array, as JSON, without its first elements.
CREATE OR REPLACE FUNCTION trio_jobs.behind(data text, known bigint) RETURNS text LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE WHEN known <= 0 THEN data ELSE (
        SELECT '[' || coalesce(string_agg(value::text, ',' ORDER BY place), '') || ']'
        FROM json_array_elements(data::json) WITH ORDINALITY AS one (value, place) WHERE place > known
    ) END
$$;

-- Drops all but the newest snoozes, waits and restarts: the end of one attempt and the beginning of the next.
CREATE OR REPLACE FUNCTION trio_jobs.fold_log(of_job bigint) RETURNS void LANGUAGE sql
AS $$
    WITH retries AS (
        SELECT event.seq, substring(event.data FROM '"reason":"(\w+)"') AS reason FROM trio_jobs.event AS event
        WHERE event.job = of_job AND event.kind = 'retried'
    ), old AS (
        SELECT seq FROM retries WHERE seq < (SELECT max(seq) FROM retries) AND reason IN {repeated}
        ORDER BY seq DESC OFFSET {snoozes}
    )
    DELETE FROM trio_jobs.event AS event USING old
    WHERE event.job = of_job AND event.seq IN (old.seq, (  -- inputs may have come between the two
        SELECT min(later.seq) FROM trio_jobs.event AS later
        WHERE later.job = of_job AND later.kind = 'started' AND later.seq > old.seq
    ))
$$;

-- Consumes the inputs of a job behind one event and up to another, which then count among what is kept of its log;
-- returns how many they are.
CREATE OR REPLACE FUNCTION trio_jobs.consume(of_job bigint, after bigint, upto bigint) RETURNS bigint LANGUAGE plpgsql
AS $$
DECLARE
    found record;
BEGIN
    IF coalesce(upto, 0) <= after THEN
        RETURN 0;
    END IF;
    found := trio_jobs.inputs_between(of_job, after, upto);
    UPDATE trio_jobs.job AS job SET
        consumed = upto, unconsumed = greatest(0, job.unconsumed - found.inputs),
        input_bytes = greatest(0, job.input_bytes - found.size + 2 * found.inputs),
        kept = job.kept + found.inputs, bytes = job.bytes + found.size
    WHERE job.number = of_job;
    RETURN found.inputs;
END $$;

-- How many inputs lie behind one event and up to another, and the size of their rows.
CREATE OR REPLACE FUNCTION trio_jobs.inputs_between(
    of_job bigint, after bigint, upto bigint, OUT inputs bigint, OUT size bigint
) LANGUAGE sql STABLE
AS $$
    SELECT count(*), coalesce(sum(octet_length(event.data)), 0) FROM trio_jobs.event AS event
    WHERE event.job = of_job AND event.seq > after AND event.seq <= upto
        AND event.kind IN ('input', 'inputs_ended') AND event.kind = 'input'
$$;
