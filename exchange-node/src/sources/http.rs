//! Records behind an HTTP endpoint: the system that owns the data answers. A question is a POST with a JSON body, made from
//! a template; the answer is JSON, and pointers say where in it the rows and their columns are.
//!
//! **Invariant:** the subject stands in the body alone. An address ends up in the logs of every machine on the way, so
//! nothing about anybody is ever put into it.
//!
//! **Invariant:** what is not exactly the answer that was configured is trouble: another status, another type, a cut or
//! overlong body, a redirect, a null in the rows' place. That a person is not known has to be said in the way that the
//! configuration names.
//!
//! Out of scope: bounds on time and number ([`super::guard`]), what a cell means ([`super::mapping`]).

pub(crate) mod connect;
mod json;
mod template;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use trust::{service::Service, value::Value};

use self::{connect::Connector, json::Document, template::Template};
use super::{
    Asked, Examined, FoundColumn, Source, Work,
    fields::Table,
    raw::{Fetched, Shape, Trouble},
    settings::Bounds,
    sql::{Password, example_subject},
};

/// The largest answer, in KiB, where the settings do not say otherwise.
const USUAL_LARGEST_KIB: usize = 256;

/// How to reach an endpoint.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Where it is; a service's path is put behind it.
    pub url: Uri,
    /// The certificates that are believed, PEM; needed for https.
    pub ca_file: Option<std::path::PathBuf>,
    /// The client's certificate and its key, PEM, where the endpoint wants one.
    pub identity: Option<(std::path::PathBuf, std::path::PathBuf)>,
    /// A file with the token that is sent as `Authorization: Bearer`.
    pub token: Password,
    /// The largest answer, in bytes.
    pub largest: usize,
}

impl HttpSettings {
    /// Reads the fields of a source.
    pub(super) fn read(table: &Table<'_, '_>) -> Option<Self> {
        let url = table.needed_text("url");
        let ca_file = table.text("ca_file").map(Into::into);
        let certificate = table.text("client_certificate_file").map(std::path::PathBuf::from);
        let key = table.text("client_key_file").map(std::path::PathBuf::from);
        let token = table.text("token_file").map_or(Password::None, |file| Password::File(file.into()));
        let largest = table.number("largest_answer_kib", 1..=65_536).and_then(|kib| usize::try_from(kib).ok());
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                table.mistake("client_certificate_file", "stands with client_key_file, or not at all");
                None
            }
        };
        let url = check_url(&url).map_err(|reason| table.has("url").then(|| table.mistake("url", reason))).ok()?;
        if url.scheme_str() == Some("https") && ca_file.is_none() {
            table.mistake("url", "with https, ca_file says whose certificates are believed");
        }
        Some(Self { url, ca_file, identity, token, largest: largest.unwrap_or(USUAL_LARGEST_KIB) * 1024 })
    }
}

/// An address that may be asked.
pub(crate) fn check_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("is no address: {error}"))?;
    let host = url.host().unwrap_or_default();
    match url.scheme_str() {
        Some("https") => {}
        Some("http") if super::sql::is_near(host.trim_matches(['[', ']'])) => {}
        Some("http") => return Err("must begin with https://: records would travel in the clear".to_owned()),
        _ => return Err("must begin with https://".to_owned()),
    }
    if host.is_empty() || url.query().is_some() || text.contains(['{', '@', '#']) {
        return Err(
            "must be host and path alone: what is asked stands in the body, because addresses are logged".to_owned()
        );
    }
    Ok(url)
}

/// What is asked of an endpoint for one service, and where its answer says what.
#[derive(Clone, Debug)]
pub struct HttpAsk {
    path: String,
    body: Template,
    rows: String,
    /// For each column, where in a row it stands.
    pointers: Vec<(String, String)>,
    no_rows_status: Vec<StatusCode>,
    null_means_no_rows: bool,
    /// What stands where in an answer when all is well.
    success: Vec<(String, String)>,
    /// The inputs of the question that is about nobody, at the start.
    example_inputs: Vec<(String, String)>,
}

