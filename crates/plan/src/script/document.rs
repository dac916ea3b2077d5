//! TOML and JSON as one tree in which every value knows its line.
//!
//! The parsers of both formats say what is malformed; this tree exists so that whatever is
//! *wrong* in a well-formed text can be reported by key and line, which no JSON parser offers.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::error::{Problem, ScriptError};

/// A value and the line it starts on, counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

/// As much of a value as a script can mean.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Whole(u64),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
    /// Anything no key of a script accepts, in words.
    Other(&'static str),
}

impl Value {
    /// What this is, for an error message.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Whole(_) => "a number",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(name) => name,
        }
    }
}

pub(super) fn from_toml(text: &str) -> Result<Node, ScriptError> {
    let table = DeTable::parse(text).map_err(|error| ScriptError {
        problem: Problem::Syntax { format: "TOML", message: one_line(error.message()) },
        key: None,
        line: error.span().map(|span| line_at(text, span.start)),
    })?;
    Ok(Node { line: 1, value: table_from_toml(text, table.into_inner()) })
}

fn table_from_toml(text: &str, table: DeTable<'_>) -> Value {
    let entry = |(key, value): (Spanned<_>, _)| {
        let line = line_at(text, key.span().start);
        (String::from(key.into_inner()), Node { line, ..node_from_toml(text, value) })
    };
    Value::Table(table.into_iter().map(entry).collect())
}

fn node_from_toml(text: &str, value: Spanned<DeValue<'_>>) -> Node {
    let line = line_at(text, value.span().start);
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Whole(number),
            Err(_) if number.as_str().starts_with('-') => Value::Other("a negative number"),
            Err(_) => Value::Other("a number beyond 64 bits"),
        },
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(_) => Value::Other("true or false"),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(list) => {
            Value::List(list.into_iter().map(|value| node_from_toml(text, value)).collect())
        }
        DeValue::Table(table) => table_from_toml(text, table),
    };
    Node { line, value }
}

pub(super) fn from_json(text: &str) -> Result<Node, ScriptError> {
    let valid: Result<serde_json::Value, _> = serde_json::from_str(text);
    valid.map_err(|error| {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let problem = Problem::Syntax { format: "JSON", message: one_line(message) };
        ScriptError { problem, key: None, line: Some(error.line()) }
    })?;
    JsonReader { text, at: 0 }.node()
}

/// Reads text that is known to be valid JSON, so it looks no further than it must.
struct JsonReader<'a> {
    text: &'a str,
    at: usize,
}

impl JsonReader<'_> {
    fn node(&mut self) -> Result<Node, ScriptError> {
        let next = self.peek();
        let line = line_at(self.text, self.at);
        let value = match next {
            b'"' => Value::Text(self.string()),
            b'[' => self.list()?,
            b'{' => self.table()?,
            _ => scalar_from_json(self.token(|byte| !b",]} \t\r\n".contains(&byte))),
        };
        Ok(Node { line, value })
    }

    fn list(&mut self) -> Result<Value, ScriptError> {
        let mut list = Vec::new();
        self.at += 1;
        while self.peek() != b']' {
            list.push(self.node()?);
            self.skip_comma();
        }
        self.at += 1;
        Ok(Value::List(list))
    }

    fn table(&mut self) -> Result<Value, ScriptError> {
        let mut table: Vec<(String, Node)> = Vec::new();
        self.at += 1;
        while self.peek() != b'}' {
            let line = line_at(self.text, self.at);
            let key = self.string();
            if table.iter().any(|(other, _)| *other == key) {
                return Err(Problem::Twice.at(key, line));
            }
            // Valid JSON has a colon here.
            self.peek();
            self.at += 1;
            table.push((key, Node { line, ..self.node()? }));
            self.skip_comma();
        }
        self.at += 1;
        Ok(Value::Table(table))
    }

    /// The next byte that is not white space; 0 at the end.
    fn peek(&mut self) -> u8 {
        self.token(|byte| b" \t\r\n".contains(&byte));
        self.text.as_bytes().get(self.at).copied().unwrap_or_default()
    }

    fn skip_comma(&mut self) {
        if self.peek() == b',' {
            self.at += 1;
        }
    }

    /// The string that opens here, unescaped.
    fn string(&mut self) -> String {
        let start = self.at;
        self.at += 1;
        let mut escaped = false;
        self.token(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            !ends
        });
        self.at += 1;
        serde_json::from_str(&self.text[start..self.at]).expect("the text is valid JSON")
    }

    /// Everything from here that `belongs`.
    fn token(&mut self, mut belongs: impl FnMut(u8) -> bool) -> &str {
        let start = self.at;
        let rest = &self.text.as_bytes()[start..];
        let len = rest.iter().position(|&byte| !belongs(byte)).unwrap_or(rest.len());
        self.at += len;
        &self.text[start..self.at]
    }
}

fn scalar_from_json(token: &str) -> Value {
    match token {
        "true" | "false" => Value::Other("true or false"),
        "null" => Value::Other("null"),
        _ if token.contains(['.', 'e', 'E']) => Value::Other("a fraction"),
        _ if token.starts_with('-') => Value::Other("a negative number"),
        _ => token.parse().map_or(Value::Other("a number beyond 64 bits"), Value::Whole),
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count()
}

/// A parser's message may span lines; ours do not.
fn one_line(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}
