//! The other side of the control endpoint: what a command says to the node that serves its data directory.

use std::{
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    time::Duration,
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use shared::view::EntryView;
use thiserror::Error;
use ureq::{Agent, Body, http::Response};

use super::{ControlFile, Followed, Imported, Refusal, Token};
use crate::host::Status;

/// How long a node may take to answer; a turn takes milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of an answer. A status names every node.
const ANSWER_BYTES: u64 = 64 * 1024 * 1024;

/// Why the running node did not do what a command wants.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The node cannot be reached.
    #[error("the node that serves this data directory does not answer: {0}")]
    Unreachable(ureq::Error),
    /// The connection broke.
    #[error("the connection to the node broke: {0}")]
    Io(#[from] io::Error),
    /// The node says no.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The answer is none of this protocol.
    #[error("the node answers {0}, which means nothing here")]
    Answer(String),
}

impl From<ureq::Error> for ControlError {
    fn from(error: ureq::Error) -> Self {
        Self::Unreachable(error)
    }
}

/// Speaks with a running node.
#[derive(Debug)]
pub struct ControlClient {
    agent: Agent,
    file: ControlFile,
}

impl ControlClient {
    /// For the node that wrote this file.
    pub fn new(file: ControlFile) -> Self {
        let config = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .build();
        Self { agent: config.into(), file }
    }

    /// How the node is.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<Status, ControlError> {
        self.get("status")?.json()
    }

    /// Appends JSON texts; returns the entries when they are durable.
    ///
    /// # Errors
    /// When the node refuses them or does not answer.
    pub fn append(&self, data: &[String]) -> Result<Vec<Box<RawValue>>, ControlError> {
        let body = format!("[{}]", data.join(","));
        self.post("append", body.as_bytes())?.json()
    }

    /// Adds a batch of blocks.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn import(&self, batch: &[u8]) -> Result<Imported, ControlError> {
        self.post("import", batch)?.json()
    }

    /// Has the node make another token for its clients, and close those that came in by the one before.
    ///
    /// # Errors
    /// When it cannot, or does not answer.
    pub fn renew_token(&self) -> Result<Token, ControlError> {
        self.post("renew-token", &[])?.json()
    }

    /// Where the node listens.
    pub fn listens(&self) -> SocketAddr {
        self.file.listens
    }

    /// What lies behind an arrival number, and what comes, until the node stops. A line that is cut off ends it.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn follow(&self, after: u64) -> Result<impl Iterator<Item = Followed<Vec<EntryView>>> + use<>, ControlError> {
        let answer = self.get(&format!("follow?after={after}"))?;
        let lines = BufReader::new(answer.0.into_body().into_reader()).lines();
        Ok(lines.map_while(|line| serde_json::from_str(&line.ok()?).ok()))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/control/{path}", self.file.address)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.file.token.reveal())
    }

    fn get(&self, path: &str) -> Result<Answer, ControlError> {
        Answer::check(self.agent.get(self.url(path)).header("authorization", self.bearer()).call()?)
    }

    fn post(&self, path: &str, body: &[u8]) -> Result<Answer, ControlError> {
        Answer::check(self.agent.post(self.url(path)).header("authorization", self.bearer()).send(body)?)
    }
}

#[derive(Deserialize)]
struct Failure {
    error: Refusal,
}

struct Answer(Response<Body>);

impl Answer {
    fn check(response: Response<Body>) -> Result<Self, ControlError> {
        let status = response.status();
        let answer = Self(response);
        if status.is_success() {
            return Ok(answer);
        }
        match answer.json::<Failure>() {
            Ok(failure) => Err(ControlError::Refused(failure.error)),
            Err(_) => Err(ControlError::Answer(status.to_string())),
        }
    }

    fn json<T: DeserializeOwned>(mut self) -> Result<T, ControlError> {
        let bytes = self.0.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec()?;
        serde_json::from_slice(&bytes).map_err(|error| ControlError::Answer(error.to_string()))
    }
}
