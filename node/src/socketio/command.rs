//! Reading a client's event: its JSON text becomes a typed command or a typed error.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::value::RawValue;
use shared::{
    EntryId,
    effect::{Wish, WishError},
    names,
};
use zeroize::Zeroizing;

use super::{error::ClientError, queries::Query};
use crate::{control::InviteFor, keys::Passphrase, ledgers::Joining};

/// What a client wants.
#[derive(Debug)]
pub(super) enum Command {
    /// The value comes back: as an event of this name if there is one, else by the ack alone.
    Echo { reply: Option<&'static str>, value: Box<RawValue> },
    /// These payloads shall be in the ledger, one entry each.
    Append { payloads: Vec<Vec<u8>>, many: Many },
    /// What is added from now on.
    Listen,
    /// Something of what is in the ledger.
    Query(Query),
    /// One entry.
    Entry(EntryId),
    /// The keys that open what is sealed.
    Keyring,
    /// The nodes that this one knows.
    KnownNodes,
    /// How the node is.
    Status,
    /// Who belongs to the ledger.
    Members,
    /// The ledgers of this node.
    Ledgers,
    /// A link for others to come in by.
    Invite(InviteFor),
    /// Another ledger on this node, of a group that begins.
    Create { name: String, nickname: Option<String> },
    /// Another ledger on this node, by an invite.
    Join(Box<Joining>),
    /// The node's key of this ledger, sealed with this passphrase.
    Backup(Passphrase),
    /// A change of who belongs, or of what something is called.
    Wish(Wish),
    /// Everything behind a cursor, and then what comes.
    Subscribe { cursor: Option<String>, live: Live },
}

/// Which of the two appends it was, which decides the form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Many {
    /// `add_ledger_entry`.
    One,
    /// `append_many`.
    Several,
}

/// What becomes of live entries while a subscription catches up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Live {
    /// They come in its batches only, so the connection sees each entry once.
    Paused,
    /// They go on, for a client whose followers share one connection.
    Kept,
}

impl Command {
    /// Whether it shows what is in the ledger, and so has to wait for the appends that were sent before it.
    pub(super) fn reads(&self) -> bool {
        match self {
            Self::Echo { .. } | Self::Append { .. } | Self::Ledgers | Self::Create { .. } | Self::Join(_) => false,
            // What changes who may write comes after what was sent before it.
            Self::Invite(_) | Self::Wish(_) => true,
            // How far the lane goes is in it.
            Self::Backup(_) => true,
            Self::Query(_) | Self::Entry(_) | Self::Keyring | Self::KnownNodes | Self::Members | Self::Status => true,
            // What was sent before it is behind the client.
            Self::Subscribe { .. } | Self::Listen => true,
        }
    }
}

/// The event's name, and its arguments as they were written.
#[derive(Debug)]
pub(super) struct Event<'a> {
    pub(super) name: String,
    arguments: Vec<&'a RawValue>,
}

