//! A members' ledger from outside: secrets and control entries as bytes, and a replica at whose door anybody shows anything, while
//! members invite, remove and write.

use std::sync::OnceLock;

use shared::{
    Block, BlockHash, Config, Effect, Entry, Header, Input, Key, Keyring, Kind, LedgerId, LinkId, MemoryStore, Page,
    Place, Proof, ReadStore, Rekey, Replica, Role as Side, Timestamp, Token, VerifiedBlock,
    effect::Wish,
    members::{Genesis, Invite, Join, Remove, Role},
    wire::{Message, PROTOCOL_VERSION, auth_message, decode_frame},
};

use super::{
    decoders::allowed,
    peers::{check_whole, turn},
};
use crate::{
    allocation::at_most,
    choices::Choices,
    made::{self, KEYS, START, at, key, node_id},
};

/// The highest first byte that the target [`secrets`] tells apart.
pub(crate) const SECRETS: u8 = 6;
const SALT: [u8; 16] = [4; 16];
/// Keys of members, of the secret of an invite that is open, and of one that is closed.
const FOUNDER: u8 = 0;
const ADMIN: u8 = 1;
const OPEN: u8 = 6;
const CLOSED: u8 = 7;

/// Something sealed, a key on its way, a link, or a control entry.
pub(super) fn secrets(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let place = Place { ledger: made::ledger(), author: node_id(1), height: 7, index: 1 };
    match kind % (SECRETS + 1) {
        0 => {
            let Ok(rekey) = at_most(allowed(bytes), "a rekey", || Rekey::decode(bytes)) else { return };
            assert_eq!(rekey.encode(), bytes, "a rekey that does not re-encode to itself");
            for number in 0..KEYS {
                if let Ok(Some(key)) = rekey.open_as(key(number), &made::ledger()) {
                    assert!(key.id() == rekey.epoch() && rekey.previous(&key).len() <= 16);
                }
            }
        }
        1 => {
            let Ok(ring) = at_most(allowed(bytes), "a keyring", || Keyring::decode(bytes)) else { return };
            assert_eq!(*ring.encode(), bytes, "a keyring that does not re-encode to itself");
            assert!(ring.open(&place, bytes).is_err());
        }
        2 => {
            let text = String::from_utf8_lossy(bytes);
            let Ok(token) = at_most(allowed(bytes), "a token", || Token::parse(&text)) else { return };
            let again = token.encode().map(|text| Token::parse(&text).map(|again| again.encode()));
            assert_eq!(again, Ok(Ok(token.encode())));
        }
        3 => {
            if let Some(genesis) = Genesis::decode(bytes) {
                assert_eq!(genesis.encode(), bytes);
            }
            if let Some(invite) = Invite::decode(bytes) {
                assert_eq!(invite.encode(), bytes);
            }
        }
        4 => {
            if let Some(join) = Join::decode(bytes) {
                assert_eq!(join.encode(), bytes);
            }
            if let Some(remove) = Remove::decode(bytes) {
                assert_eq!(remove.encode(), bytes);
            }
        }
        5 => {
            if let Some(proof) = at_most(allowed(bytes), "a proof", || Proof::decode(bytes)) {
                assert_eq!(proof.encode(), bytes, "a proof that does not re-encode to itself");
            }
        }
        _ => {
            let mut ring = Keyring::default();
            let secret: [u8; 32] = bytes.first_chunk().copied().unwrap_or_default();
            assert!(ring.add(shared::EpochKey::from_secret(secret.into())).is_ok());
            assert!(at_most(allowed(bytes), "a payload", || ring.open(&place, bytes)).is_err(), "it opens by chance");
        }
    }
}

fn ledger() -> LedgerId {
    Genesis { founder: node_id(FOUNDER), salt: SALT }.ledger()
}

