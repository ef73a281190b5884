//! How fast questions are answered from each kind of source: the same register and the same questions, node to node, from
//! imported records, from each database and from an HTTP endpoint; beside each the lookup alone, over the same driver, which
//! nothing that asks it can outrun. Out of scope: ODBC and folders, whose records are a database's or imported.

mod owner;

#[path = "../../support/mariadb_server.rs"]
mod mariadb_server;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use super::postgres_server;
use anyhow::{Context, bail, ensure};
use exchange_node::{
    service_file,
    sources::{
        Asked, Source,
        http::Endpoint,
        settings::{Ask as AskedFor, Kind, Settings},
        sql::Database,
    },
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use trust::{
    ids::Digest,
    service::Service,
    subject::{Scheme, Subject},
};

use super::{
    driver::Driver,
    load::{Ask, measure},
    places::Place,
    summary::{self, Figures},
};

/// What can be set.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Seconds for each point of each round.
    #[arg(long = "source-seconds", default_value_t = 3.0)]
    seconds: f64,
    /// Rounds.
    #[arg(long = "source-rounds", default_value_t = 3)]
    rounds: usize,
    /// The size of the register.
    #[arg(long = "source-records", default_value_t = 100_000)]
    records: usize,
    /// Questions in flight.
    #[arg(long = "source-in-flight", default_value_t = 64)]
    in_flight: usize,
}

const QUERY: &str = "SELECT marital_status, registered_on FROM marriages WHERE number = :subject";

const HTTP: &str = "path = \"/marriages\"\nbody = '{\"number\": \":subject\"}'\nrows = \"/rows\"\nno_rows_status = [\"404\"]\n\
    pointers = { marital_status = \"/marital_status\", registered_on = \"/registered_on\" }\n";

/// Measures, and puts the figures into the summary.
pub async fn run(options: &Options, summary: &Path) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("bench").tempdir()?;
    println!("starting a town with {} records", options.records);
    let place = Place::start(&dir.path().join("town"), options.records).await?;
    let csv = dir.path().join("town/marriage.csv");
    let node = place.provider().dir().to_owned();
    let mut sources: Vec<(&'static str, String)> = vec![("embedded", String::new())];

    let file = node.join("marriages.db");
    fill_sqlite(&file, &csv)?;
    sources.push(("sqlite", format!("kind = \"sqlite\"\npath = \"{}\"\n", file.display())));
    let postgres = postgres_server::own("bench sources").await;
    if let Some(scratch) = &postgres {
        scratch.sql("CREATE TABLE marriages (number char(18) PRIMARY KEY, marital_status text, registered_on date)");
        scratch.sql(&format!("COPY marriages FROM PROGRAM 'cat {}' WITH (FORMAT csv, HEADER)", readable(&csv)?));
        scratch.sql("ANALYZE marriages");
        let (host, database, user) = (scratch.server().socket().display(), scratch.database(), postgres_server::USER);
        sources.push((
            "postgres",
            format!("kind = \"postgres\"\nhost = \"{host}\"\ndatabase = \"{database}\"\nuser = \"{user}\"\n"),
        ));
    }
    let mariadb = mariadb_server::own().await;
    if let Some(server) = &mariadb {
        server.sql(
            "CREATE TABLE marriages (number CHAR(18) PRIMARY KEY, marital_status VARCHAR(20), registered_on DATE)",
        );
        server.sql(&format!(
            "SET autocommit = 0; LOAD DATA INFILE '{}' INTO TABLE marriages FIELDS TERMINATED BY ',' IGNORE 1 LINES; COMMIT",
            readable(&csv)?
        ));
        let password = node.join("keys/bench.password");
        fs::write(&password, mariadb_server::PASSWORD)?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
        let (socket, database, user) = (server.socket(), mariadb_server::DATABASE, mariadb_server::READER);
        sources.push((
            "mysql",
            format!(
                "kind = \"mysql\"\nhost = \"{}\"\ndatabase = \"{database}\"\nuser = \"{user}\"\npassword_file = \"{}\"\n",
                socket.display(),
                password.display()
            ),
        ));
    }
    sources.push(("http", format!("kind = \"http\"\nurl = \"{}\"\n", owner::start(&csv).await?)));
    let figures = measure_all(options, &place, &sources).await?;
    report(options, summary, &sources, &figures)
}

