//! Taking what the registry sends, or a file brings: nothing is believed before the root over it was recomputed and found in a
//! checkpoint with both of the log's signatures. Until then statements are checked and folded into a copy of the directory that
//! nobody sees, and wait on disk behind what is believed: a million of them need no more memory than what they leave.
//!
//! What contradicts what is believed is kept as evidence (`suspicion`). Out of scope: what a statement must be to count
//! (`trust::directory`).

use trust::{
    directory::{
        Directory, LARGEST_ENTRY, StatementError,
        chain::{self, RootKeys},
    },
    log::{
        checkpoint::{self, VerifiedCheckpoint},
        frontier::Frontier,
        hash::leaf_hash,
        note,
    },
};

use super::{
    Ending, Error, View, age, log_key,
    roots::{ROOTS_KEPT, Roots},
    stored::Batch,
};

/// How many statements are verified before others get their turn.
const FOLDED_AT_ONCE: usize = 32;

/// How many bytes of statements may wait in memory before they wait on disk.
const MOST_WAITING_BYTES: usize = 1024 * 1024;

/// How many statements may wait for the checkpoint that covers them: a registry that never sends it must not fill the disk.
const MOST_UNCOVERED: u64 = 16_000_000;

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A file that was carried by hand. That it is old is no lie.
    File,
    /// The registry.
    Registry,
    /// Tiles, which anybody on the way may have altered, or kept for a while.
    Tiles,
}

impl Source {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            // Where what came so speaks against anybody, the log's key vouches for it.
            Self::Registry | Self::Tiles => "registry",
        }
    }
}

/// The state that the registry's word is checked against.
#[derive(Default)]
pub(super) struct Followed {
    /// Over everything that a checkpoint covers, which may be more than what could be folded in.
    pub(super) frontier: Frontier,
    /// The keys that everything rests on, where the frontier is; none before the founding is known.
    pub(super) keys: Option<RootKeys>,
    /// What no checkpoint covers yet.
    ahead: Option<Ahead>,
    /// What the registry had sent ahead was let go of, because a file came: its next word will not follow on.
    disturbed: bool,
}

/// Statements that no checkpoint covers yet.
struct Ahead {
    /// Over all of them, and what is before.
    frontier: Frontier,
    /// The directory with them folded in; `None` where it does not go on from the view, which stopped before.
    directory: Option<Directory>,
    /// The first that does not count.
    stuck: Option<(u64, StatementError)>,
    /// The keys that everything rests on after them.
    keys: Option<RootKeys>,
    /// Who is no longer welcome after them.
    endings: Vec<Ending>,
    /// The roots of the latest sizes of the directory.
    roots: Roots,
    /// The newest of them, not on disk yet.
    waiting: Vec<Vec<u8>>,
    waiting_bytes: usize,
    /// The checkpoint that will cover them.
    target: Option<VerifiedCheckpoint>,
}

impl Followed {
    pub(super) fn next_index(&self) -> u64 {
        self.ahead.as_ref().map_or(self.frontier.size(), |ahead| ahead.frontier.size())
    }
}

impl View {
    /// The index that is wanted next from the registry.
    pub async fn next_index(&self) -> u64 {
        let mut followed = self.followed.lock().await;
        followed.disturbed = false;
        followed.next_index()
    }

    /// Takes what the registry sent: statements from `start` on and its latest checkpoint. Either everything that the
    /// checkpoint covers is verified and stored, or nothing of it.
    pub async fn accept(&self, start: u64, entries: Vec<Vec<u8>>, checkpoint: &str, now_ms: u64) -> Result<(), Error> {
        let mut followed = self.followed.lock().await;
        let outcome = self.take(&mut followed, Source::Registry, start, entries, checkpoint, now_ms).await;
        if let Err(error) = &outcome {
            let expected = followed.disturbed && matches!(error, Error::OutOfOrder { .. });
            // What waits came from the same mouth; it is asked for again.
            let waiting = self.let_go(&mut followed).await?;
            if !expected {
                self.find_lie(error, Source::Registry, checkpoint, waiting, now_ms);
            }
        }
        outcome
    }

