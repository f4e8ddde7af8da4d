-- Input:     an empty schema, first in the search path.
-- Output:    the tables, their indexes, and the three sequences.
-- Guarantee: nothing outside of the schema is touched.

-- A number never used twice, for tasks and for their places in a lane; one for fences; one for sessions.
CREATE SEQUENCE task_sequence;
CREATE SEQUENCE fence_sequence;
CREATE SEQUENCE session_sequence;

-- One row for each queue. `spec` is the whole of it as JSON; the columns are what the functions read.
--
-- priorities: those that it has seen, highest first. A claim asks for each in turn, so that it can begin where the
-- last one ended; with few of them that is cheaper than a walk over all.
CREATE TABLE queues (
    id            bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          text    COLLATE "C" NOT NULL UNIQUE,
    spec          text    NOT NULL,
    ordered       boolean NOT NULL,
    capacity      bigint,
    lease         interval NOT NULL,
    max_attempts  bigint  NOT NULL,
    retention     interval,
    dead_queue    text    COLLATE "C",
    dead_kept     interval NOT NULL,
    paused        boolean NOT NULL DEFAULT false,
    priorities    smallint[] NOT NULL DEFAULT '{0}'
);

-- All tasks. `slot` is where a row lies: three slots are written in turn and emptied in turn, so that
-- what is gone takes no room for longer than a turn; slot 3 is where those lie that stay for long.
--
-- state:  0 ready, 1 scheduled, 2 leased, 3 dead
-- tx:     the transaction that made it available; null while it is not. A queue is read in this order.
-- since:  when it became available.
-- until:  when it becomes ready (scheduled) or its lease ends (leased).
-- lane:   its ordering key, while it lives in an ordered queue.
-- place:  its place in the lane.
-- moved:  its dead letter, if it was moved here.
-- source, reason, dead_error, attempts, died_at: its dead letter, wherever it lies.
CREATE TABLE tasks (
    slot        smallint    NOT NULL,
    state       smallint    NOT NULL,
    priority    smallint    NOT NULL,
    settled     boolean     NOT NULL DEFAULT false,
    aging       boolean     NOT NULL,
    seq         bigint      NOT NULL,
    queue_id    bigint      NOT NULL,
    place       bigint      NOT NULL,
    fence       bigint      NOT NULL DEFAULT 0,
    tx          xid8,
    since       timestamptz NOT NULL,
    until       timestamptz,
    holder      bigint,
    entered_at  timestamptz NOT NULL,
    enqueued_at timestamptz NOT NULL,
    deliveries  integer     NOT NULL DEFAULT 0,
    uncounted   integer     NOT NULL DEFAULT 0,
    id          uuid        NOT NULL,
    kind        text        NOT NULL,
    key         text        COLLATE "C",
    lane        text        COLLATE "C",
    unique_key  text        COLLATE "C",
    headers     json,
    last_error  text,
    source      text        COLLATE "C",
    reason      text,
    dead_error  text,
    attempts    integer,
    died_at     timestamptz,
    moved       json,
    payload     bytea       NOT NULL
) PARTITION BY LIST (slot);

CREATE TABLE tasks_0 PARTITION OF tasks FOR VALUES IN (0) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE TABLE tasks_1 PARTITION OF tasks FOR VALUES IN (1) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE TABLE tasks_2 PARTITION OF tasks FOR VALUES IN (2) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE TABLE tasks_3 PARTITION OF tasks FOR VALUES IN (3) WITH (autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX tasks_by_seq ON tasks (seq);
-- WHY: not of leased ones, whose entry each claim would write anew; `find` looks for them among the timers.
CREATE INDEX tasks_by_id ON tasks (id) WHERE state <> 2;
CREATE INDEX tasks_available ON tasks (queue_id, priority, tx, since, place) WHERE tx IS NOT NULL;
CREATE INDEX tasks_timers ON tasks (queue_id, until) WHERE until IS NOT NULL;
CREATE INDEX tasks_lanes ON tasks (queue_id, lane, place) WHERE lane IS NOT NULL;
CREATE INDEX tasks_lanes_held ON tasks (queue_id, lane) WHERE lane IS NOT NULL AND state = 2;
CREATE INDEX tasks_aging ON tasks (queue_id, entered_at) WHERE aging AND state <> 3;
CREATE INDEX tasks_dead ON tasks (queue_id, source, died_at) WHERE died_at IS NOT NULL;

-- The slot that is written, and the first sequence of its turn. One row.
CREATE TABLE rotation (
    slot      smallint NOT NULL,
    first_seq bigint   NOT NULL
);
INSERT INTO rotation VALUES (0, 1);

-- Dedup keys that are held. `until` is null while they are held until their task is done.
CREATE TABLE dedup (
    queue_id bigint NOT NULL,
    key      text   COLLATE "C" NOT NULL,
    id       uuid   NOT NULL,
    seq      bigint NOT NULL,
    until    timestamptz,
    PRIMARY KEY (queue_id, key)
);
CREATE INDEX dedup_ends ON dedup (until) WHERE until IS NOT NULL;

-- Fences whose delivery is over, and how: 1 settled, 2 died as its lease ended. Told for five minutes;
-- three slots of five minutes each are written in turn.
CREATE TABLE settled (
    slot     smallint    NOT NULL,
    outcome  smallint    NOT NULL,
    fence    bigint      NOT NULL,
    at       timestamptz NOT NULL
) PARTITION BY LIST (slot);
CREATE TABLE settled_0 PARTITION OF settled FOR VALUES IN (0);
CREATE TABLE settled_1 PARTITION OF settled FOR VALUES IN (1);
CREATE TABLE settled_2 PARTITION OF settled FOR VALUES IN (2);
CREATE INDEX settled_by_fence ON settled (fence);

-- Receives that have a name, with the tasks they handed out and when the leases of those end. Known until
-- `until`; then the same name is another receive.
CREATE TABLE attempts (
    queue_id bigint      NOT NULL,
    name     bytea       NOT NULL,
    seqs     bigint[]    NOT NULL,
    fences   bigint[]    NOT NULL,
    ends     timestamptz NOT NULL,
    until    timestamptz NOT NULL,
    PRIMARY KEY (queue_id, name)
);
CREATE INDEX attempts_end ON attempts (until);

-- How many live tasks a queue has: the newest base, and what was added and taken away by transactions
-- that its snapshot has not seen. Rows are only ever added, and old ones deleted together.
CREATE TABLE bases (
    queue_id bigint      NOT NULL,
    n        bigint      GENERATED ALWAYS AS IDENTITY,
    live     bigint      NOT NULL,
    seen     pg_snapshot NOT NULL,
    PRIMARY KEY (queue_id, n)
);
CREATE TABLE changes (
    queue_id bigint NOT NULL,
    tx       xid8   NOT NULL,
    n        bigint NOT NULL
);
CREATE INDEX changes_by_tx ON changes (queue_id, tx);