impl<'a> Event<'a> {
    /// Reads `["name", argument …]`.
    pub(super) fn parse(text: &'a str) -> Result<Self, ClientError> {
        let wrong = |came: &str| ClientError::WrongArguments {
            event: "an event",
            expected: "a name and JSON arguments",
            came: came.to_owned(),
        };
        let mut arguments: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| wrong("something else"))?;
        if arguments.is_empty() {
            return Err(wrong("nothing"));
        }
        let name = serde_json::from_str(arguments.remove(0).get()).map_err(|_| wrong("no name"))?;
        Ok(Self { name, arguments })
    }

    /// What the event wants.
    pub(super) fn command(&self) -> Result<Command, ClientError> {
        let text = |value: &RawValue| value.get().as_bytes().to_vec();
        Ok(match self.name.as_str() {
            "message" => Command::Echo { reply: Some("message-back"), value: self.one("message")?.to_owned() },
            "ping" => {
                let value = self.at_most_one("ping")?.unwrap_or(RawValue::NULL).to_owned();
                Command::Echo { reply: Some("pong"), value }
            }
            "message-with-ack" => Command::Echo { reply: None, value: self.one("message-with-ack")?.to_owned() },
            "add_ledger_entry" => {
                Command::Append { payloads: vec![text(self.one("add_ledger_entry")?)], many: Many::One }
            }
            "append_many" => {
                let values: Vec<&RawValue> = self.object("append_many", "an array of data")?;
                Command::Append { payloads: values.into_iter().map(text).collect(), many: Many::Several }
            }
            "get_known_nodes" => self.none("get_known_nodes", Command::KnownNodes)?,
            "get_status" => self.none("get_status", Command::Status)?,
            "get_entry" => {
                let EntryArguments { id } = self.object("get_entry", "{id}")?;
                Command::Entry(id.parse()?)
            }
            "get_keyring" => self.none("get_keyring", Command::Keyring)?,
            "get_members" => self.none("get_members", Command::Members)?,
            "get_ledgers" => self.none("get_ledgers", Command::Ledgers)?,
            "create_invite" => self.invite()?,
            "remove_member" => {
                let RemoveArguments { node } = self.object("remove_member", "{node}")?;
                Command::Wish(Wish::Remove { member: node.parse()? })
            }
            "set_nickname" => {
                let NameArguments { name } = self.object("set_nickname", "{name}")?;
                Command::Wish(Wish::Nickname { name })
            }
            "rename_ledger" => {
                let NameArguments { name } = self.object("rename_ledger", "{name}")?;
                Command::Wish(Wish::LedgerName { name })
            }
            "erase_entry" => {
                let EntryArguments { id } = self.object("erase_entry", "{id}")?;
                Command::Wish(Wish::Erase { entry: id.parse()? })
            }
            "create_ledger" => {
                let CreateArguments { name, nickname } = self.object("create_ledger", "{name, nickname?}")?;
                check_names([Some(&name), nickname.as_ref()])?;
                Command::Create { name, nickname }
            }
            "join_ledger" => {
                let JoinArguments { token, nickname } = self.secret("join_ledger", "{token, nickname?}")?;
                check_names([nickname.as_ref()])?;
                Command::Join(Box::new(Joining::read(&token, nickname)?))
            }
            "backup_key" => {
                let BackupArguments { passphrase } = self.secret("backup_key", "{passphrase}")?;
                Command::Backup(Passphrase::check(passphrase)?)
            }
            "rekey" => self.none("rekey", Command::Wish(Wish::Rekey))?,
            "listen" => self.none("listen", Command::Listen)?,
            "subscribe" => self.subscribe()?,
            name => Command::Query(Query::parse(self)?.ok_or_else(|| unknown(name))?),
        })
    }

    /// The argument of `p2p_message`, the only event of its namespace.
    pub(super) fn envelope(&self) -> Result<&'a str, ClientError> {
        match self.name.as_str() {
            "p2p_message" => Ok(self.one("p2p_message")?.get()),
            name => Err(unknown(name)),
        }
    }

    fn invite(&self) -> Result<Command, ClientError> {
        let expected = "nothing or {role, uses, expires_in}, a role of owner, admin, member or reader, at least 1 use, and \
                        seconds or null";
        let arguments = match self.given("create_invite")? {
            None => InviteArguments::default(),
            Some(value) => read("create_invite", expected, value)?,
        };
        let InviteArguments { role, uses, expires_in } = arguments;
        let expires = expires_in.map(|seconds| now_micros().saturating_add(seconds.saturating_mul(1_000_000)));
        let invite = InviteFor { role, uses, expires, relays: Vec::new() };
        match invite.offer() {
            Ok(_) if uses > 0 => Ok(Command::Invite(invite)),
            Ok(_) => Err(ClientError::WrongArguments { event: "create_invite", expected, came: "0 uses".to_owned() }),
            Err(came) => Err(ClientError::WrongArguments { event: "create_invite", expected, came: start(&came) }),
        }
    }

    fn subscribe(&self) -> Result<Command, ClientError> {
        let arguments: SubscribeArguments = match self.given("subscribe")? {
            None => SubscribeArguments::default(),
            Some(value) => read("subscribe", "nothing or {cursor, keep_live}", value)?,
        };
        let live = if arguments.keep_live { Live::Kept } else { Live::Paused };
        Ok(Command::Subscribe { cursor: arguments.cursor, live })
    }

    fn one(&self, event: &'static str) -> Result<&'a RawValue, ClientError> {
        match self.arguments[..] {
            [value] => Ok(value),
            _ => Err(self.wrong_count(event, "one argument")),
        }
    }

    fn at_most_one(&self, event: &'static str) -> Result<Option<&'a RawValue>, ClientError> {
        match self.arguments[..] {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => Err(self.wrong_count(event, "at most one argument")),
        }
    }

    /// At most one argument, where `null` is none: JavaScript's `undefined` comes as `null`.
    pub(super) fn given(&self, event: &'static str) -> Result<Option<&'a RawValue>, ClientError> {
        Ok(self.at_most_one(event)?.filter(|value| value.get() != "null"))
    }

    fn none(&self, event: &'static str, command: Command) -> Result<Command, ClientError> {
        match self.given(event)? {
            None => Ok(command),
            Some(_) => Err(self.wrong_count(event, "no argument")),
        }
    }

    pub(super) fn object<T: Deserialize<'a>>(
        &self,
        event: &'static str,
        expected: &'static str,
    ) -> Result<T, ClientError> {
        read(event, expected, self.one(event)?)
    }

    /// The same where nothing of what came may be repeated.
    fn secret<T: Deserialize<'a>>(&self, event: &'static str, expected: &'static str) -> Result<T, ClientError> {
        let came = "something else".to_owned();
        let wrong = |_| ClientError::WrongArguments { event, expected, came };
        serde_json::from_str(self.one(event)?.get()).map_err(wrong)
    }

    fn wrong_count(&self, event: &'static str, expected: &'static str) -> ClientError {
        ClientError::WrongArguments { event, expected, came: format!("{} arguments", self.arguments.len()) }
    }
}

