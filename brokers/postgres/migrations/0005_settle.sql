-- Input:     the functions of 0002 and 0004.
-- Output:    `settle`, `complete`, `extend`, `release_held`.
-- Guarantee: a verdict is carried out only with the fence of the task's newest delivery, and once.

-- Carries out verdicts, given as one array a field.
--
-- p_verdicts: 0 complete, 1 retry, 2 release, 3 dead letter; p_afters: microseconds; p_texts: the error
-- or the reason.
-- Returns an entry a verdict, in order. outcomes: 0 done, 1 settled before, 2 its time ran out, 3 handed out
-- again, 4 no longer there. states: that of the task after it, 4 if it is gone. woken: how many tasks
-- became available.
--
-- And completes tasks for many callers at once, of a queue without order. Returns the fences of those that are done, or
-- null if they all are; whoever has another one asks `settle`.
--
-- INVARIANT: `complete` waits for nobody who had a hand in one of the tasks before it was called, so that no caller waits
-- for what another one has met. A transaction that is settling a task has left its number in `xmax`; the one that handed
-- it out, or extended its lease, has left it there and in `xmin`. A claim that came upon it too late has left its own, and
-- has ended once it is older than all that are open.
--
-- WHY: texts are made functions, as for `claim`.
DO $make$
DECLARE
    begin_call constant text := $text$    IF current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM refuse_isolation();
    END IF;
    -- As `count_change` wants it.
    IF NOT pg_try_advisory_xact_lock_shared(lock_space() + 4, (p_queue % 134217728)::integer) THEN
        PERFORM keep_queues(ARRAY[p_queue]);
    END IF;
$text$;
    in_slot constant text := $text$
        IF is_one THEN
            DELETE FROM {table} AS t
             WHERE t.seq = p_seqs[1] AND t.fence = p_fences[1] AND t.queue_id = p_queue AND NOT t.settled AND t.state <> 3
                   {if free}
         RETURNING p_fences, CASE WHEN t.lane IS NOT NULL THEN ARRAY[t.lane] END,
                   CASE WHEN t.unique_key IS NOT NULL THEN ARRAY[t.unique_key] END, p_seqs
              INTO finished, lanes, keys, seqs;
        ELSE
            WITH done AS (
                DELETE FROM {table} AS t {which} AND t.queue_id = p_queue AND NOT t.settled AND t.state <> 3 {if free}
             RETURNING t.seq, t.fence, t.lane, t.unique_key)
            SELECT finished || array_agg(done.fence), lanes || array_agg(done.lane) FILTER (WHERE done.lane IS NOT NULL),
                   keys || array_agg(done.unique_key) FILTER (WHERE done.unique_key IS NOT NULL),
                   seqs || array_agg(done.seq) FILTER (WHERE done.unique_key IS NOT NULL)
              INTO finished, lanes, keys, seqs FROM done;
        END IF;
$text$;
    finish constant text := $text$        IF slot = 0 THEN {slot 0}
        ELSIF slot = 1 THEN {slot 1}
        ELSIF slot = 2 THEN {slot 2}
        END IF;
        IF finished IS NULL OR cardinality(finished) < cardinality(p_seqs) THEN {any slot}
        END IF;
        IF finished IS NOT NULL THEN
            now := clock_timestamp();
            IF is_one THEN
                INSERT INTO settled (slot, outcome, fence, at) VALUES (settled_slot(now), 1, p_fences[1], now);
            ELSE
                INSERT INTO settled (slot, outcome, fence, at) SELECT settled_slot(now), 1, unnest(finished), now;
            END IF;
            IF is_counted THEN
                INSERT INTO changes (queue_id, tx, n) VALUES (p_queue, pg_current_xact_id(), -cardinality(finished));
            END IF;
            IF keys IS NOT NULL THEN
                PERFORM free_key(p_queue, u.key, u.seq) FROM unnest(keys, seqs) AS u (key, seq) ORDER BY u.key;
            END IF;
        END IF;
