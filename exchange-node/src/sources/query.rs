//! The one fixed query of a service over a database: its named parameters (`:subject`, `:year`) and their places.
//!
//! A query is refused unless it only reads; that the connection can only read is the lock, and this is the notice on the
//! door, which tells an operator of a slip before any database is asked. Out of scope: sending it ([`super::sql`]).

use std::fmt;

/// A query cut at its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// What stands before, between and after the parameters: one more than these.
    pieces: Vec<String>,
    names: Vec<String>,
}

/// The parameter that holds the subject's identifier in its one spelling.
pub const SUBJECT: &str = "subject";

/// The parameter that holds a resident number in the form of fifteen digits, for tables that still hold some.
pub const SUBJECT_15: &str = "subject_15";

/// The parameter that holds the identifier in lower-case letters, for tables with a small x.
pub const SUBJECT_LOWER: &str = "subject_lower";

/// What is wrong with a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// More than one statement.
    #[error("must be one statement: a semicolon stands within it")]
    Several,
    /// It does not begin with SELECT or WITH, or it says where to write.
    #[error("must only read: begin it with SELECT or WITH, and leave out INTO, INSERT, UPDATE, DELETE and FOR UPDATE")]
    Writes,
    /// A quotation mark or comment that does not end.
    #[error("a quotation mark or a comment in it does not end")]
    Unfinished,
    /// The subject is not asked for.
    #[error("must ask for the subject: write :subject where its identifier belongs")]
    WithoutSubject,
}

impl Query {
    /// Cuts `text` at its parameters.
    ///
    /// # Errors
    /// Where it is not one reading statement about the subject.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let text = text.trim().trim_end_matches(';').trim_end();
        let mut query = Self { pieces: vec![String::new()], names: Vec::new() };
        let mut words = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let length = match c {
                '\'' | '"' | '`' => quoted(rest, c)?,
                '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
                '#' if query.is_line_start() => rest.find('\n').unwrap_or(rest.len()),
                '/' if rest.starts_with("/*") => rest.find("*/").ok_or(QueryError::Unfinished)? + 2,
                '$' => dollar_quoted(rest)?,
                ';' => return Err(QueryError::Several),
                ':' if rest.starts_with("::") => 2,
                ':' => match name(&rest[1..]) {
                    "" => 1,
                    name => {
                        query.names.push(name.to_owned());
                        query.pieces.push(String::new());
                        rest = &rest[1 + name.len()..];
                        continue;
                    }
                },
                c if c.is_ascii_alphabetic() || c == '_' => {
                    let word = name(rest);
                    words.push(word.to_ascii_lowercase());
                    word.len()
                }
                c => c.len_utf8(),
            };
            // Unwrap safety: there is always a piece, the first is made above.
            query.pieces.last_mut().expect("a piece").push_str(&rest[..length]);
            rest = &rest[length..];
        }
        let begins = words.first().is_some_and(|word| matches!(word.as_str(), "select" | "with"));
        let writes = words.iter().any(|word| matches!(word.as_str(), "into" | "insert" | "update" | "delete"));
        if !begins || writes {
            return Err(QueryError::Writes);
        }
        if !query.names.iter().any(|name| matches!(name.as_str(), SUBJECT | SUBJECT_15 | SUBJECT_LOWER)) {
            return Err(QueryError::WithoutSubject);
        }
        Ok(query)
    }

    /// A text that is asked as it stands, to see what a database does about it. Its `:subject` is the one parameter.
    #[cfg(test)]
    pub fn unchecked(text: &str) -> Self {
        let pieces = text.split(":subject").map(str::to_owned).collect::<Vec<_>>();
        let names = vec![SUBJECT.to_owned(); pieces.len() - 1];
        Self { pieces, names }
    }

    /// The names of its parameters, in the order of their places; one may stand several times.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether it has the parameter `name`.
    pub fn uses(&self, name: &str) -> bool {
        self.names.iter().any(|used| used == name)
    }

    /// The query as a database reads it: `placed` says what stands at each place, from its index and name.
    pub fn text(&self, mut placed: impl FnMut(usize, &str) -> String) -> String {
        let mut text = self.pieces[0].clone();
        for (index, (name, piece)) in self.names.iter().zip(&self.pieces[1..]).enumerate() {
            text.push_str(&placed(index, name));
            text.push_str(piece);
        }
        text
    }

    fn is_line_start(&self) -> bool {
        self.pieces.last().is_some_and(|piece| piece.trim_end_matches([' ', '\t']).ends_with('\n'))
    }
}

