//! Subject schemes that an authority adds in its profile: a name, a pattern, and where the numbers have one, a check
//! character by a known algorithm. Every node follows the same rules, so that both sides agree on each number to the byte.
//!
//! The name of an added scheme begins with `local_`: it is told from a mistyped one without the profile, and no scheme that
//! a later version brings can ever be called the same.
//!
//! Out of scope: the schemes that every node knows (`super`).

use std::fmt;

use proto::registry::v1 as wire;
use regex_lite::{Regex, RegexBuilder};

use super::{Scheme, Subject, SubjectError, canonical_text};

/// What the name of an added scheme begins with.
pub const NAME_PREFIX: &str = "local_";

/// The longest name, in bytes.
const NAME_LIMIT: usize = 31;

/// The most schemes that a profile may add.
pub const MOST_ADDED: usize = 16;

/// The longest number, in characters.
pub const NUMBER_LIMIT: usize = 64;

/// The longest pattern, in bytes.
const PATTERN_LIMIT: usize = 256;

/// How large a pattern may become when it is compiled, in bytes: repetitions multiply.
const COMPILED_LIMIT: usize = 64 * 1024;

/// The name of an added scheme: `local_`, then lower-case letters, digits and underscores, at most 31 in all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemeName {
    // Padded with zeros. Within the value, so that a scheme stays as easy to pass around as those that have no name.
    bytes: [u8; NAME_LIMIT],
}

impl SchemeName {
    /// Reads a name; `None` where it is not well formed.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(NAME_PREFIX)?;
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if rest.is_empty() || name.len() > NAME_LIMIT || !rest.bytes().all(is_plain) {
            return None;
        }
        let mut bytes = [0; NAME_LIMIT];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Some(Self { bytes })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(NAME_LIMIT);
        // It was made from ASCII alone.
        std::str::from_utf8(&self.bytes[..length]).unwrap_or_default()
    }
}

impl fmt::Debug for SchemeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the last character of a number checks the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckCharacter {
    /// Luhn's, as on bank cards.
    Luhn,
    /// ISO 7064 MOD 11-2, as in resident numbers: digits, and X for ten.
    Mod11_2,
    /// As in unified social credit codes (GB 32100): weights 3^i, modulo 31.
    Mod31_3,
    /// ISO 7064 MOD 37,36, as in e-certificate identifiers: digits and letters.
    Mod37_36,
}

/// The alphabet of GB 32100, whose places are the values.
const MOD_31: &[u8] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";

/// Digits and letters, whose places are the values.
const ALPHANUMERIC: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

impl CheckCharacter {
    const ALL: [(&'static str, Self); 4] =
        [("luhn", Self::Luhn), ("mod11_2", Self::Mod11_2), ("mod31_3", Self::Mod31_3), ("mod37_36", Self::Mod37_36)];

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, check)| check)
    }

    /// The character that `body` calls for; `None` where it holds one that the algorithm does not know.
    fn of(self, body: &[u8]) -> Option<u8> {
        let value = |alphabet: &[u8], byte: &u8| {
            alphabet.iter().position(|known| known == byte).and_then(|place| u32::try_from(place).ok())
        };
        let values = |alphabet| body.iter().map(move |byte| value(alphabet, byte)).collect::<Option<Vec<_>>>();
        let at = |alphabet: &[u8], place: u32| alphabet.get(place as usize).copied();
        match self {
            Self::Luhn => {
                let sum = values(&ALPHANUMERIC[..10])?.into_iter().rev().enumerate().fold(0, |sum, (index, digit)| {
                    let doubled = if index % 2 == 0 { digit * 2 } else { digit };
                    sum + doubled / 10 + doubled % 10
                });
                at(ALPHANUMERIC, (10 - sum % 10) % 10)
            }
            Self::Mod11_2 => {
                let rest = values(&ALPHANUMERIC[..10])?.into_iter().fold(0, |rest, digit| (rest + digit) * 2 % 11);
                at(b"0123456789X", (12 - rest) % 11)
            }
            Self::Mod31_3 => {
                let mut weight = 1;
                let sum = values(MOD_31)?.into_iter().fold(0, |sum, value| {
                    let weighted = value * weight;
                    weight = weight * 3 % 31;
                    (sum + weighted) % 31
                });
                at(MOD_31, (31 - sum) % 31)
            }
            Self::Mod37_36 => {
                let rest = values(ALPHANUMERIC)?.into_iter().fold(36, |rest, value| {
                    let sum = match (rest + value) % 36 {
                        0 => 36,
                        sum => sum,
                    };
                    sum * 2 % 37
                });
                at(ALPHANUMERIC, (37 - rest) % 36)
            }
        }
    }
}

/// One added scheme.
#[derive(Clone, Debug)]
struct SchemeRule {
    name: SchemeName,
    stated: wire::SubjectScheme,
    pattern: Regex,
    check: Option<CheckCharacter>,
}

