//! PostgreSQL for tests, started by the tests themselves: one server for a test program, as a plain user, on a socket of its
//! own, and one database for each test. A test that stops or breaks its server gets one of its own. Shared by path between
//! the registry's unit tests and the scenarios. Out of scope: installing it (`tests/run.sh`); a machine without it skips, aloud.

#![allow(dead_code)]

use std::{
    env,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long a server may take to start on a busy machine.
const SLOWEST_START: Duration = Duration::from_secs(120);

/// The user of the databases.
pub(crate) const USER: &str = "errand";

/// A database of its own on a server.
pub(crate) struct Scratch {
    server: Held,
    database: String,
}

enum Held {
    Own(Server),
    Shared(&'static Server),
}

impl Scratch {
    /// Where it is, as `registry.toml` says it.
    pub(crate) fn url(&self) -> String {
        self.url_of(USER)
    }

    /// The same for another user.
    pub(crate) fn url_of(&self, user: &str) -> String {
        let socket = self.server().socket.display().to_string().replace('/', "%2F");
        format!("postgres://{user}@localhost/{}?host={socket}", self.database)
    }

    /// The database's name.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// The server.
    pub(crate) fn server(&self) -> &Server {
        match &self.server {
            Held::Own(server) => server,
            Held::Shared(server) => server,
        }
    }

    /// The server, to stop and start it: only where it is this test's own.
    pub(crate) fn own_server(&mut self) -> &mut Server {
        match &mut self.server {
            Held::Own(server) => server,
            Held::Shared(_) => panic!("the server is shared: take one with `own`"),
        }
    }

    /// Carries SQL out; what it printed, unaligned.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server().psql(&self.database, sql)
    }
}

/// A new database on this program's server; `None`, said aloud, where there is no PostgreSQL.
pub(crate) async fn scratch(test: &str) -> Option<Scratch> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let test = test.to_owned();
    let made = tokio::task::spawn_blocking(move || {
        let server = SERVER.get_or_init(Server::start).as_ref();
        match server {
            Some(server) => Some(Scratch { database: server.new_database("UTF8"), server: Held::Shared(server) }),
            None => {
                skipped(&test);
                None
            }
        }
    });
    made.await.expect("the server starts")
}

/// A new database on a server of its own, that the test may stop.
pub(crate) async fn own(test: &str) -> Option<Scratch> {
    let test = test.to_owned();
    let made = tokio::task::spawn_blocking(move || match Server::start() {
        Some(server) => Some(Scratch { database: server.new_database("UTF8"), server: Held::Own(server) }),
        None => {
            skipped(&test);
            None
        }
    });
    made.await.expect("the server starts")
}

fn skipped(test: &str) {
    let line = format!("SKIPPED: {test}: PostgreSQL is not installed on this machine\n");
    print!("{line}");
    if let Some(path) = env::var_os("ERRAND_SKIPPED") {
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the skipped test is noted");
    }
}

/// A running server. It ends with the test program.
pub(crate) struct Server {
    bin: PathBuf,
    folder: tempfile::TempDir,
    socket: PathBuf,
    process: Option<Process>,
}

/// Ends with the program that started it, however that ends: `setpriv` asks the kernel to see to it.
struct Process {
    child: Child,
}

