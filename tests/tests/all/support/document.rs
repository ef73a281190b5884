//! Documents whose commands are run as they stand, so that they cannot go stale. A block of commands is marked
//! `<!-- tested: NAME -->`, a file that they need `<!-- file: NAME -->`. Only the ports are changed, so that a run can
//! stand beside other towns; each program that is put into the background is waited for, and after each statement
//! every node is given the time that a person takes to type.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};
use town::harness::{Programs, free_port};

use super::root;

/// A fenced block of a document.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// What the comment before it says, for example `tested: quick-start`; empty where there is none.
    pub(crate) mark: String,
    /// The fence's language.
    pub(crate) language: String,
    /// The line of the document where it begins, counted from 1.
    pub(crate) line: usize,
    /// Its text.
    pub(crate) text: String,
}

/// A document with its blocks.
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) blocks: Vec<Block>,
}

/// What a run said.
pub(crate) struct Ran {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) output: String,
}

impl Document {
    /// Reads a document of the repository.
    pub(crate) fn read(name: &str) -> Self {
        let text = fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut blocks: Vec<Block> = Vec::new();
        let (mut mark, mut open) = (String::new(), None::<Block>);
        for (number, line) in (1..).zip(text.lines()) {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(language)) => {
                    let mark = std::mem::take(&mut mark);
                    open = Some(Block { mark, language: language.to_owned(), line: number + 1, text: String::new() });
                }
                (Some(_), Some("")) => blocks.extend(open.take()),
                (Some(block), _) => block.text += &format!("{line}\n"),
                (None, None) => {
                    let comment = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->"));
                    mark = comment.unwrap_or_default().to_owned();
                }
            }
        }
        assert!(open.is_none(), "{name}: a block is not closed");
        Self { name: name.to_owned(), text, blocks }
    }

    /// The block of commands with this name.
    pub(crate) fn tested(&self, name: &str) -> &Block {
        let mark = format!("tested: {name}");
        let found = self.blocks.iter().find(|block| block.mark == mark);
        found.unwrap_or_else(|| panic!("{}: there is no block `{mark}`", self.name))
    }

    /// The names of the blocks that are run.
    pub(crate) fn tested_names(&self) -> Vec<&str> {
        self.blocks.iter().filter_map(|block| block.mark.strip_prefix("tested: ")).collect()
    }

    /// Runs these blocks one after the other in a new folder, which `prepare` may fill; all must end well.
    pub(crate) fn run(&self, names: &[&str], prepare: impl FnOnce(&Path)) -> Ran {
        let dir = tempfile::Builder::new().prefix("errand-").tempdir().expect("a temporary folder");
        prepare(dir.path());
        for block in &self.blocks {
            if let Some(file) = block.mark.strip_prefix("file: ") {
                fs::write(dir.path().join(file), &block.text).expect("the file is written");
            }
        }
        let blocks: Vec<&str> = names.iter().map(|name| self.tested(name).text.as_str()).collect();
        let script = script(&blocks.join("\n"));
        fs::write(dir.path().join("script.sh"), &script).expect("the script is written");
        let mut group = Group::start(dir.path());
        let status = group.child.wait().expect("bash ends");
        let output = fs::read_to_string(dir.path().join("output")).expect("its output");
        let errors = fs::read_to_string(dir.path().join("errors")).expect("its errors");
        assert!(status.success(), "{}:\n{script}\n== output\n{output}\n== errors\n{errors}", self.name);
        Ran { dir, output }
    }
}

/// Every document for operators: README.md and docs/*.md.
pub(crate) fn all() -> Vec<Document> {
    let folder = fs::read_dir(root().join("docs")).expect("docs").flatten().map(|entry| entry.path());
    let mut pages: Vec<PathBuf> =
        folder.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    pages.sort();
    let name = |path: &PathBuf| format!("docs/{}", path.file_name().expect("a name").to_string_lossy());
    ["README.md".to_owned()].into_iter().chain(pages.iter().map(name)).map(|name| Document::read(&name)).collect()
}

fn script(blocks: &str) -> String {
    let mut script = String::from("set -euo pipefail\n");
    script += SETTLED;
    // Every port that the page names or the programs take by themselves, for one that is free.
    let port = || free_port().expect("a port");
    let mut blocks = blocks.to_owned();
    for named in named_ports(&blocks) {
        blocks = blocks.replace(&format!("127.0.0.1:{named}"), &format!("127.0.0.1:{}", port()));
    }
    for line in blocks.lines() {
        script += line;
        script += "\n";
        if let Some(folder) = line.strip_prefix("registry init --dir ").and_then(|rest| rest.split(' ').next()) {
            for default in ["7400", "7401"] {
                script += &format!("sed -i 's/:{default}\"/:{}\"/' {folder}/registry.toml\n", port());
            }
        }
        if let Some(config) =
            line.strip_suffix(" &").and_then(|line| line.split_once("--config ")).map(|(_, path)| path)
        {
            let folder = config.rsplit_once('/').expect("a folder").0;
            script += &format!("for _ in $(seq 1200); do [ -s {folder}/ready.json ] && break; sleep 0.05; done\n");
            script += &format!("[ -s {folder}/ready.json ] || {{ echo '{folder} is not ready' >&2; exit 1; }}\n");
            script += &format!("RUNNING=\"${{RUNNING:-}} {folder}\"\n");
        }
        if STATEMENTS.iter().any(|words| line.contains(words)) && !line.ends_with('\\') {
            script += "settled\n";
        }
    }
    script
}

/// Commands that make statements, which other nodes have to hear of.
const STATEMENTS: [&str; 6] =
    [" service publish ", " item publish ", " access apply ", " access approve ", "--basis ", " node.toml &"];

/// Waits until every program that runs has seen as much of the directory as any.
const SETTLED: &str = r#"settled() {
  for _ in $(seq 600); do
    sizes=
    for folder in ${RUNNING:-}; do
      if [ -f "$folder/registry.toml" ]; then size=$(registry --dir "$folder" status --json | jq .directory_size)
      else size=$(exchange-node --dir "$folder" status --json | jq .directory_size); fi
      sizes="$sizes$size "
    done
    [ "$(printf '%s\n' $sizes | sort -u | wc -l)" -le 1 ] && return
    sleep 0.05
  done
  echo 'the nodes do not see the same directory' >&2; exit 1
}
"#;

/// Ends everything that was started, however the test ends.
struct Group {
    child: Child,
    group: Pid,
}

impl Group {
    fn start(dir: &Path) -> Self {
        let programs = Programs::find().expect("the programs");
        let path = format!("{}:{}", programs.dir().display(), env::var("PATH").unwrap_or_default());
        // A process group of its own, so that what it left running ends with it.
        let child = Command::new("bash")
            .arg("script.sh")
            .current_dir(dir)
            .env("PATH", path)
            .env_remove("EXCHANGE_DIR")
            .env_remove("REGISTRY_DIR")
            .process_group(0)
            .stdin(Stdio::null())
            // Files: a pipe would stay open for as long as the programs in the background run.
            .stdout(fs::File::create(dir.join("output")).expect("a file"))
            .stderr(fs::File::create(dir.join("errors")).expect("a file"))
            .spawn()
            .expect("bash runs");
        let group = Pid::from_raw(i32::try_from(child.id()).expect("an id")).expect("an id");
        Self { child, group }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }
}

fn named_ports(block: &str) -> Vec<String> {
    let mut named: Vec<String> =
        block.split("127.0.0.1:").skip(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect()).collect();
    named.sort();
    named.dedup();
    named
}