/// What is wrong with one of the schemes that a profile adds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("subject_schemes[{index}].{field}: {reason}")]
pub struct SchemeRuleError {
    /// Which scheme, from 0.
    pub index: usize,
    /// Which of its fields.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// The schemes that are known: those of every node, and those that a profile adds.
#[derive(Clone, Debug, Default)]
pub struct Schemes {
    added: Vec<SchemeRule>,
}

impl Schemes {
    /// Reads what a profile adds.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn from_wire(stated: &[wire::SubjectScheme]) -> Result<Self, SchemeRuleError> {
        let mut schemes = Self::default();
        for (index, stated) in stated.iter().enumerate() {
            let wrong = |field, reason: &str| SchemeRuleError { index, field, reason: reason.to_owned() };
            if index >= MOST_ADDED {
                return Err(wrong("name", "a profile adds at most 16 schemes"));
            }
            let name = SchemeName::parse(&stated.name).ok_or_else(|| {
                wrong("name", "must be local_ and then lower-case letters, digits or _, at most 31 in all")
            })?;
            if schemes.added.iter().any(|rule| rule.name == name) {
                return Err(wrong("name", "the scheme stands twice"));
            }
            if stated.label.trim().is_empty() || stated.label.chars().count() > 100 {
                return Err(wrong("label", "say in 1 to 100 characters what the number is"));
            }
            let rule = SchemeRule {
                name,
                pattern: compile(&stated.pattern).map_err(|reason| wrong("pattern", &reason))?,
                check: match stated.check.as_str() {
                    "" => None,
                    known => Some(CheckCharacter::parse(known).ok_or_else(|| {
                        let known = CheckCharacter::ALL.map(|(name, _)| name).join(", ");
                        wrong("check", &format!("must be empty or one of {known}"))
                    })?),
                },
                stated: stated.clone(),
            };
            // A slip in a pattern would shut everybody out; the example shows it before anybody is.
            rule.read(&stated.example)
                .map_err(|error| wrong("example", &format!("must be a number that follows the rule: {error}")))?;
            schemes.added.push(rule);
        }
        Ok(schemes)
    }

    /// The schemes that were added, as they were stated.
    pub fn added(&self) -> impl Iterator<Item = &wire::SubjectScheme> {
        self.added.iter().map(|rule| &rule.stated)
    }

    /// Whether a number under this scheme can be read.
    #[must_use]
    pub fn knows(&self, scheme: Scheme) -> bool {
        match scheme {
            Scheme::Added(name) => self.added.iter().any(|rule| rule.name == name),
            _ => true,
        }
    }

    /// Parses `raw` under the scheme called `name`; otherwise as [`Subject::parse`].
    ///
    /// # Errors
    /// As [`Subject::parse`].
    pub fn parse(&self, name: &str, raw: &str) -> Result<Subject, SubjectError> {
        self.parse_as(Scheme::parse(name)?, raw)
    }

    /// Parses `raw` under `scheme`; otherwise as [`Subject::parse`].
    ///
    /// # Errors
    /// As [`Subject::parse`]; [`SubjectError::SchemeNotAdded`] for an added scheme that the profile does not have.
    pub fn parse_as(&self, scheme: Scheme, raw: &str) -> Result<Subject, SubjectError> {
        let Scheme::Added(name) = scheme else { return Subject::parse_as(scheme, raw) };
        let rule = self.added.iter().find(|rule| rule.name == name);
        let rule = rule.ok_or(SubjectError::SchemeNotAdded { scheme })?;
        rule.read(raw).map(|value| Subject { scheme, value })
    }
}

impl PartialEq for Schemes {
    fn eq(&self, other: &Self) -> bool {
        self.added().eq(other.added())
    }
}

impl Eq for Schemes {}

impl SchemeRule {
    fn read(&self, raw: &str) -> Result<String, SubjectError> {
        let scheme = Scheme::Added(self.name);
        let value = canonical_number(scheme, raw)?;
        if !self.pattern.is_match(&value) {
            return Err(SubjectError::PatternWrong { scheme });
        }
        if let Some(check) = self.check {
            let (body, given) = value.as_bytes().split_at(value.len() - 1);
            let expected = check.of(body).ok_or(SubjectError::PatternWrong { scheme })?;
            if given != [expected] {
                return Err(SubjectError::CheckCharacterWrong { scheme, expected: char::from(expected) });
            }
        }
        Ok(value)
    }
}

