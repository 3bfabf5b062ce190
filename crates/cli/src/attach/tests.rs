//! What counts as a file in a message, and what becomes of it.

use super::*;

/// A folder with a few files, and the workspace below it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().canonicalize().unwrap().join("w");
    std::fs::create_dir_all(work.join("src")).unwrap();
    for (name, text) in
        [("w/notes.txt", "one\n"), ("w/src/a.rs", "fn a() {}"), ("w/my file.md", "m"), ("out.csv", "1,2")]
    {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    std::fs::write(work.join("photo.png"), b"\x89PNG\r\n\x1a\nrest").unwrap();
    std::fs::write(work.join("fake.png"), b"\x00\x01").unwrap();
    std::fs::write(work.join("latin"), b"caf\xe9\n").unwrap();
    (folder, work)
}

fn attach_in(work: &Path, text: &str) -> Result<Attached, Failure> {
    attach(text, &Places { folder: work, workspace: work, home: work.parent() })
}

#[test]
fn files_are_found_where_they_are_meant() {
    let (_folder, work) = place();
    let out = work.parent().unwrap().join("out.csv").display().to_string();
    let table: &[(&str, &[&str])] = &[
        ("@notes.txt", &["notes.txt"]),
        ("See @notes.txt.", &["notes.txt"]),
        ("Compare (@notes.txt, @src/a.rs)!", &["notes.txt", "src/a.rs"]),
        ("@notes.txt and again @./notes.txt", &["notes.txt"]),
        ("@src/a.rs:12 and @src", &["src/a.rs", "src/"]),
        ("@\"my file.md\" @my\\ file.md", &["my file.md"]),
        ("@~/out.csv", &[&out]),
        ("write to me@notes.txt", &[]),
        ("ask @anna about @types/node and @dataclass", &[]),
        ("`@notes.txt` in quotes", &[]),
        ("an \\@notes.txt that is none", &[]),
        ("@ @. @... @/ @@", &[]),
        ("mail anna@example.com", &[]),
    ];
    for (text, wanted) in table {
        let attached = attach_in(&work, text).unwrap();
        let names: Vec<&str> = attached.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, *wanted, "{text}");
        assert_eq!(attached.text, text.replace("\\@", "@"));
    }
    let attached = attach_in(&work, "@src @notes.txt").unwrap();
    assert_eq!((attached.files[0].text.as_str(), attached.files[0].file), ("a.rs", false));
    assert_eq!((attached.files[1].text.as_str(), attached.files[1].file), ("one\n", true));
}

#[test]
fn a_file_that_is_plainly_meant_and_missing_is_named() {
    let (_folder, work) = place();
    for text in ["@none.txt", "see @photo2.PNG?", "@./none", "@/none/at/all", "@\"no such\"", "@src/b.rs,"] {
        let error = attach_in(&work, text).unwrap_err();
        assert!(error.message.contains("there is no such file"), "{text}: {error}");
        assert!(error.hint.unwrap().contains("\\@"));
    }
    assert!(attach_in(&work, "see @photo2.PNG?").unwrap_err().message.starts_with("@photo2.PNG:"));
}

#[test]
fn pictures_are_known_by_their_bytes() {
    let (_folder, work) = place();
    let attached = attach_in(&work, "What is on @photo.png?").unwrap();
    let Image { media_type, data, name } = &attached.images[0];
    assert_eq!((media_type.as_str(), name.as_str()), ("image/png", "photo.png"));
    // From `printf '\x89PNG\r\n\x1a\nrest' | base64`.
    assert_eq!(data, "iVBORw0KGgpyZXN0");
    assert!(attach_in(&work, "@fake.png").unwrap_err().message.contains("not the picture"));
    assert!(attach_in(&work, "@latin").unwrap_err().message.contains("UTF-8"));
    assert!(attach_in(&work, "@/dev/null").unwrap_err().message.contains("regular"));
}

#[test]
fn a_long_file_is_read_to_the_end_of_a_line() {
    let (_folder, work) = place();
    std::fs::write(work.join("long.log"), "0123456789abcde\n".repeat(100_000)).unwrap();
    let attached = attach_in(&work, "@long.log").unwrap();
    assert_eq!(attached.files[0].text.len(), 1 << 20);
    std::fs::write(work.join("line.log"), "\u{1f980}".repeat(300_000)).unwrap();
    let attached = attach_in(&work, "@line.log").unwrap();
    assert!(attached.files[0].text.chars().all(|c| c == '\u{1f980}'));
}
