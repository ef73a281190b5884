//! A small exchange in memory for tests: an authority, departments with their keys, nodes, services and grants, all
//! properly signed. Seeds are fixed, so that vectors made with it never change.

use prost::Message;
use proto::{
    exchange::v1::{self as exchange, Envelope, LegalBasis},
    registry::v1::{self as wire, Statement, statement::Body},
};
use sha2::{Digest as _, Sha256};

use crate::{
    anchor,
    directory::{Directory, Object, WIRE_VERSION, model::Profile},
    envelope::{self, seal},
    ids::{DepartmentId, Digest, ExchangeId, NodeId, Party, ServiceId},
    key::{DescribedKey, Role, Signer, SigningKey},
    log::{
        checkpoint::{self, Checkpoint, LogKey},
        frontier::Frontier,
        hash::{Hash, leaf_hash},
        note::key::KeyName,
        proof::consistency_proof,
        tile::TileSource,
    },
    question::Question,
};

/// When the fixture's exchange was founded: 2026-01-01T00:00:00Z.
pub const FOUNDED_MS: u64 = 1_767_225_600_000;

/// A moment at which everything in the fixture holds.
pub const NOW_MS: u64 = FOUNDED_MS + 86_400_000;

/// A valid number of somebody who does not exist.
pub const RESIDENT: &str = "890101199003070011";

/// An exchange in memory.
pub struct Fixture {
    /// The directory as folded so far.
    pub directory: Directory,
    /// Its entries.
    pub entries: Vec<Vec<u8>>,
}

/// The key that a name stands for in the fixture.
pub fn key(name: &str) -> SigningKey {
    SigningKey::from_seed(&seed(name))
}

/// The private half of that key.
pub fn seed(name: &str) -> [u8; 32] {
    Sha256::digest(name.as_bytes()).into()
}

/// Describes a key that is valid from the founding on.
pub fn described(role: Role, key: &SigningKey) -> DescribedKey {
    DescribedKey { role, key: key.public_key().clone(), valid_from_ms: FOUNDED_MS, valid_until_ms: None }
}

/// A legal basis.
pub fn basis() -> Vec<LegalBasis> {
    vec![LegalBasis { instrument: "公共租赁住房管理办法".into(), article: "7".into() }]
}

/// The exchange's id.
pub fn exchange_id() -> ExchangeId {
    "ninghe".parse().expect("a valid id")
}

/// A department of the exchange.
pub fn party(department: &str) -> Party {
    Party::new(exchange_id(), department.parse().expect("a valid id"))
}

impl Default for Fixture {
    fn default() -> Self {
        Self::founded()
    }
}

impl Fixture {
    /// Only the founding, with the usual settings.
    pub fn founded() -> Self {
        Self::founded_with(Profile::usual())
    }

    /// Only the founding, with these settings.
    pub fn founded_with(profile: wire::Profile) -> Self {
        let directory = Directory::new(exchange_id(), key("authority").public_key().clone());
        let mut fixture = Self { directory, entries: Vec::new() };
        let founding = Body::ExchangeFounded(wire::ExchangeFounded {
            name: Some(wire::LocalName { zh: "宁河省".into(), en: "Ninghe".into() }),
            authority_key: Some(described(Role::Authority, &key("authority")).to_wire()),
            log_key: Some(described(Role::Log, &key("log")).to_wire()),
            profile: Some(profile),
        });
        fixture.say("authority", founding, "exchange");
        fixture
    }

    /// Civil affairs with a marriage register and housing with a grant to ask it, each with a node.
    pub fn town() -> Self {
        let mut fixture = Self::founded();
        for department in ["civil-affairs", "housing"] {
            fixture.admit(department);
            fixture.add_node(department, "1");
        }
        fixture.publish(marriage_registration());
        fixture.apply_for_access("0011223344556677");
        fixture.grant("0011223344556677", |_| {});
        fixture
    }

    /// The authority approves what waits of a service of civil affairs, or returns it where anything is missing.
    pub fn review(&mut self, service: &str, missing: &[&str]) {
        let (body, object) = self.reviewed(service, missing);
        self.say("authority", body, &object);
    }

