//! Reads GBNF, the grammar notation of llama.cpp and of XGrammar's EBNF, as Lark.
//! Source: the README of llama.cpp's `grammars` folder.

use std::fmt::Write as _;

use super::lark::string;

/// `text` in Lark if it is GBNF; `None` if it is Lark already: GBNF's rules are `name ::= …`.
///
/// # Errors
/// What is wrong, and where.
pub fn gbnf_to_lark(text: &str) -> Result<Option<String>, String> {
    if !text.contains("::=") {
        return Ok(None);
    }
    let mut reader = Reader { text, at: 0, rules: Vec::new() };
    reader.run()?;
    if !reader.rules.iter().any(|(name, _)| name == "start") {
        return Err("the grammar has no rule \"root\"".to_owned());
    }
    let mut out = String::new();
    for (name, body) in reader.rules {
        let _ = writeln!(out, "{name}: {body}");
    }
    Ok(Some(out))
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    rules: Vec<(String, String)>,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error(&self, expected: &str) -> String {
        let line = self.text[..self.at].matches('\n').count() + 1;
        let found: String = self.rest().chars().take(12).collect();
        format!("line {line}: expected {expected}, found {found:?}")
    }

    fn space(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        let hit = self.rest().starts_with(token);
        if hit {
            self.at += token.len();
        }
        hit
    }

    fn run(&mut self) -> Result<(), String> {
        self.space();
        while !self.rest().is_empty() {
            let name = self.name().ok_or_else(|| self.error("a rule's name"))?;
            self.space();
            if !self.eat("::=") {
                return Err(self.error("::="));
            }
            let body = self.alternatives(0)?;
            self.rules.push((name, body));
            self.space();
        }
        Ok(())
    }

    /// A name as Lark has it: `root` is `start`, and no name is like another's.
    fn name(&mut self) -> Option<String> {
        let rest = self.rest();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let len = rest.find(|c| !plain(c)).unwrap_or(rest.len());
        let name = &rest[..len];
        if name.is_empty() {
            return None;
        }
        let mut out = String::from("r_");
        for c in name.chars() {
            match c {
                '-' => out.push_str("_d_"),
                '_' => out.push_str("_u_"),
                c if c.is_ascii_uppercase() => {
                    out.push_str("_c_");
                    out.push(c.to_ascii_lowercase());
                }
                c => out.push(c),
            }
        }
        let root = name == "root";
        self.at += len;
        Some(if root { "start".to_owned() } else { out })
    }

    fn alternatives(&mut self, depth: usize) -> Result<String, String> {
        if depth > 64 {
            return Err(self.error("less nesting"));
        }
        let mut ways = vec![self.sequence(depth)?];
        self.space();
        while self.eat("|") {
            ways.push(self.sequence(depth)?);
            self.space();
        }
        Ok(ways.join(" | "))
    }

    fn sequence(&mut self, depth: usize) -> Result<String, String> {
        let mut items = Vec::new();
        loop {
            self.space();
            let Some(item) = self.item(depth)? else { break };
            items.push(item + &self.repeats()?);
        }
        Ok(if items.is_empty() { "\"\"".to_owned() } else { items.join(" ") })
    }

    fn item(&mut self, depth: usize) -> Result<Option<String>, String> {
        Ok(match self.rest().chars().next() {
            Some('"') => Some(self.literal()?),
            Some('[') => Some(self.class()?),
            Some('.') => {
                self.at += 1;
                Some("/(?s:.)/".to_owned())
            }
            Some('(') => {
                self.at += 1;
                let inner = self.alternatives(depth + 1)?;
                self.space();
                if !self.eat(")") {
                    return Err(self.error(")"));
                }
                Some(format!("({inner})"))
            }
            _ => {
                let start = self.at;
                let name = self.name();
                // The next rule begins here.
                let after = self.rest().trim_start();
                if after.starts_with("::=") {
                    self.at = start;
                    return Ok(None);
                }
                name
            }
        })
    }

    fn repeats(&mut self) -> Result<String, String> {
        let Some(c) = self.rest().chars().next() else { return Ok(String::new()) };
        match c {
            '*' | '+' | '?' => {
                self.at += 1;
                Ok(c.to_string())
            }
            '{' => {
                let end = self.rest().find('}').ok_or_else(|| self.error("}"))?;
                let inner = self.rest()[1..end].replace(' ', "");
                let number = |text: &str| text.is_empty() || text.bytes().all(|b| b.is_ascii_digit());
                if inner.is_empty() || inner.splitn(2, ',').any(|part| !number(part)) {
                    return Err(self.error("{n}, {n,} or {n,m}"));
                }
                self.at += end + 1;
                Ok(format!("{{{inner}}}"))
            }
            _ => Ok(String::new()),
        }
    }

    fn literal(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.rest().chars().next() {
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(string(&text));
                }
                '\\' => text.push(self.escape()?),
                c => {
                    self.at += c.len_utf8();
                    text.push(c);
                }
            }
        }
        Err(self.error("the end of the string"))
    }

    /// A class of characters, as a regular expression.
    fn class(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut out = String::from("/[");
        if self.eat("^") {
            out.push('^');
        }
        loop {
            let Some(c) = self.rest().chars().next() else {
                return Err(self.error("]"));
            };
            match c {
                ']' => {
                    self.at += 1;
                    out.push_str("]/");
                    return Ok(out);
                }
                '-' => {
                    self.at += 1;
                    let edge = out.ends_with(['[', '^']) || self.rest().starts_with(']');
                    out.push_str(if edge { "\\-" } else { "-" });
                }
                _ => {
                    let c = match c {
                        '\\' => self.escape()?,
                        c => {
                            self.at += c.len_utf8();
                            c
                        }
                    };
                    let _ = match c.is_ascii_alphanumeric() {
                        true => write!(out, "{c}"),
                        false => write!(out, "\\x{{{:x}}}", u32::from(c)),
                    };
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let mut chars = self.rest()[1..].chars();
        let Some(c) = chars.next() else { return Err(self.error("an escape")) };
        let digits = match c {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if digits > 0 {
            let hex = self.rest().get(2..2 + digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
            let found = hex.and_then(char::from_u32).ok_or_else(|| self.error("hexadecimal digits"))?;
            self.at += 2 + digits;
            return Ok(found);
        }
        self.at += 1 + c.len_utf8();
        Ok(match c {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            c => c,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gbnf_reads_as_lark() {
        let text = "root ::= (expr \"=\" ws term \"\\n\")+ # lines\nexpr-a ::= [a-z\\]^-]{2,3} | \"\"\nws ::= [ \\t]*\n\
            expr ::= term\nterm ::= expr-a | .";
        let lark = gbnf_to_lark(text).unwrap().unwrap();
        assert_eq!(
            lark,
            "start: (r_expr \"=\" r_ws r_term \"\\n\")+\nr_expr_d_a: /[a-z\\x{5d}\\x{5e}\\-]/{2,3} | \"\"\n\
             r_ws: /[\\x{20}\\x{9}]/*\nr_expr: r_term\nr_term: r_expr_d_a | /(?s:.)/\n"
        );
        assert_eq!(gbnf_to_lark("start: \"a\""), Ok(None));
        for broken in
            ["a ::= \"x\"", "root ::= (", "root ::= \"x", "root ::= [a", "root ::= \"x\"{a}", "::= x"]
        {
            assert!(gbnf_to_lark(broken).is_err(), "{broken}");
        }
    }
}
