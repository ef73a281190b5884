//! How many files and connections the process may have open. Shells and service managers allow 1,024 unless a program asks
//! for more, and it may ask for as much as the machine allows. Out of scope: what the places are used for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Asks for `wanted` open files; how many there may be now, which is less where the machine allows less (`ulimit -Hn`).
pub fn allow(wanted: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (now, most) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    let asked = wanted.min(most);
    if asked <= now {
        return now;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(asked), maximum }) {
        Ok(()) => asked,
        Err(error) => {
            tracing::warn!(%error, now, asked, "the machine does not allow as many open files as it says");
            now
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_allowed_as_are_asked_for_and_never_more_than_the_machine_allows() {
        let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let now = allow(0);
        assert_eq!(allow((now + 1).min(most)), (now + 1).min(most));
        assert_eq!(getrlimit(Resource::Nofile).current, Some((now + 1).min(most)));
        assert_eq!(allow(u64::MAX), most, "all there is");
        assert_eq!(allow(10), most, "never less than before");
    }
}