    /// The same, before it is said.
    pub fn reviewed(&self, service: &str, missing: &[&str]) -> (Body, String) {
        let id = ServiceId {
            department: department("civil-affairs"),
            service: service.parse().expect("a valid id"),
            major: 1,
        };
        let known = self.directory.service(&id).expect("a service");
        let statement = known.unapproved().map_or(known.statement, |(_, statement, _)| *statement);
        let body = Body::ServiceReviewed(wire::ServiceReviewed {
            department: "civil-affairs".into(),
            service: service.into(),
            major_version: 1,
            service_statement: statement.as_bytes().to_vec(),
            approved: missing.is_empty(),
            missing: missing.iter().map(|missing| (*missing).to_owned()).collect(),
        });
        (body, format!("review/civil-affairs/{service}/1"))
    }

    /// Admits a department, with keys named `<department>` and `<department> recovery`.
    pub fn admit(&mut self, department: &str) {
        self.admit_by("authority", department);
    }

    /// As [`Fixture::admit`], by the authority's key of that name.
    pub fn admit_by(&mut self, authority: &str, department: &str) {
        let body = Body::DepartmentAdmitted(wire::DepartmentAdmitted {
            department: department.into(),
            name: Some(wire::LocalName { zh: department.into(), en: department.into() }),
            uscc: "118900000000010112".into(),
            first_key: Some(described(Role::Department, &key(department)).to_wire()),
            recovery_key: Some(described(Role::Recovery, &key(&format!("{department} recovery"))).to_wire()),
            division: String::new(),
        });
        self.say(authority, body, &format!("department/{department}"));
    }

    /// Adds a node with a signing key named `<department> node <node>`.
    pub fn add_node(&mut self, department: &str, node: &str) {
        let node_key = key(&format!("{department} node {node}"));
        let body = Body::KeyAdded(wire::KeyAdded {
            department: department.into(),
            key: Some(described(Role::Node, &node_key).to_wire()),
            node: node.into(),
        });
        self.say(department, body, &format!("key/{}", node_key.public_key().id()));
        let body = Body::NodePublished(wire::NodePublished {
            department: department.into(),
            node: node.into(),
            addresses: vec!["127.0.0.1:7443".into()],
            tls_key: tls_key(department, node).to_vec(),
            oldest_wire_version: WIRE_VERSION,
            newest_wire_version: WIRE_VERSION,
            ..Default::default()
        });
        self.say(department, body, &format!("node/{department}/{node}"));
    }

    /// Publishes a service of the department that it names.
    pub fn publish(&mut self, service: wire::ServicePublished) {
        let signer = service.department.clone();
        let object = format!("service/{}/{}/{}", service.department, service.service, service.major_version);
        self.say(&signer, Body::ServicePublished(service), &object);
    }

    /// Housing applies to ask civil affairs for the marital status.
    pub fn apply_for_access(&mut self, id: &str) {
        let body = application(id);
        self.say("housing", Body::AccessApplied(body), &format!("access/civil-affairs/housing/{id}"));
    }

    /// Civil affairs grants it, as changed by `narrow`.
    pub fn grant(&mut self, id: &str, narrow: impl FnOnce(&mut wire::AccessGranted)) {
        let mut body = granted(id);
        narrow(&mut body);
        self.say("civil-affairs", Body::AccessGranted(body), &format!("access/civil-affairs/housing/{id}"));
    }

    /// The directory takes the second log, which holds these checkpoints: those taken before, and more.
    pub fn take_anchors(&mut self, notes: &[String]) {
        let leaves = note_leaves(notes);
        let size = leaves.len() as u64;
        let before = self.directory.anchors().map_or(0, |taken| taken.size);
        let consistency = consistency_proof(&Leaves(leaves.clone()), before, size).expect("it grows");
        let mut frontier = Frontier::new();
        leaves.into_iter().for_each(|leaf| drop(frontier.append(leaf)));
        let origin = anchor::origin(&exchange_id(), 1);
        let body = Body::AnchorsTaken(wire::AnchorsTaken {
            checkpoint: signed_checkpoint(&origin, size, frontier.root(), &key("log")),
            consistency: consistency.iter().map(|hash| hash.as_bytes().to_vec()).collect(),
            reason: String::new(),
        });
        self.say("log", body, "anchors");
    }

    /// The log commits to the state, a minute after [`NOW_MS`].
    pub fn commit_to_state(&mut self) {
        let body = Body::State(self.directory.commitment());
        let statement = Statement { stated_at_ms: NOW_MS + 60_000, ..self.statement(body, "state") };
        let entry = seal(&statement, &key("log")).0.encode_to_vec();
        self.directory.apply(&entry).unwrap_or_else(|error| panic!("state: {error}"));
        self.entries.push(entry);
    }

