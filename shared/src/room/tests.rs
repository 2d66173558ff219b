//! Tables of frames and answers.

use alloc::{vec, vec::Vec};

use serde_json::{Value, json};

use super::*;
use crate::{
    block::open_ledger,
    effect::{Effect, Input},
    key::Key,
    members::Genesis,
    replica::Config,
    store::MemoryStore,
    time::Timestamp,
};

const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);
const C: LinkId = LinkId(3);

type Ledger = Replica<MemoryStore>;

/// A room and, if it is not the lobby, its ledger.
struct Scene {
    room: Room,
    replica: Option<Ledger>,
}

impl Scene {
    fn lobby() -> Self {
        Self { room: Room::new(NodeId::from_bytes([7; 32]), [1; 32], None), replica: None }
    }

    /// A ledger with so many entries, in blocks of at most 256.
    fn ledger(entries: usize) -> (Self, Vec<Effect>) {
        let key = Key::from_secret(&[9; 32]);
        let config = Config { writes: true, ..Config::new(open_ledger("room"), key, [3; 32]) };
        let now = Timestamp::from_micros(1_700_000_000_000_000).unwrap();
        let mut effects = Vec::new();
        let mut replica = Replica::restore(config, MemoryStore::default(), &[], now, &mut effects).unwrap();
        let payloads: Vec<Vec<u8>> = (0..entries).map(|i| format!("{{\"n\":{i}}}").into_bytes()).collect();
        for (token, payloads) in payloads.chunks(100).enumerate() {
            let input = Input::Append { token: token as u64, payloads: payloads.to_vec() };
            replica.handle(now, input, &mut effects).unwrap();
        }
        replica.commit(now, &mut effects).unwrap();
        (Self { room: Room::new(replica.node(), [1; 32], Some(&replica.ledger())), replica: Some(replica) }, effects)
    }

    fn text(&mut self, link: LinkId, text: &str) -> Vec<RoomEffect> {
        let mut effects = Vec::new();
        self.room.on_text(link, text, self.replica.as_ref(), &mut effects).unwrap();
        effects
    }

    fn frame(&mut self, link: LinkId, kind: &str, to: &str, payload: Value) -> Vec<RoomEffect> {
        self.text(link, &frame(kind, to, &payload))
    }

    fn open(&mut self, links: &[LinkId]) {
        links.iter().for_each(|link| self.room.on_opened(*link, &mut Vec::new()));
    }

    fn announce(&mut self, link: LinkId, id: &str) -> Vec<RoomEffect> {
        self.frame(link, "NodeAnnounce", "", json!({ "node_id": id }))
    }
}

fn frame(kind: &str, to: &str, payload: &Value) -> String {
    json!({ "message_type": kind, "message_id": "m", "sender_id": "s", "recipient_id": to, "payload": payload })
        .to_string()
}

/// What was sent: to whom, which type, which payload.
fn sent(effects: &[RoomEffect]) -> Vec<(LinkId, String, Value)> {
    let parse = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    let sent = effects.iter().filter_map(|effect| match effect {
        RoomEffect::Send { link, text } => Some((*link, parse(text))),
        _ => None,
    });
    sent.map(|(link, frame)| (link, frame["message_type"].as_str().unwrap().into(), frame["payload"].clone())).collect()
}

fn code(effects: &[RoomEffect]) -> Option<String> {
    let errors = sent(effects).into_iter().filter(|(_, kind, _)| kind == "Error");
    errors.map(|(_, _, payload)| payload["code"].as_str().unwrap().into()).next()
}

fn closed(effects: &[RoomEffect]) -> Vec<(LinkId, CloseReason)> {
    let closes = effects.iter().filter_map(|effect| match effect {
        RoomEffect::Close { link, reason } => Some((*link, reason.clone())),
        _ => None,
    });
    closes.collect()
}

#[test]
fn announcements_reach_those_present_and_those_who_come() {
    let mut scene = Scene::lobby();
    scene.open(&[A, B]);
    let effects = scene.announce(A, "ann");
    assert_eq!(sent(&effects), [(B, "NodeAnnounce".into(), json!({ "node_id": "ann" }))]);
    let mut effects = Vec::new();
    scene.room.on_opened(C, &mut effects);
    assert_eq!(sent(&effects), [(C, "NodeAnnounce".into(), json!({ "node_id": "ann" }))]);
    let effects = scene.frame(C, "NodeListRequest", "", json!({}));
    assert_eq!(sent(&effects), [(C, "NodeListResponse".into(), json!({ "nodes": ["ann"] }))]);
    scene.room.on_closed(A);
    let effects = scene.frame(C, "NodeListRequest", "", json!({}));
    assert_eq!(sent(&effects), [(C, "NodeListResponse".into(), json!({ "nodes": [] }))]);
}

