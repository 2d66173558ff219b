//! The Cairn relay on Cloudflare Workers: every room is a Durable Object, and a room with a ledger is a hub replica.
//!
//! A panic would end the isolate and take other rooms along, so nothing here may panic: the lints below hold that.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unreachable)]
#![deny(clippy::arithmetic_side_effects, clippy::string_slice)]

mod admission;
mod answer;
mod knocks;
mod landing;
mod live;
mod object;
mod socket;
mod store;

use std::fmt;

use shared::LedgerId;
use worker::{Context, Env, Method, Request, Response, Result, console_error, event};

use crate::admission::Refusal;

/// Built together with the simulator, it would let in whoever calls itself simulated.
const _: () = assert!(!shared::key::SIMULATED, "a relay must be built without the feature `sim` of `shared`");

/// The binding of wrangler.toml under which the rooms are found.
const ROOMS: &str = "ROOMS";

/// Which room a URL means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RoomId {
    /// `/`: brokers envelopes between those who are there.
    Lobby,
    /// `/ledger/<ledger id>`: the same, and keeps that ledger.
    Ledger(LedgerId),
}

/// The name of the room's object.
impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lobby => f.write_str("lobby"),
            Self::Ledger(ledger) => write!(f, "ledger/{ledger}"),
        }
    }
}

/// What a path asks for.
enum Route {
    Health,
    Room(RoomId),
    WrongLedger(String),
    Nothing,
}

impl Route {
    fn of(path: &str) -> Self {
        match path {
            "/healthz" => Self::Health,
            "/" => Self::Room(RoomId::Lobby),
            _ => match path.strip_prefix("/ledger/") {
                Some(id) if !id.contains('/') => match id.parse() {
                    Ok(ledger) => Self::Room(RoomId::Ledger(ledger)),
                    Err(error) => Self::WrongLedger(error.to_string()),
                },
                _ => Self::Nothing,
            },
        }
    }
}

#[event(start)]
fn start() {
    // Without this, the log of a panic would say "unreachable" and nothing else.
    std::panic::set_hook(Box::new(|info| console_error!("{info}")));
}

#[event(fetch)]
async fn fetch(request: Request, env: Env, _context: Context) -> Result<Response> {
    match Route::of(&request.path()) {
        Route::Nothing => answer::error(404, "not_found", "there is /, /healthz and /ledger/<ledger id>"),
        Route::WrongLedger(error) => answer::error(400, "wrong_ledger_id", &error),
        Route::Health | Route::Room(_) if request.method() != Method::Get => answer::method_not_allowed(),
        Route::Health => answer::health(),
        Route::Room(RoomId::Lobby) if wants_page(&request) => landing::page(),
        Route::Room(_) if !asks_for_websocket(&request) => answer::upgrade_required(),
        Route::Room(room) => match admission::check(&request, &env, room) {
            // What is refused here wakes no object.
            Err(refusal) => refusal.response(),
            // Who has shown the secret is the deployer's own: a homelab that comes back all at once is not counted.
            Ok(admission) if !admission.is_owner && !knocks::is_welcome(&request, &env).await => {
                Refusal::Flood.response()
            }
            Ok(_) => env.durable_object(ROOMS)?.get_by_name(&room.to_string())?.fetch_with_request(request).await,
        },
    }
}

/// Whether this is a browser that shows pages.
fn wants_page(request: &Request) -> bool {
    let accepts = request.headers().get("Accept").ok().flatten();
    !asks_for_websocket(request) && accepts.is_some_and(|accept| accept.contains("text/html"))
}

fn asks_for_websocket(request: &Request) -> bool {
    request.headers().get("Upgrade").ok().flatten().is_some_and(|to| to.eq_ignore_ascii_case("websocket"))
}