$text$;
    settle text := $text$
#variable_conflict use_column
DECLARE
    is_one constant boolean := cardinality(p_seqs) = 1;
    needs_locks boolean;
    is_complete boolean;
    is_counted boolean;
    slot smallint;
    q queues;
    now timestamptz;
    lanes text[];
    keys text[];
    seqs bigint[];
    finished bigint[];
    gone bigint;
    r record;
BEGIN
{begin}    -- What was sent in this turn lies in its slot, but for a few.
    SELECT k.ordered OR (k.dead_queue IS NOT NULL AND 0 <> ANY (p_verdicts)), 0 = ALL (p_verdicts), k.capacity IS NOT NULL,
           CASE WHEN w.first_seq <= ALL (p_seqs) THEN w.slot END,
           array_fill(4::smallint, ARRAY[cardinality(p_seqs)]), 0
      INTO needs_locks, is_complete, is_counted, slot, states, woken
      FROM queues AS k, rotation AS w WHERE k.id = p_queue;
    IF NOT FOUND THEN
        states := array_fill(4::smallint, ARRAY[cardinality(p_seqs)]);
        outcomes := states;
        woken := 0;
        RETURN;
    END IF;
    IF needs_locks THEN
        PERFORM lock_lanes(settle_locks(p_queue, p_seqs));
    END IF;
    IF is_complete THEN
        -- What is nearly always so: every fence is that of its task's newest delivery, and all are completed.
        -- The rest, if there is any, is looked at below.
{finish}    END IF;
    IF cardinality(finished) = cardinality(p_seqs) THEN
        outcomes := array_fill(0::smallint, ARRAY[cardinality(p_seqs)]);
        IF lanes IS NOT NULL THEN
            SELECT sum(refresh_lane(p_queue, l.lane, clock_timestamp())) INTO woken
              FROM (SELECT DISTINCT u.lane FROM unnest(lanes) AS u (lane)) AS l;
        END IF;
        RETURN;
    END IF;
    SELECT * INTO q FROM queues AS k WHERE k.id = p_queue;
    IF finished IS NULL THEN
        -- WHY: only then. Where some were deleted rows are held already, and what is left of such a batch was
        -- not there to be deleted and never will be.
        PERFORM FROM tasks AS t WHERE t.seq = ANY (p_seqs) ORDER BY t.seq FOR UPDATE;
    END IF;
    now := clock_timestamp();
    -- outcome 9: the same fence stands earlier in the batch.
    SELECT array_agg(CASE
               WHEN u.nth > 1 THEN 9
               WHEN u.fence = ANY (finished) THEN 0
               WHEN s.outcome IS NOT NULL THEN s.outcome
               WHEN t.seq IS NULL THEN 4
               WHEN t.fence <> u.fence THEN 3
               WHEN t.settled THEN 4
               WHEN t.state = 3 THEN 2
               ELSE 0 END::smallint ORDER BY u.ord)
      INTO outcomes
      FROM (SELECT g.*, row_number() OVER (PARTITION BY g.fence ORDER BY g.ord) AS nth
              FROM unnest(p_seqs, p_fences) WITH ORDINALITY AS g (seq, fence, ord)) AS u
      LEFT JOIN LATERAL (SELECT e.outcome FROM settled AS e
                          WHERE e.fence = u.fence AND e.at > now - interval '5 minutes' LIMIT 1) AS s ON true
      LEFT JOIN tasks AS t ON t.seq = u.seq AND t.queue_id = p_queue;
    WITH done AS (
        DELETE FROM tasks AS t USING unnest(p_seqs, outcomes, p_verdicts) AS u (seq, outcome, verdict)
         WHERE t.seq = u.seq AND u.outcome = 0 AND u.verdict = 0
     RETURNING t.seq, t.lane, t.unique_key),
    freed AS (
        DELETE FROM dedup AS d USING done
         WHERE done.unique_key IS NOT NULL AND d.queue_id = p_queue AND d.key = done.unique_key
           AND d.seq = done.seq AND d.until IS NULL)
    SELECT count(*), lanes || array_agg(done.lane) FILTER (WHERE done.lane IS NOT NULL) INTO gone, lanes FROM done;
    FOR r IN SELECT u.ord, u.verdict, u.after, u.text, t.seq, t.lane, t.deliveries - t.uncounted AS attempts
               FROM unnest(p_seqs, outcomes, p_verdicts, p_afters, p_texts) WITH ORDINALITY
                    AS u (seq, outcome, verdict, after, text, ord)
               JOIN tasks AS t ON t.seq = u.seq
              WHERE u.outcome = 0 AND u.verdict <> 0 ORDER BY u.ord
    LOOP
        IF r.verdict = 1 THEN
            UPDATE tasks AS t SET last_error = r.text WHERE t.seq = r.seq;
        END IF;
        IF r.verdict = 3 OR (r.verdict = 1 AND r.attempts >= q.max_attempts) THEN
            PERFORM die(q, r.seq, CASE r.verdict WHEN 3 THEN r.text ELSE 'attempts exhausted' END, now);
            states[r.ord] := 3;
        ELSE
            states[r.ord] := come_back(q, r.seq, r.after, r.verdict = 2, now);
            gone := gone + (states[r.ord] = 4)::integer;
            woken := woken + (states[r.ord] = 0 AND r.lane IS NULL)::integer;
        END IF;
        IF r.lane IS NOT NULL THEN
            lanes := lanes || r.lane;
        END IF;
    END LOOP;
    PERFORM count_change(p_queue, -gone);
    PERFORM remember(ARRAY(SELECT u.fence FROM unnest(p_fences, outcomes) AS u (fence, outcome)
                            WHERE u.outcome = 0 AND u.fence <> ALL (coalesce(finished, '{}'))), 1::smallint, now);
    IF lanes IS NOT NULL THEN
        SELECT woken + sum(refresh_lane(p_queue, l.lane, now)) INTO woken
          FROM (SELECT DISTINCT u.lane FROM unnest(lanes) AS u (lane)) AS l;
    END IF;
    IF 9 = ANY (outcomes) THEN
        SELECT array_agg(CASE WHEN u.outcome <> 9 THEN u.outcome
                              WHEN (SELECT f.outcome FROM unnest(p_fences, outcomes) AS f (fence, outcome)
                                     WHERE f.fence = u.fence AND f.outcome <> 9 LIMIT 1) = 0 THEN 1
                              ELSE (SELECT f.outcome FROM unnest(p_fences, outcomes) AS f (fence, outcome)
                                     WHERE f.fence = u.fence AND f.outcome <> 9 LIMIT 1) END::smallint ORDER BY u.ord)
          INTO outcomes
          FROM unnest(p_fences, outcomes) WITH ORDINALITY AS u (fence, outcome, ord);
    END IF;
