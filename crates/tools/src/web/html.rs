//! From HTML to text that a model reads: headings, lists, links, tables and code as Markdown writes
//! them, without what is there for the eye, for scripts or for nobody.
//!
//! The tokens are those of the HTML standard; a tree is not built. Elements that have to be left
//! out as a whole end at their own end tag.

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{StartTag, Token, Tokenizer};
use url::Url;

use super::flow::Flow;
use super::window::Page;

/// What is never text.
const DROPPED: &[&str] = &[
    "script", "style", "noscript", "template", "svg", "canvas", "audio", "video", "object", "iframe",
    "select", "textarea", "datalist", "dialog", "noembed", "noframes", "title",
];
/// What stands around the text of a page.
const AROUND: &[&str] = &["nav", "footer", "aside"];
/// Elements without content.
const VOID: &[&str] =
    &["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"];
/// Elements whose end tag is often left out: they end where the next one begins.
const OPEN_ENDED: &[&str] = &["p", "li", "dt", "dd", "tr", "td", "th", "option"];
/// A main part with fewer characters is not taken for the whole.
const MAIN: usize = 200;

/// The text of a page at `base`.
pub(super) fn readable(html: &str, base: &Url) -> Page {
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    let tokens: Vec<Token> = Tokenizer::new_with_emitter(html, emitter)
        .filter_map(Result::ok)
        .filter(|token| matches!(token, Token::StartTag(_) | Token::EndTag(_) | Token::String(_)))
        .collect();
    let base = base_of(&tokens, base);
    let title = title_of(&tokens);
    let render = |tokens: &[Token], around: bool| {
        let mut reader = Reader { flow: Flow::new(&base), dropping: None, around };
        tokens.iter().for_each(|token| reader.token(token));
        let (text, anchors) = reader.flow.finish();
        Page { title: title.clone(), text, anchors, ..Page::default() }
    };
    let main = main_part(&tokens).map(|part| render(part, false));
    if let Some(page) = main.filter(|page| page.text.chars().count() >= MAIN) {
        return page;
    }
    let page = render(&tokens, false);
    // Where the frame is all there is, it is the text.
    if page.text.is_empty() { render(&tokens, true) } else { page }
}

fn name(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn attribute(tag: &StartTag<()>, key: &str) -> Option<String> {
    let value = tag.attributes.get(key.as_bytes())?;
    Some(String::from_utf8_lossy(value).into_owned())
}

fn base_of(tokens: &[Token], page: &Url) -> Url {
    let href = tokens.iter().find_map(|token| match token {
        Token::StartTag(tag) if name(&tag.name) == "base" => attribute(tag, "href"),
        _ => None,
    });
    href.and_then(|href| page.join(&href).ok()).unwrap_or_else(|| page.clone())
}

fn title_of(tokens: &[Token]) -> String {
    let mut inside = false;
    let mut title = String::new();
    for token in tokens {
        match token {
            Token::StartTag(tag) if name(&tag.name) == "title" => inside = true,
            Token::EndTag(tag) if name(&tag.name) == "title" => break,
            Token::String(text) if inside => title.push_str(&String::from_utf8_lossy(text)),
            // A picture has titles of its own.
            Token::StartTag(tag) if name(&tag.name) == "body" => break,
            _ => {}
        }
    }
    title.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What stands in `<main>`, or in the only `<article>`.
fn main_part(tokens: &[Token]) -> Option<&[Token]> {
    let is_main = |tag: &StartTag<()>| {
        name(&tag.name) == "main" || attribute(tag, "role").is_some_and(|role| role == "main")
    };
    let is_article = |tag: &StartTag<()>| name(&tag.name) == "article";
    let starts = |is: &dyn Fn(&StartTag<()>) -> bool| -> Vec<usize> {
        let at = |(at, token): (usize, &Token)| match token {
            Token::StartTag(tag) if is(tag) => Some(at),
            _ => None,
        };
        tokens.iter().enumerate().filter_map(at).collect()
    };
    let found = match (starts(&is_main).as_slice(), starts(&is_article).as_slice()) {
        ([first, ..], _) => *first,
        ([], [only]) => *only,
        _ => return None,
    };
    let Token::StartTag(first) = &tokens[found] else { return None };
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(found) {
        match token {
            Token::StartTag(tag) if tag.name == first.name => depth += 1,
            Token::EndTag(tag) if tag.name == first.name => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&tokens[found..at]);
        }
    }
    Some(&tokens[found..])
}

/// Goes over the tokens and leaves out what is not to be read.
struct Reader<'a> {
    flow: Flow<'a>,
    /// The element that is left out, and how many of its name are open.
    dropping: Option<(String, usize)>,
    /// What stands around the text is taken for text.
    around: bool,
}

