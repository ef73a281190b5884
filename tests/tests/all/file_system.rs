//! The file system under everything crashes, as when a machine loses its power: what was not flushed to the disk is gone,
//! and what was acknowledged is not. Runs where the machine allows loop devices; elsewhere it says why it does not.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
};

use futures_util::future::join_all;
use host::random::{SeededRandom, below};

use crate::support::{Place, evidence, load, skip, small};

/// How often the file system crashes.
const ROUNDS: u64 = 20;

/// `EXT4_IOC_SHUTDOWN` with `NOLOGFLUSH`: from now on nothing reaches the disk, not even the file system's own journal.
const SHUT_DOWN: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// An ext4 file system in a file, mounted through a loop device.
struct Disk {
    image: PathBuf,
    mounted_at: PathBuf,
    // Last: the image goes when it is no longer mounted.
    _dir: tempfile::TempDir,
}

impl Disk {
    fn make() -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("errand-disk-").tempdir()?;
        let (image, mounted_at) = (dir.path().join("image"), dir.path().join("m"));
        File::create(&image)?.set_len(512 * 1024 * 1024)?;
        fs::create_dir(&mounted_at)?;
        run("mkfs.ext4", &["-q", "-F", path(&image)])?;
        let disk = Self { image, mounted_at, _dir: dir };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> io::Result<()> {
        run("mount", &["-o", "loop", path(&self.image), path(&self.mounted_at)])
    }

    fn crash(&self) -> io::Result<()> {
        run("python3", &["-c", SHUT_DOWN, path(&self.mounted_at)])
    }

    fn unmount(&self) -> io::Result<()> {
        run("umount", &[path(&self.mounted_at)])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("umount", &["-l", path(&self.mounted_at)]);
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a temporary path is UTF-8")
}

fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} {}: {}", arguments.join(" "), said.trim())))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_twenty_crashes_of_the_file_system() {
    const NAME: &str = "file system crash";
    if !rustix::process::geteuid().is_root() {
        return skip(NAME, "mounting a loop device needs root");
    }
    // One at a time on a machine: loop devices are few.
    let lock = File::create(std::env::temp_dir().join("errand-loop-devices.lock")).unwrap();
    lock.lock().unwrap();
    let disk = match Disk::make() {
        Ok(disk) => disk,
        Err(error) => return skip(NAME, &format!("no file system can be mounted through a loop device: {error}")),
    };
    if let Err(error) = disk.crash() {
        return skip(NAME, &format!("the file system cannot be crashed: {error}"));
    }
    disk.unmount().unwrap();
    disk.mount().unwrap();

    // Registry and both nodes, so that a crash is that of the whole machine.
    let dir = tempfile::Builder::new().prefix("t").tempdir_in(&disk.mounted_at).unwrap();
    let place = Place::start_in(dir, small).await;
    // The configuration that the harness wrote is no part of what is tested.
    run("sync", &["-f", path(&disk.mounted_at)]).unwrap();

    let random = SeededRandom::new(20_261_123);
    let load = load::Load::begin(&place.town.office("housing").await.unwrap(), 16);
    load.goes_on(50).await;
    for round in 0..ROUNDS {
        load.goes_on(below(&random, 60)).await;
        tokio::time::sleep(std::time::Duration::from_micros(below(&random, 20_000))).await;
        disk.crash().unwrap();
        for node in place.town.nodes() {
            node.kill();
        }
        place.town.registry().kill();
        disk.unmount().unwrap_or_else(|error| panic!("round {round}: {error}"));
        disk.mount().unwrap();
        place.town.registry().start().await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        // At once, as a machine does that has its power again.
        for started in join_all(place.town.nodes().map(|node| node.start())).await {
            started.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
    load.goes_on(50).await;
    let told = load.end().await;
    for node in place.town.nodes() {
        node.stop().await.unwrap();
    }
    let asker = evidence::read(place.town.node("housing").dir());
    let answerer = evidence::read(place.town.node("civil-affairs").dir());
    println!(
        "{ROUNDS} crashes, {} results told, {} and {} entries of evidence",
        told.len(),
        asker.verified.entries,
        answerer.verified.entries
    );
    load::assert_nothing_is_lost(&told, &asker, answerer);
    drop(asker);
    place.town.stop().await.unwrap();
}
