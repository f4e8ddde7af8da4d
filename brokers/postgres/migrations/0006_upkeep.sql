-- Input:     the functions of 0002 to 0005.
-- Output:    `upkeep`, `rotate`, and what changes whole queues: `purge`, `redrive`, `start_counting`,
--            `remove_queue`.
-- Guarantee: any process may call `upkeep` at any time; one of them does it. No task depends on it but
--            those of queues that nobody receives from.

-- Does what is due in every queue, counts anew, and forgets what is over. Returns false if another is at it.
--
-- p_is_whole: looks at all timers, not only at those of the last ten seconds.
CREATE FUNCTION upkeep(p_is_whole boolean) RETURNS boolean
LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
AS $$
DECLARE
    now timestamptz;
    q record;
    counted bigint[];
BEGIN
    IF NOT pg_try_advisory_xact_lock(lock_space() + 3, 0) THEN
        RETURN false;
    END IF;
    -- Those that are counted and have changed. As of `count_change`: so no base is older than a count that begins.
    counted := ARRAY(
        SELECT k.id FROM (
            SELECT l.id FROM queues AS l
             WHERE l.capacity IS NOT NULL
               AND EXISTS (SELECT FROM changes AS c WHERE c.queue_id = l.id
                            AND c.tx >= (SELECT pg_snapshot_xmax(b.seen) FROM bases AS b
                                          WHERE b.queue_id = l.id ORDER BY b.n DESC LIMIT 1))
            OFFSET 0) AS k
         WHERE pg_try_advisory_xact_lock_shared(lock_space() + 4, (k.id % 134217728)::integer));
    -- INVARIANT: the first statement that writes, so that its snapshot has nothing of this transaction
    -- and whatever this transaction changes later counts as not seen by the base.
    INSERT INTO bases (queue_id, live, seen)
    SELECT k.id, live(k.id), pg_current_snapshot() FROM queues AS k
     WHERE k.id = ANY (counted) AND k.capacity IS NOT NULL;
    DELETE FROM changes AS c USING bases AS b
     WHERE b.queue_id = c.queue_id AND pg_visible_in_snapshot(c.tx, b.seen)
       AND b.n = (SELECT max(l.n) FROM bases AS l WHERE l.queue_id = c.queue_id);
    DELETE FROM bases AS b WHERE b.n < (SELECT max(l.n) FROM bases AS l WHERE l.queue_id = b.queue_id);
    now := clock_timestamp();
    FOR q IN SELECT k.id FROM queues AS k LOOP
        PERFORM advance(q.id, CASE WHEN NOT p_is_whole THEN now - interval '10 seconds' END, true);
    END LOOP;
    DELETE FROM dedup AS d USING (SELECT e.queue_id, e.key FROM dedup AS e WHERE e.until <= now
                                   LIMIT 1000 FOR UPDATE SKIP LOCKED) AS o
     WHERE d.queue_id = o.queue_id AND d.key = o.key;
    DELETE FROM attempts AS a USING (SELECT e.queue_id, e.name FROM attempts AS e WHERE e.until <= now
                                      LIMIT 1000 FOR UPDATE SKIP LOCKED) AS o
     WHERE a.queue_id = o.queue_id AND a.name = o.name;
    RETURN true;
END $$;

-- Moves what is left in an old slot, if it is little, to slot 3, so that the slot can be emptied. A settle
-- that meets a task on its way fails and may be tried again.
CREATE FUNCTION park(p_most bigint) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
AS $$
DECLARE
    old smallint;
BEGIN
    FOR old IN SELECT s FROM generate_series(0, 2) AS s WHERE s <> (SELECT r.slot FROM rotation AS r) LOOP
        IF (SELECT count(*) FROM (SELECT FROM tasks AS t WHERE t.slot = old LIMIT p_most + 1) AS c) <= p_most THEN
            UPDATE tasks AS t SET slot = 3 WHERE t.slot = old AND t.state <> 2 AND t.seq IN (
                SELECT e.seq FROM tasks AS e WHERE e.slot = old AND e.state <> 2 FOR UPDATE SKIP LOCKED);
        END IF;
    END LOOP;
END $$;

-- Empties old slots, and turns to the next one when the one that is written has had its turn.
--
-- Truncating takes away the dead rows too that an old snapshot keeps vacuum from. It waits for those who
-- use the slot for a moment only, and others wait behind it no longer than that.
CREATE FUNCTION rotate(p_turn bigint) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
SET lock_timeout = '50ms'
AS $$
DECLARE
    turn rotation;
    used bigint;
    old text;
    is_empty boolean;
