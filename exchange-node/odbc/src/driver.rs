//! One question over one connection. Calls block: they belong on a thread for that.
//!
//! **Invariant:** nothing is written. ODBC knows no connection that every driver holds to reading, so each question has a
//! transaction of its own that the database is told to hold to reading before anything else is said, in its own words; where
//! nobody knows these, nothing is asked. The transaction is rolled back whatever happened in it; and what is asked begins with
//! SELECT or WITH.

use std::time::{Duration, Instant};

use odbc_api::{ConnectionOptions, Cursor, DataType, IntoParameter, environment};

/// How to reach a database, and within what bounds.
#[derive(Clone)]
pub struct Link {
    /// ODBC's own words: `DSN=…` or `Driver=…;Server=…`.
    pub connection: String,
    /// Put behind them as `PWD=…`.
    pub password: Option<String>,
    /// The statement that has the database hold a transaction to reading, or [`BY_ITS_USER`]; without it the one that is known
    /// of the database.
    pub read_only: Option<String>,
    /// How long a question may take with its login, in seconds, as far as the driver heeds it; each step has what is left, and at
    /// least one.
    pub timeout_seconds: u32,
    /// The most rows.
    pub most_rows: usize,
    /// The most bytes of one cell.
    pub most_bytes: usize,
}

/// In the place of a statement: the user that asks may only read, and the operator answers for it.
pub const BY_ITS_USER: &str = "user";

/// What has a database hold what follows to reading, by how the name begins that it gives itself, in lower case.
const READING: [(&str, &str); 7] = [
    ("dm", "SET TRANSACTION READ ONLY"),
    ("kingbase", "SET TRANSACTION READ ONLY"),
    ("mariadb", "SET SESSION TRANSACTION READ ONLY"),
    ("mysql", "SET SESSION TRANSACTION READ ONLY"),
    ("oracle", "SET TRANSACTION READ ONLY"),
    ("postgresql", "SET TRANSACTION READ ONLY"),
    ("sqlite", "PRAGMA query_only = ON"),
];

/// The statement for a database of this name.
fn reading(name: &str) -> Option<&'static str> {
    let name = name.trim().to_lowercase();
    READING.iter().find(|(begins, _)| name.starts_with(begins)).map(|(_, statement)| *statement)
}

/// What kind of cells a column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Days.
    Date,
    /// Decimal numbers, exactly.
    Exact,
    /// Floating point numbers.
    Float,
    /// Whole numbers.
    Integer,
    /// Moments.
    Moment,
    /// Bytes, or anything else that is no text.
    Other,
    /// Texts.
    Text,
}

/// What a question brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The columns with their kinds.
    pub columns: Vec<(String, Kind)>,
    /// The rows, each cell as the driver writes it.
    pub rows: Vec<Vec<Option<String>>>,
}

/// Why a question brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The database or its driver. Its words may repeat a value, so that only its codes are told.
    #[error("the driver says {0}")]
    Driver(String),
    /// A cell holds more than it may.
    #[error("a cell of the column {0} holds more than it may")]
    Long(String),
    /// More rows than there may be.
    #[error("there are more than {0} rows")]
    Many(usize),
    /// What was asked brings no rows, ever.
    #[error("what is asked gives no rows: it must be a SELECT")]
    NoRows,
    /// Nobody knows how to hold the database to reading.
    #[error(
        "no statement is known that holds {0} to reading: name it in `read_only`, or write \"user\" there if the user that asks may only read"
    )]
    Open(String),
    /// A text is not UTF-8.
    #[error("a text is not in UTF-8: set the driver's encoding")]
    NotText,
}

impl From<odbc_api::Error> for Failure {
    fn from(error: odbc_api::Error) -> Self {
        Self::Driver(match &error {
            odbc_api::Error::Diagnostics { record, function } => {
                let state = String::from_utf8_lossy(&record.state.0).into_owned();
                format!("SQLSTATE {state} ({}) in {function}", record.native_error)
            }
            _ => "something that has no code".to_owned(),
        })
    }
}

