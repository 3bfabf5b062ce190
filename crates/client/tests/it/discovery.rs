//! Which providers there are, what their servers say, and what each failure costs.

use std::time::{Duration, Instant};

use chela_client::catalog::{Source, Target, scan};
use chela_client::openai::models::ModelCard;
use chela_client::{Catalog, Http, HttpSettings, Listing, ModelRef, Scope};
use chela_server::misbehave::{Act, Misbehave, response};
use chela_server::{Canned, Gate, Scripted};
use serde_json::json;
use url::Url;

use crate::common::*;

async fn list(catalog: &Catalog) -> Listing {
    catalog.models(&Scope::default()).await
}

fn names(listing: &Listing) -> Vec<String> {
    listing.models.iter().map(|model| model.reference.to_string()).collect()
}

fn explicit(base_url: &str) -> String {
    format!("{{models: {{providers: {{vllm: {{baseUrl: '{base_url}'}}}}}}}}")
}

#[tokio::test]
async fn nothing_configured_asks_nobody() {
    let catalog = catalog("{}", &[("OPENAI_API_KEY", "sk-x")]);
    assert!(catalog.providers().is_empty());
    let error = catalog.default_model().await.unwrap_err();
    assert!(error.to_string().contains("chela models scan"), "{error}");
    assert_eq!(error.exit_class().code(), 3);
    let error = catalog.find("vllm/x").await.unwrap_err();
    assert!(error.to_string().contains("VLLM_API_KEY"), "{error}");
}

#[tokio::test]
async fn the_implicit_vllm_lists_what_its_server_has() {
    let server = Scripted::new().model("Qwen/Qwen3-8B").max_model_len(32768).serve();
    let base = server.base_url();
    for env in
        [vec![("VLLM_BASE_URL", base.as_str())], vec![("VLLM_BASE_URL", &base), ("VLLM_API_KEY", "any")]]
    {
        let listing = list(&catalog("{}", &env)).await;
        assert_eq!(names(&listing), ["vllm/Qwen/Qwen3-8B"]);
        let window = &listing.models[0].limits.context_window;
        assert_eq!((window.value, window.from), (32768, Source::Runtime));
        assert_eq!(listing.warnings, [""; 0]);
    }
    let keys: Vec<String> =
        server.requests().iter().map(|request| request.header("authorization").to_owned()).collect();
    assert_eq!(keys, ["", "Bearer any"]);
}

#[test]
fn the_key_variable_alone_opts_in_at_the_default_address() {
    let settings = settings("{}", &[("VLLM_API_KEY", "any")], None);
    let providers = chela_client::catalog::Catalog::new(settings).providers();
    assert_eq!((providers.len(), providers[0].id.as_str(), providers[0].discovers), (1, "vllm", true));
    let empty = catalog("{}", &[("VLLM_API_KEY", "")]);
    assert!(empty.providers().is_empty());
    let endpoint = catalog("{}", &[("VLLM_API_KEY", "any")]).endpoint("vllm").unwrap();
    assert_eq!(endpoint.api("models").as_str(), "http://127.0.0.1:8000/v1/models");
}

#[test]
fn an_auth_profile_opts_in_too() {
    let mut settings = settings("{}", &[], None);
    let secret = chela_config::Secret::new("k", chela_config::SecretSource::Profile("vllm".to_owned()));
    settings.profiles.insert("vllm".to_owned(), secret);
    let catalog = Catalog::new(settings);
    let endpoint = catalog.endpoint("vllm").unwrap();
    assert!(endpoint.key.unwrap().source.contains("profile"));
}

#[tokio::test]
async fn openai_base_url_makes_a_provider_with_its_key() {
    let server = Scripted::new().model("m").serve();
    let base = server.base_url();
    let listing = list(&catalog("{}", &[("OPENAI_BASE_URL", &base), ("OPENAI_API_KEY", "sk-x")])).await;
    assert_eq!(names(&listing), ["openai/m"]);
    assert_eq!(server.requests()[0].header("authorization"), "Bearer sk-x");
}