    /// Signs a statement with a named key, checks it and folds it in.
    ///
    /// # Panics
    /// Where the directory refuses it.
    pub fn say(&mut self, signer: &str, body: Body, object: &str) {
        let entry = self.sign(signer, body, object).encode_to_vec();
        self.directory.apply(&entry).unwrap_or_else(|error| panic!("{object}: {error}"));
        self.entries.push(entry);
    }

    /// As [`Fixture::say`], with several signatures.
    ///
    /// # Panics
    /// Where the directory refuses it.
    pub fn say_together(&mut self, signers: &[&str], body: Body, object: &str) {
        let entry = self.sign_together(signers, body, object).encode_to_vec();
        self.directory.apply(&entry).unwrap_or_else(|error| panic!("{object}: {error}"));
        self.entries.push(entry);
    }

    /// As [`Fixture::sign`], with several signatures.
    ///
    /// # Panics
    /// Where there are more signatures than an envelope may carry.
    pub fn sign_together(&self, signers: &[&str], body: Body, object: &str) -> Envelope {
        let (mut envelope, _) = envelope::unsigned(&self.statement(body, object));
        for signer in signers {
            envelope::countersign(&mut envelope, &key(signer)).expect("few signatures");
        }
        envelope
    }

    /// Changes the authority's key to the one named, with both signatures.
    pub fn change_authority_key(&mut self, from: &str, to: &str) {
        let body = Body::AuthorityKeyChanged(wire::AuthorityKeyChanged {
            authority_key: Some(described(Role::Authority, &key(to)).to_wire()),
            reason: "例行更换".into(),
        });
        self.say_together(&[from, to], body, "authority");
    }

    /// That the log's key changes to the one named.
    pub fn log_key_change(to: &str, lost: &str) -> Body {
        Body::LogKeyChanged(wire::LogKeyChanged {
            log_key: Some(described(Role::Log, &key(to)).to_wire()),
            reason: "例行更换".into(),
            lost: lost.into(),
        })
    }

    /// Signs a statement with a named key, following the last one about its object.
    pub fn sign(&self, signer: &str, body: Body, object: &str) -> Envelope {
        seal(&self.statement(body, object), &key(signer)).0
    }

    /// A statement that follows the last one about its object.
    pub fn statement(&self, body: Body, object: &str) -> Statement {
        let predecessor = self
            .entries
            .iter()
            .rev()
            .filter_map(|entry| Envelope::decode(entry.as_slice()).ok())
            .find(|entry| Statement::decode(entry.payload.as_slice()).is_ok_and(|said| said.object == object))
            .map(|entry| envelope::digest(&entry.payload_type, &entry.payload).as_bytes().to_vec());
        Statement {
            wire_version: WIRE_VERSION,
            exchange_id: exchange_id().to_string(),
            object: object.into(),
            predecessor: predecessor.unwrap_or_default(),
            stated_at_ms: FOUNDED_MS + self.entries.len() as u64,
            ignorable: false,
            decision: None,
            body: Some(body),
        }
    }

    /// The place of the last statement about an object.
    pub fn digest_of(&self, object: &Object) -> Digest {
        self.directory.last(object).expect("a statement about it").digest
    }

    /// A question of housing to civil affairs that is permitted at [`NOW_MS`].
    pub fn request(&self) -> exchange::Request {
        exchange::Request {
            wire_version: WIRE_VERSION,
            exchange_id: exchange_id().to_string(),
            request_id: vec![7; 32],
            sender: party("housing").to_string(),
            sender_node: "1".into(),
            recipient: party("civil-affairs").to_string(),
            service: "marriage-registration".into(),
            service_version: 1,
            issued_at_ms: NOW_MS,
            expires_at_ms: NOW_MS + 60_000,
            directory_size: self.directory.size(),
            directory_root: self.directory.root().as_bytes().to_vec(),
            subject: Some(exchange::Subject { scheme: "resident_id".into(), value: RESIDENT.into() }),
            inputs: Vec::new(),
            claims: vec![claim("marital_status", "equals", "single")],
            purpose: Some(exchange::Purpose {
                item: "公租房申请".into(),
                item_statement: Vec::new(),
                legal_bases: basis(),
                scenario: String::new(),
            }),
            case_number: "GZF-2026-0001".into(),
            officer: "1024".into(),
            trace: "0123456789abcdef".into(),
            ..Default::default()
        }
    }

    /// The same as a question that can be decided.
    pub fn question(&self) -> Question {
        Question::read(self.request()).expect("a well-formed request")
    }