/// A block of a node, made outside any replica.
fn block(author: u8, height: u64, time: Timestamp, parents: Vec<BlockHash>, entry: Entry) -> VerifiedBlock {
    let header = Header { ledger: ledger(), author: node_id(author), height, timestamp: time, parents };
    VerifiedBlock::sign(header, vec![entry], key(author))
}

/// What is in the ledger at the beginning: the founder, an admin, an invite that is open and one that is closed.
struct Begun {
    store: MemoryStore,
    blocks: Vec<Vec<u8>>,
    open: BlockHash,
    closed: BlockHash,
}

fn begun() -> &'static Begun {
    static BEGUN: OnceLock<Begun> = OnceLock::new();
    BEGUN.get_or_init(|| {
        let mut founder = restore(FOUNDER, true, MemoryStore::default());
        let mut now = START;
        let mut wish = |replica: &mut Replica<MemoryStore>, wish| {
            now += 100;
            let effects = turn(replica, now, vec![Input::Control { token: 0, wish }]);
            let granted = effects.into_iter().find_map(|effect| match effect {
                Effect::Granted { result, .. } => result.ok(),
                _ => None,
            });
            granted.expect("a founder may do this")
        };
        wish(&mut founder, Wish::Found { salt: SALT });
        let invite = |key, role, uses| Wish::Invite { key: node_id(key), role, uses, expires: Timestamp::MAX };
        let admin = wish(&mut founder, invite(5, Role::Admin, 1));
        let [open, closed] = [OPEN, CLOSED].map(|key| wish(&mut founder, invite(key, Role::Member, 2)));
        wish(&mut founder, Wish::Close { invite: closed });
        let join = join(ADMIN, 5, admin, START + 10_000);
        turn(&mut founder, START + 20_000, vec![Input::import(0, vec![join])]);
        assert_eq!(founder.members().map(|members| members.len()).ok(), Some(2));
        let Ok(records) = founder.store().after(None, Page { blocks: usize::MAX, bytes: usize::MAX });
        let blocks = records.into_iter().map(|record| record.bytes).collect();
        Begun { store: founder.store().clone(), blocks, open, closed }
    })
}

fn join(newcomer: u8, secret: u8, invite: BlockHash, micros: u64) -> Vec<u8> {
    let join = Join::sign(key(secret), &ledger(), invite, &node_id(newcomer));
    join.block(ledger(), key(newcomer), at(micros), at(micros), [newcomer; 16]).bytes().to_vec()
}

fn restore(number: u8, writes: bool, store: MemoryStore) -> Replica<MemoryStore> {
    let config = Config { writes, ..Config::new(ledger(), Key::clone(key(number)), [number; 32]) };
    match Replica::restore(config, store, &[], at(START + 30_000), &mut Vec::new()) {
        Ok(replica) => replica,
        Err(_) => panic!("a replica refuses its own store"),
    }
}

/// Links on which anybody shows that it belongs, or says so, and wishes of the node's own.
pub(super) fn group(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let begun = begun();
    let writes = choices.below(2) == 0;
    let number = if writes { FOUNDER } else { 4 };
    let mut replica = restore(number, writes, begun.store.clone());
    let mut blocks = begun.blocks.clone();
    let (mut now, mut next) = (START + 1_000_000, 0);
    for _ in 0..60 {
        if choices.is_empty() {
            break;
        }
        now += choices.number() % 30_000_000;
        match choices.below(6) {
            0 => {
                let wish = wish(&mut choices, begun);
                turn(&mut replica, now, vec![Input::Control { token: 1, wish }]);
            }
            1 => {
                let payloads = vec![choices.bytes(50).to_vec()];
                turn(&mut replica, now, vec![Input::Append { token: 1, payloads }]);
            }
            2 => _ = turn(&mut replica, now, vec![Input::Wake]),
            3 => {
                let block = control(&mut choices, &blocks, begun, now).bytes().to_vec();
                turn(&mut replica, now, vec![Input::import(0, vec![block.clone()])]);
                blocks.push(block);
            }
            _ => {
                next += 1;
                knock(&mut replica, &mut choices, LinkId(next), &mut blocks, begun, now);
            }
        }
    }
    check_whole(&replica);
    let again = restore(number, writes, replica.store().clone());
    assert_eq!(
        (again.digest(), again.frozen()),
        (replica.digest(), replica.frozen()),
        "a restart makes another ledger"
    );
    assert_eq!(again.members().ok(), replica.members().ok(), "a restart makes other members");
}

