//! Secrets: every form of reference, and that no way of showing one shows its value.

#![allow(clippy::unwrap_used)]

use std::fs;

use chela_config::{Config, Env, KeyPath, Secret, SecretSource, load, parse};

const SECRET: &str = "sk-do-not-show";

fn key(config: &Config, provider: &str, variable: Option<&str>, env: &Env) -> Result<Secret, String> {
    let provider = &config.models.providers[provider];
    provider.api_key.as_ref().unwrap().resolve(variable, env).map_err(|error| error.to_string())
}

fn provider(api_key: &str) -> String {
    format!("{{ models: {{ providers: {{ vllm: {{ apiKey: {api_key} }} }} }} }}")
}

#[test]
fn every_form_of_a_key_resolves() {
    let env: Env = [("VLLM_API_KEY", SECRET), ("OTHER", "o")].into_iter().collect();
    let table = [
        ("'VLLM_API_KEY'", Some("VLLM_API_KEY"), SECRET, "$VLLM_API_KEY"),
        ("'VLLM_API_KEY'", None, "VLLM_API_KEY", "chela.json5"),
        ("'OTHER'", Some("VLLM_API_KEY"), "OTHER", "chela.json5"),
        ("'${VLLM_API_KEY}'", None, SECRET, "$VLLM_API_KEY"),
        ("'a-${OTHER}-b'", None, "a-o-b", "$OTHER"),
        ("'$${OTHER}'", None, "${OTHER}", "chela.json5"),
        ("'${other}'", None, "${other}", "chela.json5"),
        ("{ source: 'env', id: 'OTHER' }", None, "o", "$OTHER"),
        ("{ source: 'env', provider: 'default', id: 'OTHER' }", None, "o", "$OTHER"),
        ("'literal'", Some("VLLM_API_KEY"), "literal", "chela.json5"),
    ];
    for (form, variable, value, source) in table {
        let loaded = parse(&provider(form), "chela.json5", &env).unwrap();
        let secret = key(&loaded.config, "vllm", variable, &env).unwrap();
        assert_eq!((secret.expose(), secret.source().to_string().as_str()), (value, source), "{form}");
    }
}

#[test]
fn what_is_missing_is_named_and_nothing_is_made_up() {
    let env: Env = [("EMPTY", "")].into_iter().collect();
    let takes = "models.providers.vllm.apiKey (chela.json5:1) takes the environment variable";
    let table = [
        ("'VLLM_API_KEY'", format!("{takes} VLLM_API_KEY, which is not set")),
        ("'${VLLM_API_KEY}'", format!("{takes} VLLM_API_KEY, which is not set")),
        ("'${EMPTY}'", format!("{takes} EMPTY, which is empty")),
        ("{ source: 'env', id: 'NONE' }", format!("{} NONE, which is not set", takes.replace("apiKey", "apiKey.id"))),
        ("''", "models.providers.vllm.apiKey is empty (from chela.json5); give it a value or remove the key".to_owned()),
        (
            "{ source: 'file', id: '/none' }",
            "models.providers.vllm.apiKey.id takes its value from the file /none: No such file or directory (os error 2)"
                .to_owned(),
        ),
        ("{ source: 'file', id: '/dev/zero' }", "models.providers.vllm.apiKey.id takes its value from the file /dev/zero: it is not a file".to_owned()),
    ];
    for (form, expected) in table {
        let loaded = parse(&provider(form), "chela.json5", &env).unwrap();
        let error = key(&loaded.config, "vllm", Some("VLLM_API_KEY"), &env).unwrap_err();
        assert_eq!(error, expected, "{form}");
    }
}