#[tokio::test]
async fn an_explicit_provider_that_declares_models_is_not_asked() {
    let server = Scripted::new().serve();
    let listing = list(&catalog(&declared(&server.base_url(), ""), &[("VLLM_API_KEY", "any")])).await;
    assert_eq!(names(&listing), ["vllm/tiny"]);
    assert!(server.requests().is_empty());
    assert_eq!(listing.models[0].limits.context_window.from, Source::Config);
}

#[tokio::test]
async fn a_declared_model_without_a_limit_has_its_server_asked_for_it() {
    let server = Scripted::new().models(vec![
        ModelCard { max_model_len: Some(4096), ..ModelCard::new("tiny") },
        ModelCard { max_model_len: Some(4096), ..ModelCard::new("other") },
    ]);
    let server = server.serve();
    let config = format!(
        "{{models: {{providers: {{vllm: {{baseUrl: '{}', models: [{{id: 'tiny', contextWindow: 128000}}]}}}}}}}}",
        server.base_url()
    );
    let listing = list(&catalog(&config, &[])).await;
    assert_eq!(names(&listing), ["vllm/tiny"], "the list itself is not merged");
    let window = &listing.models[0].limits.context_window;
    assert_eq!((window.value, window.from), (4096, Source::Runtime));
    assert!(listing.warnings[0].contains("128000"), "{:?}", listing.warnings);
}

#[tokio::test]
async fn a_wildcard_merges_and_declared_values_win() {
    let server = Scripted::new().models(vec![
        ModelCard { max_model_len: Some(4096), ..ModelCard::new("tiny") },
        ModelCard { max_model_len: Some(4096), ..ModelCard::new("a/b") },
    ]);
    let server = server.serve();
    let config = format!(
        "{{agents: {{defaults: {{models: {{'vllm/*': {{}}}}}}}},
          models: {{providers: {{vllm: {{baseUrl: '{}',
            models: [{{id: 'tiny', name: 'Tiny', contextWindow: 2048, maxTokens: 100, reasoning: true}}]}}}}}}}}",
        server.base_url()
    );
    let listing = list(&catalog(&config, &[])).await;
    assert_eq!(names(&listing), ["vllm/tiny", "vllm/a/b"]);
    let tiny = &listing.models[0];
    assert_eq!(
        (tiny.name.as_str(), tiny.limits.context_window.value, tiny.limits.max_tokens.value),
        ("Tiny", 2048, 100)
    );
    assert!(tiny.caps.reasoning.value && tiny.caps.reasoning.from == Source::Config);
}

#[tokio::test]
async fn an_explicit_provider_without_models_is_asked() {
    let server = Scripted::new().model("m").serve();
    assert_eq!(names(&list(&catalog(&explicit(&server.base_url()), &[])).await), ["vllm/m"]);
}

#[tokio::test]
async fn mode_replace_leaves_out_what_the_environment_opts_in_to() {
    let catalog = catalog("{models: {mode: 'replace'}}", &[("VLLM_API_KEY", "any")]);
    assert!(catalog.providers().is_empty());
}

