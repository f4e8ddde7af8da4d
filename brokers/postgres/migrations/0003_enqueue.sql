-- Input:     the functions of 0002.
-- Output:    `enqueue`.
-- Guarantee: all or nothing of what it answers is done; capacity is exact unless it is asked to be soft.

-- How many of `p_n` tasks a queue has room for. Null if that must be asked again exactly.
--
-- p_admission: 0 at the turnstiles, 1 exactly, 2 softly, without any lock.
--
-- Exactly: the gate of the queue is closed for all others, and what is live is counted. At the
-- turnstiles, while the queue is far from full: a sender holds the gate open and one of 16 turnstiles,
-- and adds at most a 64th of the capacity.
-- INVARIANT: a sender at a turnstile counts after it has got it, and goes on only if 16 such shares
-- fit. What it has not seen is of the 15 others, a share at most each; whoever comes later counts for
-- himself. So the capacity is never exceeded, and senders need not wait for each other's commits.
CREATE FUNCTION admit(p_queue bigint, p_capacity bigint, p_admission smallint, p_n bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    share bigint := p_capacity / 64;
    first integer := floor(random() * 16);
    turnstile integer;
BEGIN
    IF p_admission = 1 THEN
        PERFORM pg_advisory_xact_lock(lock_space() + 1, (p_queue % 134217728)::integer);
    ELSIF p_admission = 0 THEN
        IF p_n > share OR live(p_queue) + 16 * share > p_capacity THEN
            RETURN NULL;
        END IF;
        PERFORM pg_advisory_xact_lock_shared(lock_space() + 1, (p_queue % 134217728)::integer);
        FOR step IN 0..16 LOOP
            turnstile := (p_queue % 134217728) * 16 + (first + step) % 16;
            IF step = 16 THEN
                PERFORM pg_advisory_xact_lock(lock_space() + 2, turnstile);
            ELSE
                EXIT WHEN pg_try_advisory_xact_lock(lock_space() + 2, turnstile);
            END IF;
        END LOOP;
        IF live(p_queue) + 16 * share > p_capacity THEN
            RETURN NULL;
        END IF;
        RETURN p_n;
    END IF;
    RETURN greatest(p_capacity - live(p_queue), 0);
END $$;

-- Takes the dedup keys that are free, and tells for each task who holds its key. Keys are taken in
-- their order, so that two batches cannot wait for each other.
CREATE FUNCTION take_keys(p_queue bigint, p_ids uuid[], p_seqs bigint[], p_keys text[], p_windows bigint[],
                          p_now timestamptz, OUT held_ids uuid[], OUT held_seqs bigint[])
LANGUAGE plpgsql AS $$
DECLARE
    is_missing boolean;
BEGIN
    FOR round IN 1..100 LOOP
        DELETE FROM dedup AS d
         WHERE d.queue_id = p_queue AND d.until <= p_now
           AND d.key IN (SELECT e.key FROM dedup AS e
                          WHERE e.queue_id = p_queue AND e.key = ANY (p_keys) AND e.until <= p_now
                          ORDER BY e.key FOR UPDATE);
        INSERT INTO dedup (queue_id, key, id, seq, until)
        SELECT p_queue, f.key, p_ids[f.ord], p_seqs[f.ord], p_now + p_windows[f.ord] * interval '1 microsecond'
          FROM (SELECT DISTINCT ON (u.key) u.key, u.ord FROM unnest(p_keys) WITH ORDINALITY AS u (key, ord)
                 WHERE u.key IS NOT NULL ORDER BY u.key, u.ord) AS f
         ORDER BY f.key
            ON CONFLICT DO NOTHING;
        -- A statement of its own, so that it sees what another has committed meanwhile.
        SELECT array_agg(d.id ORDER BY u.ord), array_agg(d.seq ORDER BY u.ord),
               bool_or(u.key IS NOT NULL AND d.seq IS NULL)
          INTO held_ids, held_seqs, is_missing
          FROM unnest(p_keys) WITH ORDINALITY AS u (key, ord)
          LEFT JOIN dedup AS d ON d.queue_id = p_queue AND d.key = u.key;
        EXIT WHEN NOT is_missing;
    END LOOP;
    IF is_missing THEN
        RAISE EXCEPTION 'dedup keys change hands too fast' USING ERRCODE = '40001';
    END IF;
END $$;

-- Enqueues tasks, given as one array a field.
--
-- p_admission: as of `admit`.
-- Returns an entry a task, in order. outcomes: 0 enqueued, 1 a duplicate (with the id and sequence of the
-- earlier task), 2 the queue is full, 3 nothing was done: ask again exactly. Null: no such queue. ids: null if
-- they are those that were given.
--
-- WHY: arrays, and as few statements and expressions as there can be: what they cost to begin is most of a call.
CREATE FUNCTION enqueue(p_queue bigint, p_admission smallint, p_ids uuid[], p_kinds text[], p_payloads bytea[],
                        p_headers text[], p_delays bigint[], p_priorities smallint[], p_keys text[],
                        p_unique text[], p_windows bigint[],
                        OUT outcomes smallint[], OUT ids uuid[], OUT seqs bigint[])
LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    q record;
    count bigint;
    room bigint;
    xid xid8;
    now timestamptz;
    held_ids uuid[];
    held_seqs bigint[];
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM refuse_isolation();
    END IF;
    IF NOT pg_try_advisory_xact_lock_shared(lock_space() + 4, (p_queue % 134217728)::integer) THEN
        PERFORM keep_queues(ARRAY[p_queue]);
    END IF;
    SELECT k.ordered, k.capacity, k.retention IS NOT NULL AS is_aging, w.slot, cardinality(p_ids) AS count,
           k.ordered OR k.capacity IS NOT NULL AS needs_locks,
           NOT k.ordered AND array_remove(p_unique, NULL) = '{}' AS is_plain
      INTO q FROM queues AS k, rotation AS w WHERE k.id = p_queue;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF q.needs_locks THEN
        IF q.ordered THEN
            PERFORM lock_lanes(ARRAY(SELECT lane_lock(p_queue, u.key) FROM unnest(p_keys) AS u (key)
                                      WHERE u.key IS NOT NULL));
        END IF;
        IF q.capacity IS NOT NULL THEN
            room := admit(p_queue, q.capacity, p_admission, q.count);
            IF room IS NULL THEN
                outcomes := array_fill(3::smallint, ARRAY[q.count]);
                seqs := array_fill(0::bigint, ARRAY[q.count]);
                RETURN;
            END IF;
        END IF;
    END IF;
    -- The number of the transaction before the time: whoever has seen it end has a later time.
    xid := pg_current_xact_id();
    now := clock_timestamp();
    IF q.is_plain AND (room IS NULL OR room >= q.count) THEN
        IF q.count = 1 THEN
            seqs := ARRAY[nextval('task_sequence')];
            INSERT INTO tasks (slot, state, priority, aging, seq, queue_id, place, tx, since, until, entered_at,
                               enqueued_at, id, kind, key, headers, payload)
            VALUES (q.slot, (p_delays[1] > 0)::integer, p_priorities[1], q.is_aging, seqs[1], p_queue, seqs[1],
                    CASE WHEN p_delays[1] = 0 THEN xid END,
                    now, CASE WHEN p_delays[1] > 0 THEN now + p_delays[1] * interval '1 microsecond' END, now, now,
                    p_ids[1], p_kinds[1], p_keys[1], p_headers[1]::json, p_payloads[1]);
            outcomes := '{0}';
        ELSE
            WITH put AS (
                INSERT INTO tasks (slot, state, priority, aging, seq, queue_id, place, tx, since, until, entered_at,
                                   enqueued_at, id, kind, key, headers, payload)
                SELECT q.slot, (u.delay > 0)::integer, u.priority, q.is_aging, u.seq, p_queue, u.seq,
                       CASE WHEN u.delay = 0 THEN xid END,
                       now, CASE WHEN u.delay > 0 THEN now + u.delay * interval '1 microsecond' END, now, now,
                       u.id, u.kind, u.key, u.headers::json, u.payload
                  -- WHY: not in FROM, where each array would be written down first.
                  FROM (SELECT nextval('task_sequence') AS seq, unnest(p_ids) AS id, unnest(p_kinds) AS kind,
                               unnest(p_payloads) AS payload, unnest(p_headers) AS headers, unnest(p_delays) AS delay,
                               unnest(p_priorities) AS priority, unnest(p_keys) AS key) AS u
             RETURNING seq)
            SELECT coalesce(array_agg(put.seq), '{}'), array_fill(0::smallint, ARRAY[q.count]) INTO seqs, outcomes FROM put;
        END IF;
        IF q.capacity IS NOT NULL THEN
            INSERT INTO changes (queue_id, tx, n) VALUES (p_queue, xid, q.count);
        END IF;
        RETURN;
    END IF;
    count := q.count;
    room := coalesce(room, count);
    seqs := ARRAY(SELECT nextval('task_sequence') FROM generate_series(1, count));
    IF array_remove(p_unique, NULL) <> '{}' THEN
        SELECT k.held_ids, k.held_seqs INTO held_ids, held_seqs
          FROM take_keys(p_queue, p_ids, seqs, p_unique, p_windows, now) AS k;
    END IF;
    IF held_seqs IS NULL AND room >= count THEN
        outcomes := array_fill(0::smallint, ARRAY[count::integer]);
    ELSE
        -- A duplicate needs no room; of the others the first ones have it.
        SELECT array_agg(CASE WHEN d.is_dup THEN 1 WHEN d.nth > room THEN 2 ELSE 0 END::smallint ORDER BY d.ord)
          INTO outcomes
          FROM (SELECT e.ord, e.is_dup, sum((NOT e.is_dup)::integer) OVER (ORDER BY e.ord) AS nth
                  FROM (SELECT u.ord, coalesce(u.held <> u.own, false) AS is_dup
                          FROM unnest(seqs, held_seqs) WITH ORDINALITY AS u (own, held, ord)) AS e) AS d;
    END IF;
    IF held_seqs IS NOT NULL AND 2 = ANY (outcomes) THEN
        -- The duplicate of one that has no room has none either.
        SELECT array_agg(CASE WHEN u.outcome = 1 AND f.outcome = 2 THEN 2 ELSE u.outcome END::smallint ORDER BY u.ord)
          INTO outcomes
          FROM unnest(outcomes, held_seqs) WITH ORDINALITY AS u (outcome, held, ord)
          LEFT JOIN unnest(outcomes, seqs) AS f (outcome, own) ON f.own = u.held;
        DELETE FROM dedup AS d
         USING unnest(outcomes, p_unique, seqs) AS u (outcome, key, own)
         WHERE u.outcome = 2 AND d.queue_id = p_queue AND d.key = u.key AND d.seq = u.own;
    END IF;
    INSERT INTO tasks (slot, state, priority, aging, seq, queue_id, place, tx, since, until, entered_at,
                       enqueued_at, id, kind, key, lane, unique_key, headers, payload)
    SELECT q.slot, (u.delay > 0)::integer, u.priority, q.is_aging,
           u.own, p_queue, u.own,
           CASE WHEN u.delay = 0 AND (NOT q.ordered OR u.key IS NULL) THEN xid END,
           now, CASE WHEN u.delay > 0 THEN now + u.delay * interval '1 microsecond' END, now, now,
           u.id, u.kind, u.key, CASE WHEN q.ordered THEN u.key END,
           CASE WHEN u.span IS NULL THEN u.name END, u.headers::json, u.payload
      FROM (SELECT unnest(outcomes) AS outcome, unnest(seqs) AS own, unnest(p_ids) AS id, unnest(p_kinds) AS kind,
                   unnest(p_payloads) AS payload, unnest(p_headers) AS headers, unnest(p_delays) AS delay,
                   unnest(p_priorities) AS priority, unnest(p_keys) AS key, unnest(p_unique) AS name,
                   unnest(p_windows) AS span) AS u
     WHERE u.outcome = 0;
    IF q.capacity IS NOT NULL THEN
        GET DIAGNOSTICS count = ROW_COUNT;
        INSERT INTO changes (queue_id, tx, n) SELECT p_queue, xid, count WHERE count > 0;
    END IF;
    IF q.ordered THEN
        PERFORM refresh_lane(p_queue, l.key, now)
           FROM (SELECT DISTINCT u.key FROM unnest(p_keys, outcomes) AS u (key, outcome)
                  WHERE u.key IS NOT NULL AND u.outcome = 0) AS l;
    END IF;
    IF held_seqs IS NOT NULL THEN
        SELECT array_agg(CASE WHEN u.outcome = 1 THEN u.held_id ELSE u.id END ORDER BY u.ord),
               array_agg(CASE WHEN u.outcome = 1 THEN u.held ELSE u.own END ORDER BY u.ord)
          INTO ids, seqs
          FROM unnest(outcomes, p_ids, held_ids, seqs, held_seqs) WITH ORDINALITY
               AS u (outcome, id, held_id, own, held, ord);
    END IF;
END $$;
