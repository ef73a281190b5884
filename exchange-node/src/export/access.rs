//! The proof of who agreed to what: an application and every decision on it, as both sides signed them, and the statements
//! that these rest on. It holds no question and no answer, so either side may hand it to anybody.

use prost::Message;
use proto::exchange::v1::{AccessProof, EvidenceBundle};
use trust::{
    bundle,
    directory::{AccessKey, Object},
};

use super::{
    Error, Exporter,
    statements::{Excerpt, Wanted},
};

impl Exporter {
    /// The exact bytes of an `exchange.v1.AccessProof`. Blocks.
    pub fn export_access(&self, key: &AccessKey) -> Result<Vec<u8>, Error> {
        let seen = self.view.seen();
        let directory = seen.directory();
        let access = directory.access(key).ok_or(Error::NoApplication)?;
        let mut wanted = Wanted::default();
        wanted.object("exchange");
        wanted.object("profile");
        // Whoever checks it with the key of today follows from here to the keys of then.
        wanted.object(&Object::Authority.to_string());
        wanted.object(&Object::Log.to_string());
        // What was carried over from a department that ended was agreed under that department's name.
        let mut origin = key;
        while let Some(carried) = directory.access_carried_from(origin) {
            origin = &carried.origin;
        }
        for department in [&key.provider, &key.consumer] {
            wanted.object(&Object::Department(department.clone()).to_string());
            for object in directory.relied_on_by_succession(department) {
                wanted.object(&object.to_string());
            }
        }
        for department in [&origin.provider, &origin.consumer] {
            wanted.object(&Object::Department(department.clone()).to_string());
        }
        let service = (&origin.provider, &access.applied.service, access.applied.major_version);
        wanted.object(&format!("service/{}/{}/{}", service.0, service.1, service.2));
        let object = Object::Access(origin.clone()).to_string();
        wanted.object(&object);
        let checkpoint = self.view.checkpoint();
        let entries = || -> Box<dyn Iterator<Item = _>> { Box::new(self.view.entries()) };
        let excerpt = Excerpt::read(&entries, &checkpoint, directory.committed(), wanted)?;
        let statements = EvidenceBundle {
            version: bundle::VERSION,
            exchange_id: self.config.exchange.to_string(),
            logs: Vec::new(),
            directory_checkpoint: checkpoint.to_string(),
            directory: excerpt.statements,
            state: excerpt.state,
        };
        let proof = AccessProof { version: bundle::access::VERSION, object, directory: Some(statements) };
        let bytes = proof.encode_to_vec();
        if bytes.len() > bundle::LARGEST_BUNDLE {
            return Err(Error::TooLarge { size: bytes.len() });
        }
        let report = bundle::access::verify(&bytes, &self.config.authority_key);
        if let Some(wrong) = report.wrong() {
            tracing::warn!(check = wrong.name, "an exported proof is not sound");
        }
        Ok(bytes)
    }
}
