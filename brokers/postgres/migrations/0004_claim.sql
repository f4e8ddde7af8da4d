-- Input:     the functions of 0002.
-- Output:    `advance`, `claim`, `next_due`, `horizon`.
-- Guarantee: a task is handed out to one receive at a time, with a fence never used before; receives that
--            are one by their name hand out the same. None of these waits for a task or a lane that
--            another holds; a receive that has a name waits for another one of that name.

-- Does what is due in a queue: scheduled tasks become ready, leases end, what is too old is dropped.
--
-- p_from: timers before this are known to be done; null looks at all. What is past leaves dead index
-- entries behind for as long as an old snapshot is open, and they are not walked again and again.
-- p_is_thorough: also drops the dead that are too old.
-- Returns how many tasks became available, and whether all that was due is done.
CREATE FUNCTION advance(p_queue bigint, p_from timestamptz, p_is_thorough boolean,
                        OUT woken integer, OUT is_done boolean)
LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    most constant integer := 1000;
    q queues;
    target queues;
    t record;
    now timestamptz := clock_timestamp();
    start timestamptz := coalesce(p_from, '-infinity');
    moved integer;
    gone integer := 0;
BEGIN
    woken := 0;
    is_done := true;
    SELECT * INTO q FROM queues AS k WHERE k.id = p_queue;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM tasks AS e WHERE e.queue_id = p_queue AND e.until > start AND e.until <= now) THEN
        WITH due AS (
            SELECT e.seq FROM tasks AS e
             WHERE e.queue_id = p_queue AND e.until > start AND e.until <= now AND e.lane IS NULL
               AND (e.state = 1 OR e.deliveries - e.uncounted < q.max_attempts)
             ORDER BY e.until LIMIT most FOR UPDATE SKIP LOCKED)
        UPDATE tasks AS e SET state = 0, tx = pg_current_xact_id(), since = e.until, until = NULL, holder = NULL
          FROM due WHERE e.seq = due.seq;
        GET DIAGNOSTICS moved = ROW_COUNT;
        woken := moved;
        is_done := moved < most;
        IF q.dead_queue IS NOT NULL THEN
            SELECT * INTO target FROM queues AS k WHERE k.name = q.dead_queue;
        END IF;
        FOR t IN SELECT e.seq, e.lane, e.key, e.state, e.fence, e.until,
                        e.deliveries - e.uncounted >= q.max_attempts AS is_last
                   FROM tasks AS e
                  WHERE e.queue_id = p_queue AND e.until > start AND e.until <= now
                    AND (e.lane IS NOT NULL OR (e.state = 2 AND e.deliveries - e.uncounted >= q.max_attempts))
                  ORDER BY e.until LIMIT most FOR UPDATE SKIP LOCKED
        LOOP
            IF NOT try_lane(p_queue, t.lane)
               OR (t.state = 2 AND t.is_last AND target.ordered AND NOT try_lane(target.id, t.key)) THEN
                is_done := false;
                CONTINUE;
            END IF;
            IF t.state = 2 AND t.is_last THEN
                PERFORM remember(ARRAY[t.fence], 2::smallint, now);
                PERFORM die(q, t.seq, 'lease ended', now);
            ELSE
                UPDATE tasks AS e SET state = 0, until = NULL, holder = NULL WHERE e.seq = t.seq;
            END IF;
            IF t.lane IS NOT NULL THEN
                woken := woken + refresh_lane(p_queue, t.lane, now);
            END IF;
        END LOOP;
        -- A row that another holds was passed over.
        is_done := is_done AND NOT EXISTS (
            SELECT FROM tasks AS e WHERE e.queue_id = p_queue AND e.until > start AND e.until <= now);
    END IF;
    IF q.retention IS NOT NULL THEN
        FOR t IN SELECT e.seq, e.lane, e.unique_key FROM tasks AS e
                  WHERE e.queue_id = p_queue AND e.aging AND e.state <> 3 AND e.state <> 2
                    AND e.entered_at <= now - q.retention
                  ORDER BY e.entered_at LIMIT most FOR UPDATE SKIP LOCKED
        LOOP
            CONTINUE WHEN NOT try_lane(p_queue, t.lane);
            DELETE FROM tasks AS e WHERE e.seq = t.seq;
            gone := gone + 1;
            IF t.unique_key IS NOT NULL THEN
                PERFORM free_key(p_queue, t.unique_key, t.seq);
            END IF;
            IF t.lane IS NOT NULL THEN
                woken := woken + refresh_lane(p_queue, t.lane, now);
            END IF;
        END LOOP;
        PERFORM count_change(p_queue, -gone);
    END IF;
    IF p_is_thorough THEN
        DELETE FROM tasks AS e WHERE e.seq IN (
            SELECT d.seq FROM tasks AS d
             WHERE d.queue_id = p_queue AND d.source = q.name AND d.died_at <= now - q.dead_kept AND d.state = 3
             ORDER BY d.died_at LIMIT most FOR UPDATE SKIP LOCKED);
    END IF;
