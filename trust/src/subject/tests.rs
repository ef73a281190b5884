//! Tests of subject identifiers against published samples, and their properties over all valid numbers.

use jiff::civil::{Date, date};
use proptest::prelude::*;

use super::credit_code::{OrganisationCode, OrganisationCodeError, Strictness, Uscc, UsccError, UsccWarning};
use super::resident_number::{ResidentNumber, ResidentNumberError, Sex};
use super::{RAW_LIMIT, Scheme, Subject, SubjectError};

const RESIDENT_SAMPLES: [&str; 6] = [
    "11010519491231002X",
    "440524188001010014",
    "890101199003070011",
    "890101199111250028",
    "890102201909010038",
    "890102195802140045",
];
const USCC_SAMPLES: [&str; 4] =
    ["91350100M000100Y43", "91110000600037341L", "118900000000010112", "91890101MA0000015M"];

fn resident(raw: &str) -> Result<ResidentNumber, ResidentNumberError> {
    ResidentNumber::parse(raw)
}

fn strict(raw: &str) -> Result<Uscc, UsccError> {
    Uscc::parse(raw, Strictness::Strict)
}

#[test]
fn published_samples_are_valid() {
    for sample in RESIDENT_SAMPLES {
        assert_eq!(Subject::parse("resident_id", sample).unwrap().value(), sample);
    }
    for sample in USCC_SAMPLES {
        assert_eq!(Subject::parse("uscc", sample).unwrap().value(), sample);
        assert_eq!(strict(sample).unwrap().organisation_code().unwrap().as_str(), &sample[8..17]);
    }
}

#[test]
fn resident_number_states_birth_date_sex_and_division() {
    let woman = resident("11010519491231002X").unwrap();
    assert_eq!((woman.birth_date(), woman.sex(), woman.division()), (date(1949, 12, 31), Sex::Female, "110105"));
    assert_eq!(resident("440524188001010014").unwrap().sex(), Sex::Male);
}

#[test]
fn every_spelling_of_a_number_becomes_one() {
    let canonical = "11010519491231002X";
    for spelling in [
        "11010519491231002x",
        " 110105 19491231 002X\n",
        "１１０１０５１９４９１２３１００２Ｘ",
        "１１０１０５\u{3000}1949\u{a0}1231 002ｘ",
        "110105491231002",
        "１10105 491231 002",
    ] {
        assert_eq!(Subject::parse("resident_id", spelling).unwrap().value(), canonical, "{spelling:?}");
    }
    assert_eq!(Subject::parse("uscc", "９1350100m000100ｙ 43").unwrap().value(), "91350100M000100Y43");
    assert_eq!(Subject::parse("certificate_no", " x89－0001 ").unwrap().value(), "X89-0001");
    assert_eq!(Subject::parse("passport", "e 12345678").unwrap().value(), "E12345678");
}

#[test]
fn a_wrong_resident_number_says_what_is_wrong() {
    use ResidentNumberError as Wrong;
    for (raw, error) in [
        ("", Wrong::LengthWrong { length: 0 }),
        ("1101051949123100", Wrong::LengthWrong { length: 16 }),
        ("11010519491231002XX", Wrong::LengthWrong { length: 19 }),
        ("1101O519491231002X", Wrong::DigitExpected { position: 5 }),
        ("一10105194912310020", Wrong::DigitExpected { position: 1 }),
        ("11010519491231002\u{200b}", Wrong::CheckCharacterExpected),
        ("11010519491231002Y", Wrong::CheckCharacterExpected),
        ("110105194912310021", Wrong::CheckCharacterWrong { expected: 'X' }),
        ("110105194902300021", Wrong::DateNotReal),
        ("110105190002290021", Wrong::DateNotReal),
        ("110105194913010021", Wrong::DateNotReal),
        ("110105194900010021", Wrong::DateNotReal),
        ("110105187912310021", Wrong::YearOutOfRange),
        ("110105220001010021", Wrong::YearOutOfRange),
        ("110105490229002", Wrong::DateNotReal),
        ("11010549122900X", Wrong::DigitExpected { position: 15 }),
    ] {
        assert_eq!(resident(raw), Err(error), "{raw:?}");
    }
    assert_eq!(
        resident("110105194912310021").unwrap_err().to_string(),
        "the check character of the resident number is wrong: its other digits call for X"
    );
}

#[test]
fn only_numbers_that_fit_are_composed() {
    use ResidentNumberError as Wrong;
    let compose = ResidentNumber::compose;
    assert_eq!(compose("890101", date(1990, 3, 7), 1).unwrap().as_str(), "890101199003070011");
    assert_eq!(compose("89010", date(1990, 3, 7), 1), Err(Wrong::DivisionMalformed));
    assert_eq!(compose("89010一", date(1990, 3, 7), 1), Err(Wrong::DivisionMalformed));
    assert_eq!(compose("890101", date(1990, 3, 7), 1000), Err(Wrong::SequenceTooLarge));
    assert_eq!(compose("890101", date(1879, 12, 31), 1), Err(Wrong::YearOutOfRange));
    assert_eq!(compose("890101", date(-1, 12, 31), 1), Err(Wrong::YearOutOfRange));
    assert_eq!(compose("890101", Date::MAX, 1), Err(Wrong::YearOutOfRange));
}

