-- Input:     $1 name, $2 spec as JSON, $3 ordered, $4 capacity, $5 lease, $6 attempts, $7 retention,
--            $8 dead-letter queue, $9 how long the dead are kept. Times in microseconds.
-- Output:    the id of the new queue.
-- Guarantee: the queue has a base to count from.
WITH made AS (
    INSERT INTO {schema}.queues (name, spec, ordered, capacity, lease, max_attempts, retention, dead_queue, dead_kept)
    VALUES ($1, $2, $3, $4, $5 * interval '1 microsecond', $6, $7 * interval '1 microsecond', $8,
            $9 * interval '1 microsecond')
    RETURNING id),
base AS (
    INSERT INTO {schema}.bases (queue_id, live, seen) SELECT made.id, 0, pg_current_snapshot() FROM made)
SELECT made.id FROM made