BEGIN
    IF NOT pg_try_advisory_xact_lock(lock_space() + 3, 1) THEN
        RETURN;
    END IF;
    SELECT * INTO turn FROM rotation;
    SELECT last_value - turn.first_seq INTO used FROM task_sequence;
    IF used >= p_turn AND pg_relation_size(format('tasks_%s', (turn.slot + 1) % 3)::regclass) = 0 THEN
        UPDATE rotation SET slot = (turn.slot + 1) % 3, first_seq = turn.first_seq + used;
        turn.slot := (turn.slot + 1) % 3;
    END IF;
    FOR old IN
        SELECT format('tasks_%s', s) FROM generate_series(0, 2) AS s WHERE s <> turn.slot
         UNION ALL
        -- Fences are told for five minutes: of three slots of five minutes the next one is over.
        SELECT format('settled_%s', (floor(extract(epoch FROM clock_timestamp()) / 300)::bigint + 1) % 3)
    LOOP
        CONTINUE WHEN pg_relation_size(old::regclass) = 0;
        EXECUTE format('SELECT NOT EXISTS (SELECT FROM %s)', old) INTO is_empty;
        CONTINUE WHEN NOT is_empty AND old LIKE 'tasks%';
        BEGIN
            EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', old);
            EXECUTE format('SELECT NOT EXISTS (SELECT FROM %s)', old) INTO is_empty;
            IF is_empty OR old LIKE 'settled%' THEN
                EXECUTE format('TRUNCATE %s', old);
            END IF;
        EXCEPTION WHEN lock_not_available THEN
            -- Another time.
            NULL;
        END;
    END LOOP;
END $$;

-- Drops every live task of a queue and frees every dedup key. Returns how many tasks that were.
CREATE FUNCTION purge(p_queue bigint) RETURNS bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
AS $$
DECLARE
    gone bigint;
BEGIN
    PERFORM lock_all_lanes(p_queue);
    PERFORM FROM tasks AS t WHERE t.queue_id = p_queue AND t.state <> 3 ORDER BY t.seq FOR UPDATE;
    DELETE FROM tasks AS t WHERE t.queue_id = p_queue AND t.state <> 3;
    GET DIAGNOSTICS gone = ROW_COUNT;
    DELETE FROM dedup AS d WHERE d.queue_id = p_queue;
    PERFORM count_change(p_queue, -gone);
    RETURN gone;
END $$;

