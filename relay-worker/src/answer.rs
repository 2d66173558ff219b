//! What the relay says over plain HTTP.

use worker::{Response, Result};

/// The relay lives; no room was asked.
pub(crate) fn health() -> Result<Response> {
    Response::from_json(&serde_json::json!({ "status": "ok", "role": "relay", "version": env!("CARGO_PKG_VERSION") }))
}

/// Where an error stands once more: whoever dials a WebSocket and is refused often gets to see no more than the head.
const HEADER: &str = "Cairn-Error";

/// An error with its name for programs and its sentence for people.
pub(crate) fn error(status: u16, code: &str, message: &str) -> Result<Response> {
    let body = serde_json::json!({ "error": message, "code": code });
    let response = Response::from_json(&body)?.with_status(status);
    let printable: String = message.chars().filter(|char| matches!(char, ' '..='~')).collect();
    response.headers().set(HEADER, &format!("{printable} ({code})"))?;
    Ok(response)
}

/// Only `GET` means anything here.
pub(crate) fn method_not_allowed() -> Result<Response> {
    let response = error(405, "method_not_allowed", "this method is not for this path, GET is")?;
    response.headers().set("Allow", "GET")?;
    Ok(response)
}

/// A room was asked for without a WebSocket.
pub(crate) fn upgrade_required() -> Result<Response> {
    let response = Response::error("Expected Upgrade: websocket", 426)?;
    response.headers().set("Upgrade", "websocket")?;
    Ok(response)
}
