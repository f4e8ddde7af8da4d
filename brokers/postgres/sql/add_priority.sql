-- Input:     $1 the queue, $2 priorities.
-- Output:    none.
-- Guarantee: claims ask for these priorities from now on. In a transaction of its own, so that no two
--            transactions of callers wait for each other.
UPDATE {schema}.queues AS q
   SET priorities = ARRAY(SELECT DISTINCT u.priority FROM unnest(q.priorities || $2) AS u (priority)
                           ORDER BY u.priority DESC)
 WHERE q.id = $1 AND NOT q.priorities @> $2
