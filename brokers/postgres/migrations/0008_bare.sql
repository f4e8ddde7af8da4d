-- Input:     the functions of 0003 to 0007.
-- Output:    `enqueue_bare`, `claim_bare`, `settle_bare`, `complete_bare`: the same functions for connections that were given the
--            settings of those once, as to set and unset them is dear.
-- Guarantee: they do nothing where names would be looked up elsewhere than in this schema; and what the functions
--            are set to that are not called for every task is what it was, whatever the connection is set to.

DO $make$
DECLARE
    name text;
    one regprocedure;
BEGIN
    FOREACH name IN ARRAY ARRAY['enqueue', 'claim', 'settle', 'complete'] LOOP
        EXECUTE regexp_replace(
            -- Null, and so an error, before any other expression.
            replace(pg_get_functiondef(name::regproc), E'\nDECLARE\n', format(E'\nDECLARE
    has_our_search_path constant boolean NOT NULL := nullif(
        pg_catalog.current_setting(''search_path'') OPERATOR(pg_catalog.=) %L, false);\n', quote_ident(current_schema()))),
            format('\.%s\(', name), format('.%s_bare(', name));
        EXECUTE format('ALTER FUNCTION %s RESET ALL', (name || '_bare')::regproc::regprocedure);
    END LOOP;
    FOR one IN SELECT p.oid FROM pg_proc AS p
                WHERE p.pronamespace = quote_ident(current_schema())::regnamespace AND p.proconfig IS NOT NULL
                  AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS c (setting) WHERE c.setting LIKE 'plan_cache_mode=%')
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET enable_seqscan = on', one);
        EXECUTE format('ALTER FUNCTION %s SET enable_bitmapscan = on', one);
        EXECUTE format('ALTER FUNCTION %s SET enable_hashjoin = on', one);
        EXECUTE format('ALTER FUNCTION %s SET enable_mergejoin = on', one);
        EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = auto', one);
    END LOOP;
END $make$;