/// The canonical text of a number under an added scheme: printable ASCII.
pub(super) fn canonical_number(scheme: Scheme, raw: &str) -> Result<String, SubjectError> {
    let wrong = |length| SubjectError::LengthWrong { scheme, minimum: 1, maximum: NUMBER_LIMIT, length };
    let value = canonical_text(raw).ok_or_else(|| wrong(raw.chars().count()))?;
    let length = value.chars().count();
    if length == 0 || length > NUMBER_LIMIT {
        return Err(wrong(length));
    }
    match value.chars().position(|c| !c.is_ascii_graphic()) {
        Some(index) => Err(SubjectError::CharacterNotAllowed { scheme, position: index + 1 }),
        None => Ok(value),
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.is_empty() || pattern.len() > PATTERN_LIMIT || !pattern.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be 1 to 256 printable ASCII characters without spaces".to_owned());
    }
    // All of the number, whatever the pattern says of its ends.
    RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(COMPILED_LIMIT)
        .build()
        .map_err(|error| format!("is no regular expression: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(pattern: &str, check: &str, example: &str) -> wire::SubjectScheme {
        wire::SubjectScheme {
            name: "local_social_card".into(),
            label: "社会保障卡号".into(),
            pattern: pattern.into(),
            check: check.into(),
            example: example.into(),
        }
    }

    fn schemes(pattern: &str, check: &str, example: &str) -> Result<Schemes, String> {
        Schemes::from_wire(&[stated(pattern, check, example)]).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_of_an_added_scheme_are_read_in_one_spelling() {
        let schemes = schemes("[A-Z][0-9]{8}", "", "A00000001").unwrap();
        let read = schemes.parse("local_social_card", " ａ 1234 5678 ").unwrap();
        assert_eq!((read.value(), read.scheme().as_str()), ("A12345678", "local_social_card"));
        assert_eq!(schemes.parse("local_social_card", read.value()).unwrap(), read);
        for wrong in ["A1234567", "A123456789", "xA12345678", "A12345678\u{0}", "", "张12345678"] {
            let error = schemes.parse("local_social_card", wrong).unwrap_err();
            assert!(wrong.is_empty() || !error.to_string().contains(wrong), "{error}");
        }
        let other = schemes.parse("local_other", "A12345678").unwrap_err();
        assert!(matches!(other, SubjectError::SchemeNotAdded { .. }), "{other}");
        // The schemes of every node are there too.
        assert!(schemes.parse("uscc", "118900000000010112").is_ok());
    }

    #[test]
    fn check_characters_are_those_of_the_standards() {
        for (check, number) in [
            ("luhn", "79927398713"),
            ("mod11_2", "11010519491231002X"),
            ("mod11_2", "890101199003070011"),
            ("mod31_3", "91350100M000100Y43"),
            ("mod31_3", "118900000000010112"),
            ("mod37_36", "11100000000013338W01111430000006122244L20230000403001U"),
        ] {
            let schemes = schemes("[0-9A-Z]+", check, number).unwrap_or_else(|error| panic!("{number}: {error}"));
            // Every other last character is refused, with the right one named.
            for other in ALPHANUMERIC.iter().map(|byte| char::from(*byte)).filter(|c| !number.ends_with(*c)) {
                let wrong = format!("{}{other}", &number[..number.len() - 1]);
                match schemes.parse("local_social_card", &wrong) {
                    Err(SubjectError::CheckCharacterWrong { expected, .. }) => assert!(number.ends_with(expected)),
                    outcome => panic!("{wrong}: {outcome:?}"),
                }
            }
        }
    }

    #[test]
    fn a_pattern_stands_for_all_of_the_number() {
        let either = schemes("A1|B2", "", "A1").unwrap();
        for wrong in ["A12", "XB2", "A1B2"] {
            assert!(either.parse("local_social_card", wrong).is_err(), "{wrong}");
        }
        assert!(either.parse("local_social_card", "b2").is_ok());
    }

    #[test]
    fn a_scheme_that_is_stated_badly_is_refused_by_its_field() {
        let refused = |pattern: &str, check: &str, example: &str| schemes(pattern, check, example).unwrap_err();
        assert!(refused("[0-9", "", "1").starts_with("subject_schemes[0].pattern: is no regular expression"));
        assert!(refused("", "", "1").contains("pattern: must be 1 to 256"));
        assert!(refused("([0-9]{1,999}){1,999}", "", "1").contains("pattern: is no regular expression"));
        assert!(refused("[0-9]+", "mod7", "1").contains("check: must be empty or one of luhn, mod11_2"));
        assert!(refused("[0-9]+", "luhn", "1234").contains("example: must be a number that follows the rule"));
        let named = |name: &str| wire::SubjectScheme { name: name.into(), ..stated("[0-9]+", "", "1") };
        for name in ["social_card", "local_", "local_Card", "local_ä", &format!("local_{}", "x".repeat(26))] {
            assert!(Schemes::from_wire(&[named(name)]).is_err(), "{name}");
        }
        let twice = Schemes::from_wire(&[named("local_a"), named("local_a")]).unwrap_err();
        assert_eq!((twice.index, twice.field), (1, "name"));
    }

    #[test]
    fn a_scheme_keeps_its_name() {
        for name in ["local_a", &format!("local_{}", "x".repeat(25))] {
            let scheme = Scheme::parse(name).unwrap();
            assert_eq!((scheme.as_str(), scheme.to_string().as_str()), (name, name));
        }
    }
}
