//! What the fuzzer found worth keeping is run again on every run of the tests, and the seeds are what is in the folders.

use std::{collections::BTreeMap, fs, path::PathBuf};

use tests::fuzz::{TARGETS, run, seeds};

use crate::support::root;

fn corpus(target: &str) -> PathBuf {
    root().join("tests/fuzz/corpus").join(target)
}

#[test]
fn every_kept_input_holds_what_must_hold() {
    for target in TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus(target.name)).expect("the folder of kept inputs") {
            let path = entry.expect("an entry").path();
            // A panic's message names no file; this does.
            println!("{}", path.display());
            run(target.name, &fs::read(&path).expect("an input"));
            inputs += 1;
        }
        assert!(inputs > 0, "{} has no kept input", target.name);
    }
}

/// `ERRAND_FUZZ_SEEDS=1` writes them, after the wire or the fixture changed.
#[test]
fn the_seeds_are_those_of_today() {
    for target in TARGETS {
        let folder = corpus(target.name);
        let made: BTreeMap<String, Vec<u8>> = seeds(target.name).into_iter().collect();
        if std::env::var_os("ERRAND_FUZZ_SEEDS").is_some() {
            fs::create_dir_all(&folder).expect("a folder");
            made.iter().for_each(|(name, bytes)| fs::write(folder.join(name), bytes).expect("it is written"));
        }
        let is_seed = |name: &String| name.starts_with("seed-");
        let names = fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
        let names = names.map(|name| name.into_string().expect("a name")).filter(is_seed);
        let kept: BTreeMap<String, Vec<u8>> =
            names.map(|name| (name.clone(), fs::read(folder.join(name)).expect("an input"))).collect();
        assert!(kept == made, "{}: write them again with ERRAND_FUZZ_SEEDS=1", target.name);
    }
}
