//! How old the view is, who vouches for that, and what follows: it may be relied on until its lifetime ends. By default
//! the log's own word counts; where the authority's profile requires witnesses, theirs does, because a log that lies to
//! this node could date its checkpoints as it likes.
//!
//! Out of scope: which cosignatures count (`witnessing`, `trust::witness`).

use std::sync::atomic::Ordering;

use trust::{
    directory::{Directory, model::Profile},
    refusal::{Code, Refusal},
};

use super::View;

/// Whether the view can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Older than half its lifetime: an operator should look at the way to the registry.
    Ageing,
    /// This node's clock is behind a time that it verified.
    ClockBackwards,
    /// Its lifetime is over: nothing is asked or answered.
    Expired,
    /// Vouched for lately.
    Fresh,
    /// Nothing was read yet, or nobody has vouched for it.
    NeverRead,
}

impl State {
    /// The state's name in JSON and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ageing => "ageing",
            Self::ClockBackwards => "clock_backwards",
            Self::Expired => "expired",
            Self::Fresh => "fresh",
            Self::NeverRead => "never_read",
        }
    }
}

/// How old the view is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// What that means.
    pub state: State,
    /// As of when it is vouched for, Unix milliseconds; 0 for never.
    pub vouched_ms: u64,
    /// When the log itself last vouched for it, Unix milliseconds; 0 for never.
    pub log_vouched_ms: u64,
    /// When it can no longer be relied on, Unix milliseconds; 0 where nobody has vouched for it.
    pub expires_ms: u64,
    /// The view's lifetime, milliseconds.
    pub lifetime_ms: u64,
    /// How many departments' witnesses are required.
    pub witnesses_required: usize,
}

/// The authority's settings as they hold now.
pub(super) fn profile(directory: &Directory) -> Option<&Profile> {
    directory.founding().map(|_| directory.profile())
}

impl View {
    /// How old the view is at `now_ms`.
    pub fn age(&self, now_ms: u64) -> Age {
        let seen = self.seen();
        let log_vouched_ms = self.log_ms.load(Ordering::Acquire);
        let Some(profile) = profile(seen.directory()) else {
            let state = State::NeverRead;
            return Age { state, vouched_ms: 0, log_vouched_ms, expires_ms: 0, lifetime_ms: 0, witnesses_required: 0 };
        };
        let vouched_ms = match profile.witnesses_required {
            0 => log_vouched_ms,
            _ => self.witnessed_ms.load(Ordering::Acquire),
        };
        let lifetime_ms = profile.view_lifetime_ms;
        let state = if now_ms.saturating_add(profile.clock_skew_ms) < self.highest_ms() {
            State::ClockBackwards
        } else if vouched_ms == 0 {
            State::NeverRead
        } else if now_ms > vouched_ms.saturating_add(lifetime_ms) {
            State::Expired
        } else if now_ms > vouched_ms.saturating_add(lifetime_ms / 2) {
            State::Ageing
        } else {
            State::Fresh
        };
        Age {
            state,
            vouched_ms,
            log_vouched_ms,
            expires_ms: if vouched_ms == 0 { 0 } else { vouched_ms.saturating_add(lifetime_ms) },
            lifetime_ms,
            witnesses_required: profile.witnesses_required,
        }
    }

    /// Whether the view may be relied on at `now_ms`: read at all, vouched for lately, and not from the future.
    pub fn check_usable(&self, now_ms: u64) -> Result<(), Refusal> {
        let age = self.age(now_ms);
        match age.state {
            State::Fresh | State::Ageing => Ok(()),
            State::ClockBackwards => {
                let highest_ms = self.highest_ms();
                let clocks = format!("the clock says {now_ms}, and {highest_ms} was verified (Unix milliseconds)");
                Err(Refusal::new(Code::ClockBackwards).because(clocks))
            }
            State::NeverRead if age.log_vouched_ms == 0 => {
                Err(Refusal::new(Code::DirectoryExpired).because("this node has not read the directory yet"))
            }
            State::NeverRead => {
                let required = age.witnesses_required;
                let reason = format!("the profile requires witnesses of {required} departments, and there are fewer");
                Err(Refusal::new(Code::DirectoryExpired).because(reason))
            }
            State::Expired => {
                let vouched_ms = age.vouched_ms;
                let who = if age.witnesses_required == 0 { "vouched for" } else { "vouched for by witnesses" };
                let told = format!("{who} at {vouched_ms}, and it is {now_ms} here (Unix milliseconds)");
                Err(Refusal::new(Code::DirectoryExpired).because(told))
            }
        }
    }

    /// Whether the log itself has vouched for the whole view lately, whoever else must. A node whose view lacks witnesses
    /// can still say where it answers, and become a witness: else there could never be enough of them.
    pub fn is_followed(&self, now_ms: u64) -> bool {
        let age = self.age(now_ms);
        age.log_vouched_ms > 0
            && age.state != State::ClockBackwards
            && now_ms <= age.log_vouched_ms.saturating_add(age.lifetime_ms)
    }

    /// As of when the view is vouched for, Unix milliseconds: by the log or, where the profile requires them, by
    /// witnesses; 0 for never.
    pub fn verified_ms(&self) -> u64 {
        self.age(0).vouched_ms
    }
}