impl Reader<'_> {
    fn token(&mut self, token: &Token) {
        match token {
            Token::StartTag(tag) => self.start(tag),
            Token::EndTag(tag) => self.end(name(&tag.name)),
            Token::String(text) if self.dropping.is_none() => {
                self.flow.text(&String::from_utf8_lossy(text));
            }
            _ => {}
        }
    }

    fn start(&mut self, tag: &StartTag<()>) {
        let name = name(&tag.name);
        if let Some((dropped, depth)) = &mut self.dropping {
            let again = dropped == name;
            if !again || !OPEN_ENDED.contains(&name) {
                *depth += usize::from(again);
                return;
            }
            self.dropping = None;
        }
        let around = !self.around && AROUND.contains(&name);
        if DROPPED.contains(&name) || around || is_hidden(tag) {
            let is_whole = VOID.contains(&name) || (tag.self_closing && name == "svg");
            self.dropping = (!is_whole).then(|| (name.to_owned(), 1));
            return;
        }
        if let Some(id) = attribute(tag, "id").or_else(|| (name == "a").then(|| attribute(tag, "name"))?) {
            self.flow.anchor(id);
        }
        match name {
            "a" => self.flow.link(attribute(tag, "href")),
            "img" => self.flow.image(attribute(tag, "alt")),
            "ol" => {
                let first = attribute(tag, "start").and_then(|start| start.parse().ok()).unwrap_or(1);
                self.flow.list(Some(first));
            }
            _ => self.flow.open(name),
        }
    }

    fn end(&mut self, name: &str) {
        match &mut self.dropping {
            Some((dropped, depth)) if dropped == name => {
                *depth -= 1;
                if *depth == 0 {
                    self.dropping = None;
                }
            }
            Some(_) => {}
            None => self.flow.close(name),
        }
    }
}