END $$;

-- Whether the lock of a lane was free; a task without a lane needs none.
CREATE FUNCTION try_lane(p_queue bigint, p_lane text) RETURNS boolean LANGUAGE sql AS $$
    SELECT p_lane IS NULL OR pg_try_advisory_xact_lock(lock_space(), lane_lock(p_queue, p_lane))
$$;

-- Where what ends now is remembered: three slots of five minutes each.
CREATE FUNCTION settled_slot(p_now timestamptz) RETURNS smallint LANGUAGE sql STABLE AS
    $$ SELECT (floor(extract(epoch FROM p_now) / 300)::bigint % 3)::smallint $$;

-- Remembers how deliveries ended.
CREATE FUNCTION remember(p_fences bigint[], p_outcome smallint, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO settled (slot, outcome, fence, at)
    SELECT settled_slot(p_now), p_outcome, u.fence, p_now
      FROM unnest(p_fences) AS u (fence);
END $$;

-- Hands out up to `p_limit` tasks, with at most `p_per_key` of a lane, and none after `p_bytes` of payloads.
--
-- p_lows: for each of p_priorities the transaction before which nothing is left of it, but for what
-- transactions in p_open have made: `horizon` tells them. A claim walks only what became available later,
-- however many dead entries lie before that. Priorities that are not given are walked from their beginning.
-- p_from: as of `advance`. p_lease: how long, in microseconds; null is the queue's. p_attempt: the receive's
-- name, if it has one: what an earlier one of that name handed out and is held as it was then is handed out
-- once more.
--
-- The first row is about the call: `until` is the server's time, `seq` 1 if the timers are done up to
-- it, `deliveries` how many tasks became available, `uncounted` how many were held meanwhile and are left: a
-- receive that came upon them has passed them over. The others are tasks, in any order; `place` counts them from 1 on.
-- No row: no such queue.
--
-- WHY: an expression of PL/pgSQL costs more than what it computes, and a statement on all slots makes ready for
-- each. So the first statement computes what it can, and what was picked in one slot is handed out by a statement
-- of that slot: there is one for each, made of one text.
DO $make$
DECLARE
    hand_out constant text := $text$
        RETURN QUERY
        UPDATE {table} AS t
           SET state = 2, tx = NULL, settled = false, holder = p_session, until = now + span,
               fence = CASE WHEN is_again THEN t.fence ELSE nextval('fence_sequence') END,
               deliveries = t.deliveries + (is_again IS NOT TRUE)::integer
         WHERE {which}
     RETURNING t.seq, t.fence, t.until, micros, t.deliveries, t.uncounted, t.priority, t.id, t.kind, t.key,
               t.headers::text, t.last_error, t.moved::text, t.enqueued_at, t.payload, array_position(picks, t.seq);
$text$;
    body text := $text$
#variable_conflict use_column
DECLARE
    now timestamptz := clock_timestamp();
    is_paused boolean;
    is_ordered boolean;
    is_due boolean;
    is_again boolean;
    levels smallint[];
    level smallint;
    low xid8;
    span interval;
    micros bigint;
    picks bigint[];
    rows tid[];
    first_slot smallint;
    last_slot smallint;
    bytes bigint;
BEGIN
    -- Its last four columns are of the row about the call.
    SELECT k.paused, k.ordered, coalesce(p_lease * interval '1 microsecond', k.lease),
           coalesce(p_lease, (extract(epoch FROM k.lease) * 1000000)::bigint),
           k.retention IS NOT NULL OR EXISTS (
               SELECT FROM tasks AS e
                WHERE e.queue_id = p_queue AND e.until > coalesce(p_from, '-infinity') AND e.until <= now),
           k.priorities, now, 1, 0, 0
      INTO is_paused, is_ordered, span, micros, is_due, levels, until, seq, deliveries, uncounted
      FROM queues AS k WHERE k.id = p_queue;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF is_due THEN
        SELECT a.woken, a.is_done::integer INTO deliveries, seq FROM advance(p_queue, p_from, false) AS a;
    END IF;
    IF p_attempt IS NOT NULL THEN
        picks := nullif(given_before(p_queue, p_attempt, p_limit), '{}');
        is_again := picks IS NOT NULL;
    END IF;
    IF is_paused OR is_again THEN
        NULL;
    ELSIF p_limit = 1 THEN
        FOREACH level IN ARRAY levels LOOP
            low := coalesce(p_lows[array_position(p_priorities, level)], '0')::xid8;
            IF p_open <> '{}' THEN
                SELECT ARRAY[t.seq], ARRAY[t.ctid], t.slot, t.slot INTO picks, rows, first_slot, last_slot
                  FROM tasks AS t
                 WHERE t.queue_id = p_queue AND t.priority = level AND t.tx = ANY (p_open::xid8[]) AND t.tx < low
                 ORDER BY t.tx, t.since, t.place LIMIT 1 FOR UPDATE SKIP LOCKED;
                EXIT WHEN FOUND;
            END IF;
            SELECT ARRAY[t.seq], ARRAY[t.ctid], t.slot, t.slot INTO picks, rows, first_slot, last_slot
              FROM tasks AS t
             WHERE t.queue_id = p_queue AND t.priority = level AND t.tx >= low
             ORDER BY t.tx, t.since, t.place LIMIT 1 FOR UPDATE SKIP LOCKED;
            EXIT WHEN FOUND;
        END LOOP;
    ELSE
        FOREACH level IN ARRAY levels LOOP
            low := coalesce(p_lows[array_position(p_priorities, level)], '0')::xid8;
            IF p_open <> '{}' THEN
                SELECT picks || array_agg(p.seq), rows || array_agg(p.ctid), least(first_slot, min(p.slot)),
                       greatest(last_slot, max(p.slot)), coalesce(bytes + sum(p.size), bytes, sum(p.size))
                  INTO picks, rows, first_slot, last_slot, bytes
                  FROM (SELECT t.seq, t.ctid, t.slot, octet_length(t.payload) AS size FROM tasks AS t
                         WHERE t.queue_id = p_queue AND t.priority = level
                           AND t.tx = ANY (p_open::xid8[]) AND t.tx < low
                         ORDER BY t.tx, t.since, t.place
                         LIMIT p_limit - coalesce(cardinality(picks), 0) FOR UPDATE SKIP LOCKED) AS p;
            END IF;
            SELECT picks || array_agg(p.seq), rows || array_agg(p.ctid), least(first_slot, min(p.slot)),
                   greatest(last_slot, max(p.slot)), coalesce(bytes + sum(p.size), bytes, sum(p.size))
              INTO picks, rows, first_slot, last_slot, bytes
              FROM (SELECT t.seq, t.ctid, t.slot, octet_length(t.payload) AS size FROM tasks AS t
                     WHERE t.queue_id = p_queue AND t.priority = level AND t.tx >= low
                     ORDER BY t.tx, t.since, t.place
                     LIMIT p_limit - coalesce(cardinality(picks), 0) FOR UPDATE SKIP LOCKED) AS p;
            EXIT WHEN cardinality(picks) >= p_limit OR bytes >= p_bytes;
        END LOOP;
        IF is_ordered AND p_per_key > 1 AND picks IS NOT NULL THEN
            picks := with_followers(p_queue, picks, p_per_key, p_limit);
            first_slot := NULL;
            bytes := p_bytes;
        END IF;
        IF bytes >= p_bytes AND cardinality(picks) > 1 THEN
            uncounted := cardinality(picks);
            picks := within_bytes(picks, p_bytes);
            uncounted := uncounted - cardinality(picks);
            first_slot := NULL;
        END IF;
    END IF;
    RETURN NEXT;
    IF picks IS NULL THEN
        RETURN;
    END IF;
    now := clock_timestamp();
    IF first_slot = 0 AND last_slot = 0 THEN {slot 0}
    ELSIF first_slot = 1 AND last_slot = 1 THEN {slot 1}
    ELSIF first_slot = 2 AND last_slot = 2 THEN {slot 2}
    ELSE {any slot}
    END IF;
    IF p_attempt IS NOT NULL THEN
        INSERT INTO attempts AS a (queue_id, name, seqs, fences, ends, until)
        SELECT p_queue, p_attempt, array_agg(t.seq ORDER BY array_position(picks, t.seq)),
               array_agg(t.fence ORDER BY array_position(picks, t.seq)), now + span, now + interval '5 minutes'
          FROM tasks AS t WHERE t.seq = ANY (picks)
            ON CONFLICT (queue_id, name) DO UPDATE
           SET seqs = excluded.seqs, fences = excluded.fences, ends = excluded.ends, until = excluded.until;
    END IF;
END $text$;
BEGIN
    FOR n IN 0..2 LOOP
        -- INVARIANT: the rows are locked by this transaction, so they lie where they were found.
        body := replace(body, format('{slot %s}', n), replace(replace(hand_out,
            '{table}', format('tasks_%s', n)), '{which}', 't.ctid = ANY (rows)'));
    END LOOP;
    body := replace(body, '{any slot}', replace(replace(hand_out, '{table}', 'tasks'), '{which}', 't.seq = ANY (picks)'));
    EXECUTE format($text$
CREATE FUNCTION claim(p_queue bigint, p_session bigint, p_limit integer, p_per_key integer, p_lease bigint,
                      p_priorities smallint[], p_lows text[], p_open text[], p_from timestamptz,
                      p_attempt bytea, p_bytes bigint)
RETURNS TABLE (seq bigint, fence bigint, until timestamptz, lease bigint, deliveries integer, uncounted integer,
               priority smallint, id uuid, kind text, key text, headers text, last_error text, moved text,
               enqueued_at timestamptz, payload bytea, place integer)
LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS %L$text$, body);
END $make$;

-- The first of these tasks: the last of them begins before `p_bytes` of payloads.
CREATE FUNCTION within_bytes(p_picks bigint[], p_bytes bigint) RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT array_agg(s.seq ORDER BY s.ord) FROM (
        SELECT p.seq, p.ord, sum(octet_length(t.payload)) OVER (ORDER BY p.ord) - octet_length(t.payload) AS before
          FROM unnest(p_picks) WITH ORDINALITY AS p (seq, ord) JOIN tasks AS t ON t.seq = p.seq) AS s
     WHERE s.before < p_bytes);
