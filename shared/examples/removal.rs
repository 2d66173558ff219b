//! `just removal`: what it costs to build a members' ledger of a thousand, and to remove one of them: for the one who removes
//! (with a new key sealed to all who stay), for a hub, and for a member that takes it in. Real keys, one thread, CPU time.

use std::{collections::VecDeque, fs, process::ExitCode, time::Instant};

use shared::{
    Block, BlockHash, Config, Effect, Entry, Header, Input, Key, Kind, LedgerId, MemoryStore, NodeId, Page, ReadStore,
    Replica, Timestamp, VerifiedBlock,
    effect::{Wish, WishError},
    members::{Genesis, Join, Role},
};

const USAGE: &str = "usage: removal [MEMBERS [BLOCKS]]   (1000 members who write 10000 blocks)";
/// Newcomers by one invite.
const USES: u32 = 100;
/// Removals that are measured, one after the other.
const REMOVALS: usize = 5;
/// Blocks of somebody who is removed that the one who removes has not seen.
const APART: u64 = 20;
const START: u64 = 1_800_000_000_000_000;
/// Goals: CPU seconds of the one who removes, and seconds until the removal is in force elsewhere.
const REMOVER: f64 = 2.0;
const IN_FORCE: f64 = 1.0;

/// A replica, its clock, and the blocks that it wrote and nobody else has yet.
struct Node {
    replica: Replica<MemoryStore>,
    written: VecDeque<Vec<u8>>,
    granted: Option<Result<BlockHash, WishError>>,
}

impl Node {
    fn new(ledger: LedgerId, key: Key, writes: bool, join: Option<Vec<u8>>) -> Self {
        let config = Config { writes, join, ..Config::new(ledger, key, [7; 32]) };
        let mut effects = Vec::new();
        let replica = Replica::restore(config, MemoryStore::default(), &[], at(START), &mut effects);
        let Ok(replica) = replica else { panic!("an empty store opens") };
        Self { replica, written: VecDeque::new(), granted: None }
    }

    /// Takes a turn; returns its CPU seconds.
    fn turn(&mut self, now: u64, inputs: Vec<Input>) -> f64 {
        let began = cpu();
        let mut effects = Vec::new();
        for input in inputs {
            self.replica.handle(at(now), input, &mut effects).expect("a store in memory never fails");
        }
        self.replica.commit(at(now), &mut effects).expect("a store in memory never fails");
        let took = cpu() - began;
        for effect in effects {
            match effect {
                Effect::Added(added) if added.block.header().author == self.replica.node() => {
                    self.written.push_back(added.block.bytes().to_vec());
                }
                Effect::Granted { result, .. } => self.granted = Some(result),
                // What waits for a voucher is parked until that has come.
                Effect::Imported { token: 0, report } => {
                    assert_eq!((report.refused, report.parked), (0, 0), "{report:?}");
                }
                _ => {}
            }
        }
        took
    }

    fn import(&mut self, now: u64, blocks: Vec<Vec<u8>>) -> f64 {
        self.turn(now, vec![Input::import(0, blocks)])
    }

    fn wish(&mut self, now: u64, wish: Wish) -> (BlockHash, f64) {
        let took = self.turn(now, vec![Input::Control { token: 0, wish }]);
        let granted = self.granted.take().expect("a wish is answered");
        (granted.expect("a founder may do this"), took)
    }

    fn blocks(&self) -> Vec<Vec<u8>> {
        let all = Page { blocks: usize::MAX, bytes: usize::MAX };
        let Ok(records) = self.replica.store().after(None, all);
        records.into_iter().map(|record| record.bytes).collect()
    }

    fn tip(&self, node: &NodeId) -> (u64, BlockHash) {
        *self.replica.heads()[node].last().expect("a lane has a tip")
    }
}

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap_or(Timestamp::MAX)
}

