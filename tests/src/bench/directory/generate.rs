//! Makes a directory of any size: departments that come, add keys and nodes, publish services, apply to each other,
//! grant, change their minds and revoke. Every statement is signed by the key that must sign it and folded in here before
//! it is written, so what is measured later is what a province would have. Out of scope: what the programs make of it.

use anyhow::Context;
use prost::Message;
use proto::{
    exchange::v1::LegalBasis,
    registry::v1::{self as wire, statement::Body},
};
use sha2::{Digest as _, Sha256};
use trust::{
    directory::{Directory, WIRE_VERSION},
    envelope,
    key::{DescribedKey, Role, Signer, SigningKey},
    subject::credit_code::Uscc,
};

/// So many departments come at once; the next come when these have done what they came for.
const COHORT: usize = 500;

/// The log commits to the state after so many statements.
const STATE_EVERY: u64 = 50_000;

/// Which of a department's keys.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// Its first department key.
    Department,
    /// The key of its node `1`.
    Node,
    /// The key that takes that one's place.
    SecondNode,
    /// Its recovery key.
    Recovery,
}

/// A key of the n-th department.
pub fn key(department: usize, which: Which) -> SigningKey {
    SigningKey::from_seed(&Sha256::digest(format!("bench {department} {which:?}")).into())
}

/// The id of the n-th department.
pub fn id(department: usize) -> String {
    format!("d{department:06}")
}

/// Whether the n-th department's first node key stays in use.
pub fn keeps_its_node_key(department: usize) -> bool {
    !department.is_multiple_of(20)
}

/// Makes statements.
pub struct Maker<'a> {
    directory: Directory,
    authority: &'a SigningKey,
    log: &'a SigningKey,
    departments: Vec<SigningKey>,
    now_ms: u64,
    goal: u64,
    entries: Vec<Vec<u8>>,
}

impl<'a> Maker<'a> {
    /// Goes on from a directory, to so many statements.
    pub fn new(directory: Directory, authority: &'a SigningKey, log: &'a SigningKey, now_ms: u64, goal: u64) -> Self {
        Self { directory, authority, log, departments: Vec::new(), now_ms, goal, entries: Vec::new() }
    }

    /// The next statements, some thousand; none at the goal.
    pub fn more(&mut self) -> anyhow::Result<Vec<Vec<u8>>> {
        if self.is_done() {
            return Ok(Vec::new());
        }
        let first = self.departments.len();
        for number in first..first + COHORT {
            self.admit(number)?;
        }
        let cohort = first..first + COHORT;
        for step in [Self::add_node, Self::publish, Self::apply, Self::change, Self::revoke] {
            for number in cohort.clone() {
                if self.is_done() {
                    break;
                }
                step(self, number)?;
            }
        }
        Ok(std::mem::take(&mut self.entries))
    }

    /// How many departments there are.
    pub fn departments(&self) -> usize {
        self.departments.len()
    }

    fn is_done(&self) -> bool {
        self.directory.size() >= self.goal
    }

    fn admit(&mut self, number: usize) -> anyhow::Result<()> {
        let department = key(number, Which::Department);
        let body = Body::DepartmentAdmitted(wire::DepartmentAdmitted {
            department: id(number),
            name: Some(wire::LocalName { zh: format!("第{number}局"), en: format!("Office {number}") }),
            uscc: Uscc::compose(&format!("11890000{number:09}")).map(Uscc::into_string)?,
            first_key: Some(described(Role::Department, &department)),
            recovery_key: Some(described(Role::Recovery, &key(number, Which::Recovery))),
            division: "890100".into(),
        });
        self.departments.push(department);
        self.say_as(self.authority, &format!("department/{}", id(number)), body)
    }

    fn add_node(&mut self, number: usize) -> anyhow::Result<()> {
        self.add_key(number, Which::Node)?;
        self.publish_node(number, &format!("10.{}.{}.7:7443", number / 250, number % 250))
    }