#[test]
fn a_frame_opens_a_client_that_was_not_opened() {
    let mut scene = Scene::lobby();
    scene.announce(A, "ann");
    let effects = scene.announce(B, "bob");
    let announcement = |id| json!({ "node_id": id });
    assert_eq!(
        sent(&effects),
        [(B, "NodeAnnounce".into(), announcement("ann")), (A, "NodeAnnounce".into(), announcement("bob"))]
    );
}

#[test]
fn an_id_of_no_client_is_that_of_a_node_where_the_room_reaches_nodes() {
    let (far, me) = (NodeId::from_bytes([8; 32]), NodeId::from_bytes([7; 32]));
    let mut scene = Scene::lobby();
    scene.open(&[A, B, C]);
    scene.announce(A, "ann");
    assert_eq!(code(&scene.frame(A, "Hello", &far.to_string(), json!(1))), Some("unknown_recipient".into()));
    scene.room = scene.room.reaching_nodes();
    assert_eq!(code(&scene.frame(A, "Hello", "nobody", json!(1))), Some("unknown_recipient".into()));
    let effects = scene.frame(A, "Hello", &far.to_string(), json!(1));
    let [RoomEffect::Forward { link: A, recipient, text }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(*recipient, far);

    // At the other end it comes from the node that it comes from.
    let mut effects = Vec::new();
    scene.room.on_message(&far, text, &mut effects);
    let came = |link| (link, "Hello".into(), json!(1));
    assert_eq!(sent(&effects), [came(A), came(B), came(C)]);
    let RoomEffect::Send { text: envelope, .. } = &effects[0] else { panic!("{effects:?}") };
    let envelope: Value = serde_json::from_str(envelope).unwrap();
    assert_eq!((&envelope["sender_id"], &envelope["recipient_id"]), (&json!(far.to_string()), &json!(me.to_string())));

    // Who speaks for this node gets it alone; what is no envelope goes nowhere.
    scene.announce(B, &me.to_string());
    let mut effects = Vec::new();
    scene.room.on_message(&far, text, &mut effects);
    scene.room.on_message(&far, "hello", &mut effects);
    assert_eq!(sent(&effects), [came(B)]);

    let mut effects = Vec::new();
    scene.room.not_forwarded(A, text, DirectedError::Unreachable(far), &mut effects);
    assert_eq!(code(&effects), Some("unreachable".into()));
}

#[test]
fn envelopes_go_to_all_others_or_to_whom_they_name() {
    let mut scene = Scene::lobby();
    scene.open(&[A, B, C]);
    scene.announce(B, "bob");
    scene.announce(C, "bob");
    scene.announce(C, "cyd");
    let mut check = |link, to: &str, expect: &[LinkId]| {
        let effects = scene.frame(link, "Chat", to, json!([1, "x"]));
        let expect: Vec<_> = expect.iter().map(|link| (*link, "Chat".into(), json!([1, "x"]))).collect();
        assert_eq!(sent(&effects), expect, "to {to:?}");
    };
    check(A, "", &[B, C]);
    check(B, "", &[A, C]);
    check(A, "bob", &[B, C]);
    check(A, "cyd", &[C]);
    check(B, "bob", &[C]);
    assert_eq!(code(&scene.frame(A, "Chat", "dan", json!({}))).as_deref(), Some("unknown_recipient"));
    // In the lobby, requests for entries are for the others; the lobby has none.
    let effects = scene.frame(A, "EntryRequest", "", json!({ "entry_id": "x" }));
    assert_eq!(sent(&effects).len(), 2);
}

#[test]
fn what_goes_out_has_the_five_fields_in_order() {
    let mut scene = Scene::lobby();
    scene.open(&[A, B]);
    let text = "{\"payload\": {\"a\" : 1e2},\"recipient_id\":\"\",\"sender_id\":\"s\\u0041\",\"message_id\":\"m\",\"message_type\":\"T\"}";
    let effects = scene.text(A, text);
    let expect = "{\"message_type\":\"T\",\"message_id\":\"m\",\"sender_id\":\"sA\",\"recipient_id\":\"\",\"payload\":{\"a\" : 1e2}}";
    assert_eq!(effects, [RoomEffect::Send { link: B, text: expect.into() }]);
}

#[test]
fn frames_that_do_not_parse_are_named_counted_and_never_passed_on() {
    let long = "x".repeat(TEXT_ID_BYTES + 1);
    let ok = json!({ "message_type": "T", "message_id": "m", "sender_id": "", "recipient_id": "", "payload": null });
    let with = |field: &str, value: Value| {
        let mut frame = ok.clone();
        frame[field] = value;
        frame.to_string()
    };
    let without = |field: &str| {
        let mut frame = ok.clone();
        frame.as_object_mut().unwrap().remove(field);
        frame.to_string()
    };
    let table: Vec<(String, &str)> = vec![
        (String::new(), "malformed"),
        ("hello".into(), "malformed"),
        ("null".into(), "malformed"),
        ("[1,2]".into(), "malformed"),
        ("[\"T\",\"m\",\"\",\"\",null]".into(), "malformed"),
        ("{".into(), "malformed"),
        ("[".repeat(100_000), "malformed"),
        (format!("{ok} x"), "malformed"),
        (without("message_type"), "malformed"),
        (without("message_id"), "malformed"),
        (without("sender_id"), "malformed"),
        (without("recipient_id"), "malformed"),
        (without("payload"), "malformed"),
        (with("extra", json!(1)), "malformed"),
        (with("sender_id", json!(7)), "malformed"),
        (with("recipient_id", Value::Null), "malformed"),
        (with("message_type", json!("")), "malformed"),
        (with("message_id", json!("")), "malformed"),
        (with("sender_id", json!(long)), "malformed"),
        (with("message_type", json!(long)), "malformed"),
        (" ".repeat(TEXT_FRAME_BYTES + 1), "too_large"),
        (frame("NodeAnnounce", "", &json!({})), "bad_payload"),
        (frame("NodeAnnounce", "", &json!({ "node_id": "" })), "bad_payload"),
        (frame("NodeAnnounce", "", &json!({ "node_id": long })), "bad_payload"),
        (frame("NodeAnnounce", "", &json!("ann")), "bad_payload"),
        (frame("NodeAnnounce", "", &json!(["ann"])), "bad_payload"),
    ];
    for (text, expect) in table {
        let mut scene = Scene::lobby();
        scene.open(&[A, B]);
        for count in 1..=TEXT_FAULTS {
            let effects = scene.text(A, &text);
            let shown: String = text.chars().take(80).collect();
            assert_eq!(code(&effects).as_deref(), Some(expect), "{shown}");
            assert!(sent(&effects).iter().all(|(link, _, payload)| *link == A && payload.to_string().len() < 400));
            let end = if count == TEXT_FAULTS { vec![(A, CloseReason::TooManyFaults)] } else { vec![] };
            assert_eq!(closed(&effects), end, "{shown}");
        }
    }
}

#[test]
fn refusals_that_are_no_faults_close_nobody() {
    let mut scene = Scene::lobby();
    scene.open(&[A, B]);
    let me = scene.room.me.to_string();
    let table = [
        (frame("EntryAnnounce", "", &json!({ "id": "x" })), "entry_refused"),
        (frame("Chat", "nobody", &json!({})), "unknown_recipient"),
        (frame("Chat", &me, &json!({})), "unsupported"),
    ];
    for (text, expect) in table {
        for _ in 0..=TEXT_FAULTS {
            let effects = scene.text(A, &text);
            assert_eq!(code(&effects).as_deref(), Some(expect));
            assert_eq!(effects.len(), 1, "{expect}");
        }
    }
}

#[test]
fn ids_frames_and_recipients_are_bounded() {
    let mut scene = Scene::lobby();
    scene.open(&[A, B]);
    for i in 0..TEXT_IDS {
        assert_eq!(code(&scene.announce(A, &format!("{i}"))), None);
    }
    assert_eq!(code(&scene.announce(A, "one more")).as_deref(), Some("too_many_ids"));
    assert_eq!(code(&scene.announce(A, "0")), None);

    let payload = json!("x".repeat(TEXT_FRAME_BYTES - 1000));
    let most = TEXT_FANOUT_BYTES / frame("Chat", "", &payload).len();
    for link in 3..=most as u64 {
        scene.open(&[LinkId(link)]);
    }
    assert_eq!(code(&scene.frame(A, "Chat", "", payload.clone())), None);
    (1_000..1_010).for_each(|link| scene.open(&[LinkId(link)]));
    assert_eq!(code(&scene.frame(A, "Chat", "", payload)).as_deref(), Some("too_many_recipients"));
}

#[test]
fn who_does_not_read_is_closed() {
    let mut scene = Scene::lobby();
    scene.open(&[A, B, C]);
    let payload = json!("x".repeat(TEXT_FRAME_BYTES - 1000));
    let mut ends = Vec::new();
    for _ in 0..=TEXT_UNREAD_BYTES / (TEXT_FRAME_BYTES - 1000) {
        ends.extend(closed(&scene.frame(A, "Chat", "", payload.clone())));
        ends.extend(closed(&scene.frame(C, "Chat", "", json!("I read"))));
    }
    assert_eq!(ends, [(B, CloseReason::Unread)]);
    assert!(scene.room.unread < TEXT_UNREAD_BYTES);
}

#[test]
fn a_restored_room_goes_on_as_the_one_that_never_slept() {
    let mut scene = Scene::lobby();
    scene.open(&[A, B]);
    let mut state = Vec::new();
    let mut remember = |effects: Vec<RoomEffect>| {
        for effect in effects {
            if let RoomEffect::Remember { link, state: new } = effect {
                assert_eq!(link, A);
                assert!(new.len() <= 2_000);
                state = new;
            }
        }
    };
    for i in 0..TEXT_IDS {
        let id: String = core::iter::repeat_n(char::from(b'a' + i as u8), TEXT_ID_BYTES).collect();
        remember(scene.announce(A, &id));
    }
    (1..TEXT_FAULTS).for_each(|_| remember(scene.text(A, "?")));

    let mut woken = Scene { room: Room::new(scene.room.me, [2; 32], None), replica: None };
    woken.room.restore(A, &state);
    woken.room.restore(B, &[]);
    let list = |scene: &mut Scene| sent(&scene.frame(B, "NodeListRequest", "", json!({})));
    assert_eq!(list(&mut woken), list(&mut scene));
    assert_eq!(code(&woken.announce(A, "one more")).as_deref(), Some("too_many_ids"));
    assert_eq!(closed(&woken.text(A, "?")), [(A, CloseReason::TooManyFaults)]);
    // Bytes that this code never wrote make a client that said nothing yet.
    for state in [&[0xff; 3][..], &[0x82, 0x01, 0x9f], &state[..40]] {
        woken.room.restore(C, state);
        assert!(woken.room.clients[&C].ids.is_empty());
    }
}

#[test]
fn message_ids_are_uuids_that_never_repeat() {
    let mut ids = BTreeSet::new();
    for seed in [[1; 32], [2; 32]] {
        let mut room = Room::new(NodeId::from_bytes([7; 32]), seed, None);
        for _ in 0..100 {
            let id = room.message_id();
            assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 4);
            assert!(ids.insert(id));
        }
    }
}

