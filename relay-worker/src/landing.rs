//! What a browser sees at `/`: what this is, and how to follow an invite.

use worker::{Response, Result};

/// The page; `NONCE` stands where the number of this answer comes.
const PAGE: &str = include_str!("landing.html");

/// The page, which asks nobody for anything: its own style and script, and nothing else, may be in it.
pub(crate) fn page() -> Result<Response> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| worker::Error::RustError(error.to_string()))?;
    let nonce: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let response = Response::from_html(PAGE.replace("NONCE", &nonce))?;
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    for (name, value) in [
        ("Content-Security-Policy", policy.as_str()),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cache-Control", "no-store"),
        ("Vary", "Accept"),
    ] {
        response.headers().set(name, value)?;
    }
    Ok(response)
}
