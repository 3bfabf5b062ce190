//! Tool calls on the page: a title, and of the output its first and last lines with the number that
//! shows all of it.

use std::time::{Duration, Instant};

use chela_protocol::{Call, ResultStatus, Right};
use serde_json::Value;

use super::screen::{fit, wrapped};
use super::style::{Colour, Style};
use crate::front::{right_words, short};
use crate::output::{count, printable};

/// Lines at the beginning and at the end of an output that are shown.
const HEAD: usize = 4;
const TAIL: usize = 3;
/// Lines of a diff that are shown, at its beginning and at its end.
const DIFF: (usize, usize) = (40, 4);
/// Bytes of a line that is shown while its call runs.
const LINE: usize = 4_096;
/// Bytes of outputs that are kept for `/show`.
const KEPT: usize = 4 * 1024 * 1024;

/// The width of the page, and whether it has styles.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    pub width: usize,
    pub styled: bool,
}

impl Page {
    fn paint(self, style: Style, text: &str) -> String {
        style.paint(self.styled, text)
    }

    /// A line of an output: one line of the page.
    fn output(self, line: &str) -> String {
        self.paint(Style::DIM, &format!("  {}", fit(line, self.width.saturating_sub(2))))
    }
}

/// A call that has not ended.
#[derive(Debug)]
struct Running {
    id: String,
    title: String,
    since: Instant,
    /// The title is on the page.
    begun: bool,
    /// Lines of its output that are on the page.
    shown: Vec<String>,
    /// The line at hand.
    open: String,
}

/// A call that has ended.
#[derive(Debug)]
pub struct Ended {
    pub title: String,
    pub result: String,
    pub diff: Option<String>,
}

/// The calls of a session.
#[derive(Debug, Default)]
pub struct Calls {
    running: Vec<Running>,
    /// From the number `dropped + 1` on.
    ended: Vec<Ended>,
    dropped: usize,
    /// The call whose diff was shown when it was approved.
    approved: Option<String>,
}

impl Calls {
    pub fn started(&mut self, id: &str, name: &str, args: &Value) {
        self.running.push(Running {
            id: id.to_owned(),
            title: title(name, args),
            since: Instant::now(),
            begun: false,
            shown: Vec::new(),
            open: String::new(),
        });
    }

    /// The oldest call that runs, and for how long.
    pub fn busy(&self) -> Option<(&str, Duration)> {
        self.running.first().map(|call| (call.title.as_str(), call.since.elapsed()))
    }

    /// More output of a running call: the lines that are shown of it while it runs.
    pub fn output(&mut self, id: &str, text: &str, page: Page) -> Vec<String> {
        let Some(call) = self.running.iter_mut().find(|call| call.id == id) else { return Vec::new() };
        let mut lines = Vec::new();
        for c in text.chars() {
            if call.shown.len() == HEAD {
                break;
            }
            if c != '\n' {
                if call.open.len() < LINE {
                    call.open.push(c);
                }
                continue;
            }
            if !std::mem::replace(&mut call.begun, true) {
                lines.push(heading(&call.title, None, page));
            }
            let line = printable(&std::mem::take(&mut call.open));
            lines.push(page.output(&line));
            call.shown.push(line);
        }
        lines
    }

