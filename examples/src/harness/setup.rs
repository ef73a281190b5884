//! Setting a town up, with the programs' own commands and over their admin sockets, as an operator would: the registry,
//! then all departments at once, then the grants.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use proto::{
    admin::v1::{
        AccessResponse, ApplyForAccessRequest, DecideAccessRequest, ImportRecordsHeader, ImportRecordsRequest,
        ListDepartmentsRequest, ListServicesRequest, RegistryStatusRequest, StatusRequest, node_client::NodeClient,
    },
    registry::v1::AccessApplied,
};
use tokio::{io::AsyncReadExt, process::Command, sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use trust::subject::credit_code::Uscc;

use super::{
    Error, Event, NodeHandle, Programs, RegistryHandle, Town,
    node::edit_file,
    plan::{DepartmentPlan, GrantPlan, Plan, ServicePlan},
    ports::free_address,
    process::{Program, run},
};
use crate::services::DEPARTMENTS;

pub(super) async fn set_up(plan: Plan) -> Result<Town, Error> {
    let programs = plan.programs.clone().map_or_else(Programs::find, Ok)?;
    // Sockets and tokens are looked for by these names from processes that run elsewhere.
    let dir = std::path::absolute(&plan.dir).map_err(Error::io("find the town's folder"))?;
    for folder in [dir.clone(), dir.join(TOKENS), dir.join(SERVICES)] {
        private_folder(&folder)?;
    }
    let setup = Arc::new(Setup { plan, programs, dir });
    let registry = setup.registry().await?;

    let mut starting = JoinSet::new();
    for (place, department) in setup.plan.departments.iter().cloned().enumerate() {
        let setup = Arc::clone(&setup);
        starting.spawn(async move { setup.department(place, department).await });
    }
    let mut nodes = Vec::new();
    while let Some(node) = starting.join_next().await {
        nodes.push(node??);
    }
    let authority_key = authority_key(&registry).await?;
    for node in &nodes {
        node_published(&registry, node).await?;
    }
    let Setup { plan, programs, dir } = Arc::unwrap_or_clone(setup);
    let town = Arc::new(Town::new(dir, programs, registry, nodes, authority_key));

    if !plan.grants.is_empty() {
        town.settled().await?;
        let mut granting = JoinSet::new();
        for grant in plan.grants {
            let (town, report) = (Arc::clone(&town), Arc::clone(&plan.report));
            granting.spawn(async move {
                town.apply_and_approve(&grant).await?;
                report(Event::Granted { service: grant.service, consumer: grant.consumer });
                Ok::<_, Error>(())
            });
        }
        while let Some(granted) = granting.join_next().await {
            granted??;
        }
    }
    // Every task is done with it, so there is no other.
    let town = Arc::into_inner(town).ok_or_else(|| Error::Refused {
        doing: "setting the town up".to_owned(),
        reason: "a task of it is still running".to_owned(),
    })?;
    town.settled().await?;
    Ok(town)
}

/// Departments that are enrolled at once, in whatever town.
static ENROLLING: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(3);

#[derive(Clone)]
struct Setup {
    plan: Plan,
    programs: Programs,
    dir: PathBuf,
}

impl Setup {
    async fn registry(&self) -> Result<RegistryHandle, Error> {
        let dir = self.dir.join(REGISTRY);
        let mut init = Command::new(self.programs.registry());
        run(init.arg("init").arg("--dir").arg(&dir).args(["--listen", &free_address()?, "--tiles", &free_address()?]))
            .await?;
        let config = dir.join("registry.toml");
        edit_file(&config, log_as_json)?;
        let serve = ["serve".into(), "--config".into(), config.into()];
        let registry = RegistryHandle::new(self.program(REGISTRY, self.programs.registry(), serve, dir));
        registry.start().await?;
        Ok(registry)
    }

    async fn department(&self, place: usize, department: DepartmentPlan) -> Result<NodeHandle, Error> {
        let DepartmentPlan { id, services } = department;
        let dir = self.dir.join(&id);
        let token = self.dir.join(TOKENS).join(format!("{id}.token"));
        // Keys are sealed slowly on purpose: many at once, and the registry has no time to answer any of them.
        let enrolling = ENROLLING.acquire().await.ok();
        run(&mut self.admission(place, &id, &token)).await?;
        let mut init = Command::new(self.programs.exchange_node());
        init.arg("init").arg("--token-file").arg(&token).arg("--dir").arg(&dir);
        run(init.args(["--address", &free_address()?, "--office-address", &free_address()?])).await?;
        drop(enrolling);
        (self.plan.report)(Event::Admitted { department: id.clone() });

        let config = dir.join("node.toml");
        edit_file(&config, |text| {
            let text = log_as_json(text);
            self.plan.settings.iter().fold(text, |text, (before, after)| text.replace(before, after))
        })?;
        let serve = ["serve".into(), "--config".into(), config.into()];
        let program = self.program(EXCHANGE_NODE, self.programs.exchange_node(), serve, dir);
        let node = NodeHandle::new(program, id.clone());
        node.start().await?;
        (self.plan.report)(Event::Serving { department: id });
        for service in services {
            self.service(&node, &service).await?;
        }
        Ok(node)
    }

    fn admission(&self, place: usize, id: &str, token: &Path) -> Command {
        let known = DEPARTMENTS.iter().find(|department| department.id == id);
        let (name, name_en) = known.map_or((id, id), |department| (department.name, department.name_en));
        let composed = || Uscc::compose(&format!("118900000009{place:05}")).map(Uscc::into_string);
        let uscc = known.map_or_else(|| composed().unwrap_or_default(), |department| department.uscc.to_owned());
        let mut admit = Command::new(self.programs.registry());
        admit.arg("--dir").arg(self.dir.join(REGISTRY)).args(["department", "admit", id, "--name", name]);
        admit.args(["--name-en", name_en, "--uscc", &uscc, "-o"]).arg(token);
        admit
    }

    async fn service(&self, node: &NodeHandle, plan: &ServicePlan) -> Result<(), Error> {
        let head = plan.head()?;
        let (department, service) = (node.department().to_owned(), head.service.clone());
        let file = self.dir.join(SERVICES).join(format!("{service}.yaml"));
        fs::write(&file, &plan.yaml).map_err(Error::io(format!("write {}", file.display())))?;
        let mut publish = Command::new(self.programs.exchange_node());
        publish.env("EXCHANGE_DIR", node.dir()).args(["service", "publish"]).arg(&file);
        run(&mut publish).await?;
        (self.plan.report)(Event::Published { department: department.clone(), service: service.clone() });

        let Some(records) = &plan.records else { return Ok(()) };
        let report = |bytes, of| {
            let (department, service) = (department.clone(), service.clone());
            (self.plan.report)(Event::Importing { department, service, bytes, of });
        };
        let rows = import(node, &service, head.major(), records, report).await?;
        (self.plan.report)(Event::Imported { department: department.clone(), service, rows });
        Ok(())
    }

    fn program(
        &self,
        name: &'static str,
        executable: PathBuf,
        arguments: [std::ffi::OsString; 3],
        dir: PathBuf,
    ) -> Program {
        Program {
            name,
            executable,
            arguments: arguments.into(),
            dir,
            environment: self.plan.environment.clone(),
            own_group: self.plan.apart,
            surviving: false,
            process: Mutex::new(None),
        }
    }
}

/// Sends a file of records to a node and returns the number of rows once they are answered from.
pub(super) async fn import(
    node: &NodeHandle,
    service: &str,
    major_version: u32,
    records: &Path,
    report: impl Fn(u64, u64),
) -> Result<u64, Error> {
    let doing = format!("import {service}");
    let reading = || Error::io(format!("read {}", records.display()));
    let mut file = tokio::fs::File::open(records).await.map_err(reading())?;
    let size = file.metadata().await.map_err(reading())?.len();
    let format = if records.extension().is_some_and(|extension| extension == "jsonl") { "jsonl" } else { "csv" };
    let (service, format) = (service.to_owned(), format.to_owned());
    let header =
        ImportRecordsHeader { service, major_version, format, quarantine: false, size, changes: None, aliases: false };

    let (sender, pieces) = mpsc::channel(4);
    let reading = tokio::spawn(async move {
        let mut header = Some(header);
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let length = file.read(&mut chunk).await?;
            chunk.truncate(length);
            let piece = ImportRecordsRequest { header: header.take(), chunk };
            if (length == 0 && piece.header.is_none()) || sender.send(piece).await.is_err() {
                return Ok::<_, std::io::Error>(());
            }
        }
    });
    let mut admin = node.admin().await?;
    let answer = admin.import_records(ReceiverStream::new(pieces)).await.map_err(Error::call(&doing))?;
    let mut progress = answer.into_inner();
    let mut switched = None;
    while let Some(step) = progress.message().await.map_err(Error::call(&doing))? {
        report(step.bytes, size);
        match step.stage.as_str() {
            "refused" => return Err(Error::Refused { doing, reason: format!("{} {:?}", step.refused, step.bad_rows) }),
            "switched" => switched = Some(step.rows),
            _ => {}
        }
    }
    reading.await?.map_err(Error::io(format!("read {}", records.display())))?;
    switched.ok_or_else(|| Error::Refused { doing, reason: "it ended before the records were switched".to_owned() })
}

