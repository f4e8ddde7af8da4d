//! The scripts, put together from their files.

use std::sync::LazyLock;

/// A script.
pub(crate) struct Script {
    pub(crate) code: String,
    /// What servers that know it call it.
    pub(crate) hash: String,
    pub(crate) replicas: Replicas,
}

/// Whether what a script has done is answered before replicas have it, where the configuration wants them to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replicas {
    /// An answer is a promise.
    Have,
    /// Nothing was changed, or no task is lost with it.
    MayLack,
}

impl Script {
    fn new(code: String, replicas: Replicas) -> Self {
        let hash = redis::Script::new(&code).get_hash().to_owned();
        Self { code, hash, replicas }
    }
}

/// What a task's life takes, for who measures it without the adapter: to send, to receive and to settle.
pub fn of_a_life() -> [&'static str; 3] {
    [&ENQUEUE, &RECEIVE, &SETTLE].map(|script| script.code.as_str())
}

const PARTITION: &str = include_str!("../lua/partition.lua");
const TASKS: &str = include_str!("../lua/tasks.lua");
const SETTLING: &str = include_str!("../lua/settling.lua");
const ATTEMPTS: &str = include_str!("../lua/attempts.lua");
const SPREAD: &str = include_str!("../lua/spread.lua");
const SETTINGS: &str = include_str!("../lua/settings.lua");
const VIEWS: &str = include_str!("../lua/views.lua");
const LEAVING: &str = include_str!("../lua/leaving.lua");
const HANDING_OUT: &str = include_str!("../lua/handing_out.lua");
/// These answer for plain tasks before what is behind them is made.
const ENQUEUE_PLAIN: &str = include_str!("../lua/enqueue_plain.lua");
const RECEIVE_PLAIN: &str = include_str!("../lua/receive_plain.lua");
const SETTLE_PLAIN: &str = include_str!("../lua/settle_plain.lua");

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = [$($part:expr),*] $file:literal, $replicas:ident;)*) => {
        $(
            $(#[$doc])*
            pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
                let parts = [PARTITION, $($part,)* include_str!(concat!("../lua/", $file))];
                Script::new(parts.concat(), Replicas::$replicas)
            });
        )*
    };
}

scripts! {
    DECLARE = [SETTINGS, SPREAD] "declare.lua", Have;
    UPDATE = [TASKS, SETTINGS] "update.lua", Have;
    ENQUEUE = [ENQUEUE_PLAIN, TASKS] "enqueue.lua", Have;
    RECEIVE = [HANDING_OUT, RECEIVE_PLAIN, TASKS, ATTEMPTS] "receive.lua", MayLack;
    ATTEMPT = [TASKS, ATTEMPTS] "attempt.lua", MayLack;
    SETTLE = [LEAVING, SETTLE_PLAIN, TASKS, SETTLING] "settle.lua", Have;
    EXTEND = [TASKS, SETTLING] "extend.lua", MayLack;
    SETTLE_AND_ENQUEUE = [TASKS, SETTLING] "settle_and_enqueue.lua", Have;
    STATS = [TASKS] "stats.lua", MayLack;
    LIST = [TASKS, VIEWS] "list.lua", MayLack;
    PEEK = [TASKS, VIEWS] "peek.lua", MayLack;
    DEAD = [TASKS, VIEWS] "dead.lua", MayLack;
    DROP_DEAD = [TASKS] "drop_dead.lua", Have;
    REDRIVE = [TASKS] "redrive.lua", Have;
    PAUSE = [SETTINGS] "pause.lua", Have;
    PURGE = [TASKS, SPREAD] "purge.lua", Have;
    DELETE = [TASKS] "delete.lua", Have;
    GROUP = [] "group.lua", MayLack;
    SHARE_OUT = [] "share_out.lua", MayLack;
    MOVES = [] "moves.lua", MayLack;
    ARRIVE = [TASKS] "arrive.lua", Have;
    MOVED = [TASKS] "moved.lua", Have;
}
