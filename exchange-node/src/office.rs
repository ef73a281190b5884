//! What an office system can do at its own node, in plain types: ask, look up, list, export, see what there is. Each way
//! to it translates and decides nothing: gRPC (`office_edge`), HTTP with JSON (`office::http`), the command line through
//! the admin socket.
//!
//! **Invariant:** an office system does what its key is for. A question beyond it is refused before it is looked at, and that
//! stands in the evidence; what it did not ask for it does not see. Out of scope: what becomes of a question (`ask`).

pub mod batches;
pub mod cases;
pub mod corrections;
pub(crate) mod cursor;
pub mod docs;
pub mod etsi;
pub mod events;
pub mod http;
pub mod items;
pub mod json;
pub mod notice;
pub mod port;
pub mod problem;
pub mod settings;
pub mod sign_in;
pub mod subject_log;
pub mod subscriptions;

use std::sync::Arc;

use host::clock::Clock;
use trust::{
    directory::model::AccessState,
    evidence::{ItemReceipt, Receipt},
    ids::{DepartmentId, Party, ServiceId},
    refusal::{Code, Refusal},
    service::{Service, Sharing},
};

use self::notice::NoticeWriter;
use crate::{
    ask::{Asked, Asker, Error, NotFound, OfficeQuestion, Page, Step},
    bulk::Bulk,
    case::Cases,
    correction::Corrections,
    export::{self, Exporter},
    journal::JournalError,
    notices,
    office_keys::{Caller, Limits},
    outbox::Outbox,
    parts::Parts,
    view::View,
};

/// Why an office system gets no result. Not a refusal: that is a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Something that is there already stands in the way.
    #[error("{0}")]
    InTheWay(String),
    /// A part of the call cannot be read.
    #[error("{field}: {reason}")]
    Malformed {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such thing, or it is not for this caller.
    #[error("{0}")]
    NotFound(String),
    /// A fault of this node's own program.
    #[error("a task of the node ended by itself: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// Our own failure, which may pass.
    #[error("{0}")]
    Unavailable(String),
    /// It can be read, and cannot be meant.
    #[error("{field}: {reason}")]
    Unusable {
        /// What is at fault.
        field: &'static str,
        /// Why.
        reason: String,
    },
}

/// A verification as an office sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// As it stands.
    pub asked: Asked,
    /// By what it is looked up: the receipt of its first result, whatever came of it later.
    pub id: ItemReceipt,
    /// What the office should know of the service; empty where there is nothing to say.
    pub notice: String,
    /// Whether it came back from the other side's evidence, because the own one lost it.
    pub from_the_other_side: bool,
    /// What happened when, the oldest first.
    pub timeline: Vec<Step>,
}

/// A data service as an office sees it.
#[derive(Clone, Debug)]
pub struct ServiceSeen {
    /// The service.
    pub id: ServiceId,
    /// Its name in Chinese.
    pub name_zh: String,
    /// Its name in English.
    pub name_en: String,
    /// `unconditional`, `conditional` or `not_shared`.
    pub sharing: &'static str,
    /// `answering`, `suspended`, `withdrawn` or `waiting`.
    pub state: &'static str,
    /// Whether this department may ask it.
    pub may_ask: bool,
    /// Each attribute with its type and operators.
    pub attributes: Vec<AttributeSeen>,
}

/// What may be claimed of a record.
#[derive(Clone, Debug)]
pub struct AttributeSeen {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: String,
    /// The operators.
    pub operators: Vec<&'static str>,
}

/// What office systems can do.
pub struct Office {
    me: Party,
    asker: Arc<Asker>,
    exporter: Arc<Exporter>,
    view: Arc<View>,
    cases: Arc<Cases>,
    bulk: Arc<Bulk>,
    corrections: Arc<Corrections>,
    outbox: Arc<Outbox>,
    notices: Arc<NoticeWriter>,
    clock: Arc<dyn Clock>,
}

impl Office {
    /// Of a running node.
    pub fn of(parts: &Parts, corrections: &Arc<Corrections>, notices: Arc<NoticeWriter>) -> Self {
        Self {
            me: parts.config.party(),
            asker: Arc::clone(&parts.asker),
            exporter: Arc::clone(&parts.exporter),
            view: Arc::clone(&parts.view),
            cases: Arc::clone(&parts.cases),
            bulk: Arc::clone(&parts.bulk),
            corrections: Arc::clone(corrections),
            outbox: Arc::clone(&parts.outbox),
            notices,
            clock: Arc::clone(&parts.clock),
        }
    }

    /// The time.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Asks one question and waits for what becomes of it.
    ///
    /// # Errors
    /// Nothing was asked, or nothing is known of what became of it.
    pub async fn ask(&self, caller: &Caller, question: OfficeQuestion) -> Result<Seen, Failure> {
        let question = OfficeQuestion { system: caller.system.clone(), ..question };
        let asker = Arc::clone(&self.asker);
        let beyond = caller.limits.covers(&question.provider, &question.service, question.item()).err();
        // In a task of its own: where the office hangs up, what became of the question is still recorded.
        let asked = tokio::spawn(async move {
            match beyond {
                Some(field) => asker.refuse(&question, Refusal::new(Code::OfficeKeyNotCovering).at(field)).await,
                None => asker.ask(question).await,
            }
        });
        let asked = asked.await?.map_err(failed)?;
        let asker = Arc::clone(&self.asker);
        let receipt = asked.receipt;
        let id = tokio::task::spawn_blocking(move || asker.first_receipt(&receipt)).await?.unwrap_or(receipt);
        Ok(self.seen(asked, id, false, Vec::new()))
    }

