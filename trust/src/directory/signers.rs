//! Whether whoever signed a statement may make it, and counts: role and owner fit (`rules`), the key is in force, neither
//! revoked nor out of its time, and its department is neither suspended nor at its end.

use proto::registry::v1::statement::Body;

use super::{Directory, Object, StatementError, chain, rules};
use crate::key::{KeyId, Role};

impl Directory {
    /// One signature by whoever is entitled is enough, but for the statements that change the keys everything rests on.
    pub(super) fn check_signers(
        &self,
        signers: &[KeyId],
        body: &Body,
        object: &Object,
        at_ms: u64,
    ) -> Result<(), StatementError> {
        if self.founding.is_none() {
            // Only the trusted key can have opened it.
            return Ok(());
        }
        if let Some(needed) = chain::needed_signers(self, body) {
            return needed?.check(signers);
        }
        let entitled = rules::entitled(self, body, object)?;
        let mut refused = StatementError::NotEntitled;
        for key_id in signers {
            match self.check_signer(key_id, &entitled, at_ms) {
                Ok(()) => return Ok(()),
                // Why an entitled key does not count says more than that another is not entitled.
                Err(StatementError::NotEntitled) => {}
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn check_signer(&self, key_id: &KeyId, entitled: &rules::Entitled, at_ms: u64) -> Result<(), StatementError> {
        let key = self.keys.get(key_id).ok_or(StatementError::NotEntitled)?;
        if !entitled.covers(key) {
            return Err(StatementError::NotEntitled);
        }
        let in_force = match key.described.role {
            Role::Authority => self.current_authority_key(),
            Role::Log => self.log_key(),
            Role::Department | Role::Node | Role::Recovery => Some(&key.described.key),
        };
        if in_force != Some(&key.described.key) {
            return Err(StatementError::KeyNotValid { reason: "another key has taken its place" });
        }
        if key.revoked.as_ref().is_some_and(|revocation| revocation.index.is_some()) {
            return Err(StatementError::KeyNotValid { reason: "it was revoked" });
        }
        if at_ms < key.described.valid_from_ms {
            return Err(StatementError::KeyNotValid { reason: "it is not valid yet" });
        }
        if key.described.valid_until_ms.is_some_and(|until_ms| at_ms >= until_ms) {
            return Err(StatementError::KeyNotValid { reason: "it is no longer valid" });
        }
        let department = key.department.as_ref().and_then(|id| self.departments.get(id));
        if department.is_some_and(|department| department.suspended.is_some()) {
            return Err(StatementError::KeyNotValid { reason: "its department is suspended" });
        }
        if department.is_some_and(|department| department.may_not_speak(at_ms)) {
            return Err(StatementError::KeyNotValid { reason: "its department has ended" });
        }
        Ok(())
    }
}
