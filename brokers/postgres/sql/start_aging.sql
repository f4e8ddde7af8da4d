-- Input:     $1 a queue that was given a retention.
-- Output:    none.
-- Guarantee: tasks that were there before are dropped in time as well.
UPDATE {schema}.tasks SET aging = true WHERE queue_id = $1 AND NOT aging
