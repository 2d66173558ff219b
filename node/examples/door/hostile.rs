//! A member who floods a node over its link, while two others write to each other over that node.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{FutureExt, SinkExt, StreamExt};
use shared::{
    Announcement, BlockHash, Effect, LedgerId, Token,
    wire::{Envelope, Lack, Message},
};
use tokio::{runtime::Handle, sync::watch, task::spawn_blocking, time::sleep};
use tokio_tungstenite::tungstenite;

use crate::{
    Error, FACTOR, Pair,
    member::{Linked, Member, connect, invited, now},
    quantile,
};

/// Rounds of each kind: without a flood, with it, and with the same flood at another node of this machine.
const ROUNDS: usize = 3;
/// Blocks of one frame, and messages of one that is packed.
const BATCH: usize = 64;
/// Blocks that are written before the node has those before them.
const AHEAD: u64 = 4_096;
/// Seconds for what is on its way after a flood.
const PATIENCE: u32 = 30;
/// How long one waits who is not let in.
const AGAIN: Duration = Duration::from_millis(200);

/// What a member sends as fast as it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hostile {
    /// Blocks of its lane within its credit.
    Within,
    /// The same without waiting for credit.
    Beyond,
    /// Questions, and what it has: messages that need no credit, each in a frame of its own.
    Chatter,
    /// Many of those in a frame.
    Packed,
    /// Where it is, each time anew, which the node hands on.
    Announcements,
}

/// What became of a flood.
#[derive(Debug, Default)]
struct Tally {
    blocks: u64,
    frames: u64,
    /// Why its links ended, and how often.
    ends: BTreeMap<String, u64>,
}

/// Two members write over a node, alone, and beside a third one that floods it or another node: that one shows what the flood costs the machine.
/// Each node with an invite of its ledger.
pub(crate) async fn beside_a_member(
    [node, elsewhere]: [(&str, &Token); 2],
    seconds: u64,
    hostile: Hostile,
) -> Result<bool, Error> {
    let (mut members, ledger) = invited(node.1, 3)?;
    let (others, other_ledger) = invited(elsewhere.1, 1)?;
    let [room, other_room] =
        [(node.0, ledger), (elsewhere.0, other_ledger)].map(|(host, id)| format!("{host}/link/{id}"));
    let mut floods = [
        Flooder { member: members.pop(), room: room.clone(), ledger, tally: Tally::default() },
        Flooder { member: others.into_iter().next(), room: other_room, ledger: other_ledger, tally: Tally::default() },
    ];
    let pair = Pair::link(members, &room).await?;
    pair.write(2).await?;
    pair.times.take();
    let (mut alone, mut beside, mut missing) = (Vec::new(), [Vec::new(), Vec::new()], 0);
    for _ in 0..ROUNDS {
        pair.write(seconds).await?;
        alone.extend(pair.times.take().0);
        for (flooder, times) in floods.iter_mut().zip(&mut beside) {
            match flooder.beside(&pair, seconds, hostile).await {
                Ok(took) => times.extend(took),
                Err(error) => {
                    println!("door/{hostile:?}@member FAIL {error}");
                    return Ok(false);
                }
            }
            missing += pair.times.take().1;
        }
    }
    pair.end().await?;
    let [flooded, elsewhere] = &mut beside;
    [&mut alone, flooded, elsewhere].into_iter().for_each(|times| times.sort_unstable());
    let [quiet, loud, control] = [&alone, flooded, elsewhere].map(|times| quantile(times, 0.99));
    let ratio = loud / quiet.max(control);
    let good = ratio <= FACTOR && missing == 0;
    let (took, tally) = ((ROUNDS as u64 * seconds) as f64, &floods[0].tally);
    println!(
        "door/{hostile:?}@member {} p50_alone={:.1}ms p99_alone={quiet:.1}ms p50_elsewhere={:.1}ms p99_elsewhere={control:.1}ms \
         p50_beside={:.1}ms p99_beside={loud:.1}ms ratio={ratio:.1} entries={} missing={missing} blocks_per_s={:.0} \
         frames_per_s={:.0} ends={:?}",
        if good { "pass" } else { "FAIL" },
        quantile(&alone, 0.5),
        quantile(elsewhere, 0.5),
        quantile(flooded, 0.5),
        alone.len() + flooded.len() + elsewhere.len(),
        tally.blocks as f64 / took,
        tally.frames as f64 / took,
        tally.ends,
    );
    Ok(good)
}

/// A member that keeps to no rule but those of its ledger.
struct Flooder {
    member: Option<Member>,
    room: String,
    ledger: LedgerId,
    tally: Tally,
}

