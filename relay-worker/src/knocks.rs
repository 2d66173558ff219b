//! How often one address may knock: the platform counts that, before a room's object wakes.
//!
//! How many in which time is in wrangler.toml, where the platform reads it.

use std::net::IpAddr;

use shared::limits;
use worker::{Env, Request, console_error};

/// The binding of wrangler.toml with the counters.
const KNOCKS: &str = "KNOCKS";
/// The header in which the platform says from where a request comes; what a client puts there itself does not reach this.
const ADDRESS: &str = "CF-Connecting-IP";

/// Counts a request, and says whether that many may come. Where nothing can be counted, all may: a relay without this limit
/// serves its members, as one did before there was any.
pub(crate) async fn is_welcome(request: &Request, env: &Env) -> bool {
    // A wrangler.toml of before has no such binding.
    let Ok(counters) = env.rate_limiter(KNOCKS) else { return true };
    let address = request.headers().get(ADDRESS).ok().flatten();
    let Some(address) = address.and_then(|address| address.parse::<IpAddr>().ok()) else { return true };
    match counters.limit(limits::neighbourhood(address).to_string()).await {
        Ok(outcome) => outcome.success,
        Err(error) => {
            console_error!("knocks are not counted: {error}");
            true
        }
    }
}