END $$;

-- The tasks that an earlier receive of this name handed out, if all of them are held as they were then and
-- they are no more than `p_limit`; else none. Of two receives of one name at once the second waits for the first.
CREATE FUNCTION given_before(p_queue bigint, p_attempt bytea, p_limit integer) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    given attempts;
    held bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(lock_space() + 5, hashtext(p_queue || ' ' || encode(p_attempt, 'hex')));
    SELECT * INTO given FROM attempts AS a
     WHERE a.queue_id = p_queue AND a.name = p_attempt AND a.until > clock_timestamp();
    IF NOT FOUND OR cardinality(given.seqs) > p_limit THEN
        RETURN '{}';
    END IF;
    -- Those that somebody settles or extends at this moment are not as they were.
    WITH locked AS (
        SELECT t.seq, t.fence, t.queue_id, t.state, t.settled, t.until FROM tasks AS t
         WHERE t.seq = ANY (given.seqs) FOR UPDATE SKIP LOCKED)
    SELECT count(*) INTO held FROM unnest(given.seqs, given.fences) AS g (seq, fence) JOIN locked AS l ON l.seq = g.seq
     WHERE l.queue_id = p_queue AND l.fence = g.fence AND l.state = 2 AND NOT l.settled AND l.until = given.ends;
    RETURN CASE WHEN held = cardinality(given.seqs) THEN given.seqs ELSE '{}' END;