fn key(number: u32) -> Key {
    let mut secret = [1; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    Key::from_secret(&secret)
}

/// CPU seconds of this thread, where the system tells (Linux); otherwise seconds.
fn cpu() -> f64 {
    let nanos = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = nanos.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    nanos.map_or_else(|| began().elapsed().as_secs_f64(), |nanos| nanos / 1e9)
}

fn began() -> Instant {
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *BEGAN.get_or_init(Instant::now)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, otherwise: u32| words.get(i).map_or(Ok(otherwise), |word| word.parse());
    let (Ok(members), Ok(blocks), true) = (number(0, 1000), number(1, 10_000), words.len() <= 2) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let members = members.max(REMOVALS as u32 + 3);
    let salt = [3; 16];
    let ledger = Genesis { founder: key(0).node(), salt }.ledger();
    let mut founder = Node::new(ledger, key(0), true, None);
    let mut now = START;
    founder.wish(now, Wish::Found { salt });
    let firsts = join_all(&mut founder, ledger, members, &mut now);
    write_all(&mut founder, ledger, &firsts, blocks, &mut now);

    let mut hub = Node::new(ledger, key(u32::MAX), false, None);
    let mut member = Node::new(ledger, key(members - 1), true, firsts.last().cloned());
    let history = founder.blocks();
    let took = [&mut hub, &mut member].map(|node| node.import(now, history.clone()));
    println!("  a hub takes in {} blocks in {:.2} CPU s, a member in {:.2}", history.len(), took[0], took[1]);
    assert_eq!(hub.replica.digest(), founder.replica.digest());
    assert_eq!(member.replica.digest(), founder.replica.digest());

    founder.written.clear();
    let mut worst = [0.0_f64; 3];
    for removed in 1..=REMOVALS as u32 {
        now += 1_000_000;
        let (_, remover) = founder.wish(now, Wish::Remove { member: key(removed).node() });
        let news: Vec<Vec<u8>> = founder.written.drain(..).collect();
        let bytes: usize = news.iter().map(Vec::len).sum();
        let took = [remover, hub.import(now, news.clone()), member.import(now, news.clone())];
        println!(
            "  removal {removed}: remover {:.3} CPU s ({} blocks, {} KiB), hub {:.3}, member {:.3}",
            took[0],
            news.len(),
            bytes / 1024,
            took[1],
            took[2]
        );
        worst = std::array::from_fn(|i| worst[i].max(took[i]));
        assert_eq!(hub.replica.digest(), founder.replica.digest());
        assert_eq!(member.replica.digest(), founder.replica.digest());
        assert_eq!(member.replica.keys().current(), founder.replica.keys().current(), "the member has the new key");
    }
    now += 1_000_000;
    let took = remove_who_wrote_apart(&mut founder, &mut hub, &mut member, REMOVALS as u32 + 1, now);
    worst = std::array::from_fn(|i| worst[i].max(took[i]));
    let [remover, hub, member] = worst;
    let good = remover <= REMOVER && hub <= IN_FORCE && member <= IN_FORCE;
    let verdict = if good { "pass" } else { "FAIL" };
    println!(
        "removal {verdict} members={members} blocks={} remover={remover:.3}s hub={hub:.3}s member={member:.3}s",
        history.len()
    );
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The same of somebody whose last blocks the one who removes has not seen: a hub makes them void, a member vouches for them.
fn remove_who_wrote_apart(founder: &mut Node, hub: &mut Node, member: &mut Node, removed: u32, now: u64) -> [f64; 3] {
    let node = key(removed).node();
    let (height, mut last) = founder.tip(&node);
    let mut unseen = Vec::new();
    for n in 1..=APART {
        let ledger = founder.replica.ledger();
        let header = Header { ledger, author: node, height: height + n, timestamp: at(now + n), parents: vec![last] };
        let entry = Entry::new(Kind::DATA, [n as u8; 16], vec![7; 120]);
        let block = VerifiedBlock::sign(header, vec![entry], &key(removed));
        last = block.hash();
        unseen.push(block.bytes().to_vec());
    }
    hub.import(now + 100, unseen.clone());
    member.import(now + 100, unseen.clone());
    member.written.clear();
    let (_, remover) = founder.wish(now + 200, Wish::Remove { member: node });
    let news: Vec<Vec<u8>> = founder.written.drain(..).collect();
    let took = [remover, hub.import(now + 200, news.clone()), member.import(now + 200, news)];
    println!(
        "  removal of one who wrote apart: remover {:.3} CPU s, hub {:.3} ({APART} blocks void), member {:.3} (it vouches)",
        took[0], took[1], took[2]
    );
    let vouchers: Vec<Vec<u8>> = unseen.into_iter().chain(member.written.drain(..)).collect();
    let back = [&mut *founder, hub].map(|node| {
        let began = cpu();
        node.turn(now + 300, vec![Input::import(1, vouchers.clone())]);
        assert_eq!(node.replica.digest(), member.replica.digest());
        cpu() - began
    });
    println!("  with the voucher they come back: remover {:.3} CPU s, hub {:.3}", back[0], back[1]);
    took
}

/// Everybody comes in, one turn of the founder for each. Returns their first blocks.
fn join_all(founder: &mut Node, ledger: LedgerId, members: u32, now: &mut u64) -> Vec<Vec<u8>> {
    let mut firsts = Vec::new();
    let mut invite = None;
    let mut took = 0.0;
    for number in 1..members {
        *now += 1_000;
        let secret = key(u32::MAX / 2 + number / USES);
        let hash = *invite.get_or_insert_with(|| {
            let wish = Wish::Invite { key: secret.node(), role: Role::Member, uses: USES, expires: Timestamp::MAX };
            founder.wish(*now, wish).0
        });
        let key = key(number);
        let join = Join::sign(&secret, &ledger, hash, &key.node());
        let join = join.block(ledger, &key, at(*now + 10), at(*now + 10), [number as u8; 16]).bytes().to_vec();
        took += founder.import(*now + 20, vec![join.clone()]);
        firsts.push(join);
        if (number + 1) % USES == 0 || number + 1 == members {
            println!("  {} members: the last {} came in in {took:.3} CPU s", number + 1, number % USES + 1);
            (invite, took) = (None, 0.0);
        }
    }
    firsts
}

/// Members write blocks of one entry, each on the block before.
fn write_all(founder: &mut Node, ledger: LedgerId, firsts: &[Vec<u8>], blocks: u32, now: &mut u64) {
    let mut lanes: Vec<(u32, u64, BlockHash)> = Vec::new();
    for (number, first) in (1_u32..).zip(firsts) {
        lanes.push((number, 1, Block::decode(first).expect("a join is a block").hash()));
    }
    let mut last = founder.tip(&founder.replica.node()).1;
    let mut batch = Vec::new();
    for n in 0..blocks {
        let index = (n as usize * 7919) % lanes.len();
        let (number, height, own) = lanes[index];
        *now += 100;
        let parents = if own == last { vec![own] } else { vec![own, last] };
        let header = Header { ledger, author: key(number).node(), height: height + 1, timestamp: at(*now), parents };
        let block =
            VerifiedBlock::sign(header, vec![Entry::new(Kind::DATA, [n as u8; 16], vec![7; 120])], &key(number));
        last = block.hash();
        lanes[index] = (number, height + 1, last);
        batch.push(block.bytes().to_vec());
        if batch.len() == 256 || n + 1 == blocks {
            founder.import(*now + 10, std::mem::take(&mut batch));
        }
    }
}
