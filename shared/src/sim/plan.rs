//! What a seed is about: how large the network is, which faults it meets, what its liars do. Drawing the options too, not
//! only the moments, makes seeds differ in kind (Groce et al., "Swarm Testing", ISSTA 2012).

use alloc::vec::Vec;

use super::random::Random;
use crate::time::{MINUTE, SECOND};

macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($variant:ident $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum $type { $($variant,)* }

        impl $type {
            pub(super) const ALL: &[(Self, &str)] = &[$((Self::$variant, $name),)*];
        }
    };
}

named!(
    /// What can go wrong, by the name under which it is counted.
    Fault {
        Latency "latency",
        Loss "loss",
        Duplicate "duplicate",
        Reorder "reorder",
        Narrow "narrow_path",
        PartitionOneWay "partition_one_way",
        Partition "partition",
        Flap "flap",
        Pause "pause",
        Crash "crash",
        PowerLoss "power_loss",
        CrashInTurn "crash_in_turn",
        CrashAfterCommit "crash_after_commit",
        CrashInRecovery "crash_in_recovery",
        InputOutput "io_error",
        WrittenAnyway "io_error_but_written",
        DiskFull "disk_full",
        BitFlip "bit_flip",
        RestoreOld "restore_old_disk",
        ClockOff "clock_off",
        ClockBack "clock_steps_back",
        RelaySleep "relay_sleep",
        RelayRestart "relay_restart",
        RelayAmnesia "relay_amnesia",
        RelayRollback "relay_rollback",
        RelayTwoViews "relay_two_views",
        RelayWithholds "relay_withholds",
    }
);

named!(
    /// What a dishonest member does.
    Lie {
        Fork "fork",
        WrongParent "wrong_parent",
        EarlyTime "time_before_parent",
        FutureTime "future_time",
        WrongSignature "wrong_signature",
        OtherLedger "other_ledger",
        Flood "flood",
        Garbage "garbage",
        Withhold "withhold",
        FalseEvidence "false_evidence",
        FalseHeads "false_heads",
        Nonsense "protocol_nonsense",
    }
);

/// The options of one seed.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Ed25519 instead of the stand-in.
    pub(super) real_keys: bool,
    pub(super) honest: usize,
    pub(super) liars: usize,
    pub(super) relays: usize,
    /// Members dial each other too.
    pub(super) direct: bool,
    /// Honest members say where they are, and find each other. Not where they dial each other anyway: links that their replicas
    /// did not want would take the place of those that they did.
    pub(super) meets: bool,
    /// All compare their heads part by part, however few they are.
    pub(super) parts: bool,
    /// µs of faults before everything heals.
    pub(super) chaos: u64,
    /// µs between two appends, on average.
    pub(super) append_every: u64,
    /// Some payloads are large.
    pub(super) large: bool,
    /// µs between two faults, on average.
    pub(super) fault_every: u64,
    pub(super) faults: Vec<Fault>,
    /// µs between two lies, on average.
    pub(super) lie_every: u64,
    pub(super) lies: Vec<Lie>,
    /// Most µs that a path delays, and how much that varies.
    pub(super) delay: u64,
    pub(super) jitter: u64,
}

impl Plan {
    pub(super) fn draw(seed: u64, random: &mut Random) -> Self {
        // The lesser of two draws: most networks are small, some are not.
        let members = 2 + random.below(23).min(random.below(23)) as usize;
        let liars = if random.per_mille(500) { random.index(members) } else { 0 };
        let relays = random.index(4);
        let chaos = random.between(2 * MINUTE, 60 * MINUTE);
        let appends = random.between(10, 100);
        let faults = random.between(3, 40);
        let lies = random.between(3, 40);
        let of = |random: &mut Random, share: u64| random.per_mille(share);
        let share = [0, 150, 300, 600][random.index(4)];
        let (enabled, told): (Vec<Fault>, Vec<Lie>) = (
            Fault::ALL.iter().filter(|_| of(random, share)).map(|(fault, _)| *fault).collect(),
            Lie::ALL.iter().filter(|_| of(random, 400)).map(|(lie, _)| *lie).collect(),
        );
        let direct = relays == 0 || random.per_mille(200);
        Self {
            real_keys: seed.is_multiple_of(10),
            honest: members - liars,
            liars,
            relays,
            meets: seed % 3 == 2 && !direct,
            parts: seed % 2 == 1,
            direct,
            chaos,
            append_every: chaos / appends,
            large: random.per_mille(100),
            fault_every: chaos / faults,
            faults: enabled,
            lie_every: chaos / lies,
            lies: if told.is_empty() { alloc::vec![Lie::Fork] } else { told },
            delay: [500, 5_000, 50_000, 300_000][random.index(4)],
            jitter: [0, 1_000, 20_000, SECOND / 2][random.index(4)],
        }
    }

    /// So many members and a relay, and nothing goes wrong.
    pub(super) fn calm(members: usize) -> Self {
        Self {
            real_keys: false,
            honest: members,
            liars: 0,
            relays: 1,
            meets: false,
            parts: false,
            direct: false,
            chaos: 0,
            append_every: SECOND,
            large: false,
            fault_every: SECOND,
            faults: Vec::new(),
            lie_every: SECOND,
            lies: Vec::new(),
            delay: 20_000,
            jitter: 5_000,
        }
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}
