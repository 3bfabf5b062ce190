//! The commands that begin with a slash.

use chela_protocol::{ApproveMode, Thinking};

/// A command as `/help` lists it.
pub struct Listed {
    pub name: &'static str,
    pub argument: &'static str,
    pub what: &'static str,
}

const fn listed(name: &'static str, argument: &'static str, what: &'static str) -> Listed {
    Listed { name, argument, what }
}

/// All commands, in the order of `/help`.
pub const COMMANDS: &[Listed] = &[
    listed("model", "[NAME]", "list the models, or use another one"),
    listed("think", "[LEVEL]", "off, low, medium or high; show or hide the thoughts"),
    listed("approve", "[MODE]", "what needs no asking: none, ask, edits or all"),
    listed("status", "", "model, context, tokens, folder, session"),
    listed("new", "", "begin a new session"),
    listed("compact", "", "make room in the context now"),
    listed("stop", "", "stop the turn; so does Ctrl-C"),
    listed("undo", "", "take back what write and edit did last"),
    listed("tools", "", "list the tools"),
    listed("sessions", "[NAME]", "list the sessions, or continue one"),
    listed("show", "[N]", "all of a tool's output, by its number"),
    listed("help", "", "this list"),
    listed("quit", "", "leave; so does Ctrl-D"),
];

/// A command that was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Model(Option<String>),
    Think(Option<Think>),
    Approve(Option<ApproveMode>),
    Status,
    New,
    Compact,
    Stop,
    Undo,
    Tools,
    Sessions(Option<String>),
    Show(Option<usize>),
    Help,
    Quit,
}

/// What `/think` changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Think {
    Level(Thinking),
    Shown(bool),
}

/// Reads a line that begins with a slash.
///
/// # Errors
/// One line that says what is wrong.
pub fn parse(line: &str) -> Result<Command, String> {
    let mut words = line.trim().trim_start_matches('/').splitn(2, char::is_whitespace);
    let name = words.next().unwrap_or_default();
    let argument = words.next().map(str::trim).filter(|argument| !argument.is_empty());
    let text = || argument.map(str::to_owned);
    let command = match name {
        "model" => return Ok(Command::Model(text())),
        "sessions" => return Ok(Command::Sessions(text())),
        "think" => return think(argument),
        "approve" => {
            let mode = argument.map(str::parse).transpose();
            return mode.map(Command::Approve).map_err(|error| error.to_string());
        }
        "show" => {
            let number = argument.map(str::parse).transpose();
            let wrong =
                |_| format!("/show takes the number of a call, not `{}`", argument.unwrap_or_default());
            return number.map(Command::Show).map_err(wrong);
        }
        "status" => Command::Status,
        "new" => Command::New,
        "compact" => Command::Compact,
        "stop" => Command::Stop,
        "undo" => Command::Undo,
        "tools" => Command::Tools,
        "help" | "?" => Command::Help,
        "quit" | "exit" => Command::Quit,
        _ => return Err(unknown(name)),
    };
    match argument {
        None => Ok(command),
        Some(argument) => Err(format!("/{name} takes nothing behind it, and there is `{argument}`")),
    }
}

fn think(argument: Option<&str>) -> Result<Command, String> {
    let Some(argument) = argument else { return Ok(Command::Think(None)) };
    let think = match argument {
        "show" => Think::Shown(true),
        "hide" => Think::Shown(false),
        level => Think::Level(
            level
                .parse()
                .map_err(|_| format!("/think takes off, low, medium, high, show or hide, not `{level}`"))?,
        ),
    };
    Ok(Command::Think(Some(think)))
}

fn unknown(name: &str) -> String {
    let near = COMMANDS
        .iter()
        .map(|command| (strsim::damerau_levenshtein(command.name, name), command.name))
        .filter(|(distance, _)| *distance <= 2)
        .min();
    let shown: String = name.chars().take(40).collect();
    match near {
        Some((_, near)) => format!("there is no command /{shown}; did you mean /{near}?"),
        None => {
            format!("there is no command /{shown}; /help lists them, and a message can begin with a space")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_command_is_read() {
        for listed in COMMANDS {
            assert!(parse(&format!("/{}", listed.name)).is_ok(), "{}", listed.name);
        }
    }

    #[test]
    fn arguments_are_read() {
        let table = [
            ("/model vllm/a b", Command::Model(Some("vllm/a b".into()))),
            ("/think high", Command::Think(Some(Think::Level(Thinking::High)))),
            ("/think  show ", Command::Think(Some(Think::Shown(true)))),
            ("/approve edits", Command::Approve(Some(ApproveMode::Edits))),
            ("/show 3", Command::Show(Some(3))),
            ("/sessions notes", Command::Sessions(Some("notes".into()))),
        ];
        for (line, wanted) in table {
            assert_eq!(parse(line), Ok(wanted), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let table = [
            ("/modle", "did you mean /model?"),
            ("/etc/hosts", "a message can begin with a space"),
            ("/think more", "off, low, medium, high, show or hide, not `more`"),
            ("/approve yes", "none, ask, edits, all"),
            ("/show x", "number of a call, not `x`"),
            ("/new now", "takes nothing behind it"),
            ("/", "/help lists them"),
        ];
        for (line, says) in table {
            let error = parse(line).unwrap_err();
            assert!(error.contains(says) && !error.contains('\n'), "{line}: {error}");
        }
    }
}