    fn add_key(&mut self, number: usize, which: Which) -> anyhow::Result<()> {
        let added = key(number, which);
        let object = format!("key/{}", added.public_key().id());
        let key = Some(described(Role::Node, &added));
        self.say(number, &object, Body::KeyAdded(wire::KeyAdded { department: id(number), key, node: "1".into() }))
    }

    fn publish_node(&mut self, number: usize, address: &str) -> anyhow::Result<()> {
        let body = Body::NodePublished(wire::NodePublished {
            department: id(number),
            node: "1".into(),
            addresses: vec![address.to_owned()],
            tls_key: Sha256::digest(format!("bench {number} tls")).to_vec(),
            oldest_wire_version: WIRE_VERSION,
            newest_wire_version: WIRE_VERSION,
            ..Default::default()
        });
        self.say(number, &format!("node/{}/1", id(number)), body)
    }

    /// Every other department provides a register.
    fn publish(&mut self, number: usize) -> anyhow::Result<()> {
        if is_provider(number) { self.publish_service(number, 0) } else { Ok(()) }
    }

    fn publish_service(&mut self, number: usize, minor: u32) -> anyhow::Result<()> {
        let object = format!("service/{}/register/1", id(number));
        self.say(number, &object, Body::ServicePublished(service(number, minor)))
    }

