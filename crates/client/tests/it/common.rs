//! Catalogs, models and turns for the tests.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chela_client::catalog::{Settings, State};
use chela_client::openai::chat::{FunctionDef, Message, Tool};
use chela_client::stream::{Answer, fold};
use chela_client::{Catalog, Http, HttpSettings, Model, ModelClient, ModelError, Timing, Turn};
use chela_config::Env;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Settings of a configuration text and an environment.
pub fn settings(config: &str, env: &[(&str, &str)], cache: Option<PathBuf>) -> Settings {
    let env: Env = env.iter().copied().collect();
    let loaded = chela_config::parse(config, "test.json5", &env).unwrap();
    Settings {
        config: Arc::new(loaded.config),
        env: Arc::new(env),
        profiles: Default::default(),
        cache,
        http: Arc::new(Http::new(HttpSettings::default())),
        in_process: Vec::new(),
    }
}

/// A catalog of a configuration text and an environment.
pub fn catalog(config: &str, env: &[(&str, &str)]) -> Catalog {
    Catalog::new(settings(config, env, None))
}

/// A provider `vllm` at this address, its one model declared so that nothing is asked.
pub fn declared(base_url: &str, more: &str) -> String {
    format!(
        "{{models: {{providers: {{vllm: {{baseUrl: '{base_url}', {more}
          models: [{{id: 'tiny', contextWindow: 8192, maxTokens: 512}}]}}}}}}}}"
    )
}

/// The declared model `vllm/tiny` of a server.
pub async fn model(base_url: &str) -> Model {
    catalog(&declared(base_url, ""), &[]).find("vllm/tiny").await.unwrap()
}

/// Short intervals.
pub fn timing() -> Timing {
    Timing {
        backoff: Duration::from_millis(10),
        check: Duration::from_millis(200),
        check_limit: Duration::from_secs(5),
    }
}

/// A client that keeps nothing.
pub fn client() -> ModelClient {
    ModelClient::new(State::default(), timing())
}

/// A turn that says hello.
pub fn hello(model: &Model) -> Turn {
    Turn::new(model.clone(), vec![Message::user("hello")])
}

/// A tool with one optional and one required argument.
pub fn read_tool() -> Tool {
    FunctionDef {
        name: "read".to_owned(),
        description: Some("Read a file.".to_owned()),
        parameters: json!({
            "type": "object",
            "properties": {"path": {"type": "string"}, "limit": {"type": "integer"}},
            "required": ["path"]
        }),
        strict: None,
    }
    .into()
}

/// Ask and fold.
pub async fn ask(client: &ModelClient, turn: Turn) -> (Answer, Option<ModelError>) {
    fold(client.stream(turn, CancellationToken::new())).await
}

/// Say hello to a server and fold.
pub async fn say_hello(base_url: &str) -> (Answer, Option<ModelError>) {
    ask(&client(), hello(&model(base_url).await)).await
}

/// The JSON body of a recorded request.
pub fn body(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}
