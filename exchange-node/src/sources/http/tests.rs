//! An endpoint that answers, and one that fails in every way that an endpoint can.

use std::{sync::Mutex, time::Duration};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{
    records::tests::{number, resident, service},
    sources::{fields::Reading, raw::Raw},
};

const INCOME: &str = "service: income\nversion: 1.0\nname: {zh: 收入}\nsubject: [resident_id]\nsharing: conditional\n\
    legal_basis: [税收征收管理法 34]\nupdate_cycle: daily\nattributes:\n\
    \x20 annual_income: {type: decimal, operators: [at_most]}\n\x20 name: {type: string, operators: [equals]}\n\
    inputs:\n  year: {type: integer}\n";

const ASK: &str = "path = \"/income\"\nbody = '{\"who\": {\"number\": \":subject\"}, \"year\": \":year\", \"kind\": \"all\"}'\n\
    rows = \"/data\"\npointers = { annual_income = \"/amount\", name = \"/person/name\" }\n";

fn asked() -> Asked {
    let service = Arc::new(service(INCOME));
    Asked { service, subject: resident(1), inputs: vec![("year".to_owned(), trust::value::Value::Integer(2025))] }
}

/// Reads settings of a source and of a service.
fn source(url: &str, more: &str, ask: &str, dir: &Path) -> Result<HttpSource, String> {
    let settings = Reading::of(&format!("url = \"{url}\"\n{more}"), |table| HttpSettings::read(table));
    let ask = Reading::of(ask, |table| HttpAsk::read(table));
    let (settings, ask) = match (settings, ask) {
        (Ok(Some(settings)), Ok(Some(ask))) => (settings, ask),
        (settings, ask) => return Err(format!("{:?} {:?}", settings.err(), ask.err())),
    };
    Ok(Endpoint::new(&settings, Bounds::default(), dir)?.asked_by(ask))
}

/// A server that gives `answer` to every request, and keeps the requests.
async fn server(answer: Vec<u8>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (answer, kept) = (answer.clone(), Arc::clone(&kept));
            tokio::spawn(async move { serve(stream, &answer, &kept).await });
        }
    });
    (format!("http://{address}/api"), requests)
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8], kept: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.unwrap_or(0);
        request.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let is_whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            length.is_some_and(|length| body.len() >= length.parse().unwrap())
        });
        if is_whole || count == 0 {
            kept.lock().unwrap().push(text);
            break;
        }
    }
    if answer == b"never" {
        std::future::pending::<()>().await;
    }
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
}

fn answer(status: &str, kind: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn json(body: &str) -> Vec<u8> {
    answer("200 OK", "application/json; charset=utf-8", body)
}

#[tokio::test]
async fn the_subject_stands_in_the_body_and_the_rows_are_read_by_pointer() {
    let (url, requests) = server(json(
        "{\"data\":[{\"amount\":48000.50,\"person\":{\"name\":\"张三\"}},{\"amount\":null,\"person\":{}}]}",
    ))
    .await;
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let source = source(&url, "token_file = \"token\"", ASK, dir.path()).unwrap();
    let fetched = source.fetch(&asked()).await.unwrap();
    assert_eq!(fetched.columns, ["annual_income", "name"]);
    assert!(fetched.rows[0] == [Raw::Number("48000.50".into()), Raw::Text("张三".into())]);
    assert!(fetched.rows[1][0] == Raw::Null && matches!(fetched.rows[1][1], Raw::Foreign(_)));
    let request = requests.lock().unwrap()[0].clone();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /api/income HTTP/1.1\r\n"), "{head}");
    assert!(!head.contains(&number(1)), "the number stands in the head");
    assert!(head.to_ascii_lowercase().contains("authorization: bearer s3cret"));
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body, serde_json::json!({ "who": { "number": number(1) }, "year": 2025, "kind": "all" }));
    assert!(!source.describe().contains(&number(1)) && !source.describe().contains("s3cret"));
}