    /// Each applies to three providers, of whom two grant it and the third takes its time or refuses.
    fn apply(&mut self, number: usize) -> anyhow::Result<()> {
        for turn in 0..3_usize {
            let provider = ((number.wrapping_mul(7919) + turn * 104_729) % self.departments.len()) & !1;
            if provider == number {
                continue;
            }
            let id_of = format!("{:016x}", number * 4 + turn);
            let object = format!("access/{}/{}/{id_of}", id(provider), id(number));
            let application = wire::AccessApplied {
                provider: id(provider),
                consumer: id(number),
                id: id_of.clone(),
                service: "register".into(),
                major_version: 1,
                scope: scope(),
                item: "公租房申请".into(),
                legal_bases: bases(),
                expected_per_day: 200,
                ..Default::default()
            };
            self.say(number, &object, Body::AccessApplied(application))?;
            let grant = wire::AccessGranted {
                provider: id(provider),
                consumer: id(number),
                id: id_of,
                service: "register".into(),
                major_version: 1,
                scope: scope(),
                item: "公租房申请".into(),
                legal_bases: bases(),
                quota: Some(wire::Quota { per_second: 5, per_day: 500, total: 0 }),
                ..Default::default()
            };
            match turn {
                0 | 1 => self.say(provider, &object, Body::AccessGranted(grant))?,
                _ if number.is_multiple_of(3) => {
                    let (reason_code, reason) = ("NO_LEGAL_BASIS".into(), "依据不足".into());
                    self.say(provider, &object, Body::AccessRefused(wire::AccessRefused { reason_code, reason }))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Some services change, some nodes move.
    fn change(&mut self, number: usize) -> anyhow::Result<()> {
        if number.is_multiple_of(4) {
            self.publish_service(number, 1)?;
        }
        if number % 5 == 1 {
            self.publish_node(number, &format!("10.{}.{}.8:7443", number / 250, number % 250))?;
        }
        Ok(())
    }

    /// Some grants and keys are revoked, some services suspended for a while.
    fn revoke(&mut self, number: usize) -> anyhow::Result<()> {
        if number.is_multiple_of(8) && number > 0 {
            let provider = (number.wrapping_mul(7919) % self.departments.len()) & !1;
            let object = format!("access/{}/{}/{:016x}", id(provider), id(number), number * 4);
            let is_granted = provider != number && self.directory.last_about(&object).is_some();
            if is_granted {
                self.say(provider, &object, Body::AccessRevoked(wire::AccessRevoked { reason: "用途已变".into() }))?;
            }
        }
        if !keeps_its_node_key(number) {
            self.add_key(number, Which::SecondNode)?;
            let key_id = key(number, Which::Node).public_key().id().to_string();
            let object = format!("key/{key_id}");
            let body = wire::KeyRevoked { department: id(number), key_id, reason: "遗失".into() };
            self.say(number, &object, Body::KeyRevoked(body))?;
        }
        if number.is_multiple_of(50) {
            let object = format!("service/{}/register/1", id(number));
            let (department, service) = (id(number), "register".to_owned());
            let notice = "系统维护".to_owned();
            let (one, other) = (department.clone(), service.clone());
            let suspended = wire::ServiceSuspended { department, service, major_version: 1, notice };
            self.say(number, &object, Body::ServiceSuspended(suspended))?;
            let resumed = wire::ServiceResumed { department: one, service: other, major_version: 1 };
            self.say(number, &object, Body::ServiceResumed(resumed))?;
        }
        Ok(())
    }

    fn say(&mut self, department: usize, object: &str, body: Body) -> anyhow::Result<()> {
        let statement = self.statement(object, body);
        let signer = self.departments.get(department).context("a department that was admitted")?;
        let entry = envelope::seal(&statement, signer).0.encode_to_vec();
        self.take(object, entry)
    }

    fn say_as(&mut self, signer: &SigningKey, object: &str, body: Body) -> anyhow::Result<()> {
        let statement = self.statement(object, body);
        self.take(object, envelope::seal(&statement, signer).0.encode_to_vec())
    }

    fn take(&mut self, object: &str, entry: Vec<u8>) -> anyhow::Result<()> {
        self.directory.apply(&entry).with_context(|| object.to_owned())?;
        self.entries.push(entry);
        if self.directory.size().is_multiple_of(STATE_EVERY) {
            let body = Body::State(self.directory.commitment());
            self.say_as(self.log, "state", body)?;
        }
        Ok(())
    }

    fn statement(&self, object: &str, body: Body) -> wire::Statement {
        let predecessor = self.directory.last_about(object).map(|place| place.digest.as_bytes().to_vec());
        // One each millisecond, up to now.
        let stated_at_ms = self.now_ms - self.goal.saturating_sub(self.directory.size());
        wire::Statement {
            wire_version: WIRE_VERSION,
            exchange_id: self.directory.exchange().to_string(),
            object: object.to_owned(),
            predecessor: predecessor.unwrap_or_default(),
            stated_at_ms,
            ignorable: false,
            decision: None,
            body: Some(body),
        }
    }
}

fn is_provider(number: usize) -> bool {
    number.is_multiple_of(2)
}

fn described(role: Role, key: &SigningKey) -> wire::Key {
    DescribedKey { role, key: key.public_key().clone(), valid_from_ms: 0, valid_until_ms: None }.to_wire()
}

fn bases() -> Vec<LegalBasis> {
    vec![LegalBasis { instrument: "公共租赁住房管理办法".into(), article: "7".into() }]
}

fn scope() -> Vec<wire::AttributeScope> {
    vec![wire::AttributeScope { attribute: "status".into(), operators: vec!["equals".into()], disclose: false }]
}

fn service(number: usize, minor_version: u32) -> wire::ServicePublished {
    let attribute = |name: &str, r#type: &str, members: &[&str]| wire::Attribute {
        name: name.into(),
        r#type: r#type.into(),
        members: members.iter().map(|member| (*member).to_owned()).collect(),
        operators: vec!["equals".into()],
        sensitivity: "ordinary".into(),
        rows: wire::RowRule::Latest.into(),
        latest_by: "registered_on".into(),
        ..Default::default()
    };
    wire::ServicePublished {
        department: id(number),
        service: "register".into(),
        major_version: 1,
        minor_version,
        name: Some(wire::LocalName { zh: format!("登记簿{number}"), en: format!("Register {number}") }),
        subject_schemes: vec!["resident_id".into()],
        attributes: vec![attribute("status", "enum", &["active", "ended"]), attribute("registered_on", "date", &[])],
        sharing: wire::SharingClass::Conditional.into(),
        legal_bases: vec![LegalBasis { instrument: "登记条例".into(), article: "4".into() }],
        conditions: "仅用于所列事项的办理".into(),
        update_cycle: "daily".into(),
        time_to_answer_ms: 1000,
        contact: format!("0890-000-{minor_version:04}"),
        ..Default::default()
    }
}
