-- Input:     as of `claim`.
-- Output:    first a row about the call, then the tasks, in any order.
-- Guarantee: as of `claim`.
SELECT seq, deliveries, uncounted, priority, id, kind, key, headers, last_error, moved, enqueued_at, payload,
       fence, until, lease, place
  FROM {schema}.claim($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