    /// Takes what came as tiles: entries, and a checkpoint that covers them. What does not fit is let go of, and speaks
    /// against the registry only where the log's key vouches for it: the checkpoint by itself, or a statement that is in
    /// the tree that it signed.
    pub(super) async fn accept_tiles(
        &self,
        start: u64,
        entries: Vec<Vec<u8>>,
        checkpoint: &str,
        now_ms: u64,
    ) -> Result<(), Error> {
        let mut followed = self.followed.lock().await;
        let (covered, are_none) = (followed.frontier.size(), entries.is_empty());
        let outcome = self.take(&mut followed, Source::Tiles, start, entries, checkpoint, now_ms).await;
        if let Err(error) = &outcome {
            let signed = match error {
                Error::Statement { .. } => followed.frontier.size() > covered,
                Error::Forked { .. } | Error::RolledBack { .. } => are_none,
                _ => false,
            };
            let waiting = self.let_go(&mut followed).await?;
            if signed {
                self.find_lie(error, Source::Tiles, checkpoint, waiting, now_ms);
            }
        }
        outcome
    }

    /// Lets go of what no checkpoint covers; the newest of it, with the index of the first, for whoever wants to see it.
    pub(super) async fn let_go(&self, followed: &mut Followed) -> Result<(u64, Vec<Vec<u8>>), Error> {
        if followed.frontier.size() == 0 {
            // Whoever speaks next may name another founding.
            followed.keys = None;
        }
        let Some(ahead) = followed.ahead.take() else { return Ok((followed.frontier.size(), Vec::new())) };
        self.stored.forget_staged().await?;
        Ok((ahead.frontier.size() - ahead.waiting.len() as u64, ahead.waiting))
    }

    /// Lets go of what came as tiles and no checkpoint covers.
    pub(super) async fn let_go_of_tiles(&self) -> Result<(), Error> {
        let mut followed = self.followed.lock().await;
        self.let_go(&mut followed).await.map(drop)
    }

    /// As [`Self::let_go`], where that was not the registry's fault.
    pub(super) async fn let_go_of_registry(&self, followed: &mut Followed) -> Result<(), Error> {
        followed.disturbed |= followed.ahead.is_some();
        self.let_go(followed).await.map(drop)
    }

    pub(super) async fn take(
        &self,
        followed: &mut Followed,
        source: Source,
        start: u64,
        mut entries: Vec<Vec<u8>>,
        checkpoint_text: &str,
        now_ms: u64,
    ) -> Result<(), Error> {
        let expected = followed.next_index();
        if start > expected && !entries.is_empty() {
            return Err(Error::OutOfOrder { start, expected });
        }
        // What is here already, because a file brought it in the meantime. The root is over what is here.
        let known = usize::try_from(expected - start.min(expected)).unwrap_or(usize::MAX);
        entries.drain(..known.min(entries.len()));
        if let Some(at) = entries.iter().position(|entry| entry.len() > LARGEST_ENTRY) {
            let source = StatementError::NotAnEnvelope;
            return Err(Error::Statement { index: expected + at as u64, source });
        }
        if followed.keys.is_none() {
            let Some(founding) = entries.first() else { return Ok(()) };
            followed.keys = Some(self.founding_keys(founding)?);
        }
        let have = expected + entries.len() as u64;
        if have - followed.frontier.size() > MOST_UNCOVERED {
            return Err(Error::Uncovered);
        }
        let Some(verified) = self.open_checkpoint(followed, &entries, have, checkpoint_text)? else {
            // Nobody can tell yet whose it must be.
            return self.go_ahead(followed, entries, None).await;
        };
        self.check_consistent(followed, source, &verified)?;
        // While catching up the first checkpoint is the nearer goal; once it is reached the newest counts.
        let target = match followed.ahead.as_mut().and_then(|ahead| ahead.target.take()) {
            Some(nearer) if verified.checkpoint().size() > have => nearer,
            _ => verified,
        };
        let size = target.checkpoint().size();
        if size == followed.frontier.size() {
            self.check_root(&target, &followed.frontier)?;
            if followed.ahead.is_none() && entries.is_empty() {
                return self.vouch_again(&target, now_ms).await;
            }
        }
        if size <= expected {
            // An older word than what is under way: it covers nothing of what is new.
            return self.go_ahead(followed, entries, None).await;
        }
        if size > have {
            return self.go_ahead(followed, entries, Some(target)).await;
        }
        let mut covered = entries;
        let beyond = covered.split_off(usize::try_from(size - expected).unwrap_or(usize::MAX));
        self.go_ahead(followed, covered, None).await?;
        self.take_up_to(followed, &target, now_ms).await?;
        if beyond.is_empty() { Ok(()) } else { self.go_ahead(followed, beyond, None).await }
    }