#[tokio::test]
async fn a_missing_variable_is_named_when_the_key_is_needed_and_never_sent() {
    let server = Scripted::new().serve();
    let config = declared(&server.base_url(), "apiKey: '${MY_KEY}',");
    let catalog = catalog(&config, &[]);
    let error = catalog.find("vllm/tiny").await.unwrap_err();
    assert!(error.to_string().contains("MY_KEY") && error.to_string().contains("apiKey"), "{error}");
    assert_eq!(error.exit_class().code(), 3);
    assert!(list(&catalog).await.warnings[0].contains("MY_KEY"));
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn the_bare_name_of_the_providers_variable_is_a_reference() {
    let server = Scripted::new().api_key("right").serve();
    let config = format!(
        "{{models: {{providers: {{vllm: {{baseUrl: '{}', apiKey: 'VLLM_API_KEY'}}}}}}}}",
        server.base_url()
    );
    let listing = list(&catalog(&config, &[("VLLM_API_KEY", "right")])).await;
    assert_eq!(listing.models.len(), 1, "{:?}", listing.warnings);
}

/// What a listing of this server warns, and how long it takes.
async fn warning(base_url: &str, more: &str) -> String {
    let config = format!("{{models: {{providers: {{vllm: {{baseUrl: '{base_url}', {more}}}}}}}}}");
    let start = Instant::now();
    let listing = list(&catalog(&config, &[])).await;
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_eq!(listing.warnings.len(), 1, "{:?}", listing.warnings);
    assert!(listing.warnings[0].contains("http://"), "the address is named: {}", listing.warnings[0]);
    assert_eq!(listing.providers[0].class.unwrap().code(), 3);
    listing.warnings[0].clone()
}

async fn canned(answer: Canned) -> String {
    let server = Scripted::new().route("GET", "/v1/models", answer).serve();
    warning(&server.base_url(), "").await
}

#[tokio::test]
async fn every_failure_has_its_own_message() {
    let table = [
        (Canned::json(401, &json!({"error": "Unauthorized"})), "wants a key", "VLLM_API_KEY"),
        (Canned::json(403, &json!({"error": "no"})), "wants a key", "VLLM_API_KEY"),
        (Canned::json(500, &json!({"error": "boom"})), "failed with 500: boom", "log"),
        (Canned::new(200, "application/json", "{\"data\": [{\"id\""), "not JSON", "OpenAI-compatible"),
        (Canned::new(200, "text/plain", "hello"), "not JSON: hello", "OpenAI-compatible"),
        (Canned::new(200, "text/html", "<html>hi</html>"), "web page", "OpenAI-compatible"),
        (Canned::json(200, &json!({"models": []})), "no model list", "OpenAI-compatible"),
        (Canned::json(200, &json!({"object": "list", "data": []})), "lists no models", "load a model"),
        (Canned::json(404, &json!({"detail": "Not Found"})), "no model list at this address", "baseUrl"),
        (Canned::json(418, &json!({"detail": "teapot"})), "418: teapot", "chela doctor"),
    ];
    for (answer, cause, remedy) in table {
        let warning = canned(answer).await;
        assert!(warning.contains(cause) && warning.contains(remedy), "{warning}");
    }
}

#[tokio::test]
async fn a_refused_key_is_told_from_a_missing_one() {
    let server = Scripted::new().api_key("right").serve();
    let warning = warning(&server.base_url(), "apiKey: 'wrong'").await;
    assert!(warning.contains("refuses the key") && warning.contains("test.json5"), "{warning}");
    assert!(!warning.contains("wrong"), "{warning}");
}

#[tokio::test]
async fn a_redirect_elsewhere_is_told_and_not_followed() {
    let other = Scripted::new().serve();
    let location = format!("{}/v1/models", other.origin());
    let warning = canned(Canned::new(301, "text/plain", "").header("location", &location)).await;
    assert!(warning.contains("redirects to") && warning.contains(&location), "{warning}");
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn a_missing_or_doubled_v1_names_the_right_address() {
    let server = Scripted::new().serve();
    let right = server.base_url();
    let missing = warning(&server.origin(), "").await;
    assert!(missing.contains("lacks /v1") && missing.contains(&format!("to {right}")), "{missing}");
    for deep in ["/v1/v1", "/v1/chat/completions", "/v1/models"] {
        let warning = warning(&format!("{}{deep}", server.origin()), "").await;
        assert!(warning.contains("too deep") && warning.ends_with(&format!("to {right}")), "{warning}");
    }
}

#[tokio::test]
async fn a_dead_server_costs_a_line_and_no_time() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    // Refused, not waited for until a time was over.
    let warning = warning(&format!("http://{address}/v1"), "").await;
    assert!(warning.contains("refused") && warning.contains("vllm serve"), "{warning}");
}

#[tokio::test]
async fn a_silent_server_is_given_up_in_time() {
    let server = Misbehave::serve(vec![vec![Act::Request, Act::Hang]]);
    let warning = warning(&server.base_url(), "").await;
    assert!(warning.contains("no answer within 5 s"), "{warning}");
}

#[tokio::test]
async fn a_dropped_connection_and_a_tls_port_are_told() {
    let server = Misbehave::serve(vec![vec![Act::Request, Act::Reset]]);
    assert!(warning(&server.base_url(), "").await.contains("connection was closed"));
    let garbage = Misbehave::serve(vec![vec![Act::Request, Act::send(&b"\x15\x03\x01\x00\x02"[..])]]);
    assert!(warning(&garbage.base_url(), "").await.contains("https"), "names the other scheme");
}

#[tokio::test]
async fn a_dead_server_does_not_hide_a_living_one() {
    let living = Scripted::new().model("m").serve();
    let config = format!(
        "{{models: {{providers: {{dead: {{baseUrl: 'http://127.0.0.1:9/v1'}}, living: {{baseUrl: '{}'}}}}}}}}",
        living.base_url()
    );
    let listing = list(&catalog(&config, &[])).await;
    assert_eq!((names(&listing), listing.warnings.len()), (vec!["living/m".to_owned()], 1));
}

#[tokio::test]
async fn servers_are_asked_at_once() {
    let gate = Gate::new();
    let page = || vec![Act::Request, Act::Hold(gate.clone()), Act::send(list_body())];
    let (a, b, c) =
        (Misbehave::serve(vec![page()]), Misbehave::serve(vec![page()]), Misbehave::serve(vec![page()]));
    let config = format!(
        "{{models: {{providers: {{a: {{baseUrl: '{}'}}, b: {{baseUrl: '{}'}}, c: {{baseUrl: '{}'}}}}}}}}",
        a.base_url(),
        b.base_url(),
        c.base_url()
    );
    // None answers before all are asked.
    let open = async {
        while [&a, &b, &c].iter().any(|server| server.received().is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        gate.open();
    };
    let catalog = catalog(&config, &[]);
    let listed = tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(list(&catalog), open) });
    assert_eq!(names(&listed.await.unwrap().0), ["a/m", "b/m", "c/m"]);
}

