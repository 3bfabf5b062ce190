//! Tool calls are never lost.

use chela_client::catalog::State;
use chela_client::openai::chat::{FinishReason, Message};
use chela_client::stream::ToolRoute;
use chela_client::{Model, ModelClient, Notice, Turn};
use chela_server::{Canned, Scripted, Turn as Answer};
use serde_json::json;

use crate::common::*;

const CALL: &str = "<tool_call>\n{\"name\": \"read\", \"arguments\": {\"path\": \"a.txt\"}}\n</tool_call>";

fn with_tools(model: &Model) -> Turn {
    let messages = vec![Message::system("You read files."), Message::user("read a.txt")];
    Turn { tools: vec![read_tool()], ..Turn::new(model.clone(), messages) }
}

#[tokio::test]
async fn tools_go_out_strict_and_closed() {
    let call = Answer::new().call("read", json!({"path": "a.txt"}));
    let server = Scripted::new().turn(call).serve();
    let (answer, error) = ask(&client(), with_tools(&model(&server.base_url()).await)).await;
    assert_eq!(error, None);
    assert_eq!(answer.calls[0].arguments, "{\"path\":\"a.txt\"}");
    assert!(answer.calls[0].complete);
    assert_eq!(answer.finish, Some(FinishReason::ToolCalls));
    let function = &body(&server.chats()[0].body)["tools"][0]["function"];
    assert_eq!(function["strict"], json!(true));
    assert_eq!(function["parameters"]["additionalProperties"], json!(false));
    assert_eq!(function["parameters"]["required"], json!(["path"]), "optional stays optional");
}

#[tokio::test]
async fn a_server_that_refuses_strict_gets_plain_tools() {
    let server = Scripted::new()
        .respond(|request| {
            let strict = request.tools.iter().flatten().any(|tool| tool.function.strict.is_some());
            if strict { Answer::error(400, "unknown field `strict`") } else { Answer::text("ok") }
        })
        .serve();
    let client = client();
    let model = model(&server.base_url()).await;
    let (answer, error) = ask(&client, with_tools(&model)).await;
    assert_eq!((answer.text.as_str(), error), ("ok", None));
    // Later requests of the session carry the same bytes.
    ask(&client, with_tools(&model)).await;
    let tools = |at: usize| body(&server.chats()[at].body)["tools"].clone();
    assert_eq!(server.chats().len(), 3);
    assert_eq!(tools(1), tools(2));
    assert_eq!(tools(1)[0]["function"].get("strict"), None);
}

#[tokio::test]
async fn a_vllm_without_flags_calls_tools_by_text_and_the_flag_is_named_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Scripted::new().no_parser().respond(|_| Answer::text(CALL)).serve();
    let model = model(&server.base_url()).await;
    let client = ModelClient::new(State::new(Some(folder.path().to_owned())), timing());
    let (answer, error) = ask(&client, with_tools(&model)).await;
    assert_eq!(error, None);
    assert_eq!((answer.text.trim(), answer.calls.len()), ("", 1));
    assert_eq!(
        (answer.calls[0].name.as_str(), answer.calls[0].arguments.replace(' ', "").as_str()),
        ("read", "{\"path\":\"a.txt\"}")
    );
    assert_eq!(answer.finish, Some(FinishReason::ToolCalls));
    let told = |answer: &chela_client::stream::Answer| {
        answer.notices.iter().filter(|notice| matches!(notice, Notice::ToolsByText { message } if message.contains("--tool-call-parser"))).count()
    };
    assert_eq!(told(&answer), 1, "{:?}", answer.notices);
    assert_eq!(body(&server.chats()[1].body)["tool_choice"], json!("none"));
    assert!(body(&server.chats()[1].body)["tools"].is_array(), "vLLM renders them into the prompt");
    let function = &body(&server.chats()[1].body)["tools"][0]["function"];
    assert_eq!(function.get("strict"), None, "there is no parser to hold the model to it");
    // Another process knows.
    let client = ModelClient::new(State::new(Some(folder.path().to_owned())), timing());
    let (answer, _) = ask(&client, with_tools(&model)).await;
    assert_eq!((answer.calls.len(), told(&answer), server.chats().len()), (1, 0, 3));
}

#[tokio::test]
async fn a_template_that_drops_the_tools_gets_them_in_the_system_text() {
    let count = json!({"count": 12, "max_model_len": 8192, "tokens": [1, 2]});
    let server = Scripted::new()
        .no_parser()
        .route("POST", "/tokenize", Canned::json(200, &count))
        .respond(|_| Answer::text(CALL))
        .serve();
    let model = model(&server.base_url()).await;
    let client = client();
    let (answer, error) = ask(&client, with_tools(&model)).await;
    assert_eq!(error, None);
    assert_eq!(answer.calls.len(), 1);
    assert_eq!(client.facts(&model).tools, ToolRoute::Rendered);
    let request = body(&server.chats()[1].body);
    assert_eq!((request.get("tools"), request.get("tool_choice")), (None, None));
    let system = request["messages"][0]["content"].as_str().unwrap();
    assert!(
        system.starts_with("You read files.") && system.contains("read") && system.contains("path"),
        "{system}"
    );
}