#[test]
fn entries_are_read_from_the_ledger() {
    let (mut scene, _) = Scene::ledger(3);
    let node = scene.room.me;
    let id = format!("{node}-1-1");
    let effects = scene.frame(A, "EntryRequest", "", json!({ "entry_id": id }));
    let answers = sent(&effects);
    let [(A, kind, entry)] = &answers[..] else { panic!("{effects:?}") };
    assert_eq!((kind.as_str(), &entry["id"], &entry["data"]), ("EntryResponse", &json!(id), &json!({ "n": 1 })));

    let table = [
        ("EntryRequest", json!({ "entry_id": format!("{node}-9-0") }), "unknown_entry"),
        ("EntryRequest", json!({ "entry_id": "x" }), "bad_payload"),
        ("EntryRequest", json!({}), "bad_payload"),
        ("LedgerSyncRequest", json!({ "after": format!("{node}-9-0") }), "unknown_entry"),
        ("LedgerSyncRequest", json!({ "after": "x" }), "bad_payload"),
        ("LedgerSyncRequest", json!({ "limit": -1 }), "bad_payload"),
        ("LedgerSyncRequest", json!([]), "bad_payload"),
        ("EntryAnnounce", entry.clone(), "entry_refused"),
    ];
    for (kind, payload, expect) in table {
        assert_eq!(code(&scene.frame(A, kind, "", payload.clone())).as_deref(), Some(expect), "{kind} {payload}");
    }
    let effects = scene.frame(A, "NodeListRequest", &node.to_string(), json!({}));
    assert_eq!(sent(&effects), [(A, "NodeListResponse".into(), json!({ "nodes": [node.to_string()] }))]);
}

