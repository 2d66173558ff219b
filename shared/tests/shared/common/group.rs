//! A members' ledger: a founder, two who may come in, and a hub that does not write.

use shared::{
    BlockHash, Entry, Header, Input, Kind, LedgerId, MemoryStore, Timestamp, VerifiedBlock,
    effect::{Wish, WishError},
    members::{Genesis, Join, Role},
};

use super::{Net, at, key, node_id};

pub(crate) const SALT: [u8; 16] = [5; 16];
pub(crate) const HUB: usize = 3;

pub(crate) fn ledger() -> LedgerId {
    Genesis { founder: node_id(1), salt: SALT }.ledger()
}

/// A founder, two who may come in, and a hub that does not write.
pub(crate) fn group() -> Net {
    let mut net = Net::of(Some(ledger()), &[true, true, true, false]);
    wish(&mut net, 0, Wish::Found { salt: SALT }).unwrap();
    net.link(0, HUB);
    net.settle();
    net
}

pub(crate) fn wish(net: &mut Net, node: usize, wish: Wish) -> Result<BlockHash, WishError> {
    net.now += 1_000;
    net.turn(node, vec![Input::Control { token: 0, wish }]);
    net.nodes[node].granted.pop().unwrap()
}

/// An invite whose secret is key `secret`.
pub(crate) fn invite(net: &mut Net, node: usize, secret: u8, role: Role, uses: u32) -> BlockHash {
    wish(net, node, Wish::Invite { key: node_id(secret), role, uses, expires: Timestamp::MAX }).unwrap()
}

/// The first block of a newcomer, which holds the secret of an invite.
pub(crate) fn join(newcomer: u8, secret: u8, invite: BlockHash, micros: u64) -> VerifiedBlock {
    let join = Join::sign(&key(secret), &ledger(), invite, &node_id(newcomer));
    join.block(ledger(), &key(newcomer), at(micros), at(micros), [newcomer; 16])
}

/// Node `node` comes in.
pub(crate) fn bring_in(net: &mut Net, by: usize, node: usize, role: Role) {
    let secret = 99 + net.nodes[node].number;
    let invite = invite(net, by, secret, role, 1);
    net.settle();
    let first = join(net.nodes[node].number, secret, invite, net.now);
    net.nodes[node].join = Some(first.bytes().to_vec());
    net.nodes[node].epoch = net.replica(by).keys().current().cloned();
    net.restart(node, MemoryStore::default());
    net.link(node, HUB);
    net.settle();
}

/// A block made outside any replica.
pub(crate) fn block(
    author: u8,
    height: u64,
    micros: u64,
    parents: &[BlockHash],
    kind: Kind,
    payload: &[u8],
) -> VerifiedBlock {
    let (ledger, author, timestamp, key) = (ledger(), node_id(author), at(micros), key(author));
    let header = Header { ledger, author, height, timestamp, parents: parents.to_vec() };
    VerifiedBlock::sign(header, vec![Entry::new(kind, [7; 16], payload.to_vec())], &key)
}

pub(crate) fn head(net: &Net, node: usize, author: u8) -> BlockHash {
    net.replica(node).heads()[&node_id(author)].last().unwrap().1
}