#[test]
fn a_file_holds_the_key_and_a_newline_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("chela.json5");
    fs::write(&config, provider("{ source: 'file', id: 'keys/vllm' }")).unwrap();
    fs::create_dir(folder.path().join("keys")).unwrap();
    let file = folder.path().join("keys/vllm");
    let env = Env::default();
    let loaded = load(&config, &env).unwrap();
    for (content, value) in [("k", "k"), ("k\n", "k"), ("k k\r\n\n", "k k")] {
        fs::write(&file, content).unwrap();
        assert_eq!(key(&loaded.config, "vllm", None, &env).unwrap().expose(), value);
    }
    fs::write(&file, "\n").unwrap();
    assert!(key(&loaded.config, "vllm", None, &env).unwrap_err().contains("is empty (from the file"));
    fs::write(&file, vec![b'k'; 65 * 1024]).unwrap();
    assert!(
        key(&loaded.config, "vllm", None, &env)
            .unwrap_err()
            .contains("it has 66560 bytes; a key has at most 65536")
    );
}

#[test]
fn no_way_of_showing_a_secret_shows_it() {
    let text = format!(
        "{{
          models: {{ providers: {{ vllm: {{
            apiKey: '{SECRET}', headers: {{ Authorization: 'Bearer {SECRET}', 'X-Env': '${{TOKEN}}' }},
          }} }}, proxy: 'http://user:{SECRET}@proxy' }},
          gateway: {{ auth: {{ token: '{SECRET}' }}, port: 1 }},
          env: {{ vars: {{ ANY_NAME: '{SECRET}' }} }},
          channels: {{ telegram: {{ botToken: '{SECRET}', name: 'bot' }} }},
          mcp: {{ servers: {{ a: {{ env: {{ X: '{SECRET}' }} }} }} }},
        }}"
    );
    let env: Env = [("TOKEN", SECRET)].into_iter().collect();
    let loaded = parse(&text, "chela.json5", &env).unwrap();
    let secret = key(&loaded.config, "vllm", None, &env).unwrap();
    assert_eq!(secret.to_string(), "*** (from chela.json5)");
    let all = loaded.show(&KeyPath::default(), &|_| None).unwrap();
    for shown in [
        format!("{secret} {secret:?}"),
        format!("{:?}", loaded.config.models.providers["vllm"].headers),
        format!("{env:?}"),
        all.to_string(),
    ] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
    let show = |path: &str| loaded.show(&path.parse().unwrap(), &|_| None).unwrap();
    assert_eq!(show("models.providers.vllm.apiKey"), "*** (from chela.json5)");
    assert_eq!(show("models.providers.vllm.headers.X-Env"), "*** (from $TOKEN)");
    assert_eq!(show("channels.telegram.name"), "bot");
    assert_eq!(show("gateway.port"), 1);
}

#[test]
fn a_reference_is_shown_by_what_it_refers_to() {
    let env = Env::default();
    let shown = |form: &str| {
        let loaded = parse(&provider(form), "chela.json5", &env).unwrap();
        let variable = |id: &str| (id == "vllm").then(|| "VLLM_API_KEY".to_owned());
        loaded.show(&"models.providers.vllm.apiKey".parse().unwrap(), &variable).unwrap()
    };
    assert_eq!(shown("'VLLM_API_KEY'"), "*** (from $VLLM_API_KEY)");
    assert_eq!(shown("'${OTHER}'"), "*** (from $OTHER)");
    assert_eq!(shown("{ source: 'env', id: 'X' }"), "*** (from $X)");
    assert_eq!(shown("{ source: 'file', id: 'k.txt' }"), "*** (from the file k.txt)");
}

#[test]
fn what_is_not_set_is_said_with_what_may_be_meant() {
    let loaded = parse("{ network: { localOnly: true } }", "chela.json5", &Env::default()).unwrap();
    let said = |path: &str| loaded.show(&path.parse().unwrap(), &|_| None).unwrap_err().to_string();
    assert_eq!(said("network.localonly"), "network.localonly is not set; did you mean network.localOnly?");
    assert_eq!(said("models.mode"), "models.mode is not set");
    assert_eq!(said("network.localOnly[0]"), "network.localOnly[0] is not set");
}

#[test]
fn a_source_names_itself() {
    let table = [
        (SecretSource::Variable("A".into()), "$A"),
        (SecretSource::Profile("vllm:default".into()), "the auth profile vllm:default"),
        (SecretSource::File("/k".into()), "the file /k"),
    ];
    for (source, name) in table {
        assert_eq!(Secret::new("x", source).to_string(), format!("*** (from {name})"));
    }
}