/// True where no eye sees it: what is hidden from the user is not for the model either.
fn is_hidden(tag: &StartTag<()>) -> bool {
    let style = attribute(tag, "style").unwrap_or_default().to_ascii_lowercase();
    let style: String = style.chars().filter(|c| !c.is_whitespace()).collect();
    attribute(tag, "hidden").is_some()
        || attribute(tag, "aria-hidden").is_some_and(|value| value == "true")
        || ["display:none", "visibility:hidden", "font-size:0;", "opacity:0;"]
            .iter()
            .any(|hides| format!("{style};").contains(hides))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(html: &str) -> String {
        readable(html, &Url::parse("https://example.org/docs/page").unwrap()).text
    }

    #[test]
    fn elements() {
        let table = [
            ("<p>a<p>b", "a\n\nb"),
            ("a<br>b<br><br>c", "a\nb\nc"),
            ("  a \n\t b&nbsp; c ", "a b c"),
            ("<h2> T <em>x</em></h2>y", "## T x\n\ny"),
            ("<ul><li>a</li><li>b<ul><li>c</ul></ul>d", "- a\n- b\n  - c\n\nd"),
            ("<ol start=3><li>a<li><p>b</p></ol>", "3. a\n4. b"),
            ("<ul><li></li><li>a</ul>", "- a"),
            ("<a href=x>l</a>", "[l](https://example.org/docs/x)"),
            ("<a href='//o.example/?a=1&amp;b'><b>l</b> m</a>.", "[l m](https://o.example/?a=1&b)."),
            ("<a href=#top>up</a> <a href=page#x>here</a>", "up here"),
            ("<h2><a href=#t>\u{a7}</a>T <a href=#t> # </a></h2>x", "## T\n\nx"),
            ("<pre>a <a href=/x>b</a></pre>", "```\na b\n```"),
            ("<a href='javascript:x'>j</a> <a href='mailto:a@b'>m</a> <a>n</a>", "j m n"),
            ("<a href=http://me:pw@h/>k</a>", "[k](http://h/)"),
            ("<a href=https://h/>https://h/</a>", "https://h/"),
            ("<a href=/x><div>a</div><div>b</div></a>", "a\nb"),
            ("<ul><li><a href=/x>l</a></ul>", "- [l](https://example.org/x)"),
            ("<a href=/x><img src=i alt='a  b'></a>", "[[image: a b]](https://example.org/x)"),
            ("<base href='https://b.example/q/'><a href=r>l</a>", "[l](https://b.example/q/r)"),
            ("use <code>x &lt; y</code> now", "use `x < y` now"),
            ("<pre>\nfn a() {\n  b\n}\n</pre>c", "```\nfn a() {\n  b\n}\n```\n\nc"),
            ("<pre><code>x  y</code></pre>", "```\nx  y\n```"),
            ("<blockquote><p>a<p>b</blockquote>c", "> a\n\n> b\n\nc"),
            ("<table><tr><th>a<th>b<tr><td>1<td>2</table>", "a | b\n1 | 2"),
            ("<dl><dt>a<dd>b</dl>", "a\nb"),
            ("a<hr>b", "a\n\n---\n\nb"),
            ("a<script>if (a < b) x('</p>')</script>b<style>p{}</style>", "ab"),
            ("<svg><title>t</title><text>x</text></svg>a", "a"),
            ("<div hidden>evil <div>more</div></div>a", "a"),
            ("<span style='DISPLAY : none'>evil</span>a<p aria-hidden=true>b<p>c", "a\n\nc"),
            ("<textarea>evil</textarea><select><option>x</select><input value=y>a", "a"),
            ("<nav>n</nav>a<footer>f</footer><aside>s</aside>", "a"),
            ("<nav>only this</nav>", "only this"),
            ("<title>t</title><p>a", "a"),
            ("a<!-- no -->b<![CDATA[c]]>", "ab"),
            ("&copy;&#x41;&hellip;&bogus;", "\u{a9}A\u{2026}&bogus;"),
            ("</div></ul></blockquote></pre>a</li></a>", "a"),
            ("<p", ""),
            ("", ""),
        ];
        for (html, want) in table {
            assert_eq!(text(html), want, "{html}");
        }
    }

    #[test]
    fn the_main_part_is_the_page() {
        let long = "word ".repeat(60);
        let page = format!("<div>around</div><main><article>{long}</article></main><div>below</div>");
        assert_eq!(text(&page), long.trim());
        let page = format!("<div>around</div><div role=main><div>{long}</div></div>below");
        assert_eq!(text(&page), long.trim());
        let teasers = format!("<p>around<article>{long}</article><article>{long}</article>");
        assert!(text(&teasers).starts_with("around"));
        assert_eq!(text("<p>around<main>short</main>"), "around\n\nshort");
    }

    #[test]
    fn title_and_anchors() {
        let base = Url::parse("https://example.org/").unwrap();
        let html = "<head><title> A\n&lt;b&gt; </title></head><h1 id=one>First</h1><p><a name=two></a>Second";
        let page = readable(html, &base);
        assert_eq!((page.title.as_str(), page.text.as_str()), ("A <b>", "# First\n\nSecond"));
        assert_eq!(page.anchors, [("one".to_owned(), 0), ("two".to_owned(), 9)]);
    }

    #[test]
    fn an_anchor_in_white_space_at_the_end_is_at_the_end() {
        let base = Url::parse("https://example.org/").unwrap();
        let page = readable("<pre><ul><p id=x> <p>", &base);
        assert_eq!(page.anchors, [("x".to_owned(), page.text.len())]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_soup_is_read(
            parts in proptest::collection::vec(
                prop_oneof![
                    "<(/)?(p|a|ul|ol|li|pre|code|td|tr|main|nav|h2|blockquote|div|svg|br)( (id|href|hidden)=x)?>",
                    "[a &<\u{e9}\n]{0,6}",
                ],
                0..60,
            )
        ) {
            let page = readable(&parts.concat(), &Url::parse("https://example.org/").unwrap());
            prop_assert!(page.anchors.iter().all(|(_, at)| *at <= page.text.len()));
        }
    }
}
