//! The cases of this node: opens them, takes in what comes later, and keeps it. Whatever is changed is durable before it is
//! told. Out of scope: who may call (the edges), asking (`engine::round`), commitments (`engine::commit`).

mod checks;
mod commit;
mod later;
mod papers;
mod round;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use host::{
    clock::Clock,
    random::{self, Random},
};
use tokio::sync::broadcast;
use trust::{
    directory::Directory,
    ids::Party,
    refusal::{Code, Refusal},
};

use self::checks::{check_head, check_people};
pub use self::watch::Watched;
pub use super::store::Head;
use super::{
    AddToCase, Case, CaseSettings, Commitment, CommitmentState, Error, Notice, OpenCase, Pause, Proof, WAITING,
    commitment,
    opening::opening,
    refresh::{accept_paper_while_doubted, refresh},
    store::{self, Vault},
};
use crate::{
    ask::Asker,
    budget::BudgetKey,
    config::Config,
    correction::Book,
    duty::{Change, Duties},
    journal::MonthKeys,
    outbox::Outbox,
    view::View,
};

/// How many events wait for a slow listener.
const EVENTS: usize = 1024;

/// Something happened in a case.
#[derive(Clone, Debug)]
pub struct Event {
    /// The case number.
    pub number: String,
    /// `proof`, or what became of a commitment.
    pub kind: &'static str,
    /// The proof as it is now.
    pub proof: Proof,
    /// When, Unix milliseconds.
    pub at_ms: u64,
}

/// A case that was opened, now or before.
#[derive(Clone, Debug)]
pub struct Opened {
    /// As it stands.
    pub case: Case,
    /// Whether it was opened now.
    pub is_new: bool,
}

/// What the cases are made of.
pub struct CasesParts {
    /// The department.
    pub me: Party,
    /// The node's folder.
    pub dir: PathBuf,
    /// Asks.
    pub asker: Arc<Asker>,
    /// Knows which answers are doubted.
    pub corrected: Arc<Book>,
    /// The directory.
    pub view: Arc<View>,
    /// The due-list, and what is kept beside it.
    pub duties: Arc<Duties>,
    /// What office systems are told of.
    pub outbox: Arc<Outbox>,
    /// Under which subjects are known.
    pub budget_key: Arc<BudgetKey>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// How they are handled.
    pub settings: CaseSettings,
}

impl CasesParts {
    /// The parts of a node with this configuration.
    pub fn of(
        config: &Config,
        (asker, corrected): (&Arc<Asker>, &Arc<Book>),
        (view, duties, outbox): (&Arc<View>, &Arc<Duties>, &Arc<Outbox>),
        budget_key: &Arc<BudgetKey>,
        (clock, random): (&Arc<dyn Clock>, &Arc<dyn Random>),
    ) -> Self {
        Self {
            me: config.party(),
            dir: config.dir.clone(),
            asker: Arc::clone(asker),
            corrected: Arc::clone(corrected),
            view: Arc::clone(view),
            duties: Arc::clone(duties),
            outbox: Arc::clone(outbox),
            budget_key: Arc::clone(budget_key),
            clock: Arc::clone(clock),
            random: Arc::clone(random),
            settings: config.cases,
        }
    }
}

/// The cases of this node.
pub struct Cases {
    parts: CasesParts,
    vault: Vault,
    /// By the case number.
    heads: Mutex<HashMap<String, Head>>,
    /// The numbers in the order in which the cases were opened: by the head's id.
    order: Mutex<BTreeMap<String, String>>,
    commitments: Mutex<BTreeMap<String, Commitment>>,
    /// By item and proof, when checks that waited were asked at once because somebody answers again.
    hastened: Mutex<HashMap<(String, String), u64>>,
    /// Cases that are being asked about now, as far as they have come.
    under_way: Mutex<HashMap<String, Case>>,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    events: broadcast::Sender<Event>,
}

