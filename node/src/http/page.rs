//! The page that people use: the files that the build of `web/` makes. A release build has them in it; any other reads them
//! from `web/dist` of the source that it was built from, each time anew.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

/// What a browser gets where nothing was built.
const UNBUILT: &str = include_str!("page/unbuilt.html");
/// Nothing but what the node itself serves, no script in the page, and nobody shows it in a frame. `'self'` is for the node's
/// WebSockets too (CSP 3 §6.7.2.8), and WebAssembly has to be allowed by name.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; \
     connect-src 'self'; worker-src 'self'; manifest-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";
/// Vite puts a hash of the content into the names of all files in this folder, and of no others.
const HASHED: &str = "assets/";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_AGAIN: &str = "no-cache";

/// A file that was there at build time: its name, its bytes, and these compressed where that is shorter.
type Built = (&'static str, &'static [u8], Option<&'static [u8]>);

const BUILT: &[Built] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// A file of the page.
#[derive(Debug, Clone)]
pub(super) struct File {
    bytes: Bytes,
    gzip: Option<Bytes>,
    /// Of the content.
    tag: String,
}

impl File {
    fn new(bytes: Bytes, gzip: Option<Bytes>) -> Self {
        let tag = hex::encode(&Sha256::digest(&bytes)[..16]);
        Self { bytes, gzip, tag }
    }
}

/// Where the files are.
#[derive(Debug, Clone)]
pub(super) enum Page {
    /// In the binary.
    Built(Arc<BTreeMap<&'static str, File>>),
    /// In a folder.
    Folder(PathBuf),
}

impl Page {
    /// That of this build.
    pub(super) fn new() -> Self {
        if cfg!(debug_assertions) {
            return Self::Folder(Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/dist"));
        }
        Self::of(BUILT)
    }

    fn of(built: &[Built]) -> Self {
        let file = |bytes, gzip: Option<_>| File::new(Bytes::from_static(bytes), gzip.map(Bytes::from_static));
        Self::Built(Arc::new(built.iter().map(|(name, bytes, gzip)| (*name, file(bytes, *gzip))).collect()))
    }

    async fn file(&self, name: &str) -> Option<File> {
        match self {
            Self::Built(files) => files.get(name).cloned(),
            Self::Folder(folder) => {
                // A name such as `/etc/passwd` would take the place of the folder, and `..` leads out of it.
                if name.is_empty() || !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
                    return None;
                }
                let path = folder.join(name);
                let bytes = spawn_blocking(move || std::fs::read(path)).await.ok()?.ok()?;
                Some(File::new(bytes.into(), None))
            }
        }
    }

    /// The page itself, or how to build it.
    pub(super) async fn index(&self, asked: &HeaderMap) -> Response {
        let mut response = match self.named("index.html", asked).await {
            Some(response) => response,
            None => dressed("unbuilt.html", UNBUILT.into_response()),
        };
        response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
        response
    }

    /// A file, as whoever asks can take it, or that what they have is still right. `None`: there is none of that name.
    pub(super) async fn named(&self, name: &str, asked: &HeaderMap) -> Option<Response> {
        let File { bytes, gzip, tag } = self.file(name).await?;
        let compressed = gzip.filter(|_| takes_gzip(asked));
        // Of other bytes another tag (RFC 9110 §8.8.3.3).
        let tag = if compressed.is_some() { format!("\"{tag}-gzip\"") } else { format!("\"{tag}\"") };
        let mut response = match has(asked, &tag) {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => {
                let encoded = compressed.is_some();
                let mut response = Body::from(compressed.unwrap_or(bytes)).into_response();
                if encoded {
                    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                response
            }
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, tag.parse().ok()?);
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        Some(dressed(name, response))
    }
}

/// What every file says of itself.
fn dressed(name: &str, mut response: Response) -> Response {
    let keep = if name.starts_with(HASHED) { FOR_EVER } else { ASK_AGAIN };
    for (header, value) in [
        (header::CONTENT_TYPE, content_type(name)),
        (header::CACHE_CONTROL, keep),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        response.headers_mut().insert(header, HeaderValue::from_static(value));
    }
    response
}

fn content_type(name: &str) -> &'static str {
    match Path::new(name).extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

/// The members of a list that may be spread over several headers.
fn list(asked: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    asked.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(str::trim)
}

/// Whether `Accept-Encoding` names gzip, and not to be left out (RFC 9110 §12.5.3).
fn takes_gzip(asked: &HeaderMap) -> bool {
    list(asked, header::ACCEPT_ENCODING).any(|coding| {
        let (coding, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").map(str::parse::<f32>);
        coding.trim().eq_ignore_ascii_case("gzip")
            && weight.is_none_or(|weight| weight.is_ok_and(|weight| weight > 0.0))
    })
}

/// Whether whoever asks has these bytes (RFC 9110 §13.1.2).
fn has(asked: &HeaderMap, tag: &str) -> bool {
    list(asked, header::IF_NONE_MATCH).any(|came| came == "*" || came.strip_prefix("W/").unwrap_or(came) == tag)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use axum::body::to_bytes;

    use super::*;

    const ZIPPED: &[u8] = b"compressed";
    const FILES: &[Built] = &[
        ("index.html", b"<!doctype html>", Some(ZIPPED)),
        ("sw.js", b"//", None),
        ("assets/a-1234.wasm", b"\0asm", Some(ZIPPED)),
    ];

    fn asked(headers: &[(header::HeaderName, &str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn text(response: &Response, name: header::HeaderName) -> &str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    async fn body(response: Response) -> Vec<u8> {
        to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()
    }

    #[tokio::test]
    async fn files_say_what_they_are_and_how_long_they_last() {
        let page = Page::of(FILES);
        for (name, kind, keep) in [
            ("index.html", "text/html; charset=utf-8", "no-cache"),
            ("sw.js", "text/javascript; charset=utf-8", "no-cache"),
            ("assets/a-1234.wasm", "application/wasm", "public, max-age=31536000, immutable"),
        ] {
            let response = page.named(name, &HeaderMap::new()).await.unwrap();
            assert_eq!((text(&response, header::CONTENT_TYPE), text(&response, header::CACHE_CONTROL)), (kind, keep));
            assert_eq!(text(&response, header::X_CONTENT_TYPE_OPTIONS), "nosniff");
            assert!(
                text(&response, header::CONTENT_SECURITY_POLICY).starts_with("default-src 'none'; script-src 'self'")
            );
            assert_eq!(text(&response, header::CONTENT_ENCODING), "", "nobody asked for it");
        }
        assert_eq!(content_type("manifest.webmanifest"), "application/manifest+json");
        assert!(page.named("assets/b.js", &HeaderMap::new()).await.is_none());
    }

    #[tokio::test]
    async fn who_takes_gzip_gets_what_was_compressed_at_build_time() {
        let page = Page::of(FILES);
        for (accepts, gzip) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("br, gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("identity", false),
            ("gzipped", false),
        ] {
            let response = page.index(&asked(&[(header::ACCEPT_ENCODING, accepts)])).await;
            assert_eq!(text(&response, header::CONTENT_ENCODING) == "gzip", gzip, "{accepts}");
            let vary: Vec<_> = response.headers().get_all(header::VARY).iter().cloned().collect();
            assert_eq!(vary, ["accept-encoding", "accept"]);
            assert_eq!(body(response).await == ZIPPED, gzip, "{accepts}");
        }
        let plain = page.named("sw.js", &asked(&[(header::ACCEPT_ENCODING, "gzip")])).await.unwrap();
        assert_eq!(text(&plain, header::CONTENT_ENCODING), "");
        assert_eq!(body(plain).await, b"//");
    }

    #[tokio::test]
    async fn what_a_browser_has_is_not_sent_again() {
        let page = Page::of(FILES);
        let zips = (header::ACCEPT_ENCODING, "gzip");
        let first = page.named("index.html", &asked(std::slice::from_ref(&zips))).await.unwrap();
        let tag = text(&first, header::ETAG).to_owned();
        for (came, status) in [
            (tag.clone(), StatusCode::NOT_MODIFIED),
            (format!("\"x\", W/{tag}"), StatusCode::NOT_MODIFIED),
            ("*".to_owned(), StatusCode::NOT_MODIFIED),
            ("\"x\"".to_owned(), StatusCode::OK),
        ] {
            let response =
                page.named("index.html", &asked(&[zips.clone(), (header::IF_NONE_MATCH, &came)])).await.unwrap();
            assert_eq!((response.status(), text(&response, header::ETAG)), (status, tag.as_str()), "{came}");
            assert_eq!(body(response).await.is_empty(), status == StatusCode::NOT_MODIFIED);
        }
        // The same file as it is has other bytes.
        let plain = page.named("index.html", &asked(&[(header::IF_NONE_MATCH, &tag)])).await.unwrap();
        assert_eq!(plain.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_folder_is_read_as_it_is_now_and_nothing_outside_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("dist");
        let page = Page::Folder(folder.clone());
        let nothing = HeaderMap::new();
        let unbuilt = page.index(&nothing).await;
        assert_eq!(
            (unbuilt.status(), text(&unbuilt, header::CONTENT_TYPE)),
            (StatusCode::OK, "text/html; charset=utf-8")
        );
        let unbuilt = String::from_utf8(body(unbuilt).await).unwrap();
        assert!(unbuilt.contains("npm run build --workspace web") && !unbuilt.contains("<script"), "{unbuilt}");

        fs::create_dir_all(folder.join("assets")).unwrap();
        fs::write(folder.join("index.html"), "one").unwrap();
        fs::write(directory.path().join("secret"), "outside").unwrap();
        let first = page.index(&nothing).await;
        let tag = text(&first, header::ETAG).to_owned();
        assert_eq!(body(first).await, b"one");
        fs::write(folder.join("index.html"), "two").unwrap();
        let second = page.index(&asked(&[(header::IF_NONE_MATCH, &tag)])).await;
        assert_eq!(second.status(), StatusCode::OK);
        assert_eq!(body(second).await, b"two");
        let outside = directory.path().join("secret").display().to_string();
        for name in ["", "assets", "../secret", "assets/../../secret", "..", &outside, "nothing.js", "%2e%2e/secret"] {
            assert!(page.named(name, &nothing).await.is_none(), "{name}");
        }
    }
}
