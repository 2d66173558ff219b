//! An entry in one line for people: who, when, and what it says.

use std::collections::BTreeMap;

use serde_json::Value;
use shared::view::EntryView;

use crate::host::MemberInfo;

/// Digits of an id that stand for whoever has no name.
const DIGITS: usize = 10;

/// What the nodes are called, as far as that has been read.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    pub(super) fn of(members: &[MemberInfo]) -> Self {
        let named = |member: &MemberInfo| Some((member.node.clone(), member.name.clone()?));
        Self(members.iter().filter_map(named).collect())
    }

    /// The line of an entry.
    pub(super) fn line(&mut self, entry: &EntryView) -> String {
        let data = serde_json::from_str(entry.data.get()).unwrap_or(Value::Null);
        if let ("nickname", Some(name)) = (entry.kind.as_str(), data.as_str()) {
            self.0.insert(entry.creator_node_id.clone(), name.to_owned());
        }
        let time = entry.timestamp[..19].replace('T', " ");
        let author = self.call(&entry.creator_node_id);
        let said = match self.says(entry, &data) {
            Some(words) => format!("· {words}"),
            None => entry.data.get().to_owned(),
        };
        clean(&format!("{time}  {author:<DIGITS$}  {said}"))
    }

    fn call(&self, node: &str) -> String {
        self.0.get(node).cloned().unwrap_or_else(|| node.chars().take(DIGITS).collect())
    }

    /// What an entry says that is not somebody's words.
    fn says(&self, entry: &EntryView, data: &Value) -> Option<String> {
        let text = |field: &str| data[field].as_str().unwrap_or("?");
        let count = |field: &str| data[field].as_u64().unwrap_or(0);
        Some(match entry.kind.as_str() {
            _ if entry.erased.is_some() => {
                let by = entry.erased.as_ref().map_or(String::new(), |erased| self.call(&erased.by));
                format!("erased by {by}")
            }
            _ if entry.withheld => "what it says has not come here yet".to_owned(),
            _ if entry.sealed => "sealed, and the key is not here".to_owned(),
            "data" => return None,
            "genesis" => "began this ledger".to_owned(),
            "invite" => {
                let until = data["expires"].as_str().and_then(|time| time.get(..10));
                let until = until.map_or(String::new(), |day| format!(", until {day}"));
                format!("invited {} as {}{until}", people(count("uses")), text("role"))
            }
            "join" => "came in".to_owned(),
            "remove" if data["closed"] == true => "closed an invite".to_owned(),
            "remove" if text("member") == entry.creator_node_id => "left".to_owned(),
            "remove" => format!("removed {}", self.call(text("member"))),
            "rekey" => format!("gave a key to {}", people(count("recipients"))),
            "nickname" => format!("is called {data}"),
            "ledger_name" => format!("calls the ledger {data}"),
            "evidence" => {
                format!("proved that {} signed two blocks of height {}", self.call(text("author")), count("height"))
            }
            "voucher" => "vouched for what was here".to_owned(),
            "succession" => format!("goes on for {}", self.call(text("node"))),
            "erase" => "erased an entry".to_owned(),
            kind => format!("{kind}: {}", entry.data.get()),
        })
    }
}

fn people(count: u64) -> String {
    if count == 1 { "one person".to_owned() } else { format!("{count} people") }
}

/// Without what moves a cursor or rings a bell: a line is whoever's words.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &str, data: &str) -> EntryView {
        let view = format!(
            r#"{{"id":"x","timestamp":"2026-11-26T05:21:46.950272Z","data":{data},"previous_hash":"","hash":"",
            "creator_node_id":"97505f15749cc7c1","signatures":{{}},"height":1,"index":0,"kind":"{kind}","parents":[]}}"#
        );
        serde_json::from_str(&view).unwrap()
    }

    #[test]
    fn a_name_is_used_from_the_entry_on_that_gives_it() {
        let mut names = Names::default();
        assert_eq!(names.line(&entry("data", "\"hi\"")), "2026-11-26 05:21:46  97505f1574  \"hi\"");
        assert_eq!(names.line(&entry("nickname", "\"Anna\"")), "2026-11-26 05:21:46  Anna        · is called \"Anna\"");
        assert_eq!(names.line(&entry("data", "\"hi\"")), "2026-11-26 05:21:46  Anna        \"hi\"");
    }

    #[test]
    fn what_moves_a_cursor_is_not_printed() {
        let line = Names::default().line(&entry("data", "{\"a\":\n\"\u{9b}2J\"}"));
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }

    #[test]
    fn a_removal_says_who_and_a_leave_that_it_is_one() {
        let mut names = Names::default();
        assert!(
            names.line(&entry("remove", r#"{"member":"abcdefghijkl","height":3}"#)).ends_with("· removed abcdefghij")
        );
        assert!(names.line(&entry("remove", r#"{"member":"97505f15749cc7c1","height":3}"#)).ends_with("· left"));
        assert!(names.line(&entry("remove", r#"{"invite":"aa","closed":true}"#)).ends_with("· closed an invite"));
    }
}