-- The dead of a queue that no worker holds, wherever they lie, oldest first: those whose reason contains
-- `p_reason`, up to `p_limit`.
CREATE FUNCTION dead_at_rest(p_queue bigint, p_limit bigint, p_reason text)
RETURNS TABLE (seq bigint, queue_id bigint, state smallint, died_at timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT t.seq, t.queue_id, t.state, t.died_at FROM queues AS q JOIN tasks AS t
        ON t.source = q.name
       AND (t.queue_id = q.id AND t.state = 3 OR t.queue_id = (SELECT d.id FROM queues AS d WHERE d.name = q.dead_queue))
     WHERE q.id = p_queue AND t.died_at IS NOT NULL AND t.state <> 2
       AND (p_reason IS NULL OR strpos(t.reason, p_reason) > 0)
     ORDER BY t.died_at, t.seq LIMIT p_limit
$$;

-- Drops dead tasks and tells how many.
CREATE FUNCTION purge_dead(p_queue bigint, p_limit bigint, p_reason text) RETURNS bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
AS $$
DECLARE
    target bigint;
    gone bigint;
    gone_live bigint;
    lanes text[];
    now timestamptz;
BEGIN
    SELECT d.id INTO target FROM queues AS q JOIN queues AS d ON d.name = q.dead_queue WHERE q.id = p_queue;
    IF target IS NOT NULL THEN
        PERFORM lock_all_lanes(target);
    END IF;
    now := clock_timestamp();
    WITH meant AS (
        SELECT t.seq FROM tasks AS t
         WHERE t.seq IN (SELECT d.seq FROM dead_at_rest(p_queue, p_limit, p_reason) AS d) AND t.state <> 2
         ORDER BY t.seq FOR UPDATE),
    dropped AS (
        DELETE FROM tasks AS t USING meant WHERE t.seq = meant.seq RETURNING t.state, t.lane)
    SELECT count(*), count(*) FILTER (WHERE d.state <> 3), array_agg(d.lane) FILTER (WHERE d.lane IS NOT NULL)
      INTO gone, gone_live, lanes FROM dropped AS d;
    IF gone_live > 0 THEN
        PERFORM count_change(target, -gone_live);
    END IF;
    PERFORM refresh_lane(target, l.lane, now) FROM (SELECT DISTINCT u.lane FROM unnest(lanes) AS u (lane)) AS l;
    RETURN gone;
END $$;

-- Puts dead tasks back at the tail of the queue they died in, with their attempts starting again, and
-- tells how many. Those whose queue is gone stay.
CREATE FUNCTION redrive(p_queue bigint, p_limit bigint, p_reason text) RETURNS bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
AS $$
DECLARE
    q queues;
    other bigint;
    t record;
    now timestamptz;
    moved bigint := 0;
    from_other bigint := 0;
    lane text;
    lanes text[] := '{}';
    left_lanes text[] := '{}';
BEGIN
    SELECT * INTO q FROM queues AS k WHERE k.id = p_queue;
    SELECT k.id INTO other FROM queues AS k WHERE k.name = q.dead_queue;
    PERFORM lock_all_lanes(least(p_queue, other));
    PERFORM lock_all_lanes(greatest(p_queue, other));
    now := clock_timestamp();
    FOR t IN SELECT e.seq, e.queue_id, e.state, e.key, e.lane FROM tasks AS e
              WHERE e.seq IN (SELECT d.seq FROM dead_at_rest(p_queue, p_limit, p_reason) AS d) AND e.state <> 2
              ORDER BY e.seq FOR UPDATE
    LOOP
        UPDATE tasks AS e SET queue_id = p_queue, state = 0, settled = true, moved = NULL, source = NULL,
               reason = NULL, dead_error = NULL, attempts = NULL, died_at = NULL, until = NULL,
               uncounted = e.deliveries, entered_at = now, place = nextval('task_sequence'),
               lane = CASE WHEN q.ordered THEN t.key END, since = now, aging = q.retention IS NOT NULL,
               tx = CASE WHEN NOT q.ordered OR t.key IS NULL THEN pg_current_xact_id() END
         WHERE e.seq = t.seq;
        moved := moved + 1;
        from_other := from_other + (t.state <> 3)::integer;
        IF q.ordered AND t.key IS NOT NULL THEN
            lanes := lanes || t.key;
        END IF;
        IF t.lane IS NOT NULL THEN
            left_lanes := left_lanes || t.lane;
        END IF;
    END LOOP;
    PERFORM count_change(p_queue, moved);
    IF other IS NOT NULL THEN
        PERFORM count_change(other, -from_other);
    END IF;
    FOR lane IN SELECT DISTINCT u FROM unnest(lanes) AS u LOOP
        PERFORM refresh_lane(p_queue, lane, now);
    END LOOP;
    FOR lane IN SELECT DISTINCT u FROM unnest(left_lanes) AS u LOOP
        PERFORM refresh_lane(other, lane, now);
    END LOOP;
    RETURN moved;
END $$;

-- Counts what is live in a queue that is about to be given a bound, unless it has one. Waits for those who are
-- enqueueing to it or settling: each of them counts too, or has ended and is seen.
CREATE FUNCTION start_counting(p_name text) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
AS $$
DECLARE
    queue bigint;
BEGIN
    SELECT k.id INTO queue FROM queues AS k WHERE k.name = p_name AND k.capacity IS NULL;
    IF FOUND THEN
        PERFORM pg_advisory_xact_lock(lock_space() + 4, (queue % 134217728)::integer);
        INSERT INTO bases (queue_id, live, seen)
        SELECT queue, count(*), pg_current_snapshot() FROM tasks AS t WHERE t.queue_id = queue AND t.state <> 3;
    END IF;
END $$;

-- Takes a queue away with all that is in it. Waits for those who are enqueueing to it or settling.
CREATE FUNCTION remove_queue(p_queue bigint) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(lock_space() + 4, (p_queue % 134217728)::integer);
    DELETE FROM queues WHERE id = p_queue;
    DELETE FROM tasks WHERE queue_id = p_queue;
    DELETE FROM dedup WHERE queue_id = p_queue;
    DELETE FROM attempts WHERE queue_id = p_queue;
    DELETE FROM bases WHERE queue_id = p_queue;
    DELETE FROM changes WHERE queue_id = p_queue;
END $$;
