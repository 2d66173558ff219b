//! Planted bugs: whether the simulator would notice them. One build holds them all, each behind `mutant!`, and at run time
//! at most one is switched on.
//!
//! Without the feature `mutants` the macro is the constant `false` and this file is nothing but that macro.

/// Whether a planted bug is switched on.
#[cfg(not(feature = "mutants"))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}

/// Whether a planted bug is switched on.
#[cfg(feature = "mutants")]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutants::is_on($crate::mutants::Mutant::$name)
    };
}

#[cfg(feature = "mutants")]
mod planted {
    use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    macro_rules! mutants {
        ($($variant:ident $name:literal $what:literal,)*) => {
            /// A planted bug.
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub enum Mutant {
                $(#[doc = $what] $variant,)*
            }

            impl Mutant {
                /// Every planted bug: itself, its name, and what it breaks.
                pub const ALL: &[(Self, &str, &str)] = &[$((Self::$variant, $name, $what),)*];
            }
        };
    }

    mutants! {
        // Rules: `ledger`, `accept`, `block`.
        SignatureUnchecked "signature_unchecked" "a block is taken in whoever signed it",
        LedgerUnchecked "ledger_unchecked" "a block of another ledger is taken in",
        OwnParentUnchecked "own_parent_unchecked" "a block need not rest on its author's block before",
        TimeUnchecked "time_unchecked" "a block's time may be before the end of a parent",
        FutureAdded "future_added" "a block of the far future is added at once",
        FutureRefused "future_refused" "a block of the far future is refused instead of parked: the local clock decides",
        KnownForgotten "known_forgotten" "a block that is there already is added once more",
        HeldUnstored "held_unstored" "a block is said to be durable here before it is in the ledger",
        LateUntold "late_untold" "nobody is told that a block landed between older ones",
        // Evidence and freezes: `accept`, `freeze`, `ledger`, `proofs`.
        EvidenceUnchecked "evidence_unchecked" "the signatures of a proof are not checked",
        ForkOverlooked "fork_overlooked" "two blocks of one height are added without a word",
        FreezeUnsaved "freeze_unsaved" "a freeze is not written to the store",
        FreezeUnrecorded "freeze_unrecorded" "a member that learns of a fork writes no evidence entry",
        FreezeUnspread "freeze_unspread" "a proof is not sent on",
        VouchForgotten "vouch_forgotten" "nothing vouches for what was seen before a freeze is recorded",
        ZoneUnvouched "zone_unvouched" "a block of a frozen lane is added without a voucher",
        ZoneTooHigh "zone_too_high" "a frozen lane's zone begins one block above the fork",
        CoveredVoucher "covered_voucher" "a block that knew of the freeze vouches all the same",
        CarrierForgotten "carrier_forgotten" "when a freeze was recorded first is not noted",
        RecordForgotten "record_forgotten" "a block's own evidence is not part of its children's past",
        VoidStillKept "void_still_kept" "what is void stays in memory as a tip of the ledger",
        WaitingUnsorted "waiting_unsorted" "what waits for a voucher is gone through in order of the hashes",
        // What is written: `replica`, `own`.
        CommitSkipped "commit_skipped" "acknowledged and sent before it is durable",
        CommitBeforeSeal "commit_before_seal" "waiting appends are sealed after the commit",
        ActsAfterFailure "acts_after_failure" "the driver acts though the commit failed",
        OwnTimeByClock "own_time_by_clock" "a block's time is the local clock's, whatever its parents' is",
        OneEntryTooMany "one_entry_too_many" "a block takes one entry more than it may have",
        PreviousEarliest "previous_earliest" "a block is shown as the follower of its earliest parent",
        OwnLaneUnawaited "own_lane_unawaited" "a node signs before it has asked how far its own lane goes",
        SuccessorUnused "successor_unused" "a node whose lane is forked does not go on with its successor's key",
        // Links: `exchange`, `serve`, `handshake`, `sync`.
        ProofUnchecked "proof_unchecked" "a peer is believed to be whoever it says it is",
        RangeSkipsOne "range_skips_one" "a lane's range begins one block too late",
        HasOneTooMuch "has_one_too_much" "a peer is believed to have one block more than it has",
        NotForwarded "not_forwarded" "a block that came over a link is not sent on",
        CreditKept "credit_kept" "credit is never given back",
        PartOverlooked "part_overlooked" "of the parts in which heads differ the first one is taken for equal",
        ChangeUnnoted "change_unnoted" "what changes between question and answer is taken for what the peer has too",
        HeadsUncompared "heads_uncompared" "two ledgers count as equal without a look at their heads",
        // Time and storage: `time`, `ledger`, `repair`, `mending`.
        ClockBackStops "clock_back_stops" "a clock that steps back stops all deadlines",
        ArrivalOrder "arrival_order" "a late block is put at the end of the order",
        CheckpointTipless "checkpoint_tipless" "the checkpoint forgets the tips",
        CheckpointAhead "checkpoint_ahead" "the checkpoint counts one block that is still to come",
        RepairUnnoted "repair_unnoted" "a restart forgets which blocks are to be repaired",
        // Who belongs to a members' ledger: `handshake`, `members`, `freeze`, `accept`.
        RemovedLetIn "removed_let_in" "the door is open to who was removed",
        StrangersLetIn "strangers_let_in" "the door is open to whoever shows anything",
        RemovedKept "removed_kept" "a link stays when its peer is removed",
        ForkedUnremovable "forked_unremovable" "whoever forks its lane cannot be removed, or comes back by it",
        ExpiredLetIn "expired_let_in" "an invite lets in after it has expired",
        UsesUncounted "uses_uncounted" "an invite lets in any number",
        ClosedLetIn "closed_let_in" "a join by a closed invite needs no voucher",
        SecretUnchecked "secret_unchecked" "a join need not be signed by its invite's key",
        RoleUnchecked "role_unchecked" "whoever is a member invites with any role",
        RemovalUnchecked "removal_unchecked" "whoever is a member removes anybody",
        ReadersWrite "readers_write" "what a reader writes is taken in",
        DoubtfulVouch "doubtful_vouch" "whoever was let in by a removed member vouches for it",
        // Keys: `epochs`.
        Unsealed "unsealed" "what members write is stored and sent as it is",
        EpochKept "epoch_kept" "a removal begins no epoch",
        KeysToRemoved "keys_to_removed" "whoever was removed is given the new key too",
        KeysByAnybody "keys_by_anybody" "a key is taken from whoever hands it out",
        NewcomersKeyless "newcomers_keyless" "whoever comes in is not given the newest key",
        OldKeyAgain "old_key_again" "a key that is given to a newcomer late becomes the newest again",
        NoKeysBefore "no_keys_before" "the keys that come along with a new one are not taken",
    }

    impl Mutant {
        /// Whether it is about who belongs to a members' ledger.
        pub fn is_of_members(self) -> bool {
            self as usize >= Self::RemovedLetIn as usize
        }
    }

    /// Which one is on, counted from 1; 0 is none.
    static ON: AtomicUsize = AtomicUsize::new(0);
    /// How often code that a planted bug is part of ran with it on.
    static REACHED: AtomicU64 = AtomicU64::new(0);

    /// Whether a planted bug is switched on.
    pub fn is_on(mutant: Mutant) -> bool {
        let on = ON.load(Ordering::Relaxed) == mutant as usize + 1;
        if on {
            REACHED.fetch_add(1, Ordering::Relaxed);
        }
        on
    }

    /// Switches one on, or all off, in the whole process.
    pub fn switch(mutant: Option<Mutant>) {
        ON.store(mutant.map_or(0, |mutant| mutant as usize + 1), Ordering::SeqCst);
        REACHED.store(0, Ordering::SeqCst);
    }

    /// How often the place of the planted bug that is on was reached since it was switched on.
    pub fn reached() -> u64 {
        REACHED.load(Ordering::SeqCst)
    }
}

#[cfg(feature = "mutants")]
pub use planted::{Mutant, is_on, reached, switch};
