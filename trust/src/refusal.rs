//! Refusals: outcomes that are signed and logged, and say what was wrong, which field, and what to do next, under one
//! stable code. They tell nothing about the record. Our own failures are errors and are not here.

use std::fmt;

use proto::exchange::v1 as wire;

macro_rules! codes {
    ($($code:ident $text:literal $message:literal $next_step:literal;)*) => {
        /// The stable codes. docs/protocol.md lists them; a test keeps the list whole.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $message] $code,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$code,)*];

            /// The code as it stands in answers, evidence, metrics and JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$code => $text,)* }
            }

            /// What is wrong, in a sentence without a full stop.
            pub fn message(self) -> &'static str {
                match self { $(Code::$code => $message,)* }
            }

            /// What to do next, in a sentence without a full stop.
            pub fn next_step(self) -> &'static str {
                match self { $(Code::$code => $next_step,)* }
            }
        }
    };
}

codes! {
    AnswerInvalid "ANSWER_INVALID" "The other side's answer did not verify" "ask the other department's operator to run `exchange-node doctor`";
    AnswerUnknown "ANSWER_UNKNOWN" "No such answer was given to this department" "use the receipt of an answer that this department was given";
    AnswerWithdrawn "ANSWER_WITHDRAWN" "The record that the answer rested on was wrong, and a person has to look it up anew" "ask again";
    AttributeNotCovered "ATTRIBUTE_NOT_COVERED" "The grant does not cover the attribute" "apply for access with this attribute (`access apply`), or leave the claim out";
    AttributeUnknown "ATTRIBUTE_UNKNOWN" "The service has no such attribute" "look the attributes up with `services list`";
    AuthorisationExpired "AUTHORISATION_EXPIRED" "The subject's authorisation has expired" "ask the subject to sign again";
    AuthorisationMissing "AUTHORISATION_MISSING" "The service needs the subject's authorisation" "have the subject sign the form and send its digest, scope, signer and end";
    AuthorisationNotCovering "AUTHORISATION_NOT_COVERING" "The subject's authorisation does not cover the question" "have the subject sign a form that names the service, the item or each data item asked for";
    BatchGrantDiffers "BATCH_GRANT_DIFFERS" "The item rests on another grant than the rest of its batch" "ask it in a batch of its own, or one by one";
    CaseExists "CASE_EXISTS" "The case number belongs to another case: of another item, or opened with other people" "use another case number, or add to the case (`case add`)";
    CaseMissing "CASE_MISSING" "The question names no case" "give the case number";
    CheckpointOutdated "CHECKPOINT_OUTDATED" "The checkpoint is not one of the directory's latest" "cosign the newest checkpoint";
    ClaimMalformed "CLAIM_MALFORMED" "The claim cannot be read" "correct the claim as the service description says";
    ClerkDeclined "CLERK_DECLINED" "A clerk declined to answer" "read the reason, correct the question and ask again, or ask the department";
    ClockBackwards "CLOCK_BACKWARDS" "This node's clock is behind a time it has verified" "set the clock; `doctor` shows both times";
    CommitmentBlocked "COMMITMENT_BLOCKED" "The applicant has a broken commitment that was not put right" "have it put right (`case repair`), or take the paper";
    CommitmentExcluded "COMMITMENT_EXCLUDED" "The item does not let a commitment stand in for this proof" "take the paper, or ask again later (`case add`)";
    CommitmentNotNeeded "COMMITMENT_NOT_NEEDED" "Nothing has to be committed to, or put right" "look at the case (`case show`)";
    CorrectionClosed "CORRECTION_CLOSED" "The correction does not wait for this any more" "look at it with `corrections inbox --all`";
    CorrectionOpen "CORRECTION_OPEN" "A correction of this answer is open already" "wait for its decision (`corrections show`)";
    DecisionPending "DECISION_PENDING" "Another decision waits for the second officer" "confirm it (`access confirm`) or set it aside (`access reject`)";
    DecisionUnnamed "DECISION_UNNAMED" "The decision does not name officer and document as the authority's profile asks" "give --officer and --document";
    DeferralNotAccepted "DEFERRAL_NOT_ACCEPTED" "A person answers this service, and the question does not accept a later answer" "ask again and accept a deferral (`verify --accept-deferral`)";
    DepartmentClosed "DEPARTMENT_CLOSED" "The department has ended" "ask its successor, which the detail and `registry department list` name";
    DepartmentSuspended "DEPARTMENT_SUSPENDED" "The department is suspended" "ask the authority";
    DepartmentUnknown "DEPARTMENT_UNKNOWN" "The department is not admitted to this exchange" "check the department's id; the authority admits departments";
    DirectoryDiverges "DIRECTORY_DIVERGES" "The two sides saw different directories of the same size" "stop and call the authority: its registry may have told two stories";
    DirectoryExpired "DIRECTORY_EXPIRED" "The node's view of the directory is too old" "restore the connection to the registry, or bring a fresh view by hand";
    DisclosureNotCovered "DISCLOSURE_NOT_COVERED" "The value may not be disclosed" "ask for a verdict only";
    EvidenceLogClosed "EVIDENCE_LOG_CLOSED" "The evidence log was closed in the directory" "go on with its successor; `exchange-node doctor` says what became of the log";
    EvidenceRewritten "EVIDENCE_REWRITTEN" "The evidence log does not continue the one that was anchored" "keep the node's folder as it is, and call the authority";
    ExchangeWrong "EXCHANGE_WRONG" "The message belongs to another exchange" "check which exchange both nodes belong to";
    GrantExpired "GRANT_EXPIRED" "The grant has expired" "apply for access again (`access apply`)";
    GrantHandedOver "GRANT_HANDED_OVER" "The grant was handed over to a successor" "ask through the successor's node";
    GrantMissing "GRANT_MISSING" "There is no grant for this service" "apply for access (`access apply`)";
    GrantNotYetValid "GRANT_NOT_YET_VALID" "The grant does not hold yet" "wait until it holds";
    GrantRevoked "GRANT_REVOKED" "The grant was revoked" "read the provider's reason (`access list`) and apply again";
    GrantSuspended "GRANT_SUSPENDED" "The grant is suspended" "read the provider's reason (`access list`)";
    GuessBudgetSpent "GUESS_BUDGET_SPENT" "Too many different values were tried" "try again when there is room, or ask again what was asked before, which costs nothing";
    InputMalformed "INPUT_MALFORMED" "An input cannot be read" "correct the input as the service description says";
    InputMissing "INPUT_MISSING" "A required input is missing" "give the input";
    InputUnknown "INPUT_UNKNOWN" "The service has no such input" "look the inputs up with `services list`";
    ItemUnknown "ITEM_UNKNOWN" "This department has no such item in force" "look the items up (`item list`)";
    KeyExpired "KEY_EXPIRED" "The key is no longer valid" "rotate the key";
    KeyNotYetValid "KEY_NOT_YET_VALID" "The key is not valid yet" "wait until it is, or sign with the current key";
    KeyRevoked "KEY_REVOKED" "The key was revoked" "make a new key";
    KeyUnknown "KEY_UNKNOWN" "The key is not in the directory as one that may sign this" "publish the key, or wait until the directory has it";
    LegalBasisMissing "LEGAL_BASIS_MISSING" "No legal basis is stated" "state the instrument and the article";
    MacWrong "MAC_WRONG" "The enrolment does not fit its token" "use the token as it was made, once, on one machine";
    MessageMalformed "MESSAGE_MALFORMED" "The message lacks something or cannot be read" "correct the field; docs/protocol.md has the form";
    MessageTooLarge "MESSAGE_TOO_LARGE" "The message is too large" "send less; docs/protocol.md has the limits";
    NotCorrectable "NOT_CORRECTABLE" "There is nothing in this answer that could be corrected" "ask again, or use the receipt of the newest answer";
    NotOverdue "NOT_OVERDUE" "The answer is not overdue yet" "wait until its due time has passed";
    OfficeKeyNotCovering "OFFICE_KEY_NOT_COVERING" "The office system's key does not cover the service or the item" "use the key of a system that may, or have one made (`office-key add`)";
    OfficerMissing "OFFICER_MISSING" "The question names no officer" "give the officer's number";
    OperatorNotCovered "OPERATOR_NOT_COVERED" "The grant does not cover the operator" "apply for access with this operator, or use one that is covered";
    OperatorUnknown "OPERATOR_UNKNOWN" "The attribute does not allow the operator" "look the operators up with `services list`";
    Overloaded "OVERLOADED" "The node takes no more questions for the moment" "try again later";
    PaperNotAccepted "PAPER_NOT_ACCEPTED" "The record says otherwise, and no paper settles that" "correct what was stated, or open a correction with the receipt (`corrections open`): while it is open the paper is accepted";
    PayloadTypeWrong "PAYLOAD_TYPE_WRONG" "The payload is of another type" "send the message that this call takes";
    ProofUnknown "PROOF_UNKNOWN" "The item has no such proof" "look the proofs up (`case show`)";
    ProviderUnreachable "PROVIDER_UNREACHABLE" "The provider has no node in the directory" "ask the provider's operator";
    PurposeNotCovered "PURPOSE_NOT_COVERED" "The grant is for another purpose" "apply for access for this item, or name the item the grant is for";
    QuotaExceeded "QUOTA_EXCEEDED" "The quota is used up" "try again when it is renewed";
    RecordNotMended "RECORD_NOT_MENDED" "The record still gives the same answer" "mend the record first (`records import` or in its own system), then decide";
    RecipientWrong "RECIPIENT_WRONG" "The message is addressed to somebody else" "address it to the node that it is sent to";
    RegistryCatchingUp "REGISTRY_CATCHING_UP" "The registry was restored from an older copy and does not hold all of its log yet" "submit the same again at the time given; `registry history` says what it waits for";
    RequestFromFuture "REQUEST_FROM_FUTURE" "The request was made later than now" "set the clock of the asking node";
    RequestIdReused "REQUEST_ID_REUSED" "The same request id came with other bytes" "make a new request id for a new question";
    RequestTooOld "REQUEST_TOO_OLD" "The request is no longer valid" "ask again";
    RequestValidityTooLong "REQUEST_VALIDITY_TOO_LONG" "The request is valid for longer than allowed" "make its validity shorter";
    SecondOfficerMissing "SECOND_OFFICER_MISSING" "The decision takes a second officer" "have another officer confirm it (`access confirm`)";
    SecondOfficerSame "SECOND_OFFICER_SAME" "The second officer is the first" "have another officer confirm it";
    SenderWrong "SENDER_WRONG" "The sender is not the one that the connection belongs to" "send each department's questions through its own node";
    ServiceHandedOver "SERVICE_HANDED_OVER" "The service was handed over to a successor" "ask the successor, which the detail names";
    ServiceNotReviewed "SERVICE_NOT_REVIEWED" "The service waits for the authority's review" "ask again when the authority has approved it (`services list`)";
    ServiceNotShared "SERVICE_NOT_SHARED" "The service is not shared" "read the law that its description cites";
    ServiceSuspended "SERVICE_SUSPENDED" "The service is suspended" "read its notice (`services list`) and try again later";
    ServiceUnknown "SERVICE_UNKNOWN" "There is no such service" "look it up with `services list`";
    ServiceWithdrawn "SERVICE_WITHDRAWN" "The service was withdrawn" "read its reason (`services list`)";
    SignatureWrong "SIGNATURE_WRONG" "The signature does not fit the bytes" "send the bytes as they were signed";
    StatementNotEntitled "STATEMENT_NOT_ENTITLED" "The key may not make this statement" "have the entitled party sign it";
    StatementOutdated "STATEMENT_OUTDATED" "Something else was said about the object in the meantime" "read the directory and make the statement again";
    StatementRefused "STATEMENT_REFUSED" "The statement breaks a rule of the directory" "correct the field";
    SubjectLogClosed "SUBJECT_LOG_CLOSED" "The officer may not look up who asked about a subject" "have the department name the officer in node.toml, section [subject_log]";
    SubjectMalformed "SUBJECT_MALFORMED" "The subject's identifier is not valid" "compare it with the document";
    SubjectSchemeUnsupported "SUBJECT_SCHEME_UNSUPPORTED" "The service does not know subjects of this scheme" "use a scheme of the service description";
    SubscriptionMalformed "SUBSCRIPTION_MALFORMED" "The question cannot be subscribed to as it stands" "subscribe to one claim, for a verdict only, for at most 366 days";
    SubscriptionNotGranted "SUBSCRIPTION_NOT_GRANTED" "The grant does not cover notices of changes" "apply for access with notices (`access apply --subscribe`), or ask again when you need to know";
    SubscriptionOver "SUBSCRIPTION_OVER" "The subscription is over" "subscribe again where changes still matter";
    SystemNotCovered "SYSTEM_NOT_COVERED" "The grant names another system" "ask through that system";
    TaskClosed "TASK_CLOSED" "The question does not wait for this any more" "look at it with `tasks show`";
    TokenUnknown "TOKEN_UNKNOWN" "The enrolment token is unknown, used or expired" "ask the authority for a new token";
    TooManyClaims "TOO_MANY_CLAIMS" "The question has too many claims, or none" "ask 1 to 32 claims at once";
    WireVersionUnsupported "WIRE_VERSION_UNSUPPORTED" "The message speaks a wire version that this node does not" "update the older side";
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A refusal, before it is put into an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// The field at fault, for example `claims[0].operator`; empty where none is.
    pub field: String,
    /// What is wrong with it, beyond what the code says; empty where there is nothing to add. Never a value of the record or subject.
    pub detail: String,
    /// When to try again, Unix milliseconds.
    pub retry_at_ms: Option<u64>,
}

