//! A service file to begin with: every field with what it means and what may stand there, filled in as far as anything is
//! known, and empty where only the department can say. What is still empty, [`super::parse`] says with its line.

use std::fmt::Write;

use super::render::{list, text};

/// What is known at the beginning. Everything may be empty but the service's id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Starting {
    /// The service's id.
    pub service: String,
    /// Its name in Chinese.
    pub name: String,
    /// Its name in English.
    pub name_en: String,
    /// Its national catalogue code.
    pub catalogue_code: String,
    /// Whom it can be asked about; empty for `resident_id`.
    pub subjects: Vec<String>,
    /// The laws it rests on, each `instrument article`.
    pub legal_bases: Vec<String>,
    /// `unconditional`, `conditional` or `not_shared`; empty for `conditional`.
    pub sharing: String,
    /// The law that forbids sharing.
    pub forbidden_by: String,
    /// Scope and use.
    pub conditions: String,
    /// The department's grading.
    pub classification: String,
    /// How often the records are brought up to date; empty for `daily`.
    pub update_cycle: String,
    /// Whom to ask about it.
    pub contact: String,
    /// Paper proofs it makes unnecessary.
    pub replaces_proofs: Vec<String>,
    /// Its data items; none for an example that has to be changed.
    pub attributes: Vec<StartingAttribute>,
}

/// A data item to begin with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartingAttribute {
    /// Its name.
    pub name: String,
    /// What people call it.
    pub label: String,
    /// Its type; empty for `string`.
    pub ty: String,
    /// The members of an enumeration.
    pub members: Vec<String>,
}

/// Writes the file. `file` is its name, for the commands that it explains.
pub fn template(starting: &Starting, file: &str) -> String {
    let Starting { service, name, name_en, subjects, legal_bases, .. } = starting;
    let or = |text: &str, usual: &str| if text.is_empty() { usual.to_owned() } else { text.to_owned() };
    let subjects = if subjects.is_empty() { list(["resident_id".to_owned()].into_iter()) } else { texts(subjects) };
    let forbidden = match starting.forbidden_by.as_str() {
        "" => "# forbidden_by: 某法 1".to_owned(),
        law => format!("forbidden_by: {}", quoted(law)),
    };
    let code = match starting.catalogue_code.as_str() {
        "" => "# catalogue_code: \"\"".to_owned(),
        code => format!("catalogue_code: {}", quoted(code)),
    };
    format!(
        r#"# A data service: what may be asked, by whom, on which law. 数据服务说明。
# Lines that begin with # explain and may be deleted. Fill in what is empty (""), then:
#   exchange-node service check {file}
#   exchange-node service publish {file}

# The service's id within the department: lower-case letters, digits and hyphens. It never changes. 服务标识
service: {service}

# The major version. A compatible change keeps it, and the node counts the minor one ("1.1", "1.2", …); whatever takes
# something away from those who ask needs the next one, and answers beside the old one. 版本
version: "1"

# What people call it. 名称
name: {{zh: {name}, en: {name_en}}}

# Whom it is asked about, and the records' column that holds it: resident_id (公民身份号码), uscc (统一社会信用代码),
# passport or certificate_no. 查询对象
subject: {subjects}

# How it is shared (共享属性): unconditional, conditional (each department applies, and this one grants) or not_shared, which
# cites the law that forbids it.
sharing: {sharing}
{forbidden}

# The law it rests on, instrument and article. No legal basis, no publishing. 依据
legal_basis: {bases}

# Scope and use that it is shared for. 使用条件
conditions: {conditions}

# The department's grading of the data. 分类分级
classification: {classification}

# The data items. 数据项 Each has
#   type         string, boolean, integer, decimal, date, enum (with members) or list
#   operators    what a question may compare:
#                  all types  equals, not_equals, one_of (not boolean), exists
#                  numbers    at_least, at_most, between
#                  dates      before, after, between, within_last
#                  texts      matches_name      lists  contains
#   discloses    true where the value itself may be given, if a grant says so too; without it only the verdict is
#   sensitivity  ordinary or sensitive
#   rows         how several rows of one subject count: only, any, count, sum, or latest and the column that says so
#   absence      what having no row means; only in a register that is declared complete below
#   label        what people call it
attributes:
{attributes}
# Values that select rows, such as a year or a region. What is compared with the record is an attribute, never an input.
# inputs:
#   period: {{type: string, required: true}}

# Where the register is complete, so that having no row says something: the territory (division codes) and since when.
# complete: {{territory: ["890000"], since: 2001-01-01}}

# The law by which the subject's authorisation is needed.
# needs_authorisation: 社会救助暂行办法 58

# Public service items that it is meant for, and the paper proofs that it makes unnecessary. 服务事项、免提交的证明
items: []
replaces_proofs: {proofs}

# How often the records are brought up to date: real_time, daily, weekly, monthly or yearly. 更新频率
update_cycle: {cycle}

# The date column that says how fresh a record is; without it the day of the import counts.
# record_as_of: record_as_of

# Within how many milliseconds it answers.
time_to_answer_ms: 1000

# Whom to ask about it. 联系方式
contact: {contact}

# Its code in the national data catalogue, where it has one. 目录代码
{code}

# "record" where records answer, "clerk" where a person does, "record_then_clerk" where a person does when there is no record.
answered_by: record

# Within what time a person answers; without it as the authority's profile says. 人工核验的答复时限
# clerk_answers_within: 3 working days

# How many different values a department may try for one subject and data item in a day; without it 3.
# guesses_per_day: 3

# How many in a year, of numbers and dates, which can be found by halving; without it 6.
# guesses_per_year: 6
"#,
        service = text(service),
        name = quoted(name),
        name_en = quoted(name_en),
        sharing = or(&starting.sharing, "conditional"),
        bases = texts(legal_bases),
        conditions = quoted(&starting.conditions),
        classification = quoted(&starting.classification),
        attributes = attributes(&starting.attributes),
        proofs = texts(&starting.replaces_proofs),
        cycle = or(&starting.update_cycle, "daily"),
        contact = quoted(&starting.contact),
    )
}

