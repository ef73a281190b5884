//! MariaDB for tests, started by the tests themselves: a server of its own for each that asks, as a plain user, on a socket
//! of its own. Out of scope: installing it (`tests/run.sh`); a machine without it skips, aloud.

#![allow(dead_code)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long a server may take to start on a busy machine.
const SLOWEST_START: Duration = Duration::from_secs(120);

/// The database.
pub(crate) const DATABASE: &str = "errand";

/// Who asks: may read, and call functions.
pub(crate) const READER: &str = "reader";

/// The reader's password.
pub(crate) const PASSWORD: &str = "only-to-read";

/// Where Debian keeps the server.
const SERVER: &str = "/usr/sbin/mariadbd";

/// A running server. It ends with the test.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    process: Option<Child>,
}

/// A new server with an empty database; `None` where MariaDB is not installed.
pub(crate) async fn own() -> Option<Server> {
    tokio::task::spawn_blocking(Server::start).await.expect("the server starts")
}

impl Server {
    fn start() -> Option<Self> {
        if !Path::new(SERVER).exists() {
            return None;
        }
        let folder = tempfile::Builder::new().prefix("errand-my-").tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("others may enter it");
        if rustix::process::geteuid().is_root() {
            chown(folder.path(), Some(PLAIN_USER), Some(PLAIN_USER)).expect("it belongs to the plain user");
        }
        let mut server = Self { folder, process: None };
        let made = server
            .as_plain_user("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg(format!("--datadir={}", server.data().display()))
            .output()
            .expect("mariadb-install-db runs");
        assert!(made.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&made.stderr));
        server.run();
        server.statements("", &format!(
            "CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4; CREATE USER {READER}@localhost IDENTIFIED BY '{PASSWORD}'; \
             GRANT SELECT, EXECUTE, INSERT ON {DATABASE}.* TO {READER}@localhost"
        ));
        Some(server)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// Starts it, and waits until it answers.
    pub(crate) fn run(&mut self) {
        self.run_with(&[]);
    }

    /// The same, with further settings.
    pub(crate) fn run_with(&mut self, settings: &[String]) {
        let mut command = self.as_plain_user(SERVER);
        command
            .args(["--no-defaults", "--skip-networking", "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M"])
            // The tests never take the machine away, only processes: so nothing has to wait for the disk.
            .args(["--innodb-flush-log-at-trx-commit=0", "--innodb-use-native-aio=0", "--skip-log-bin"])
            .arg(format!("--datadir={}", self.data().display()))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}", self.folder.path().join("pid").display()))
            .args(settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // The kernel sends the signal when the thread that started it ends: this one ends with the program.
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            sender.send(command.spawn()).expect("somebody waits");
            loop {
                std::thread::park();
            }
        });
        let child = receiver.recv().expect("the thread answers").expect("mariadbd starts");
        self.process = Some(child);
        let deadline = Instant::now() + SLOWEST_START;
        while !self.client("").args(["-e", "SELECT 1"]).output().is_ok_and(|output| output.status.success()) {
            assert!(Instant::now() < deadline, "MariaDB does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Carries SQL out; what it printed.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.statements(DATABASE, sql)
    }

    /// Carries one statement out that has semicolons within, such as the making of a function.
    pub(crate) fn whole(&self, sql: &str) {
        let output = self.client(DATABASE).args(["--delimiter=//", "-e", sql]).output().expect("mariadb runs");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn statements(&self, database: &str, sql: &str) -> String {
        let output = self.client(database).args(["-e", sql]).output().expect("mariadb runs");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn client(&self, database: &str) -> Command {
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "-N", "-B", "-u", "root", "-S"]).arg(self.socket()).stdin(Stdio::null());
        if !database.is_empty() {
            command.arg(database);
        }
        command
    }

    fn as_plain_user(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        if rustix::process::geteuid().is_root() {
            command.args([
                format!("--reuid={PLAIN_USER}"),
                format!("--regid={PLAIN_USER}"),
                "--clear-groups".to_owned(),
            ]);
        }
        command.args(["--pdeathsig", "KILL"]).arg(program).current_dir("/").stdin(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server should not run as root.
const PLAIN_USER: u32 = 65_534;
