//! What the commands of a group share: wishes are granted by the running node, or here, with links to the relays for a
//! moment, so that others hear of them at once.

use std::time::{Duration, Instant};

use shared::effect::Wish;

use super::{
    Failure,
    access::{Access, must_exist, with_host, with_links},
};
use crate::{
    config::Settings,
    control::WishFor,
    host::{Host, MemberInfo, Status},
};

/// How long a command waits for others.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// Digits of an id that are enough to name a member.
const PREFIX_DIGITS: usize = 4;

/// Who else has heard of what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The running node sees to it.
    Node,
    /// A relay, at least.
    Others,
    /// Nobody yet.
    Nobody,
}

impl Told {
    /// What somebody should know of it, if anything.
    pub(super) fn caution(self) -> Option<&'static str> {
        match self {
            Self::Node | Self::Others => None,
            Self::Nobody => {
                Some("Nobody else has heard of it yet: it goes out when this node serves and reaches a relay.")
            }
        }
    }
}

/// Has a wish granted.
pub(super) fn wish(settings: &Settings, wish: &WishFor) -> Result<Told, Failure> {
    must_exist(settings)?;
    match Access::open(settings)? {
        Access::Through(client) => {
            client.wish(wish)?;
            Ok(Told::Node)
        }
        Access::Alone(locked) => {
            let wish = Wish::try_from(wish.clone()).map_err(|error| Failure::Usage(error.to_string()))?;
            with_links(&locked, settings, |host| async move {
                host.control(wish).await??;
                tell(&host).await
            })
        }
    }
}

/// Waits until somebody else has what this node wrote, if anybody can be reached.
pub(super) async fn tell(host: &Host) -> Result<Told, Failure> {
    let told = |status: &Status| status.held.nodes > 0;
    let status = until(host, |status| told(status) || status.relays.is_empty()).await?;
    Ok(if told(&status) { Told::Others } else { Told::Nobody })
}

/// Looks how the node is until that is so, for a while; returns the last look.
pub(super) async fn until(host: &Host, mut is_so: impl FnMut(&Status) -> bool) -> Result<Status, Failure> {
    let began = Instant::now();
    loop {
        let status = host.status().await?;
        if is_so(&status) || began.elapsed() > PATIENCE {
            return Ok(status);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// Everybody who came in.
pub(super) fn members(settings: &Settings) -> Result<Vec<MemberInfo>, Failure> {
    must_exist(settings)?;
    match Access::open(settings)? {
        Access::Through(client) => Ok(client.members()?),
        Access::Alone(locked) => with_host(&locked, settings, |host| async move { Ok(host.members().await?) }),
    }
}

/// The member that somebody means by a nickname or the first digits of an id.
pub(super) fn find(members: &[MemberInfo], wanted: &str) -> Result<MemberInfo, Failure> {
    let by_id = |member: &&MemberInfo| wanted.len() >= PREFIX_DIGITS && member.node.starts_with(wanted);
    let by_name = |member: &&MemberInfo| member.name.as_deref() == Some(wanted);
    let present = || members.iter().filter(|member| !member.removed);
    let meant: Vec<&MemberInfo> = present().filter(|member| by_id(member) || by_name(member)).collect();
    match meant[..] {
        [only] => Ok(only.clone()),
        [] if members.iter().any(|member| member.removed && (by_id(&member) || by_name(&member))) => {
            Err(Failure::Refused(format!("{wanted:?} was removed already")))
        }
        [] => Err(Failure::Refused(format!("{wanted:?} is no member; `cairn members` lists them"))),
        _ => {
            let ids: Vec<&str> = meant.iter().map(|member| member.node.as_str()).collect();
            Err(Failure::Refused(format!("{wanted:?} may be any of {}: name one by its id", ids.join(", "))))
        }
    }
}