fn list_body() -> Vec<u8> {
    response(
        "200 OK",
        "application/json",
        json!({"object": "list", "data": [{"id": "m", "object": "model"}]}).to_string(),
    )
}

#[tokio::test]
async fn the_list_is_kept_between_processes_and_refreshed_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let server = Scripted::new().model("m").serve();
    let config = explicit(&server.base_url());
    let process = || Catalog::new(settings(&config, &[], Some(folder.path().to_owned())));
    assert_eq!(names(&list(&process()).await), ["vllm/m"]);
    let again = list(&process()).await;
    assert_eq!(server.requests().len(), 1, "the second process reads the cache");
    assert!(again.providers[0].age.is_some());
    process().models(&Scope { refresh: true, provider: None }).await;
    assert_eq!(server.requests().len(), 2);
    // A server that is gone: the old list, and a warning with its age.
    drop(server);
    let stale = process().models(&Scope { refresh: true, provider: None }).await;
    assert_eq!(names(&stale), ["vllm/m"]);
    assert!(stale.warnings[0].contains("showing what it said"), "{:?}", stale.warnings);
}

#[tokio::test]
async fn a_model_newer_than_the_cache_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let page = |id: &str| {
        response(
            "200 OK",
            "application/json",
            json!({"data": [{"id": id, "max_model_len": 100}]}).to_string(),
        )
    };
    let script = |id| vec![Act::Request, Act::send(page(id))];
    let server = Misbehave::serve(vec![script("old"), script("new")]);
    let config = explicit(&server.base_url());
    let process = || Catalog::new(settings(&config, &[], Some(folder.path().to_owned())));
    process().find("vllm/old").await.unwrap();
    process().find("vllm/new").await.unwrap();
}