END $$;

-- The picked tasks, each with up to `p_per_key` - 1 that are ready right behind it in its lane. Of a lane
-- whose lock another holds only the first is taken.
CREATE FUNCTION with_followers(p_queue bigint, p_picks bigint[], p_per_key integer, p_limit integer) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    all_picks bigint[] := '{}';
    head record;
    behind record;
    count integer;
BEGIN
    FOR head IN SELECT t.seq, t.lane, t.place FROM tasks AS t
                 WHERE t.seq = ANY (p_picks) ORDER BY array_position(p_picks, t.seq)
    LOOP
        EXIT WHEN cardinality(all_picks) >= p_limit;
        all_picks := all_picks || head.seq;
        CONTINUE WHEN head.lane IS NULL OR NOT try_lane(p_queue, head.lane);
        count := 1;
        FOR behind IN SELECT t.seq, t.state FROM tasks AS t
                       WHERE t.queue_id = p_queue AND t.lane = head.lane AND t.place > head.place
                       ORDER BY t.place
        LOOP
            EXIT WHEN behind.state <> 0 OR count >= p_per_key OR cardinality(all_picks) >= p_limit;
            all_picks := all_picks || behind.seq;
            count := count + 1;
        END LOOP;
    END LOOP;
    RETURN all_picks;
