//! Whole configs: what is read, and what the typed values are.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use chela_config::{
    Api, ConfigFile, Effort, Env, Input, Loaded, Mode, NamedBy, ThinkingFormat, load, open, parse,
};

const SEED_QUICK_START: &str = include_str!("fixtures/seed_quick_start.json5");
const SEED_EXPLICIT: &str = include_str!("fixtures/seed_explicit.json5");
/// Keys and values as OpenClaw 2026.9.6 documents and writes them, all areas.
const OPENCLAW: &str = include_str!("fixtures/openclaw.json5");

fn read(text: &str) -> Loaded {
    parse(text, "chela.json5", &Env::default()).unwrap()
}

#[test]
fn the_quick_start_is_read_as_it_is() {
    let loaded = read(SEED_QUICK_START);
    let model = loaded.config.agents.defaults.model.unwrap();
    assert_eq!(model.primary.unwrap().raw(), "vllm/your-model-id");
    assert!(loaded.warnings.is_empty() && loaded.ignored.is_empty());
}

#[test]
fn the_explicit_provider_is_read_as_it_is() {
    let loaded = read(SEED_EXPLICIT);
    assert!(loaded.warnings.is_empty() && loaded.ignored.is_empty());
    let env: Env = [("VLLM_API_KEY", "vllm-local")].into_iter().collect();
    let vllm = &loaded.config.models.providers["vllm"];
    assert_eq!(vllm.base_url.as_ref().unwrap().resolve(&env).unwrap(), "http://127.0.0.1:8000/v1");
    assert_eq!(vllm.api_key.as_ref().unwrap().resolve(None, &env).unwrap().expose(), "vllm-local");
    assert_eq!(vllm.api, Api::OpenaiCompletions);
    let model = &vllm.models[0];
    assert_eq!(model.id.raw(), "your-model-id");
    assert_eq!(model.name.as_ref().unwrap().raw(), "Local vLLM Model");
    assert_eq!(model.reasoning, Some(false));
    assert_eq!(model.input.as_deref(), Some(&[Input::Text][..]));
    let cost = model.cost.as_ref().unwrap();
    assert_eq!(
        [cost.input, cost.output, cost.cache_read, cost.cache_write],
        [Some(0.0), Some(0.0), Some(0.0), Some(0.0)]
    );
    assert_eq!((model.context_window, model.max_tokens), (Some(128_000), Some(8192)));
}

#[test]
fn an_openclaw_file_works_unchanged() {
    let loaded = read(OPENCLAW);
    let env: Env = [("VLLM_API_KEY", "k"), ("TEAM_TOKEN", "t"), ("TEAM_USER", "u"), ("HOME", "/home/u")]
        .into_iter()
        .collect();
    let config = &loaded.config;
    assert_eq!(config.models.mode, Some(Mode::Merge));
    let vllm = &config.models.providers["vllm"];
    assert_eq!(vllm.timeout, Some(Duration::from_secs(600)));
    assert_eq!(vllm.api_key.as_ref().unwrap().resolve(Some("VLLM_API_KEY"), &env).unwrap().expose(), "k");
    assert_eq!(vllm.headers["X-Token"].resolve(None, &env).unwrap().expose(), "t");
    assert_eq!(vllm.request.tls.ca_file.as_ref().unwrap().resolve(&env).unwrap(), Path::new("ca.pem"));
    let compat = &vllm.models[0].compat;
    assert_eq!(compat.thinking_format, Some(ThinkingFormat::QwenChatTemplate));
    assert_eq!(compat.supported_reasoning_efforts, Some(vec![Effort::Low, Effort::High]));
    let defaults = &config.agents.defaults;
    assert_eq!(defaults.model.as_ref().unwrap().fallbacks[0].raw(), "anthropic/claude");
    assert_eq!(
        defaults.workspace.as_ref().unwrap().resolve(&env).unwrap(),
        Path::new("/home/u/.openclaw/workspace")
    );
    assert!(defaults.has_wildcard("vllm") && !defaults.has_wildcard("anthropic"));
    let entries: Vec<_> = defaults.entries_for("vllm", "Qwen/Qwen3-8B").collect();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1].alias.as_ref().unwrap().raw(), "qwen");
    let params = entries[1].params.resolve(&env).unwrap();
    assert_eq!(params["extra_body"]["user"], "u");

    // The other product's permissions are read nowhere.
    let ignored: Vec<&str> = loaded.ignored.iter().map(|key| key.key.as_str()).collect();
    for key in
        ["tools", "gateway", "agents.defaults.elevatedDefault", "agents.defaults.sandbox", "agents.list"]
    {
        assert!(ignored.contains(&key), "{key}");
    }
    assert_eq!(config.network.local_only, None);
    assert_eq!(
        loaded.ignored_line().unwrap(),
        "25 keys of OpenClaw have no effect here (`chela config validate` lists them)"
    );
    // One provider cannot be used; the file can.
    assert_eq!(loaded.warnings.len(), 1);
    let refused = config.models.providers["anthropic"].supported("anthropic").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "models.providers.anthropic.api is \"anthropic-messages\"; Chela speaks \"openai-completions\": use the \
         server's OpenAI-compatible address, or another provider"
    );
}

