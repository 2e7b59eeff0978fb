-- Adds an event for each value that is not there yet, and returns the newest. `data` is an array of `count` values, as
-- JSON. Of several calls for one job the first of each are served together, then the second, and so on.
CREATE OR REPLACE FUNCTION trio_jobs.append_events(calls json) RETURNS TABLE (place int, answer json)
LANGUAGE plpgsql
AS $$
DECLARE
    keep json := calls -> 0 -> 'keep';  -- all calls have the same, and the first has it for all
    most_events bigint := keep ->> 'events';
    most_bytes bigint := keep ->> 'bytes';
    ids text[];
    attempts int[];
    claims text[];
    kinds text[];
    texts text[];
    counts bigint[];
    begins bigint[];
    inputs bigint[];
    round int := 1;
    done int := 0;
    one record;
BEGIN
    -- The calls are read once, as each look into JSON reads all of it.
    SELECT array_agg(call.job), array_agg(call.attempt), array_agg(call.claim), array_agg(call.kind), array_agg(call.data),
        array_agg(call.count), array_agg(call."offset"), array_agg(call.received)
    INTO ids, attempts, claims, kinds, texts, counts, begins, inputs FROM json_to_recordset(calls) AS call (
        job text, attempt int, claim text, kind text, data text, count bigint, "offset" bigint, received bigint
    );
    WHILE done < cardinality(ids) LOOP
        FOR one IN
            WITH call AS MATERIALIZED (
                SELECT given.*, row_number() OVER (PARTITION BY given.job ORDER BY given.at) AS turn
                FROM unnest(ids, attempts, claims, kinds, texts, counts, begins, inputs) WITH ORDINALITY
                    AS given (job, attempt, claim, kind, data, count, begin, received, at)
            ), held AS MATERIALIZED (
                SELECT call.*, job.number, job.seq, job.steps, job.step_bytes, job.consumed,
                    job.appended - call.begin AS known
                FROM (
                    SELECT * FROM trio_jobs.job AS found
                    WHERE found.id = ANY (ids) AND found.state || '' = 'running' ORDER BY found.number FOR UPDATE
                ) AS job JOIN call ON call.job = job.id
                WHERE call.turn = round AND job.attempt = call.attempt
                    AND job.claim IS NOT DISTINCT FROM call.claim
                    -- else a fail-over has lost what the attempt appended or received before
                    AND call.begin <= job.appended AND coalesce(call.received, 0) <= job.last_input
            ), news AS MATERIALIZED (
                SELECT *, octet_length(data) - fresh - 1 AS size, trio_jobs.clock() AS now, CASE
                    WHEN kind <> 'step' THEN NULL ELSE trio_jobs.check_steps(
                        steps, step_bytes, fresh, octet_length(data) - fresh - 1, keep
                    )
                END AS fault FROM (
                    SELECT at, job AS id, attempt, kind, number, seq, steps, step_bytes, consumed, received,
                        CASE WHEN known = 0 THEN data ELSE trio_jobs.behind(data, known) END AS data,
                        count - known AS fresh
                    FROM held
                ) AS fresh
            ), grown AS (
                UPDATE trio_jobs.job AS job SET
                    seq = job.seq + news.fresh, appended = job.appended + news.fresh,
                    kept = job.kept + CASE news.kind WHEN 'step' THEN 0 ELSE news.fresh END,
                    bytes = job.bytes + CASE news.kind
                        WHEN 'step' THEN 0 WHEN 'saved' THEN news.size + 2 * news.fresh ELSE octet_length(news.data)
                    END,
                    steps = job.steps + CASE news.kind WHEN 'step' THEN news.fresh ELSE 0 END,
                    step_bytes = job.step_bytes + CASE news.kind WHEN 'step' THEN news.size ELSE 0 END,
                    saved = CASE news.kind WHEN 'saved' THEN (news.data::json -> -1)::text ELSE job.saved END,
                    progress = CASE news.kind WHEN 'progress' THEN (news.data::json -> -1)::text ELSE job.progress END,
                    ready = CASE news.kind WHEN 'ready' THEN news.now ELSE job.ready END
                FROM news WHERE job.number = news.number AND news.fresh > 0 AND news.fault IS NULL
                RETURNING job.number, job.kept, job.bytes
            ), written AS (
                INSERT INTO trio_jobs.event (job, seq, count, attempt, kind, at, received, data)
                SELECT news.number, news.seq + part.seq, part.count, news.attempt, news.kind, news.now,
                    CASE WHEN news.received IS NOT NULL THEN greatest(news.received, news.consumed) END, part.data
                FROM news CROSS JOIN LATERAL (
                    SELECT news.fresh AS seq, news.fresh AS count, news.data
                    WHERE news.kind <> 'saved' OR news.fresh = 1
                    UNION ALL  -- saved values each in a row of its own: all but the last may go
                    SELECT ordinality, 1, '[' || value || ']' FROM json_array_elements(news.data::json) WITH ORDINALITY
                    WHERE news.kind = 'saved' AND news.fresh > 1
                ) AS part
                WHERE news.fresh > 0 AND news.fault IS NULL
            )
            SELECT call.at, call.job, call.attempt, call.kind, call.received,
                news.seq, news.fresh, news.fault, news.consumed, grown.number, grown.kept, grown.bytes
            FROM call LEFT JOIN news USING (at) LEFT JOIN grown USING (number)
            WHERE call.turn = round
        LOOP
            done := done + 1;
            place := one.at - 1;
            IF one.seq IS NULL THEN
                answer := json_build_object('error', 'LeaseLost', 'values', json_build_array(one.job, one.attempt));
            ELSIF one.fault IS NOT NULL THEN
                answer := json_build_object('error', 'InvalidPayload', 'values', json_build_array(one.fault));
            ELSIF one.number IS NULL THEN
                answer := json_build_object('value', one.seq);
            ELSE
                IF one.kind = 'saved' AND one.received > one.consumed THEN
                    one.kept := one.kept + trio_jobs.consume(one.number, one.consumed, one.received);
                    PERFORM trio_jobs.trim_log(one.number, keep);
                ELSIF one.kept > most_events OR one.bytes > most_bytes THEN
                    PERFORM trio_jobs.trim_log(one.number, keep);
                END IF;
                answer := json_build_object('value', one.seq + one.fresh, 'grown', json_build_array(one.job));
            END IF;
            RETURN NEXT;
        END LOOP;
        round := round + 1;
    END LOOP;
END $$;

-- What is wrong with keeping the results of more steps, as in `rules.check_steps`.
CREATE OR REPLACE FUNCTION trio_jobs.check_steps(
    count bigint, size bigint, more bigint, more_size bigint, keep json
) RETURNS text LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE
        WHEN count + more > (keep ->> 'steps')::bigint
            THEN 'one more step is over Retention.steps=' || (keep ->> 'steps')
        WHEN size + more_size > (keep ->> 'step_bytes')::bigint
            THEN 'with one more step the results have ' || size + more_size || ' bytes, over Retention.step_bytes='
                || (keep ->> 'step_bytes')
    END
$$;
