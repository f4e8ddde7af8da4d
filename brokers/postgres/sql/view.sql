-- Input:     {call}, a function that returns tasks.
-- Output:    their columns, with the name and the spec of the queue each lies in.
-- Guarantee: in the order of the function.
SELECT t.seq, t.deliveries, t.uncounted, t.priority, t.id, t.kind, t.key, t.headers::text, t.last_error,
       t.moved::text, t.enqueued_at, t.payload, q.name, q.spec, t.state, t.until, t.source, t.reason,
       t.dead_error, t.attempts, t.died_at
  FROM {call} WITH ORDINALITY AS t
  JOIN {schema}.queues AS q ON q.id = t.queue_id
 ORDER BY t.ordinality
