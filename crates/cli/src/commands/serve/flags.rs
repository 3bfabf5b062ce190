//! A vLLM command line becomes one of ours: underscores are dashes, and flags that mean nothing on one
//! machine without a GPU are taken out with a note.

use std::ffi::OsString;

/// What follows a flag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follows {
    /// Nothing.
    Nothing,
    /// A value.
    Value,
    /// A number, of which only 1 makes sense here.
    One,
}
use Follows::{Nothing, One, Value};

/// Flags of vLLM that change nothing here, and why.
const SENSELESS: &[(&str, Follows, &str)] = &[
    ("tensor-parallel-size", One, "there is one device"),
    ("pipeline-parallel-size", One, "there is one device"),
    ("data-parallel-size", One, "there is one device"),
    ("enable-expert-parallel", Nothing, "there is one device"),
    ("distributed-executor-backend", Value, "there is one process"),
    ("disable-custom-all-reduce", Nothing, "there is one device"),
    ("gpu-memory-utilization", Value, "there is no GPU; --memory bounds the process"),
    ("cpu-offload-gb", Value, "the weights are in main memory"),
    ("swap-space", Value, "preempted requests are computed again"),
    ("kv-offloading-size", Value, "the cache is in main memory"),
    ("enforce-eager", Nothing, "nothing is compiled at start"),
    ("compilation-config", Value, "nothing is compiled at start"),
    ("trust-remote-code", Nothing, "no code of a model is ever run"),
    ("dtype", Value, "the weights decide"),
    ("load-format", Value, "the files decide"),
    ("tokenizer-mode", Value, "the files decide"),
    ("config-format", Value, "the files decide"),
    ("revision", Value, "the files on this machine are served"),
    ("tokenizer-revision", Value, "the files on this machine are served"),
    ("download-dir", Value, "nothing is downloaded"),
    ("enable-chunked-prefill", Nothing, "it is always on"),
    ("no-enable-chunked-prefill", Nothing, "prefill is always chunked"),
    ("async-scheduling", Nothing, "the scheduler takes microseconds"),
    ("scheduling-policy", Value, "a request's priority is always kept"),
    ("block-size", Value, "the engine has its own"),
    ("num-gpu-blocks-override", Value, "--memory decides"),
    ("chat-template-content-format", Value, "it is learned from the template"),
    ("limit-mm-per-prompt", Value, "only text is taken"),
    ("mm-processor-kwargs", Value, "only text is taken"),
    ("runner", Value, "the model decides"),
    ("task", Value, "the model decides"),
    ("convert", Value, "the model decides"),
    ("uvicorn-log-level", Value, "CHELA_LOG sets the level"),
    ("disable-uvicorn-access-log", Nothing, "--disable-log-requests leaves the lines out"),
    ("max-log-len", Value, "prompts are never logged"),
    ("disable-fastapi-docs", Nothing, "there are none"),
    ("disable-frontend-multiprocessing", Nothing, "there is one process"),
    ("api-server-count", One, "there is one process"),
    ("response-role", Value, "answers are the assistant's"),
    ("guided-decoding-backend", Value, "llguidance is the only one"),
    ("structured-outputs-config", Value, "llguidance is the only one"),
    ("ssl-ca-certs", Value, "TLS is a proxy's work"),
];

/// Short flags of more than one letter.
const SHORT: &[(&str, &str)] = &[
    ("-tp", "--tensor-parallel-size"),
    ("-pp", "--pipeline-parallel-size"),
    ("-dp", "--data-parallel-size"),
    ("-ep", "--enable-expert-parallel"),
    ("-cc", "--compilation-config"),
];

/// The command line to parse, and what was left out of it.
pub struct Translated {
    /// The arguments, the program's name first.
    pub args: Vec<OsString>,
    /// A line for each flag that was left out.
    pub notes: Vec<String>,
}

