//! The router: the key on every route, and refusals in vLLM's words.

#![allow(clippy::unwrap_used)] // helpers outside of test functions

use std::fs;

use axum::Router;
use axum::body::Body;
use chela_server::{ROUTES, Scripted, Turn};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

async fn send(app: &Router, request: Request<Body>) -> (StatusCode, String) {
    let answer = app.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

fn request(method: &str, path: &str, auth: Option<&str>) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(path);
    if let Some(auth) = auth {
        builder = builder.header("authorization", auth);
    }
    builder.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn every_route_asks_for_the_key() {
    let (app, _) = Scripted::new().api_key("other").api_key("secret").router();
    let named = ROUTES.iter().map(|(method, path)| {
        let status = match *path {
            "/v1/models/{*id}" => 200,
            _ if *method == "POST" => 400,
            _ => 200,
        };
        (*method, path.replace("{*id}", "tiny"), status)
    });
    let others = [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/nowhere", 404),
        ("DELETE", "/v1/models", 405),
        ("HEAD", "/v1/models", 405),
        ("GET", "/v1/models/", 307),
        ("OPTIONS", "/v1/chat/completions", 405),
    ];
    let others = others.map(|(method, path, status)| (method, path.to_owned(), status));
    for (method, path, status) in named.chain(others) {
        for auth in [None, Some("Bearer"), Some("Bearer wrong"), Some("Basic secret"), Some("secret")] {
            let (got, body) = send(&app, request(method, &path, auth)).await;
            assert_eq!(got, 401, "{method} {path} {auth:?}");
            assert_eq!(body, if method == "HEAD" { "" } else { r#"{"error":"Unauthorized"}"# });
        }
        for auth in ["Bearer secret", "bearer secret"] {
            let (got, _) = send(&app, request(method, &path, Some(auth))).await;
            assert_eq!(got, status, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_model_is_found_by_an_id_with_slashes() {
    let (app, _) = Scripted::new().model("org/name:tag").router();
    let (status, body) = send(&app, request("GET", "/v1/models/org/name:tag", None)).await;
    assert_eq!(status, 200);
    assert!(body.starts_with(r#"{"id":"org/name:tag","object":"model","#), "{body}");
    let (status, body) = send(&app, request("GET", "/v1/models/nope", None)).await;
    assert_eq!(status, 404);
    assert!(body.contains("The model `nope` does not exist. Valid aliases: org/name:tag."));
}

#[tokio::test]
async fn metrics_count_what_was_answered() {
    let (app, _) = Scripted::new().turn(Turn::text("one two")).router();
    let body = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
    let chat = Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap();
    assert_eq!(send(&app, chat).await.0, 200);
    let (_, text) = send(&app, request("GET", "/metrics", None)).await;
    for row in [
        r#"vllm:num_requests_running{engine="0",model_name="tiny"} 0.0"#,
        r#"vllm:generation_tokens_total{engine="0",model_name="tiny"} 2.0"#,
        r#"vllm:request_success_total{engine="0",model_name="tiny",finished_reason="stop"} 1.0"#,
    ] {
        assert!(text.lines().any(|line| line == row), "{row}\n{text}");
    }
}

/// Made-up methods grew the metrics without bound, before any key was looked at.
#[tokio::test]
async fn a_made_up_method_is_no_row_of_its_own() {
    let (app, _) = Scripted::new().router();
    for method in ["MADEUP1", "MADEUP2"] {
        send(&app, request(method, "/v1/models", None)).await;
    }
    let (_, text) = send(&app, request("GET", "/metrics", None)).await;
    assert!(!text.contains("MADEUP"), "{text}");
    assert!(text.lines().any(|line| line.contains("method=\"other\"") && line.ends_with(" 2.0")), "{text}");
}

/// Refusals of vLLM that need a tokenizer, a grammar or a model, and those that
/// the router words differently: pydantic lists every variant of a union it tried.
const OTHERWISE: [(&str, &str); 14] = [
    ("e_badjson", "the decoder's own sentence"),
    ("e_ctx_vlong", "the script counts tokens, not characters"),
    ("e_image", "a matter of the model"),
    ("e_logit_bias_oov", "needs the vocabulary"),
    ("e_norole", "one row for eleven"),
    ("e_rf_badschema", "needs a grammar"),
    ("e_rf_noname", "one row for six"),
    ("e_rf_type", "accepted: a backend refuses it"),
    ("e_seed_big", "out of range is said without the bound"),
    ("e_so_badre", "needs a grammar"),
    ("e_so_grammar", "needs a grammar"),
    ("e_so_none", "without the list of settings"),
    ("e_stop_many", "one row for two"),
    ("e_stop_num", "one row for two"),
];

#[tokio::test]
async fn refusals_are_those_of_vllm_byte_for_byte() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/vllm-0.32");
    let mut compared = 0;
    let mut wrong = Vec::new();
    for folder in ["s1_errors", "s1_tools", "s1_hermes"] {
        for entry in fs::read_dir(format!("{root}/{folder}")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let Some(name) = name.strip_suffix(".request.http") else {
                continue;
            };
            let sent = fs::read(&path).unwrap();
            let received = fs::read_to_string(path.with_file_name(format!("{name}.response.http")));
            let received = received.unwrap();
            let refused = received.starts_with("HTTP/1.1 40");
            if !sent.starts_with(b"POST /v1/chat/completions ") || !refused {
                continue;
            }
            let (head, body) = received.split_once("\r\n\r\n").unwrap();
            let status: u16 = head[9..12].parse().unwrap();
            let (app, _) = Scripted::new().max_model_len(1024).turn(Turn::text("x")).router();
            let (got_status, got) = send(&app, replay(&sent)).await;
            compared += 1;
            let same = (got_status, got.as_str()) == (StatusCode::from_u16(status).unwrap(), body);
            let expected = !OTHERWISE.iter().any(|(other, _)| *other == name);
            if same != expected {
                wrong.push(format!("{name}: same {same}\n  {body}\n  {got_status} {got}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 40, "{compared}");
}

fn replay(sent: &[u8]) -> Request<Body> {
    let end = sent.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&sent[..end]).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let mut builder = Request::builder().method(first.next().unwrap()).uri(first.next().unwrap());
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        builder = builder.header(name, value);
    }
    builder.body(Body::from(sent[end + 4..].to_vec())).unwrap()
}

/// The names of vLLM's metrics that have no meaning here: GPUs, images, other instances, Python.
const NOT_OURS: [&str; 14] = [
    "python_",
    "vllm:estimated_",
    "vllm:engine_sleep_state",
    "vllm:external_prefix_cache",
    "vllm:mm_cache",
    "vllm:prompt_tokens_cached_by_source",
    "vllm:iteration_tokens",
    "vllm:request_num_preemptions",
    "vllm:tool_call_parser_invocations",
    "vllm:cache_config_info",
    "http_request",
    "http_response",
    "process_",
    "_created",
];

#[tokio::test]
async fn metrics_have_the_names_and_types_of_vllm() {
    let (app, _) = Scripted::new().router();
    let (_, text) = send(&app, request("GET", "/metrics", None)).await;
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/vllm-0.32");
    let theirs = fs::read_to_string(format!("{root}/metrics_types.txt")).unwrap();
    let ours: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    for line in &ours {
        assert!(theirs.lines().any(|other| other == *line), "{line} is none of vLLM's");
    }
    for line in theirs.lines().filter(|line| !NOT_OURS.iter().any(|part| line.contains(part))) {
        assert!(ours.contains(&line), "{line} is missing");
    }
    // the buckets that vLLM's dashboards are drawn from
    let recorded = fs::read_to_string(format!("{root}/s1_errors/metrics.response.http")).unwrap();
    for metric in
        ["time_to_first_token_seconds", "inter_token_latency_seconds", "e2e_request_latency_seconds"]
    {
        let bounds = |text: &str| -> Vec<String> {
            let start = format!("vllm:{metric}_bucket");
            let lines = text.lines().filter(|line| line.starts_with(&start));
            lines.filter_map(|line| Some(line.split("le=\"").nth(1)?.split('"').next()?.to_owned())).collect()
        };
        assert_eq!(bounds(&text), bounds(&recorded), "{metric}");
    }
}
