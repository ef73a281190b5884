//! One process of the town: started, waited for by its ready file, stopped or killed. It is killed when dropped, unless
//! the town was let go of to outlive the program that started it.
//!
//! Nobody waits for a number of seconds: who waits looks for the ready file, and for the process's end, until a deadline.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;

use super::{Error, error::log_end};

/// The name of a program's log within its folder.
pub const LOG: &str = "log";

/// A program that can be started, stopped, killed and started again in its folder.
#[derive(Debug)]
pub(super) struct Program {
    /// How errors call it, for example `exchange-node`.
    pub name: &'static str,
    /// The executable.
    pub executable: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its folder.
    pub dir: PathBuf,
    /// What its environment has besides that of this process.
    pub environment: Vec<(String, String)>,
    /// Whether it has a process group of its own, which the terminal's interrupt does not reach.
    pub own_group: bool,
    /// Whether it lives on when this is dropped.
    pub surviving: bool,
    /// The process while it runs.
    pub process: Mutex<Option<Child>>,
}

impl Program {
    /// Starts it and waits until it has written its ready file, which is returned.
    pub(super) async fn start<Ready: DeserializeOwned>(&self) -> Result<Ready, Error> {
        if self.locked().is_some() {
            let doing = format!("start {} in {}", self.name, self.dir.display());
            return Err(Error::Refused { doing, reason: "it is running".to_owned() });
        }
        let ready = self.dir.join(host::ready_file::FILE_NAME);
        // A killed process leaves its ready file behind.
        let _ = fs::remove_file(&ready);
        *self.locked() = Some(self.spawn()?);
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(text) = fs::read(&ready).ok().filter(|text| !text.is_empty()) {
                let malformed = |error: serde_json::Error| Error::Malformed {
                    what: ready.display().to_string(),
                    reason: error.to_string(),
                };
                return serde_json::from_slice(&text).map_err(malformed);
            }
            self.check()?;
            if Instant::now() > deadline {
                self.kill();
                return Err(self.not_in_time("become ready", START_LIMIT));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Tells it to stop (SIGTERM) and waits for its end.
    pub(super) async fn stop(&self) -> Result<ExitStatus, Error> {
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                self.kill();
                return Err(self.not_in_time("stopped after SIGTERM", STOP_LIMIT));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Ends it at once (SIGKILL); nothing happens where it does not run.
    pub(super) fn kill(&self) {
        if let Some(mut child) = self.locked().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), Error> {
        let pid = self.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::NotRunning { program: self.name.to_owned(), dir: self.dir.clone() })?;
        kill_process(pid, signal).map_err(|errno| Error::io(format!("signal {}", self.name))(errno.into()))
    }

    /// The id of its process, where it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.locked().as_ref().map(Child::id)
    }

    /// Its log.
    pub(super) fn log(&self) -> PathBuf {
        self.dir.join(LOG)
    }

    /// An error where it has ended by itself.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => {
                let log = log_end(&self.log());
                Err(Error::Ended { program: self.name.to_owned(), dir: self.dir.clone(), status, log })
            }
        }
    }

    pub(super) fn not_in_time(&self, what: &str, limit: Duration) -> Error {
        Error::NotInTime {
            program: self.name.to_owned(),
            dir: self.dir.clone(),
            what: what.to_owned(),
            seconds: limit.as_secs(),
            log: log_end(&self.log()),
        }
    }

    fn spawn(&self) -> Result<Child, Error> {
        let path = self.log();
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.map_err(Error::io(format!("open {}", path.display())))?;
        let also = log.try_clone().map_err(Error::io(format!("open {}", path.display())))?;
        let mut command = Command::new(&self.executable);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(also).stderr(log);
        if self.own_group {
            command.process_group(0);
        }
        command.spawn().map_err(Error::io(format!("start {}", self.executable.display())))
    }

    fn ended(&self) -> Result<Option<ExitStatus>, Error> {
        let mut process = self.locked();
        let Some(child) = process.as_mut() else {
            // Killed by another task meanwhile.
            return Ok(Some(ExitStatus::from_raw(Signal::KILL.as_raw())));
        };
        let status = child.try_wait().map_err(Error::io(format!("wait for {}", self.name)))?;
        if status.is_some() {
            *process = None;
        }
        Ok(status)
    }

    fn locked(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.surviving {
            self.kill();
        }
    }
}

/// Runs a command to its end and returns its standard output; any exit code but 0 is an error.
pub(super) async fn run(command: &mut tokio::process::Command) -> Result<Vec<u8>, Error> {
    let line = described(command);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(Error::io(format!("run `{line}`")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    Err(Error::CommandFailed { command: line, status: output.status, stderr })
}

fn described(command: &tokio::process::Command) -> String {
    let command = command.as_std();
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args()).map(|word| word.to_string_lossy());
    words.collect::<Vec<_>>().join(" ")
}

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn program(dir: &Path, script: &str) -> Program {
        Program {
            name: "sh",
            executable: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            dir: dir.to_owned(),
            environment: vec![("READY".to_owned(), dir.join("ready.json").display().to_string())],
            own_group: false,
            surviving: false,
            process: Mutex::new(None),
        }
    }

    #[tokio::test]
    async fn a_program_is_ready_when_it_says_so_and_stops_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let program = program(dir.path(), "sleep 0.1; echo '{\"peer\":\"here\"}' > $READY; exec sleep 60");
        fs::write(dir.path().join("ready.json"), "stale").unwrap();
        let ready: serde_json::Value = program.start().await.unwrap();
        assert_eq!(ready["peer"], "here");
        assert!(matches!(program.start::<serde_json::Value>().await, Err(Error::Refused { .. })));
        assert_eq!(program.stop().await.unwrap().signal(), Some(Signal::TERM.as_raw()));
        assert!(matches!(program.stop().await, Err(Error::NotRunning { .. })));
    }

    #[tokio::test]
    async fn a_program_that_ends_says_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let program = program(dir.path(), "echo 'the disk is full' >&2; exit 4");
        let error = program.start::<serde_json::Value>().await.unwrap_err().to_string();
        assert!(error.contains("the disk is full") && error.contains("exit status: 4"), "{error}");
    }

    #[tokio::test]
    async fn a_dropped_program_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let program = program(dir.path(), "echo '{}' > $READY; exec sleep 60");
        let _: serde_json::Value = program.start().await.unwrap();
        let pid = Pid::from_raw(i32::try_from(program.id().unwrap()).unwrap()).unwrap();
        rustix::process::test_kill_process(pid).unwrap();
        drop(program);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }

    #[tokio::test]
    async fn a_command_that_fails_is_told_with_its_line() {
        let error = run(tokio::process::Command::new("/bin/sh").args(["-c", "echo no >&2; exit 7"])).await.unwrap_err();
        assert_eq!(error.to_string(), "`sh -c echo no >&2; exit 7` ended with exit status: 7:\nno");
    }
}