impl Flooder {
    /// What two others write meanwhile: how long it took.
    async fn beside(&mut self, pair: &Pair, seconds: u64, hostile: Hostile) -> Result<Vec<Duration>, Error> {
        let (stop, stopped) = watch::channel(false);
        let member = self.member.take().ok_or("the flooder is gone")?;
        let mut flooder =
            Self { member: Some(member), room: self.room.clone(), tally: std::mem::take(&mut self.tally), ..*self };
        // On a thread of its own, so that it does not keep the members waiting here.
        let flooding = spawn_blocking(move || {
            let flooded = Handle::current().block_on(flooder.flood(hostile, stopped));
            flooded.map(|()| flooder)
        });
        let written = pair.write(seconds).await;
        stop.send_replace(true);
        *self = flooding.await??;
        written?;
        // What is on its way was begun beside the flood, and is behind all that the flood left at the node.
        let mut times = Vec::new();
        for _ in 0..PATIENCE {
            sleep(Duration::from_secs(1)).await;
            let (took, late) = pair.times.take();
            times.extend(took);
            if late == 0 {
                break;
            }
        }
        Ok(times)
    }

    /// Floods until `stop`, and comes again when it is sent away.
    async fn flood(&mut self, hostile: Hostile, stop: watch::Receiver<bool>) -> Result<(), Error> {
        while !*stop.borrow() {
            let end = match connect(&self.room).await {
                Ok(socket) => {
                    let mut linked = self.member.take().ok_or("the flooder is gone")?.over(socket)?;
                    let end = self.over(&mut linked, hostile, stop.clone()).await;
                    self.member = Some(linked.unlink()?);
                    end
                }
                Err(error) => {
                    sleep(AGAIN).await;
                    Err(error)
                }
            };
            if let Err(why) = end {
                *self.tally.ends.entry(why.to_string()).or_default() += 1;
            }
        }
        Ok(())
    }

    /// One link, until it ends or `stop`.
    async fn over(
        &mut self,
        linked: &mut Linked,
        hostile: Hostile,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Error> {
        let mut held = 0;
        // It begins with a node that has all that it wrote.
        while (held == 0 || held < linked.member.height()) && !*stop.borrow() {
            held = held.max(written(&linked.act().await?));
            tokio::select! {
                input = linked.next() => linked.member.turn(vec![input?])?,
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        let began = held;
        let mut round = 0;
        while !*stop.borrow() {
            round += 1;
            while let Some(input) = linked.next().now_or_never() {
                linked.member.turn(vec![input?])?;
            }
            match hostile {
                Hostile::Within => {
                    if linked.member.height() - held < AHEAD {
                        linked.member.write(BATCH)?;
                    } else {
                        let input = linked.next().await?;
                        linked.member.turn(vec![input])?;
                    }
                    held = held.max(written(&linked.act().await?));
                }
                Hostile::Beyond => {
                    let blocks = linked.member.write(BATCH)?;
                    held = held.max(written(&linked.quiet()));
                    self.tell(linked, vec![Message::announce(blocks, 0)]).await?;
                }
                Hostile::Chatter => {
                    linked.quiet();
                    self.tell(linked, vec![self.chatter(linked, round)]).await?;
                }
                Hostile::Announcements => {
                    linked.quiet();
                    let said = Announcement::sign(&self.ledger, linked.member.key(), now(), vec![0; 64]);
                    self.tell(linked, vec![Message::NodeAnnounce { nodes: Vec::new(), announcements: vec![said] }])
                        .await?;
                }
                Hostile::Packed => {
                    linked.quiet();
                    let first = round * BATCH as u64;
                    let messages = (first..first + BATCH as u64).map(|number| self.chatter(linked, number));
                    self.tell(linked, messages.collect()).await?;
                }
            }
        }
        self.tally.blocks += held - began;
        Ok(())
    }

    /// One frame.
    async fn tell(&mut self, linked: &mut Linked, messages: Vec<Message>) -> Result<(), Error> {
        let sender = linked.member.node();
        let envelope = |message| Envelope { message_id: [0; 16], sender, recipient: None, message }.encode();
        let bytes = messages.into_iter().flat_map(envelope).collect::<Vec<u8>>();
        self.tally.frames += 1;
        match linked.sink.send(tungstenite::Message::binary(bytes)).await {
            Ok(()) => Ok(()),
            // Why it was sent away may be there to be read.
            Err(error) => loop {
                match linked.stream.next().await {
                    Some(Ok(tungstenite::Message::Close(Some(frame)))) => {
                        return Err(format!("{} {}", frame.code, frame.reason).into());
                    }
                    Some(Ok(_)) => {}
                    _ => return Err(error.into()),
                }
            },
        }
    }

    /// Something that needs no credit.
    fn chatter(&self, linked: &Linked, round: u64) -> Message {
        match round % 3 {
            0 => Message::Have { lanes: vec![(linked.member.node(), linked.member.height())] },
            1 => Message::LedgerSyncRequest { digest: [round as u8; 32], parts: Vec::new() },
            _ => Message::PayloadRequest { lacks: vec![Lack::new(BlockHash::from_bytes([round as u8; 32]), [0])] },
        }
    }
}

/// How much of the member's lane the node has, if that is said.
fn written(effects: &[Effect]) -> u64 {
    let heights = effects.iter().filter_map(|effect| match effect {
        Effect::Held { height, nodes } if *nodes > 0 => Some(*height),
        _ => None,
    });
    heights.max().unwrap_or(0)
}