impl Town {
    /// Has the department `consumer` apply for the service, and its provider approve.
    pub(super) async fn apply_and_approve(&self, grant: &GrantPlan) -> Result<String, Error> {
        let GrantPlan { service: path, consumer, scope } = grant;
        let (provider, service) = path.split_once('/').ok_or_else(|| Error::Malformed {
            what: path.clone(),
            reason: "a service is written <department>/<service>".to_owned(),
        })?;
        let mut asking = self.node(consumer).admin().await?;
        let application = AccessApplied {
            provider: provider.to_owned(),
            service: service.to_owned(),
            major_version: newest_version(&mut asking, provider, service).await?,
            scope: scope.attributes.clone(),
            item: scope.item.clone(),
            legal_bases: scope.legal_bases.clone(),
            valid_until_ms: scope.valid_until_ms,
            system: scope.system.clone(),
            subscribe: scope.subscribe,
            ..AccessApplied::default()
        };
        let doing = format!("apply for {path}");
        let request = ApplyForAccessRequest { application: Some(application), decision: None };
        let applied = self.node(consumer).access().await?.apply(request).await;
        let applied = accepted(&doing, applied)?;

        let doing = format!("approve access to {path}");
        let provider = self.node(provider);
        directory_seen(provider, applied.index + 1).await?;
        let decision = DecideAccessRequest {
            id: applied.id.clone(),
            action: "approve".to_owned(),
            quota: scope.quota,
            embargo_until_ms: scope.embargo_until_ms,
            ..DecideAccessRequest::default()
        };
        accepted(&doing, provider.access().await?.decide(decision).await)?;
        Ok(applied.id)
    }
}