#[tokio::test]
async fn references_aliases_and_bare_ids() {
    let server = Scripted::new().model("Qwen/Qwen3-8B").serve();
    let config = format!(
        "{{agents: {{defaults: {{model: 'main', models: {{'a/Qwen/Qwen3-8B': {{alias: 'main'}}}}}}}},
          models: {{providers: {{a: {{baseUrl: '{0}'}}, b: {{baseUrl: '{0}', models: [{{id: 'only', contextWindow: 100, maxTokens: 10}}]}}}}}}}}",
        server.base_url()
    );
    let catalog = catalog(&config, &[]);
    let main = ModelRef::new("a", "Qwen/Qwen3-8B");
    assert_eq!(catalog.default_model().await.unwrap().reference, main);
    assert_eq!(catalog.reference("Qwen/Qwen3-8B").await.unwrap(), main);
    assert_eq!(catalog.reference("only").await.unwrap(), ModelRef::new("b", "only"));
    let error = catalog.find("a/Qwen/Qwen3-9B").await.unwrap_err().to_string();
    assert!(error.contains("a/Qwen/Qwen3-8B"), "{error}");
    let error = catalog.find("b/other").await.unwrap_err().to_string();
    assert!(error.contains("b/*"), "{error}");
    let error = catalog.find("nobody/x").await.unwrap_err().to_string();
    assert!(error.contains("a, b"), "{error}");
}

#[tokio::test]
async fn a_bare_id_of_two_providers_is_ambiguous() {
    let server = Scripted::new().model("m").serve();
    let config = format!(
        "{{models: {{providers: {{a: {{baseUrl: '{0}'}}, b: {{baseUrl: '{0}'}}}}}}}}",
        server.base_url()
    );
    let error = catalog(&config, &[]).find("m").await.unwrap_err();
    assert!(error.to_string().contains("a/m or b/m"), "{error}");
    assert_eq!(error.exit_class().code(), 2);
}

#[tokio::test]
async fn the_server_is_known_by_what_it_says_not_by_its_name() {
    let template = "{% for m in messages %}<|im_start|>{{ m.role }}<tool_call>{% endfor %}";
    let props = json!({"default_generation_settings": {"n_ctx": 4096}, "total_slots": 2,
        "modalities": {"vision": true}, "chat_template": template});
    let card = ModelCard { owned_by: "llamacpp".to_owned(), ..ModelCard::new("m") };
    let server = Scripted::new().models(vec![card]).route("GET", "/props", Canned::json(200, &props)).serve();
    let listing = list(&catalog("{}", &[("VLLM_BASE_URL", &server.base_url())])).await;
    let model = &listing.models[0];
    assert_eq!(
        (model.limits.context_window.value, model.limits.context_window.from),
        (4096, Source::Runtime)
    );
    assert_eq!(model.provider.row.id, "llamacpp");
    assert_eq!(model.family.unwrap().id, "qwen2.5", "by its template, since its name says nothing");
    assert_eq!(model.caps.input.value.len(), 2);
}