impl Cases {
    /// Opens the cases that are kept beside the due-list.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn open_book(parts: CasesParts) -> Result<Self, Error> {
        let keys = MonthKeys::open(parts.dir.join("keys").join("months"))?;
        let heads = parts.duties.rows::<Head>(store::HEADS)?;
        let commitments = parts.duties.rows::<Commitment>(commitment::BOOK)?;
        let order = heads.iter().map(|head| (head.id.clone(), head.number.clone())).collect();
        Ok(Self {
            vault: Vault { keys },
            heads: Mutex::new(heads.into_iter().map(|head| (head.number.clone(), head)).collect()),
            order: Mutex::new(order),
            commitments: Mutex::new(commitments.into_iter().map(|row| (row.id.clone(), row)).collect()),
            hastened: Mutex::default(),
            under_way: Mutex::default(),
            turns: Mutex::default(),
            events: broadcast::Sender::new(EVENTS),
            parts,
        })
    }

    /// What happens in cases from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Opens a case and asks for all its proofs. The same again shows the case, and goes on with one that was cut short; the
    /// same number with anything else is refused.
    ///
    /// # Errors
    ///
    /// Our own failure.
    pub async fn open(self: &Arc<Self>, new: OpenCase) -> Result<Result<Opened, Refusal>, Error> {
        if let Err(refusal) = check_head(&new.number, &new.officer).and_then(|()| check_people(&new.people, true)) {
            return Ok(Err(refusal));
        }
        let turn = self.turn(&new.number);
        let _turn = turn.lock().await;
        if let Some(head) = self.head(&new.number) {
            let case = self.load(&head)?;
            if !case.was_opened_with(&new) {
                return Ok(Err(Refusal::new(Code::CaseExists).at("case_number")));
            }
            let case = match case.state() {
                "asking" => self.round(case, new.deadline_ms).await?,
                _ => Ok(case),
            };
            return Ok(case.map(|case| Opened { case, is_new: false }));
        }
        let now_ms = self.parts.clock.now_ms();
        let seen = self.parts.view.seen();
        let Some(version) = seen.directory().item_at(self.parts.me.department(), &new.item, now_ms) else {
            return Ok(Err(Refusal::new(Code::ItemUnknown).at("item")));
        };
        let item = version.published.read();
        let name = item.name.clone().unwrap_or_default();
        let salt = data_encoding::HEXLOWER.encode(&random::array::<16>(self.parts.random.as_ref()));
        let case = Case {
            opened_with: opening(&salt, &new),
            salt,
            number: new.number,
            item: new.item,
            item_version: version.version,
            item_statement: version.statement.to_string(),
            item_name_zh: name.zh,
            item_name_en: name.en,
            working_days: item.time_limit_working_days.unwrap_or(0),
            officer: new.officer,
            system: new.system,
            opened_ms: now_ms,
            people: new.people,
            authorisation: new.authorisation,
            ..Case::default()
        };
        drop(seen);
        let case = self.round(case, new.deadline_ms).await?;
        Ok(case.map(|case| Opened { case, is_new: true }))
    }

    /// How long all questions of a case may take, in milliseconds, for an office that waits so long.
    pub fn deadline(&self, wished_ms: u32, waits: Option<Duration>) -> u32 {
        self.parts.settings.deadline(wished_ms, waits)
    }

    /// Adds to a case, and asks only what is missing.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`], or our own failure.
    pub async fn add(self: &Arc<Self>, more: AddToCase) -> Result<Result<Case, Refusal>, Error> {
        if let Err(refusal) = check_head(&more.number, &more.officer).and_then(|()| check_people(&more.people, false)) {
            return Ok(Err(refusal));
        }
        let turn = self.turn(&more.number);
        let _turn = turn.lock().await;
        let mut case = self.load(&self.head(&more.number).ok_or(Error::Unknown)?)?;
        let taken = papers::take(&mut case, &more.papers, &more.papers_about);
        if let Err(refusal) = taken.and_then(|()| case.take_people(more.people)) {
            return Ok(Err(refusal));
        }
        case.officer = more.officer;
        case.take_given();
        if more.authorisation.is_some() {
            case.authorisation = more.authorisation;
        }
        self.round(case, more.deadline_ms).await
    }

    /// Stops the clock of a case, or lets it run again where there is no reason.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`], or our own failure.
    pub async fn pause(&self, number: &str, reason: &str, officer: &str) -> Result<Result<Case, Refusal>, Error> {
        if let Err(refusal) = check_head(number, officer) {
            return Ok(Err(refusal));
        }
        let turn = self.turn(number);
        let _turn = turn.lock().await;
        let mut case = self.load(&self.head(number).ok_or(Error::Unknown)?)?;
        let now_ms = self.parts.clock.now_ms();
        case.stand_still(reason.trim(), now_ms);
        // What is awaited of the applicant stops the clock for as long as it is missing, whoever lets it run.
        self.keep_time(&mut case);
        self.save(&case, Vec::new()).await?;
        Ok(Ok(case))
    }

    /// The case as it stands.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`], or our own failure.
    pub fn show(&self, number: &str) -> Result<Case, Error> {
        if let Some(case) = lock(&self.under_way).get(number) {
            return Ok(case.clone());
        }
        self.load(&self.head(number).ok_or(Error::Unknown)?)
    }

    /// Cases that a caller sees, the newest first, after the one with the number `after`.
    pub fn list(&self, limit: usize, after: &str, seen: impl Fn(&Head) -> bool) -> Vec<Head> {
        let from = self.head(after).map(|head| head.id);
        let heads = lock(&self.heads);
        let order = lock(&self.order);
        let older = order.iter().rev().filter(|(id, _)| from.as_ref().is_none_or(|from| *id < from));
        older.filter_map(|(_, number)| heads.get(number)).filter(|head| seen(head)).take(limit).cloned().collect()
    }

    /// Commitments, the oldest first.
    pub fn commitments(&self, state: &str, number: &str) -> Vec<Commitment> {
        let fits = |row: &&Commitment| {
            (state.is_empty() || row.state.as_str() == state) && (number.is_empty() || row.case_number == number)
        };
        lock(&self.commitments).values().filter(fits).cloned().collect()
    }

    /// How the time limit of a case stands now.
    pub fn clock_of(&self, case: &Case) -> super::Clock {
        case.clock(self.parts.view.seen().directory().profile(), self.parts.clock.now_ms())
    }

    /// A moment as people write it, in the authority's calendar.
    pub fn date(&self, at_ms: u64) -> String {
        self.parts.view.seen().directory().profile().calendar.date_of(at_ms)
    }

    /// Tells once what is missing and stops the clock meanwhile; lets it run once nothing is.
    fn keep_time(&self, case: &mut Case) {
        let now_ms = self.parts.clock.now_ms();
        if case.state() == "waiting" {
            if case.notice.is_none() {
                let missing = |proof: &&Proof| !proof.optional && !proof.outcome.is_settled();
                let sentences: Vec<_> = case.item_proofs().filter(missing).map(Proof::sentences).collect();
                case.notice = Some(Notice {
                    told_at_ms: now_ms,
                    zh: sentences.iter().map(|said| format!("{}{}", said.zh, said.next_zh)).collect(),
                    en: sentences.iter().map(|said| format!("{} {}", said.en, said.next_en)).collect(),
                });
            }
            if !case.is_paused() {
                case.pauses.push(Pause { reason: WAITING.to_owned(), from_ms: now_ms, until_ms: None });
            }
        } else {
            let waiting = |pause: &&mut Pause| pause.until_ms.is_none() && pause.reason == WAITING;
            case.pauses.iter_mut().filter(waiting).for_each(|pause| pause.until_ms = Some(now_ms));
        }
    }

    /// The item in the version that the case was filed under.
    fn item_of(&self, directory: &Directory, case: &Case) -> Result<proto::registry::v1::ItemPublished, Error> {
        let version = directory.item_version(self.parts.me.department(), &case.item, case.item_version);
        let lost = || Error::Malformed("the directory does not have the item's version any more".to_owned());
        Ok(version.ok_or_else(lost)?.published.read())
    }

    /// What may be read of a case without a key.
    pub fn head(&self, number: &str) -> Option<Head> {
        lock(&self.heads).get(number).cloned()
    }

    fn load(&self, head: &Head) -> Result<Case, Error> {
        let mut case = self.vault.read(&self.parts.duties, head)?;
        case.blocked = self.is_blocked(&case);
        refresh(&self.parts.asker, &mut case);
        accept_paper_while_doubted(&self.parts.corrected, &mut case);
        Ok(case)
    }

    /// The changes that keep a case; it counts here once they are durable.
    fn rows(&self, case: &Case) -> Result<(Head, Vec<Change>), Error> {
        let before = self.head(&case.number);
        self.vault.rows(before.as_ref(), case, self.parts.random.as_ref())
    }

    async fn save(&self, case: &Case, mut also: Vec<Change>) -> Result<(), Error> {
        let (head, mut changes) = self.rows(case)?;
        changes.append(&mut also);
        self.parts.duties.commit(changes).await?;
        self.remember(head);
        Ok(())
    }

    fn remember(&self, head: Head) {
        lock(&self.order).insert(head.id.clone(), head.number.clone());
        lock(&self.heads).insert(head.number.clone(), head);
    }

    fn tell(&self, case: &Case, index: usize, kind: &'static str) {
        let at_ms = self.parts.clock.now_ms();
        // Nobody may be listening.
        let _ = self.events.send(Event { number: case.number.clone(), kind, proof: case.proofs[index].clone(), at_ms });
    }

    /// The numbers that the applicant is known by, now or before, as keyed hashes.
    fn applicant(&self, case: &Case) -> Vec<String> {
        let stated = commitment::numbers_of_applicant(&self.parts.view.seen().directory().profile().schemes, case);
        let known: BTreeSet<_> = stated.iter().flat_map(|number| self.parts.asker.numbers_of(number)).collect();
        // What was stated first: there is room for so many.
        let former = known.difference(&stated);
        let hash = |number| data_encoding::HEXLOWER.encode(&self.parts.budget_key.subject(number));
        stated.iter().chain(former).map(hash).take(commitment::MOST_NUMBERS).collect()
    }

    /// Whether the applicant has a broken commitment that was not put right.
    fn is_blocked(&self, case: &Case) -> bool {
        let numbers = self.applicant(case);
        let broken = |row: &Commitment| row.state == CommitmentState::Broken && row.is_of(&numbers);
        lock(&self.commitments).values().any(broken)
    }

    fn turn(&self, number: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = lock(&self.turns);
        // Those that nobody holds are not needed.
        if turns.len() > 1024 {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(turns.entry(number.to_owned()).or_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Cases {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cases").field("count", &lock(&self.heads).len()).finish_non_exhaustive()
    }
}
