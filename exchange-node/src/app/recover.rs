//! After a crash: what was answered with a duty, and stands in the evidence and not yet in the book that it belongs to. One walk
//! over the records; each answer is shown to the books that know such answers. Out of scope: reading the records back
//! (`recall`), and what the books keep (`clerk`, `subscriptions`).

use super::Error;
use crate::{clerk::Clerks, journal::RecordHead, subscriptions::GivenBook};

/// Looks through the records that bear a duty, the oldest first; how many answers the books did not know.
pub(super) async fn recover(owed: &[RecordHead], clerks: &Clerks, given: &GivenBook) -> Result<usize, Error> {
    let mut recovered = 0;
    for head in owed {
        let Some(answer) = head.answer_given() else { continue };
        let found = match head.about {
            None => [clerks.recover_deferral(answer).await?, given.recover_begun(answer).await?],
            Some(question) => {
                [clerks.recover_answer(question, answer).await?, given.recover_followed(question, answer).await?]
            }
        };
        recovered += found.into_iter().filter(|found| *found).count();
    }
    Ok(recovered)
}
