//! The node's tasks: its edges, the follower, and what is checked now and then. Out of scope: building the parts.

use std::{sync::Arc, time::Duration};

use host::{
    admin_socket::AdminSocket,
    disk,
    edge::{EdgeLimits, Listener, tuned_server},
    health,
    supervise::{Restart, Supervisor, TaskError},
    tls::TlsKeyDigest,
};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::{
    edges::{custody_edge, notices_peer_edge, peer_edge},
    watch_view,
};
use crate::{
    admin_edge::{
        AccessEdge, AdminEdge, CatalogueEdge, DirectoryViewEdge, EvidenceEdge, ServicesEdge, SourcesEdge,
        corrections::CorrectionInboxEdge, events::EventsEdge, history::HistoryEdge, items::ItemsEdge, keys::KeysEdge,
        nodes::NodesEdge, offices::OfficesEdge, records::RecordsEdge, subscriptions::SubscriptionsEdge,
        successions::SuccessionsEdge, tasks::TasksEdge,
    },
    bulk::edge::BatchesEdge,
    case_edge::CasesEdge,
    correction::{Corrections, CorrectionsEdge, OfficeCorrections},
    cosigner::Cosigner,
    duty::act::Acting,
    events::Reporter,
    me::Me,
    notices,
    office::{self, Office, notice::NoticeWriter},
    office_edge::{self, OfficeEdge},
    parts::Parts,
    peer_edge as peer, publish,
    relay::waiting::Waiter,
    sources::{self, folder::Hands},
    subject_log::LookupsEdge,
    subscriptions::{office_edge::NoticesEdge, watch::Watcher},
    teller::Teller,
    usage::Saved,
    view::{Ending, Follower, Tiles},
};

/// How often the uses of grants are written down.
const SAVE_USES_EVERY: Duration = Duration::from_secs(600);

/// How often free disk is looked at.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// The registry is asked again soon: it costs one connection, and news of a grant should not wait for half a minute.
const FOLLOW: Restart = Restart {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(5),
    settled_after: Duration::from_secs(20),
};

/// A relay is tried again soon: without it nobody reaches the node.
const WAIT: Restart = Restart {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(15),
    settled_after: Duration::from_secs(20),
};

/// A registry that takes no cosignatures for the moment is asked again without haste.
const COSIGN: Restart =
    Restart { first: Duration::from_secs(1), longest: Duration::from_secs(30), settled_after: Duration::from_secs(60) };

