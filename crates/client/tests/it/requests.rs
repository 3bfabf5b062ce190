//! What goes over the wire.

use chela_client::catalog::State;
use chela_client::openai::chat::Message;
use chela_client::stream::{Thinking, TokenCount};
use chela_client::{ModelClient, ModelError, Notice, Turn};
use chela_server::{Scripted, Turn as Answer};
use serde_json::{Value, json};

use crate::common::*;

async fn sent(config_of: impl Fn(&str) -> String, turn_of: impl Fn(Turn) -> Turn) -> Value {
    let server = Scripted::new().turn(Answer::text("Hi.")).serve();
    let model = catalog(&config_of(&server.base_url()), &[]).find("vllm/tiny").await.unwrap();
    let (_, error) = ask(&client(), turn_of(hello(&model))).await;
    assert_eq!(error, None);
    body(&server.chats()[0].body)
}

#[tokio::test]
async fn a_plain_request_carries_standard_fields_only() {
    let body = sent(|base| declared(base, ""), |turn| turn).await;
    assert_eq!(
        body,
        json!({
            "model": "tiny",
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": 512,
            "stream": true,
            "stream_options": {"include_usage": true}
        })
    );
}

#[tokio::test]
async fn params_pass_through_and_the_turns_win() {
    let config = |base: &str| {
        format!(
            "{{agents: {{defaults: {{models: {{'vllm/*': {{params: {{temperature: 0.5, top_p: 0.9}}}},
                'vllm/tiny': {{params: {{temperature: 0.2, extra_body: {{top_k: 20}}}}}}}}}}}},
              models: {{providers: {{vllm: {{baseUrl: '{base}', headers: {{'X-Team': 'claws'}},
                models: [{{id: 'tiny', contextWindow: 8192, maxTokens: 512, params: {{seed: 1, temperature: 0.9}}}}]}}}}}}}}"
        )
    };
    let body = sent(config, |mut turn| {
        turn.params.insert("seed".to_owned(), json!(7));
        turn
    })
    .await;
    assert_eq!(
        (&body["temperature"], &body["top_p"], &body["top_k"], &body["seed"]),
        (&json!(0.2), &json!(0.9), &json!(20), &json!(7))
    );
}

#[tokio::test]
async fn headers_and_key_stand_on_every_request() {
    let server = Scripted::new().turn(Answer::text("Hi.")).serve();
    let config = format!(
        "{{models: {{providers: {{vllm: {{baseUrl: '{}', apiKey: 'k', headers: {{'X-Team': 'claws'}}}}}}}}}}",
        server.base_url()
    );
    let listing = catalog(&config, &[]).models(&Default::default()).await;
    let (_, error) = ask(&client(), hello(&listing.models[0])).await;
    assert_eq!(error, None);
    assert!(server.requests().len() >= 2);
    for request in server.requests() {
        assert_eq!((request.header("x-team"), request.header("authorization")), ("claws", "Bearer k"));
    }
}

#[tokio::test]
async fn thinking_is_mapped_by_the_models_quirks() {
    let with = |compat: &'static str| {
        move |base: &str| {
            format!(
                "{{models: {{providers: {{vllm: {{baseUrl: '{base}',
                  models: [{{id: 'tiny', contextWindow: 8192, maxTokens: 512, {compat}}}]}}}}}}}}"
            )
        }
    };
    let off = |turn: Turn| Turn { thinking: Thinking::Off, ..turn };
    let low = |turn: Turn| Turn { thinking: Thinking::Low, ..turn };
    let body = sent(with("reasoning: true"), off).await;
    assert_eq!(body["chat_template_kwargs"], json!({"enable_thinking": false}));
    let body = sent(with("reasoning: true"), low).await;
    assert_eq!(body["chat_template_kwargs"], json!({"enable_thinking": true}));
    let body = sent(with("compat: {thinkingFormat: 'openai'}"), low).await;
    assert_eq!(body["reasoning_effort"], json!("low"));
    let body = sent(with("compat: {thinkingFormat: 'qwen'}"), off).await;
    assert_eq!(body["enable_thinking"], json!(false));
    let body = sent(with("reasoning: false"), off).await;
    assert_eq!(body.get("chat_template_kwargs"), None);
    assert_eq!(body.get("reasoning_effort"), None);
}

#[tokio::test]
async fn a_refused_field_is_left_out_and_remembered_between_processes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Scripted::new()
        .respond(|request| match request.stream_options {
            Some(_) => Answer::error(422, "Extra inputs are not permitted: stream_options"),
            None => Answer::text("Hi."),
        })
        .serve();
    let model = model(&server.base_url()).await;
    let client = ModelClient::new(State::new(Some(folder.path().to_owned())), timing());
    let (answer, error) = ask(&client, hello(&model)).await;
    assert_eq!((answer.text.as_str(), error), ("Hi.", None));
    assert!(matches!(&answer.notices[0], Notice::Without { field: "stream_options", .. }));
    assert_eq!(server.chats().len(), 2);
    // Another process.
    let client = ModelClient::new(State::new(Some(folder.path().to_owned())), timing());
    let (answer, _) = ask(&client, hello(&model)).await;
    assert_eq!(answer.notices, []);
    assert_eq!(server.chats().len(), 3);
}

