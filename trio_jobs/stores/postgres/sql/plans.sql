-- A session keeps plans, perhaps from when the table of jobs was empty or had not been analysed, so a plan must be good
-- whatever the planner knows of the tables. Three things see to that, as none can stand for another:
--
-- * What is called from outside has the settings below, and what it calls inherits them: no reading of a whole table, no
--   bitmap in place of an index in the right order, no plan for one value, no compiling, which takes longer than any plan
--   runs. They belong to the functions, as `submit_within` comes on connections of programs, and others by a pooler.
-- * A statement of `queries.sql` cannot have settings: `connection.py` makes them before the server keeps one.
-- * No setting says which index is the right one: the planner takes any index of jobs in some state for a small one, and
--   any that has the order asked for as good. `state || ''` and `number + 0` hide a state and an order from it; `OFFSET 0`
--   behind a lookup by id makes it look up one id after the other, in place of joining the whole table.
DO $$
DECLARE
    entry regprocedure;
    setting text;
BEGIN
    FOR entry, setting IN
        SELECT one.oid, off FROM pg_proc AS one JOIN pg_class AS job ON job.relnamespace = one.pronamespace CROSS JOIN unnest(ARRAY[
            'enable_seqscan = off', 'enable_bitmapscan = off', 'jit = off', 'plan_cache_mode = force_generic_plan'
        ]) AS off
        WHERE job.oid = 'trio_jobs.job'::regclass
            AND (one.proargnames = '{calls,place,answer}' OR one.proname IN ('submit_within', 'next_due'))
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET %s', entry, setting);
    END LOOP;
END $$;