    /// Opens the registry's checkpoint with the key that the log must have signed it with: that of the frontier, or one
    /// that a change of key brings in what no checkpoint covers yet, `entries` included. `None` where the change may be
    /// in what has yet to come.
    fn open_checkpoint(
        &self,
        followed: &Followed,
        entries: &[Vec<u8>],
        have: u64,
        text: &str,
    ) -> Result<Option<VerifiedCheckpoint>, Error> {
        let Some(keys) = &followed.keys else { return Ok(None) };
        let exchange = self.seen().directory.exchange().clone();
        match checkpoint::open(text.as_bytes(), &log_key(&exchange, keys.log())?) {
            Err(checkpoint::Error::Note(note::Error::SignatureMissing { .. })) => {}
            opened => return Ok(Some(opened?)),
        }
        let mut keys = followed.ahead.as_ref().and_then(|ahead| ahead.keys.clone()).unwrap_or_else(|| keys.clone());
        for (index, entry) in (have - entries.len() as u64..).zip(entries) {
            // Signed by the authority's and the log's keys before it: that is enough to know whose a checkpoint must be.
            keys.follow(entry).map_err(|source| Error::Statement { index, source })?;
        }
        match checkpoint::open(text.as_bytes(), &log_key(&exchange, keys.log())?) {
            Ok(verified) => Ok(Some(verified)),
            Err(_) if !entries.is_empty() && checkpoint::peek(text.as_bytes())?.size() > have => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A checkpoint of what is here must be of the same history, and not take anything back.
    fn check_consistent(
        &self,
        followed: &Followed,
        source: Source,
        verified: &VerifiedCheckpoint,
    ) -> Result<(), Error> {
        let (told, here) = (verified.checkpoint().size(), followed.frontier.size());
        let (told_ms, here_ms) = (verified.time_seconds().saturating_mul(1000), self.log_vouched_ms());
        if told < here
            && let Some(root) = self.root_at(told)
            && root != verified.checkpoint().root()
        {
            return Err(Error::Forked { size: told, told: verified.checkpoint().root(), here: root });
        }
        if source == Source::Registry {
            self.excuse(verified, here)?;
        }
        // An old checkpoint that comes late proves nothing; a newer one with fewer statements proves a rollback.
        if told < here && told_ms >= here_ms {
            return Err(Error::RolledBack { told, here });
        }
        let seen = self.seen();
        let skew_ms = age::profile(seen.directory()).map_or(0, |profile| profile.clock_skew_ms);
        if source == Source::Registry && told_ms.saturating_add(skew_ms) < here_ms {
            return Err(Error::Stale { told_ms, here_ms });
        }
        Ok(())
    }

    fn check_root(&self, target: &VerifiedCheckpoint, frontier: &Frontier) -> Result<(), Error> {
        let (size, told, here) = (frontier.size(), target.checkpoint().root(), frontier.root());
        if told == here { Ok(()) } else { Err(Error::Forked { size, told, here }) }
    }

    /// The registry says again, with a newer time, what is believed already.
    async fn vouch_again(&self, target: &VerifiedCheckpoint, now_ms: u64) -> Result<(), Error> {
        let text = target.note().to_string();
        if target.time_seconds().saturating_mul(1000) <= self.log_vouched_ms() {
            // No newer word on the same: keeping it could make the verified time run backwards at the next start. But
            // more witnesses may have put theirs below it.
            self.more_witnesses(target, &text);
            return self.take_cosignatures(target.note(), self.latest_seconds(now_ms)).await;
        }
        let start = target.checkpoint().size();
        self.stored.append(Batch { start, entries: Vec::new(), checkpoint: text.clone() }).await?;
        self.vouched(target, &text);
        self.take_cosignatures(target.note(), self.latest_seconds(now_ms)).await
    }

    /// Checks statements that no checkpoint covers yet, and folds them in where nobody sees it.
    async fn go_ahead(
        &self,
        followed: &mut Followed,
        entries: Vec<Vec<u8>>,
        target: Option<VerifiedCheckpoint>,
    ) -> Result<(), Error> {
        if entries.is_empty() && followed.ahead.is_none() {
            return Ok(());
        }
        let (before, keys_before) = (followed.frontier.clone(), followed.keys.clone());
        let ahead = followed.ahead.get_or_insert_with(|| {
            let seen = self.seen();
            // Said when it happened; the view stays where it is until a newer version of this program reads on.
            let directory = (seen.size() == before.size()).then(|| seen.directory.clone());
            Ahead {
                frontier: before,
                directory,
                stuck: None,
                keys: keys_before,
                endings: Vec::new(),
                roots: Roots::default(),
                waiting: Vec::new(),
                waiting_bytes: 0,
                target: None,
            }
        });
        ahead.target = target.or(ahead.target.take());
        let goal = ahead.target.as_ref().map_or(0, |target| target.checkpoint().size());
        let goal = goal.max(ahead.frontier.size() + entries.len() as u64);
        for (count, entry) in entries.into_iter().enumerate() {
            ahead.fold(entry, goal);
            if count % FOLDED_AT_ONCE == FOLDED_AT_ONCE - 1 {
                // A long directory costs seconds of verification: questions go in between.
                tokio::task::yield_now().await;
            }
        }
        if ahead.waiting_bytes > MOST_WAITING_BYTES {
            ahead.waiting_bytes = 0;
            let waiting = std::mem::take(&mut ahead.waiting);
            self.stored.stage(ahead.frontier.size() - waiting.len() as u64, waiting).await?;
        }
        Ok(())
    }

    /// Believes all that is ahead, which the target covers exactly, if the target's root is its own.
    async fn take_up_to(&self, followed: &mut Followed, target: &VerifiedCheckpoint, now_ms: u64) -> Result<(), Error> {
        let Some(ahead) = &followed.ahead else { return Ok(()) };
        self.check_root(target, &ahead.frontier)?;
        if ahead.directory.as_ref().is_some_and(|directory| !directory.is_vouched_for()) {
            return Err(Error::NotFounded);
        }
        let Some(ahead) = followed.ahead.take() else { return Ok(()) };
        let text = target.note().to_string();
        let start = ahead.frontier.size() - ahead.waiting.len() as u64;
        self.stored.append(Batch { start, entries: ahead.waiting, checkpoint: text.clone() }).await?;
        followed.frontier = ahead.frontier;
        followed.keys = ahead.keys;
        if let Some(directory) = ahead.directory {
            self.publish(directory, ahead.roots);
            self.end(ahead.endings);
        }
        match ahead.stuck {
            Some((index, source)) => {
                let error = Error::Statement { index, source };
                self.stop_at(error.to_string());
                Err(error)
            }
            None => {
                self.vouched(target, &text);
                self.take_cosignatures(target.note(), self.latest_seconds(now_ms)).await
            }
        }
    }

    /// The keys that the founding names. It is signed by the authority's key that is trusted, or by one for which that
    /// has to vouch in what follows; nothing is believed before it does.
    fn founding_keys(&self, entry: &[u8]) -> Result<RootKeys, Error> {
        let mut directory = self.seen().directory.clone().founded_in(entry);
        directory.apply(entry).map_err(|_| Error::NotFounded)?;
        RootKeys::of(&directory).ok_or(Error::NotFounded)
    }
}

impl Ahead {
    fn fold(&mut self, entry: Vec<u8>, goal: u64) {
        if self.frontier.size() == 0 {
            self.directory = self.directory.take().map(|directory| directory.founded_in(&entry));
        }
        let leaf = leaf_hash(&entry);
        if let Some(directory) = self.directory.as_mut().filter(|_| self.stuck.is_none()) {
            match directory.check(&entry) {
                Err(source) => self.stuck = Some((directory.size(), source)),
                Ok(checked) => {
                    let body = checked.statement().body.as_ref();
                    self.endings.extend(body.and_then(|body| Ending::of(directory, body)));
                    let changes = chain::changes_keys(body);
                    directory.fold_leaf(checked, leaf);
                    if changes {
                        self.keys = RootKeys::of(directory);
                    }
                    // Of a million roots the oldest would be thrown away again.
                    if goal - directory.size() < ROOTS_KEPT as u64 {
                        self.roots.push(directory.size(), directory.root());
                    }
                }
            }
        } else if let Some(keys) = &mut self.keys {
            // The view stopped before; whose the log's checkpoints must be is followed all the same.
            let _ = keys.follow(&entry);
        }
        self.frontier.append(leaf);
        self.waiting_bytes += entry.len();
        self.waiting.push(entry);
    }
}
