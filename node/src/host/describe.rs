//! What a turn takes and does, in words for the log.

use shared::{Effect, Input, effect::Wish};

/// What goes into a replica, without what only members may read.
pub(super) fn input(input: &Input) -> String {
    match input {
        Input::Append { token, payloads } => {
            let bytes: usize = payloads.iter().map(Vec::len).sum();
            format!("append {token}: {} entries of {bytes} bytes", payloads.len())
        }
        Input::Import { token, blocks } => format!("import {token}: {} blocks", blocks.len()),
        Input::Control { token, wish } => format!("control {token}: {}", describe(wish)),
        Input::Direct { recipient, body, .. } => {
            format!("message of {} bytes to {}", body.len(), recipient.fmt_short())
        }
        Input::Repair { blocks } => format!("repair {} blocks", blocks.len()),
        Input::LinkOpened { link, role, path, .. } => format!("link {} opened: {role:?}, {}", link.0, path.name()),
        Input::Unreachable { dial } => format!("dial {} led nowhere", dial.0),
        Input::Reachable { addresses } => format!("reached at {} addresses", addresses.len()),
        Input::Found { addresses } => format!("found at {} addresses", addresses.len()),
        Input::NetworkChanged => "the network has changed".to_owned(),
        Input::LinkClosed { link } => format!("link {} closed", link.0),
        Input::Frame { link, bytes } => format!("frame of {} bytes on link {}", bytes.len(), link.0),
        Input::ReadFrame { link, frame } => format!("frame of {} bytes on link {}, read already", frame.size(), link.0),
        Input::Ping { link } => format!("ping on link {}", link.0),
        Input::Pong { link } => format!("pong on link {}", link.0),
        Input::DialFailed => "a dial failed".to_owned(),
        Input::Leave => "goodbye".to_owned(),
        Input::Wake => "wake".to_owned(),
    }
}

fn describe(wish: &Wish) -> String {
    match wish {
        // What members and their ledger are called is theirs to know.
        Wish::Nickname { name } => format!("a nickname of {} bytes", name.len()),
        Wish::LedgerName { name } => format!("a ledger name of {} bytes", name.len()),
        other => format!("{other:?}"),
    }
}

/// What comes out of it, likewise.
pub(super) fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Dial { dial, addresses } => format!("dial {} of {} addresses", dial.0, addresses.len()),
        Effect::Send { link, bytes } => format!("send {} bytes on link {}", bytes.len(), link.0),
        Effect::Ping { link } => format!("ping on link {}", link.0),
        Effect::Pong { link } => format!("pong on link {}", link.0),
        Effect::Close { link, reason } => format!("close link {}: {reason}", link.0),
        Effect::Remember { link, .. } => format!("remember link {}", link.0),
        Effect::Appended { token, result: Ok(ids) } => format!("append {token}: {} entries are durable", ids.len()),
        Effect::Appended { token, result: Err(error) } => format!("append {token} refused: {error}"),
        Effect::Imported { token, report } => format!("import {token}: {report:?}"),
        Effect::Added(added) => {
            let header = added.block.header();
            let author = header.author.fmt_short();
            format!("added block {} of {author} as {}", header.height, added.seq)
        }
        Effect::Repaired { hash } => format!("repaired block {hash}"),
        Effect::OrderChanged { from: Some(from) } => format!("order changed after {from}"),
        Effect::OrderChanged { from: None } => "order changed from the beginning".to_owned(),
        Effect::ForkDetected(evidence) => format!("fork of {:?}", evidence.lane()),
        Effect::Removed(removal) => format!("removal of {:?}", removal.lane()),
        Effect::MembersChanged { writes, keys } => format!("members changed: writes {writes}, keys {keys}"),
        Effect::Erased { entry, by, .. } => format!("{} erased {entry}", by.fmt_short()),
        Effect::Directed { token, result } => format!("message {token} to another node: {result:?}"),
        Effect::Received { sender, body } => format!("message of {} bytes from {}", body.len(), sender.fmt_short()),
        Effect::Granted { token, result } => format!("granted {token}: {result:?}"),
        Effect::Succeeded { old, new } => format!("{} goes on as {}", old.fmt_short(), new.fmt_short()),
        Effect::Held { height, nodes } => format!("own blocks up to {height} held by {nodes} nodes"),
        Effect::Progress { link, done, total } => format!("link {}: {done} of {total} blocks", link.0),
        Effect::PeerUp { link, node } => format!("link {} is node {}", link.0, node.fmt_short()),
        Effect::PeerDown { link, node } => format!("link {} of node {} is gone", link.0, node.fmt_short()),
        Effect::Presence { node, online: true } => format!("node {} is on line", node.fmt_short()),
        Effect::Presence { node, online: false } => format!("node {} is gone", node.fmt_short()),
    }
}