/// The newest major version of a service in the directory.
async fn newest_version(admin: &mut NodeClient<Channel>, provider: &str, service: &str) -> Result<u32, Error> {
    let listed = admin.list_services(ListServicesRequest { provider: provider.to_owned() }).await;
    let listed = listed.map_err(Error::call("list the directory's services"))?.into_inner().services;
    let versions = listed.into_iter().filter_map(|state| state.service).filter(|known| known.service == service);
    versions.map(|known| known.major_version).max().ok_or_else(|| Error::Refused {
        doing: format!("apply for {provider}/{service}"),
        reason: "the directory knows no such service".to_owned(),
    })
}

/// Waits until a node's view holds at least `size` statements.
pub(super) async fn directory_seen(node: &NodeHandle, size: u64) -> Result<(), Error> {
    let mut admin = node.admin().await?;
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        let status = admin.status(StatusRequest {}).await.map_err(Error::call("ask a node for its status"))?;
        if status.into_inner().directory_size >= size {
            return Ok(());
        }
        node.program.check()?;
        if Instant::now() > deadline {
            return Err(node.program.not_in_time(&format!("seen {size} statements of the directory"), SETTLE_LIMIT));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Waits until the directory says where a node answers. A node says so itself once it serves and has caught up.
async fn node_published(registry: &RegistryHandle, node: &NodeHandle) -> Result<(), Error> {
    let mut admin = registry.admin().await?;
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        let listed = admin.list_departments(ListDepartmentsRequest {}).await;
        let listed = listed.map_err(Error::call("list the registry's departments"))?.into_inner().departments;
        if listed.iter().any(|listed| listed.department == node.department() && listed.nodes > 0) {
            return Ok(());
        }
        node.program.check()?;
        if Instant::now() > deadline {
            return Err(node.program.not_in_time("said in the directory where it answers", SETTLE_LIMIT));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The number of statements in the registry's directory.
pub(super) async fn directory_size(registry: &RegistryHandle) -> Result<u64, Error> {
    let status = registry.admin().await?.status(RegistryStatusRequest {}).await;
    Ok(status.map_err(Error::call("ask the registry for its status"))?.into_inner().directory_size)
}

async fn authority_key(registry: &RegistryHandle) -> Result<String, Error> {
    let status = registry.admin().await?.status(RegistryStatusRequest {}).await;
    Ok(status.map_err(Error::call("ask the registry for its status"))?.into_inner().authority_key)
}

fn accepted(
    doing: &str,
    answer: Result<tonic::Response<AccessResponse>, tonic::Status>,
) -> Result<AccessResponse, Error> {
    let answer = answer.map_err(Error::call(doing))?.into_inner();
    match &answer.refused {
        Some(refusal) => Err(Error::refused(doing, refusal)),
        None => Ok(answer),
    }
}

fn private_folder(path: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
        .map_err(Error::io(format!("make the folder {}", path.display())))
}

fn log_as_json(text: String) -> String {
    text.replace("log_format = \"pretty\"", "log_format = \"json\"")
}

const CHUNK_BYTES: usize = 64 * 1024;
const EXCHANGE_NODE: &str = "exchange-node";
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const REGISTRY: &str = "registry";
const SERVICES: &str = "services";
const SETTLE_LIMIT: Duration = Duration::from_secs(20);
const TOKENS: &str = "tokens";
