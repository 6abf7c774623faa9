//! Who asks, by name and password.

use std::time::Instant;

use super::Head;
use crate::filter::auth::{Basic, Trouble, Verdict};
use crate::proxy::error::ProxyError;
use crate::proxy::fields::Known;

/// The name of who asks.
pub(super) async fn log_in(basic: &Basic, head: &Head<'_>) -> Result<String, ProxyError> {
    let field = head.request.fields().get(Known::Authorization);
    let given = field.and_then(Basic::read);
    let who = match (basic.known(given.as_ref(), Instant::now()), given) {
        (Verdict::Known(who), _) => Some(who),
        // Boxed, so that other requests need not carry its room along.
        (Verdict::Ask, Some(given)) => match Box::pin(basic.verify(given)).await {
            Ok(who) => who,
            Err(Trouble::Busy) => return Err(ProxyError::Logins),
            Err(Trouble::Fault(fault)) => return Err(ProxyError::RouteFault((&*fault).into())),
        },
        (Verdict::Ask | Verdict::No, _) => None,
    };
    who.ok_or_else(|| ProxyError::Login {
        realm: basic.realm.clone(),
    })
}