/// Asks `query` (with a `?` for each of `parameters`) over a new connection, and closes it.
///
/// # Errors
/// Why there is no answer. Holds no values.
pub fn ask(link: &Link, query: &str, parameters: &[Option<String>]) -> Result<Answer, Failure> {
    let begun = Instant::now();
    let left = || seconds_left(link.timeout_seconds, begun.elapsed());
    let mut text = link.connection.trim_end_matches(';').to_owned();
    if let Some(password) = &link.password {
        // In braces anything may stand; a brace that closes is doubled.
        text.push_str(&format!(";PWD={{{}}}", password.replace('}', "}}")));
    }
    let options = ConnectionOptions { login_timeout_sec: Some(link.timeout_seconds), ..ConnectionOptions::default() };
    let connection = environment()?.connect_with_connection_string(&text, options)?;
    connection.set_autocommit(false)?;
    let name = match &link.read_only {
        Some(_) => String::new(),
        None => connection.database_management_system_name()?,
    };
    match link.read_only.as_deref().or_else(|| reading(&name)) {
        Some(BY_ITS_USER) => {}
        Some(statement) => drop(connection.execute(statement, (), Some(left()))?),
        None => return Err(Failure::Open(name)),
    }
    let bound = parameters.iter().map(|parameter| parameter.as_deref().into_parameter()).collect::<Vec<_>>();
    let outcome = (|| {
        let cursor = connection.execute(query, bound.as_slice(), Some(left()))?;
        read(link, cursor.ok_or(Failure::NoRows)?)
    })();
    // Before anything else is said: what the query did, it did not.
    let undone = connection.rollback();
    let answer = outcome?;
    undone?;
    Ok(answer)
}

/// How many seconds of `whole` are left, whole ones; never none, which a driver would take for no limit at all.
fn seconds_left(whole: u32, gone: Duration) -> usize {
    let left = Duration::from_secs(whole.into()).saturating_sub(gone).as_secs();
    usize::try_from(left).unwrap_or(usize::MAX).max(1)
}

fn read(link: &Link, mut cursor: impl Cursor) -> Result<Answer, Failure> {
    let names = cursor.column_names()?.collect::<Result<Vec<_>, _>>()?;
    let mut columns = Vec::with_capacity(names.len());
    for (number, name) in (1_u16..).zip(names) {
        columns.push((name, kind(cursor.col_data_type(number)?)));
    }
    let mut rows = Vec::new();
    let mut buffer = Vec::new();
    while let Some(mut row) = cursor.next_row()? {
        if rows.len() == link.most_rows {
            return Err(Failure::Many(link.most_rows));
        }
        let mut cells = Vec::with_capacity(columns.len());
        for (number, (name, _)) in (1_u16..).zip(&columns) {
            if !row.get_text(number, &mut buffer)? {
                cells.push(None);
                continue;
            }
            if buffer.len() > link.most_bytes {
                return Err(Failure::Long(name.clone()));
            }
            cells.push(Some(String::from_utf8(buffer.clone()).map_err(|_| Failure::NotText)?));
        }
        rows.push(cells);
    }
    Ok(Answer { columns, rows })
}

