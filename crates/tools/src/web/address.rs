//! From what a model wrote to a URL, and to the host that the policy decides about.

use url::Url;

/// A longer URL is no address but a message.
const LONGEST: usize = 2_000;

/// The URL that is meant: with a scheme, without a dot at the end of its host.
///
/// # Errors
/// What is wrong with it, as the model shall read it.
pub(super) fn parse(written: &str) -> Result<Url, String> {
    let written = written.trim().trim_start_matches('<').trim_end_matches('>');
    if written.is_empty() {
        return Err("error: url is empty; expected an address, as in https://example.org/page".into());
    }
    if written.len() > LONGEST {
        return Err(format!("error: the url has {} bytes; the limit is {LONGEST}", written.len()));
    }
    let full = if has_scheme(written) { written.to_owned() } else { format!("https://{written}") };
    let mut url = Url::parse(&full).map_err(|error| format!("error: {written:?} is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        let scheme = url.scheme();
        return Err(format!("error: {scheme}: is no web address; web_fetch takes http and https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("error: a URL with a user name or a password in it is not fetched".into());
    }
    let host = url.host_str().unwrap_or_default();
    if let Some(plain) = host.strip_suffix('.').map(str::to_owned) {
        url.set_host(Some(&plain)).map_err(|error| format!("error: {written:?} is no URL: {error}"))?;
    }
    Ok(url)
}

/// `example.org:8080/x` and `localhost:1` begin with a host, `file:x` and `data:x` with a scheme.
fn has_scheme(written: &str) -> bool {
    let Some((scheme, rest)) = written.split_once(':') else { return false };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let is_port =
        !port.is_empty() && matches!(rest[port.len()..].chars().next(), None | Some('/' | '?' | '#'));
    is_scheme && !is_port
}

/// The host that a right names: with the port where it is not the scheme's own. `www.` in front
/// makes no other host, since whoever has the one has the other, and sites send from one to the
/// other all the time.
pub(super) fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    let name = name.strip_prefix("www.").filter(|rest| rest.contains('.')).unwrap_or(name);
    match url.port() {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_models_write() {
        let table = [
            ("https://example.org/a b", "https://example.org/a%20b", "example.org"),
            ("example.org", "https://example.org/", "example.org"),
            ("www.example.org/x", "https://www.example.org/x", "example.org"),
            ("example.org:8080/x", "https://example.org:8080/x", "example.org:8080"),
            ("http://Example.ORG.:80/", "http://example.org/", "example.org"),
            ("<https://example.org/>", "https://example.org/", "example.org"),
            ("https://www.com/", "https://www.com/", "www.com"),
            ("https://bücher.example/", "https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
            ("http://127.0.0.1./", "http://127.0.0.1/", "127.0.0.1"),
            ("http://0x7f.1/", "http://127.0.0.1/", "127.0.0.1"),
            ("http://[::1]:8000", "http://[::1]:8000/", "[::1]:8000"),
        ];
        for (written, want, right) in table {
            let url = parse(written).unwrap();
            assert_eq!((url.as_str(), host(&url).as_str()), (want, right), "{written}");
        }
    }

    #[test]
    fn what_is_no_web_address() {
        let table = [
            ("", "is empty"),
            ("file:///etc/passwd", "file: is no web address"),
            ("ftp://example.org/", "ftp: is no web address"),
            ("data:text/html,x", "data: is no web address"),
            ("javascript:alert(1)", "javascript: is no web address"),
            ("gopher://127.0.0.1:6379/_x", "gopher: is no web address"),
            ("https://me:secret@example.org/", "user name or a password"),
            ("https://example.org@evil.example/", "user name or a password"),
            ("https://", "is no URL"),
            ("https://exa mple.org/", "is no URL"),
        ];
        for (written, words) in table {
            let error = parse(written).unwrap_err();
            assert!(error.contains(words), "{written}: {error}");
        }
        assert!(parse(&format!("https://example.org/?{}", "x".repeat(2_000))).unwrap_err().contains("limit"));
    }
}
