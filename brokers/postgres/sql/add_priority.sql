-- Input:     $1 the queue, $2 priorities.
-- Output:    none.
-- Guarantee: claims ask for these priorities from now on. In a transaction of its own, so that no two
--            transactions of callers wait for each other.
INSERT INTO {schema}.priorities (queue_id, priority)
SELECT $1, u.priority FROM unnest($2) AS u (priority) ORDER BY u.priority
    ON CONFLICT DO NOTHING