#[test]
fn a_wrong_credit_code_says_what_is_wrong() {
    assert_eq!(strict("91350100M000100Y4"), Err(UsccError::LengthWrong { length: 17 }));
    assert_eq!(strict("91350100MO00100Y43"), Err(UsccError::CharacterNotAllowed { position: 10 }));
    assert_eq!(strict("9135010AM000100Y43"), Err(UsccError::CharacterNotAllowed { position: 8 }));
    assert_eq!(strict("91350100M000100Y4民"), Err(UsccError::CharacterNotAllowed { position: 18 }));
    assert_eq!(strict("91350100M000100Y44"), Err(UsccError::CheckCharacterWrong { expected: '3' }));
}

#[test]
fn a_pilot_code_passes_only_leniently_and_with_a_warning() {
    let pilot = "91350100M000100Y44";
    let code = Uscc::parse(pilot, Strictness::Lenient).unwrap();
    assert_eq!(code.warning(), Some(UsccWarning::CheckCharacterWrong { expected: '3' }));
    assert_eq!(Subject::from(code).value(), pilot);
    assert_eq!(Uscc::parse("91350100M000100Y43", Strictness::Lenient).unwrap().warning(), None);
    assert!(Subject::parse("uscc", pilot).is_err());
    assert!(Uscc::parse("91350100M000100Y4O", Strictness::Lenient).is_err());
}

#[test]
fn a_credit_code_whose_sum_is_divisible_by_31_ends_in_0() {
    let zero = (0..1000).map(|n| Uscc::compose(&format!("9189010100000{n:04}")).unwrap());
    let zero: Vec<Uscc> = zero.filter(|code| code.as_str().ends_with('0')).collect();
    assert!(!zero.is_empty());
    for code in zero {
        assert_eq!(strict(code.as_str()), Ok(code));
    }
}

#[test]
fn organisation_codes_are_checked() {
    assert_eq!(OrganisationCode::parse("M000100Y-4").unwrap().as_str(), "M000100Y4");
    assert_eq!(OrganisationCode::compose("MA000001").unwrap().as_str(), "MA0000015");
    // 11 - 0 is written 0 and 11 - 1 is written X.
    assert_eq!(OrganisationCode::compose("00000000").unwrap().as_str(), "000000000");
    assert_eq!(OrganisationCode::compose("00000006").unwrap().as_str(), "00000006X");
    assert_eq!(OrganisationCode::parse("M000100Y5"), Err(OrganisationCodeError::CheckCharacterWrong { expected: '4' }));
    assert_eq!(OrganisationCode::parse("M000100Y"), Err(OrganisationCodeError::LengthWrong { length: 8 }));
    assert_eq!(OrganisationCode::parse("M000_00Y4"), Err(OrganisationCodeError::CharacterNotAllowed { position: 5 }));
}

#[test]
fn plain_schemes_keep_to_length_and_alphabet() {
    let wrong = |scheme, minimum, maximum, length| SubjectError::LengthWrong { scheme, minimum, maximum, length };
    let certificate = |raw: &str| Subject::parse("certificate_no", raw).map(|subject| subject.value().to_owned());
    let passport = |raw: &str| Subject::parse("passport", raw).map(|subject| subject.value().to_owned());
    assert_eq!(certificate(" "), Err(wrong(Scheme::CertificateNumber, 1, 40, 0)));
    assert!(certificate(&"A".repeat(40)).is_ok());
    assert_eq!(certificate(&"A".repeat(41)), Err(wrong(Scheme::CertificateNumber, 1, 40, 41)));
    assert_eq!(
        certificate("AB/1"),
        Err(SubjectError::CharacterNotAllowed { scheme: Scheme::CertificateNumber, position: 3 })
    );
    assert_eq!(passport("E123"), Err(wrong(Scheme::Passport, 5, 17, 4)));
    assert_eq!(passport(&"1".repeat(18)), Err(wrong(Scheme::Passport, 5, 17, 18)));
    assert_eq!(passport("E-12345"), Err(SubjectError::CharacterNotAllowed { scheme: Scheme::Passport, position: 2 }));
}

#[test]
fn overlong_text_is_refused_unread() {
    let long = " ".repeat(RAW_LIMIT) + "11010519491231002X";
    for scheme in Scheme::ALL {
        assert!(Subject::parse_as(scheme, &long).is_err());
        // U+FDFA becomes eighteen characters.
        assert!(Subject::parse_as(scheme, &"\u{fdfa}".repeat(RAW_LIMIT / 3)).is_err());
    }
}

#[test]
fn scheme_names_are_stable() {
    let names: Vec<&str> = Scheme::ALL.iter().map(|scheme| scheme.as_str()).collect();
    assert_eq!(names, ["certificate_no", "passport", "resident_id", "uscc"]);
    for scheme in Scheme::ALL {
        assert_eq!(Scheme::parse(scheme.as_str()), Ok(scheme));
    }
    assert_eq!(Scheme::parse("Resident_Id"), Err(SubjectError::SchemeUnknown));
    // Swapped fields must not put the number into the message.
    assert!(!Subject::parse("11010519491231002X", "resident_id").unwrap_err().to_string().contains("1101"));
}

