//! Rules about commitments to the state: who reads the whole directory recomputes them, and stops at one that is wrong. An
//! excerpt cannot; it holds statements against them with proofs (`bundle`).

use proto::registry::v1::State;

use super::{StatementError, fields::check_digest};
use crate::directory::{Directory, Reading};

pub(super) fn check(directory: &Directory, body: &State) -> Result<(), StatementError> {
    check_digest("root", &body.root)?;
    if directory.reading == Reading::Excerpt {
        return Ok(());
    }
    let here = directory.commitment();
    if body.directory_size != here.directory_size {
        let reason = format!("it covers {} statements, and {} are before it", body.directory_size, here.directory_size);
        return Err(StatementError::rule("directory_size", reason));
    }
    if body.objects != here.objects {
        let reason = format!("it says {}, and there are {}", body.objects, here.objects);
        return Err(StatementError::rule("objects", reason));
    }
    if body.root != here.root {
        return Err(StatementError::rule("root", "the state recomputed here has another root"));
    }
    Ok(())
}
