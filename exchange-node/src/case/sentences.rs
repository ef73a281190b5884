//! What an outcome means, for the person who stands at the window: one sentence and the next step that is permitted, in
//! Chinese and in English. No values of records or people are in them. Out of scope: where they are printed (`slip`).

use trust::item::HOUSEHOLD;

use super::{
    Outcome, Proof,
    judge::Answer,
    people::which,
    words::{self, Words, whom_zh},
};

/// The sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sentences {
    /// What is, in Chinese.
    pub zh: String,
    /// The same in English.
    pub en: String,
    /// What may be done next, in Chinese; empty where nothing has to be.
    pub next_zh: String,
    /// The same in English.
    pub next_en: String,
}

pub(super) fn of(proof: &Proof) -> Sentences {
    let (title, name) = title(proof);
    let say = |zh: String, en: String, next_zh: &str, next_en: &str| Sentences {
        zh,
        en,
        next_zh: next_zh.to_owned(),
        next_en: next_en.to_owned(),
    };
    match proof.outcome {
        Outcome::Asking => say(
            format!("{title}正在向有关部门核验。"),
            format!("{name}: the department that keeps the record is being asked."),
            "请稍候，无需提交材料。",
            "Please wait; nothing has to be submitted.",
        ),
        Outcome::NotRequired => say(
            format!("{title}已由有关部门核验，免提交。"),
            format!("{name}: confirmed by the department that keeps the record; it need not be submitted."),
            "",
            "",
        ),
        Outcome::DoesNotMatch if proof.broken => say(
            format!("{title}的承诺经核查与登记不符。"),
            format!("{name}: the check found that what was committed to is not what the record says."),
            "请限期改正或提交证明；改正前不得再以承诺代替证明。",
            "Put it right or submit the proof; until then no other commitment can be accepted.",
        ),
        Outcome::DoesNotMatch => say(
            format!("{title}与登记信息不一致。"),
            format!("{name}: what was stated is not what the record says."),
            "如填写有误，请更正后重新核验；如认为登记有误，可持回执申请校核，校核期间可凭有效纸质证明办理。",
            "If it was stated wrongly, correct it and it is asked again. If the record is wrong, ask for its correction with this receipt; meanwhile a valid paper proof is accepted.",
        ),
        Outcome::SubmitOnPaper => paper(proof),
        Outcome::MayCommit => say(
            format!("{title}暂时无法核验（{}）。", cause_zh(proof)),
            format!("{name}: it cannot be confirmed for the moment ({}).", cause_en(proof)),
            "可签署告知承诺书先行办理，事后核查；也可以提交纸质证明。",
            "You may sign a commitment and go on, and it is checked afterwards; or submit the paper.",
        ),
        Outcome::Committed => say(
            format!("{title}已以告知承诺代替，将在事后核查。"),
            format!("{name}: your signed commitment stands in; it will be checked afterwards."),
            "无需提交材料。承诺不实的，将撤销办理结果并不再适用承诺。",
            "Nothing has to be submitted. A commitment that proves false has consequences.",
        ),
        Outcome::PaperAccepted => {
            say(format!("{title}已收取纸质证明。"), format!("{name}: the paper was taken in."), "", "")
        }
        Outcome::InformationMissing => {
            let (zh, en) = missing(proof);
            say(
                format!("核验{title}还缺少：{zh}。"),
                format!("{name}: to ask for it, this is still needed: {en}."),
                "请补充后重新核验，无需提交纸质证明。",
                "State it and it is asked again; no paper is needed.",
            )
        }
        Outcome::LeftOut => say(
            format!("{title}为选交材料，本次未涉及。"),
            format!("{name}: optional, and not part of this application."),
            "",
            "",
        ),
    }
}

fn paper(proof: &Proof) -> Sentences {
    let (title, name) = title(proof);
    let (zh, en) = match (&proof.answer, proof.reason.as_str()) {
        (_, "commitment_blocked") => (
            format!("{title}暂时无法核验，且此前有未改正的不实承诺。"),
            format!("{name}: it cannot be confirmed for the moment, and an earlier commitment has not been put right."),
        ),
        (_, super::refresh::CORRECTION_OPEN) => (
            format!("{title}的登记信息正在校核，校核期间可凭有效纸质证明办理。"),
            format!("{name}: the record is being looked at again; meanwhile a valid paper proof is accepted."),
        ),
        (_, super::judge::IDENTITY_NOT_CONFIRMED) => (
            format!("登记中没有{title}的记录，且未能核实身份，不能据此认定。"),
            format!(
                "{name}: there is no entry, and as it could not be confirmed who the person is, nothing follows from that."
            ),
        ),
        (Answer::NoService, _) => {
            (format!("{title}目前没有部门可以在线核验。"), format!("{name}: no department can confirm it yet."))
        }
        (Answer::Verdict { verdict, .. }, _) if verdict == super::judge::NO_RECORD => (
            format!("登记中没有查到{title}的记录。"),
            format!("{name}: no record was found. That does not mean that it is not so."),
        ),
        _ => (
            format!("{title}暂时无法核验（{}）。", cause_zh(proof)),
            format!("{name}: it cannot be confirmed for the moment ({}).", cause_en(proof)),
        ),
    };
    let (next_zh, next_en) = ("请提交纸质证明，或稍后再次核验。", "Submit the paper, or have it asked again later.");
    Sentences { zh, en, next_zh: next_zh.to_owned(), next_en: next_en.to_owned() }
}

fn cause_zh(proof: &Proof) -> &'static str {
    match &proof.answer {
        Answer::Deferred { .. } => "需人工查档，稍后答复",
        Answer::NoService => "有关部门尚未接入",
        Answer::Refused { .. } => "对方系统未受理",
        _ => "对方系统暂时无法答复",
    }
}

