//! Which web pages may talk to the node: a browser that visits any page must not carry that page's words into the ledger.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::HttpError;

/// Refuses requests of pages from elsewhere. Programs send no `Origin` and are not concerned.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else { return next.run(request).await };
    if !allowed(&origin, request.headers()) {
        let origin: String = String::from_utf8_lossy(origin.as_bytes()).chars().take(80).collect();
        let message = format!("pages of {origin} may not use this node; those of its own host and of this machine may");
        return HttpError::new(StatusCode::FORBIDDEN, "forbidden_origin", message).into_response();
    }
    let preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    if preflight {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    response
}

/// A page of the host that the request is for, or of the machine that the browser runs on.
fn allowed(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).and_then(host_of);
    match origin.to_str().ok().and_then(|origin| host_of(origin.split_once("://")?.1)) {
        Some(origin) => is_loopback(&origin) || Some(origin) == host,
        None => false,
    }
}

/// The host of `host[:port]`, in lower case and without brackets.
fn host_of(authority: &str) -> Option<String> {
    let authority: Authority = authority.parse().ok()?;
    Some(authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase())
}

fn is_loopback(host: &str) -> bool {
    let named = host == "localhost" || host.ends_with(".localhost");
    named || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_this_host_and_this_machine_are_allowed() {
        for (origin, host, expected) in [
            ("http://localhost:5173", "localhost:3000", true),
            ("http://127.0.0.1:8080", "192.168.1.5:3000", true),
            ("http://[::1]:8080", "[::1]:3000", true),
            ("http://page.localhost", "localhost:3000", true),
            ("http://192.168.1.5:5173", "192.168.1.5:3000", true),
            ("https://Node.Example", "node.example:3000", true),
            ("https://evil.example", "localhost:3000", false),
            ("https://localhost.evil.example", "localhost:3000", false),
            ("https://evil.example", "node.example", false),
            ("null", "localhost:3000", false),
            ("file://", "localhost:3000", false),
            ("", "localhost:3000", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            assert_eq!(allowed(&HeaderValue::from_str(origin).unwrap(), &headers), expected, "{origin} at {host}");
        }
    }
}