fn some_hash(choices: &mut Choices<'_>, blocks: &[Vec<u8>]) -> BlockHash {
    let block = choices.pick(blocks).and_then(|bytes| Block::decode(bytes).ok());
    block.filter(|_| choices.below(8) > 0).map_or(BlockHash::from_bytes([9; 32]), |block| block.hash())
}

fn some_role(choices: &mut Choices<'_>) -> Role {
    [Role::Owner, Role::Admin, Role::Member, Role::Reader][choices.below(4)]
}

fn wish(choices: &mut Choices<'_>, begun: &Begun) -> Wish {
    match choices.below(7) {
        0 => Wish::Found { salt: SALT },
        1 => Wish::Invite {
            key: node_id(choices.byte()),
            role: some_role(choices),
            uses: choices.number() as u32,
            expires: at(choices.number()),
        },
        2 => Wish::Remove { member: node_id(choices.byte()) },
        3 => Wish::Close { invite: if choices.below(2) == 0 { begun.open } else { some_hash(choices, &begun.blocks) } },
        4 => Wish::Rekey,
        5 => Wish::Nickname { name: String::from_utf8_lossy(choices.bytes(40)).into() },
        _ => Wish::LedgerName { name: String::from_utf8_lossy(choices.bytes(40)).into() },
    }
}

/// An invite, open or closed, and the key of its secret.
fn some_invite(choices: &mut Choices<'_>, begun: &Begun) -> (u8, BlockHash) {
    if choices.below(4) > 0 { (OPEN, begun.open) } else { (CLOSED, begun.closed) }
}

/// A signed block that says something about who belongs, true or not.
fn control(choices: &mut Choices<'_>, blocks: &[Vec<u8>], begun: &Begun, now: u64) -> VerifiedBlock {
    let author = choices.byte() % KEYS;
    let own = blocks.iter().rev().filter_map(|bytes| Block::decode(bytes).ok());
    let own = own.filter(|block| block.header().author == node_id(author));
    let own = own.max_by_key(|block| block.header().height).filter(|_| choices.below(6) > 0);
    let [join, rests] = [(); 2].map(|()| some_hash(choices, blocks));
    let (secret, invite) = some_invite(choices, begun);
    let (kind, payload) = match choices.below(8) {
        0 => (Kind::GENESIS, Genesis { founder: node_id(author), salt: SALT }.encode()),
        1 => {
            let (role, uses) = (some_role(choices), choices.byte().into());
            (Kind::INVITE, Invite { join, key: node_id(OPEN), role, uses, expires: at(choices.number()) }.encode())
        }
        2 | 3 => (Kind::JOIN, Join::sign(key(secret), &ledger(), invite, &node_id(author)).encode()),
        4 => {
            let member = node_id(choices.byte());
            (Kind::REMOVE, Remove { join, member, rests, height: choices.number() }.encode())
        }
        5 => (Kind::REKEY, choices.bytes(300).to_vec()),
        6 => (Kind::EVIDENCE, choices.bytes(300).to_vec()),
        _ => (Kind(choices.below(14) as u16), choices.bytes(60).to_vec()),
    };
    let (height, mut parents, end) = match own {
        _ if kind == Kind::JOIN && choices.below(8) > 0 => (1, vec![invite], START + 50_000),
        Some(own) => (own.header().height + 1, vec![own.hash()], own.end().micros()),
        None => (1, Vec::new(), START),
    };
    if kind != Kind::JOIN && choices.below(2) == 0 {
        parents.push(some_hash(choices, blocks));
        parents.dedup();
    }
    let time = if choices.below(2) == 0 { end } else { end.max(now) };
    block(author, height, at(time), parents, Entry::new(kind, choices.array(), payload))
}