#[tokio::test]
async fn an_api_that_calls_the_limit_by_another_name() {
    let server = Scripted::new()
        .respond(|request| match request.max_tokens {
            Some(_) => Answer::error(
                400,
                "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            ),
            None => Answer::text("Hi."),
        })
        .serve();
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!((answer.text.as_str(), error), ("Hi.", None));
    assert_eq!(body(&server.chats()[1].body)["max_completion_tokens"], json!(512));
}

#[tokio::test]
async fn an_overflow_corrects_the_window_and_goes_again_once_with_what_fits() {
    let old = "This model's maximum context length is 1024 tokens. However, you requested 1313 tokens (801 in the \
               messages, 512 in the completion). Please reduce the length of the messages or completion.";
    let server = Scripted::new().turn(Answer::error(400, old)).turn(Answer::text("Hi.")).serve();
    let model = model(&server.base_url()).await;
    let client = client();
    let (answer, error) = ask(&client, hello(&model)).await;
    assert_eq!((answer.text.as_str(), error), ("Hi.", None));
    assert!(answer.notices.contains(&Notice::WindowCorrected { was: 8192, now: 1024 }));
    assert_eq!(body(&server.chats()[1].body)["max_tokens"], json!(223));
    assert_eq!(client.window(&model), 1024);
}

#[tokio::test]
async fn a_corrected_window_is_known_to_the_catalog_of_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let long = "This model's maximum context length is 1024 tokens. However, your prompt contains at least 1025 input \
                tokens, which exceeds this limit even without any output tokens.";
    let server = Scripted::new().respond(move |_| Answer::error(400, long)).serve();
    let state = State::new(Some(folder.path().to_owned()));
    let (_, error) = ask(&ModelClient::new(state, timing()), hello(&model(&server.base_url()).await)).await;
    assert!(
        matches!(error, Some(ModelError::ContextOverflow { limit: 1024, asked: Some(1025) })),
        "{error:?}"
    );
    let settings = settings(&declared(&server.base_url(), ""), &[], Some(folder.path().to_owned()));
    let model = chela_client::Catalog::new(settings).find("vllm/tiny").await.unwrap();
    let window = &model.limits.context_window;
    assert_eq!((window.value, window.from), (1024, chela_client::catalog::Source::Runtime));
}

#[tokio::test]
async fn thinking_is_part_of_what_is_counted() {
    let server = Scripted::new().serve();
    let mut turn = hello(&model(&server.base_url()).await);
    turn.thinking = Thinking::Off;
    client().count_turn(&turn).await.unwrap();
    let asked = server.requests().into_iter().find(|request| request.path == "/tokenize").unwrap();
    assert_eq!(body(&asked.body)["chat_template_kwargs"], json!({"enable_thinking": false}));
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_an_overflow_with_the_servers_figures() {
    let server = Scripted::new().max_model_len(64).serve();
    let turn = Turn::new(model(&server.base_url()).await, vec![Message::user("hello ".repeat(200))]);
    let (_, error) = ask(&client(), turn).await;
    assert!(matches!(error, Some(ModelError::ContextOverflow { limit: 64, .. })), "{error:?}");
    assert!(server.chats().len() <= 2, "only the limit of the answer is worth a second request");
}

#[tokio::test]
async fn a_second_overflow_is_final() {
    let server = Scripted::new()
        .respond(|_| Answer::error(400, "max_tokens=512 cannot be greater than max_model_len=300."))
        .serve();
    let (_, error) = say_hello(&server.base_url()).await;
    assert!(matches!(error, Some(ModelError::ContextOverflow { limit: 300, .. })), "{error:?}");
    assert_eq!(server.chats().len(), 2);
}

#[tokio::test]
async fn a_counted_prompt_that_fills_the_window_is_not_even_sent() {
    let server = Scripted::new().serve();
    let model = model(&server.base_url()).await;
    let prompt_tokens = Some(TokenCount { tokens: 8192, exact: true });
    let (_, error) = ask(&client(), Turn { prompt_tokens, ..hello(&model) }).await;
    assert!(
        matches!(error, Some(ModelError::ContextOverflow { limit: 8192, asked: Some(8192) })),
        "{error:?}"
    );
    assert!(server.chats().is_empty());
}

#[tokio::test]
async fn the_server_counts_tokens_as_it_will_render_them() {
    let server = Scripted::new().turn(Answer::text("Hi.")).serve();
    let model = model(&server.base_url()).await;
    let messages = [Message::user("one two three")];
    let counted = client().count(&model, &messages, &[read_tool()]).await.unwrap();
    assert!(counted.exact && counted.tokens > 0);
    let (answer, _) =
        ask(&client(), Turn { tools: vec![read_tool()], ..Turn::new(model, messages.to_vec()) }).await;
    assert_eq!(u64::from(counted.tokens), answer.usage.unwrap().prompt_tokens);
}

#[tokio::test]
async fn reasoning_goes_back_only_to_families_that_want_it() {
    let server = Scripted::new().respond(|_| Answer::text("Hi.")).serve();
    let mut model = model(&server.base_url()).await;
    let mut message = Message::assistant("yes");
    message.reasoning = Some("hm".to_owned());
    let turn = |model| Turn::new(model, vec![Message::user("a"), message.clone(), Message::user("b")]);
    ask(&client(), turn(model.clone())).await;
    model.resend_reasoning = true;
    ask(&client(), turn(model)).await;
    let reasoning = |at: usize| body(&server.chats()[at].body)["messages"][1].get("reasoning").cloned();
    assert_eq!((reasoning(0), reasoning(1)), (None, Some(json!("hm"))));
}
