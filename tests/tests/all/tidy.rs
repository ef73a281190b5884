//! Rules about the code itself: they hold offline, on every machine, and need no process.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_path_buf()
}

/// Every file that git knows or would add, with one of the endings.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    let listed = String::from_utf8(output.stdout).expect("file names are UTF-8");
    let files: Vec<PathBuf> = listed
        .lines()
        .filter(|line| endings.iter().any(|ending| line.ends_with(ending)))
        .map(|line| root().join(line))
        .filter(|path| path.is_file())
        .collect();
    assert!(!files.is_empty(), "no files with {endings:?}");
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn none_of(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

fn dependencies(package: &str) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "-e", "normal", "--prefix", "none", "-p", package])
        .current_dir(root())
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

#[test]
fn dependencies_run_one_way() {
    let never = [
        ("trust", &["tokio", "tonic", "sled", "rustls", "host", "registry", "exchange-node"][..]),
        ("proto", &["trust", "host"]),
        ("host", &["trust", "proto", "registry", "exchange-node"]),
        ("registry", &["exchange-node", "town"]),
        ("exchange-node", &["registry", "town"]),
    ];
    for (package, banned) in never {
        let tree = dependencies(package);
        assert!(tree.lines().count() > 3, "cargo tree says nothing of {package}");
        for line in tree.lines().skip(1) {
            let name = line.split_whitespace().next().unwrap_or_default();
            assert!(!banned.contains(&name), "{package} depends on {name}");
        }
    }
}

#[test]
fn every_source_file_says_what_it_is_for() {
    let found: Vec<_> = files(&[".rs"])
        .iter()
        .filter(|path| !read(path).starts_with("//! "))
        .map(|path| path.display().to_string())
        .collect();
    none_of("files that do not open with //!", &found);
}

#[test]
fn no_source_file_is_too_long_to_hold_in_mind() {
    let found: Vec<_> = files(&[".rs"])
        .iter()
        .map(|path| (path, read(path).lines().count()))
        .filter(|(_, lines)| *lines > 600)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    none_of("files over 600 lines", &found);
}

#[test]
fn nothing_is_left_unfinished_or_ignored() {
    // Put together here, so that this file does not find itself.
    let marks = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("#[ig", "nore"), concat!("FIX", "ME")];
    let mut found = Vec::new();
    for path in files(&[".rs", ".sh", ".py"]) {
        for (number, line) in read(&path).lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    none_of("unfinished or ignored", &found);
}

#[test]
fn nothing_committed_carries_a_path_of_one_machine() {
    let marks = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("\"/t", "mp/")];
    let mut found = Vec::new();
    for path in files(&[".rs", ".sh", ".py", ".toml", ".md", ".yaml", ".yml", ".proto", "run"]) {
        for (number, line) in read(&path).lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    none_of("paths of one machine", &found);
}

#[test]
fn every_message_and_field_of_the_wire_is_commented() {
    let mut found = Vec::new();
    for path in files(&[".proto"]) {
        let text = read(&path);
        let mut before = "";
        for (number, line) in text.lines().enumerate() {
            let code = line.trim();
            let declares = ["message ", "enum ", "service ", "rpc ", "oneof "].iter().any(|word| code.starts_with(word));
            let is_field = code.ends_with(';') && code.contains(" = ") && !code.starts_with("syntax");
            if (declares || is_field) && !before.starts_with("//") {
                found.push(format!("{}:{}: {code}", path.display(), number + 1));
            }
            before = code;
        }
    }
    none_of("fields without a comment", &found);
}

#[test]
fn the_protocol_page_lists_every_code_and_limit() {
    let page = read(&root().join("docs/protocol.md"));
    let missing: Vec<_> = trust::refusal::Code::ALL
        .iter()
        .map(|code| format!("| `{code}` |"))
        .filter(|row| !page.contains(row.as_str()))
        .collect();
    none_of("codes that docs/protocol.md does not list", &missing);
    for (what, limit) in [
        ("claims", trust::question::MOST_CLAIMS),
        ("inputs", trust::question::MOST_INPUTS),
        ("text", trust::question::LONGEST_TEXT),
        ("signatures", trust::envelope::MOST_SIGNATURES),
    ] {
        assert!(page.contains(&limit.to_string()), "docs/protocol.md does not give the limit of {what}: {limit}");
    }
    assert!(page.contains(&format!("| request | {} KiB |", trust::question::LARGEST_REQUEST / 1024)));
    assert!(page.contains(&format!("| answer | {} KiB |", trust::answer::LARGEST_ANSWER / 1024)));
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let mut found = Vec::new();
    for path in files(&[".md"]) {
        let text = read(&path);
        let folder = path.parent().expect("a folder");
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            let target = target.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !folder.join(target).exists() {
                found.push(format!("{}: {target}", path.display()));
            }
        }
    }
    none_of("links that lead nowhere", &found);
}

/// `unwrap` and `expect` outside tests say why they cannot fail.
#[test]
fn each_unwrap_outside_tests_says_why_it_is_safe() {
    let mut found = Vec::new();
    for path in files(&[".rs"]) {
        let name = path.display().to_string();
        let is_test = ["/tests/", "/tests.rs", "_tests.rs", "fixture.rs", "/examples/", "/build.rs"];
        if is_test.iter().any(|part| name.contains(part)) {
            continue;
        }
        let text = read(&path);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines: Vec<&str> = code.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.trim();
            let uses = (code.contains(".unwrap()") || code.contains(".expect(")) && !code.starts_with("//");
            let explained = lines[number.saturating_sub(8)..number].iter().any(|before| before.contains("// Unwrap safety:"));
            if uses && !explained {
                found.push(format!("{name}:{}: {code}", number + 1));
            }
        }
    }
    none_of("unwraps without a reason", &found);
}
