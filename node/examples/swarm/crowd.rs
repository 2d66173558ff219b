//! Many live clients on one node: what each costs, and that none is lost.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::{
    Error, Scale,
    background::{Background, Plan},
    node::Node,
    report::Report,
};

/// KiB of the node's memory that one live client may cost.
const EACH: f64 = 40.0;
/// The same where hundreds of clients share what the node needs anyway.
const EACH_OF_FEW: f64 = 100.0;

pub(crate) async fn run(scale: Scale) -> Result<Vec<Report>, Error> {
    let plan = Plan { followers: scale.pick(300, 10_000), rate: scale.pick(5, 1), bytes: 100 };
    let length = Duration::from_secs(scale.pick(4, 300));
    let node = Node::start(&[])?;
    let mut report = Report::new("crowd");
    let (memory, files) = (node.memory(), node.files());
    let clock = node.clock();
    let began = Instant::now();
    let mut background = Background::connect(node.address, plan).await?;
    report.figure("clients", plan.followers);
    report.figure("connected_in", format_args!("{:.1}s", began.elapsed().as_secs_f64()));
    report.figure("kib_each_idle", format_args!("{:.1}", each(memory, node.memory(), plan)));
    background.write();
    let end = Instant::now() + length;
    let mut tick = Instant::now();
    while tick < end {
        tick = end.min(tick + Duration::from_secs(10));
        sleep_until(tick).await;
        let left = (end - tick).as_secs();
        eprintln!("swarm: crowd: {} clients gone, {} MiB, {left} s to go", background.gone(), node.memory() / 1024);
    }
    report.at_most("kib_each", each(memory, node.peak(), plan), scale.pick(EACH_OF_FEW, EACH));
    report.figure("node_mib", node.memory() / 1024);
    let (seen, _) = background.finish().await?;
    seen.report(&mut report);
    clock.report(&node, &mut report);
    // The reader's connections to the store stay.
    let files_after = node.files_again(files + 16, Duration::from_secs(20)).await;
    report.none("files_left", files_after.saturating_sub(files + 16));
    node.stop(&mut report).await;
    Ok(vec![report])
}

/// KiB for each client.
fn each(before: u64, after: u64, plan: Plan) -> f64 {
    after.saturating_sub(before) as f64 / plan.followers as f64
}