async fn measure_all(
    options: &Options,
    place: &Place,
    sources: &[(&'static str, String)],
) -> anyhow::Result<(Figures, Figures)> {
    let numbers = Arc::new(AtomicU64::new(0));
    let duration = Duration::from_secs_f64(options.seconds);
    let (mut answers, mut queries) = (Figures::default(), Figures::default());
    for round in 1..=options.rounds {
        for (name, source) in sources {
            let driver = Arc::new(answering_from(place, source, options.in_flight).await?);
            let key = (*name, options.records, options.in_flight);
            let point = measure(&driver.load(), options.in_flight, duration, &numbers).await;
            let point = point.map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
            println!("round {round}: {name:<10} {:>8.0} answers/s", point.per_second);
            answers.add(key, point);
            if !source.is_empty() {
                let ask = query_alone(place, source, options.in_flight)?;
                let point = measure(&ask, options.in_flight, duration, &numbers).await;
                let point = point.map_err(|error| anyhow::anyhow!("{name}, the query alone: {error}"))?;
                println!("round {round}: {name:<10} {:>8.0} queries/s", point.per_second);
                queries.add(key, point);
            }
        }
    }
    Ok((answers, queries))
}

fn sources_toml(source: &str, in_flight: usize) -> String {
    let asked = match source.contains("\"http\"") {
        true => HTTP.to_owned(),
        false => format!("query = \"{QUERY}\"\n"),
    };
    let service = format!("[services.marriage-registration]\nsource = \"bench\"\n{asked}");
    format!("[sources.bench]\nat_once = {}\ntimeout_ms = 10000\n{source}\n{service}", (in_flight / 4).max(1))
}

/// Starts the provider over the source, and makes sure that it answers from it.
async fn answering_from(place: &Place, source: &str, in_flight: usize) -> anyhow::Result<Driver> {
    let provider = place.provider();
    provider.stop().await?;
    let file = provider.dir().join("sources.toml");
    match source {
        "" if file.exists() => fs::remove_file(&file)?,
        "" => {}
        source => fs::write(&file, sources_toml(source, in_flight))?,
    }
    provider.start().await?;
    let address = provider.peer_address();
    let subjects = Arc::clone(&place.subjects);
    let mut driver = Driver::new(place.consumer().dir(), provider.dir(), &address, place.request(), subjects)?;
    driver.learn_directory().await?;
    Ok(driver)
}

/// The same lookups without a node: the query over the same driver and as many connections.
fn query_alone(place: &Place, source: &str, in_flight: usize) -> anyhow::Result<Ask> {
    let told = |mistakes: Vec<_>| anyhow::anyhow!("{mistakes:?}");
    let settings = Settings::parse(&sources_toml(source, in_flight)).map_err(told)?;
    let asked = settings.services.first().and_then(|service| service.places.first()).context("the service")?;
    let settings = settings.sources.get("bench").context("the source")?;
    let dir = place.provider().dir();
    let database = |database: Result<Database, String>| -> anyhow::Result<Arc<dyn Source>> {
        match &asked.ask {
            AskedFor::Query(query) => Ok(Arc::new(database.map_err(anyhow::Error::msg)?.asked_by(query.clone()))),
            other => bail!("{other:?} is no query"),
        }
    };
    let source: Arc<dyn Source> = match (&settings.kind, &asked.ask) {
        (Kind::Mysql(of), _) => database(Database::mysql(of, settings.bounds, dir))?,
        (Kind::Postgres(of), _) => database(Database::postgres(of, settings.bounds, dir))?,
        (Kind::Sqlite { path }, _) => database(Database::sqlite(&dir.join(path), settings.bounds))?,
        (Kind::Http(of), AskedFor::Http(asked)) => {
            let endpoint = Endpoint::new(of, settings.bounds, dir).map_err(anyhow::Error::msg)?;
            Arc::new(endpoint.asked_by(asked.as_ref().clone()))
        }
        (other, _) => bail!("{other:?} is not measured"),
    };
    let yaml = include_str!("../../../examples/quick-start/marriage-registration.yaml");
    let mut published =
        service_file::parse(yaml, "marriage-registration.yaml").map_err(|wrong| anyhow::anyhow!("{wrong:?}"))?;
    "civil-affairs".clone_into(&mut published.department);
    let service = Service::check(&published, Digest::new(Sha256::digest(yaml).into()))
        .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let (service, subjects) = (Arc::new(service), Arc::clone(&place.subjects));
    Ok(Arc::new(move |number| {
        let at = usize::try_from(number).unwrap_or(0).wrapping_mul(7919) % subjects.len();
        let subject = Subject::parse_as(Scheme::ResidentId, &subjects[at]).map_err(|error| error.to_string());
        let (source, service) = (Arc::clone(&source), Arc::clone(&service));
        Box::pin(async move {
            let asked = Asked { service, subject: subject?, inputs: Vec::new() };
            let fetched = source.fetch(asked).await.map_err(|trouble| trouble.to_string())?;
            if fetched.rows.len() == 1 { Ok(()) } else { Err(format!("{} rows", fetched.rows.len())) }
        })
    }))
}

fn fill_sqlite(file: &Path, csv: &Path) -> anyhow::Result<()> {
    let script = "import csv, sqlite3, sys\n\
        c = sqlite3.connect(sys.argv[1])\n\
        c.execute('CREATE TABLE marriages (number TEXT PRIMARY KEY, marital_status TEXT, registered_on TEXT)')\n\
        rows = csv.reader(open(sys.argv[2])); next(rows)\n\
        c.executemany('INSERT INTO marriages VALUES (?, ?, ?)', rows); c.commit()";
    let status = Command::new("python3").args(["-c", script]).arg(file).arg(csv).status()?;
    ensure!(status.success(), "the file of SQLite is not made");
    Ok(())
}

/// The file's path, once a server's own user can read it too.
fn readable(csv: &Path) -> anyhow::Result<String> {
    let copy = std::env::temp_dir().join(format!("errand-bench-{}.csv", std::process::id()));
    fs::copy(csv, &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o644))?;
    Ok(copy.display().to_string())
}

fn report(
    options: &Options,
    path: &Path,
    sources: &[(&'static str, String)],
    (answers, queries): &(Figures, Figures),
) -> anyhow::Result<()> {
    let _ = fs::remove_file(std::env::temp_dir().join(format!("errand-bench-{}.csv", std::process::id())));
    println!("\nanswers, node to node:\n{}\nthe query alone:\n{}", answers.table(), queries.table());
    let key = |name| (name, options.records, options.in_flight);
    let rate = |figures: &Figures, name| figures.median(key(name), |point| point.per_second);
    let rps: Map<String, Value> =
        sources.iter().map(|(name, _)| ((*name).to_owned(), json!(rate(answers, name)))).collect();
    let of_databases = sources.iter().filter(|(_, source)| !source.is_empty());
    let query_rps: Map<String, Value> =
        of_databases.map(|(name, _)| ((*name).to_owned(), json!(rate(queries, name)))).collect();
    let figures = json!({
        "source_rps": rps,
        "source_query_rps": query_rps,
        "source_records": options.records,
        "source_in_flight": options.in_flight,
    });
    summary::write(path, figures.as_object().cloned().unwrap_or_default())?;
    println!("written to {}", path.display());
    Ok(())
}
