//! Papers that were taken in: for which proof of a case each is. Out of scope: what a paper comes to (`judge`).

use trust::refusal::{Code, Refusal};

use crate::case::{Case, Outcome, people::name_in_case};

/// Takes in papers; `about` says about whom, where the item asks for one of that name about several people. What the record
/// says otherwise no paper settles, unless the answer is doubted, or it puts a broken commitment right.
pub(super) fn take(case: &mut Case, papers: &[String], about: &str) -> Result<(), Refusal> {
    let about = name_in_case(about);
    for paper in papers {
        let named: Vec<usize> = (0..case.proofs.len())
            .filter(|index| case.proofs[*index].proof == *paper && !case.proofs[*index].identity)
            .collect();
        let asked_about = || {
            let people: Vec<&str> = named.iter().map(|index| case.proofs[*index].about.as_str()).collect();
            format!("the item asks for it about: {}", people.join(", "))
        };
        let is_meant = |index: &&usize| about.is_empty() || case.proofs[**index].about == about;
        let meant: Vec<usize> = named.iter().filter(is_meant).copied().collect();
        let unknown = |field: &str| Refusal::new(Code::ProofUnknown).at(field);
        let index = match meant.as_slice() {
            [index] => *index,
            [] if named.is_empty() => return Err(unknown("papers").because("the item asks for no such paper")),
            _ => return Err(unknown("papers_about").because(asked_about())),
        };
        let proof = &mut case.proofs[index];
        if proof.outcome == Outcome::DoesNotMatch && !proof.broken && !proof.repaired {
            return Err(Refusal::new(Code::PaperNotAccepted).at("papers"));
        }
        proof.paper = true;
    }
    case.settle();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{
        Proof,
        judge::{Answer, MISMATCH},
    };

    fn proof(about: &str) -> Proof {
        let answer = Answer::Unanswered("unreachable".to_owned());
        Proof { proof: "征信授权".to_owned(), about: about.to_owned(), answer, ..Proof::default() }
    }

    fn case(proofs: &[Proof]) -> Case {
        let mut case = Case { proofs: proofs.to_vec(), ..Case::default() };
        case.settle();
        case
    }

    fn outcomes(case: &Case) -> Vec<Outcome> {
        case.proofs.iter().map(|proof| proof.outcome).collect()
    }

    #[test]
    fn a_paper_is_one_persons() {
        let paper = ["征信授权".to_owned()];
        let mut two = case(&[proof("applicant"), proof("spouse")]);
        let unclear = take(&mut two, &paper, "").unwrap_err();
        assert_eq!((unclear.code, unclear.field.as_str()), (Code::ProofUnknown, "papers_about"));
        assert!(unclear.detail.contains("applicant, spouse"), "{unclear:?}");
        take(&mut two, &paper, "spouse").unwrap();
        assert_eq!(outcomes(&two), [Outcome::SubmitOnPaper, Outcome::PaperAccepted]);
        let mut children = case(&[proof("child"), proof("child-2")]);
        take(&mut children, &paper, "child-1").unwrap();
        assert_eq!(outcomes(&children), [Outcome::PaperAccepted, Outcome::SubmitOnPaper]);
        let mut one = case(&[proof("spouse")]);
        assert_eq!(take(&mut one, &paper, "applicant").unwrap_err().field, "papers_about");
        assert_eq!(take(&mut one, &["无房证明".to_owned()], "").unwrap_err().field, "papers");
        take(&mut one, &paper, "").unwrap();
        assert_eq!(outcomes(&one), [Outcome::PaperAccepted]);
    }

    #[test]
    fn a_paper_settles_what_the_record_says_otherwise_only_while_that_is_doubted() {
        let verdict = MISMATCH.to_owned();
        let answer = Answer::Verdict { verdict, by_absence: false, reason: String::new() };
        let wrong = Proof { answer: answer.clone(), ..proof("applicant") };
        let paper = ["征信授权".to_owned()];
        let mut sure = case(std::slice::from_ref(&wrong));
        assert_eq!(take(&mut sure, &paper, "").unwrap_err().code, Code::PaperNotAccepted);
        let mut doubted = case(&[Proof { doubted: true, ..wrong.clone() }]);
        assert_eq!(doubted.proofs[0].reason, "correction_open");
        take(&mut doubted, &paper, "").unwrap();
        assert_eq!(outcomes(&doubted), [Outcome::PaperAccepted]);
        // Once that is decided, what the record says counts again; also where it came after the paper.
        doubted.proofs[0].doubted = false;
        doubted.settle();
        assert_eq!(outcomes(&doubted), [Outcome::DoesNotMatch]);
        let mut away = case(&[proof("applicant")]);
        take(&mut away, &paper, "").unwrap();
        away.proofs[0].answer = answer;
        away.settle();
        assert_eq!(outcomes(&away), [Outcome::DoesNotMatch]);
        // Whoever broke a commitment brings the paper to put that right.
        let mut broken = case(&[Proof { broken: true, ..wrong.clone() }]);
        take(&mut broken, &paper, "").unwrap();
        assert_eq!(outcomes(&broken), [Outcome::PaperAccepted]);
        // It stays put right once that is said, and may be brought after it too.
        (broken.proofs[0].broken, broken.proofs[0].repaired) = (false, true);
        broken.settle();
        assert_eq!(outcomes(&broken), [Outcome::PaperAccepted]);
        let mut repaired = case(&[Proof { repaired: true, ..wrong }]);
        assert_eq!(outcomes(&repaired), [Outcome::DoesNotMatch]);
        take(&mut repaired, &paper, "").unwrap();
        assert_eq!(outcomes(&repaired), [Outcome::PaperAccepted]);
    }
}