fn cause_en(proof: &Proof) -> &'static str {
    match &proof.answer {
        Answer::Deferred { .. } => "a person looks it up and answers later",
        Answer::NoService => "the department is not connected yet",
        Answer::Refused { .. } => "the other side did not take the question",
        _ => "the other side cannot answer",
    }
}

/// What has to be stated, or put right, for people.
fn missing(proof: &Proof) -> (String, String) {
    let called = |name: &str| proof.words.get(name).cloned().unwrap_or_else(|| words::named(name));
    match &proof.answer {
        Answer::Missing(names) => {
            let called: Vec<Words> = names.iter().map(|name| called(name)).collect();
            let zh = called.iter().map(|words| words.zh.as_str()).collect::<Vec<_>>().join("、");
            let en = called.iter().map(|words| words.en.as_str()).collect::<Vec<_>>().join(", ");
            match proof.giver.as_str() {
                "" => (zh, en),
                giver => (format!("{zh}（未能从《{giver}》的核验中取得）"), format!("{en} ({giver} did not tell it)")),
            }
        }
        Answer::Refused { code, .. } if code.starts_with("AUTHORISATION_") => {
            let person = if proof.about == HOUSEHOLD { "applicant" } else { &proof.about };
            let Words { zh, en } = words::named(&format!("{person}.authorisation"));
            (format!("{zh}（需重新签署）"), format!("{en}, signed again"))
        }
        Answer::Refused { field, .. } => {
            let Words { zh, en } = called(words::head(field));
            (format!("更正后的{zh}"), format!("{en}, put right"))
        }
        _ => (String::new(), String::new()),
    }
}

/// The paper in both languages, and about whom, where that is not the applicant.
fn title(proof: &Proof) -> (String, String) {
    let Proof { proof: name, about, .. } = proof;
    match which(about) {
        None | Some(("applicant", _)) => (format!("《{name}》"), name.clone()),
        Some(_) => (format!("《{name}》（{}）", whom_zh(about)), format!("{name} ({about})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_says_something_in_both_languages_and_what_comes_next() {
        let outcomes = [
            Outcome::Asking,
            Outcome::Committed,
            Outcome::DoesNotMatch,
            Outcome::InformationMissing,
            Outcome::LeftOut,
            Outcome::MayCommit,
            Outcome::NotRequired,
            Outcome::PaperAccepted,
            Outcome::SubmitOnPaper,
        ];
        for outcome in outcomes {
            let proof = Proof { proof: "无房证明".into(), outcome, ..Proof::default() };
            let said = of(&proof);
            assert!(said.zh.contains("无房证明") && said.en.starts_with("无房证明"), "{said:?}");
            assert_eq!(said.next_zh.is_empty(), said.next_en.is_empty());
            let nothing_to_do = matches!(outcome, Outcome::LeftOut | Outcome::NotRequired | Outcome::PaperAccepted);
            assert_eq!(said.next_en.is_empty(), nothing_to_do, "{outcome:?}");
        }
        let second = Proof { proof: "出生医学证明".into(), about: "child-2".into(), ..Proof::default() };
        assert!(of(&second).zh.starts_with("《出生医学证明》（第2个子女）"), "{:?}", of(&second));
        assert!(of(&second).en.starts_with("出生医学证明 (child-2):"), "{:?}", of(&second));
        let answer = Answer::Missing(vec!["spouse.resident_id".into()]);
        let proof = Proof { outcome: Outcome::InformationMissing, answer, ..Proof::default() };
        assert!(of(&proof).zh.contains("配偶公民身份号码"));
        let proof = Proof { giver: "婚姻登记证明".into(), ..proof };
        let said = of(&proof);
        assert!(said.zh.contains("未能从《婚姻登记证明》的核验中取得"), "{said:?}");
        assert!(said.en.contains("identity number of the spouse (婚姻登记证明 did not tell it)"), "{said:?}");
    }

    #[test]
    fn what_is_missing_or_refused_is_called_as_people_call_it() {
        let called = |name: &str, zh: &str, en: &str| (name.to_owned(), Words { zh: zh.to_owned(), en: en.to_owned() });
        let words = [
            called("applicant.marital_status", "申请人婚姻状况", "Marital status of the applicant"),
            called("claims[0]", "申请人婚姻状况", "Marital status of the applicant"),
        ];
        let said = |answer: Answer| {
            let proof = Proof {
                proof: "婚姻状况证明".into(),
                about: "applicant".into(),
                outcome: Outcome::InformationMissing,
                answer,
                words: words.clone().into(),
                ..Proof::default()
            };
            of(&proof)
        };
        let refused = |code: &str, field: &str| Answer::Refused { code: code.to_owned(), field: field.to_owned() };
        for (answer, zh, en) in [
            (
                Answer::Missing(vec!["applicant.marital_status".into(), "spouse.resident_id".into()]),
                "还缺少：申请人婚姻状况、配偶公民身份号码。",
                "Marital status of the applicant, identity number of the spouse.",
            ),
            (
                Answer::Missing(vec!["child-2.authorisation".into()]),
                "还缺少：第2个子女签署的授权书。",
                "signed authorisation of child 2.",
            ),
            (
                refused("CLAIM_MALFORMED", "claims[0].operands[0]"),
                "还缺少：更正后的申请人婚姻状况。",
                "Marital status of the applicant, put right.",
            ),
            (
                refused("AUTHORISATION_EXPIRED", "authorisation.valid_until_ms"),
                "还缺少：申请人签署的授权书（需重新签署）。",
                "signed authorisation of the applicant, signed again.",
            ),
        ] {
            let said = said(answer);
            assert!(said.zh.ends_with(zh) && said.en.ends_with(en), "{said:?}");
        }
    }
}