impl Refusal {
    /// A refusal for a code alone.
    pub fn new(code: Code) -> Self {
        Self { code, field: String::new(), detail: String::new(), retry_at_ms: None }
    }

    /// Names the field at fault.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    /// Says more than the code does.
    #[must_use]
    pub fn because(mut self, detail: impl fmt::Display) -> Self {
        self.detail = detail.to_string();
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_at(mut self, at_ms: u64) -> Self {
        self.retry_at_ms = Some(at_ms);
        self
    }

    /// Writes it for the wire.
    pub fn to_wire(&self) -> wire::Refusal {
        let message = if self.detail.is_empty() {
            self.code.message().to_owned()
        } else {
            format!("{}: {}", self.code.message(), self.detail)
        };
        wire::Refusal {
            code: self.code.as_str().to_owned(),
            field: self.field.clone(),
            message,
            next_step: self.code.next_step().to_owned(),
            retry_at_ms: self.retry_at_ms.unwrap_or(0),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wire = self.to_wire();
        write!(formatter, "{} ", wire.code)?;
        if !wire.field.is_empty() {
            write!(formatter, "({}) ", wire.field)?;
        }
        write!(formatter, "{}; {}", wire.message, wire.next_step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_stable_in_form() {
        let mut texts: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Code::ALL.len());
        assert!(texts.iter().all(|text| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')));
    }

    #[test]
    fn a_refusal_says_what_where_and_what_next() {
        let wire = Refusal::new(Code::OperatorNotCovered).at("claims[1].operator").because("at_least").to_wire();
        assert_eq!(wire.code, "OPERATOR_NOT_COVERED");
        assert_eq!(wire.field, "claims[1].operator");
        assert!(wire.message.ends_with(": at_least"));
        assert!(!wire.next_step.is_empty());
    }
}
