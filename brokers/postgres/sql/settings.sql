-- Input:     a connection with a process of the server to itself.
-- Output:    none.
-- Guarantee: it is set as `enqueue`, `claim`, `settle` and `complete` are, so their bare forms do as these do.
SET search_path TO {schema};
SET jit = off;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET plan_cache_mode = force_generic_plan;
