-- Submit in a transaction of the program's own: the job exists exactly if that commits. Nothing that runs is locked, but
-- what `on_busy` replaces or cancels is until then.

-- Accept the jobs of a call, as `submit_jobs` does, or answer why not.
CREATE OR REPLACE FUNCTION trio_jobs.submit_within(call json) RETURNS json LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    answer json := coalesce(trio_jobs.too_new(json_build_array(call)), trio_jobs.submit_one(call, false));
BEGIN
    IF answer -> 'error' IS NULL THEN
        PERFORM pg_notify('trio_jobs', 'all');
    END IF;
    RETURN answer;
END $$;

-- Submit a job of a handler, in any language, and return its id. The `args` are an array, as those of the handler behind
-- the job context; their types are checked when the job starts. The `options` are those of `SubmitOptions`, times in
-- seconds. The defaults of a handler's mark are not known here: what is left out has the package's own defaults.
CREATE OR REPLACE FUNCTION trio_jobs.submit(handler text, args jsonb DEFAULT '[]', options jsonb DEFAULT '{}') RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    given jsonb := (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(options) WHERE value <> 'null');
    off jsonb := CASE WHEN jsonb_typeof(given -> 'on_busy') = 'object' THEN given -> 'on_busy' END;  -- a debounce
    job_id text := replace(gen_random_uuid()::text, '-', '');
    priority text := coalesce(given ->> 'priority', '2');
    metadata text := CASE WHEN given -> 'metadata' <> '{}' THEN trio_jobs.plain_json(given -> 'metadata') END;
    written text[];
    answer json;
BEGIN
    PERFORM trio_jobs.check_submit(handler, args, given);
    written := ARRAY[trio_jobs.plain_json(args), trio_jobs.options_of(given)];
    answer := trio_jobs.submit_within(json_build_object('jobs', json_build_array(json_build_object(
        'id', job_id, 'handler', handler, 'args', written[1], 'options', written[2], 'metadata', metadata,
        'given', CASE WHEN given ? 'key' THEN encode(sha256(
            convert_to(handler, 'UTF8') || '\x00' || convert_to(written[1], 'UTF8') || '\x00'
            || convert_to(written[2], 'UTF8') || '\x00' || convert_to(coalesce(metadata, ''), 'UTF8') || '\x00'
            || convert_to(priority, 'UTF8')
        ), 'hex') END,
        'priority', priority::int, 'owner', given -> 'owner', 'key', given -> 'key', 'exclusive', given -> 'exclusive',
        'attempts', CASE WHEN given #> '{retry,attempts}' = 'null' THEN '0' ELSE coalesce(given #> '{retry,attempts}', '1') END,
        'delay', coalesce(off -> 'seconds', given -> 'delay', '0'),
        'run_at', extract(epoch FROM (given ->> 'run_at')::timestamptz),
        'queue', given #> '{timeouts,queue}', 'tags', given -> 'tags', 'at_most', off -> 'at_most',
        'policy', CASE WHEN off IS NULL THEN coalesce(given ->> 'on_busy', 'reject') ELSE 'debounce' END
    ))));
    IF answer -> 'error' IS NOT NULL THEN
        RAISE EXCEPTION '%', CASE answer ->> 'error'
            WHEN 'KeyConflict' THEN 'the key belongs to a job that was submitted with something else: '
            WHEN 'Busy' THEN 'a job with the same exclusive name has not ended: '
            ELSE 'the job was not accepted: ' || (answer ->> 'error') || ' '
        END || (answer ->> 'values') USING ERRCODE = CASE
            WHEN answer ->> 'error' IN ('KeyConflict', 'Busy') THEN 'unique_violation' ELSE 'configuration_limit_exceeded'
        END, DETAIL = answer::text, HINT = CASE answer ->> 'error'
            WHEN 'KeyConflict' THEN 'Use a new key for a new job.'
            WHEN 'Busy' THEN 'Wait for it, or say with on_busy what is to become of it.'
            ELSE 'Try again later.'
        END;
    END IF;
    RETURN answer #>> '{value,ids,0}';
END $$;

CREATE OR REPLACE FUNCTION trio_jobs.refuse_option(said text, hint text) RETURNS void LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION '%', said USING ERRCODE = 'invalid_parameter_value', HINT = hint; END $$;

