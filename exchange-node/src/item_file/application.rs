//! An application as a file, for the command line: who it is about stands in it, and never among a command's arguments, which
//! the shell keeps and everybody on the machine can list. YAML, and so JSON too. Out of scope: office systems, which post it.

use proto::{
    exchange::v1::Authorisation,
    office::v1::{AddToCaseRequest, CasePerson, OpenCaseRequest},
};

use crate::service_file::{
    LONGEST_FILE, Problem,
    read::{
        Found, Problems,
        fields::{Fields, text},
    },
    tree::{self, Kind, Node},
};

/// What stands in an application.
#[derive(Clone, Default)]
pub struct Application {
    /// The case number.
    pub case: String,
    /// The item.
    pub item: String,
    /// The officer.
    pub officer: String,
    /// The people.
    pub people: Vec<CasePerson>,
    /// The applicant's own authorisation; another person's stands in his entry of `people`.
    pub authorisation: Option<Authorisation>,
    /// Papers that were taken in.
    pub papers: Vec<String>,
    /// About whom they are, where the item asks for one of that name about several people.
    pub papers_about: String,
}

impl Application {
    /// As a new case.
    ///
    /// # Errors
    /// What stands in it and is no part of a new case.
    pub fn open(self, deadline_ms: u32) -> Result<OpenCaseRequest, String> {
        if !self.papers.is_empty() {
            return Err("papers: a new case takes none; `case add` takes in what was brought".to_owned());
        }
        Ok(OpenCaseRequest {
            case_number: self.case,
            item: self.item,
            officer: self.officer,
            people: self.people,
            authorisation: self.authorisation,
            deadline_ms,
        })
    }

    /// As more for a case.
    pub fn addition(self, deadline_ms: u32) -> AddToCaseRequest {
        AddToCaseRequest {
            case_number: self.case,
            officer: self.officer,
            people: self.people,
            authorisation: self.authorisation,
            papers: self.papers,
            papers_about: self.papers_about,
            deadline_ms,
        }
    }
}

/// Reads an application.
///
/// # Errors
/// Everything that is wrong, in the order of the lines; no value of a person is repeated.
pub fn parse(content: &str, file_name: &str) -> Result<Application, Vec<Problem>> {
    let problem = |(line, field, reason): Found| Problem { file: file_name.to_owned(), line, field, reason };
    if content.len() > LONGEST_FILE {
        return Err(vec![problem((1, String::new(), "the file is longer than 256 KiB".to_owned()))]);
    }
    let root = tree::read(content).map_err(|(line, reason)| vec![problem((line, String::new(), reason))])?;
    let mut problems = Problems::default();
    let Kind::Map(entries) = &root.kind else {
        problems.add(root.line, "", "an application is a map with case, item, officer and people");
        return Err(problems.found.into_iter().map(problem).collect());
    };
    let mut fields = Fields::new("", root.line, entries, &mut problems);
    let mut read = Application {
        case: fields.optional_text("case", &mut problems),
        item: fields.optional_text("item", &mut problems),
        officer: fields.optional_text("officer", &mut problems),
        papers: fields.texts("papers", &mut problems),
        papers_about: fields.optional_text("papers_about", &mut problems),
        ..Application::default()
    };
    if let Some((node, field)) = fields.optional("people") {
        read.people = people(node, &field, &mut problems);
    }
    if let Some((node, field)) = fields.optional("authorisation") {
        read.authorisation = authorisation(node, &field, &mut problems);
    }
    fields.end(&mut problems);
    if problems.found.is_empty() { Ok(read) } else { Err(problems.found.into_iter().map(problem).collect()) }
}

fn people(node: &Node, field: &str, problems: &mut Problems) -> Vec<CasePerson> {
    let Kind::List(nodes) = &node.kind else {
        problems.add(node.line, field, "must be a list such as [{role: applicant, resident_id: …, name: …}]");
        return Vec::new();
    };
    let mut people = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let Kind::Map(entries) = &node.kind else {
            problems.add(node.line, &field, "must be a map such as {role: applicant, resident_id: …}");
            continue;
        };
        // Only for what stands twice: every name is known.
        let _ = Fields::new(&field, node.line, entries, problems);
        let mut person = CasePerson::default();
        for entry in entries {
            let named = format!("{field}.{}", entry.key);
            if entry.key == "authorisation" {
                person.authorisation = authorisation(&entry.value, &named, problems);
                continue;
            }
            let Some(value) = text(&entry.value, &named, problems) else { continue };
            match entry.key.as_str() {
                "role" => person.role = value,
                _ => drop(person.values.insert(entry.key.clone(), value)),
            }
        }
        people.push(person);
    }
    people
}

fn authorisation(node: &Node, field: &str, problems: &mut Problems) -> Option<Authorisation> {
    let Kind::Map(entries) = &node.kind else {
        problems.add(node.line, field, "must be a map with form_digest, scope, signed_by and until");
        return None;
    };
    let mut fields = Fields::new(field, node.line, entries, problems);
    let digest = fields.required_text("form_digest", problems);
    let scope = fields.optional_text("scope", problems);
    let signed_by = fields.one_of("signed_by", &["subject", "guardian", "agent"], None, problems);
    let until = fields.required_text("until", problems);
    fields.end(problems);
    let (digest, line) = digest?;
    let form_digest =
        data_encoding::HEXLOWER_PERMISSIVE.decode(digest.as_bytes()).ok().filter(|bytes| bytes.len() == 32);
    if form_digest.is_none() {
        problems.add(line, &format!("{field}.form_digest"), "must be the SHA-256 of the signed form, 64 hex digits");
    }
    let (until, line) = until?;
    let valid_until_ms = crate::cli::end_of_day(&until);
    if let Err(reason) = &valid_until_ms {
        problems.add(line, &format!("{field}.until"), reason.as_str());
    }
    Some(Authorisation { form_digest: form_digest?, scope, signed_by, valid_until_ms: valid_until_ms.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn papers_are_for_a_case_that_is_open_and_are_not_dropped_from_a_new_one() {
        let read = |papers: &str| {
            let text =
                format!("case: C-1\nitem: 公租房申请\nofficer: \"1024\"\npeople: [{{role: applicant}}]\n{papers}");
            parse(&text, "application.yaml").unwrap_or_else(|problems| panic!("{}", problems[0]))
        };
        assert!(read("papers: [收入证明]\n").open(0).unwrap_err().starts_with("papers: "));
        assert_eq!(read("").open(0).unwrap().case_number, "C-1");
        assert_eq!(read("papers: [收入证明]\n").addition(0).papers, ["收入证明"]);
    }
}
