//! Whom a request may be for, and which web pages may send one: a browser that visits any page must not carry that page's
//! words into the ledger, nor the ledger's to that page.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    HttpError,
    names::{HostName, Origin},
};
use crate::admission::{Admission, Peer};

/// Refuses requests for another host. A page of a name that first led elsewhere and leads here now (DNS rebinding) is of
/// the same origin as this node to its browser, but it cannot change the name that the browser sends.
pub(super) async fn check_host(State(admission): State<Arc<Admission>>, request: Request, next: Next) -> Response {
    let Some(hosts) = admission.hosts() else { return next.run(request).await };
    let local = request.extensions().get::<Peer>().map(|peer| peer.local);
    let mut fields = request.headers().get_all(header::HOST).iter().map(|field| field.to_str().unwrap_or_default());
    let (field, more) = (fields.next(), fields.next());
    // The request line may name a host too, and to most software that one counts then (RFC 9112 §3.2.2).
    let line = request.uri().authority().map(|authority| authority.as_str());
    let wrong = [field.unwrap_or_default(), line.or(field).unwrap_or_default()]
        .into_iter()
        .find(|name| !HostName::of(name).is_some_and(|name| answers_to(&name, hosts, local)));
    let came = match (wrong, more) {
        (None, None) => return next.run(request).await,
        (None, Some(_)) => "two hosts".to_owned(),
        (Some(""), _) => "no host".to_owned(),
        (Some(name), _) => format!("the host {:?}", excerpt(name)),
    };
    let message = format!(
        "this request names {came}; the node answers to localhost, to the address that it listens on, and to the names \
         that it was given by --allow-host"
    );
    HttpError::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", message).into_response()
}

/// Whether the node goes by this name on a connection to its address `local`.
fn answers_to(name: &HostName, others: &[HostName], local: Option<IpAddr>) -> bool {
    name.is_loopback() || others.contains(name) || name.address().is_some_and(|address| Some(address) == local)
}

/// Refuses requests of pages from elsewhere. Programs send no `Origin` and are not concerned.
pub(super) async fn check(State(admission): State<Arc<Admission>>, request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else { return next.run(request).await };
    if !allowed(&origin, request.headers(), admission.origins()) {
        let message = format!(
            "pages of {} may not use this node; those of its own host and of this machine may, and those that \
             --allow-origin names",
            excerpt(&String::from_utf8_lossy(origin.as_bytes()))
        );
        return HttpError::new(StatusCode::FORBIDDEN, "forbidden_origin", message).into_response();
    }
    let preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    if preflight {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
        let allowed = HeaderValue::from_static("authorization, content-type");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    response
}

/// A page of the host that the request is for, of the machine that the browser runs on, or one that was allowed.
fn allowed(origin: &HeaderValue, headers: &HeaderMap, others: &[Origin]) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).and_then(HostName::of);
    let Some(origin) = origin.to_str().ok().and_then(|origin| origin.parse::<Origin>().ok()) else { return false };
    origin.host.is_loopback() || Some(&origin.host) == host.as_ref() || others.contains(&origin)
}

/// At most 80 characters of what came.
fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_this_host_and_this_machine_and_those_that_were_named_are_allowed() {
        let others = ["https://app.example".parse().unwrap()];
        for (origin, host, expected) in [
            ("http://localhost:5173", "localhost:3000", true),
            ("http://127.0.0.1:8080", "192.168.1.5:3000", true),
            ("http://[::1]:8080", "[::1]:3000", true),
            ("http://page.localhost", "localhost:3000", true),
            ("http://192.168.1.5:5173", "192.168.1.5:3000", true),
            ("https://Node.Example", "node.example:3000", true),
            ("https://app.example", "localhost:3000", true),
            ("http://app.example", "localhost:3000", false),
            ("https://app.example:8443", "localhost:3000", false),
            ("https://evil.example", "localhost:3000", false),
            ("https://localhost.evil.example", "localhost:3000", false),
            ("https://evil.example", "node.example", false),
            ("null", "localhost:3000", false),
            ("file://", "localhost:3000", false),
            ("", "localhost:3000", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            let came = HeaderValue::from_str(origin).unwrap();
            assert_eq!(allowed(&came, &headers, &others), expected, "{origin} at {host}");
        }
    }

    #[test]
    fn requests_for_this_machine_its_address_and_what_was_named_are_allowed() {
        let others = ["node.example".parse().unwrap()];
        let local = "192.168.1.5".parse().ok();
        for (host, expected) in [
            ("localhost:3000", true),
            ("127.0.0.1", true),
            ("[::1]:3000", true),
            ("192.168.1.5:3000", true),
            ("Node.Example", true),
            ("192.168.1.6:3000", false),
            ("evil.example", false),
            ("node.example.evil.example", false),
        ] {
            assert_eq!(answers_to(&HostName::of(host).unwrap(), &others, local), expected, "{host}");
        }
        assert!(!answers_to(&HostName::of("192.168.1.5").unwrap(), &others, None));
    }
}
