//! Rules about the code itself: they hold offline, on every machine, and need no process.

use std::{
    collections::HashSet,
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
        ("directory-reader", &["registry", "exchange-node", "town"]),
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
            let declares =
                ["message ", "enum ", "service ", "rpc ", "oneof "].iter().any(|word| code.starts_with(word));
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
    let (listener, edge) = (host::edge::ListenerLimits::default(), host::edge::EdgeLimits::default());
    let thousands = |number: usize| format!("{},{:03}", number / 1000, number % 1000);
    for row in [
        format!("| one message on the peer port | {} bytes;", thousands(exchange_node::peer_edge::LARGEST_MESSAGE)),
        format!("first bytes after it | {} s |", listener.handshake_timeout.as_secs()),
        format!("| connections in their handshake | {};", listener.max_half_open),
        format!(
            "| connections | {}, and {} from one",
            thousands(listener.max_connections),
            listener.max_connections_per_address
        ),
        format!("headers of one | {}, {} KiB |", edge.max_concurrent_streams, edge.max_header_list_bytes / 1024),
        format!("reading included | {} s |", edge.request_timeout.as_secs()),
        format!("cut off after {} s without progress", listener.write_stall.as_secs()),
        format!("anew after {} minutes, cut", edge.connection_age.as_secs() / 60),
        format!("cut off after {} |", listener.max_connection_age.as_secs() / 60),
        format!("| {} a second for each department;", exchange_node::config::Limits::default().unopened_per_second),
    ] {
        assert!(page.contains(&row), "docs/protocol.md does not say: {row}");
    }
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

/// The modules that are compiled for tests alone, as files and as the folders of what is within.
fn test_modules() -> HashSet<PathBuf> {
    let mut found = HashSet::new();
    for path in files(&[".rs"]) {
        let text = read(&path);
        let within = match path.file_stem().and_then(|stem| stem.to_str()) {
            Some("lib" | "main" | "mod") => path.parent().expect("a folder").to_path_buf(),
            _ => path.with_extension(""),
        };
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]") {
            let declared = pair[1].strip_suffix(';').and_then(|line| line.split_once("mod ")).map(|(_, name)| name);
            if let Some(name) = declared {
                found.insert(within.join(name));
                found.insert(within.join(format!("{name}.rs")));
            }
        }
    }
    assert!(found.len() > 20, "too few modules for tests were found: {found:?}");
    found
}

/// `unwrap` and `expect` outside tests say why they cannot fail.
#[test]
fn each_unwrap_outside_tests_says_why_it_is_safe() {
    let test_modules = test_modules();
    let mut found = Vec::new();
    for path in files(&[".rs"]) {
        let name = path.display().to_string();
        let is_test = ["/tests/", "fixture.rs", "/examples/", "/build.rs"].iter().any(|part| name.contains(part));
        if is_test || path.ancestors().any(|folder| test_modules.contains(folder)) {
            continue;
        }
        let text = read(&path);
        let mut lines: Vec<&str> = Vec::new();
        // Of what is compiled for tests alone, how far its first line is moved in.
        let mut skipping: Option<usize> = None;
        for (number, line) in text.lines().enumerate() {
            let (code, indent) = (line.trim(), line.len() - line.trim_start().len());
            if let Some(first) = skipping {
                let ends = indent == first && (code.ends_with(';') || code.ends_with(',') || code.starts_with('}'));
                skipping = skipping.filter(|_| !ends);
            } else if code == "#[cfg(test)]" {
                skipping = Some(indent);
            } else {
                let uses = (code.contains(".unwrap()") || code.contains(".expect(")) && !code.starts_with("//");
                let before = &lines[lines.len().saturating_sub(8)..];
                if uses && !before.iter().any(|before| before.contains("// Unwrap safety:")) {
                    found.push(format!("{name}:{}: {code}", number + 1));
                }
            }
            lines.push(line);
        }
    }
    none_of("unwraps without a reason", &found);
}