    /// A call has ended: what is shown of it now.
    pub fn finished(
        &mut self,
        id: &str,
        result: &str,
        status: ResultStatus,
        diff: Option<&str>,
        took: Duration,
        page: Page,
    ) -> Vec<String> {
        let Some(at) = self.running.iter().position(|call| call.id == id) else { return Vec::new() };
        let call = self.running.remove(at);
        let number = self.keep(Ended {
            title: call.title.clone(),
            result: result.to_owned(),
            diff: diff.map(str::to_owned),
        });
        let mut lines = Vec::new();
        if !call.begun {
            lines.push(heading(&call.title, Some(took), page));
        }
        // A command that was stopped: its output, and in the last line why there is no more.
        let was_cut = result.lines().next_back().is_some_and(|line| line.starts_with("[interrupted"));
        let seen = self.approved.take_if(|approved| approved == id).is_some();
        match (status, diff) {
            (ResultStatus::Ok, Some(diff)) => {
                let (more, less) = changes(diff);
                let first = printable(result.lines().next().unwrap_or_default());
                lines.push(page.output(&format!("{first}, +{more} -{less}")));
                if !seen {
                    lines.extend(folded(diff_lines(diff, page), DIFF, number, page));
                }
            }
            (ResultStatus::Denied | ResultStatus::Interrupted, _) if !was_cut => {
                let first = printable(result.lines().next().unwrap_or_default());
                // What follows tells the model what to do now.
                let first = first.split_once(". ").map_or(first.as_str(), |(first, _)| first);
                let line = fit(first, page.width.saturating_sub(2));
                lines.push(page.paint(Style::of(Colour::Yellow), &format!("  {line}")));
            }
            _ => {
                let all: Vec<String> = lines_of(result);
                let same = all.starts_with(&call.shown);
                let skip = if same { call.shown.len() } else { 0 };
                let failed = status == ResultStatus::Error;
                let style = if failed { Style::of(Colour::Red) } else { Style::DIM };
                let line = |line: &String| {
                    page.paint(style, &format!("  {}", fit(line, page.width.saturating_sub(2))))
                };
                let rest: Vec<String> = all[skip..].iter().map(line).collect();
                lines.extend(folded(rest, (HEAD - skip.min(HEAD), TAIL), number, page));
            }
        }
        lines
    }

    fn keep(&mut self, ended: Ended) -> usize {
        self.ended.push(ended);
        let size = |ended: &Ended| ended.result.len() + ended.diff.as_ref().map_or(0, String::len);
        while self.ended.len() > 1 && self.ended.iter().map(size).sum::<usize>() > KEPT {
            self.ended.remove(0);
            self.dropped += 1;
        }
        self.dropped + self.ended.len()
    }

    /// All of a call's output, without a number the newest.
    ///
    /// # Errors
    /// One line that says what there is.
    pub fn show(&self, number: Option<usize>, page: Page) -> Result<Vec<String>, String> {
        let last = self.dropped + self.ended.len();
        let number = number.unwrap_or(last);
        let found = number.checked_sub(self.dropped + 1).and_then(|at| self.ended.get(at));
        let Some(ended) = found else {
            return Err(match last {
                0 => "no tool has run in this chat yet".to_owned(),
                last => format!("there is no output {number}; there are {} to {last}", self.dropped + 1),
            });
        };
        let mut lines = vec![heading(&ended.title, None, page)];
        lines.extend(lines_of(&ended.result).iter().map(|line| format!("  {line}")));
        if let Some(diff) = &ended.diff {
            lines.extend(diff_lines(diff, page));
        }
        Ok(lines)
    }

    /// The question for an approval, without the line that takes the answer. `all`: nothing is folded.
    pub fn question(&mut self, asked: &Asked, all: bool, page: Page) -> Vec<String> {
        let args: Value = serde_json::from_str(&asked.call.arguments).unwrap_or_default();
        let title = title(&asked.call.name, &args);
        let mut lines = vec![page.paint(
            Style::BOLD.and(Style::of(Colour::Yellow)),
            &format!("May I? {}", fit(&title, page.width.saturating_sub(7))),
        )];
        for why in &asked.why {
            lines.push(wrapped(&format!("  why: {}", printable(why)), page.width));
        }
        for right in &asked.rights {
            let words = printable(&right_words(right)).replace('\n', "\n    ");
            lines.push(format!("  it would: {words}"));
        }
        if !asked.session.is_empty() {
            let words = format!("  a allows in this session: {}", printable(&asked.session));
            lines.push(page.paint(Style::DIM, &wrapped(&words, page.width)));
        }
        if let Some(diff) = &asked.diff {
            self.approved = Some(asked.call.id.clone());
            let diff = diff_lines(diff, page);
            let (head, tail) = DIFF;
            let hidden = diff.len().saturating_sub(head + tail);
            if all || hidden <= 1 {
                lines.extend(diff);
            } else {
                lines.extend_from_slice(&diff[..head]);
                lines.push(page.paint(Style::BOLD, &format!("  … {hidden} more lines; d shows them")));
                lines.extend_from_slice(&diff[diff.len() - tail..]);
            }
        }
        lines
    }
}

/// What an approval is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    pub call: Call,
    pub why: Vec<String>,
    pub rights: Vec<Right>,
    pub session: String,
    pub diff: Option<String>,
    pub timeout: u64,
}