/// Translates a command line if it is one of `serve`.
///
/// # Errors
/// A flag asks for what there cannot be: several devices or processes.
pub fn translate(args: Vec<OsString>) -> Result<Translated, String> {
    let words = args.iter().skip(1).map(|arg| arg.to_string_lossy());
    // Options of every command may stand before its name; only --config takes a value.
    let mut before = String::new();
    let at = words.enumerate().find_map(|(at, word)| {
        let value = before == "--config";
        before = word.clone().into_owned();
        (!value && !word.starts_with('-')).then_some((at + 1, word == "serve"))
    });
    let Some((at, true)) = at else { return Ok(Translated { args, notes: Vec::new() }) };
    let mut out = Translated { args: args[..=at].to_vec(), notes: Vec::new() };
    let mut rest = args[at + 1..].iter().peekable();
    while let Some(arg) = rest.next() {
        let Some(flag) = arg.to_str().map(long) else {
            out.args.push(arg.clone());
            continue;
        };
        if flag == "--" {
            out.args.push(arg.clone());
            out.args.extend(rest.cloned());
            break;
        }
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag.as_str(), None),
        };
        if name.len() == 3 && name.starts_with("-O") {
            out.notes.push(format!("{name} changes nothing here: nothing is compiled at start"));
            continue;
        }
        // `--compilation-config.level 3` sets a member of a JSON value
        let bare = name.trim_start_matches("--").split('.').next().unwrap_or_default();
        let member = name.contains('.');
        let row = SENSELESS.iter().find(|(known, ..)| name.starts_with("--") && *known == bare);
        let Some((_, follows, why)) = row else {
            out.args.push(flag.into());
            continue;
        };
        let value = match (*follows == Nothing && !member, value) {
            (true, _) => None,
            (false, Some(value)) => Some(value),
            (false, None) => {
                let next = rest.next_if(|next| !next.to_string_lossy().starts_with("--"));
                next.map(|value| value.to_string_lossy().into_owned())
            }
        };
        if *follows == One && value.as_deref() != Some("1") {
            let value = value.unwrap_or_default();
            return Err(format!("{name} {value}: {why}; leave the flag out, or give 1"));
        }
        out.notes.push(format!("{name} changes nothing here: {why}"));
    }
    Ok(out)
}

/// A flag with dashes for the underscores of its name, and the long form of a short one.
fn long(arg: &str) -> String {
    if let Some((_, long)) = SHORT.iter().find(|(short, _)| *short == arg) {
        return (*long).to_owned();
    }
    if !arg.starts_with("--") {
        return arg.to_owned();
    }
    let end = arg.find('=').unwrap_or(arg.len());
    arg[..end].replace('_', "-") + &arg[end..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> Result<(String, Vec<String>), String> {
        let out = translate(line.split(' ').map(OsString::from).collect())?;
        let args: Vec<_> = out.args.iter().map(|arg| arg.to_string_lossy()).collect();
        Ok((args.join(" "), out.notes))
    }

    #[test]
    fn a_command_line_of_vllm_is_understood() {
        let (line, notes) = translated(
            "chela -v serve m --max_model_len=32k -tp 1 --gpu-memory-utilization 0.9 --enforce_eager --trust-remote-code --port 1 -O3 --compilation-config.level 3",
        )
        .unwrap();
        assert_eq!(line, "chela -v serve m --max-model-len=32k --port 1");
        assert_eq!(notes.len(), 6);
        assert_eq!(notes[0], "--tensor-parallel-size changes nothing here: there is one device");
    }

    #[test]
    fn several_devices_are_refused() {
        let error = translated("chela serve m --tensor-parallel-size 2").unwrap_err();
        assert_eq!(error, "--tensor-parallel-size 2: there is one device; leave the flag out, or give 1");
    }

    #[test]
    fn other_commands_are_left_alone() {
        for line in ["chela agent -m serve --max_x", "chela --config serve agent --a_b", "chela"] {
            assert_eq!(translated(line).unwrap(), (line.to_owned(), Vec::new()), "{line}");
        }
        assert_eq!(translated("chela --config c serve --a_b").unwrap().0, "chela --config c serve --a-b");
        assert_eq!(translated("chela serve m -- --a_b").unwrap().0, "chela serve m -- --a_b");
    }
}
