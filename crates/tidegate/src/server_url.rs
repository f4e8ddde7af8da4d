//! `tidegate://` URLs: where a server is.

use tidegate_core::{Error, ErrorKind, Operation, Result};
use tidegate_remote::client::{Target, Tls};

/// The port of a server when the URL names none.
const PORT_DEFAULT: u16 = 9_326;

/// The server that `rest`, what follows the scheme, names. `token` is used where the URL has none.
///
/// WHY: no error shows the URL itself, which may hold a token.
pub(crate) fn target(over_tls: bool, rest: &str, token: Option<String>) -> Result<Target> {
    let rest = rest.strip_prefix("//").ok_or_else(|| invalid(EXAMPLE))?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let place = place.strip_suffix('/').unwrap_or(place);
    let (own, address) = match place.rsplit_once('@') {
        Some((token, address)) => (Some(token.to_owned()), address),
        None => (None, place),
    };
    if address.is_empty() || address.contains('/') {
        return Err(invalid(EXAMPLE));
    }
    let host_ends = address.rfind(']').unwrap_or(0);
    let has_port = address.get(host_ends..).is_some_and(|behind| behind.contains(':'));
    let address = if has_port { address.to_owned() } else { format!("{address}:{PORT_DEFAULT}") };
    let mut target = Target::tcp(address);
    let tls = tls(query)?;
    match (over_tls, query.is_empty()) {
        (true, _) => target = target.tls(tls),
        (false, true) => {}
        (false, false) => return Err(invalid("a query goes with `tidegate+tls://` only")),
    }
    if let Some(token) = own.or(token) {
        target = target.token(token);
    }
    Ok(target)
}

const EXAMPLE: &str = "a server's URL is `tidegate://HOST:PORT`, or `tidegate+tls://HOST:PORT`";

fn tls(query: &str) -> Result<Tls> {
    let mut tls = Tls::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("ca", file)) => {
                let pem = std::fs::read(file).map_err(|error| {
                    invalid(format!("the certificates in {file} cannot be read")).caused_by(error)
                })?;
                tls.authorities = Some(pem);
            }
            Some(("name", name)) => tls.name = Some(name.to_owned()),
            _ => {
                let name = pair.split('=').next().unwrap_or_default();
                return Err(invalid(format!("{name:?} is unknown; `ca` and `name` are known")));
            }
        }
    }
    Ok(tls)
}

fn invalid(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, Operation::Open, why).about("a server")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(rest: &str) -> String {
        target(false, rest, None).unwrap().to_string()
    }

    fn refusal(over_tls: bool, rest: &str) -> String {
        target(over_tls, rest, None).unwrap_err().to_string()
    }

    #[test]
    fn a_url_names_a_host_and_perhaps_a_port() {
        assert_eq!(shown("//queue-1:7"), "tidegate://queue-1:7");
        assert_eq!(shown("//queue-1/"), "tidegate://queue-1:9326");
        assert_eq!(shown("//[::1]"), "tidegate://[::1]:9326");
        assert_eq!(shown("//[::1]:7"), "tidegate://[::1]:7");
        assert_eq!(shown("//secret-token@queue-1:7"), "tidegate://queue-1:7");
    }

    #[test]
    fn what_makes_no_sense_is_refused_without_showing_the_token() {
        for rest in ["queue-1", "//", "//hunter2@", "//hunter2@h/path", "//hunter2@h?ca=x"] {
            let why = refusal(false, rest);
            assert!(!why.contains("hunter2"), "{why}");
        }
        assert!(refusal(true, "//h?cert=x").contains("`ca` and `name`"));
        assert!(refusal(true, "//h?ca=/nonexistent").contains("cannot be read"));
    }
}