    /// Looks an earlier verification up.
    ///
    /// # Errors
    /// There is none for this caller, or it cannot be read back.
    pub async fn show(&self, caller: &Caller, receipt: &str) -> Result<Seen, Failure> {
        let ItemReceipt { receipt, item } = read_item_receipt(receipt)?;
        let asker = Arc::clone(&self.asker);
        // An old receipt may lie in a month that must be opened first.
        let shown = tokio::task::spawn_blocking(move || {
            let asked = match item {
                None => asker.show(&receipt)?,
                Some(item) => asker.show_item(&receipt, item)?,
            };
            let (id, timeline) = match item {
                None => (asker.first_receipt(&receipt)?, asker.timeline(&receipt)?),
                Some(_) => (receipt, Vec::new()),
            };
            let id = ItemReceipt { receipt: id, item };
            Ok((asked, id, asker.is_from_the_other_side(&receipt), timeline))
        });
        let (asked, id, from_the_other_side, timeline) = shown.await?.map_err(not_found)?;
        self.check_visible(caller, &asked)?;
        Ok(self.seen(asked, id, from_the_other_side, timeline))
    }

    /// Asks again for an answer that was deferred, by its ticket or receipt, and shows what there is.
    ///
    /// # Errors
    /// As for [`Office::show`].
    pub async fn fetch(&self, caller: &Caller, ticket: &str) -> Result<Seen, Failure> {
        let (asker, ticket) = (Arc::clone(&self.asker), ticket.trim().to_owned());
        // In a task of its own: where the office hangs up, what came is still recorded.
        let fetched = tokio::spawn(async move {
            match ticket.parse::<Receipt>() {
                Ok(receipt) => asker.fetch_by_receipt(&receipt).await,
                Err(_) => asker.fetch_by_ticket(&ticket).await,
            }
        });
        let asked = match fetched.await? {
            Ok(asked) => asked,
            Err(NotFound::Unknown) => {
                return Err(Failure::NotFound("this node awaits no answer with this ticket or receipt".to_owned()));
            }
            Err(error) => return Err(not_found(error)),
        };
        self.check_visible(caller, &asked)?;
        let id = asked.receipt;
        Ok(self.seen(asked, id, false, Vec::new()))
    }

    /// The evidence of a verification, checkable offline.
    ///
    /// # Errors
    /// There is none for this caller, or it cannot be made now.
    pub async fn evidence(&self, caller: &Caller, receipt: &str) -> Result<Vec<u8>, Failure> {
        let ItemReceipt { receipt: entry, item } = read_item_receipt(receipt)?;
        if !caller.limits.is_open() {
            self.show(caller, receipt).await?;
        }
        let exporter = Arc::clone(&self.exporter);
        match tokio::task::spawn_blocking(move || exporter.export_item(&entry, item)).await? {
            Ok(bundle) => Ok(bundle),
            Err(
                error @ (export::Error::Journal(_)
                | export::Error::Checkpoint(_)
                | export::Error::DirectoryDamaged
                | export::Error::NoDirectory
                | export::Error::StoredUnreadable
                | export::Error::View(_)),
            ) => {
                tracing::error!(%error, "evidence could not be exported");
                Err(Failure::Unavailable(error.to_string()))
            }
            Err(error) => Err(Failure::NotFound(error.to_string())),
        }
    }

    /// What was asked through this caller's office system, as far as his key could have asked it, the newest first; an operator
    /// sees everything. `before` is where the last page ended.
    ///
    /// # Errors
    /// What is stored cannot be read.
    pub async fn list(
        &self,
        caller: &Caller,
        before: Option<u64>,
        most: usize,
        state: Option<String>,
    ) -> Result<(Vec<Seen>, Option<u64>), Failure> {
        let (asker, system) = (Arc::clone(&self.asker), (!caller.is_operator()).then(|| caller.system.clone()));
        let limits = caller.limits.clone();
        let listed = tokio::task::spawn_blocking(move || {
            asker.list(before, most, |of, asked| {
                system.as_deref().is_none_or(|system| system == of)
                    && is_visible(&limits, asked)
                    && state.as_deref().is_none_or(|state| state == asked.ending.state())
            })
        });
        let Page { found, next } = listed.await?.map_err(failed)?;
        Ok((found.into_iter().map(|(id, asked)| self.seen(asked, id, false, Vec::new())).collect(), next))
    }