impl HttpAsk {
    /// Reads the fields of a service.
    pub(super) fn read(table: &Table<'_, '_>) -> Option<Self> {
        let path = table.text("path").unwrap_or_default();
        let is_path = path.is_empty() || (path.starts_with('/') && !path.contains(['?', '#', ':', '{', ' ']));
        if !is_path {
            table.mistake(
                "path",
                "must be a path that begins with /, without parameters: what is asked stands in the body",
            );
        }
        let body = Template::parse(&table.needed_text("body"));
        let rows = table.text("rows").unwrap_or_default();
        let pointers = table.pairs("pointers").unwrap_or_default().into_iter().collect::<Vec<_>>();
        let statuses = table.texts("no_rows_status").unwrap_or_default();
        let status = |text: &String| text.parse::<StatusCode>().ok().filter(|status| status.is_client_error());
        let no_rows_status = statuses.iter().filter_map(status).collect::<Vec<_>>();
        if no_rows_status.len() != statuses.len() {
            table.mistake("no_rows_status", "must be texts from \"400\" to \"499\", such as [\"404\"]");
        }
        let example_inputs = table.pairs("example_inputs").unwrap_or_default().into_iter().collect::<Vec<_>>();
        let is_pointer = |pointer: &str| pointer.is_empty() || pointer.starts_with('/');
        if !is_pointer(&rows) {
            table.mistake(
                "rows",
                "must be a JSON Pointer, such as /data/rows; empty where the answer itself is the rows",
            );
        }
        if pointers.is_empty() {
            table.mistake("pointers", "must say where in a row each column stands: { income = \"/income/amount\" }");
        }
        if let Some((column, _)) = pointers.iter().find(|(_, pointer)| !is_pointer(pointer)) {
            table.mistake("pointers", format!("{column}: must be a JSON Pointer, such as /income/amount"));
        }
        let null_means_no_rows = table.flag("null_means_no_rows").unwrap_or(false);
        let success = table.pairs("success").unwrap_or_default().into_iter().collect::<Vec<_>>();
        if let Some((pointer, _)) = success.iter().find(|(pointer, _)| !is_pointer(pointer)) {
            table.mistake("success", format!("{pointer}: must be a JSON Pointer, such as {{ \"/code\" = \"0\" }}"));
        }
        match body {
            Ok(body) => {
                Some(Self { path, body, rows, pointers, no_rows_status, null_means_no_rows, success, example_inputs })
            }
            Err(reason) => {
                if table.has("body") {
                    table.mistake("body", reason);
                }
                None
            }
        }
    }
}

/// An endpoint with its connections. None is opened before somebody asks.
#[derive(Clone)]
pub struct Endpoint {
    client: Client<Connector, Full<Bytes>>,
    url: Uri,
    authorization: Option<HeaderValue>,
    largest: usize,
}

impl Endpoint {
    /// # Errors
    /// Where a file cannot be read or used.
    pub fn new(settings: &HttpSettings, bounds: Bounds, dir: &Path) -> Result<Self, String> {
        let connector = Connector::new(settings, dir)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(std::time::Duration::from_secs(30))
            .pool_max_idle_per_host(bounds.at_once)
            .build(connector);
        let authorization =
            match settings.token.read(dir).map_err(|error| error.replace("password_file", "token_file"))? {
                None => None,
                Some(token) => {
                    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.as_str()))
                        .map_err(|_| "token_file: holds more than a token".to_owned())?;
                    value.set_sensitive(true);
                    Some(value)
                }
            };
        Ok(Self { client, url: settings.url.clone(), authorization, largest: settings.largest })
    }

    /// The endpoint, asked for one service.
    pub fn asked_by(&self, ask: HttpAsk) -> HttpSource {
        HttpSource { endpoint: self.clone(), ask: Arc::new(ask) }
    }
}

/// An endpoint asked for one service.
#[derive(Clone)]
pub struct HttpSource {
    endpoint: Endpoint,
    ask: Arc<HttpAsk>,
}

impl HttpSource {
    fn uri(&self) -> String {
        format!("{}{}", self.endpoint.url.to_string().trim_end_matches('/'), self.ask.path)
    }

