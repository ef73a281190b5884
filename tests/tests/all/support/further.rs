//! Further processes of a town: a department's second node, a relay. Started with the programs' own commands, ended when
//! they are let go of. Out of scope: what the harness starts itself.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use town::harness::{Town, eventually};

/// How long a process may take to be ready, on a machine that is busy.
const READY: Duration = Duration::from_secs(60);

/// A running program.
pub(crate) struct Further {
    child: Mutex<Child>,
    dir: PathBuf,
}

impl Further {
    /// Starts a program that writes its ready file into `dir`, and waits for that.
    pub(crate) async fn start(mut command: Command, dir: &Path) -> Self {
        let _ = fs::remove_file(dir.join("ready.json"));
        let log = File::options().create(true).append(true).open(dir.join("log")).expect("a log");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log again"))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let started = Self { child: Mutex::new(child), dir: dir.to_owned() };
        let ready = eventually(READY, async || {
            assert!(!started.has_ended(), "it ended: {}", started.log());
            fs::metadata(dir.join("ready.json")).is_ok_and(|file| file.len() > 0)
        })
        .await;
        assert!(ready, "it is not ready: {}", started.log());
        started
    }

    /// Starts `exchange-node` with these arguments.
    pub(crate) async fn node(town: &Town, arguments: &[&str], dir: &Path) -> Self {
        let mut command = Command::new(town.programs().exchange_node());
        command.args(arguments);
        Self::start(command, dir).await
    }

    /// What its ready file says.
    pub(crate) fn ready(&self) -> serde_json::Value {
        let text = fs::read(self.dir.join("ready.json")).expect("the ready file");
        serde_json::from_slice(&text).expect("JSON")
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.lock().expect("the process").id();
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).expect("its process id");
        kill_process(pid, signal).expect("the signal is sent");
    }

    /// Stops it (SIGTERM) and waits for its end.
    pub(crate) async fn stop(self) {
        self.signal(Signal::TERM);
        let ended = eventually(READY, async || self.has_ended()).await;
        assert!(ended, "it does not stop: {}", self.log());
    }

    /// Ends it at once (SIGKILL).
    pub(crate) fn kill(self) {
        self.end();
    }

    fn has_ended(&self) -> bool {
        self.child.lock().expect("the process").try_wait().expect("its state").is_some()
    }

    fn end(&self) {
        let mut child = self.child.lock().expect("the process");
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Further {
    fn drop(&mut self) {
        self.end();
    }
}

/// An address that nobody listens on now, on a loopback network of the test's own, so that no other test takes it.
pub(crate) fn free_address(host: &str) -> SocketAddr {
    let host = host.parse().expect("an IP address");
    TcpListener::bind(SocketAddr::new(host, 0)).and_then(|socket| socket.local_addr()).expect("a free port")
}