#[tokio::test]
async fn an_endpoint_that_needs_an_input_is_looked_at_with_an_example_of_it() {
    let needed = Arc::new(service(&INCOME.replace("{type: integer}", "{type: integer, required: true}")));
    let dir = tempfile::tempdir().unwrap();
    let (url, requests) = server(json("{\"data\":[]}")).await;
    let with = format!("{ASK}example_inputs = {{ year = \"2025\" }}\n");
    let looked = source(&url, "", &with, dir.path()).unwrap().examine(Arc::clone(&needed)).await;
    assert!(looked.is_ok(), "{looked:?}");
    let request = requests.lock().unwrap()[0].clone();
    let body: serde_json::Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["year"], 2025);
    let wrong = format!("{ASK}example_inputs = {{ month = \"1\" }}\n");
    let looked = source(&url, "", &wrong, dir.path()).unwrap().examine(Arc::clone(&needed)).await;
    assert!(looked.unwrap_err().to_string().contains("example_inputs: month"));
    assert_eq!(requests.lock().unwrap().len(), 1, "nothing was asked");
    // Without it the operator reads what may be missing.
    let (url, _) = server(answer("400 Bad Request", "application/json", "{}")).await;
    let looked = source(&url, "", ASK, dir.path()).unwrap().examine(needed).await;
    let reason = looked.unwrap_err().to_string();
    assert!(reason.contains("400") && reason.contains("without the input year"), "{reason}");
}

