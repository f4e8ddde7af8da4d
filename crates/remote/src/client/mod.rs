//! A broker at the other end of a connection, as a driver.
//!
//! A `line` is one connection, from its hello to its end; `link` keeps one up, over restarts of the
//! server. On a line, `sends` and `work` are its two streams, on which calls go out `together` and are
//! `pending` until they are answered; `views` are its plain calls. `session` is one consumer's place, on
//! whatever line there is.

mod driver;
mod line;
mod link;
mod pending;
mod sends;
mod session;
mod target;
mod together;
mod views;
mod work;

pub use driver::{RemoteDriver, broker, connect};
pub use line::Line;
pub use link::{Ready, Redial};
pub use target::{Target, Tls};
