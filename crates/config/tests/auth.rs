//! The auth file.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use chela_config::auth::{self, Profiles};

#[test]
fn profiles_are_added_listed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("home/auth.json");
    assert_eq!(Profiles::load(&file).unwrap().iter().count(), 0);
    assert!(!auth::add(&file, "vllm:work", "vllm", "k1").unwrap());
    assert!(!auth::add(&file, "vllm:default", "vllm", " k2\n").unwrap());
    assert!(auth::add(&file, "vllm:work", "vllm", "k3").unwrap());
    let profiles = Profiles::load(&file).unwrap();
    let names: Vec<_> = profiles.iter().map(|(name, profile)| (name, profile.provider.as_str())).collect();
    assert_eq!(names, [("vllm:default", "vllm"), ("vllm:work", "vllm")]);
    let key = profiles.key_for("vllm").unwrap();
    assert_eq!((key.expose(), key.to_string().as_str()), ("k2", "*** (from the auth profile vllm:default)"));
    assert!(profiles.key_for("openai").is_none());
    assert!(auth::remove(&file, "vllm:default").unwrap());
    assert!(!auth::remove(&file, "vllm:default").unwrap());
    assert_eq!(Profiles::load(&file).unwrap().key_for("vllm").unwrap().expose(), "k3");
    assert!(!format!("{:?}", Profiles::load(&file).unwrap()).contains("k3"));
}

#[test]
fn the_file_is_for_the_user_alone_and_keeps_what_it_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth.json");
    let text = r#"{"version": 7, "profiles": {"a": {"provider": "p", "key": "k", "note": "n"}}}"#;
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(auth::loose_mode(&file), Some(0o644));
    auth::add(&file, "b", "p", "k").unwrap();
    assert_eq!(auth::loose_mode(&file), None);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!((&json["version"], &json["profiles"]["a"]["note"]), (&7.into(), &"n".into()));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_damaged_file_is_refused_without_a_word_of_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth.json");
    for text in ["{\"profiles\": {\"a\": \"sk-secret\"}}", "sk-secret", "[\"sk-secret\"]", ""] {
        fs::write(&file, text).unwrap();
        let error = Profiles::load(&file).unwrap_err().to_string();
        assert!(error.contains("expected {\"profiles\"") && !error.contains("sk-secret"), "{error}");
        assert!(auth::add(&file, "a", "p", "k").is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
    for (name, provider, key) in [("", "p", "k"), ("a", " ", "k"), ("a", "p", "\n")] {
        assert!(auth::add(&file, name, provider, key).is_err());
    }
}

#[test]
fn writers_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth.json");
    std::thread::scope(|scope| {
        for n in 0..8 {
            let file = &file;
            scope.spawn(move || auth::add(file, &format!("p:{n}"), "p", "k").unwrap());
        }
    });
    assert_eq!(Profiles::load(&file).unwrap().iter().count(), 8);
}
