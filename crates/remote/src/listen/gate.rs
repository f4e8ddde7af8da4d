//! Who is asking: every request that is let in carries what its caller may do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_core::Access;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::connection::Client;
use super::tokens::Tokens;

/// The same text whatever is wrong: what is missing and what is unknown are not told apart.
const REFUSED: &str = "send `authorization: Bearer TOKEN` with a token that this server knows";

/// Lets requests in, or not.
#[derive(Clone, Debug)]
pub(super) struct Gate(Option<Arc<Tokens>>);

impl Gate {
    /// For those who have one of these tokens; without any tokens, for all who can connect.
    pub(super) fn of(tokens: Option<Arc<Tokens>>) -> Self {
        Self(tokens)
    }

    /// For all who can connect.
    pub(super) const fn open() -> Self {
        Self(None)
    }

    fn access<T>(&self, request: &Request<T>) -> Option<Access> {
        let Some(tokens) = &self.0 else { return Some(Access::full()) };
        let header = request.metadata().get("authorization")?.to_str().ok()?;
        let (scheme, secret) = header.split_once(' ')?;
        let bearer = scheme.eq_ignore_ascii_case("bearer").then_some(secret)?;
        tokens.check(bearer)
    }
}

impl Interceptor for Gate {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let access = self.access(&request).ok_or_else(|| Status::unauthenticated(REFUSED))?;
        if let Some(client) = request.extensions().get::<Client>() {
            client.first_call.0.store(true, Ordering::Release);
        }
        // WHY: nothing behind the gate needs the secret, so nothing there can show it.
        request.metadata_mut().remove("authorization");
        request.extensions_mut().insert(access);
        Ok(request)
    }
}

/// Whether a call on a connection was let in yet.
#[derive(Clone, Debug, Default)]
pub(super) struct FirstCall(Arc<AtomicBool>);

impl FirstCall {
    pub(super) fn has_come(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::tokens::Digest;
    use crate::service::Room;

    const SECRET: &str = "0123456789abcdef";

    fn gate() -> Gate {
        let mut tokens = Tokens::new();
        tokens.add("mailer", Digest::of(SECRET).unwrap(), Vec::new()).unwrap();
        Gate::of(Some(Arc::new(tokens)))
    }

    fn with(header: &str) -> Request<()> {
        let mut request = Request::new(());
        request.metadata_mut().insert("authorization", header.parse().unwrap());
        let (first_call, room) = (FirstCall::default(), Room::of(0, std::time::Duration::ZERO));
        request.extensions_mut().insert(Client { first_call, room });
        request
    }

    #[test]
    fn a_known_token_becomes_what_it_allows_and_goes_no_further() {
        let request = gate().call(with(&format!("bearer {SECRET}"))).unwrap();
        assert_eq!(request.extensions().get::<Access>().unwrap().name(), Some("mailer"));
        assert!(request.metadata().get("authorization").is_none());
        assert!(request.extensions().get::<Client>().unwrap().first_call.has_come());
    }

    #[test]
    fn everything_else_is_refused_in_the_same_words() {
        let others = ["Bearer", "Bearer ", "Bearer 0123456789abcdeg", "Basic 0123456789abcdef"];
        let requests = others.into_iter().map(with).chain([Request::new(())]);
        for request in requests {
            let client = request.extensions().get::<Client>().cloned();
            let refused = gate().call(request).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::Unauthenticated);
            assert_eq!(refused.message(), REFUSED);
            assert!(client.is_none_or(|client| !client.first_call.has_come()));
        }
    }

    #[test]
    fn without_tokens_all_may_do_all() {
        let request = Gate::open().call(Request::new(())).unwrap();
        assert_eq!(request.extensions().get::<Access>(), Some(&Access::full()));
    }
}