#[test]
fn the_ledger_is_read_in_pages() {
    let entries = TEXT_PAGE_ENTRIES * 2 + 10;
    let (mut scene, _) = Scene::ledger(entries);
    let (mut seen, mut after, mut pages) = (Vec::new(), Value::Null, Vec::new());
    loop {
        let payload = if pages.is_empty() { json!({}) } else { json!({ "after": after }) };
        let answers = sent(&scene.frame(A, "LedgerSyncRequest", "", payload));
        let [(A, kind, page)] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(kind, "LedgerSyncResponse");
        let page = page.as_array().unwrap();
        let Some(last) = page.last() else { break };
        after = last["id"].clone();
        pages.push(page.len());
        seen.extend(page.iter().map(|entry| entry["data"]["n"].as_u64().unwrap()));
    }
    assert_eq!(pages, [TEXT_PAGE_ENTRIES, TEXT_PAGE_ENTRIES, 10]);
    assert!(seen.into_iter().eq(0..entries as u64));
    let first = sent(&scene.frame(A, "LedgerSyncRequest", "", json!({ "after": null, "limit": 2 })));
    assert_eq!(first[0].2.as_array().unwrap().len(), 2);
}

#[test]
fn every_client_hears_of_every_new_entry() {
    let (mut scene, effects) = Scene::ledger(2);
    scene.open(&[A, B]);
    let mut told = Vec::new();
    for effect in &effects {
        if let Effect::Added(added) = effect {
            scene.room.on_added(added, &mut told);
        }
    }
    let told: Vec<_> =
        sent(&told).into_iter().map(|(link, kind, entry)| (link, kind, entry["data"]["n"].clone())).collect();
    let expect = [(A, 0), (B, 0), (A, 1), (B, 1)];
    assert_eq!(told, expect.map(|(link, n)| (link, "EntryAnnounce".into(), json!(n))));
}

