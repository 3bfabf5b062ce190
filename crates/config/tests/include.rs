//! `$include`.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use chela_config::{Env, Loaded, load};
use tempfile::TempDir;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn read(folder: &Path) -> Loaded {
    load(&folder.join("chela.json5"), &Env::default()).unwrap()
}

/// The errors with the folder's name taken out.
fn refused(folder: &Path) -> String {
    let errors = load(&folder.join("chela.json5"), &Env::default()).unwrap_err().to_string();
    let real = folder.canonicalize().unwrap();
    errors.replace(real.to_str().unwrap(), "DIR").replace(folder.to_str().unwrap(), "DIR")
}

#[test]
fn later_files_win_and_own_keys_win_over_all() {
    let folder = folder(&[
        (
            "chela.json5",
            "{ models: { $include: ['a.json5', './sub/b.json5'], providers: { p: { timeoutSeconds: 3 } } } }",
        ),
        (
            "a.json5",
            "{ mode: 'merge', providers: { p: { baseUrl: 'http://a', timeoutSeconds: 1, models: [{ id: 'x' }] } } }",
        ),
        (
            "sub/b.json5",
            "{ mode: 'replace', providers: { $include: 'c.json5', p: { timeoutSeconds: 2, models: [{ id: 'y' }] } } }",
        ),
        ("sub/c.json5", "{ q: { baseUrl: 'http://q', apiKey: { source: 'file', id: 'key' } } }"),
        ("sub/key", "from-file\n"),
    ]);
    let loaded = read(folder.path());
    let env = Env::default();
    let models = &loaded.config.models;
    assert_eq!(models.mode, Some(chela_config::Mode::Replace));
    let p = &models.providers["p"];
    assert_eq!(p.base_url.as_ref().unwrap().text().raw(), "http://a");
    assert_eq!(p.timeout.unwrap().as_secs(), 3);
    assert_eq!(p.models.iter().map(|model| model.id.raw()).collect::<Vec<_>>(), ["x", "y"]);
    // A path in an included file starts at that file's folder.
    assert_eq!(
        models.providers["q"].api_key.as_ref().unwrap().resolve(None, &env).unwrap().expose(),
        "from-file"
    );
    assert_eq!(loaded.files.len(), 4);
}

#[test]
fn an_object_may_be_nothing_but_an_include() {
    let folder = folder(&[
        (
            "chela.json5",
            "{ models: { providers: { p: { baseUrl: 'http://a', models: { $include: 'list.json5' } } } } }",
        ),
        ("list.json5", "[{ id: 'x' }]"),
    ]);
    assert_eq!(read(folder.path()).config.models.providers["p"].models[0].id.raw(), "x");
}

#[test]
fn the_name_may_take_variables() {
    let folder = folder(&[
        ("chela.json5", "{ $include: '${WHO}.json5' }"),
        ("me.json5", "{ network: { localOnly: true } }"),
    ]);
    let path = folder.path().join("chela.json5");
    let env: Env = [("WHO", "me")].into_iter().collect();
    assert_eq!(load(&path, &env).unwrap().config.network.local_only, Some(true));
    assert_eq!(
        refused(folder.path()),
        "error: $include: $include (DIR/chela.json5:1) takes the environment variable WHO, which is not set\n\
         \x20--> DIR/chela.json5:1:13\n\
         \x20  |\n\
         \x201 | { $include: '${WHO}.json5' }\n\
         \x20  |             ^^^^^^^^^^^^^^\n\
         \x20 = hint: export WHO=…, or change $include"
            .replace("\n -->", "\n  -->")
    );
}

#[test]
fn errors_point_into_the_file_that_holds_them() {
    let folder = folder(&[
        ("chela.json5", "{ models: { $include: 'sub/a.json5' },\n  network: 1 }"),
        ("sub/a.json5", "{\n  mode: 'x',\n  provders: {} }"),
    ]);
    let said = refused(folder.path());
    assert!(said.contains("models.mode: wrong value\n  --> DIR/sub/a.json5:2:9\n"), "{said}");
    assert!(said.contains("network: wrong type\n  --> DIR/chela.json5:2:12\n"), "{said}");
}