    /// The data services that the directory knows and this caller may use.
    ///
    /// # Errors
    /// The department's id is none.
    pub fn services(&self, caller: &Caller, provider: &str) -> Result<Vec<ServiceSeen>, Failure> {
        let only: Option<DepartmentId> = match provider {
            "" => None,
            text => Some(text.parse().map_err(|error: trust::ids::IdError| Failure::Malformed {
                field: "provider",
                reason: error.to_string(),
            })?),
        };
        let seen = self.view.seen();
        let directory = seen.directory();
        let now_ms = self.clock.now_ms();
        // Whether it may be used for some item says the question.
        let limits = Limits { items: None, ..caller.limits.clone() };
        let services = directory
            .scan_services()
            .filter(|service| only.as_ref().is_none_or(|only| service.id.department == *only))
            .filter(|service| limits.covers(service.id.department.as_str(), service.id.service.as_str(), "").is_ok())
            .map(|service| {
                let granted = || {
                    directory
                        .access_between(&service.id.department, self.me.department())
                        .filter(|(_, access)| access.state == AccessState::Granted)
                        .filter_map(|(_, access)| access.granted.as_ref())
                        .any(|granted| {
                            granted.service == service.id.service.as_str()
                                && granted.major_version == service.id.major
                                && (granted.valid_until_ms == 0 || now_ms < granted.valid_until_ms)
                        })
                };
                let may_ask = service.needs_no_grant_for(self.me.department()) || granted();
                seen_service(&service, may_ask, now_ms)
            });
        Ok(services.collect())
    }

    fn seen(&self, asked: Asked, id: impl Into<ItemReceipt>, from_the_other_side: bool, timeline: Vec<Step>) -> Seen {
        let (notice, id) = (self.notice(&asked), id.into());
        Seen { asked, id, notice, from_the_other_side, timeline }
    }

    /// What the office should know of the service that it asked.
    fn notice(&self, asked: &Asked) -> String {
        let service = asked.provider.parse::<Party>().ok().zip(asked.service.parse().ok());
        let Some((provider, service)) = service else { return String::new() };
        let id = ServiceId { department: provider.department().clone(), service, major: asked.service_version };
        notices::hint(self.view.seen().directory(), &id, self.clock.now_ms())
    }

    /// A key with limits sees what it could have asked, and nothing else.
    fn check_visible(&self, caller: &Caller, asked: &Asked) -> Result<(), Failure> {
        match is_visible(&caller.limits, asked) {
            true => Ok(()),
            false => Err(not_found(NotFound::Unknown)),
        }
    }
}

impl std::fmt::Debug for Office {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Office").field("me", &self.me).finish_non_exhaustive()
    }
}

/// Whether a key with these limits could have asked it.
fn is_visible(limits: &Limits, asked: &Asked) -> bool {
    let provider = asked.provider.split_once('/').map_or("", |(_, department)| department);
    limits.covers(provider, &asked.service, &asked.item).is_ok()
}

fn seen_service(service: &Service, may_ask: bool, now_ms: u64) -> ServiceSeen {
    let name = service.published.name.clone().unwrap_or_default();
    let (sharing, may_ask) = match service.sharing {
        Sharing::Conditional => ("conditional", may_ask),
        Sharing::NotShared => ("not_shared", false),
        Sharing::Unconditional => ("unconditional", true),
    };
    let attributes = service.attributes.values().map(|rule| AttributeSeen {
        name: rule.name().to_owned(),
        ty: rule.ty().ty().to_string(),
        operators: rule.operators().iter().map(|operator| operator.as_str()).collect(),
    });
    ServiceSeen {
        id: service.id.clone(),
        name_zh: name.zh,
        name_en: name.en,
        sharing,
        state: notices::state_word(service, now_ms),
        may_ask,
        attributes: attributes.collect(),
    }
}

/// A receipt, and which item of a batch it is about.
pub(crate) fn read_item_receipt(text: &str) -> Result<ItemReceipt, Failure> {
    text.parse().map_err(|error: trust::evidence::NotAReceipt| Failure::Malformed {
        field: "receipt",
        reason: error.to_string(),
    })
}

pub(crate) fn read_receipt(text: &str) -> Result<Receipt, Failure> {
    text.parse().map_err(|error: trust::evidence::NotAReceipt| Failure::Malformed {
        field: "receipt",
        reason: error.to_string(),
    })
}

fn not_found(error: NotFound) -> Failure {
    match error {
        NotFound::Failed(error) => failed(error),
        error => Failure::NotFound(error.to_string()),
    }
}

pub(crate) fn failed(error: Error) -> Failure {
    if let Error::Journal(JournalError::Held { reason }) = &error {
        return Failure::Unavailable(reason.as_str().to_owned());
    }
    tracing::error!(%error, "a question could not be asked or read back");
    Failure::Unavailable(error.to_string())
}

/// An office may bring its own id for the logs; one that could carry personal data is not taken.
pub(crate) fn trace_of(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase() || byte == b'-';
    // At least one letter: a resident number is digits alone, or digits and an X.
    let ok =
        (8..=64).contains(&text.len()) && text.bytes().all(plain) && text.bytes().any(|byte| byte.is_ascii_lowercase());
    ok.then(|| text.to_owned())
}
