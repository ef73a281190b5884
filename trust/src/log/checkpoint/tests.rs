//! Checkpoints: what is signed opens again, and nothing that was altered does.

use super::*;
use crate::log::hash::leaf_hash;
use crate::log::note::Error as NoteError;
use crate::log::tests::{ORIGIN, TIME, TestKey, log_key, signed_checkpoint, witness_key};

fn root() -> Hash {
    leaf_hash(b"an entry")
}

/// Signs any text as the log: plainly, and as a cosignature.
fn signed(text: &str) -> String {
    let key = log_key();
    let mut note = SignedNote::new(text.to_owned()).unwrap();
    note.add_signature(Signature::sign(key.plain(), text, |message| TestKey::log().sign(message)).unwrap()).unwrap();
    note.add_signature(cosign(text, key.cosigning(), TIME, |message| TestKey::log().sign(message)).unwrap()).unwrap();
    note.to_string()
}

#[test]
fn a_checkpoint_comes_back_with_its_time() {
    let text = signed_checkpoint(7, root());
    assert_eq!(text.lines().filter(|line| line.starts_with('\u{2014}')).count(), 2);
    let verified = open(text.as_bytes(), &log_key()).unwrap();
    assert_eq!(verified.time_seconds(), TIME);
    assert_eq!(verified.checkpoint(), &Checkpoint::new(log_key().origin(), 7, root()).unwrap());
    assert_eq!(verified.note().to_string(), text);
    assert_eq!(signed(&verified.checkpoint().to_text()), text);
}

#[test]
fn any_changed_byte_is_noticed() {
    let text = signed_checkpoint(7, root());
    for position in 0..text.len() {
        let mut bytes = text.as_bytes().to_vec();
        bytes[position] ^= 1;
        assert!(open(&bytes, &log_key()).is_err(), "byte {position}");
    }
    for end in 0..text.len() {
        assert!(open(&text.as_bytes()[..end], &log_key()).is_err(), "cut at {end}");
    }
}

#[test]
fn both_signatures_of_the_log_are_needed() {
    let key = log_key();
    let text = signed_checkpoint(7, root());
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let (body, plain, cosignature) = (lines[..4].concat(), lines[4], lines[5]);
    let open = |parts: &[&str]| open(parts.concat().as_bytes(), &key);
    assert!(open(&[&body, cosignature, plain]).is_ok(), "the order says nothing");

    let missing =
        |key: &NoteKey| Error::Note(NoteError::SignatureMissing { name: key.name().clone(), key_id: key.id() });
    assert_eq!(open(&[&body, plain]), Err(missing(key.cosigning())));
    assert_eq!(open(&[&body, cosignature]), Err(missing(key.plain())));

    // A second time beside the same text: an older one, rightly signed.
    let earlier = cosign(&lines[..3].concat(), key.cosigning(), TIME - 1, |message| TestKey::log().sign(message));
    let earlier = format!("{}\n", earlier.unwrap());
    assert!(open(&[&body, plain, &earlier]).is_ok());
    let repeated = NoteError::SignatureRepeated { name: key.origin().clone(), key_id: key.cosigning().id() };
    assert_eq!(open(&[&body, plain, cosignature, &earlier]), Err(Error::Note(repeated)));

    // The time alone changed, the signature kept.
    let mut moved = Signature::parse(cosignature.trim_end()).unwrap().bytes().to_vec();
    moved[7] ^= 1;
    let moved = format!("{}\n", Signature::new(key.cosigning(), moved));
    let invalid = NoteError::SignatureInvalid { name: key.origin().clone(), key_id: key.cosigning().id() };
    assert_eq!(open(&[&body, plain, &moved]), Err(Error::Note(invalid)));
}

#[test]
fn another_log_is_not_this_one() {
    let text = signed_checkpoint(7, root());
    let other_key = LogKey::new(ORIGIN.parse().unwrap(), &TestKey::witness().public_key()).unwrap();
    assert!(matches!(open(text.as_bytes(), &other_key), Err(Error::Note(NoteError::SignatureMissing { .. }))));

    let other_origin = LogKey::new("other.example/log".parse().unwrap(), &TestKey::log().public_key()).unwrap();
    assert!(matches!(open(text.as_bytes(), &other_origin), Err(Error::Note(NoteError::SignatureMissing { .. }))));
    let checkpoint = Checkpoint::new(other_origin.origin(), 7, root()).unwrap();
    let mismatch = Error::OriginMismatch { expected: ORIGIN.parse().unwrap(), found: "other.example/log".to_owned() };
    assert_eq!(sign(&checkpoint, &log_key(), TIME, |_| [0; 64]), Err(mismatch.clone()));
    // The log's key and name under a checkpoint of another log.
    assert_eq!(open(signed(&checkpoint.to_text()).as_bytes(), &log_key()), Err(mismatch));
}

