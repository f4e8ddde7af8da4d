-- Input:     the tables of 0001.
-- Output:    what the functions of the later migrations have in common: locks, the count of live
--            tasks, lanes, and death.
-- Guarantee: locks are taken in one order by all: the queue against its removal, lanes by their numbers,
--            the gate of a queue, one of its turnstiles, rows by their sequences. A claim and the
--            upkeep take rows without waiting.

-- The number space of this schema's advisory locks. Another schema may share it by chance, which
-- makes locks wider and changes no result.
CREATE FUNCTION lock_space() RETURNS integer LANGUAGE sql STABLE AS
    $$ SELECT hashtext('tidegate ' || current_schema()) & 1073741823 $$;

-- The lock of a lane. 128 for each queue, so that a large batch cannot use up the server's locks.
CREATE FUNCTION lane_lock(p_queue bigint, p_lane text) RETURNS integer LANGUAGE sql IMMUTABLE AS
    $$ SELECT ((p_queue % 8388608) * 128 + (hashtext(p_lane) & 127))::integer $$;

-- Keeps queues from being removed until the transaction ends, so that no task is left in one that is gone.
CREATE FUNCTION keep_queues(p_queues bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(lock_space() + 4, (u.id % 134217728)::integer)
       FROM (SELECT DISTINCT id FROM unnest(p_queues) AS k (id) ORDER BY id) AS u;
END $$;

CREATE FUNCTION lock_lanes(p_locks integer[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(lock_space(), l.number)
       FROM (SELECT DISTINCT number FROM unnest(p_locks) AS u (number) ORDER BY number) AS l;
END $$;

-- Locks every lane of a queue.
CREATE FUNCTION lock_all_lanes(p_queue bigint) RETURNS void LANGUAGE sql AS $$
    SELECT lock_lanes(ARRAY(SELECT ((p_queue % 8388608) * 128 + n)::integer FROM generate_series(0, 127) AS n))
$$;

-- The functions lock first and read then, so each of their statements must see what was committed
-- before it. A transaction that reads from one snapshot does not; those who see that they are in one call this.
CREATE FUNCTION refuse_isolation() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the transaction must be READ COMMITTED' USING ERRCODE = 'TG001';
END $$;

-- Ready, scheduled and leased tasks of a queue that has a bound, as far as they are committed.
CREATE FUNCTION live(p_queue bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
    -- WHY: not in SQL, here and below where a table is touched: that is planned anew at every call.
    RETURN (SELECT b.live
         + coalesce((SELECT sum(c.n) FROM changes AS c
                      WHERE c.queue_id = p_queue AND c.tx >= pg_snapshot_xmax(b.seen)), 0)::bigint
         + coalesce((SELECT sum(c.n) FROM changes AS c
                      WHERE c.queue_id = p_queue AND c.tx = ANY (ARRAY(SELECT pg_snapshot_xip(b.seen)))), 0)::bigint
      FROM bases AS b WHERE b.queue_id = p_queue ORDER BY b.n DESC LIMIT 1);
END $$;

-- Makes the first task of a lane available if it is ready and none of the lane is held. Returns 1 if
-- it did. The caller holds the lane's lock.
--
-- INVARIANT: whoever adds to a lane, or takes a task of it out of a worker's hands, holds the lock of
-- the lane from before it reads until it commits, and calls this at the end. So of a lane at most the
-- first task is available, and only while none is held; a claim needs no lock but the row's.
CREATE FUNCTION refresh_lane(p_queue bigint, p_lane text, p_now timestamptz) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    head record;
BEGIN
    SELECT t.seq, t.state, t.tx INTO head FROM tasks AS t
     WHERE t.queue_id = p_queue AND t.lane = p_lane ORDER BY t.place LIMIT 1;
    IF NOT FOUND OR head.state <> 0 OR head.tx IS NOT NULL THEN
        RETURN 0;
    END IF;
    IF EXISTS (SELECT FROM tasks AS t WHERE t.queue_id = p_queue AND t.lane = p_lane AND t.state = 2) THEN
        RETURN 0;
    END IF;
    UPDATE tasks SET tx = pg_current_xact_id(), since = p_now WHERE seq = head.seq;
    RETURN 1;
END $$;

-- Frees the key that a task held until it was done.
CREATE FUNCTION free_key(p_queue bigint, p_key text, p_seq bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM dedup WHERE queue_id = p_queue AND key = p_key AND seq = p_seq AND until IS NULL;
END $$;

-- Counts what was added to a queue, or taken away, if it has a bound: others are not counted.
--
-- INVARIANT: whoever counts, or finds that nothing is counted, holds the queue against its removal from before
-- he looks for a bound until he commits. `start_counting` waits for all of those.
CREATE FUNCTION count_change(p_queue bigint, p_n bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_n <> 0 THEN
        PERFORM keep_queues(ARRAY[p_queue]);
        INSERT INTO changes (queue_id, tx, n)
        SELECT p_queue, pg_current_xact_id(), p_n FROM queues AS k WHERE k.id = p_queue AND k.capacity IS NOT NULL;
    END IF;
END $$;

-- A task dies: it stays in its queue as dead, or moves to the tail of the queue that its policy names.
-- The caller holds the row, and the lanes' locks of both queues; it refreshes the lane that the task left.
CREATE FUNCTION die(q queues, p_seq bigint, p_reason text, p_now timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    t tasks;
    target queues;
BEGIN
    SELECT * INTO t FROM tasks WHERE seq = p_seq;
    IF t.unique_key IS NOT NULL THEN
        PERFORM free_key(q.id, t.unique_key, t.seq);
    END IF;
    PERFORM count_change(q.id, -1);
    IF q.dead_queue IS NOT NULL THEN
        SELECT * INTO target FROM queues WHERE name = q.dead_queue;
    END IF;
    IF target.id IS NULL THEN
        UPDATE tasks SET state = 3, settled = true, tx = NULL, until = NULL, lane = NULL, holder = NULL,
               unique_key = NULL, source = q.name, reason = p_reason, dead_error = t.last_error,
               attempts = t.deliveries - t.uncounted, died_at = p_now
         WHERE seq = p_seq;
        RETURN;
    END IF;
    UPDATE tasks SET queue_id = target.id, state = 0, settled = true, until = NULL, holder = NULL,
           unique_key = NULL, source = q.name, reason = p_reason, dead_error = t.last_error,
           attempts = t.deliveries - t.uncounted, died_at = p_now,
           moved = json_build_object('source', q.name, 'reason', p_reason, 'error', t.last_error,
                       'attempts', t.deliveries - t.uncounted,
                       'died_at', floor(extract(epoch FROM p_now) * 1000)::bigint),
           uncounted = t.deliveries, entered_at = p_now, place = nextval('task_sequence'),
           lane = CASE WHEN target.ordered THEN t.key END,
           tx = CASE WHEN NOT target.ordered OR t.key IS NULL THEN pg_current_xact_id() END,
           since = p_now, aging = target.retention IS NOT NULL
     WHERE seq = p_seq;
    PERFORM count_change(target.id, 1);
    IF target.ordered AND t.key IS NOT NULL THEN
        PERFORM refresh_lane(target.id, t.key, p_now);
    END IF;
END $$;