#[test]
fn what_cannot_be_included_is_refused_by_name() {
    let table: [(&[(&str, &str)], &str); 9] = [
        (
            &[("chela.json5", "{ $include: 'none.json5' }")],
            "error: $include: cannot read DIR/none.json5: No such file or directory (os error 2)",
        ),
        (&[("chela.json5", "{ $include: 3 }")], "error: $include: wrong type"),
        (
            &[("chela.json5", "{ $include: ['a.json5', null] }"), ("a.json5", "{}")],
            "error: $include: wrong type",
        ),
        (
            &[("chela.json5", "{ $include: 'chela.json5' }")],
            "error: $include: files include each other in a circle: DIR/chela.json5 includes DIR/chela.json5",
        ),
        (
            &[
                ("chela.json5", "{ $include: 'a.json5' }"),
                ("a.json5", "{ models: { $include: 'b.json5' } }"),
                ("b.json5", "{ $include: './a.json5' }"),
            ],
            "error: models.$include: files include each other in a circle: DIR/a.json5 includes DIR/b.json5 includes DIR/a.json5",
        ),
        (
            &[("chela.json5", "{ agents: { $include: 'a.json5', defaults: {} } }"), ("a.json5", "[]")],
            "error: agents.$include: the object has other keys, so what is included must be an object too",
        ),
        (
            &[("chela.json5", "{ $include: 'a.json5' }"), ("a.json5", "{ models: }")],
            "error: syntax: unexpected close brace",
        ),
        (
            &[("chela.json5", "{ $include: 'a.json5' }"), ("a.json5", "{ models: {}, models: {} }")],
            "error: models: this key stands twice in one object",
        ),
        (
            &[("chela.json5", "{ $include: 'sub' }"), ("sub/x", "")],
            "error: $include: cannot read DIR/sub: it is not a file",
        ),
    ];
    for (files, expected) in table {
        let folder = folder(files);
        let said = refused(folder.path());
        assert_eq!(said.lines().next().unwrap(), expected, "{said}");
    }
}

#[test]
fn nothing_above_the_including_file_is_read() {
    let folder = folder(&[
        ("outside.json5", "{}"),
        ("in/chela.json5", "{}"),
        ("in/sub/a.json5", "{ $include: '../b.json5' }"),
        ("in/b.json5", "{}"),
    ]);
    let inner = folder.path().join("in");
    symlink(folder.path().join("outside.json5"), inner.join("link.json5")).unwrap();
    symlink(folder.path(), inner.join("up")).unwrap();
    let absolute = folder.path().join("outside.json5");
    for name in [
        "../outside.json5",
        "link.json5",
        "up/outside.json5",
        "sub/../../outside.json5",
        absolute.to_str().unwrap(),
        "sub/a.json5",
    ] {
        fs::write(inner.join("chela.json5"), format!("{{ $include: {name:?} }}")).unwrap();
        let said = refused(&inner);
        let first = said.lines().next().unwrap();
        assert!(first.contains("is not below the folder of the file that includes it"), "{name}: {said}");
    }
}

#[test]
fn ten_levels_are_read_and_eleven_are_not() {
    let chain = |levels: usize| {
        let folder = folder(&[("chela.json5", "{ $include: '1.json5' }")]);
        for n in 1..levels {
            fs::write(folder.path().join(format!("{n}.json5")), format!("{{ $include: '{}.json5' }}", n + 1))
                .unwrap();
        }
        fs::write(folder.path().join(format!("{levels}.json5")), "{ network: { localOnly: true } }").unwrap();
        folder
    };
    assert_eq!(read(chain(10).path()).config.network.local_only, Some(true));
    let said = refused(chain(11).path());
    let expected = "error: $include: DIR/11.json5 is included at level 11; at most 10 levels are read";
    assert_eq!(said.lines().next().unwrap(), expected);
}

#[test]
fn the_same_file_may_be_included_twice_side_by_side() {
    let folder = folder(&[
        (
            "chela.json5",
            "{ models: { providers: { a: { $include: 'p.json5' }, b: { $include: 'p.json5' } } } }",
        ),
        ("p.json5", "{ baseUrl: 'http://h' }"),
    ]);
    assert_eq!(read(folder.path()).config.models.providers.len(), 2);
}

#[test]
fn a_text_that_is_no_file_includes_nothing() {
    let errors = chela_config::parse("{ $include: 'a' }", "text", &Env::default()).unwrap_err();
    assert_eq!(errors.0[0].message, "this text is not a file, so it cannot include one");
}