#[test]
fn debug_never_shows_the_value() {
    assert_eq!(format!("{:?}", Subject::parse("resident_id", RESIDENT_SAMPLES[0]).unwrap()), "Subject(resident_id:…)");
    assert_eq!(format!("{:?}", resident(RESIDENT_SAMPLES[0]).unwrap()), "ResidentNumber(…)");
    assert_eq!(format!("{:?}", strict(USCC_SAMPLES[0]).unwrap()), "Uscc(…)");
}

fn any_resident_number() -> impl Strategy<Value = ResidentNumber> {
    let first = date(1880, 1, 1);
    (100_000_u32..1_000_000, 0_i64..116_878, 0_u16..1000).prop_map(move |(division, days, sequence)| {
        let birth = first + jiff::Span::new().days(days);
        ResidentNumber::compose(&division.to_string(), birth, sequence).unwrap()
    })
}

fn any_uscc() -> impl Strategy<Value = Uscc> {
    "[1-9A-GY][1-9][0-9]{6}[0-9A-HJ-NPQRTUWXY]{9}".prop_map(|body| Uscc::compose(&body).unwrap())
}

/// `text` with the character at `index` replaced by the next one (cyclically) of `alphabet`, `steps` further on.
fn changed(text: &str, index: usize, steps: usize, alphabet: &[u8]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let place = alphabet.iter().position(|byte| *byte == bytes[index]).unwrap_or(0);
    bytes[index] = alphabet[(place + steps) % alphabet.len()];
    String::from_utf8(bytes).unwrap()
}

fn swapped(text: &str, index: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes.swap(index, index + 1);
    String::from_utf8(bytes).unwrap()
}

proptest! {
    #[test]
    fn composed_resident_numbers_parse_back(number in any_resident_number()) {
        prop_assert_eq!(resident(number.as_str()), Ok(number));
    }

    #[test]
    fn a_changed_digit_of_a_resident_number_is_refused(
        number in any_resident_number(), index in 0_usize..18, steps in 1_usize..10,
    ) {
        let altered = changed(number.as_str(), index, steps, b"0123456789");
        prop_assume!(altered != number.as_str());
        prop_assert!(resident(&altered).is_err());
    }

    #[test]
    fn swapped_neighbours_in_a_resident_number_are_refused(number in any_resident_number(), index in 0_usize..17) {
        let altered = swapped(number.as_str(), index);
        prop_assume!(altered != number.as_str());
        prop_assert!(resident(&altered).is_err());
    }

    #[test]
    fn a_changed_character_of_a_credit_code_is_refused(
        code in any_uscc(), index in 0_usize..18, steps in 1_usize..31,
    ) {
        let altered = changed(code.as_str(), index, steps, b"0123456789ABCDEFGHJKLMNPQRTUWXY");
        prop_assume!(altered != code.as_str());
        prop_assert!(strict(&altered).is_err());
    }

    #[test]
    fn swapped_neighbours_in_a_credit_code_are_refused(code in any_uscc(), index in 0_usize..17) {
        let altered = swapped(code.as_str(), index);
        prop_assume!(altered != code.as_str());
        prop_assert!(strict(&altered).is_err());
    }

    #[test]
    fn no_text_makes_parsing_panic(raw in any::<String>(), digits in "[0-9Xx０-９ \u{3000}]{0,40}") {
        for scheme in Scheme::ALL {
            for text in [&raw, &digits] {
                if let Ok(subject) = Subject::parse_as(scheme, text) {
                    prop_assert!(subject.value().is_ascii());
                    prop_assert_eq!(Subject::parse_as(scheme, subject.value()), Ok(subject));
                }
            }
        }
        let _ = Uscc::parse(&raw, Strictness::Lenient);
        let _ = OrganisationCode::parse(&raw);
        let _ = Scheme::parse(&raw);
    }

    #[test]
    fn the_old_form_leads_to_the_same_number(number in any_resident_number()) {
        let text = number.as_str();
        prop_assume!(&text[6..8] == "19");
        let old = format!("{}{}", &text[..6], &text[8..17]);
        prop_assert_eq!(resident(&old), Ok(number));
    }

    #[test]
    fn spelling_does_not_matter(number in any_resident_number(), wide in any::<u32>(), spaced in any::<u32>()) {
        let mut spelling = String::new();
        for (index, c) in number.as_str().chars().enumerate() {
            if spaced >> index & 1 == 1 {
                spelling.push(' ');
            }
            let is_wide = wide >> index & 1 == 1;
            spelling.push(if is_wide { char::from_u32(u32::from(c) + 0xFEE0).unwrap() } else { c.to_ascii_lowercase() });
        }
        prop_assert_eq!(Subject::parse("resident_id", &spelling), Ok(number.into()));
    }
}
