//! How many entries in a second reach clients, and how late.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    Error, Scale,
    background::{Background, Plan},
    node::Node,
    report::Report,
};

/// Deliveries in a second, and the p99 in ms.
const GOAL: (f64, f64) = (100_000.0, 250.0);

pub(crate) async fn run(scale: Scale) -> Result<Vec<Report>, Error> {
    let plan = Plan { followers: scale.pick(100, 1_000), rate: scale.pick(50, 101), bytes: 100 };
    let node = Node::start(&[])?;
    let mut report = Report::new("deliveries");
    let mut background = Background::connect(node.address, plan).await?;
    report.figure("clients", plan.followers);
    report.figure("per_second_each", plan.rate);
    let clock = node.clock();
    background.write();
    sleep(Duration::from_secs(scale.pick(4, 60))).await;
    clock.report(&node, &mut report);
    let (seen, _) = background.finish().await?;
    let rate = seen.deliveries as f64 / seen.took.as_secs_f64();
    report.figure("seconds", format_args!("{:.1}", seen.took.as_secs_f64()));
    report.figure("deliveries_per_second", format_args!("{rate:.0}"));
    seen.report(&mut report);
    report.figure("node_mib", node.peak() / 1024);
    if scale == Scale::Full {
        report.require(rate >= GOAL.0, || format!("{rate:.0} deliveries in a second, {:.0} are the goal", GOAL.0));
        let p99 = seen.times.quantile(0.99) as f64 / 1e3;
        report.require(p99 <= GOAL.1, || format!("p99 is {p99:.1} ms, {:.0} are the goal", GOAL.1));
    }
    node.stop(&mut report).await;
    Ok(vec![report])
}
