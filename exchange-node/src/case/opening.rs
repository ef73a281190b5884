//! What opened a case, as a salted digest: the same again is a retry, and gets the case; anything else under its number is another
//! applicant's, and gets nothing. Out of scope: what the office may say (`engine::checks`).

use sha2::{Digest, Sha256};

use super::{Case, Consent, OpenCase, Person};

/// The digest of what a case is opened with: item, people and authorisation. When, by whom and how long it may take is no part.
pub(super) fn opening(salt: &str, new: &OpenCase) -> String {
    let mut hash = Sha256::new();
    let mut take = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    };
    take(salt);
    take(&new.item);
    for Person { role, values, authorisation } in &new.people {
        take(role);
        take(&values.len().to_string());
        for (name, value) in values {
            take(name);
            take(value);
        }
        take_consent(&mut take, authorisation.as_ref());
    }
    take_consent(&mut take, new.authorisation.as_ref());
    let digest: [u8; 32] = hash.finalize().into();
    data_encoding::HEXLOWER.encode(&digest)
}

fn take_consent(take: &mut impl FnMut(&str), consent: Option<&Consent>) {
    let Some(Consent { form_digest, scope, signed_by, valid_until_ms }) = consent else { return take("") };
    for text in [form_digest, scope, signed_by] {
        take(text);
    }
    take(&valid_until_ms.to_string());
}

impl Case {
    /// Whether this is what opened it. Of a case of before this was kept the item alone is known.
    pub(super) fn was_opened_with(&self, new: &OpenCase) -> bool {
        self.item == new.item && (self.opened_with.is_empty() || self.opened_with == opening(&self.salt, new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(role: &str, values: &[(&str, &str)]) -> OpenCase {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let people = vec![Person { role: role.to_owned(), values, authorisation: None }];
        OpenCase { item: "公租房申请".to_owned(), people, ..OpenCase::default() }
    }

    #[test]
    fn only_what_opened_a_case_opens_it_again() {
        let first = new("applicant", &[("name", "沈知夏"), ("resident_id", "1")]);
        let case = Case {
            item: first.item.clone(),
            salt: "salt".to_owned(),
            opened_with: opening("salt", &first),
            ..Case::default()
        };
        let later = OpenCase { officer: "2048".to_owned(), deadline_ms: 9, ..first.clone() };
        assert!(case.was_opened_with(&first) && case.was_opened_with(&later));
        let consented = OpenCase { authorisation: Some(Consent::default()), ..first.clone() };
        let others = [
            new("applicant", &[("name", "沈知夏"), ("resident_id", "2")]),
            new("applicant", &[("name", "沈知夏")]),
            new("spouse", &[("name", "沈知夏"), ("resident_id", "1")]),
            OpenCase { item: "另一事项".to_owned(), ..first.clone() },
            consented,
        ];
        for other in &others {
            assert!(!case.was_opened_with(other), "{other:?}");
        }
        // The salt keeps a number from being found by trying.
        assert_ne!(opening("salt", &first), opening("other", &first));
        let before = Case { opened_with: String::new(), ..case };
        assert!(before.was_opened_with(&others[0]) && !before.was_opened_with(&others[3]));
    }
}