pub(super) async fn start(
    parts: &Parts,
    corrections: Arc<Corrections>,
    supervisor: &Supervisor,
    peer_port: Listener,
    office_port: Listener,
    admin: AdminSocket,
) {
    let directory = parts.readiness.condition("directory");
    let disk = parts.readiness.condition("disk");
    let stop = supervisor.stop_token();

    let follower = Follower {
        view: Arc::clone(&parts.view),
        link: Arc::clone(&parts.link),
        clock: Arc::clone(&parts.clock),
        condition: directory.clone(),
        teller: Some(Arc::new(Teller(me(parts)))),
        tiles: Tiles {
            settings: parts.config.directory,
            keys: Some(Arc::clone(&parts.keys)),
            random: Arc::clone(&parts.random),
        },
    };
    supervisor.restarted("directory follower", FOLLOW, {
        let stop = stop.clone();
        move || follower.clone().run(stop.clone())
    });

    supervisor.restarted("verified directory", Restart::default(), {
        let (parts, stop) = (parts.clone(), stop.clone());
        move || keep_put_down(parts.clone(), stop.clone())
    });
    supervisor.essential(
        "directory's age",
        watch_view::run(Arc::clone(&parts.view), Arc::clone(&parts.clock), directory, stop.clone()),
    );
    start_witness(parts, supervisor);

    let checked = parts.clone();
    supervisor.essential("disk check", {
        let stop = stop.clone();
        async move {
            loop {
                check_disk(&checked, &disk);
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(CHECK_EVERY) => {}
                }
            }
        }
    });

    for relay in &parts.config.relays {
        let waiter = Waiter {
            relay: relay.clone(),
            me: parts.config.party(),
            node: parts.config.node.clone(),
            signer: parts.keys.node() as _,
            tls_key: *parts.keys.tls().key_digest().as_bytes(),
            entrance: peer_port.entrance(),
            relays: parts.relays.clone(),
        };
        let (stop, keys) = (stop.clone(), Arc::clone(&parts.keys));
        supervisor.restarted(&format!("relay {relay}"), WAIT, move || {
            // With the keys of now: they may have changed since it waited last.
            let (signer, tls_key) = (keys.node() as _, *keys.tls().key_digest().as_bytes());
            Waiter { signer, tls_key, ..waiter.clone() }.run(stop.clone())
        });
    }
    supervisor.essential("anchors", Arc::clone(&parts.anchorer).run(stop.clone()));
    supervisor.restarted("index of subjects", Restart::default(), {
        let (subjects, stop) = (Arc::clone(corrections.subjects()), stop.clone());
        move || Arc::clone(&subjects).keep_caught_up(stop.clone())
    });
    supervisor.essential("uses of grants", {
        let (parts, stop) = (parts.clone(), stop.clone());
        async move {
            while stop.run_until_cancelled(tokio::time::sleep(SAVE_USES_EVERY)).await.is_some() {
                save_uses(&parts).await;
                // The next start need not look for duties in what is older.
                parts.duties.cover(parts.journal.end()).await?;
            }
            save_uses(&parts).await;
            Ok(())
        }
    });

    supervisor.essential("jobs of many questions", Arc::clone(&parts.bulk).run(stop.clone()));
    let notice_writer = Arc::new(NoticeWriter::of(parts, &corrections));
    supervisor.essential("duties", {
        let actor = Acting {
            asker: Arc::clone(&parts.asker),
            clerks: Arc::clone(&parts.clerks),
            cases: Arc::clone(&parts.cases),
            corrections: Arc::clone(&corrections),
            given: Arc::clone(&parts.given),
            view: Arc::clone(&parts.view),
            peers: Arc::clone(&parts.peers),
            webhooks: Arc::clone(&parts.webhooks),
            outbox: Arc::clone(&parts.outbox),
            notices: Arc::clone(&notice_writer),
            link: Arc::clone(&parts.link),
            clock: Arc::clone(&parts.clock),
        };
        Arc::clone(&parts.duties).run(Arc::new(actor), stop.clone())
    });
    let watcher = Watcher {
        me: parts.config.department.clone(),
        given: Arc::clone(&parts.given),
        answerer: Arc::clone(&parts.answerer),
        records: Arc::clone(&parts.records),
        sources: Arc::clone(&parts.sources),
        view: Arc::clone(&parts.view),
        clock: Arc::clone(&parts.clock),
    };
    supervisor.essential("subscriptions", Arc::new(watcher).run(stop.clone()));
    for folder in parts.sources.folders() {
        let hands = Hands {
            records: Arc::clone(&parts.records),
            view: Arc::clone(&parts.view),
            me: parts.config.department.clone(),
            clock: Arc::clone(&parts.clock),
        };
        let (folder, stop) = (Arc::clone(folder), stop.clone());
        supervisor.restarted(&format!("folder of {}", folder.service()), Restart::default(), move || {
            let watching = Arc::clone(&folder).watch(hands.clone(), stop.clone());
            async move {
                watching.await;
                Ok(())
            }
        });
    }

    if let Some(shared) = &parts.shared {
        let condition = parts.readiness.condition("shared database");
        let run = Arc::clone(shared).run(Arc::clone(&parts.clock), condition, stop.clone());
        supervisor.essential("shared database", run);
    }
    let reporter = Reporter {
        me: parts.config.party(),
        node: parts.config.node.clone(),
        signer: Arc::clone(&parts.keys) as _,
        book: parts.events.clone(),
        view: Arc::clone(&parts.view),
        link: Arc::clone(&parts.link),
        clock: Arc::clone(&parts.clock),
        every: Duration::from_secs(u64::from(parts.config.events.report_seconds.max(1))),
    };
    supervisor.essential("events", reporter.run(stop.clone()));

    supervisor.essential("own statements", {
        let (parts, stop) = (parts.clone(), stop.clone());
        async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = keep_published(&parts) => {}
            }
            // Done, or stopping: either way there is nothing left to do until the next start.
            stop.cancelled().await;
            Ok(())
        }
    });

    supervisor.essential("service notices", {
        let (view, me, clock) = (Arc::clone(&parts.view), parts.config.department.clone(), Arc::clone(&parts.clock));
        let stop = stop.clone();
        async move {
            stop.run_until_cancelled(notices::watch(view, me, clock)).await;
            Ok(())
        }
    });

    supervisor.essential("sources", {
        let (sources, view) = (Arc::clone(&parts.sources), Arc::clone(&parts.view));
        let (me, stop) = (parts.config.department.clone(), stop.clone());
        async move {
            stop.run_until_cancelled(sources::watch::run(sources, view, me)).await;
            // Where the view has ended there is nothing left to look at.
            stop.cancelled().await;
            Ok(())
        }
    });

    supervisor.essential("keys", {
        let (care, stop) = (Arc::clone(&parts.care), stop.clone());
        async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = care.run() => {}
            }
            Ok(())
        }
    });

    supervisor.essential("endings", {
        let (parts, stop) = (parts.clone(), stop.clone());
        async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = end_connections(&parts) => {}
            }
            Ok(())
        }
    });

    let (health, feed) = health::service(&parts.readiness, &[peer::SERVICE, office_edge::SERVICE]).await;
    supervisor.essential("health", {
        let stop = stop.clone();
        async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = feed.run() => {}
            }
            Ok(())
        }
    });

    let limits = EdgeLimits::default();
    let peer_server = tuned_server(&limits)
        .add_service(health.clone())
        .add_service(peer_edge(parts).server())
        .add_service(CorrectionsEdge::server(Arc::clone(&corrections), peer_edge(parts)))
        .add_service(peer_edge(parts).bulk_server())
        .add_service(custody_edge(parts).server())
        .add_service(notices_peer_edge(parts).server());
    supervisor.essential("peer port", {
        let stop = stop.clone();
        async move {
            let served = peer_server.serve_with_incoming_shutdown(peer_port.incoming(), stop.cancelled_owned()).await;
            served.map_err(TaskError::from)
        }
    });

    // A question may wait for a slow provider longer than a peer may.
    let office_limits = EdgeLimits { request_timeout: Duration::from_secs(75), ..limits };
    let office = Arc::new(Office::of(parts, &corrections, notice_writer));
    let routes = office::port::routes(parts, &office, &corrections, health.clone(), stop.clone());
    let office_server = tuned_server(&office_limits).accept_http1(true).add_routes(routes);
    supervisor.essential("office port", {
        let stop = stop.clone();
        async move {
            let served =
                office_server.serve_with_incoming_shutdown(office_port.incoming(), stop.cancelled_owned()).await;
            served.map_err(TaskError::from)
        }
    });

    let admin_router = tuned_server(&office_limits)
        .add_service(health)
        .add_service(OfficeEdge { office: Arc::clone(&office), sign_in: None }.server())
        .add_service(OfficesEdge::server(parts))
        .add_service(BatchesEdge::server(&parts.bulk, None))
        .add_service(CasesEdge::server(Arc::clone(&parts.cases), None))
        .add_service(ItemsEdge::server(parts.clone()))
        .add_service(NoticesEdge::new(Arc::clone(&office), None).server())
        .add_service(SubscriptionsEdge::server(Arc::clone(&parts.given)))
        .add_service(DirectoryViewEdge::new(parts.clone()).server())
        .add_service(CatalogueEdge::server(parts))
        .add_service(EvidenceEdge::server(parts.clone()))
        .add_service(EventsEdge::server(parts.events.clone()))
        .add_service(HistoryEdge::server(parts.clone()))
        .add_service(AdminEdge::new(parts.clone()).server())
        .add_service(ServicesEdge::new(parts.clone()).server())
        .add_service(NodesEdge::server(parts.clone()))
        .add_service(SourcesEdge::server(parts.clone()))
        .add_service(RecordsEdge::server(parts.clone()))
        .add_service(SuccessionsEdge::server(parts.clone()))
        .add_service(AccessEdge::new(parts.clone()).server())
        .add_service(TasksEdge::server(Arc::clone(&parts.clerks), Arc::clone(&parts.clock)))
        .add_service(OfficeCorrections::server(Arc::clone(&corrections), None))
        .add_service(LookupsEdge::server(Arc::clone(corrections.subjects())))
        .add_service(CorrectionInboxEdge::server(parts, corrections))
        .add_service(KeysEdge::server(Arc::clone(&parts.care)));
    supervisor.essential("admin socket", async move {
        admin.serve(admin_router, stop.cancelled_owned()).await.map_err(TaskError::from)
    });
}

