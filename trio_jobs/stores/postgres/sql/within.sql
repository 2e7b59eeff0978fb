-- Submit in a transaction of the program's own: the job exists exactly if that commits. Nothing that runs is locked, but
-- what `on_busy` replaces or cancels is until then.

-- Accept the jobs of a call, as `submit_jobs` does, or answer why not.
CREATE OR REPLACE FUNCTION trio_jobs.submit_within(call json) RETURNS json LANGUAGE plpgsql
AS $$
DECLARE
    answer json := coalesce(trio_jobs.too_new((call ->> 'version')::bigint), trio_jobs.submit_one(call, call, false));
BEGIN
    IF answer -> 'error' IS NULL THEN
        PERFORM pg_notify(space.nspname, json_build_object(
            'by', '', 'work', true, 'asked', answer ->> 'asked' IS NOT NULL, 'alarm', answer -> 'alarm',
            'jobs', CASE WHEN json_array_length(answer -> 'grown') < 100 THEN answer -> 'grown' END
        )::text) FROM pg_namespace AS space JOIN pg_class AS one ON one.relnamespace = space.oid
        WHERE one.oid = 'trio_jobs.job'::regclass;  -- as `notices.py` reads it
    END IF;
    RETURN answer;
END $$;

CREATE OR REPLACE FUNCTION trio_jobs.refuse_option(said text, hint text) RETURNS void LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION '%', said USING ERRCODE = 'invalid_parameter_value', HINT = hint; END $$;

-- Raise unless a job may be submitted so: the rules of `_model/options.py`.
CREATE OR REPLACE FUNCTION trio_jobs.check_submit(handler text, args jsonb, given jsonb) RETURNS void LANGUAGE plpgsql
AS $$
DECLARE
    said text;
    known text;