impl fmt::Display for Query {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text(|_, name| format!(":{name}")))
    }
}

/// The length of what is quoted with `mark`, the marks included. A doubled mark begins the next quotation at once.
fn quoted(text: &str, mark: char) -> Result<usize, QueryError> {
    let end = text[1..].find(mark).ok_or(QueryError::Unfinished)?;
    Ok(end + 2)
}

/// The length of `$tag$ … $tag$`, or of the sign alone.
fn dollar_quoted(text: &str) -> Result<usize, QueryError> {
    let tag = name(&text[1..]);
    if !text[1 + tag.len()..].starts_with('$') {
        return Ok(1);
    }
    let mark = &text[..tag.len() + 2];
    let end = text[mark.len()..].find(mark).ok_or(QueryError::Unfinished)?;
    Ok(end + 2 * mark.len())
}

fn name(text: &str) -> &str {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    if text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') { &text[..end] } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(text: &str) -> String {
        Query::parse(text).unwrap().text(|index, _| format!("${}", index + 1))
    }

    #[test]
    fn parameters_get_their_places_and_nothing_else_is_touched() {
        assert_eq!(
            numbered("SELECT a::text, ':subject' FROM t -- :no\n WHERE id IN (:subject, :subject_15) AND y = :year;"),
            "SELECT a::text, ':subject' FROM t -- :no\n WHERE id IN ($1, $2) AND y = $3"
        );
        assert_eq!(
            numbered("SELECT \"a:b\", `c:d` /* :x */ FROM t WHERE id=:subject"),
            "SELECT \"a:b\", `c:d` /* :x */ FROM t WHERE id=$1"
        );
        assert_eq!(
            numbered("SELECT $$:a;$$, $q$ :b $q$ FROM t WHERE id = :subject"),
            "SELECT $$:a;$$, $q$ :b $q$ FROM t WHERE id = $1"
        );
        assert_eq!(
            numbered("SELECT 'it''s; :x' FROM t WHERE id = :subject"),
            "SELECT 'it''s; :x' FROM t WHERE id = $1"
        );
        let query = Query::parse("SELECT 1 WHERE :subject = :subject").unwrap();
        assert_eq!(query.names(), ["subject", "subject"]);
        assert_eq!(query.to_string(), "SELECT 1 WHERE :subject = :subject");
    }

    #[test]
    fn what_does_not_only_read_about_one_subject_is_refused() {
        let fault = |text| Query::parse(text).unwrap_err();
        assert_eq!(fault("SELECT 1; DROP TABLE t"), QueryError::Several);
        assert_eq!(fault("DELETE FROM t WHERE id = :subject"), QueryError::Writes);
        assert_eq!(fault("WITH x AS (INSERT INTO t VALUES (:subject) RETURNING 1) SELECT 1"), QueryError::Writes);
        assert_eq!(fault("SELECT a INTO OUTFILE '/tmp/x' FROM t WHERE id = :subject"), QueryError::Writes);
        assert_eq!(fault("SELECT a FROM t WHERE id = :subject FOR UPDATE"), QueryError::Writes);
        assert_eq!(fault("SELECT 'open FROM t WHERE id = :subject"), QueryError::Unfinished);
        assert_eq!(fault("SELECT 1 /* open :subject"), QueryError::Unfinished);
        assert_eq!(fault("SELECT a FROM t"), QueryError::WithoutSubject);
        assert_eq!(fault(""), QueryError::Writes);
        // A column that is called so is a word within another.
        assert!(Query::parse("SELECT updated, into_force FROM t WHERE id = :subject").is_ok());
    }
}