/// Reads what is stored once, where the start did not, and puts down what was verified whenever that has become worth its
/// while: a restart then need not verify it again.
async fn keep_put_down(parts: Parts, stop: CancellationToken) -> Result<(), TaskError> {
    let view = Arc::clone(&parts.view);
    // `doctor` tells what is wrong; the node goes on from what it verified.
    let _ = tokio::task::spawn_blocking(move || view.check_stored()).await?;
    let mut sizes = parts.view.sizes();
    loop {
        sizes.borrow_and_update();
        if parts.view.is_put_down_due() {
            let view = Arc::clone(&parts.view);
            tokio::task::spawn_blocking(move || view.put_down()).await??;
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = sizes.changed() => changed?,
        }
    }
}

/// Writes down what the evidence amounts to, so that the next start is quick. Nothing depends on it.
async fn save_uses(parts: &Parts) {
    let (dir, journal, log) = (parts.config.dir.clone(), Arc::clone(&parts.evidence), parts.logs.of.number);
    let saving = tokio::task::spawn_blocking(move || {
        let mut saved = Saved::load_of(&dir, log, journal.as_ref()).map_err(|error| error.to_string())?;
        match saved.advance(journal.as_ref()) {
            Ok(true) => saved.store_of(&dir, log, journal.as_ref()),
            Ok(false) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    });
    match saving.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error, "the uses of grants are not written down; the next start takes longer"),
        Err(error) => tracing::warn!(%error, "the uses of grants are not written down; the next start takes longer"),
    }
}

