//! Frames and packets that are not what they say: cut short, with wrong lengths, with forbidden bits, in broken UTF-8. Each
//! is refused or closes its own connection, the node stays up, and nothing of it gets into the store.

use std::{net::SocketAddr, time::Duration};

use tokio::{io::AsyncWriteExt, task::JoinSet, time::timeout};

use crate::{
    Error, Scale,
    client::Client,
    frame::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, header, masked, text},
    node::Node,
    report::Report,
};

/// How long the node may take to close or to answer.
const ANSWER: Duration = Duration::from_secs(20);
const GROWTH_MIB: f64 = 64.0;

/// What the node has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Must {
    /// Close the connection.
    Close,
    /// Keep it, and go on answering.
    Stay,
    /// One of the two.
    Either,
    /// Nothing: the frame is not at its end, so there is nothing to answer. The client ends the connection.
    Wait,
}

struct Case {
    name: String,
    bytes: Vec<u8>,
    must: Must,
}

pub(crate) async fn run(_: Scale) -> Result<Vec<Report>, Error> {
    let node = Node::start(&[])?;
    let mut report = Report::new("malformed");
    let (files, memory) = (node.files(), node.memory());
    node.forget_peak()?;
    let mut cases = frames();
    cases.extend(packets());
    cases.extend(truncations());
    let count = cases.len();
    let mut tried = JoinSet::new();
    for case in cases {
        if tried.len() >= 200 {
            note(tried.join_next().await, &mut report)?;
        }
        tried.spawn(attempt(node.address, case));
    }
    while !tried.is_empty() {
        note(tried.join_next().await, &mut report)?;
    }
    report.figure("cases", count);
    let mut client = Client::connect(node.address, None).await?;
    client.send("42[\"get_ledger\"]").await?;
    let mut ledger = String::new();
    while ledger.is_empty() {
        client.read(&mut |packet| ledger = packet.to_owned()).await?;
    }
    drop(client);
    report.require(ledger == "42[\"ledger_entries\",[]]", || format!("the ledger is not empty: {ledger:.200}"));
    report.at_most("growth_mib", node.peak().saturating_sub(memory) as f64 / 1024.0, GROWTH_MIB);
    // The reader's connections to the store stay.
    let files_after = node.files_again(files + 12, ANSWER).await;
    report.none("files_left", files_after.saturating_sub(files + 12));
    node.stop(&mut report).await;
    Ok(vec![report])
}

type Tried = Option<Result<(String, Result<(), String>), tokio::task::JoinError>>;

fn note(tried: Tried, report: &mut Report) -> Result<(), Error> {
    if let Some(tried) = tried
        && let (name, Err(why)) = tried?
    {
        report.fail(format!("{name}: {why}"));
    }
    Ok(())
}

/// Sends the bytes of a case as a connected client, and sees what comes of it.
async fn attempt(address: SocketAddr, case: Case) -> (String, Result<(), String>) {
    let tried = async {
        let mut client = Client::connect(address, None).await.map_err(|error| format!("no connection: {error}"))?;
        // The node may close it while this writes.
        let mut written = client.stream.write_all(&case.bytes).await;
        if case.must == Must::Wait {
            drop(written);
            // Nothing may come but the node's own words, and then the connection ends from this side.
            return client.stream.shutdown().await.map_err(|error| error.to_string());
        }
        if written.is_ok() {
            written = client.send("421[\"message-with-ack\",\"still there\"]").await;
        }
        let mut alive = false;
        let reading = async {
            while !alive && client.read(&mut |packet| alive |= packet == "431[\"still there\"]").await.is_ok() {}
        };
        let ended = timeout(ANSWER, reading).await.is_ok();
        match (case.must, alive) {
            _ if !ended => {
                Err(format!("neither answered nor closed within {} s (written: {written:?})", ANSWER.as_secs()))
            }
            (Must::Close, true) => Err("the connection stays".to_owned()),
            (Must::Stay, false) => Err("the connection was closed".to_owned()),
            _ => Ok(()),
        }
    };
    let result = tried.await;
    (case.name, result)
}

fn case(name: impl Into<String>, bytes: impl Into<Vec<u8>>, must: Must) -> Case {
    Case { name: name.into(), bytes: bytes.into(), must }
}

