-- Input:     the tables of 0001.
-- Output:    what `Inspect` shows: `stats`, `peek`, `list`, `find`, `dead`.
-- Guarantee: nothing is changed.

CREATE FUNCTION stats(p_queue bigint)
RETURNS TABLE (ready bigint, scheduled bigint, leased bigint, dead bigint, oldest bigint, paused boolean)
LANGUAGE sql STABLE
SET search_path FROM CURRENT SET jit = off
AS $$
    SELECT count(t.seq) FILTER (WHERE t.state = 0), count(t.seq) FILTER (WHERE t.state = 1),
           count(t.seq) FILTER (WHERE t.state = 2), count(t.seq) FILTER (WHERE t.state = 3),
           floor(extract(epoch FROM clock_timestamp() - min(t.since) FILTER (WHERE t.tx IS NOT NULL)) * 1000000)::bigint,
           q.paused
      FROM queues AS q LEFT JOIN tasks AS t ON t.queue_id = q.id
     WHERE q.id = p_queue GROUP BY q.id
$$;

CREATE FUNCTION peek(p_queue bigint, p_limit bigint) RETURNS SETOF tasks
LANGUAGE sql STABLE
SET search_path FROM CURRENT SET jit = off
AS $$
    SELECT * FROM tasks AS t WHERE t.queue_id = p_queue AND t.tx IS NOT NULL
     ORDER BY t.priority DESC, t.tx, t.since, t.place LIMIT p_limit
$$;

CREATE FUNCTION list(p_queue bigint, p_state smallint, p_after bigint, p_limit bigint) RETURNS SETOF tasks
LANGUAGE sql STABLE
SET search_path FROM CURRENT SET jit = off
AS $$
    SELECT * FROM tasks AS t
     WHERE t.queue_id = p_queue AND t.seq > p_after AND (p_state IS NULL OR t.state = p_state)
     ORDER BY t.seq LIMIT p_limit
$$;

-- A leased one is looked for among those whose lease may be as long as any; `until` is not null for all of them.
CREATE FUNCTION find(p_queue bigint, p_id uuid) RETURNS SETOF tasks
LANGUAGE sql STABLE
SET search_path FROM CURRENT SET jit = off
AS $$
    SELECT * FROM (
        SELECT * FROM tasks AS t WHERE t.id = p_id AND t.state <> 2 AND t.queue_id = p_queue
         UNION ALL
        SELECT * FROM tasks AS t WHERE t.queue_id = p_queue AND t.until < now() + interval '13 hours' AND t.id = p_id
           AND t.state = 2) AS t
     ORDER BY t.seq LIMIT 1
$$;

-- The dead of a queue, wherever they lie, oldest first.
CREATE FUNCTION dead(p_queue bigint, p_limit bigint, p_reason text) RETURNS SETOF tasks
LANGUAGE sql STABLE
SET search_path FROM CURRENT SET jit = off
AS $$
    SELECT t.* FROM queues AS q JOIN tasks AS t
        ON t.source = q.name
       AND (t.queue_id = q.id AND t.state = 3 OR t.queue_id = (SELECT d.id FROM queues AS d WHERE d.name = q.dead_queue))
     WHERE q.id = p_queue AND t.died_at IS NOT NULL
       AND (p_reason IS NULL OR strpos(t.reason, p_reason) > 0)
     ORDER BY t.died_at, t.seq LIMIT p_limit
$$;
