-- Input:     as of add_queue.sql; what cannot change is not among it: $1 name, $2 spec, $3 capacity, $4 lease,
--            $5 attempts, $6 retention, $7 dead-letter queue, $8 how long the dead are kept.
-- Output:    the id of the queue.
-- Guarantee: its tasks, dedup keys and pause stay as they are.
UPDATE {schema}.queues
   SET spec = $2, capacity = $3, lease = $4 * interval '1 microsecond', max_attempts = $5,
       retention = $6 * interval '1 microsecond', dead_queue = $7, dead_kept = $8 * interval '1 microsecond'
 WHERE name = $1 RETURNING id