END $$;

-- How long until the next timer of a queue, in microseconds; null if it has none. p_from: as of `advance`.
CREATE FUNCTION next_due(p_queue bigint, p_from timestamptz) RETURNS bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    start timestamptz := coalesce(p_from, '-infinity');
BEGIN
    -- WHY: not in SQL, here and below: that is planned anew at every call.
    RETURN (
    SELECT CASE WHEN min(until) IS NOT NULL
                THEN greatest(0, ceil(extract(epoch FROM min(until) - clock_timestamp()) * 1000000))::bigint END
      FROM tasks WHERE queue_id = p_queue AND until > start);
END $$;

-- For each priority the transaction before which nothing is available any more, as far as this
-- snapshot sees it, and the transactions before it that it does not see because they are open.
--
-- INVARIANT: this is called in a transaction of its own. What is available was made so by the
-- transaction in its `tx`; one that is below `low` and not open has ended, and nothing of it is left.
CREATE FUNCTION horizon(p_queue bigint, p_priorities smallint[], p_lows text[], p_open text[])
RETURNS TABLE (priorities smallint[], lows text[], open text[])
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY
    SELECT array_agg(f.priority), array_agg(f.low::text),
           ARRAY(SELECT x::text FROM pg_snapshot_xip(pg_current_snapshot()) AS x)
      FROM (SELECT l.priority, least(
                (SELECT t.tx FROM tasks AS t
                  WHERE t.queue_id = p_queue AND t.priority = l.priority AND t.tx >= l.low
                  ORDER BY t.tx LIMIT 1),
                (SELECT t.tx FROM tasks AS t
                  WHERE t.queue_id = p_queue AND t.priority = l.priority
                    AND t.tx = ANY (p_open::xid8[]) AND t.tx < l.low
                  ORDER BY t.tx LIMIT 1),
                pg_snapshot_xmax(pg_current_snapshot())) AS low
              FROM (SELECT p.priority,
                           coalesce(p_lows[array_position(p_priorities, p.priority)], '0')::xid8 AS low
                      FROM queues AS k, unnest(k.priorities) AS p (priority) WHERE k.id = p_queue) AS l) AS f;
END $$;