#[test]
fn every_liberty_of_json5_is_taken() {
    let text = "\u{feff}// comment\n{ /* c */ 'agents': { defaults: { model: 'a\\\nb/\\x41\\u00e9', timeoutSeconds: +.5, }, },\n\
                models: { providers: { $x_1: { baseUrl: \"http://h\", timeoutSeconds: 5., models: [\n\
                { id: 'm', contextWindow: 0x8000, maxTokens: 8e3, cost: { input: 1e-1 } }, ], } } } }";
    let loaded = read(text);
    let defaults = &loaded.config.agents.defaults;
    assert_eq!(defaults.model.as_ref().unwrap().primary.as_ref().unwrap().raw(), "ab/A\u{e9}");
    assert_eq!(defaults.timeout, Some(Duration::from_millis(500)));
    let provider = &loaded.config.models.providers["$x_1"];
    assert_eq!(provider.timeout, Some(Duration::from_secs(5)));
    assert_eq!((provider.models[0].context_window, provider.models[0].max_tokens), (Some(32768), Some(8000)));
}

#[test]
fn an_empty_file_and_comments_alone_are_an_empty_config() {
    for text in ["", "\u{feff}", " \n", "// nothing\n", "/* */", "{}"] {
        let loaded = read(text);
        assert_eq!(loaded.config, Default::default(), "{text:?}");
    }
}

#[test]
fn only_the_file_in_the_home_folder_may_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chela.json5");
    let missing = |named_by| open(&ConfigFile { path: path.clone(), named_by }, &Env::default());
    assert!(missing(NamedBy::Default).unwrap().files.is_empty());
    for named_by in [NamedBy::Flag, NamedBy::Variable] {
        let error = missing(named_by).unwrap_err().to_string();
        let expected = format!(
            "error: cannot read {}: No such file or directory (os error 2)\n  = hint: name another file with --config, \
             or create this one",
            path.display()
        );
        assert_eq!(error, expected);
    }
    std::fs::write(&path, "{ network: { localOnly: true } }").unwrap();
    assert_eq!(missing(NamedBy::Default).unwrap().config.network.local_only, Some(true));
}

#[test]
fn what_is_not_a_text_file_of_sensible_size_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let said = |path: &Path| load(path, &Env::default()).unwrap_err().to_string();
    assert!(said(folder.path()).ends_with("it is not a file"));
    assert!(said(Path::new("/dev/zero")).ends_with("it is not a file"));
    let large = folder.path().join("large");
    std::fs::write(&large, vec![b' '; 2 * 1024 * 1024 + 1]).unwrap();
    assert!(said(&large).ends_with("it has 2097153 bytes; at most 2097152 are read"));
    let binary = folder.path().join("binary");
    std::fs::write(&binary, [b'{', 0xff, b'}']).unwrap();
    assert!(said(&binary).contains("UTF-8"), "{}", said(&binary));
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    let deep = |n: usize| format!("{{ agents: {}1{} }}", "[".repeat(n), "]".repeat(n));
    let errors = parse(&deep(100_000), "deep", &Env::default()).unwrap_err();
    assert_eq!(errors.0[0].message, "syntax: maximum nesting depth exceeded");
    let errors = parse(&deep(500), "deep", &Env::default()).unwrap_err();
    assert_eq!(errors.0[0].message, "wrong type");
    let ignored = format!("{{ gateway: {}1{} }}", "[".repeat(500), "]".repeat(500));
    assert_eq!(read(&ignored).ignored.len(), 1);
}

#[test]
fn variables_are_taken_when_they_are_needed() {
    let text = r#"{
      agents: { defaults: { model: "${PROVIDER}/m", workspace: "${WORK}/x" } },
      models: { providers: { vllm: {
        baseUrl: "http://${VLLM_HOST}:${VLLM_PORT}/v1", headers: { "X-A": "a$${B}c${D}" },
      } } },
    }"#;
    let env: Env =
        [("VLLM_HOST", "gpu"), ("VLLM_PORT", "9000"), ("D", "d"), ("PROVIDER", "")].into_iter().collect();
    let loaded = parse(text, "dir/chela.json5", &env).unwrap();
    let vllm = &loaded.config.models.providers["vllm"];
    assert_eq!(vllm.base_url.as_ref().unwrap().resolve(&env).unwrap(), "http://gpu:9000/v1");
    assert_eq!(vllm.headers["X-A"].resolve(None, &env).unwrap().expose(), "a${B}cd");

    let defaults = &loaded.config.agents.defaults;
    let model = defaults.model.as_ref().unwrap().primary.as_ref().unwrap();
    let missing = model.resolve(&env).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "agents.defaults.model (dir/chela.json5:2) takes the environment variable PROVIDER, which is empty"
    );
    assert_eq!(missing.hint(), "export PROVIDER=…, or change agents.defaults.model");
    let missing = defaults.workspace.as_ref().unwrap().resolve(&env).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "agents.defaults.workspace (dir/chela.json5:2) takes the environment variable WORK, which is not set"
    );
    let all: Vec<String> =
        loaded.missing_variables(&env).into_iter().map(|missing| missing.variable).collect();
    assert_eq!(all, ["PROVIDER", "WORK"]);

    let env: Env = [("VLLM_HOST", "user:pw@gpu"), ("VLLM_PORT", "1"), ("WORK", "/w")].into_iter().collect();
    assert_eq!(
        vllm.base_url.as_ref().unwrap().resolve(&env).unwrap_err().to_string(),
        "models.providers.vllm.baseUrl (dir/chela.json5:4): expected an address like http://127.0.0.1:8000/v1, found \
         \"http://***@gpu:1/v1\""
    );
    assert_eq!(defaults.workspace.as_ref().unwrap().resolve(&env).unwrap(), PathBuf::from("/w/x"));
}

#[test]
fn a_relative_path_starts_at_the_config() {
    let env = Env::default();
    let loaded =
        parse("{ agents: { defaults: { workspace: 'w' } } }", "/etc/chela/chela.json5", &env).unwrap();
    let workspace = loaded.config.agents.defaults.workspace.unwrap();
    assert_eq!(workspace.resolve(&env).unwrap(), Path::new("/etc/chela/w"));
}
