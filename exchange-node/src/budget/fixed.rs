//! Whether a published item fixes what a claim tries: everybody sees it in the directory before anybody asks it, and it is
//! the same for every subject. The asker's word for it counts for nothing. An item that lists many bounds, or one version of it
//! after the other, would still be a search: so a fixed claim has a budget of its own (`guesses`). Out of scope: what items
//! are (`trust::directory`).

use trust::{claim::Claim, directory::Directory, question::Question, service::Service};

/// Whether the item that the question names and proves fixes this claim of this service.
pub(super) fn is_fixed(
    directory: &Directory,
    question: &Question,
    service: &Service,
    claim: &Claim,
    now_ms: u64,
) -> bool {
    let Some(purpose) = question.wire.purpose.as_ref().filter(|_| claim.fixed_by_item()) else { return false };
    let consumer = question.sender.department();
    // By the digest that was signed: the question stands on that statement, and it is the one in force. One version at a
    // time, or many of them would be as many guesses.
    let in_force = directory.item_at(consumer, &purpose.item, now_ms);
    let Some(version) = in_force.filter(|item| item.statement.as_bytes() == purpose.item_statement.as_slice()) else {
        return false;
    };
    let item = version.published.read();
    let Some(rule) = service.attributes.get(claim.attribute()) else { return false };
    let asked_of = format!("{}/{}", service.id.department, service.id.service);
    let of_service = item.proofs.iter().filter(|proof| {
        proof.answered_by == asked_of && proof.major_version == service.id.major && proof.value_from.is_empty()
    });
    of_service.filter_map(|proof| proof.claim.as_ref()).any(|fixed| {
        Claim::from_proto(fixed, rule.ty()).is_ok_and(|fixed| {
            fixed.attribute() == claim.attribute()
                && fixed.operator() == claim.operator()
                && fixed.operands() == claim.operands()
        })
    })
}
