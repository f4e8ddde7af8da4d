//! The scripts, put together from their files.

use std::sync::LazyLock;

use redis::Script;

const PARTITION: &str = include_str!("../lua/partition.lua");
const SETTLING: &str = include_str!("../lua/settling.lua");
const ATTEMPTS: &str = include_str!("../lua/attempts.lua");
const VIEWS: &str = include_str!("../lua/views.lua");

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = [$($part:expr),*] $file:literal;)*) => {
        $(
            $(#[$doc])*
            pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
                let parts = [PARTITION, $($part,)* include_str!(concat!("../lua/", $file))];
                Script::new(&parts.concat())
            });
        )*
    };
}

scripts! {
    DECLARE = [] "declare.lua";
    UPDATE = [] "update.lua";
    ENQUEUE = [] "enqueue.lua";
    RECEIVE = [ATTEMPTS] "receive.lua";
    ATTEMPT = [ATTEMPTS] "attempt.lua";
    SETTLE = [SETTLING] "settle.lua";
    EXTEND = [SETTLING] "extend.lua";
    SETTLE_AND_ENQUEUE = [SETTLING] "settle_and_enqueue.lua";
    STATS = [] "stats.lua";
    LIST = [VIEWS] "list.lua";
    PEEK = [VIEWS] "peek.lua";
    DEAD = [VIEWS] "dead.lua";
    DROP_DEAD = [] "drop_dead.lua";
    REDRIVE = [] "redrive.lua";
    PAUSE = [] "pause.lua";
    PURGE = [] "purge.lua";
    DELETE = [] "delete.lua";
    GROUP = [] "group.lua";
    SHARE_OUT = [] "share_out.lua";
    MOVES = [] "moves.lua";
    ARRIVE = [] "arrive.lua";
    MOVED = [] "moved.lua";
}
