//! An office system's webhook: keeps whatever it is told, and takes it or not. Out of scope: what it is told.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Whoever is told.
#[derive(Clone, Default)]
pub(crate) struct Receiver {
    /// Whether it takes notices.
    takes: Arc<Mutex<bool>>,
    /// Every notice that came, head and body, taken or not.
    notices: Arc<Mutex<Vec<(String, String)>>>,
}

impl Receiver {
    /// Listens from now on; at this address.
    pub(crate) async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = self.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let receiver = receiver.clone();
                tokio::spawn(async move {
                    let (mut request, mut buffer) = (Vec::new(), [0; 8192]);
                    let (head, body) = loop {
                        match stream.read(&mut buffer).await {
                            Ok(count @ 1..) => request.extend_from_slice(&buffer[..count]),
                            _ => return,
                        }
                        let text = String::from_utf8_lossy(&request).into_owned();
                        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                        let length = head.lines().find_map(|line| {
                            line.to_lowercase().strip_prefix("content-length: ").map(|length| length.parse::<usize>())
                        });
                        if length.and_then(Result::ok).is_some_and(|length| body.len() >= length) {
                            break (head.to_owned(), body.to_owned());
                        }
                    };
                    let takes = *receiver.takes.lock().unwrap();
                    receiver.notices.lock().unwrap().push((head, body));
                    let status = if takes { "204 No Content" } else { "503 Service Unavailable" };
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        format!("http://{address}/told")
    }

    /// Whether it takes notices from now on.
    pub(crate) fn take(&self, takes: bool) {
        *self.takes.lock().unwrap() = takes;
    }

    /// Every notice that came, head and body, taken or not.
    pub(crate) fn notices(&self) -> Vec<(String, String)> {
        self.notices.lock().unwrap().clone()
    }

    /// The notices of a kind, as often as they were taken.
    pub(crate) fn of(&self, kind: &str) -> Vec<Value> {
        let notices = self.notices();
        let bodies = notices.iter().map(|(_, body)| serde_json::from_str::<Value>(body).unwrap());
        bodies.filter(|body| body["type"] == kind).collect()
    }

    /// The ids in the notices, each once, in the order in which they came first.
    pub(crate) fn told(&self) -> Vec<String> {
        let mut told: Vec<String> = Vec::new();
        for (_, body) in self.notices.lock().unwrap().iter() {
            let id = serde_json::from_str::<Value>(body).unwrap()["data"]["id"].as_str().unwrap().to_owned();
            if !told.contains(&id) {
                told.push(id);
            }
        }
        told
    }
}