/// This node before the registry.
fn me(parts: &Parts) -> Me {
    Me {
        exchange: parts.config.exchange.clone(),
        department: parts.config.department.clone(),
        node: parts.config.node.clone(),
        signer: Arc::clone(&parts.keys) as _,
        view: Arc::clone(&parts.view),
        link: Arc::clone(&parts.link),
        clock: Arc::clone(&parts.clock),
    }
}

/// This node as a witness of the directory: it cosigns, and compares with whoever saw another.
fn start_witness(parts: &Parts, supervisor: &Supervisor) {
    let stop = supervisor.stop_token();
    let cosigner = Arc::new(Cosigner { me: me(parts), random: Arc::clone(&parts.random) });
    supervisor.restarted("witness", COSIGN, {
        let stop = stop.clone();
        move || Arc::clone(&cosigner).run(stop.clone())
    });
    if let Some(suspicions) = parts.view.suspicions() {
        supervisor.essential("comparing", Arc::clone(&parts.comparer).run(suspicions, stop));
    }
}

/// Cuts off the connections of those who are no longer welcome, on both sides: those that come from there, and those that
/// lead there. What is under way on them is not finished; whoever still may, connects anew and passes a handshake.
async fn end_connections(parts: &Parts) {
    let mut endings = parts.view.endings();
    loop {
        match endings.recv().await {
            Ok(Ending { department, node, tls_keys, why }) => {
                let keys = tls_keys.into_iter().map(TlsKeyDigest::from_bytes);
                let incoming: usize = keys.map(|key| parts.peer_connections.close_connections_of(&key)).sum();
                let outgoing = parts.peers.cut_off(&department, node.as_ref());
                let node = node.map(|node| node.to_string()).unwrap_or_default();
                tracing::info!(%department, node, incoming, outgoing, why, "connections are cut off");
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                // Whose they were is not known any more; whoever is welcome connects again.
                tracing::warn!(missed, "too many endings at once: all connections are cut off");
                parts.peer_connections.close_all();
                parts.peers.cut_off_all();
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

fn check_disk(parts: &Parts, condition: &host::readiness::Condition) {
    let floor = parts.config.limits.free_disk_mib.saturating_mul(1024 * 1024);
    let low = disk::free_bytes(&parts.config.dir).is_ok_and(|free| free < floor);
    parts.asker.set_disk_low(low);
    parts.answerer.set_disk_low(low);
    if low { condition.unmet("too little disk is free") } else { condition.met() }
}

/// Says in the directory where this node answers, where the directory says otherwise: at the first start, and after an
/// address or a key has changed. Without the department's key that is somebody else's to do.
async fn keep_published(parts: &Parts) {
    let config = &parts.config;
    let addresses = match (config.dial_out_only, config.advertise.as_slice()) {
        (true, _) => Vec::new(),
        (false, []) => vec![parts.addresses.peer.to_string()],
        (false, addresses) => addresses.to_vec(),
    };
    let place = publish::NodePlace { addresses, relays: config.relays.clone(), ..publish::NodePlace::default() };
    let mut pause = Duration::from_millis(50);
    loop {
        // A view that has not caught up would name a predecessor that is not the last.
        if parts.view.is_registry_reachable() && parts.view.is_followed(parts.clock.now_ms()) {
            match publish_own(parts, &place).await {
                Ok(()) => return,
                Err(publish::Error::KeyElsewhere) => {
                    tracing::warn!(
                        "the directory does not say how this node is reached, and the department's key is elsewhere: publish the node with it"
                    );
                    // Until the key is here, by recovery or from a backup.
                    parts.care.changed.notified().await;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot say in the directory where this node answers; trying again")
                }
            }
            pause = (pause * 2).min(Duration::from_secs(30));
        }
        tokio::time::sleep(pause).await;
    }
}

async fn publish_own(parts: &Parts, place: &publish::NodePlace) -> Result<(), publish::Error> {
    let node = &parts.config.node;
    if let Some(published) = parts.publisher.ensure_node_key(node).await? {
        tracing::info!(index = published.index, "published this node's key");
    }
    if let Some(published) = parts.publisher.ensure_node(node, place).await? {
        tracing::info!(index = published.index, "published where this node answers");
    }
    Ok(())
}
