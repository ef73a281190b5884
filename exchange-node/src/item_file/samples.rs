//! The samples of an item file: titles as they are, and files by their digests, which are computed from the file beside the
//! item's own where it is there, and compared with what is written. Out of scope: keeping the files or handing them out.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use proto::registry::v1::SampleFile;
use sha2::{Digest as _, Sha256};
use trust::item::SAMPLE_KINDS;

use crate::service_file::{
    read::{
        Problems,
        fields::{Fields, text},
    },
    tree::{Entry, Kind},
};

/// How much of a file is read at once.
const PIECE: usize = 64 * 1024;

/// The titles and the files in `samples`. `folder` is where files are looked for.
pub(super) fn samples(
    fields: &mut Fields<'_>,
    folder: Option<&Path>,
    problems: &mut Problems,
) -> (Vec<String>, Vec<SampleFile>) {
    let (mut titles, mut files) = (Vec::new(), Vec::new());
    let Some((node, field)) = fields.optional("samples") else { return (titles, files) };
    let Kind::List(nodes) = &node.kind else {
        problems.add(node.line, &field, "must be a list, such as [one, two]");
        return (titles, files);
    };
    for (index, node) in nodes.iter().enumerate() {
        let field = format!("{field}[{index}]");
        match &node.kind {
            Kind::Map(entries) => files.extend(file(entries, node.line, &field, folder, problems)),
            _ => titles.extend(text(node, &field, problems)),
        }
    }
    (titles, files)
}

/// One file: `{file: forms/example.pdf, kind: mistake, name: example.pdf, sha256: …}`, of which only `file` must be there.
fn file(
    entries: &[Entry],
    line: u64,
    field: &str,
    folder: Option<&Path>,
    problems: &mut Problems,
) -> Option<SampleFile> {
    let mut fields = Fields::new(field, line, entries, problems);
    let file = fields.required_text("file", problems);
    let kind = fields.one_of("kind", SAMPLE_KINDS, Some("sample"), problems);
    let name = fields.optional_text("name", problems);
    let written = fields.optional_text("sha256", problems);
    fields.end(problems);
    let (file, line) = file?;
    match digest(&file, &written, folder) {
        Ok(sha256) => {
            // Where it lies on this machine is nobody's business.
            let last = Path::new(&file).file_name().map(|last| last.to_string_lossy().into_owned());
            let name = if name.is_empty() { last.unwrap_or(file) } else { name };
            Some(SampleFile { kind, name, sha256 })
        }
        Err(reason) => {
            problems.add(line, &format!("{field}.file"), reason);
            None
        }
    }
}

/// The file's digest, which is the written one where both are there.
fn digest(file: &str, written: &str, folder: Option<&Path>) -> Result<Vec<u8>, String> {
    let written = match written {
        "" => None,
        text => {
            let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().filter(|bytes| bytes.len() == 32);
            Some(bytes.ok_or_else(|| "sha256 has 64 hex digits".to_owned())?)
        }
    };
    let found = match folder.map(|folder| digest_of(&folder.join(file))) {
        None => None,
        Some(Ok(digest)) => Some(digest),
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => None,
        Some(Err(error)) => return Err(format!("{file} cannot be read: {error}")),
    };
    match (found, written) {
        (Some(found), Some(written)) if found != written => {
            let found = HEXLOWER.encode(&found);
            Err(format!("{file} is not the file that is written down: its SHA-256 is {found}"))
        }
        (Some(digest), _) | (None, Some(digest)) => Ok(digest),
        (None, None) => Err(format!("{file} is not beside the item's file: put it there, or write down its sha256")),
    }
}

fn digest_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hash.finalize().to_vec()),
            read => hash.update(&piece[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse, parse_beside};

    const ITEM: &str = "item: 入学\nname: {zh: 入学}\nlegal_basis: [\"义务教育法 12\"]\naccepting_unit: 窗口\n\
                        steps: [{step: 受理, actor: 窗口}]\nfees: 无\ntime_limit_working_days: 5\ncontact: 0890-000-0001\n\
                        proofs: [{proof: 居住证明, legal_basis: [\"义务教育法 12\"], issuing_unit: 派出所}]\n";

    #[test]
    fn a_sample_is_a_title_or_a_file_by_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("forms")).unwrap();
        std::fs::write(folder.path().join("forms/填写.txt"), b"abc").unwrap();
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let item = |samples: &str| format!("{ITEM}samples: {samples}\n");
        let read = |samples: &str| parse_beside(&item(samples), "入学.yaml", Some(folder.path()));
        let reason = |samples: &str| {
            let problems = read(samples).unwrap_err();
            assert!(problems.iter().all(|problem| problem.line == 10), "{problems:#?}");
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };

        let mixed = read("[填写示范, {file: forms/填写.txt, kind: mistake}]").unwrap();
        assert_eq!(mixed.samples, ["填写示范"]);
        let sample = &mixed.sample_files[0];
        assert_eq!((sample.kind.as_str(), sample.name.as_str()), ("mistake", "填写.txt"));
        assert_eq!(data_encoding::HEXLOWER.encode(&sample.sha256), abc);
        // A title that looks like a file is a title.
        assert_eq!(read("[申请表.pdf]").unwrap().samples, ["申请表.pdf"]);

        // What is written down is compared where the file is there, and taken where it is not.
        assert_eq!(read(&format!("[{{file: forms/填写.txt, sha256: {abc}}}]")).unwrap().sample_files[0].kind, "sample");
        let other = "0".repeat(64);
        assert!(reason(&format!("[{{file: forms/填写.txt, sha256: \"{other}\"}}]")).contains(abc));
        let elsewhere = format!("[{{file: \"https://a.invalid/b.pdf\", name: 填写, sha256: {abc}}}]");
        assert_eq!(read(&elsewhere).unwrap().sample_files[0].name, "填写");
        assert_eq!(parse(&item(&elsewhere), "f").unwrap().sample_files.len(), 1);
        assert!(reason("[{file: gone.pdf}]").contains("samples[0].file: gone.pdf is not beside the item's file"));
        assert!(reason("[{file: forms/填写.txt, kind: picture}]").contains("samples[0].kind"));
        assert!(reason("[{file: gone.pdf, sha256: abc}]").contains("64 hex digits"));
    }
}
