//! What a case costs beside its slowest question: six departments are asked at once, one of which takes 800 ms and one of which
//! is dead. Out of scope: single questions (`exchange`).

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use jiff::civil::date;
use proto::office::v1::{Case, CasePerson, OpenCaseRequest, ProofOutcome, cases_client::CasesClient};
use serde_json::{Map, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tonic::transport::{Channel, Endpoint};
use town::harness::{Scope, Town, town};
use trust::subject::resident_number::ResidentNumber;

use super::summary;

/// What can be set.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// How many cases.
    #[arg(long = "cases", default_value_t = 20)]
    cases: usize,
    /// How long the slow department takes, in milliseconds.
    #[arg(long = "slow-ms", default_value_t = 800)]
    slow_ms: u64,
}

const REGISTER: &str = include_str!("../../../examples/quick-start/marriage-registration.yaml");

const DEPARTMENTS: [&str; 6] = ["first", "second", "third", "fourth", "slow", "dead"];

const ITEM: &str = "公租房申请";

/// Measures, and puts the figures into the summary.
pub async fn run(options: &Options, summary: &Path) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("bench").tempdir()?;
    let town = start(dir.path(), options.slow_ms).await?;
    let office = town.office("housing").await?;
    let channel = Endpoint::from_shared(format!("http://{}", office.address()))?.connect_lazy();
    let client = CasesClient::new(channel);
    // Until the directory of every node has the item, and every connection stands.
    open(&client, office.api_key(), 0).await?;
    town.node("dead").kill();
    let mut ratios = Vec::new();
    let (mut longest_ms, mut slowest_ms): (f64, f64) = (0.0, 0.0);
    for number in 1..=options.cases {
        let started = Instant::now();
        let case = open(&client, office.api_key(), number).await?;
        let whole_ms = started.elapsed().as_secs_f64() * 1000.0;
        let question_ms = case.proofs.iter().map(|proof| proof.elapsed_ms).fold(0.0, f64::max);
        check(&case)?;
        ratios.push(whole_ms / question_ms);
        longest_ms = longest_ms.max(whole_ms);
        slowest_ms = slowest_ms.max(question_ms);
    }
    ratios.sort_by(f64::total_cmp);
    let over = ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN);
    let limit_ms = f64::from(u32::try_from(options.slow_ms).unwrap_or(u32::MAX)) + 1000.0;
    println!(
        "{} cases over six departments, one slow ({} ms) and one dead: the longest took {longest_ms:.0} ms (at most {limit_ms:.0} are allowed), its slowest question {slowest_ms:.0} ms; a case takes {over:.3} times its slowest question",
        options.cases, options.slow_ms
    );
    let mut figures = Map::new();
    figures.insert("case_over_slowest".to_owned(), json!(over));
    figures.insert("case_longest_ms".to_owned(), json!(longest_ms));
    summary::write(summary, figures)?;
    ensure!(longest_ms <= limit_ms, "the longest case took {longest_ms:.0} ms");
    Ok(())
}

fn check(case: &Case) -> anyhow::Result<()> {
    let outcomes: Vec<ProofOutcome> = case.proofs.iter().map(|proof| proof.outcome()).collect();
    let (dead, others) = outcomes.split_last().context("there are proofs")?;
    ensure!(*dead == ProofOutcome::MayCommit, "the dead one: {case:?}");
    ensure!(others.iter().all(|outcome| *outcome == ProofOutcome::NotRequired), "{case:?}");
    Ok(())
}

async fn open(client: &CasesClient<Channel>, key: &str, number: usize) -> anyhow::Result<Case> {
    let values = [("resident_id", subject()?), ("marital_status", "married".to_owned())];
    let values = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut request = tonic::Request::new(OpenCaseRequest {
        case_number: format!("B-{number}"),
        item: ITEM.into(),
        officer: "1024".into(),
        people: vec![CasePerson { role: "applicant".into(), values, ..CasePerson::default() }],
        ..OpenCaseRequest::default()
    });
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse()?);
    let case = client.clone().open(request).await?.into_inner();
    ensure!(case.refusal.is_none(), "{:?}", case.refusal);
    Ok(case)
}

/// A made-up number, in the fictional province.
fn subject() -> anyhow::Result<String> {
    Ok(ResidentNumber::compose("890101", date(1991, 11, 25), 2).context("a number")?.into_string())
}

async fn start(dir: &Path, slow_ms: u64) -> anyhow::Result<Town> {
    let records = dir.join("marriage.csv");
    fs::write(&records, format!("resident_id,marital_status,registered_on\n{},married,2018-05-20\n", subject()?))?;
    let register = REGISTER.replace("time_to_answer_ms: 1000", "time_to_answer_ms: 4000");
    let mut plan = town(dir.join("town"));
    for department in DEPARTMENTS {
        plan = plan.department(department);
        plan = match department {
            "slow" => plan.service_without_records(&register),
            _ => plan.service(&register, &records),
        };
    }
    plan = plan.department("housing");
    for department in DEPARTMENTS {
        let scope = Scope::of("marital_status", &["equals"]);
        plan = plan.granting(&format!("{department}/marriage-registration"), "housing", scope);
    }
    let town = plan.start().await.context("the town starts")?;
    let item = dir.join("item.yaml");
    fs::write(&item, item_text())?;
    let published = town.cli("housing", &["item", "publish", &item.display().to_string()]).await?;
    ensure!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    slow_down(&town, slow_ms).await?;
    town.settled().await?;
    Ok(town)
}

fn item_text() -> String {
    let proofs: String = DEPARTMENTS
        .iter()
        .map(|department| {
            format!(
                "  - {{proof: {department}, legal_basis: [某条例 1], issuing_unit: 某单位, answered_by: {department}/marriage-registration, claim: {{attribute: marital_status, operator: equals}}, commitment: true}}\n"
            )
        })
        .collect();
    format!(
        "item: {ITEM}\nname: {{zh: {ITEM}, en: Public rental housing}}\nlegal_basis: [公共租赁住房管理办法 7]\naccepting_unit: 住房保障中心\nsteps:\n  - {{step: 受理, actor: 综合窗口, working_days: 1}}\nsamples: [填写示范]\nfees: 不收费\ntime_limit_working_days: 20\ncontact: 0890-000-0701\nproofs:\n{proofs}"
    )
}

/// The slow department's records are behind an endpoint that takes its time.
async fn slow_down(town: &Town, slow_ms: u64) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
                // A body ends with the template's last brace.
                while !request.ends_with(b"}") {
                    match stream.read(&mut buffer).await {
                        Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
                        _ => return,
                    }
                }
                tokio::time::sleep(Duration::from_millis(slow_ms)).await;
                let body = "{\"rows\":[{\"marital_status\":\"married\",\"registered_on\":\"2018-05-20\"}]}";
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                // Whoever asked may have given up.
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            });
        }
    });
    let node = town.node("slow");
    node.stop().await?;
    let sources = format!(
        "[sources.civil]\nkind = \"http\"\nurl = \"http://{address}/civil\"\ntimeout_ms = 3000\n\n[services.marriage-registration]\nsource = \"civil\"\npath = \"/marriages\"\nbody = '{{\"number\": \":subject\"}}'\nrows = \"/rows\"\npointers = {{ marital_status = \"/marital_status\", registered_on = \"/registered_on\" }}\n"
    );
    fs::write(node.dir().join("sources.toml"), sources)?;
    node.start().await?;
    Ok(())
}