fn unknown(name: &str) -> ClientError {
    ClientError::UnknownEvent(start(name))
}

/// At most 80 characters of what came.
pub(super) fn start(text: &str) -> String {
    text.chars().take(80).collect()
}

pub(super) fn read<'a, T: Deserialize<'a>>(
    event: &'static str,
    expected: &'static str,
    value: &'a RawValue,
) -> Result<T, ClientError> {
    serde_json::from_str(value.get()).map_err(|error| {
        // Both could be as long as what came.
        let came = format!("{} ({})", start(value.get()), start(&error.to_string()));
        ClientError::WrongArguments { event, expected, came }
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryArguments {
    pub(super) id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveArguments {
    node: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NameArguments {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateArguments {
    name: String,
    nickname: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinArguments {
    token: Zeroizing<String>,
    nickname: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackupArguments {
    passphrase: Zeroizing<String>,
}

fn check_names<const N: usize>(names: [Option<&String>; N]) -> Result<(), WishError> {
    Ok(names.into_iter().flatten().try_for_each(|name| names::check(name))?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct InviteArguments {
    role: String,
    uses: u32,
    /// Seconds; `null`: it never ends.
    expires_in: Option<u64>,
}

impl Default for InviteArguments {
    fn default() -> Self {
        Self { role: "member".to_owned(), uses: 1, expires_in: Some(7 * 86_400) }
    }
}

fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    u64::try_from(since).unwrap_or(u64::MAX)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscribeArguments {
    cursor: Option<String>,
    #[serde(default)]
    keep_live: bool,
}

#[cfg(test)]
mod tests {
    use shared::{BlockHash, NodeId, Timestamp, Token, members::Genesis};

    use super::*;
    use crate::store::Beginning;

    fn command(text: &str) -> Result<Command, ClientError> {
        Event::parse(text)?.command()
    }

    fn code(text: &str) -> &'static str {
        command(text).map_or_else(|error| error.code(), |command| panic!("{text} is {command:?}"))
    }

    #[test]
    fn payloads_keep_the_text_of_their_author() {
        let text = "{ \"b\" : 1.50,\"a\":1e3, \"\\u0041\":\"\\ud83d\" }";
        let Ok(Command::Append { payloads, many: Many::One }) = command(&format!("[\"add_ledger_entry\", {text}]"))
        else {
            panic!("not an append");
        };
        assert_eq!(payloads, [text.as_bytes()]);
        let Ok(Command::Append { payloads, many: Many::Several }) = command(r#"["append_many",[1, {"a" :2},null]]"#)
        else {
            panic!("not an append");
        };
        assert_eq!(payloads, [&b"1"[..], b"{\"a\" :2}", b"null"]);
    }

    #[test]
    fn subscriptions_have_a_cursor_or_none() {
        for (text, cursor, live) in [
            (r#"["subscribe"]"#, None, Live::Paused),
            (r#"["subscribe",{"cursor":null}]"#, None, Live::Paused),
            (r#"["subscribe",{"cursor":"x","keep_live":true}]"#, Some("x"), Live::Kept),
        ] {
            let Ok(Command::Subscribe { cursor: came, live: how }) = command(text) else { panic!("{text}") };
            assert_eq!((came.as_deref(), how), (cursor, live), "{text}");
        }
    }

    #[test]
    fn every_wrong_event_has_its_code() {
        for text in [
            "[]",
            "{}",
            "[1]",
            "nonsense",
            r#"["message"]"#,
            r#"["message",1,2]"#,
            r#"["ping",1,2]"#,
            r#"["message-with-ack"]"#,
            r#"["add_ledger_entry"]"#,
            r#"["add_ledger_entry",1,2]"#,
            r#"["append_many"]"#,
            r#"["append_many",{}]"#,
            r#"["get_known_nodes",1]"#,
            r#"["get_status",{}]"#,
            r#"["get_entry"]"#,
            r#"["get_entry",{"id":7}]"#,
            r#"["get_entry",{"id":"x"}]"#,
            r#"["get_keyring",1]"#,
            r#"["get_members",1]"#,
            r#"["get_ledgers",1]"#,
            r#"["create_invite",{"role":"king"}]"#,
            r#"["create_invite",{"uses":0}]"#,
            r#"["create_invite",{"expires_in":-1}]"#,
            r#"["create_invite",{"for":"me"}]"#,
            r#"["remove_member"]"#,
            r#"["remove_member",{"node":"x"}]"#,
            r#"["set_nickname",{"name":7}]"#,
            r#"["rename_ledger",{}]"#,
            r#"["erase_entry",{}]"#,
            r#"["create_ledger"]"#,
            r#"["create_ledger",{"name":7}]"#,
            r#"["create_ledger",{"name":"a","open":true}]"#,
            r#"["join_ledger",{}]"#,
            r#"["join_ledger","token"]"#,
            r#"["backup_key"]"#,
            r#"["backup_key",{"passphrase":null}]"#,
            r#"["erase_entry",{"id":"x"}]"#,
            r#"["rekey",1]"#,
            r#"["subscribe","x"]"#,
            r#"["subscribe",{"cursor":7}]"#,
        ] {
            assert_eq!(code(text), "wrong_arguments", "{text}");
        }
        assert_eq!(code(r#"["nothing_of_this_name"]"#), "unknown_event");
        for (text, expected) in [
            (r#"["create_ledger",{"name":""}]"#, "wrong_name"),
            (r#"["create_ledger",{"name":"garden","nickname":"a\nb"}]"#, "wrong_name"),
            (r#"["join_ledger",{"token":"hello"}]"#, "wrong_token"),
            (r#"["join_ledger",{"token":"https://a.example/#join=hwcut"}]"#, "wrong_token"),
            (r#"["backup_key",{"passphrase":""}]"#, "wrong_passphrase"),
        ] {
            assert_eq!(code(text), expected, "{text}");
        }
    }

    #[test]
    fn an_invite_is_read_from_a_link_or_alone() {
        let genesis = Genesis { founder: NodeId::from_bytes([7; 32]), salt: [1; 16] };
        let token = Token {
            genesis: genesis.encode(),
            invite: BlockHash::from_bytes([2; 32]),
            end: Timestamp::from_micros(3).unwrap(),
            secret: Zeroizing::new([4; 32]),
            key: None,
            relays: vec!["wss://relay.example".to_owned()],
        };
        let token = token.encode().unwrap();
        for text in [token.to_string(), format!("https://a.example/x#join={}", *token)] {
            let Ok(Command::Join(joining)) =
                command(&format!(r#"["join_ledger",{{"token":"{text}","nickname":"ben"}}]"#))
            else {
                panic!("not an invite");
            };
            assert_eq!(joining.ledger(), Beginning::Members(genesis.clone()).id());
        }
    }

    #[test]
    fn errors_repeat_nothing_of_a_secret() {
        for text in [
            r#"["backup_key",{"passphrase":"hunter2","more":1}]"#,
            r#"["backup_key","hunter2"]"#,
            r#"["join_ledger",{"token":"hunter2"}]"#,
            r#"["join_ledger",{"token":"hwhunter2"}]"#,
            r#"["join_ledger",["hunter2"]]"#,
        ] {
            let error = command(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        let Ok(backup) = command(r#"["backup_key",{"passphrase":"hunter2"}]"#) else { panic!("no backup") };
        assert!(!format!("{backup:?}").contains("hunter2"), "{backup:?}");
    }

    #[test]
    fn errors_repeat_little_of_what_came() {
        let long = "x".repeat(100_000);
        let unknown = command(&format!("[{long:?}]")).unwrap_err().to_string();
        let wrong = command(&format!("[\"get_ledger\",{long:?}]")).unwrap_err().to_string();
        assert!(unknown.len() < 200 && wrong.len() < 400, "{} and {} bytes", unknown.len(), wrong.len());
    }
}