    async fn fetch(&self, asked: &Asked) -> Result<Fetched, Trouble> {
        let body = self.ask.body.fill(asked)?;
        let wrong = |reason: String| Trouble::Wrong(format!("{}: {reason}", self.uri()));
        let down = |reason: String| Trouble::Down(format!("{}: {reason}", self.uri()));
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.uri())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json");
        if let Some(authorization) = &self.endpoint.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| wrong(error.to_string()))?;
        let answer = self.endpoint.client.request(request).await;
        let answer = answer.map_err(|error| down(format!("it cannot be reached: {}", causes(&error))))?;
        let status = answer.status();
        let nothing = || Fetched { columns: self.columns(), rows: Vec::new() };
        if self.ask.no_rows_status.contains(&status) {
            return Ok(nothing());
        }
        match status {
            StatusCode::OK => {}
            status if status.is_redirection() => {
                return Err(wrong(format!("it sends elsewhere ({status}); nobody is followed: give the right url")));
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                return Err(down(format!("it answers {status}")));
            }
            status if status.is_server_error() => return Err(down(format!("it answers {status}"))),
            status => return Err(wrong(format!("it answers {status}"))),
        }
        let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind != "application/json" && !kind.ends_with("+json") {
            return Err(wrong("its answer is not called JSON (Content-Type)".to_owned()));
        }
        let body = Limited::new(answer.into_body(), self.endpoint.largest).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => wrong(format!("its answer is larger than {} KiB", self.endpoint.largest / 1024)),
            None => down("its answer broke off".to_owned()),
        })?;
        let document = Document::parse(&body.to_bytes()).map_err(|reason| wrong(reason.to_owned()))?;
        document.check(&self.ask.success).map_err(wrong)?;
        let rows = document.rows(&self.ask.rows, self.ask.null_means_no_rows, &self.ask.pointers).map_err(wrong)?;
        Ok(Fetched { columns: self.columns(), rows })
    }

    /// The question about nobody: whether it is answered in the way that was configured shows in no other way.
    async fn probe(&self, service: Arc<Service>) -> Result<(), Trouble> {
        let example = |(name, text): &(String, String)| {
            let input = service.inputs.iter().find(|input| input.name == *name);
            let value = input.and_then(|input| Value::read(text, &input.ty).ok());
            let none =
                || Trouble::Wrong(format!("example_inputs: {name} is no input of the service, or not of its type"));
            value.map(|value| (name.clone(), value)).ok_or_else(none)
        };
        let inputs = self.ask.example_inputs.iter().map(example).collect::<Result<Vec<_>, _>>()?;
        let lacks = service
            .inputs
            .iter()
            .find(|input| input.required && !inputs.iter().any(|(name, _)| *name == input.name))
            .map(|input| input.name.clone());
        let subject = example_subject(&service)?;
        match (self.fetch(&Asked { service, subject, inputs }).await, lacks) {
            (Err(Trouble::Wrong(reason)), Some(name)) => Err(Trouble::Wrong(format!(
                "{reason}; it was asked without the input {name}: where it needs that, give example_inputs"
            ))),
            (outcome, _) => outcome.map(drop),
        }
    }

    fn columns(&self) -> Vec<String> {
        self.ask.pointers.iter().map(|(column, _)| column.clone()).collect()
    }
}

impl Source for HttpSource {
    fn fetch(&self, asked: Asked) -> Work<Result<Fetched, Trouble>> {
        let source = self.clone();
        Box::pin(async move { Self::fetch(&source, &asked).await })
    }

    fn examine(&self, service: Arc<Service>) -> Work<Result<Examined, Trouble>> {
        let source = self.clone();
        Box::pin(async move {
            source.probe(service).await?;
            let found = |name: String| FoundColumn { name, shape: Shape::Unknown, nullable: None };
            Ok(Examined { columns: source.columns().into_iter().map(found).collect(), remarks: Vec::new() })
        })
    }

    /// The connection is closed, which the other side sees.
    fn ends_with_its_asker(&self) -> bool {
        true
    }

    fn selects_by(&self, name: &str) -> bool {
        self.ask.body.uses(name)
    }

    fn describe(&self) -> String {
        format!("POST {} {}", self.uri(), self.ask.body)
    }
}

/// An error with what caused it; none of them knows what was asked.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
