-- Inputs. Of several calls for one job each is served in its turn.

-- Adds an input for each of `values`, which are JSON as text; `digest` is theirs, and `fault`, if there is one, says why
-- they are none for this job. Returns the newest.
CREATE OR REPLACE FUNCTION trio_jobs.send_inputs(calls json) RETURNS TABLE (place int, answer json) LANGUAGE plpgsql
AS $$
DECLARE
    keep json := calls -> 0 -> 'keep';
    call json;
BEGIN
    FOR place, call IN SELECT * FROM trio_jobs.lock_jobs(calls) LOOP
        answer := trio_jobs.send_input(call, ARRAY(SELECT json_array_elements_text(call -> 'values')), keep);
        RETURN NEXT;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION trio_jobs.send_input(call json, sent text[], keep json) RETURNS json LANGUAGE plpgsql
AS $$
DECLARE
    job record;
    known record;
    largest bigint;
    size bigint;
    most text;
BEGIN
    SELECT one.number, one.id, one.seq, one.state, one.attempt, one.inputs_ended, one.unconsumed, one.input_bytes,
        one.consumed, one.received INTO job FROM trio_jobs.job AS one WHERE one.id = call ->> 'job';
    IF NOT FOUND THEN
        RETURN json_build_object('error', 'UnknownJob', 'values', json_build_array(call ->> 'job'));
    END IF;
    SELECT input.digest, input.seq INTO known FROM trio_jobs.input AS input
    WHERE input.job = job.number AND input.id = call ->> 'id';
    IF known.digest = call ->> 'digest' THEN
        RETURN json_build_object('value', known.seq);
    ELSIF FOUND THEN
        RETURN json_build_object('error', 'KeyConflict', 'values', json_build_array(
            call ->> 'id', job.id, 'as the id of another input; use a new id for a new input'
        ));
    ELSIF call ->> 'fault' IS NOT NULL THEN
        RETURN json_build_object('error', 'InvalidPayload', 'values', json_build_array(call ->> 'fault'));
    END IF;
    SELECT max(octet_length(one)), coalesce(sum(octet_length(one)), 0) INTO largest, size FROM unnest(sent) AS one;
    IF largest > (keep ->> 'token_bytes')::bigint THEN
        RETURN json_build_object('error', 'InvalidPayload', 'values', json_build_array(
            'an input of ' || largest || ' bytes is over Retention.token_bytes=' || (keep ->> 'token_bytes')
        ));
    ELSIF job.state IN {over} OR job.inputs_ended IS NOT NULL THEN
        RETURN json_build_object('error', 'IllegalTransition', 'values', json_build_array(
            job.state, 'sent an input', CASE WHEN job.state IN {over} THEN '' ELSE '; its inputs were ended' END
        ));
    ELSIF job.unconsumed + cardinality(sent) > (keep ->> 'inputs')::bigint THEN
        most := keep ->> 'inputs';
    ELSIF job.input_bytes + size > (keep ->> 'input_bytes')::bigint THEN
        most := (keep ->> 'input_bytes') || ' bytes of them';
    END IF;
    IF most IS NOT NULL THEN
        RETURN json_build_object('error', 'InboxFull', 'values', json_build_array(
            job.unconsumed, (trio_jobs.inputs_between(job.number, job.consumed, job.received)).inputs, most
        ));
    END IF;
    INSERT INTO trio_jobs.input (job, id, digest, seq)
    VALUES (job.number, call ->> 'id', call ->> 'digest', job.seq + cardinality(sent));
    RETURN trio_jobs.put_in(job.number, 'input', sent);
END $$;

-- Records that no more inputs will come.
CREATE OR REPLACE FUNCTION trio_jobs.end_inputs(calls json) RETURNS TABLE (place int, answer json) LANGUAGE plpgsql
AS $$
DECLARE
    call json;
    job record;
BEGIN
    FOR place, call IN SELECT * FROM trio_jobs.lock_jobs(calls) LOOP
        SELECT one.number, one.state, one.inputs_ended INTO job FROM trio_jobs.job AS one WHERE one.id = call ->> 'job';
        IF NOT FOUND THEN
            answer := json_build_object('error', 'UnknownJob', 'values', json_build_array(call ->> 'job'));
        ELSIF job.inputs_ended IS NOT NULL THEN
            answer := json_build_object('value', job.inputs_ended);
        ELSIF job.state IN {over} THEN
            answer := json_build_object(
                'error', 'IllegalTransition', 'values', json_build_array(job.state, 'told that its inputs ended')
            );
        ELSE
            answer := trio_jobs.put_in(job.number, 'inputs_ended', '{null}');
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

-- Adds events to the log of a locked job, each in a row of its own, makes it due if it waits for them, and returns an
-- answer: the newest. No value is the end of the inputs.
CREATE OR REPLACE FUNCTION trio_jobs.put_in(of_job bigint, kind text, sent text[]) RETURNS json LANGUAGE plpgsql
AS $$
DECLARE
    now float8 := trio_jobs.clock();
    is_input boolean := kind = 'input';
    many int := cardinality(sent);
    woken boolean;
    job record;
BEGIN
    SELECT one.state = 'retrying' AND one.reason = 'awaiting_input' AND one.due > now INTO woken
    FROM trio_jobs.job AS one WHERE one.number = of_job;
    UPDATE trio_jobs.job AS one SET
        seq = one.seq + many, last_input = one.seq + many,
        unconsumed = one.unconsumed + CASE WHEN is_input THEN many ELSE 0 END,
        input_bytes = one.input_bytes + CASE WHEN is_input THEN octet_length(array_to_string(sent, '')) ELSE 0 END,
        inputs_ended = CASE WHEN is_input THEN one.inputs_ended ELSE one.seq + many END,
        due = CASE WHEN woken THEN now ELSE one.due END
    WHERE one.number = of_job RETURNING one.id, one.seq, one.attempt INTO job;
    INSERT INTO trio_jobs.event (job, seq, count, attempt, kind, at, data)
    SELECT of_job, job.seq - many + place, 1, job.attempt, put_in.kind, now, '[' || coalesce(value, 'null') || ']'
    FROM unnest(sent) WITH ORDINALITY AS one (value, place);
    RETURN json_strip_nulls(json_build_object(
        'value', job.seq, 'grown', json_build_array(job.id), 'heard', json_build_object(job.id, job.seq),
        'work', nullif(woken, false)
    ));
END $$;
