//! The statements that are sent. Each calls one function of the schema.

/// A statement that is called for every task.
pub(crate) struct Frequent {
    /// For any connection.
    pub(crate) anywhere: String,
    /// For one that has [`Statements::settings`]: it calls a function that has none of its own.
    pub(crate) bare: String,
}

impl Frequent {
    fn of(function: &str, text: &str) -> Self {
        let bare = text.replace(&format!(".{function}("), &format!(".{function}_bare("));
        Self { anywhere: text.to_owned(), bare }
    }
}

/// The statements, with the schema's name in place.
pub(crate) struct Statements {
    pub(crate) schema: String,
    /// What a connection is set to that nobody else uses: as the functions are.
    pub(crate) settings: String,
    pub(crate) enqueue: Frequent,
    pub(crate) add_priority: String,
    pub(crate) claim: Frequent,
    pub(crate) next_due: String,
    pub(crate) horizon: String,
    pub(crate) lock_step: String,
    pub(crate) settle: Frequent,
    pub(crate) complete: Frequent,
    pub(crate) extend: String,
    pub(crate) release_held: String,
    pub(crate) session: String,
    pub(crate) queue: String,
    pub(crate) queue_exists: String,
    pub(crate) queues: String,
    pub(crate) declare_lock: String,
    pub(crate) add_queue: String,
    pub(crate) change_queue: String,
    pub(crate) start_aging: String,
    pub(crate) start_counting: String,
    pub(crate) pause: String,
    pub(crate) remove_queue: String,
    pub(crate) purge: String,
    pub(crate) purge_dead: String,
    pub(crate) redrive: String,
    pub(crate) advance: String,
    pub(crate) stats: String,
    pub(crate) peek: String,
    pub(crate) list: String,
    pub(crate) find: String,
    pub(crate) dead: String,
    pub(crate) upkeep: String,
    pub(crate) park: String,
    pub(crate) rotate: String,
}

impl Statements {
    pub(crate) fn new(schema: &str) -> Self {
        let schema = format!("\"{schema}\"");
        let in_schema = |text: &str| text.replace("{schema}", &schema);
        let frequent = |name: &str, text: &str| Frequent::of(name, &in_schema(text));
        let view = |call: &str| {
            in_schema(include_str!("../sql/view.sql"))
                .replace("{call}", &format!("{schema}.{call}"))
        };
        Self {
            settings: in_schema(include_str!("../sql/settings.sql")),
            enqueue: frequent(
                "enqueue",
                "SELECT outcomes, ids, seqs \
                 FROM {schema}.enqueue($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            ),
            add_priority: in_schema(include_str!("../sql/add_priority.sql")),
            claim: frequent("claim", include_str!("../sql/claim.sql")),
            next_due: in_schema("SELECT {schema}.next_due($1, $2)"),
            horizon: in_schema(
                "SELECT priorities, lows, open FROM {schema}.horizon($1, $2, $3, $4)",
            ),
            settle: frequent(
                "settle",
                "SELECT outcomes, states, woken FROM {schema}.settle($1, $2, $3, $4, $5, $6)",
            ),
            complete: frequent("complete", "SELECT {schema}.complete($1, $2, $3)"),
            lock_step: in_schema("SELECT {schema}.lock_step($1, $2, $3, $4)"),
            extend: in_schema("SELECT outcome FROM {schema}.extend($1, $2, $3, $4)"),
            release_held: in_schema("SELECT {schema}.release_held($1, $2)"),
            session: in_schema("SELECT nextval('{schema}.session_sequence')"),
            queue: in_schema("SELECT id, spec FROM {schema}.queues WHERE name = $1"),
            queue_exists: in_schema("SELECT FROM {schema}.queues WHERE id = ANY ($1)"),
            queues: in_schema("SELECT name, spec FROM {schema}.queues ORDER BY name"),
            declare_lock: in_schema(
                "SELECT pg_advisory_xact_lock(hashtext('tidegate declare {schema}'), 0)",
            ),
            add_queue: in_schema(include_str!("../sql/add_queue.sql")),
            change_queue: in_schema(include_str!("../sql/change_queue.sql")),
            start_counting: in_schema("SELECT {schema}.start_counting($1)"),
            start_aging: in_schema(include_str!("../sql/start_aging.sql")),
            pause: in_schema("UPDATE {schema}.queues SET paused = $2 WHERE id = $1 RETURNING id"),
            remove_queue: in_schema("SELECT {schema}.remove_queue($1)"),
            purge: in_schema("SELECT {schema}.purge($1)"),
            purge_dead: in_schema("SELECT {schema}.purge_dead($1, $2, $3)"),
            redrive: in_schema("SELECT {schema}.redrive($1, $2, $3)"),
            advance: in_schema("SELECT woken, is_done FROM {schema}.advance($1, NULL, true)"),
            stats: in_schema(
                "SELECT ready, scheduled, leased, dead, oldest, paused FROM {schema}.stats($1)",
            ),
            peek: view("peek($1, $2)"),
            list: view("list($1, $2, $3, $4)"),
            find: view("find($1, $2)"),
            dead: view("dead($1, $2, $3)"),
            upkeep: in_schema("SELECT {schema}.upkeep($1)"),
            park: in_schema("SELECT {schema}.park($1)"),
            rotate: in_schema("SELECT {schema}.rotate($1)"),
            schema,
        }
    }
}
