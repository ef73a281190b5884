//! The system that owns a register and answers over HTTP: as little of one as possible, so that what is measured is the node.
//! Connections are kept, requests are `POST` with a JSON body. Out of scope: TLS, and everything that may go wrong.

use std::{collections::HashMap, path::Path, sync::Arc};

use anyhow::Context;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// The answer to each number.
type Rows = Arc<HashMap<String, String>>;

/// Serves the register in `csv` for as long as the program runs; its address.
pub(super) async fn start(csv: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(csv)?;
    let row = |line: &str| {
        let mut cells = line.split(',');
        let (number, status, registered) = (cells.next()?, cells.next()?, cells.next()?);
        let body = format!("{{\"rows\":[{{\"marital_status\":\"{status}\",\"registered_on\":\"{registered}\"}}]}}");
        Some((number.to_owned(), body))
    };
    let rows: Rows = Arc::new(text.lines().skip(1).filter_map(row).collect());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let rows = Arc::clone(&rows);
            // Whoever asked hangs up when it is done.
            tokio::spawn(async move { serve(stream, &rows).await });
        }
    });
    Ok(format!("http://{address}"))
}

async fn serve(stream: TcpStream, rows: &HashMap<String, String>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let asked: serde_json::Value = serde_json::from_slice(&body)?;
        let number = asked["number"].as_str().context("a number")?;
        let (status, body) = match rows.get(number) {
            Some(body) => ("200 OK", body.as_str()),
            None => ("404 Not Found", "{}"),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        stream.flush().await?;
    }
}