#[tokio::test]
async fn every_failure_is_trouble_and_no_absence() {
    let row = "{\"data\":[{\"amount\":1,\"person\":{\"name\":\"x\"}}]}";
    let cut = [&json(row)[..json(row).len() - 7]].concat();
    let huge = json(&format!("{{\"data\":[],\"filler\":\"{}\"}}", "x".repeat(300 * 1024)));
    let chunked =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"dat".to_vec();
    let elsewhere = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec();
    let cases = [
        ("server error", answer("500 Internal Server Error", "application/json", row), "it answers 500", true),
        ("unavailable", answer("503 Service Unavailable", "text/html", ""), "it answers 503", true),
        ("too many", answer("429 Too Many Requests", "text/html", ""), "it answers 429", true),
        ("not allowed", answer("403 Forbidden", "application/json", row), "it answers 403", false),
        ("not found", answer("404 Not Found", "application/json", "{}"), "it answers 404", false),
        ("another success", answer("204 No Content", "application/json", ""), "it answers 204", false),
        ("a page", answer("200 OK", "text/html", row), "is not called JSON", false),
        ("garbage", json("\u{1f}\u{8b}garbage"), "is no JSON", false),
        ("two documents", json(&format!("{row}{row}")), "is no JSON", false),
        ("an error inside", json("{\"code\":500,\"data\":null}"), "is null, which may be an error", false),
        ("no rows there", json("{\"rows\":[]}"), "has nothing at \"/data\"", false),
        ("a row that is none", json("{\"data\":[7]}"), "is no object", false),
        ("cut off", cut, "broke off", true),
        ("cut off between pieces", chunked, "broke off", true),
        ("huge", huge, "larger than 256 KiB", false),
        ("no HTTP", b"SSH-2.0-OpenSSH\r\n".to_vec(), "it cannot be reached", true),
        ("nothing", Vec::new(), "it cannot be reached", true),
        ("elsewhere", elsewhere, "it sends elsewhere", false),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (name, answer, expected, is_down) in cases {
        let (url, _) = server(answer).await;
        let trouble = source(&url, "", ASK, dir.path()).unwrap().fetch(&asked()).await.unwrap_err();
        assert!(trouble.to_string().contains(expected), "{name}: {trouble}");
        assert_eq!(matches!(trouble, Trouble::Down(_)), is_down, "{name}: {trouble}");
        assert!(!trouble.to_string().contains(&number(1)), "{name}: the number is repeated");
    }
    // Where the operator has said what stands in an answer when all is well, nothing else is believed, rows or none.
    let told = format!("{ASK}null_means_no_rows = true\nsuccess = {{ \"/code\" = \"0\" }}\n");
    for body in ["{\"code\":500,\"data\":null}", "{\"code\":\"500\",\"data\":[]}", "{\"data\":[]}", row] {
        let (url, _) = server(json(body)).await;
        let trouble = source(&url, "", &told, dir.path()).unwrap().fetch(&asked()).await.unwrap_err();
        assert!(matches!(&trouble, Trouble::Wrong(reason) if reason.contains("(success)")), "{body}: {trouble}");
    }
    for body in ["{\"code\":0,\"data\":null}", "{\"code\":\"0\",\"data\":[]}"] {
        let (url, _) = server(json(body)).await;
        let fetched = source(&url, "", &told, dir.path()).unwrap().fetch(&asked()).await.unwrap();
        assert!(fetched.rows.is_empty(), "{body}");
    }
    let nobody = source("http://127.0.0.1:1/api", "", ASK, dir.path()).unwrap().fetch(&asked()).await.unwrap_err();
    assert!(matches!(nobody, Trouble::Down(_)), "{nobody}");
}

#[tokio::test]
async fn a_slow_endpoint_is_given_up() {
    let (url, _) = server(b"never".to_vec()).await;
    let dir = tempfile::tempdir().unwrap();
    let source = source(&url, "", ASK, dir.path()).unwrap();
    let bounds = Bounds { timeout: Duration::from_millis(300), ..Bounds::default() };
    let guard = crate::sources::guard::Guard::new(bounds, Arc::new(host::clock::MockClock::at(1)));
    let asked = asked();
    let slow = guard.ask(async move { source.fetch(&asked).await }).await.unwrap_err();
    assert!(slow.to_string().contains("longer than 300 ms"), "{slow}");
}

#[tokio::test]
async fn not_found_means_no_record_only_where_that_was_said() {
    let (url, _) = server(answer("404 Not Found", "text/plain", "nobody")).await;
    let dir = tempfile::tempdir().unwrap();
    let told = format!("{ASK}no_rows_status = [\"404\"]\n");
    let fetched = source(&url, "", &told, dir.path()).unwrap().fetch(&asked()).await.unwrap();
    assert_eq!((fetched.columns.len(), fetched.rows.len()), (2, 0));
    let (url, _) = server(json("{\"data\":[]}")).await;
    assert!(source(&url, "", ASK, dir.path()).unwrap().fetch(&asked()).await.unwrap().rows.is_empty());
}

#[tokio::test]
async fn only_who_is_believed_is_asked_and_the_client_shows_who_it_is() {
    let authority = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = parameters.self_signed(&key).unwrap();
        (rcgen::Issuer::new(parameters, key), certificate)
    };
    let leaf = |issuer: &rcgen::Issuer<'_, rcgen::KeyPair>| {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (parameters.signed_by(&key, issuer).unwrap(), key)
    };
    let ((ca, ca_certificate), (_, other_certificate)) = (authority("one"), authority("other"));
    let (server_certificate, server_key) = leaf(&ca);
    let (client_certificate, client_key) = leaf(&ca);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca_certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server_certificate.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, &json("{\"data\":[]}"), &Mutex::default()).await;
                }
            });
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::set_permissions(dir.path().join(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    write("ca.pem", ca_certificate.pem());
    write("other.pem", other_certificate.pem());
    write("client.pem", client_certificate.pem());
    write("client.key", client_key.serialize_pem());
    let url = format!("https://localhost:{port}/");
    let identity = "client_certificate_file = \"client.pem\"\nclient_key_file = \"client.key\"\n";
    let ask = |more: String| source(&url, &more, ASK, dir.path()).unwrap();
    assert!(ask(format!("ca_file = \"ca.pem\"\n{identity}")).fetch(&asked()).await.unwrap().rows.is_empty());
    for more in [format!("ca_file = \"other.pem\"\n{identity}"), "ca_file = \"ca.pem\"\n".to_owned()] {
        let trouble = ask(more.clone()).fetch(&asked()).await.unwrap_err();
        assert!(matches!(trouble, Trouble::Down(_)), "{more}: {trouble}");
    }
    // Another name than the certificate's.
    let by_number =
        source(&url.replace("localhost", "127.0.0.1"), &format!("ca_file = \"ca.pem\"\n{identity}"), ASK, dir.path());
    assert!(by_number.unwrap().fetch(&asked()).await.is_err());
    std::fs::set_permissions(dir.path().join("client.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    let open = source(&url, &format!("ca_file = \"ca.pem\"\n{identity}"), ASK, dir.path()).err().unwrap();
    assert!(open.contains("others can read it"), "{open}");
}

#[test]
fn settings_that_would_tell_the_network_whom_a_question_is_about_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for url in [
        "http://tax.example/api",
        "https://tax.example/api?number={subject}",
        "https://tax.example/api?number=:subject",
        "https://user:secret@tax.example/",
        "ftp://127.0.0.1/",
        "tax.example",
    ] {
        assert!(source(url, "ca_file = \"ca.pem\"", ASK, dir.path()).is_err(), "{url}");
    }
    for (from, to) in [
        ("path = \"/income\"", "path = \"/income/:subject\""),
        ("path = \"/income\"", "path = \"/income?a=b\""),
        ("\":subject\"", "\"subject\""),
        ("pointers = {", "no_rows_status = [\"500\"]\npointers = {"),
        ("\"/amount\"", "\"amount\""),
        ("rows = \"/data\"", "rows = \"data\""),
    ] {
        assert!(ASK.contains(from), "{from}");
        let wrong = source("http://127.0.0.1:1/", "", &ASK.replacen(from, to, 1), dir.path());
        assert!(wrong.is_err(), "{to}");
    }
}