/// What RFC 6455 forbids, and some of what it allows.
fn frames() -> Vec<Case> {
    let mut cases = vec![
        case("a ping of 125 bytes", masked(FIN | PING, &[b'x'; 125]), Must::Stay),
        case("a pong that nobody asked for", masked(FIN | PONG, b"x"), Must::Stay),
        case("a ping of 126 bytes", masked(FIN | PING, &[b'x'; 126]), Must::Close),
        case("a ping of 65,536 bytes", masked(FIN | PING, &[b'x'; 65_536]), Must::Close),
        case("a ping in two parts", [masked(PING, b"a"), masked(FIN | CONTINUATION, b"b")].concat(), Must::Close),
        case("a close frame in two parts", masked(CLOSE, &1000_u16.to_be_bytes()), Must::Close),
        case("a close frame of one byte", masked(FIN | CLOSE, &[3]), Must::Close),
        case("a close frame of 126 bytes", masked(FIN | CLOSE, &[3; 126]), Must::Close),
        case("a close code that is none", masked(FIN | CLOSE, &999_u16.to_be_bytes()), Must::Close),
        case("a close reason in broken UTF-8", masked(FIN | CLOSE, &[3, 232, 0xff, 0xfe]), Must::Close),
        case("an end without a beginning", masked(FIN | CONTINUATION, b"x"), Must::Close),
        case("a beginning in a message", [masked(TEXT, b"4"), masked(FIN | TEXT, b"2")].concat(), Must::Close),
        case(
            "a message in parts with a ping between",
            [masked(TEXT, b"42[\"mess"), masked(FIN | PING, b"x"), masked(FIN | CONTINUATION, b"age\",1]")].concat(),
            Must::Stay,
        ),
        case(
            "a thousand empty parts",
            masked(TEXT, b"4").into_iter().chain(masked(CONTINUATION, b"").repeat(1_000)).collect::<Vec<u8>>(),
            Must::Close,
        ),
        case("ten thousand pings", masked(FIN | PING, b"x").repeat(10_000), Must::Stay),
        case("no mask", [header(FIN | TEXT, 2, false), b"42".to_vec()].concat(), Must::Close),
        case("a frame of 2^63 bytes", [header(FIN | TEXT, 1 << 63, true), vec![0; 4]].concat(), Must::Close),
        case("a frame of 2^64 - 1 bytes", [header(FIN | TEXT, u64::MAX, true), vec![0; 4]].concat(), Must::Close),
        case("a frame of 5 MiB", [header(FIN | TEXT, 5 << 20, true), vec![0; 4]].concat(), Must::Close),
        case(
            "the beginning of a frame of 4 MiB",
            [header(FIN | TEXT, 4 << 20, true), vec![0; 400]].concat(),
            Must::Wait,
        ),
        case("text in broken UTF-8", masked(FIN | TEXT, b"42[\"message\",\"\xff\xfe\"]"), Must::Close),
        case("text with half a character", masked(FIN | TEXT, b"42[\"message\",\"\xe2\x82"), Must::Close),
        case("text with a surrogate", masked(FIN | TEXT, b"42[\"message\",\"\xed\xa0\x80\"]"), Must::Close),
        case(
            "a character in two parts",
            [masked(TEXT, b"42[\"message\",\"\xe2"), masked(FIN | CONTINUATION, b"\x82\xac\"]")].concat(),
            Must::Stay,
        ),
        case(
            "a character cut in two parts",
            [masked(TEXT, b"42[\"message\",\"\xe2"), masked(FIN | CONTINUATION, b"\"]")].concat(),
            Must::Close,
        ),
        case("an HTTP request in a WebSocket", &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], Must::Close),
    ];
    for opcode in (0x3..0x8).chain(0xb..0x10) {
        cases.push(case(format!("opcode {opcode}"), masked(FIN | opcode, b"x"), Must::Close));
    }
    for bits in [0x10, 0x20, 0x40, 0x70] {
        cases.push(case(
            format!("reserved bits {bits:#x}"),
            masked(FIN | bits | TEXT, b"42[\"message\",1]"),
            Must::Close,
        ));
        cases.push(case(format!("reserved bits {bits:#x} of a ping"), masked(FIN | bits | PING, b"x"), Must::Close));
    }
    cases
}