    /// The answer `verdict` to a request that was sealed.
    pub fn answer(&self, request: &exchange::Request, digest: &Digest, verdict: exchange::Verdict) -> exchange::Answer {
        let grant = self.directory.all_access().find_map(|(_, access)| access.grant_statement);
        exchange::Answer {
            clerk: String::new(),
            second_clerk: String::new(),
            correction: Vec::new(),
            wire_version: WIRE_VERSION,
            exchange_id: request.exchange_id.clone(),
            request_digest: digest.as_bytes().to_vec(),
            request_id: request.request_id.clone(),
            sender: request.recipient.clone(),
            sender_node: "1".into(),
            recipient: request.sender.clone(),
            service: request.service.clone(),
            service_version: request.service_version,
            number: 1,
            follows: Vec::new(),
            answered_at_ms: NOW_MS + 5,
            directory_size: self.directory.size(),
            directory_root: self.directory.root().as_bytes().to_vec(),
            grant: grant.map(|grant| grant.as_bytes().to_vec()).unwrap_or_default(),
            outcome: Some(exchange::answer::Outcome::Verdicts(exchange::Verdicts {
                verdicts: request
                    .claims
                    .iter()
                    .map(|claim| exchange::ClaimVerdict {
                        attribute: claim.attribute.clone(),
                        operator: claim.operator.clone(),
                        verdict: verdict.into(),
                        ..Default::default()
                    })
                    .collect(),
                record_as_of: "2026-01-01".into(),
            })),
        }
    }

    /// A signed checkpoint of the directory.
    pub fn checkpoint(&self) -> String {
        self.checkpoint_by("log")
    }

    /// A checkpoint of the directory, signed with a named key.
    pub fn checkpoint_by(&self, signer: &str) -> String {
        signed_checkpoint("ninghe/directory", self.directory.size(), self.directory.root(), &key(signer))
    }

    /// The inclusion path of a directory entry.
    pub fn inclusion(&self, index: u64) -> Vec<Vec<u8>> {
        let leaves: Vec<Hash> = self.entries.iter().map(|entry| leaf_hash(entry)).collect();
        path(&leaves, index)
    }
}

/// A checkpoint of any log, signed by its key.
pub fn signed_checkpoint(origin: &str, size: u64, root: Hash, signer: &SigningKey) -> String {
    let name: KeyName = origin.parse().expect("a log's name");
    let log_key = LogKey::new(name.clone(), signer.public_key().as_bytes()).expect("a usable key");
    let checkpoint = Checkpoint::new(&name, size, root).expect("a valid checkpoint");
    checkpoint::sign(&checkpoint, &log_key, NOW_MS / 1000, |message| signer.sign(message))
        .expect("a signed checkpoint")
        .to_string()
}

/// The leaves of a second log that holds these checkpoints.
pub fn note_leaves(notes: &[String]) -> Vec<Hash> {
    notes.iter().map(|note| leaf_hash(note.as_bytes())).collect()
}

/// The tiles over all leaves, computed when they are asked for.
struct Leaves(Vec<Hash>);

impl TileSource for Leaves {
    type Error = std::convert::Infallible;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, Self::Error> {
        let below = 1_usize << (8 * usize::from(level));
        let first = usize::try_from(index).expect("a small tree") * 256 * below;
        let subtrees = self.0[first..first + usize::from(width) * below].chunks(below);
        let root = |leaves: &[Hash]| {
            let mut frontier = Frontier::new();
            leaves.iter().for_each(|leaf| drop(frontier.append(*leaf)));
            frontier.root()
        };
        Ok(subtrees.map(root).collect())
    }
}

/// The inclusion path of a leaf, computed as RFC 6962 defines it.
pub fn path(leaves: &[Hash], index: u64) -> Vec<Vec<u8>> {
    fn root(leaves: &[Hash]) -> Hash {
        match leaves {
            [leaf] => *leaf,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                crate::log::hash::node_hash(&root(&leaves[..split]), &root(&leaves[split..]))
            }
        }
    }
    if leaves.len() == 1 {
        return Vec::new();
    }
    let split = leaves.len().next_power_of_two() / 2;
    let at = usize::try_from(index).expect("a small index");
    let (mut hashes, other) = if at < split {
        (path(&leaves[..split], index), root(&leaves[split..]))
    } else {
        (path(&leaves[split..], index - split as u64), root(&leaves[..split]))
    };
    hashes.push(other.as_bytes().to_vec());
    hashes
}

