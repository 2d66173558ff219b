//! The other side of the control endpoint: what a command says to the node that serves its data directory.

use std::{
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use shared::{Keyring, LedgerId, view::EntryView};
use thiserror::Error;
use ureq::{Agent, Body, RequestBuilder, http::Response, typestate::WithoutBody};
use zeroize::Zeroizing;

use super::{ControlFile, Followed, Imported, InviteFor, Refusal, Token, WishFor};
use crate::{
    host::{InviteInfo, MemberInfo, Status},
    ledgers::LedgerInfo,
};

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
    ledger: String,
}

impl ControlClient {
    /// For the node that wrote this file, and no ledger yet.
    pub fn new(file: ControlFile) -> Self {
        let config = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .build();
        Self { agent: config.into(), file, ledger: String::new() }
    }

    /// The same for a ledger of that node, by its id.
    pub fn of(self, ledger: String) -> Self {
        Self { ledger, ..self }
    }

    /// The ledger's id.
    pub fn ledger(&self) -> &str {
        &self.ledger
    }

    /// How the node is.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<Status, ControlError> {
        self.get("status")?.json()
    }

    /// Every ledger that the node serves, the default one first.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ledgers(&self) -> Result<Vec<LedgerInfo>, ControlError> {
        self.call(self.agent.get(self.node_url("ledgers")))?.json()
    }

    /// Has the node serve a ledger that is in its data directory now.
    ///
    /// # Errors
    /// When it cannot, or does not answer.
    pub fn serve(&self, ledger: &LedgerId) -> Result<LedgerInfo, ControlError> {
        let ledger = serde_json::json!({ "ledger": ledger.to_string() });
        self.send(&self.node_url("ledgers"), &ledger)?.json()
    }

    /// Everybody who came in.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn members(&self) -> Result<Vec<MemberInfo>, ControlError> {
        self.get("members")?.json()
    }

    /// The keys that open what is sealed in the ledger.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn keys(&self) -> Result<Keyring, ControlError> {
        let bytes = Zeroizing::new(self.get("keys")?.bytes()?);
        Keyring::decode(&bytes).map_err(|error| ControlError::Answer(error.to_string()))
    }

    /// The latest invites.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn invites(&self) -> Result<Vec<InviteInfo>, ControlError> {
        self.get("invite")?.json()
    }

    /// Changes who belongs, or what something is called.
    ///
    /// # Errors
    /// When the node refuses or does not answer.
    pub fn wish(&self, wish: &WishFor) -> Result<(), ControlError> {
        self.send(&self.url("wish"), wish).map(drop)
    }

    /// Writes an invite; returns its token.
    ///
    /// # Errors
    /// When the node refuses or does not answer.
    pub fn invite(&self, invite: &InviteFor) -> Result<Zeroizing<String>, ControlError> {
        self.send(&self.url("invite"), invite)?.json().map(Zeroizing::new)
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
        let call = self.agent.post(self.node_url("renew-token")).header("authorization", self.bearer().as_str());
        Answer::check(call.send(&[])?)?.json()
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

    fn node_url(&self, path: &str) -> String {
        format!("http://{}/control/{path}", self.file.address)
    }

    fn url(&self, path: &str) -> String {
        self.node_url(&format!("{}/{path}", self.ledger))
    }

    fn bearer(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("Bearer {}", self.file.token.reveal()))
    }

    fn get(&self, path: &str) -> Result<Answer, ControlError> {
        self.call(self.agent.get(self.url(path)))
    }

    fn call(&self, request: RequestBuilder<WithoutBody>) -> Result<Answer, ControlError> {
        Answer::check(request.header("authorization", self.bearer().as_str()).call()?)
    }

    fn send(&self, url: &str, body: &impl Serialize) -> Result<Answer, ControlError> {
        let body = serde_json::to_vec(body).map_err(|error| ControlError::Answer(error.to_string()))?;
        let request = self.agent.post(url).header("authorization", self.bearer().as_str());
        Answer::check(request.header("content-type", "application/json").send(&body)?)
    }

    fn post(&self, path: &str, body: &[u8]) -> Result<Answer, ControlError> {
        Answer::check(self.agent.post(self.url(path)).header("authorization", self.bearer().as_str()).send(body)?)
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

    fn bytes(mut self) -> Result<Vec<u8>, ControlError> {
        Ok(self.0.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec()?)
    }

    fn json<T: DeserializeOwned>(self) -> Result<T, ControlError> {
        let bytes = self.bytes()?;
        serde_json::from_slice(&bytes).map_err(|error| ControlError::Answer(error.to_string()))
    }
}