/// Somebody dials, proves a key, shows how it came in, and says what it likes. Who does not belong hears nothing but the
/// greeting, the proof and its own removal.
fn knock(
    replica: &mut Replica<MemoryStore>,
    choices: &mut Choices<'_>,
    link: LinkId,
    blocks: &mut Vec<Vec<u8>>,
    begun: &Begun,
    now: u64,
) {
    let peer = choices.byte() % KEYS;
    let effects = turn(replica, now, vec![Input::relay_opened(link, Side::Accepted)]);
    let hello = effects.iter().find_map(|effect| match effect {
        Effect::Send { link: to, bytes } if *to == link => decode_frame(bytes).ok(),
        _ => None,
    });
    let Some(Message::Hello { node, nonce: challenge, .. }) = hello.map(|frame| frame[0].message.clone()) else {
        return;
    };
    let nonce = [3; 32];
    let hello = Message::Hello { version: PROTOCOL_VERSION, ledger: ledger(), node: node_id(peer), nonce };
    let signature = key(peer).sign(&auth_message(&ledger(), (&node_id(peer), &nonce), (&node, &challenge)));
    say(replica, link, peer, now, [hello, Message::Auth { signature }]);
    for _ in 0..choices.below(5) {
        let known: Vec<BlockHash> = replica.heads().values().flatten().map(|(_, hash)| *hash).collect();
        let message = match choices.below(4) {
            0 => Message::Membership { blocks: shown(choices, peer, blocks, begun) },
            1 => {
                let block = control(choices, blocks, begun, now).bytes().to_vec();
                blocks.push(block.clone());
                Message::announce(vec![block], 0)
            }
            _ => made::message(choices, &known, blocks),
        };
        say(replica, link, peer, now, [message]);
    }
}

/// How somebody says to have come in.
fn shown(choices: &mut Choices<'_>, peer: u8, blocks: &[Vec<u8>], begun: &Begun) -> Vec<Vec<u8>> {
    if choices.below(2) == 0 {
        return (0..choices.below(4)).filter_map(|_| choices.pick(blocks).cloned()).collect();
    }
    let (secret, invite) = some_invite(choices, begun);
    let is_invite = |bytes: &&Vec<u8>| Block::decode(bytes).is_ok_and(|block| block.hash() == invite);
    let time = START + 50_000 + choices.number() % 100_000_000_000;
    let invite_block = begun.blocks.iter().find(is_invite).cloned();
    begun.blocks[..1].iter().cloned().chain(invite_block).chain([join(peer, secret, invite, time)]).collect()
}

fn say(
    replica: &mut Replica<MemoryStore>,
    link: LinkId,
    peer: u8,
    now: u64,
    messages: impl IntoIterator<Item = Message>,
) {
    for message in messages {
        let bytes = made::envelope(node_id(peer), message);
        let effects = turn(replica, now, vec![Input::Frame { link, bytes }]);
        let is_up = replica.links().iter().any(|status| status.link == link && status.node.is_some());
        let listed = replica.members().into_iter().flatten().any(|member| member.node == node_id(peer));
        assert!(!is_up || listed, "{peer} is let in and not on the list");
        let closes = |effect: &Effect| matches!(effect, Effect::Close { link: closed, .. } if *closed == link);
        if is_up || effects.iter().any(closes) {
            continue;
        }
        for effect in effects {
            if let Effect::Send { link: to, bytes } = effect
                && to == link
            {
                let said = decode_frame(&bytes).unwrap_or_default();
                let for_all = |message: &Message| matches!(message, Message::Hello { .. } | Message::Auth { .. });
                assert!(said.iter().all(|envelope| for_all(&envelope.message)), "a stranger hears {said:?}");
            }
        }
    }
}
