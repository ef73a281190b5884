//! Watching a case: as it stands, and then each change as it comes. Out of scope: how that is told to whoever watches (the
//! edges).

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{Cases, Event};
use crate::case::{Case, Error};

/// How often a watched case is looked at for what no event tells: that an answer is doubted, or no longer.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How many changes wait for a slow watcher.
const WAITING: usize = 64;

/// What a watcher sees.
#[derive(Clone, Debug)]
pub enum Watched {
    /// The whole case.
    Case {
        /// As it stands.
        case: Box<Case>,
        /// When, Unix milliseconds.
        at_ms: u64,
    },
    /// One proof of it.
    Proof(Box<Event>),
}

impl Cases {
    /// A case as it stands, and then each change of it, until nobody watches.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`], or it cannot be read.
    pub fn watch(self: &Arc<Self>, number: &str) -> Result<mpsc::Receiver<Watched>, Error> {
        // Before it is shown, so that nothing is missed in between.
        let mut events = self.events();
        let mut shown = self.show(number)?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let (cases, number) = (Arc::clone(self), number.to_owned());
        tokio::spawn(async move {
            let whole = |case: Case| Watched::Case { case: Box::new(case), at_ms: cases.parts.clock.now_ms() };
            if sender.send(whole(shown.clone())).await.is_err() {
                return;
            }
            // One for all turns: what happens in other cases puts no look off.
            let mut again = interval_at(Instant::now() + LOOK_AGAIN, LOOK_AGAIN);
            again.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let told = tokio::select! {
                    () = sender.closed() => return,
                    event = events.recv() => match event {
                        Ok(event) => (event.number == number).then(|| Watched::Proof(Box::new(event))),
                        // What was missed stands in the case.
                        Err(RecvError::Lagged(_)) => cases.show(&number).ok().map(whole),
                        Err(RecvError::Closed) => return,
                    },
                    _ = again.tick() => {
                        let now = cases.show(&number).ok();
                        let now = now.filter(|case| case.proofs != shown.proofs || case.state() != shown.state());
                        now.map(|case| {
                            shown = case.clone();
                            whole(case)
                        })
                    }
                };
                if let Some(told) = told
                    && sender.send(told).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}
