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

const PARTITION: &str = include_str!("../lua/partition.lua");
const SETTLING: &str = include_str!("../lua/settling.lua");
const ATTEMPTS: &str = include_str!("../lua/attempts.lua");
const VIEWS: &str = include_str!("../lua/views.lua");

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
    DECLARE = [] "declare.lua", Have;
    UPDATE = [] "update.lua", Have;
    ENQUEUE = [] "enqueue.lua", Have;
    RECEIVE = [ATTEMPTS] "receive.lua", MayLack;
    ATTEMPT = [ATTEMPTS] "attempt.lua", MayLack;
    SETTLE = [SETTLING] "settle.lua", Have;
    EXTEND = [SETTLING] "extend.lua", MayLack;
    SETTLE_AND_ENQUEUE = [SETTLING] "settle_and_enqueue.lua", Have;
    STATS = [] "stats.lua", MayLack;
    LIST = [VIEWS] "list.lua", MayLack;
    PEEK = [VIEWS] "peek.lua", MayLack;
    DEAD = [VIEWS] "dead.lua", MayLack;
    DROP_DEAD = [] "drop_dead.lua", Have;
    REDRIVE = [] "redrive.lua", Have;
    PAUSE = [] "pause.lua", Have;
    PURGE = [] "purge.lua", Have;
    DELETE = [] "delete.lua", Have;
    GROUP = [] "group.lua", MayLack;
    SHARE_OUT = [] "share_out.lua", MayLack;
    MOVES = [] "moves.lua", MayLack;
    ARRIVE = [] "arrive.lua", Have;
    MOVED = [] "moved.lua", Have;
}