fn kind(ty: DataType) -> Kind {
    match ty {
        DataType::Char { .. }
        | DataType::WChar { .. }
        | DataType::Varchar { .. }
        | DataType::WVarchar { .. }
        | DataType::LongVarchar { .. }
        | DataType::WLongVarchar { .. } => Kind::Text,
        DataType::Numeric { .. } | DataType::Decimal { .. } => Kind::Exact,
        DataType::Integer | DataType::SmallInt | DataType::BigInt | DataType::TinyInt => Kind::Integer,
        DataType::Float { .. } | DataType::Real | DataType::Double => Kind::Float,
        DataType::Date => Kind::Date,
        DataType::Timestamp { .. } => Kind::Moment,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Command};

    use super::*;

    /// Debian's libsqliteodbc, by way of unixODBC.
    const DRIVER: &str = "/usr/lib/x86_64-linux-gnu/odbc/libsqlite3odbc.so";

    struct Database(std::path::PathBuf);

    impl Database {
        fn new(name: &str) -> Self {
            let file = std::env::temp_dir().join(format!("errand-odbc-{}-{name}.db", std::process::id()));
            let database = Self(file);
            database.sql(
                "CREATE TABLE people (number varchar(18) PRIMARY KEY, state integer, income decimal(12,2), rate double,
                                      born date, seen timestamp, name varchar(40));
                 INSERT INTO people VALUES ('890101199003070011', 20, 48000.50, 0.1, '1990-03-07', '2024-02-29 08:00:00', '张三'),
                                           ('890101199111250028', NULL, NULL, NULL, NULL, NULL, NULL)",
            );
            database
        }

        fn sql(&self, sql: &str) -> String {
            let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); r = c.executescript(sys.argv[2]); \
                          c.commit(); print(c.execute('SELECT count(*), sum(state) FROM people').fetchall())";
            let output = Command::new("python3").args(["-c", script]).arg(&self.0).arg(sql).output().expect("python3");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("text")
        }

        fn link(&self) -> Link {
            Link {
                connection: format!("Driver={DRIVER};Database={}", self.0.display()),
                password: None,
                read_only: None,
                timeout_seconds: 5,
                most_rows: 10,
                most_bytes: 1000,
            }
        }
    }

    impl Drop for Database {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn one(link: &Link, query: &str, number: &str) -> Result<Answer, Failure> {
        ask(link, query, &[Some(number.to_owned())])
    }

    #[test]
    fn a_row_comes_with_the_kinds_of_its_columns() {
        assert!(Path::new(DRIVER).exists(), "install libsqliteodbc");
        let database = Database::new("rows");
        let query = "SELECT state, income, rate, born, name FROM people WHERE number = ?";
        let answer = one(&database.link(), query, "890101199003070011").unwrap();
        let kinds = answer.columns.iter().map(|(name, kind)| (name.as_str(), *kind)).collect::<Vec<_>>();
        assert_eq!((kinds[0], kinds[2]), (("state", Kind::Integer), ("rate", Kind::Float)));
        assert_eq!((kinds[3].1, kinds[4].1), (Kind::Date, Kind::Text));
        let texts = answer.rows[0].iter().map(|cell| cell.as_deref().unwrap()).collect::<Vec<_>>();
        assert_eq!((texts[0], texts[3], texts[4]), ("20", "1990-03-07", "张三"));
        let empty = one(&database.link(), query, "890101199111250028").unwrap();
        assert_eq!(empty.rows, [vec![None; 5]]);
        let nobody = one(&database.link(), query, "x' OR '1'='1").unwrap();
        assert_eq!((nobody.columns.len(), nobody.rows.len()), (5, 0));
    }

    #[test]
    fn nothing_is_written_whatever_is_asked() {
        let database = Database::new("writes");
        let before = database.sql("");
        for query in [
            "DELETE FROM people WHERE number = ?",
            "UPDATE people SET state = 99 WHERE number = ?",
            "UPDATE people SET state = 99 WHERE number = ? RETURNING state",
            "INSERT INTO people (number) VALUES (?)",
        ] {
            // The database itself refuses it.
            let refused = one(&database.link(), query, "890101199003070011");
            assert!(matches!(refused, Err(Failure::Driver(_))), "{query}: {refused:?}");
            assert_eq!(database.sql(""), before, "{query}");
            // Where the user alone is the lock, what it brings does not matter, and what it leaves does.
            let link = Link { read_only: Some(BY_ITS_USER.to_owned()), ..database.link() };
            let _ = one(&link, query, "890101199003070011");
            assert_eq!(database.sql(""), before, "{query}");
        }
    }

    #[test]
    fn a_database_that_nobody_can_hold_to_reading_is_not_asked() {
        assert_eq!(reading("SQLite"), Some("PRAGMA query_only = ON"));
        assert_eq!(reading("Oracle"), reading("DM DBMS"));
        assert_eq!(reading("MariaDB"), Some("SET SESSION TRANSACTION READ ONLY"));
        assert_eq!(reading("Microsoft SQL Server"), None);
        let told = Failure::Open("Microsoft SQL Server".into()).to_string();
        assert!(told.contains("`read_only`") && told.contains("SQL Server"), "{told}");
        // A statement of the operator's that the database does not know: nothing is asked.
        let database = Database::new("reading");
        let query = "SELECT state FROM people WHERE number = ?";
        let link = Link { read_only: Some("HOLD IT".to_owned()), ..database.link() };
        let refused = one(&link, query, "890101199003070011");
        assert!(matches!(refused, Err(Failure::Driver(_))), "{refused:?}");
        assert!(one(&database.link(), query, "890101199003070011").is_ok());
    }

    #[test]
    fn each_step_has_the_time_that_is_left_and_never_none() {
        let left = |gone_ms| seconds_left(5, Duration::from_millis(gone_ms));
        assert_eq!([left(0), left(1), left(3999), left(4001), left(60_000)], [5, 4, 1, 1, 1]);
    }

    #[test]
    fn failures_tell_codes_and_no_values() {
        let database = Database::new("failures");
        let number = "890101199003070011";
        let link = database.link();
        let failures = [
            one(&link, "SELECT nothing FROM people WHERE number = ?", number),
            one(&Link { connection: "Driver=/no/such/driver.so".into(), ..link.clone() }, "SELECT ?", number),
            one(&Link { most_rows: 1, ..link.clone() }, "SELECT state FROM people WHERE number <> ? || 'x'", number),
            one(&Link { most_bytes: 3, ..link.clone() }, "SELECT name FROM people WHERE number = ?", number),
        ];
        for failure in failures {
            let told = failure.unwrap_err().to_string();
            assert!(!told.contains(number) && !told.is_empty(), "{told}");
        }
    }
}