fn heading(title: &str, took: Option<Duration>, page: Page) -> String {
    let seconds = took.map_or(0, |took| took.as_secs());
    let took = if seconds > 0 { format!(" ({seconds} s)") } else { String::new() };
    let (name, rest) = title.split_once(' ').unwrap_or((title, ""));
    let rest = fit(rest, page.width.saturating_sub(name.chars().count() + 1 + took.len()));
    let space = if rest.is_empty() { "" } else { " " };
    format!("{}{space}{rest}{}", page.paint(Style::BOLD, name), page.paint(Style::DIM, &took))
}

/// A call in one line: the tool, and the argument that matters.
fn title(name: &str, args: &Value) -> String {
    let text = |key: &str| args.get(key).and_then(Value::as_str);
    let what = match (name, text("path"), text("pattern"), text("command")) {
        ("grep", Some(path), Some(pattern), _) => format!("{pattern} in {path}"),
        ("grep" | "glob", _, Some(pattern), _) => pattern.to_owned(),
        ("read" | "write" | "edit" | "ls", Some(path), ..) => path.to_owned(),
        ("exec", .., Some(command)) => command.to_owned(),
        _ => short(args),
    };
    let line = printable(&what).replace(['\n', '\t'], " ");
    format!("{} {line}", printable(name).replace(['\n', ' '], "_")).trim_end().to_owned()
}

/// The lines of an output: a carriage return that overwrites a line ends it.
fn lines_of(text: &str) -> Vec<String> {
    text.replace("\r\n", "\n")
        .replace('\r', "\n")
        .lines()
        .map(|line| printable(line).replace('\t', "    "))
        .collect()
}

fn folded(mut lines: Vec<String>, (head, tail): (usize, usize), number: usize, page: Page) -> Vec<String> {
    let hidden = lines.len().saturating_sub(head + tail);
    // One hidden line would take a line to say.
    if hidden > 1 {
        let fold = format!("  … {} more, /show {number} for all", count(hidden, "line"));
        lines.splice(head..head + hidden, [page.paint(Style::DIM, &fold)]);
    }
    lines
}

/// Added and removed lines.
fn changes(diff: &str) -> (usize, usize) {
    let starts = |mark: char| diff.lines().skip(2).filter(|line| line.starts_with(mark)).count();
    (starts('+'), starts('-'))
}