#[test]
fn a_client_comes_back_within_its_limits_whatever_was_kept_of_it() {
    let mut kept = Vec::new();
    let mut encoder = Encoder::new(&mut kept);
    encoder.array(2).and_then(|e| e.u32(u32::MAX)).and_then(|e| e.array(2)).unwrap();
    encoder.str(&"x".repeat(TEXT_ID_BYTES + 1)).and_then(|e| e.str("short")).unwrap();
    let mut scene = Scene::lobby();
    scene.room.restore(A, &kept);
    scene.room.restore(B, &[]);
    let effects = scene.frame(B, "x", "short", json!({}));
    assert!(effects.iter().any(|effect| matches!(effect, RoomEffect::Send { link: A, .. })));
    let effects = scene.frame(A, "NodeAnnounce", "", json!({ "node_id": "more" }));
    let states = effects.iter().filter_map(|effect| match effect {
        RoomEffect::Remember { state, .. } => Some(state.len()),
        _ => None,
    });
    assert!(states.max().is_some_and(|len| len < 100));
    let effects = scene.text(A, "nonsense");
    assert!(effects.contains(&RoomEffect::Close { link: A, reason: CloseReason::TooManyFaults }));
}

#[test]
fn a_members_ledger_tells_text_clients_nothing() {
    let ledger = Genesis { founder: NodeId::from_bytes([7; 32]), salt: [0; 16] }.ledger();
    let mut room = Room::new(NodeId::from_bytes([7; 32]), [1; 32], Some(&ledger));
    let (mut effects, link) = (Vec::new(), LinkId(1));
    room.on_opened(link, &mut effects);
    let (scene, added) = Scene::ledger(1);
    for effect in added {
        if let Effect::Added(added) = effect {
            room.on_added(&added, &mut effects);
        }
    }
    assert_eq!(effects, []);
    let text = frame("NodeAnnounce", "", &json!({ "node_id": "a" }));
    room.on_text(link, &text, scene.replica.as_ref(), &mut effects).unwrap();
    assert_eq!(effects, [RoomEffect::Close { link, reason: CloseReason::NotAMember }]);
}
