//! The office port over HTTP, as a department's program calls it: by `curl`, which nobody here wrote. Out of scope: what is
//! asked.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The headers, by their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// A problem of RFC 9457; its code.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.headers.get("content-type").map(String::as_str), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        for field in ["type", "title", "detail", "code", "next_step"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {problem}");
        }
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A call to be made.
pub(crate) struct Call {
    command: Command,
}

impl Call {
    /// `method` at `url`.
    pub(crate) fn new(method: &str, url: &str) -> Self {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--include", "--max-time", "90", "--noproxy", "*"]);
        // HEAD has no body to wait for.
        if method == "HEAD" {
            command.arg("--head")
        } else {
            command.args(["--request", method])
        };
        command.arg(url);
        Self { command }
    }

    /// With the API key.
    pub(crate) fn key(self, key: &str) -> Self {
        self.header(&format!("Authorization: Bearer {key}"))
    }

    /// With a header.
    pub(crate) fn header(mut self, header: &str) -> Self {
        self.command.args(["--header", header]);
        self
    }

    /// With a body of JSON.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("Content-Type: application/json").body(&body.to_string())
    }

    /// With a body.
    pub(crate) fn body(mut self, body: &str) -> Self {
        // curl waits for `100 Continue` otherwise, where the body is large.
        self.command.args(["--header", "Expect:", "--data-binary", body]);
        self
    }

    /// With arguments of curl's own.
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// What came back; a curl that fails is said.
    pub(crate) fn send(self) -> Answer {
        self.try_send().unwrap_or_else(|error| panic!("{error}"))
    }

    /// What came back, or what curl said.
    pub(crate) fn try_send(mut self) -> Result<Answer, String> {
        let output = self.command.output().expect("curl runs");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let end = output.stdout.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("the end of the headers");
        let head = String::from_utf8_lossy(&output.stdout[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": "));
        Ok(Answer {
            status: status.expect("a status"),
            headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
            body: output.stdout[end + 4..].to_vec(),
        })
    }
}
