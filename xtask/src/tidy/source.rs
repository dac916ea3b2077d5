//! Rust text taken apart: code without words, and comments without code.
//!
//! Rules about identifiers must not stumble over a string or a comment that mentions one, and
//! rules about comments must not read strings. This scanner knows just enough of the language:
//! comments, strings with their prefixes and hashes, and characters as opposed to lifetimes.

/// Two views of one text; both keep every line where it was.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// The code, with comments and the contents of literals blanked out.
    pub(super) code: String,
    /// The comments with their slashes, with everything else blanked out.
    pub(super) comments: String,
}

impl Source {
    pub(super) fn new(text: &str) -> Self {
        let mut source = Self::default();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let previous = source.code.chars().next_back().unwrap_or('\n');
            let (len, kind) = token(rest, next, previous);
            let (taken, after) = rest.split_at(len);
            source.push(taken, kind);
            rest = after;
        }
        source
    }

    fn push(&mut self, text: &str, kind: Kind) {
        let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
        match kind {
            Kind::Code => {
                self.code.push_str(text);
                self.comments.extend(text.chars().map(blank));
            }
            Kind::Comment => {
                self.code.extend(text.chars().map(blank));
                self.comments.push_str(text);
            }
            Kind::Literal => {
                self.code.extend(text.chars().map(blank));
                self.comments.extend(text.chars().map(blank));
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// The length in bytes and the kind of what `rest` starts with.
fn token(rest: &str, next: char, previous: char) -> (usize, Kind) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Kind::Comment);
    }
    if rest.starts_with("/*") {
        return (block_comment_len(rest), Kind::Comment);
    }
    let continues_a_word = previous.is_alphanumeric() || previous == '_';
    if let Some(len) = (!continues_a_word).then(|| raw_string_len(rest)).flatten() {
        return (len, Kind::Literal);
    }
    match next {
        '"' => (quoted_len(rest, '"'), Kind::Literal),
        '\'' if opens_a_character(rest) => (quoted_len(rest, '\''), Kind::Literal),
        _ => (next.len_utf8(), Kind::Code),
    }
}

fn block_comment_len(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        if tail.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of a raw string such as `r#"…"#`, if one starts here.
fn raw_string_len(rest: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        rest.strip_prefix(prefix).is_some_and(|tail| tail.starts_with(['"', '#']))
    })?;
    let tail = &rest[prefix.len()..];
    let hashes = tail.len() - tail.trim_start_matches('#').len();
    let body = tail[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).map_or(body.len(), |at| at + close.len());
    Some(prefix.len() + hashes + 1 + end)
}

fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Whether a quote opens a character (`'a'`) and not a lifetime (`'a`).
fn opens_a_character(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, code: &str, comments: &str) {
        let source = Source::new(text);
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&source.code), code);
        assert_eq!(words(&source.comments), comments);
        assert_eq!(source.code.lines().count(), text.lines().count());
        assert_eq!(source.comments.lines().count(), text.lines().count());
    }

    #[test]
    fn comments_and_code_are_parted() {
        check("let a = 1; // one\nlet b;\n", "let a = 1; let b;", "// one");
        check("a /* b /* c */ d */ e", "a e", "/* b /* c */ d */");
    }

    #[test]
    fn strings_are_in_neither_view() {
        check(r#"f("// \" no", b"x") // yes"#, "f( , b )", "// yes");
        check("g(r#\"a \" // b\"#, br\"c\\\");", "g( , );", "");
        check("let s = \"two\nlines\"; // end\n", "let s = ;", "// end");
    }

    #[test]
    fn characters_are_literals_and_lifetimes_are_code() {
        check("fn f<'a>(x: &'a str) -> char { '\"' }", "fn f<'a>(x: &'a str) -> char { }", "");
        check(r"['\'', '/', '\u{1F600}']", "[ , , ]", "");
    }

    #[test]
    fn a_name_ending_in_r_does_not_open_a_raw_string() {
        check("for\"x\"", "for", "");
        check("r#type", "r#type", "");
    }
}
