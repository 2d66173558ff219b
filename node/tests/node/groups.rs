//! The commands of a group, and those of the ledgers of a data directory, with and without a node that serves it.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Place, Ran, Served};

/// A command that says why it does nothing.
fn refused(ran: &Ran, code: i32, sentence: &str) {
    assert_eq!(ran.code(), code, "{}{}", ran.stdout(), ran.stderr());
    assert!(ran.stderr().contains(sentence), "{}", ran.stderr());
    assert_eq!(ran.stdout(), "");
}

/// What a command says that prints one value.
fn said(place: &Place, arguments: &[&str]) -> Value {
    let mut lines = place.run(arguments).json();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A node that is there or not while a test goes on.
type Serve = fn(&Place) -> Option<Served>;

const SERVES: [Serve; 2] = [|_| None, |place| Some(place.serve::<&str>(&[]))];

#[test]
fn a_ledger_is_made_as_a_whole_or_not_at_all() {
    let place = Place::new();
    // By then the ledger has begun and has its name.
    refused(&place.run(&["init", "garden", "--nickname", &"x".repeat(65)]), 1, "name of 65 bytes, 1 to 64 are allowed");
    refused(&place.run(&["init", "garden", "--nickname", "a\nb"]), 1, "control character");
    assert_eq!(said(&place, &["ledgers", "--json"]), json!([]));
    assert_eq!(fs::read_dir(place.data().path().join("ledgers")).unwrap().count(), 0);
    refused(&place.run(&["init", ""]), 1, "name of 0 bytes");
    refused(&place.run(&["init", "garden", "--relay", "ftp://relay.example"]), 2, "ftp://relay.example");
    assert_eq!(said(&place, &["ledgers", "--json"]), json!([]));

    let made = said(&place, &["init", "garden", "--nickname", "anna", "--json"]);
    assert_eq!(keys(&made), ["ledger", "name", "node"]);
    let of_ledger =
        json!({ "id": made["ledger"], "name": "garden", "node": made["node"], "open": false, "default": true });
    assert_eq!(said(&place, &["ledgers", "--json"]), json!([of_ledger]));
    let status = said(&place, &["status", "--json"]);
    let shown = ["open", "role", "removed", "members"].map(|key| &status[key]);
    assert_eq!(shown, [&json!(false), &json!("owner"), &json!(false), &json!(1)]);
    #[cfg(unix)]
    for name in ["node.key", "successor.key"] {
        use std::os::unix::fs::PermissionsExt;
        let ledger = text(&made["ledger"]).parse().unwrap();
        let file = place.data().further(&ledger).path().join(name);
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    // A name does not tell groups apart, and an open ledger is its name.
    assert_ne!(said(&place, &["init", "garden", "--json"])["ledger"], made["ledger"]);
    place.run(&["init", "--open", "yard"]).lines();
    refused(&place.run(&["init", "--open", "yard"]), 1, "is in this data directory already");
    assert_eq!(said(&place, &["ledgers", "--json"]).as_array().unwrap().len(), 3);
}

#[test]
fn a_ledger_is_named_by_its_name_or_by_the_first_digits_of_its_id() {
    for serve in SERVES {
        let place = Place::new();
        let garden = said(&place, &["init", "garden", "--json"]);
        let served = serve(&place);
        // A node that serves goes on with these at once.
        let house = said(&place, &["init", "my house", "--json"]);
        let yard = said(&place, &["init", "--open", "yard", "--json"]);
        for made in [&garden, &house, &yard] {
            let id = text(&made["ledger"]);
            for wanted in [text(&made["name"]), id, &id[..12]] {
                let status = said(&place, &["--ledger", wanted, "status", "--json"]);
                assert_eq!((&status["ledger"], &status["name"]), (&made["ledger"], &made["name"]), "{wanted}");
                assert_eq!(status["node"], made["node"]);
            }
            place.run(&["--ledger", id, "append", text(&made["name"])]).lines();
        }
        for made in [&garden, &house, &yard] {
            let log = place.run(&["--ledger", text(&made["name"]), "log", "--json"]).json();
            let data: Vec<&Value> = log.iter().filter(|e| e["kind"] == "data").map(|entry| &entry["data"]).collect();
            assert_eq!(data, [&made["name"]]);
        }
        // Three digits name nothing, and no command makes a ledger of a name that it does not find.
        for wanted in [&text(&garden["ledger"])[..3], "nowhere"] {
            let sentence = format!("there is no ledger {wanted:?} here, but ");
            refused(&place.run(&["--ledger", wanted, "append", "x"]), 66, &sentence);
            refused(&place.run(&["--ledger", wanted, "members"]), 66, &sentence);
        }
        assert_eq!(said(&place, &["ledgers", "--json"]).as_array().unwrap().len(), 3);
        // Of two that are called alike, no command takes the one or the other.
        let other = said(&place, &["init", "garden", "--json"]);
        let commands = [&["--ledger", "garden", "rename", "x"][..], &["--ledger", "garden", "status"]];
        for command in commands.into_iter().chain([&["ledgers", "--default", "garden"][..]]) {
            let ran = place.run(command);
            refused(&ran, 2, "\"garden\" may be any of ");
            assert!(ran.stderr().contains(text(&other["ledger"])) && ran.stderr().contains(text(&garden["ledger"])));
        }
        assert_eq!(served.map(Served::terminate).unwrap_or(0), 0);
    }
}

#[test]
fn the_default_ledger_is_the_first_one_until_another_is_chosen() {
    for serve in SERVES {
        let place = Place::new();
        for name in ["garden", "house"] {
            place.run(&["init", name]).lines();
        }
        place.run(&["init", "--open", "yard"]).lines();
        let default = || text(&said(&place, &["status", "--json"])["name"]).to_owned();
        assert_eq!(default(), "garden");
        for name in ["house", "yard"] {
            let served = serve(&place);
            let before = default();
            let ran = place.run(&["ledgers", "--default", name, "--json"]);
            assert!(ran.stderr().contains("from the next start on"), "{}", ran.stderr());
            // What a running node shows to those who name no ledger stays what it was.
            assert_eq!(default(), if served.is_some() { &before } else { name });
            assert_eq!(served.map(Served::terminate).unwrap_or(0), 0);
            assert_eq!(default(), name);
            let ledgers = said(&place, &["ledgers", "--json"]);
            let names: Vec<&str> = ledgers.as_array().unwrap().iter().map(|ledger| text(&ledger["name"])).collect();
            let marks: Vec<&Value> = ledgers.as_array().unwrap().iter().map(|ledger| &ledger["default"]).collect();
            assert_eq!((names.len(), names[0]), (3, name));
            assert_eq!(marks, [true, false, false]);
        }
        refused(&place.run(&["ledgers", "--default", "nowhere"]), 66, "there is no ledger \"nowhere\" here");
        assert_eq!(default(), "yard");
    }
}

#[test]
fn invites_are_listed_and_closed() {
    for serve in SERVES {
        let place = Place::new();
        let made = said(&place, &["init", "garden", "--json"]);
        let served = serve(&place);
        let invite = said(&place, &["invite", "--json"]);
        assert_eq!(keys(&invite), ["expires", "link", "role", "uses"]);
        assert_eq!((&invite["role"], &invite["uses"]), (&json!("member"), &json!(1)));
        assert!(invite["expires"].is_string(), "{invite}");
        assert!(text(&invite["link"]).starts_with("http://127.0.0.1:3000/#join="));
        let arguments = ["--role", "reader", "--uses", "5", "--expires", "never", "--page", "https://a.example/b"];
        let link = place.run(&[&["invite"], &arguments[..]].concat()).lines().remove(0);
        assert!(link.starts_with("https://a.example/b#join="), "{link}");
        let relay = said(&place, &["invite", "--relay", "wss://relay.example", "--json"]);
        assert!(text(&relay["link"]).starts_with("https://relay.example/#join="), "{relay}");

        let list = said(&place, &["invite", "--list", "--json"]);
        let shown = |key| list.as_array().unwrap().iter().map(|invite| &invite[key]).collect::<Vec<_>>();
        assert_eq!(keys(&list[0]), ["block", "by", "expires", "open", "role", "used", "uses"]);
        assert_eq!(shown("role"), ["member", "reader", "member"]);
        assert_eq!(shown("uses"), [1, 5, 1]);
        assert_eq!(shown("used"), [0, 0, 0]);
        assert_eq!(shown("by"), [&made["node"]; 3]);
        assert_eq!((&list[0]["expires"], &list[1]["expires"]), (&invite["expires"], &json!(null)));
        assert_eq!(shown("open"), [true, true, true]);
        let table = place.run(&["invite", "--list"]).lines();
        assert!(table[2].contains("reader") && table[2].contains("0 of 5") && table[2].ends_with("never"), "{table:?}");

        let block = text(&list[1]["block"]);
        assert_eq!(
            place.run(&["invite", "--close", &block[..12]]).lines()[0],
            "Nobody comes in by that link any more."
        );
        let list = said(&place, &["invite", "--list", "--json"]);
        let open =
            |list: &Value| list.as_array().unwrap().iter().map(|invite| invite["open"].clone()).collect::<Vec<_>>();
        assert_eq!(open(&list), [true, false, true]);
        refused(&place.run(&["invite", "--close", block]), 1, "that was done before");
        refused(&place.run(&["invite", "--close", "0000000"]), 1, "there is no invite \"0000000\"");
        for wrong in [["--uses", "0"], ["--expires", "0d"], ["--role", "king"], ["--list", "--uses=2"]] {
            assert_eq!(place.run(&[&["invite"], &wrong[..]].concat()).code(), 2, "{wrong:?}");
        }
        assert_eq!(said(&place, &["invite", "--list", "--json"]), list);
        assert_eq!(served.map(Served::terminate).unwrap_or(0), 0);
    }
}

#[test]
fn a_text_that_is_no_invite_is_told_what_it_is_and_leaves_nothing() {
    let place = Place::new();
    place.run(&["init", "garden"]).lines();
    let invite = said(&place, &["invite", "--json"]);
    let link = text(&invite["link"]);
    let newcomer = Place::new();
    let mistyped = link.replacen("#join=hw", "#join=hx", 1);
    for (wrong, sentence) in [
        ("", "not an invite: expected a link with #join= in it"),
        ("http://127.0.0.1:3000/", "not an invite"),
        (&link[..link.len() - 1], "cut off or mistyped"),
        (mistyped.as_str(), "cut off or mistyped"),
        (&format!("{link}{}", "A".repeat(10_000)), "characters, limit is"),
    ] {
        refused(&newcomer.run(&["join", wrong]), 2, sentence);
    }
    refused(&newcomer.run(&["join", link, "--nickname", ""]), 2, "name of 0 bytes");
    assert!(!newcomer.data().path().exists());
}

#[test]
fn who_has_a_link_and_reaches_nobody_is_not_in_yet() {
    let place = Place::new();
    let made = said(&place, &["init", "garden", "--json"]);
    let invite = said(&place, &["invite", "--json"]);
    let newcomer = Place::new();
    let joined = said(&newcomer, &["join", text(&invite["link"]), "--json"]);
    assert_eq!(keys(&joined), ["entries", "ledger", "name", "node", "role"]);
    assert_eq!(joined["ledger"], made["ledger"]);
    assert_eq!((&joined["role"], &joined["name"], &joined["entries"]), (&json!(null), &json!(""), &json!(0)));
    assert_eq!(said(&newcomer, &["members", "--json"]), json!([]));
    assert_eq!(newcomer.run(&["members"]).lines(), ["This node is not in yet, and does not know who is."]);
    refused(&newcomer.run(&["append", "x"]), 1, "it has not joined it");
    refused(&newcomer.run(&["invite"]), 1, "this node is no member of this ledger");
    refused(&newcomer.run(&["leave", "--yes"]), 1, "this node is no member of this ledger");
    // The same link again is the same node, and who made the link is in already.
    assert_eq!(said(&newcomer, &["join", text(&invite["link"]), "--json"]), joined);
    assert_eq!(said(&place, &["join", text(&invite["link"]), "--json"])["role"], "owner");
}

#[test]
fn members_are_shown_and_named() {
    for serve in SERVES {
        let place = Place::new();
        let made = said(&place, &["init", "garden", "--nickname", "anna", "--json"]);
        let served = serve(&place);
        let members = said(&place, &["members", "--json"]);
        assert_eq!(keys(&members[0]), ["by", "joined", "me", "name", "node", "removed", "role"]);
        assert_eq!((&members[0]["node"], &members[0]["name"]), (&made["node"], &json!("anna")));
        place.run(&["nickname", "ännchen"]).lines();
        place.run(&["rename", "my garden"]).lines();
        place.run(&["rekey"]).lines();
        let table = place.run(&["members"]).lines();
        assert!(table[1].starts_with("ännchen (you)  owner "), "{table:?}");
        assert_eq!(said(&place, &["status", "--json"])["name"], "my garden");
        refused(&place.run(&["rename", "\u{7}"]), 1, "control character");
        refused(&place.run(&["remove", "nobody"]), 1, "\"nobody\" is no member");
        // Nobody sits at the terminal to say yes, and the founder stays.
        refused(&place.run(&["leave"]), 1, "nothing was done");
        refused(&place.run(&["leave", "--yes"]), 1, "role does not allow this");
        assert_eq!(served.map(Served::terminate).unwrap_or(0), 0);
    }
}

#[test]
fn an_open_ledger_has_no_members() {
    for serve in SERVES {
        let place = Place::new();
        place.run(&["init", "--open", "yard"]).lines();
        let served = serve(&place);
        assert_eq!(said(&place, &["members", "--json"]), json!([]));
        let sentence = "This ledger has no members: it is open to whoever knows its name.";
        assert_eq!(place.run(&["members"]).lines(), [sentence]);
        refused(&place.run(&["invite"]), 1, "this ledger is open");
        refused(&place.run(&["rename", "court"]), 1, "it keeps that");
        refused(&place.run(&["rekey"]), 1, "this ledger is open");
        place.run(&["nickname", "anna"]).lines();
        assert_eq!(served.map(Served::terminate).unwrap_or(0), 0);
    }
}

#[test]
fn nothing_is_made_by_asking() {
    let place = Place::new();
    assert_eq!(said(&place, &["ledgers", "--json"]), json!([]));
    for command in
        [&["members"][..], &["invite"], &["leave", "--yes"], &["rename", "x"], &["nickname", "x"], &["rekey"]]
    {
        refused(&place.run(command), 66, "there is no ledger in ");
    }
    assert!(!place.data().path().exists());
}
