//! A program that is measured: a process of its own, on one core, with its peak memory. Out of scope: what it is asked.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;

/// How long a program may take to come up: a registry verifies its whole directory first.
const LIMIT: Duration = Duration::from_secs(600);

/// How often is looked.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    dir: PathBuf,
    /// How long it took from its start to its ready file.
    pub ready_after: Duration,
    /// When it was started.
    pub started: Instant,
}

impl Running {
    /// Starts `program serve` over the configuration, on the core, and waits until it is ready.
    pub async fn start(program: &Path, config: &Path, core: usize) -> anyhow::Result<Self> {
        let dir = config.parent().context("a configuration stands in a folder")?.to_owned();
        let ready = dir.join(host::ready_file::FILE_NAME);
        let _ = std::fs::remove_file(&ready);
        let log = std::fs::File::create(dir.join("bench.log")).context("its log")?;
        let started = Instant::now();
        let mut command = on_core(core, program);
        command.arg("serve").arg("--config").arg(config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("the program starts")?;
        let mut running = Self { child, dir, ready_after: Duration::ZERO, started };
        while !ready.exists() {
            if let Some(status) = running.child.try_wait()? {
                bail!("{} ended with {status}: see bench.log in {}", program.display(), running.dir.display());
            }
            if started.elapsed() > LIMIT {
                bail!("{} does not come up in {}", program.display(), running.dir.display());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        running.ready_after = started.elapsed();
        Ok(running)
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What its ready file says.
    pub fn ready<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        Ok(serde_json::from_slice(&std::fs::read(self.dir.join(host::ready_file::FILE_NAME))?)?)
    }

    /// The most memory that it ever had resident, in MB (10⁶ bytes).
    pub fn peak_mb(&self) -> anyhow::Result<f64> {
        self.memory("VmHWM:")
    }

    /// The processor time that it has used.
    pub fn processor_seconds(&self) -> anyhow::Result<f64> {
        processor_seconds(&self.child.id().to_string())
    }

    fn memory(&self, name: &str) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no memory")?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024.0 / 1e6)
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Tells it to stop, and waits for its end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id())?).context("a process")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("the program in {} does not stop", self.dir.display());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The processor time that a process has used, by its id, or `self`. On a machine that others use too this is what a core
/// to itself would have taken.
pub fn processor_seconds(process: &str) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Behind the name, which may have spaces; the 14th and 15th of all fields, in hundredths of a second.
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
    let mut ticks = fields.split(' ').skip(11).map_while(|field| field.parse::<f64>().ok());
    let (user, system) = (ticks.next().context("no time")?, ticks.next().context("no time")?);
    Ok((user + system) / 100.0)
}

/// Ends the child with the benchmark, however it ends.
#[derive(Debug)]
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command that runs on one core alone. The machine may have fewer: then on the last.
pub fn on_core(core: usize, program: &Path) -> Command {
    let last = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) - 1;
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.min(last).to_string()).arg(program);
    command
}