BEGIN
    IF coalesce(handler, '') = '' OR jsonb_typeof(args) IS DISTINCT FROM 'array' THEN
        PERFORM trio_jobs.refuse_option(
            format('submit takes a handler and an array of arguments; got %L and %s', left(handler, 80), jsonb_typeof(args)),
            'For example: submit(''ship'', ''[7]'', ''{"key": "order-7"}'')'
        );
    END IF;
    WITH rule (name, kind, least, most) AS (
        SELECT unnest(ARRAY[
            'timeout', 'timeouts.run', 'timeouts.queue', 'timeouts.first_token', 'timeouts.idle', 'retry.initial',
            'retry.maximum', 'delay', 'linger', 'on_busy.seconds', 'on_busy.at_most'
        ]), 'number', 0, 1e300
        UNION ALL VALUES ('retry.factor', 'number', 1, 1e300), ('retry.jitter', 'number', 0, 1),
            ('retry.attempts', 'whole number', 1, 1e18), ('priority', 'whole number', 0, 3), ('on_busy', 'string or object', 0, 0)
        UNION ALL SELECT unnest(ARRAY['timeouts', 'retry', 'tags', 'metadata', 'kwargs']), 'object', 0, 0
        UNION ALL SELECT unnest(ARRAY['run_at', 'key', 'owner', 'when_unread', 'exclusive', 'limit_key']), 'string', 0, 0
    ), one (name, value) AS (
        SELECT * FROM jsonb_each(given)
        UNION ALL SELECT outside.key || '.' || inside.key, inside.value
        FROM jsonb_each(given) AS outside, jsonb_each(
            CASE WHEN jsonb_typeof(outside.value) = 'object' AND outside.key IN ('timeouts', 'retry', 'on_busy') THEN outside.value END
        ) AS inside
    )
    SELECT CASE WHEN rule.name IS NULL THEN format('there is no option %L', one.name)
        ELSE format('%s takes a %s%s; got %s', one.name, rule.kind, CASE WHEN most = 1e300 THEN ' of at least ' || least
            WHEN most > 0 THEN format(' from %s to %s', least, most) END, left(one.value::text, 80))
    END, (SELECT string_agg(name, ', ') FROM rule) INTO said, known
    FROM one LEFT JOIN rule USING (name)
    WHERE rule.name IS NULL OR NOT (one.value = 'null' AND (one.name LIKE 'timeouts.%' OR one.name = 'retry.attempts')) AND (
        strpos(rule.kind, jsonb_typeof(one.value)) = 0
        OR jsonb_typeof(one.value) = 'number' AND (
            one.value NOT BETWEEN to_jsonb(least) AND to_jsonb(most) OR rule.kind LIKE 'whole%' AND one.value::text LIKE '%.%'
        )
    )
    ORDER BY one.name LIMIT 1;
    IF FOUND THEN
        PERFORM trio_jobs.refuse_option(said, 'The options are ' || known || '.');
    END IF;
    SELECT rule.said INTO said FROM (VALUES
        (given ? 'timeout' AND given ? 'timeouts', 'give timeout or timeouts, not both'),
        (given ? 'delay' AND given ? 'run_at', 'give delay or run_at, not both'),
        (given ->> 'run_at' !~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)$',
            'run_at takes a time with its time zone, such as 2030-01-31T12:00:00Z'),
        (given ->> 'when_unread' NOT IN ('continue', 'pause', 'cancel'), 'when_unread is one of continue, pause, cancel'),
        (given ->> 'exclusive' = '' OR starts_with(given ->> 'exclusive', 'service:'),
            'exclusive takes a name, and those that begin with service: are those of services'),
        (length(given ->> 'limit_key') NOT BETWEEN 1 AND 256, 'a limit_key has 1 to 256 characters'),
        (given ? 'on_busy' AND NOT given ? 'exclusive', 'on_busy needs exclusive, the name that one job holds at a time'),
        (given ->> 'on_busy' NOT IN ('reject', 'attach', 'after', 'replace', 'cancel') AND jsonb_typeof(given -> 'on_busy') = 'string',
            'on_busy is one of reject, attach, after, replace, cancel, or an object with seconds and at_most'),
        (jsonb_typeof(given -> 'on_busy') = 'object' AND (
            given ?| '{delay,run_at}' OR NOT coalesce(given #> '{on_busy,seconds}' <= given #> '{on_busy,at_most}', false)
        ), 'an object on_busy has seconds and at_most, which is not less; it says when the job is due, so delay and run_at do not'),
        ((SELECT count(*) > 64 OR bool_or(jsonb_typeof(value) <> 'string' OR length(key) > 100 OR length(value #>> '{}') > 500)
            FROM jsonb_each(given -> 'tags')), 'tags are at most 64 texts of 500 characters, with names of 100 characters')
    ) AS rule (broken, said) WHERE broken LIMIT 1;
    IF FOUND THEN
        PERFORM trio_jobs.refuse_option(said, 'The options are those of SubmitOptions, with times in seconds.');
    END IF;
END $$;

CREATE OR REPLACE FUNCTION trio_jobs.plain_float(value jsonb) RETURNS text LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE WHEN value <> 'null' THEN
        CASE WHEN abs(value::float8) < 1e16 AND trunc(value::float8) = value::float8 THEN value::float8::bigint || '.0'
        ELSE value::float8::text END
    END
$$;

-- JSON as `_json/values.encode` writes it: without spaces, names in order, and numbers with a fraction as floats.
-- Those are written otherwise that jsonb changes, 1e2 and -0.0, and floats from 1e16 on or below 1e-4: under a key, a job
-- with one of these is not the same as one that Python submits.
CREATE OR REPLACE FUNCTION trio_jobs.plain_json(value jsonb, depth int DEFAULT 1) RETURNS text LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    IF depth > 200 AND jsonb_typeof(value) IN ('array', 'object') THEN
        PERFORM trio_jobs.refuse_option('the arguments or metadata are nested more than 200 deep', 'Make them flatter.');
    END IF;
    RETURN CASE jsonb_typeof(value)
        WHEN 'object' THEN (
            SELECT '{' || coalesce(string_agg(
                to_json(one.key)::text || ':' || trio_jobs.plain_json(one.value, depth + 1), ',' ORDER BY one.key COLLATE "C"
            ), '') || '}' FROM jsonb_each(value) AS one
        )
        WHEN 'array' THEN (
            SELECT '[' || coalesce(string_agg(trio_jobs.plain_json(one.value, depth + 1), ',' ORDER BY place), '') || ']'
            FROM jsonb_array_elements(value) WITH ORDINALITY AS one (value, place)
        )
        WHEN 'number' THEN CASE WHEN strpos(value::text, '.') > 0 THEN trio_jobs.plain_float(value) ELSE value::text END
        ELSE value::text
    END;
END $$;

-- Options as `_json/stored.encode_options` writes them, so that a digest of them is the same.
CREATE OR REPLACE FUNCTION trio_jobs.options_of(given jsonb) RETURNS text LANGUAGE sql IMMUTABLE
AS $$
    SELECT '{"timeouts":{' || coalesce((
            SELECT string_agg('"' || name || '":' || trio_jobs.plain_float(given -> 'timeouts' -> name), ',' ORDER BY place)
            FROM unnest(ARRAY['run', 'queue', 'first_token', 'idle']) WITH ORDINALITY AS clock (name, place)
        ), '') || '},"retry":{' || concat_ws(',', '"attempts":' || nullif(given #> '{retry,attempts}', '1')::text, (
            SELECT string_agg('"' || name || '":' || trio_jobs.plain_float(given -> 'retry' -> name), ',' ORDER BY place)
            FROM unnest(ARRAY['initial', 'factor', 'maximum', 'jitter']) WITH ORDINALITY AS number (name, place)
        )) || '},' || concat_ws(
            ',', '"delay":' || coalesce(trio_jobs.plain_json(given #> '{on_busy,seconds}'), trio_jobs.plain_float(given -> 'delay')),
            '"run_at":"' || replace(to_char(
                (given ->> 'run_at')::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
            ), '.000000', '') || '"',
            '"tags":' || trio_jobs.plain_json(given -> 'tags'),
            '"when_unread":' || nullif(given -> 'when_unread', '"continue"')::text,
            '"linger":' || trio_jobs.plain_float(given -> 'linger'), '"exclusive":' || to_json(given ->> 'exclusive')::text,
            '"on_busy":' || coalesce('{"seconds":' || trio_jobs.plain_json(given #> '{on_busy,seconds}') || ',"at_most":'
                || trio_jobs.plain_json(given #> '{on_busy,at_most}') || '}', nullif(given -> 'on_busy', '"reject"')::text),
            '"limit_key":' || to_json(given ->> 'limit_key')::text
        ) || '}'
$$;

-- Arguments as `_json/arguments.Arguments.encode` writes them.
CREATE OR REPLACE FUNCTION trio_jobs.arguments_of(args jsonb, kwargs jsonb) RETURNS text LANGUAGE sql IMMUTABLE
AS $$
    SELECT coalesce(
        '{"args":' || trio_jobs.plain_json(args) || ',"kwargs":' || trio_jobs.plain_json(nullif(kwargs, '{}')) || '}',
        trio_jobs.plain_json(args)
    )
$$;

-- Submit a job of a handler, in any language, and return its id. The `args` are an array, as those of the handler behind
-- the job context; their types are checked when the job starts. The `options` are those of `SubmitOptions`, times in
-- seconds, and `kwargs`, keyword arguments of the handler. The defaults of a handler's mark are not known here: what is left
-- out has the package's own defaults.
CREATE OR REPLACE FUNCTION trio_jobs.submit(handler text, args jsonb DEFAULT '[]', options jsonb DEFAULT '{}') RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    given jsonb := (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(options) WHERE value <> 'null');
    off jsonb := CASE WHEN jsonb_typeof(given -> 'on_busy') = 'object' THEN given -> 'on_busy' END;  -- a debounce
    parts text[];
    answer json;
BEGIN
    PERFORM trio_jobs.check_submit(handler, args, given);
    given := '{"priority": 2, "delay": 0, "linger": 10, "tags": {}}' || given || jsonb_build_object(
        'timeouts', coalesce(given -> 'timeouts', jsonb_build_object('run', given -> 'timeout')), 'retry',
        '{"attempts": 1, "initial": 1, "factor": 2, "maximum": 60, "jitter": 0.5}' || coalesce(given -> 'retry', '{}')
    );
    parts := ARRAY[
        handler, trio_jobs.arguments_of(args, given -> 'kwargs'), trio_jobs.options_of(given),
        coalesce(trio_jobs.plain_json(nullif(given -> 'metadata', '{}')), ''), given ->> 'priority'
    ];
    answer := trio_jobs.submit_within(json_build_object('jobs', json_build_array(json_build_object(
        'id', replace(gen_random_uuid()::text, '-', ''), 'handler', handler, 'args', parts[2], 'options', parts[3],
        'metadata', nullif(parts[4], ''), 'priority', parts[5], 'given', CASE WHEN given ? 'key' THEN (
            SELECT encode(sha256(string_agg(convert_to(part, 'UTF8'), '\x00' ORDER BY place)), 'hex')
            FROM unnest(parts) WITH ORDINALITY AS one (part, place)
        ) END,
        'owner', given -> 'owner', 'key', given -> 'key', 'exclusive', given -> 'exclusive',
        'attempts', coalesce(given #>> '{retry,attempts}', '0'), 'delay', coalesce(off -> 'seconds', given -> 'delay'),
        'run_at', extract(epoch FROM (given ->> 'run_at')::timestamptz), 'queue', given #> '{timeouts,queue}',
        'tags', given -> 'tags', 'at_most', off -> 'at_most',
        'policy', CASE WHEN off IS NULL THEN coalesce(given ->> 'on_busy', 'reject') ELSE 'debounce' END
    ))));
    IF answer -> 'error' IS NOT NULL THEN
        RAISE EXCEPTION '%', CASE answer ->> 'error'
            WHEN 'KeyConflict' THEN 'the key belongs to a job that was submitted with something else'
            WHEN 'Busy' THEN 'a job with the same exclusive name has not ended'
            ELSE 'the job was not accepted: ' || (answer ->> 'error')
        END || ': ' || (answer ->> 'values')
        USING ERRCODE = CASE WHEN answer ->> 'error' = 'QueueFull' THEN '53400' ELSE '23505' END, DETAIL = answer::text,
        HINT = CASE answer ->> 'error' WHEN 'KeyConflict' THEN 'Use a new key for a new job.'
            WHEN 'Busy' THEN 'Wait for it, or say with on_busy what is to become of it.' ELSE 'Try again later.' END;
    END IF;
    RETURN answer #>> '{value,ids,0}';
END $$;
