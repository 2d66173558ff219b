//! `/link/<ledger>`: other nodes dial this one.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::json;
use shared::LedgerId;
use tokio::sync::watch;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};
use tracing::debug;

use super::{
    peer::{self, Opened},
    socket::{REFUSAL, config},
};
use crate::{
    admission::{Admission, Peer, Unwelcome},
    http::line::Line,
    ledgers::Ledgers,
};

#[derive(Clone)]
struct Door {
    admission: Arc<Admission>,
    ledgers: Ledgers,
    stopped: watch::Receiver<bool>,
}

/// The route. Whoever comes proves its key to the replica, which lets nobody else in; so no client's token is asked for.
pub fn router(admission: Arc<Admission>, ledgers: Ledgers, stopped: watch::Receiver<bool>) -> Router {
    Router::new().route("/link/{ledger}", any(accept)).with_state(Door { admission, ledgers, stopped })
}

fn refused(status: StatusCode, code: &str, message: String) -> Response {
    let mut response = (status, Json(json!({ "error": message, "code": code }))).into_response();
    // Who dials sees the head of an answer only.
    if let Ok(said) = HeaderValue::from_str(&message) {
        response.headers_mut().insert(REFUSAL, said);
    }
    response
}

async fn accept(
    State(Door { admission, ledgers, stopped }): State<Door>,
    Path(ledger): Path<String>,
    Extension(Peer { remote, .. }): Extension<Peer>,
    mut request: Request,
) -> Response {
    let Some(accepted) = accept_key(request.headers()) else {
        let mut response = (StatusCode::UPGRADE_REQUIRED, "Expected Upgrade: websocket").into_response();
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        return response;
    };
    let Some(host) = ledger.parse::<LedgerId>().ok().and_then(|ledger| ledgers.get(&ledger)) else {
        let came: String = ledger.chars().take(64).collect();
        return refused(StatusCode::NOT_FOUND, "no_such_ledger", format!("this node has no ledger {came:?}"));
    };
    // Its place among those who have not come in yet is free again when the peer has proved its key, or is gone.
    let newcomer = match admission.link(remote) {
        Ok(newcomer) => newcomer,
        Err(why @ Unwelcome::Crowded(_)) => return refused(StatusCode::SERVICE_UNAVAILABLE, "busy", why.to_string()),
        Err(why @ Unwelcome::Flood) => return refused(StatusCode::TOO_MANY_REQUESTS, "too_many", why.to_string()),
    };
    let (Some(upgrade), Some(line)) =
        (request.extensions_mut().remove::<OnUpgrade>(), request.extensions().get::<Line>().cloned())
    else {
        let message = "this connection cannot become a WebSocket".to_owned();
        return refused(StatusCode::UPGRADE_REQUIRED, "no_upgrade", message);
    };
    line.is_link();
    let taken = ledgers.follow(Box::pin(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let socket =
                    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config())).await;
                if !peer::accepted(host, remote, Opened::Socket(socket), newcomer, stopped).await {
                    admission.link_failed(remote);
                }
            }
            Err(error) => {
                debug!("a connection from {remote} became no link: {error}");
                admission.link_failed(remote);
            }
        }
    }));
    if !taken {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "stopping", "this node is stopping, or busy".to_owned());
    }
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accepted),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// The answer to a WebSocket's opening handshake (RFC 6455 §4.2.2); nothing where it is none.
fn accept_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let has = |name, wanted: &str| {
        headers.get_all(name).iter().any(|value| {
            value.to_str().is_ok_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(wanted)))
        })
    };
    let asked = has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket");
    if !asked || !has(header::SEC_WEBSOCKET_VERSION, "13") {
        return None;
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}