/// The digest of a node's TLS key in the fixture.
pub fn tls_key(department: &str, node: &str) -> [u8; 32] {
    Sha256::digest(format!("{department} node {node} tls").as_bytes()).into()
}

/// A claim with one text operand.
pub fn claim(attribute: &str, operator: &str, operand: &str) -> exchange::Claim {
    let value = exchange::Value { kind: Some(exchange::value::Kind::Text(operand.into())) };
    exchange::Claim {
        attribute: attribute.into(),
        operator: operator.into(),
        operands: vec![value],
        disclose: false,
        fixed_by_item: false,
    }
}

/// The marriage register: conditional, declared complete; who has no row is single.
pub fn marriage_registration() -> wire::ServicePublished {
    wire::ServicePublished {
        department: "civil-affairs".into(),
        service: "marriage-registration".into(),
        major_version: 1,
        minor_version: 0,
        name: Some(wire::LocalName { zh: "婚姻登记核验".into(), en: "Marriage registration".into() }),
        subject_schemes: vec!["resident_id".into()],
        attributes: vec![
            wire::Attribute {
                name: "marital_status".into(),
                r#type: "enum".into(),
                members: ["single", "married", "divorced", "widowed"].map(String::from).to_vec(),
                operators: vec!["equals".into(), "one_of".into()],
                sensitivity: "ordinary".into(),
                rows: wire::RowRule::Latest.into(),
                latest_by: "registered_on".into(),
                absence: Some(exchange::Value { kind: Some(exchange::value::Kind::Text("single".into())) }),
                ..Default::default()
            },
            wire::Attribute {
                name: "registered_on".into(),
                r#type: "date".into(),
                operators: vec!["equals".into(), "before".into()],
                discloses: true,
                sensitivity: "ordinary".into(),
                rows: wire::RowRule::Latest.into(),
                latest_by: "registered_on".into(),
                ..Default::default()
            },
        ],
        sharing: wire::SharingClass::Conditional.into(),
        legal_bases: vec![LegalBasis { instrument: "婚姻登记条例".into(), article: "4".into() }],
        completeness: Some(wire::Completeness { territories: vec!["890000".into()], since: "2001-01-01".into() }),
        time_to_answer_ms: 1000,
        ..Default::default()
    }
}

/// Housing's item 入学: one paper that no service of the fixture answers.
pub fn item() -> wire::ItemPublished {
    wire::ItemPublished {
        department: "housing".into(),
        item: "入学".into(),
        version: 1,
        effective_from_ms: FOUNDED_MS,
        name: Some(wire::LocalName { zh: "入学".into(), en: "School entry".into() }),
        legal_bases: basis(),
        accepting_unit: "综合窗口".into(),
        steps: vec![wire::GuideStep { step: "受理".into(), actor: "综合窗口".into(), working_days: 1 }],
        proofs: vec![wire::ProofRequirement {
            proof: "居住证明".into(),
            about: "applicant".into(),
            legal_bases: basis(),
            issuing_unit: "派出所".into(),
            ..Default::default()
        }],
        samples: vec!["申请表填写示范".into()],
        fees: "不收费".into(),
        time_limit_working_days: Some(5),
        contact: "0890-000-0001".into(),
        ..Default::default()
    }
}

/// Housing's application.
pub fn application(id: &str) -> wire::AccessApplied {
    wire::AccessApplied {
        provider: "civil-affairs".into(),
        consumer: "housing".into(),
        id: id.into(),
        service: "marriage-registration".into(),
        major_version: 1,
        scope: scope(),
        item: "公租房申请".into(),
        legal_bases: basis(),
        ..Default::default()
    }
}

/// The grant that gives all of it.
pub fn granted(id: &str) -> wire::AccessGranted {
    wire::AccessGranted {
        provider: "civil-affairs".into(),
        consumer: "housing".into(),
        id: id.into(),
        service: "marriage-registration".into(),
        major_version: 1,
        scope: scope(),
        item: "公租房申请".into(),
        legal_bases: basis(),
        valid_from_ms: FOUNDED_MS,
        ..Default::default()
    }
}

fn scope() -> Vec<wire::AttributeScope> {
    vec![wire::AttributeScope { attribute: "marital_status".into(), operators: vec!["equals".into()], disclose: false }]
}

/// A department's id.
pub fn department(id: &str) -> DepartmentId {
    id.parse().expect("a valid id")
}

/// A node's id.
pub fn node(id: &str) -> NodeId {
    id.parse().expect("a valid id")
}