fn attributes(attributes: &[StartingAttribute]) -> String {
    let example = [StartingAttribute {
        name: "status".to_owned(),
        label: String::new(),
        ty: "enum".to_owned(),
        members: ["active", "ended"].map(str::to_owned).to_vec(),
    }];
    let attributes = if attributes.is_empty() { &example } else { attributes };
    let mut out = String::new();
    for StartingAttribute { name, label, ty, members } in attributes {
        let ty = if ty.is_empty() { "string" } else { ty };
        let operators = match ty {
            "boolean" => "[equals]",
            "date" => "[equals, before, after]",
            "decimal" | "integer" => "[equals, at_least, at_most]",
            "list" => "[contains]",
            _ => "[equals, one_of]",
        };
        // Writing to a text cannot fail.
        let _ = writeln!(out, "  {}:\n    type: {ty}", text(name));
        if !members.is_empty() {
            let _ = writeln!(out, "    members: {}", texts(members));
        }
        let _ = writeln!(
            out,
            "    operators: {operators}\n    sensitivity: ordinary\n    label: {{zh: {}}}",
            quoted(label)
        );
    }
    out
}

fn texts(texts: &[String]) -> String {
    list(texts.iter().map(|one| text(one)))
}

/// In quotation marks where it is empty, so that it is seen.
fn quoted(one: &str) -> String {
    if one.is_empty() { "\"\"".to_owned() } else { text(one) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service_file::parse;

    fn starting() -> Starting {
        Starting { service: "marriage-registration".into(), ..Starting::default() }
    }

    #[test]
    fn what_is_empty_is_said_with_its_line() {
        let text = template(&starting(), "marriage-registration.yaml");
        let problems = parse(&text, "f").unwrap_err();
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, ["name.zh", "legal_basis", "attributes.status.label.zh"], "{problems:#?}");
        for problem in &problems {
            let line = text.lines().nth(usize::try_from(problem.line).unwrap() - 1).unwrap();
            let field = problem.field.rsplit('.').next().unwrap();
            assert!(line.contains(field), "{problem}: {line}");
        }
    }

    #[test]
    fn what_is_known_is_filled_in() {
        let known = Starting {
            name: "婚姻登记核验".into(),
            legal_bases: vec!["婚姻登记条例 4".into()],
            contact: "民政局: 0890-000-0201".into(),
            catalogue_code: "890000-0012/3".into(),
            attributes: vec![
                StartingAttribute {
                    name: "marital_status".into(),
                    label: "婚姻状况".into(),
                    ty: "enum".into(),
                    members: vec!["single".into(), "married".into()],
                },
                StartingAttribute {
                    name: "registered_on".into(),
                    label: "登记日期".into(),
                    ty: "date".into(),
                    members: Vec::new(),
                },
            ],
            ..starting()
        };
        let text = template(&known, "f.yaml");
        let published = parse(&text, "f.yaml").unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
        assert_eq!((published.major_version, published.minor_version), (1, 0));
        assert_eq!(published.catalogue_code, "890000-0012/3");
        assert_eq!(published.contact, "民政局: 0890-000-0201");
        assert_eq!(published.attributes[1].operators, ["equals", "before", "after"]);
        assert_eq!(published.legal_bases[0].article, "4");
    }

    #[test]
    fn every_type_begins_with_operators_that_fit_it() {
        let attributes = ["string", "boolean", "integer", "decimal", "date", "enum", "list"].map(|ty| {
            let members = if ty == "enum" { vec!["a".to_owned()] } else { Vec::new() };
            StartingAttribute { name: format!("a_{ty}"), label: "某项".into(), ty: ty.into(), members }
        });
        let known = Starting {
            name: "某服务".into(),
            legal_bases: vec!["某法 1".into()],
            attributes: attributes.to_vec(),
            ..starting()
        };
        let text = template(&known, "f.yaml");
        assert_eq!(parse(&text, "f.yaml").unwrap().attributes.len(), 7);
    }
}