/// A unified diff in colour. Its lines are whole: what is hidden cannot be judged.
fn diff_lines(diff: &str, page: Page) -> Vec<String> {
    let styled = |line: &str| {
        let style = match line.as_bytes().first() {
            Some(b'+') => Style::of(Colour::Green),
            Some(b'-') => Style::of(Colour::Red),
            Some(b'@') => Style::of(Colour::Cyan),
            _ => Style::DIM,
        };
        page.paint(style, &format!("  {}", printable(line).replace('\t', "    ")))
    };
    // The two lines of the header name the file once more.
    diff.lines().skip_while(|line| line.starts_with("---") || line.starts_with("+++")).map(styled).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PAGE: Page = Page { width: 40, styled: false };

    fn run(calls: &mut Calls, name: &str, args: Value, result: &str) -> Vec<String> {
        calls.started("c", name, &args);
        calls.finished("c", result, ResultStatus::Ok, None, Duration::ZERO, PAGE)
    }

    #[test]
    fn outputs_are_folded_and_can_be_shown() {
        let mut calls = Calls::default();
        let text: Vec<String> = (1..=20).map(|n| format!("line {n}")).collect();
        let shown = run(&mut calls, "read", json!({"path": "a.txt"}), &text.join("\n"));
        let wanted = [
            "read a.txt",
            "  line 1",
            "  line 2",
            "  line 3",
            "  line 4",
            "  … 13 lines more, /show 1 for all",
            "  line 18",
            "  line 19",
            "  line 20",
        ];
        assert_eq!(shown, wanted);
        assert_eq!(calls.show(None, PAGE).unwrap().len(), 21);
        assert_eq!(calls.show(Some(2), PAGE).unwrap_err(), "there is no output 2; there are 1 to 1");
        let eight: Vec<String> = (1..=8).map(|n| n.to_string()).collect();
        assert_eq!(run(&mut calls, "ls", json!({}), &eight.join("\n")).len(), 9);
    }

    #[test]
    fn output_of_a_running_call_is_not_shown_twice() {
        let mut calls = Calls::default();
        calls.started("c", "exec", &json!({"command": "make"}));
        assert_eq!(calls.output("c", "one\ntw", PAGE), ["exec make", "  one"]);
        assert_eq!(calls.output("c", "o\n3\n4\n5\n6\n", PAGE), ["  two", "  3", "  4"]);
        let end = calls.finished(
            "c",
            "one\ntwo\n3\n4\n5\n6\n7\n8\n9",
            ResultStatus::Ok,
            None,
            Duration::ZERO,
            PAGE,
        );
        assert_eq!(end, ["  … 2 lines more, /show 1 for all", "  7", "  8", "  9"]);
    }

    /// The output was shown a second time, and why it ended was not.
    #[test]
    fn a_stopped_command_shows_its_output_once_and_why_it_ended() {
        let mut calls = Calls::default();
        calls.started("c", "exec", &json!({"command": "make"}));
        assert_eq!(calls.output("c", "one\n", PAGE), ["exec make", "  one"]);
        let result = "one\n[interrupted: by the user]";
        let end = calls.finished("c", result, ResultStatus::Interrupted, None, Duration::ZERO, PAGE);
        assert_eq!(end, ["  [interrupted: by the user]"]);
    }

    #[test]
    fn a_diff_that_was_approved_is_not_shown_again() {
        let diff = "--- a/n\n+++ b/n\n@@ -1 +1 @@\n-old\n+new\n";
        let mut calls = Calls::default();
        calls.started("c", "edit", &json!({"path": "n"}));
        let seen = calls.finished("c", "changed n\n@@", ResultStatus::Ok, Some(diff), Duration::ZERO, PAGE);
        assert_eq!(seen, ["edit n", "  changed n, +1 -1", "  @@ -1 +1 @@", "  -old", "  +new"]);
        calls.started("d", "edit", &json!({"path": "n"}));
        let call =
            Call { id: "d".into(), name: "edit".into(), arguments: "{\"path\":\"n\"}".into(), raw: None };
        let asked = Asked {
            call,
            why: vec!["writes ask".into()],
            rights: vec![Right::Write { path: "/w/n".into() }],
            session: String::new(),
            diff: Some(diff.into()),
            timeout: 300,
        };
        let question = calls.question(&asked, false, PAGE);
        let wanted = [
            "May I? edit n",
            "  why: writes ask",
            "  it would: write /w/n",
            "  @@ -1 +1 @@",
            "  -old",
            "  +new",
        ];
        assert_eq!(question, wanted);
        let end = calls.finished("d", "changed n", ResultStatus::Ok, Some(diff), Duration::ZERO, PAGE);
        assert_eq!(end, ["edit n", "  changed n, +1 -1"]);
    }

    #[test]
    fn nothing_of_a_tool_steers_the_terminal() {
        let mut calls = Calls::default();
        let shown =
            run(&mut calls, "x\x1b[2J y", json!({"command": "a\x1b]0;t\x07\nb"}), "\x1b[31mred\r\nb\u{202e}");
        assert!(!shown.concat().contains(['\x1b', '\x07', '\r', '\u{202e}']), "{shown:?}");
    }

    #[test]
    fn a_command_is_shown_whole_when_it_asks() {
        let command = format!("echo {}\nrm -r x", "a".repeat(500));
        let call = Call {
            id: "c".into(),
            name: "exec".into(),
            arguments: json!({"command": command}).to_string(),
            raw: None,
        };
        let right =
            Right::Exec { command: command.clone(), cwd: "/w".into(), sandboxed: true, network: false };
        let asked = Asked {
            call,
            why: vec!["commands ask".into()],
            rights: vec![right],
            session: String::new(),
            diff: None,
            timeout: 300,
        };
        let question = Calls::default().question(&asked, false, PAGE).join("\n");
        assert!(question.contains(&"a".repeat(500)) && question.contains("rm -r x"), "{question}");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut calls = Calls::default();
        for _ in 0..6 {
            run(&mut calls, "read", json!({}), &"x".repeat(KEPT / 4));
        }
        assert_eq!(calls.ended.len(), 4);
        assert_eq!(calls.show(Some(1), PAGE).unwrap_err(), "there is no output 1; there are 3 to 6");
    }
}