-- Raise unless a job may be submitted so: the rules of `_model/options.py`.
CREATE OR REPLACE FUNCTION trio_jobs.check_submit(handler text, args jsonb, given jsonb) RETURNS void LANGUAGE plpgsql
AS $$
DECLARE
    fault record;
BEGIN
    IF coalesce(handler, '') = '' OR jsonb_typeof(args) IS DISTINCT FROM 'array' OR given IS NULL THEN
        PERFORM trio_jobs.refuse_option(
            'submit takes the name of a handler, an array of arguments and an object of options; got '
                || format('%L, a JSON %s', left(handler, 80), coalesce(jsonb_typeof(args), 'null')),
            'For example: submit(''ship'', ''[7]'', ''{"key": "order-7"}'')'
        );
    END IF;
    WITH rule (name, kind, least, most) AS (VALUES
        ('timeout', 'number', 0, NULL), ('timeouts', 'object', NULL, NULL), ('timeouts.run', 'number', 0, NULL),
        ('timeouts.queue', 'number', 0, NULL), ('timeouts.first_token', 'number', 0, NULL),
        ('timeouts.idle', 'number', 0, NULL), ('retry', 'object', NULL, NULL), ('retry.attempts', 'number', 1, 1e18),
        ('retry.initial', 'number', 0, NULL), ('retry.factor', 'number', 1, NULL), ('retry.maximum', 'number', 0, NULL),
        ('retry.jitter', 'number', 0, 1), ('priority', 'number', 0, 3), ('delay', 'number', 0, NULL),
        ('run_at', 'string', NULL, NULL), ('tags', 'object', NULL, NULL), ('metadata', 'object', NULL, NULL),
        ('key', 'string', NULL, NULL), ('owner', 'string', NULL, NULL), ('when_unread', 'string', NULL, NULL),
        ('linger', 'number', 0, NULL), ('exclusive', 'string', NULL, NULL), ('on_busy', 'string or object', NULL, NULL),
        ('on_busy.seconds', 'number', 0, NULL), ('on_busy.at_most', 'number', 0, NULL), ('limit_key', 'string', NULL, NULL)
    ), one AS (
        SELECT key AS name, value FROM jsonb_each(given)
        UNION ALL
        SELECT outer_.key || '.' || inner_.key, inner_.value
        FROM jsonb_each(given) AS outer_,
            jsonb_each(CASE WHEN jsonb_typeof(outer_.value) = 'object' THEN outer_.value ELSE '{}' END) AS inner_
        WHERE outer_.key IN ('timeouts', 'retry', 'on_busy')
            AND (inner_.value <> 'null' OR outer_.key || '.' || inner_.key NOT IN (SELECT name FROM rule))
    )
    SELECT one.name, rule.kind, CASE
        WHEN rule.name IS NULL THEN format('there is no option %L', one.name)
        ELSE format(
            '%s takes a %s%s%s%s; got %s', one.name, CASE WHEN one.name IN ('priority', 'retry.attempts') THEN 'whole ' END,
            rule.kind, ' of at least ' || least, ' and at most ' || most, left(one.value::text, 80)
        )
    END AS said, (SELECT string_agg(name, ', ') FROM rule) AS known INTO fault
    FROM one LEFT JOIN rule USING (name)
    WHERE rule.name IS NULL OR strpos(rule.kind, jsonb_typeof(one.value)) = 0
        OR jsonb_typeof(one.value) = 'number' AND (
            one.value < to_jsonb(rule.least) OR one.value > to_jsonb(coalesce(rule.most, 1e300))
            OR one.name IN ('priority', 'retry.attempts') AND one.value::text LIKE '%.%'
        )
    ORDER BY one.name LIMIT 1;
    IF FOUND THEN
        PERFORM trio_jobs.refuse_option(fault.said, 'The options are ' || fault.known || '.');
    END IF;
    SELECT said, hint INTO fault FROM (VALUES
        (given ? 'timeout' AND given ? 'timeouts', 'give timeout or timeouts, not both', 'Timeouts has all clocks.'),
        (given ? 'delay' AND given ? 'run_at', 'give delay or run_at, not both', 'A delay counts from now.'),
        (
            given ->> 'run_at' !~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)$',
            'run_at must be a time with its time zone; got ' || left(given ->> 'run_at', 80),
            'For example: 2030-01-31T12:00:00Z'
        ),
        (
            given ->> 'when_unread' NOT IN ('continue', 'pause', 'cancel'),
            'when_unread must be one of continue, pause, cancel; got ' || left(given ->> 'when_unread', 80),
            'A job goes on by default.'
        ),
        (
            given ->> 'exclusive' = '' OR starts_with(given ->> 'exclusive', 'service:'),
            'exclusive takes a name; got ' || left(given ->> 'exclusive', 80), 'Names that begin with service: are those of services.'
        ),
        (
            length(given ->> 'limit_key') NOT BETWEEN 1 AND 256, 'a limit_key has 1 to 256 characters',
            'Use a digest of a longer one.'
        ),
        (
            given ? 'on_busy' AND NOT given ? 'exclusive', 'on_busy needs exclusive, the name that one job holds at a time',
            'Give both.'
        ),
        (
            jsonb_typeof(given -> 'on_busy') = 'string'
                AND (given ->> 'on_busy') NOT IN ('reject', 'attach', 'after', 'replace', 'cancel'),
            'on_busy must be one of reject, attach, after, replace, cancel, or an object; got ' || left(given ->> 'on_busy', 80),
            'An object has seconds and at_most.'
        ),
        (
            jsonb_typeof(given -> 'on_busy') = 'object'
                AND (coalesce(given #> '{on_busy,seconds}' > given #> '{on_busy,at_most}', true) OR given ?| '{delay,run_at}'),
            'an object on_busy has seconds and at_most, which is not less, and says when the job is due', 'Leave out delay and run_at.'
        ),
        (
            EXISTS (SELECT FROM jsonb_each(given -> 'tags') WHERE jsonb_typeof(value) <> 'string'
                OR length(key) > 100 OR length(value #>> '{}') > 500)
                OR (SELECT count(*) > 64 FROM jsonb_each(given -> 'tags')),
            'tags are at most 64 texts by name; a name has at most 100 characters and a text 500', 'Put the rest into metadata.'
        )
    ) AS rule (broken, said, hint) WHERE broken LIMIT 1;
    IF FOUND THEN
        PERFORM trio_jobs.refuse_option(fault.said, fault.hint);
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
    SELECT '{"timeouts":{' || concat_ws(
            ',', '"run":' || trio_jobs.plain_float(coalesce(given #> '{timeouts,run}', given -> 'timeout')),
            '"queue":' || trio_jobs.plain_float(given #> '{timeouts,queue}'),
            '"first_token":' || trio_jobs.plain_float(given #> '{timeouts,first_token}'),
            '"idle":' || trio_jobs.plain_float(given #> '{timeouts,idle}')
        ) || '},"retry":{' || concat_ws(
            ',', '"attempts":' || nullif(given #> '{retry,attempts}', '1')::text,
            '"initial":' || trio_jobs.plain_float(coalesce(nullif(given #> '{retry,initial}', 'null'), '1')),
            '"factor":' || trio_jobs.plain_float(coalesce(nullif(given #> '{retry,factor}', 'null'), '2')),
            '"maximum":' || trio_jobs.plain_float(coalesce(nullif(given #> '{retry,maximum}', 'null'), '60')),
            '"jitter":' || trio_jobs.plain_float(coalesce(nullif(given #> '{retry,jitter}', 'null'), '0.5'))
        ) || '},' || concat_ws(
            ',', '"delay":' || coalesce(
                trio_jobs.plain_json(given #> '{on_busy,seconds}'), trio_jobs.plain_float(coalesce(given -> 'delay', '0'))
            ),
            '"run_at":"' || replace(to_char(
                (given ->> 'run_at')::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
            ), '.000000', '') || '"',
            '"tags":' || trio_jobs.plain_json(coalesce(given -> 'tags', '{}')),
            '"when_unread":' || nullif(given -> 'when_unread', '"continue"')::text,
            '"linger":' || trio_jobs.plain_float(coalesce(given -> 'linger', '10')),
            '"exclusive":' || to_json(given ->> 'exclusive')::text,
            '"on_busy":' || coalesce('{"seconds":' || trio_jobs.plain_json(given #> '{on_busy,seconds}')
                || ',"at_most":' || trio_jobs.plain_json(given #> '{on_busy,at_most}') || '}', nullif(given -> 'on_busy', '"reject"')::text),
            '"limit_key":' || to_json(given ->> 'limit_key')::text
        ) || '}'
$$;