#[tokio::test]
async fn limits_of_ollama_lm_studio_and_litellm() {
    let card = |owner: &str| vec![ModelCard { owned_by: owner.to_owned(), ..ModelCard::new("m") }];
    let ps = json!({"models": [{"name": "m", "context_length": 16384}]});
    let show =
        json!({"model_info": {"qwen3.context_length": 40960}, "capabilities": ["completion", "tools"]});
    let ollama = Scripted::new()
        .models(card("library"))
        .route("GET", "/api/ps", Canned::json(200, &ps))
        .route("POST", "/api/show", Canned::json(200, &show))
        .serve();
    let lmstudio = json!({"data": [{"id": "m", "type": "vlm", "loaded_context_length": 8000, "max_context_length": 32768}]});
    let lmstudio = Scripted::new()
        .models(card("organization_owner"))
        .route("GET", "/api/v0/models", Canned::json(200, &lmstudio))
        .serve();
    let info = json!({"data": [{"model_name": "m", "model_info": {"max_input_tokens": 12000, "max_output_tokens": 3000}}]});
    let litellm =
        Scripted::new().models(card("openai")).route("GET", "/model/info", Canned::json(200, &info)).serve();
    let config = format!(
        "{{models: {{providers: {{ollama: {{baseUrl: '{}'}}, lmstudio: {{baseUrl: '{}'}}, litellm: {{baseUrl: '{}'}}}}}}}}",
        ollama.base_url(),
        lmstudio.base_url(),
        litellm.base_url()
    );
    let listing = list(&catalog(&config, &[])).await;
    let window = |provider: &str| {
        let model = listing.models.iter().find(|model| model.reference.provider == provider).unwrap();
        (model.limits.context_window.value, model.limits.context_window.from)
    };
    assert_eq!(window("ollama"), (16384, Source::Runtime));
    assert_eq!(window("lmstudio"), (8000, Source::Runtime));
    assert_eq!(window("litellm"), (12000, Source::Runtime));
    let litellm = listing.models.iter().find(|model| model.reference.provider == "litellm").unwrap();
    assert_eq!(litellm.limits.max_tokens.value, 3000);
}

#[tokio::test]
async fn an_unknown_window_is_small_and_warned_of() {
    let server = Scripted::new().models(vec![ModelCard::new("nobody-knows")]).serve();
    let listing = list(&catalog(&explicit(&server.base_url()), &[])).await;
    let window = &listing.models[0].limits.context_window;
    assert_eq!((window.value, window.from), (8192, Source::Assumed));
    assert!(listing.warnings[0].contains("assuming 8192"), "{:?}", listing.warnings);
}

#[tokio::test]
async fn the_scan_reports_what_listens_and_sends_no_key() {
    let server = Scripted::new().model("m").serve();
    let locked = Scripted::new().api_key("k").serve();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let target = |provider: &str, url: String| Target {
        provider: provider.to_owned(),
        base_url: Url::parse(&url).unwrap(),
    };
    let targets = [
        target("vllm", server.base_url()),
        target("sglang", locked.base_url()),
        target("ollama", format!("http://{closed}/v1")),
    ];
    let http = std::sync::Arc::new(Http::new(HttpSettings::default()));
    let found = scan(&targets, http).await;
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].found.as_ref().unwrap().models[0].id, "m");
    assert!(found[1].found.as_ref().unwrap_err().to_string().contains("wants a key"));
    assert_eq!(server.requests()[0].header("authorization"), "");
}

#[tokio::test]
async fn a_key_over_plain_http_to_a_public_host_is_warned_of() {
    let config = "{models: {providers: {far: {baseUrl: 'http://models.example.org/v1', apiKey: 'k',
        models: [{id: 'm', contextWindow: 100, maxTokens: 10}]}}}}";
    let listing = list(&catalog(config, &[])).await;
    assert!(listing.warnings[0].contains("unencrypted"), "{:?}", listing.warnings);
}

#[tokio::test]
async fn params_that_cannot_have_an_effect_are_warned_of() {
    let config = "{models: {providers: {vllm: {baseUrl: 'http://127.0.0.1:9/v1',
        models: [{id: 'm', contextWindow: 100, maxTokens: 10, params: {stream: false}}]}}}}";
    let listing = list(&catalog(config, &[])).await;
    assert!(listing.warnings[0].contains("params.stream"), "{:?}", listing.warnings);
}

#[tokio::test]
async fn embedding_models_are_not_offered_for_chat() {
    let embeddings = ModelCard { kind: Some("embeddings".to_owned()), ..ModelCard::new("embed") };
    let chat = ModelCard { max_model_len: Some(100), ..ModelCard::new("m") };
    let server = Scripted::new().models(vec![embeddings, chat]).serve();
    assert_eq!(names(&list(&catalog(&explicit(&server.base_url()), &[])).await), ["vllm/m"]);
}