#[tokio::test]
async fn rendered_tools_carry_the_history_as_text_too() {
    let refusal = "registry.ollama.ai/library/gemma:2b does not support tools";
    let server = Scripted::new()
        .respond(move |request| match request.tools {
            Some(_) => Answer::error(400, refusal),
            None => Answer::text("It says hello."),
        })
        .serve();
    let model = model(&server.base_url()).await;
    let call = chela_client::openai::chat::ToolCall::new("c1", "read", "{\"path\":\"a.txt\"}");
    let messages = vec![
        Message::user("read a.txt"),
        Message::assistant_calls(None, vec![call]),
        Message::tool("c1", "hello"),
    ];
    let turn = Turn { tools: vec![read_tool()], ..Turn::new(model, messages) };
    let (answer, error) = ask(&client(), turn).await;
    assert_eq!((answer.text.as_str(), error), ("It says hello.", None));
    let request = body(&server.chats()[1].body);
    let messages = request["messages"].as_array().unwrap();
    assert!(messages.iter().all(|message| message["role"] != "tool" && message.get("tool_calls").is_none()));
    let text: String = messages.iter().filter_map(|message| message["content"].as_str()).collect();
    assert!(text.contains("a.txt") && text.contains("hello"), "{text}");
}

#[tokio::test]
async fn tools_missing_from_the_prompt_are_seen_by_its_size() {
    let server = Scripted::new()
        .respond(|_| {
            Answer::text("Sorry, I have no tools.").usage(chela_client::openai::usage::Usage::new(20, 5))
        })
        .serve();
    let model = model(&server.base_url()).await;
    let client = client();
    let mut turn = with_tools(&model);
    turn.tools = (0..12).map(|_| read_tool()).collect();
    let (answer, _) = ask(&client, turn.clone()).await;
    assert!(
        answer.notices.iter().any(|notice| matches!(notice, Notice::ToolsByText { .. })),
        "{:?}",
        answer.notices
    );
    ask(&client, turn).await;
    assert_eq!(body(&server.chats()[1].body).get("tools"), None);
}

#[tokio::test]
async fn tools_that_may_not_be_called_stay_in_the_prompt() {
    let server = Scripted::new().turn(Answer::text("ok")).serve();
    let turn = Turn { may_call: false, ..with_tools(&model(&server.base_url()).await) };
    ask(&client(), turn).await;
    let request = body(&server.chats()[0].body);
    assert_eq!(request["tool_choice"], json!("none"));
    assert!(request["tools"].is_array());
}

#[tokio::test]
async fn a_call_whose_arguments_break_off_is_not_complete_json_and_is_told_as_it_is() {
    let call = Answer::new().raw_call("read", "{\"path\": \"a.").finish("length");
    let server = Scripted::new().turn(call).serve();
    let (answer, error) = ask(&client(), with_tools(&model(&server.base_url()).await)).await;
    assert_eq!(error, None);
    assert_eq!(answer.calls[0].arguments, "{\"path\": \"a.");
    assert_eq!(answer.finish, Some(FinishReason::Length));
}

#[tokio::test]
async fn parallel_calls_and_reasoning_before_a_call() {
    let turn = Answer::new()
        .reasoning("Both.")
        .call("read", json!({"path": "a"}))
        .call("read", json!({"path": "b"}));
    let server = Scripted::new().turn(turn).serve();
    let (answer, _) = ask(&client(), with_tools(&model(&server.base_url()).await)).await;
    assert_eq!((answer.reasoning.as_str(), answer.calls.len()), ("Both.", 2));
    assert_ne!(answer.calls[0].id, answer.calls[1].id);
}

#[tokio::test]
async fn a_broken_call_in_text_is_told_and_not_shown() {
    let broken = "<tool_call>\n{\"name\": \"read\", \"arguments\": {\"path\": <<<}}\n</tool_call>";
    let server = Scripted::new().no_parser().respond(move |_| Answer::text(broken)).serve();
    let (answer, _) = ask(&client(), with_tools(&model(&server.base_url()).await)).await;
    assert_eq!(answer.malformed.len(), 1, "{answer:?}");
    assert!(!answer.text.contains("<tool_call>"));
}

#[tokio::test]
async fn the_flag_and_the_syntax_are_the_familys_own() {
    let server = Scripted::new()
        .model("Qwen/Qwen3-Coder-30B-A3B-Instruct")
        .no_parser()
        .route("POST", "/tokenize", Canned::json(200, &json!({"count": 12, "max_model_len": 8192, "tokens": []})))
        .respond(|_| Answer::text("<tool_call>\n<function=read>\n<parameter=path>\na.txt\n</parameter>\n</function>\n</tool_call>"))
        .serve();
    let config = format!("{{models: {{providers: {{vllm: {{baseUrl: '{}'}}}}}}}}", server.base_url());
    let model = catalog(&config, &[]).default_model().await.unwrap();
    let (answer, error) = ask(&client(), with_tools(&model)).await;
    assert_eq!(error, None);
    assert_eq!(answer.calls.len(), 1, "{answer:?}");
    let said = answer.notices.iter().map(ToString::to_string).collect::<String>();
    assert!(said.contains("--tool-call-parser qwen3_coder"), "{said}");
    let request = body(&server.chats()[1].body);
    assert!(request["messages"][0]["content"].as_str().unwrap().contains("<function="));
}

#[tokio::test]
async fn a_model_whose_prompt_opens_reasoning_is_read_right_and_it_is_remembered() {
    let server = Scripted::new()
        .model("Qwen/Qwen3-4B-Thinking-2507")
        .respond(|_| Answer::text("Let me see.</think>\n\nYes."))
        .serve();
    let config = format!("{{models: {{providers: {{vllm: {{baseUrl: '{}'}}}}}}}}", server.base_url());
    let model = catalog(&config, &[]).default_model().await.unwrap();
    let client = client();
    let (answer, error) = ask(&client, hello(&model)).await;
    assert_eq!((answer.text.trim(), answer.reasoning.trim(), error), ("Yes.", "Let me see.", None));
    assert_eq!(client.facts(&model).reasoning, Some(chela_client::stream::Reasoning::Text));
}