impl Server {
    fn start() -> Option<Self> {
        let bin = installed()?;
        remove_left_behind();
        let folder = tempfile::Builder::new().prefix("errand-pg-").tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("others may enter it");
        let socket = folder.path().join("s");
        fs::create_dir(&socket).expect("a folder for the socket");
        if is_root() {
            for path in [folder.path(), &socket] {
                let (user, group) = plain_user();
                chown(path, Some(user), Some(group)).expect("it belongs to the plain user");
            }
        }
        let mut server = Self { bin, folder, socket, process: None };
        let data = server.data();
        let made = server
            .as_plain_user("initdb")
            .arg("-D")
            .arg(&data)
            .args(["-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server.run(&[]);
        Some(server)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The socket's folder.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Starts it, with further settings.
    pub(crate) fn run(&mut self, settings: &[&str]) {
        let mut command = self.as_plain_user("postgres");
        command.arg("-D").arg(self.data());
        // The tests never take the machine away, only processes: so nothing has to wait for the disk.
        let usual = ["listen_addresses=", "fsync=off", "max_connections=200", "log_min_messages=fatal"];
        let socket = format!("unix_socket_directories={}", self.socket.display());
        for setting in usual.iter().copied().chain([socket.as_str()]).chain(settings.iter().copied()) {
            command.args(["-c", setting]);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        // The kernel sends the signal when the thread that started it ends: this one ends with the program.
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            sender.send(command.spawn()).expect("somebody waits");
            loop {
                std::thread::park();
            }
        });
        let child = receiver.recv().expect("the thread answers").expect("postgres starts");
        self.process = Some(Process { child });
        let deadline = Instant::now() + SLOWEST_START;
        while !self.answers() {
            assert!(Instant::now() < deadline, "PostgreSQL does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn answers(&self) -> bool {
        let ready = self.client("pg_isready").args(["-q", "-t", "1"]).status();
        ready.is_ok_and(|status| status.success())
    }

    /// Stops it at once, as a crash would; every connection is cut.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let pid = process.child.id().to_string();
            // SIGQUIT: an immediate shutdown, without a checkpoint. Its own child processes end with it.
            let _ = Command::new("kill").args(["-QUIT", &pid]).status();
            let _ = process.child.wait();
        }
    }

    fn new_database(&self, encoding: &str) -> String {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let made = self
            .client("createdb")
            .args(["--template=template0", "--locale=C", &format!("--encoding={encoding}"), &name])
            .output()
            .expect("createdb runs");
        assert!(made.status.success(), "createdb: {}", String::from_utf8_lossy(&made.stderr));
        name
    }

    /// Another database, in another encoding than the usual one.
    pub(crate) fn url_of_database_in(&self, encoding: &str) -> String {
        let socket = self.socket.display().to_string().replace('/', "%2F");
        format!("postgres://{USER}@localhost/{}?host={socket}", self.new_database(encoding))
    }

    fn psql(&self, database: &str, sql: &str) -> String {
        let output = self.client("psql").args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]).output();
        let output = output.expect("psql runs");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.arg("-h").arg(&self.socket).args(["-U", USER]).stdin(Stdio::null());
        command
    }

    fn as_plain_user(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        if is_root() {
            let (user, group) = plain_user();
            command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
        }
        command.args(["--pdeathsig", "QUIT"]).arg(self.bin.join(program)).current_dir("/").stdin(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where the newest PostgreSQL's programs are; Debian keeps them off the path.
fn installed() -> Option<PathBuf> {
    if let Some(bin) = env::var_os("ERRAND_POSTGRES_BIN") {
        return Some(bin.into());
    }
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|version| Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin)
}

/// A program that was killed leaves its server's folder; the server has ended with it.
/// How old a folder must be to count as left behind.
const OLD_ENOUGH: Duration = Duration::from_secs(3_600);

fn remove_left_behind() {
    for folder in fs::read_dir(env::temp_dir()).into_iter().flatten().flatten() {
        if !folder.file_name().to_string_lossy().starts_with("errand-pg-") {
            continue;
        }
        let pid = fs::read_to_string(folder.path().join("data/postmaster.pid")).unwrap_or_default();
        let pid = pid.lines().next().unwrap_or_default().to_owned();
        // One without a number is being made at this moment, and so may a young one: `initdb` runs short-lived servers.
        let made = folder.metadata().and_then(|known| known.modified()).ok();
        let old = made.and_then(|made| made.elapsed().ok()).is_some_and(|age| age > OLD_ENOUGH);
        if old && !pid.is_empty() && !Path::new("/proc").join(&pid).exists() {
            let _ = fs::remove_dir_all(folder.path());
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// PostgreSQL refuses to run as root.
fn plain_user() -> (u32, u32) {
    (65_534, 65_534)
}