END $text$;
    complete text := $text$
DECLARE
    is_one constant boolean := cardinality(p_seqs) = 1;
    is_counted boolean;
    slot smallint;
    now timestamptz;
    lanes text[];
    keys text[];
    seqs bigint[];
    finished bigint[];
BEGIN
{begin}    SELECT k.capacity IS NOT NULL, CASE WHEN w.first_seq <= ALL (p_seqs) THEN w.slot END INTO is_counted, slot
      FROM queues AS k, rotation AS w WHERE k.id = p_queue AND NOT k.ordered;
    IF FOUND THEN
{finish}
    END IF;
    RETURN CASE WHEN cardinality(finished) = cardinality(p_seqs) THEN NULL ELSE coalesce(finished, '{}') END;
END $text$;
    all_slots text := finish;
BEGIN
    FOR n IN 0..2 LOOP
        -- In the order of their sequences, as the index has them. A fence is of one task only.
        all_slots := replace(all_slots, format('{slot %s}', n), replace(replace(in_slot, '{table}', format('tasks_%s', n)),
            '{which}', 'WHERE t.seq = ANY (p_seqs) AND t.fence = ANY (p_fences)'));
    END LOOP;
    all_slots := replace(all_slots, '{any slot}', replace(replace(in_slot, '{table}', 'tasks'), '{which}',
        'USING (SELECT g.seq, g.fence FROM unnest(p_seqs, p_fences) AS g (seq, fence) ORDER BY g.seq) AS u
                 WHERE t.seq = u.seq AND t.fence = u.fence'));
    settle := replace(replace(settle, '{begin}', begin_call), '{finish}', replace(all_slots, '{if free}', ''));
    complete := replace(replace(complete, '{begin}', begin_call), '{finish}', replace(all_slots, '{if free}',
        'AND (t.xmax = 0 OR t.xmax = t.xmin OR age(t.xmax) > age(pg_snapshot_xmin(pg_current_snapshot())::xid))'));
    EXECUTE format($text$
CREATE FUNCTION settle(p_queue bigint, p_seqs bigint[], p_fences bigint[], p_verdicts smallint[],
                       p_afters bigint[], p_texts text[],
                       OUT outcomes smallint[], OUT states smallint[], OUT woken integer)
LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS %L$text$, settle);
    EXECUTE format($text$
CREATE FUNCTION complete(p_queue bigint, p_seqs bigint[], p_fences bigint[]) RETURNS bigint[]
LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS %L$text$, complete);
END $make$;

-- The locks of the lanes that settling these tasks may touch, in their queue and in its dead-letter queue.
CREATE FUNCTION settle_locks(p_queue bigint, p_seqs bigint[]) RETURNS integer[] LANGUAGE sql STABLE AS $$
    SELECT array_agg(l.number) FROM (
        SELECT lane_lock(p_queue, t.lane) AS number FROM tasks AS t
         WHERE t.seq = ANY (p_seqs) AND t.queue_id = p_queue AND t.lane IS NOT NULL
         UNION
        SELECT lane_lock(d.id, t.key) FROM tasks AS t, queues AS q, queues AS d
         WHERE t.seq = ANY (p_seqs) AND t.queue_id = p_queue AND t.key IS NOT NULL
           AND q.id = p_queue AND d.name = q.dead_queue AND d.ordered) AS l
$$;

-- Takes every lock that settling a task and enqueueing what follows needs, before anything is changed:
-- the lanes, then the gates of the queues that are bounded. p_queues and p_keys: one entry a task.
CREATE FUNCTION lock_step(p_queue bigint, p_seq bigint, p_queues bigint[], p_keys text[]) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
AS $$
BEGIN
    PERFORM keep_queues(p_queue || p_queues);
    PERFORM lock_lanes(settle_locks(p_queue, ARRAY[p_seq]) || ARRAY(
        SELECT lane_lock(q.id, u.key) FROM unnest(p_queues, p_keys) AS u (queue, key)
          JOIN queues AS q ON q.id = u.queue
         WHERE q.ordered AND u.key IS NOT NULL));
    PERFORM pg_advisory_xact_lock(lock_space() + 1, (g.id % 134217728)::integer)
       FROM (SELECT q.id FROM queues AS q WHERE q.id = ANY (p_queues) AND q.capacity IS NOT NULL ORDER BY q.id) AS g;
END $$;

-- Gives a task back, at once or after `p_after` microseconds. Returns its state, or 4 if it was dropped
-- because it is too old.
CREATE FUNCTION come_back(q queues, p_seq bigint, p_after bigint, p_is_release boolean, p_now timestamptz)
RETURNS smallint LANGUAGE plpgsql AS $$
DECLARE
    t record;
BEGIN
    SELECT e.unique_key, e.entered_at, e.lane INTO t FROM tasks AS e WHERE e.seq = p_seq;
    IF t.entered_at <= p_now - q.retention THEN
        DELETE FROM tasks WHERE seq = p_seq;
        IF t.unique_key IS NOT NULL THEN
            PERFORM free_key(q.id, t.unique_key, p_seq);
        END IF;
        RETURN 4;
    END IF;
    UPDATE tasks SET settled = true, holder = NULL, state = (p_after > 0)::integer,
           uncounted = uncounted + p_is_release::integer,
           tx = CASE WHEN p_after = 0 AND t.lane IS NULL THEN pg_current_xact_id() END, since = p_now,
           until = CASE WHEN p_after > 0 THEN p_now + p_after * interval '1 microsecond' END
     WHERE seq = p_seq;
    RETURN (p_after > 0)::integer;
END $$;

-- Gives live leases this many microseconds from now. Returns one outcome each, as of `settle`, in order.
CREATE FUNCTION extend(p_queue bigint, p_seqs bigint[], p_fences bigint[], p_lengths bigint[])
RETURNS TABLE (outcome smallint)
LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    now timestamptz;
    live bigint[];
BEGIN
    PERFORM FROM tasks AS t WHERE t.seq = ANY (p_seqs) ORDER BY t.seq FOR UPDATE;
    now := clock_timestamp();
    WITH longer AS (
        UPDATE tasks AS t SET until = now + u.length * interval '1 microsecond'
          FROM (SELECT DISTINCT ON (g.fence) g.* FROM unnest(p_seqs, p_fences, p_lengths) WITH ORDINALITY
                       AS g (seq, fence, length, ord) ORDER BY g.fence, g.ord DESC) AS u
         WHERE t.seq = u.seq AND t.queue_id = p_queue AND t.fence = u.fence AND NOT t.settled
           AND t.state = 2 AND t.until > now
     RETURNING t.fence)
    SELECT coalesce(array_agg(longer.fence), '{}') INTO live FROM longer;
    RETURN QUERY
    SELECT CASE
               WHEN u.fence = ANY (live) THEN 0
               WHEN s.outcome IS NOT NULL THEN s.outcome
               WHEN t.seq IS NULL THEN 4
               WHEN t.fence <> u.fence THEN 3
               WHEN t.settled THEN 4
               ELSE 2 END::smallint
      FROM unnest(p_seqs, p_fences) WITH ORDINALITY AS u (seq, fence, ord)
      LEFT JOIN LATERAL (SELECT e.outcome FROM settled AS e
                          WHERE e.fence = u.fence AND e.at > now - interval '5 minutes' LIMIT 1) AS s ON true
      LEFT JOIN tasks AS t ON t.seq = u.seq AND t.queue_id = p_queue
     ORDER BY u.ord;
END $$;

-- Gives back every live lease of a session, unharmed. Returns how many tasks became available.
CREATE FUNCTION release_held(p_queue bigint, p_session bigint) RETURNS bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
AS $$
DECLARE
    seqs bigint[];
    fences bigint[];
    made integer;
BEGIN
    SELECT array_agg(t.seq ORDER BY t.seq), array_agg(t.fence ORDER BY t.seq) INTO seqs, fences FROM tasks AS t
     WHERE t.queue_id = p_queue AND t.until > clock_timestamp() AND t.state = 2 AND t.holder = p_session;
    IF seqs IS NULL THEN
        RETURN 0;
    END IF;
    SELECT max(s.woken) INTO made
      FROM settle(p_queue, seqs, fences, array_fill(2::smallint, ARRAY[cardinality(seqs)]),
                  array_fill(0::bigint, ARRAY[cardinality(seqs)]),
                  array_fill(NULL::text, ARRAY[cardinality(seqs)])) AS s;
    RETURN made;
END $$;