/// Packets that are wrong in a WebSocket that is right.
fn packets() -> Vec<Case> {
    let mut cases = vec![
        case("an empty text", text(""), Must::Either),
        case("a packet of no type", text("9"), Must::Close),
        case("an Engine.IO open", text("0{}"), Must::Close),
        case("an Engine.IO upgrade", text("5"), Must::Either),
        case("a second CONNECT", text("40"), Must::Either),
        case("a CONNECT to nowhere", text("40/nowhere,"), Must::Stay),
        case("an event to nowhere", text("42/nowhere,[\"message\",1]"), Must::Stay),
        case("a DISCONNECT of nowhere", text("41/nowhere,"), Must::Stay),
        case("an event of no JSON", text("42[\"message\",{]"), Must::Either),
        case("an event of no name", text("42[]"), Must::Either),
        case("an event of a number", text("42[7]"), Must::Either),
        case("an event that is an object", text("42{\"message\":1}"), Must::Either),
        case("an answer to no question", text("431[1]"), Must::Stay),
        case("an ack of 2^64", text("4218446744073709551616[\"message\",1]"), Must::Either),
        case("an entry of no JSON", text("42[\"add_ledger_entry\",{\"a\":]"), Must::Either),
        case("an entry with more behind it", text("42[\"add_ledger_entry\",1,2]"), Must::Stay),
        case("an entry without a value", text("42[\"add_ledger_entry\"]"), Must::Stay),
        case(
            "an entry that is too large",
            text(&format!("42[\"add_ledger_entry\",\"{}\"]", "x".repeat(70_000))),
            Must::Stay,
        ),
        case(
            "an entry nested 100,000 deep",
            text(&format!("42[\"add_ledger_entry\",{}]", "[".repeat(100_000))),
            Must::Either,
        ),
        case("a get_ledger of nonsense", text("42[\"get_ledger\",{\"limit\":-1}]"), Must::Stay),
        case("a get_ledger behind nonsense", text("42[\"get_ledger\",{\"after\":\"no id\"}]"), Must::Stay),
        case("a subscribe behind nonsense", text("42[\"subscribe\",{\"cursor\":\"no cursor\"}]"), Must::Stay),
        case(
            "an attachment that never comes",
            text("451-[\"message\",{\"_placeholder\":true,\"num\":0}]"),
            Must::Either,
        ),
        case("4,599,999,999 attachments", text("454599999999-[\"message\",1]"), Must::Either),
        case("a binary frame that nobody announced", masked(FIN | BINARY, b"x"), Must::Either),
    ];
    let attached = [text("451-[\"add_ledger_entry\",{\"_placeholder\":true,\"num\":0}]"), masked(FIN | BINARY, b"x")];
    cases.push(case("an entry with an attachment", attached.concat(), Must::Stay));
    let wrong = [text("451-[\"add_ledger_entry\",{\"_placeholder\":true,\"num\":7}]"), masked(FIN | BINARY, b"x")];
    cases.push(case("an attachment with another number", wrong.concat(), Must::Stay));
    cases
}

/// Every beginning of valid frames, and valid frames around every beginning of a packet.
fn truncations() -> Vec<Case> {
    let packets = [
        "42[\"add_ledger_entry\",{\"text\":\"never whole\"}]",
        "4217[\"append_many\",[{\"text\":\"never whole\"},\"x\"]]",
        "42[\"subscribe\",{\"cursor\":null,\"keep_live\":true}]",
        "452-7[\"message\",{\"_placeholder\":true,\"num\":0}]",
        "40/p2p,{\"node_id\":\"someone\"}",
    ];
    let mut cases = Vec::new();
    for packet in packets {
        let whole = text(packet);
        for len in 0..whole.len() {
            cases.push(case(format!("{len} bytes of the frame of {packet}"), &whole[..len], Must::Wait));
        }
        for len in 1..packet.len() {
            cases.push(case(format!("a frame with {len} bytes of {packet}"), text(&packet[..len]), Must::Either));
        }
    }
    cases
}