#[test]
fn malformed_checkpoints_are_refused() {
    let root = root().to_base64();
    assert!(Checkpoint::parse(&format!("origin\n1\n{root}\n")).is_ok());
    assert!(Checkpoint::parse(&format!("an origin + more\n18446744073709551615\n{root}\nextension\n")).is_ok());
    for (text, error) in [
        (String::new(), Error::MissingLine),
        ("\n".to_owned(), Error::MissingLine),
        ("origin\n1\n".to_owned(), Error::MissingLine),
        (format!("origin\n1\n{root}"), Error::MissingLine),
        (format!("\n1\n{root}\n"), Error::MalformedLine),
        (format!("ori\u{1}gin\n1\n{root}\n"), Error::MalformedLine),
        (format!("origin\n1\n{root}\n\n"), Error::MalformedLine),
        (format!("origin\n1\n{root}\n\nextension\n"), Error::MalformedLine),
        (format!("origin\n01\n{root}\n"), Error::MalformedSize),
        (format!("origin\n+1\n{root}\n"), Error::MalformedSize),
        (format!("origin\n-1\n{root}\n"), Error::MalformedSize),
        (format!("origin\n\n{root}\n"), Error::MalformedSize),
        (format!("origin\n1 \n{root}\n"), Error::MalformedSize),
        (format!("origin\n0x1\n{root}\n"), Error::MalformedSize),
        (format!("origin\n18446744073709551616\n{root}\n"), Error::MalformedSize),
        (format!("origin\n1\n{}\n", &root[..43]), Error::MalformedRoot(hash::Error::NotBase64)),
        (format!("origin\n1\n{root} \n"), Error::MalformedRoot(hash::Error::NotBase64)),
        ("origin\n1\nAAAA\n".to_owned(), Error::MalformedRoot(hash::Error::WrongLength { length: 3 })),
        (format!("origin\n0\n{root}\n"), Error::RootOfEmptyTree),
    ] {
        assert_eq!(Checkpoint::parse(&text), Err(error.clone()), "{text:?}");
        if !text.is_empty() && text.ends_with('\n') && !text.contains('\u{1}') {
            assert_eq!(open(signed(&text).as_bytes(), &log_key()), Err(error), "{text:?}");
        }
    }
}

#[test]
fn an_empty_log_has_a_checkpoint() {
    let text = signed_checkpoint(0, empty_root());
    assert_eq!(open(text.as_bytes(), &log_key()).unwrap().checkpoint().size(), 0);
    assert_eq!(Checkpoint::new(log_key().origin(), 0, root()), Err(Error::RootOfEmptyTree));
}

#[test]
fn extension_lines_are_signed_and_come_back() {
    let checkpoint = Checkpoint::new(log_key().origin(), 7, root()).unwrap();
    let lines = vec!["one".to_owned(), "\u{2014} two".to_owned()];
    let extended = checkpoint.clone().with_extensions(lines).unwrap();
    let text = sign(&extended, &log_key(), TIME, |message| TestKey::log().sign(message)).unwrap();
    assert_eq!(open(text.as_bytes(), &log_key()).unwrap().checkpoint(), &extended);
    assert!(open(text.replace("one\n", "").as_bytes(), &log_key()).is_err());
    for line in ["", "a\nb", "a\rb"] {
        assert_eq!(checkpoint.clone().with_extensions(vec![line.to_owned()]), Err(Error::MalformedLine));
    }
}

#[test]
fn a_witness_cosigns() {
    let verified = open(signed_checkpoint(7, root()).as_bytes(), &log_key()).unwrap();
    assert!(matches!(verified.verify_cosignature(&witness_key()), Err(NoteError::SignatureMissing { .. })));
    let line = verified.cosign(&witness_key(), TIME + 5, |message| TestKey::witness().sign(message)).unwrap();
    let mut note = verified.note().clone();
    note.add_signature(Signature::parse(&line.to_string()).unwrap()).unwrap();

    let witnessed = open(note.to_string().as_bytes(), &log_key()).unwrap();
    assert_eq!(witnessed.verify_cosignature(&witness_key()), Ok(TIME + 5));
    assert_eq!(witnessed.time_seconds(), TIME, "a witness does not change the time of the log");

    let forged = verified.cosign(&witness_key(), TIME + 5, |message| TestKey::log().sign(message)).unwrap();
    note.add_signature(forged).unwrap();
    let forged = open(note.to_string().as_bytes(), &log_key()).unwrap();
    assert!(matches!(forged.verify_cosignature(&witness_key()), Err(NoteError::SignatureInvalid { .. })));
}

#[test]
fn each_kind_of_signature_has_its_own_key() {
    let key = log_key();
    let verified = open(signed_checkpoint(7, root()).as_bytes(), &key).unwrap();
    let wrong = |key: &NoteKey| NoteError::WrongAlgorithm { name: key.name().clone(), key_id: key.id() };
    assert_eq!(verified.verify_cosignature(key.plain()), Err(wrong(key.plain())));
    assert_eq!(verified.note().verify(key.cosigning()), Err(wrong(key.cosigning())));
    assert_eq!(verified.cosign(key.plain(), TIME, |_| [0; 64]), Err(wrong(key.plain())));
    assert_eq!(Signature::sign(key.cosigning(), "text\n", |_| [0; 64]), Err(wrong(key.cosigning())));
}

#[test]
fn times_have_a_limit() {
    let checkpoint = Checkpoint::new(log_key().origin(), 7, root()).unwrap();
    let sign_at = |time| sign(&checkpoint, &log_key(), time, |message| TestKey::log().sign(message));
    let latest = i64::MAX as u64;
    assert_eq!(open(sign_at(latest).unwrap().as_bytes(), &log_key()).unwrap().time_seconds(), latest);
    assert_eq!(sign_at(latest + 1), Err(Error::Note(NoteError::TimeOutOfRange)));

    // Signed all the same, by a log that does not care.
    let key = log_key();
    let mut note = SignedNote::parse(sign_at(TIME).unwrap().as_bytes()).unwrap();
    let message = format!("cosignature/v1\ntime {}\n{}", latest + 1, note.text());
    let bytes = [(latest + 1).to_be_bytes().as_slice(), &TestKey::log().sign(message.as_bytes())].concat();
    note.add_signature(Signature::new(key.cosigning(), bytes)).unwrap();
    assert!(matches!(open_note(note, &key), Err(Error::Note(NoteError::SignatureInvalid { .. }))));
}
