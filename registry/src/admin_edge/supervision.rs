//! The gRPC service `admin.v1.Supervision` on the admin socket: the exchange's settings, and the board. Translates.

use std::sync::Arc;

use host::clock::Clock;
use proto::{
    admin::v1::{self as wire, supervision_server},
    registry::v1::Profile,
};
use tonic::{Request, Response, Status};
use trust::directory::Object;

use super::changed;
use crate::{anchors::Anchors, authority::Authority, board, sequencer::Sequencer};

/// The service.
pub struct SupervisionEdge {
    sequencer: Sequencer,
    authority: Arc<Authority>,
    anchors: Arc<Anchors>,
    clock: Arc<dyn Clock>,
}

impl SupervisionEdge {
    /// The service over the registry's rooms.
    pub fn new(
        sequencer: Sequencer,
        authority: Arc<Authority>,
        anchors: Arc<Anchors>,
        clock: Arc<dyn Clock>,
    ) -> supervision_server::SupervisionServer<Self> {
        supervision_server::SupervisionServer::new(Self { sequencer, authority, anchors, clock })
    }

    /// The settings, where they were stated, and what an operator should know of them.
    fn profile(&self) -> (Profile, u64, Vec<String>) {
        let directory = self.sequencer.directory();
        let place = directory.last(&Object::Profile).or_else(|| directory.last(&Object::Exchange));
        let index = place.map_or(0, |place| place.index);
        (directory.stated_profile().clone(), index, board::notes(directory.profile(), self.clock.now_ms()))
    }
}

#[tonic::async_trait]
impl supervision_server::Supervision for SupervisionEdge {
    async fn show_profile(
        &self,
        _: Request<wire::ShowProfileRequest>,
    ) -> Result<Response<wire::ShowProfileResponse>, Status> {
        let (profile, index, notes) = self.profile();
        Ok(Response::new(wire::ShowProfileResponse { profile: Some(profile), index, notes }))
    }

    async fn set_profile(
        &self,
        request: Request<wire::SetProfileRequest>,
    ) -> Result<Response<wire::SetProfileResponse>, Status> {
        let wire::SetProfileRequest { profile, decision } = request.into_inner();
        let profile = profile.ok_or_else(|| Status::invalid_argument("profile: is missing"))?;
        let (before, index, notes) = self.profile();
        if before == profile {
            return Ok(Response::new(wire::SetProfileResponse {
                index,
                unchanged: true,
                notes,
                waiting: String::new(),
            }));
        }
        let wire::ChangeDepartmentResponse { index, waiting } =
            changed(self.authority.set_profile(profile, decision).await)?.into_inner();
        let (_, _, notes) = self.profile();
        Ok(Response::new(wire::SetProfileResponse { index, unchanged: false, notes, waiting }))
    }

    async fn board(&self, request: Request<wire::BoardRequest>) -> Result<Response<wire::BoardResponse>, Status> {
        let overdue = self.anchors.overdue().await.map_err(|error| {
            tracing::error!(%error, "the second log cannot be read");
            Status::unavailable("the registry cannot use its second log")
        })?;
        let overdue_answers = overdue
            .into_iter()
            .map(|(department, counted)| wire::OverdueAnswers {
                department: department.to_string(),
                count: counted.count,
                last_due_ms: counted.last_due_ms,
            })
            .collect();
        let board = board::board(&self.sequencer.directory(), self.clock.now_ms(), request.into_inner().all);
        Ok(Response::new(wire::BoardResponse { overdue_answers, ..board }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto::registry::v1::{self as registry, statement::Body};
    use supervision_server::Supervision;
    use trust::{directory::statement, fixture};

    use super::*;
    use crate::{
        anchors::AnchorsParts,
        authority::sealed,
        fixture::{NOW_MS, Rooms, exchange, key, profile, rooms},
        ledger::memory::MemoryLedger,
    };

    const DAY: Duration = Duration::from_secs(86_400);

    async fn edge(rooms: &Rooms) -> SupervisionEdge {
        let parts = AnchorsParts {
            folder: std::path::PathBuf::from("/nowhere"),
            log: 1,
            reason: String::new(),
            ledger: Arc::new(MemoryLedger::default()),
            directory: Arc::new(rooms.ledger.clone()),
            sequencer: rooms.sequencer.clone(),
            interval: DAY,
        };
        SupervisionEdge {
            sequencer: rooms.sequencer.clone(),
            authority: Arc::clone(&rooms.authority),
            anchors: Anchors::open(parts).await.unwrap(),
            clock: Arc::new(rooms.clock.clone()),
        }
    }

    /// Civil affairs (key 1) publishes its register, and housing (key 3) applies for it.
    async fn applied(rooms: &Rooms) {
        rooms.admit("civil-affairs").await;
        let [first, recovery] = [3, 4].map(|number| trust::key::Signer::public_key(&key(number)).clone());
        rooms.authority.admit(&profile("housing"), first, recovery).await.unwrap();
        let service = fixture::marriage_registration();
        let application = fixture::application("0011223344556677");
        for (number, object, body) in [
            (1, "service/civil-affairs/marriage-registration/1", Body::ServicePublished(service)),
            (3, "access/civil-affairs/housing/0011223344556677", Body::AccessApplied(application)),
        ] {
            let object = match object.parse() {
                Ok(access) => Object::Access(access),
                Err(_) => {
                    Object::Service(trust::ids::ServiceId::read("civil-affairs/marriage-registration", 1).unwrap())
                }
            };
            let said = statement(&exchange(), &object, None, NOW_MS, body);
            rooms.sequencer.submit(sealed(&said, &key(number))).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn an_overdue_application_shows_on_the_board() {
        let rooms = rooms().await;
        applied(&rooms).await;
        let edge = edge(&rooms).await;
        let board = async |all| edge.board(Request::new(wire::BoardRequest { all })).await.unwrap().into_inner();
        assert_eq!((board(true).await.due.len(), board(false).await.due.len()), (1, 0));
        rooms.clock.advance(DAY * 30);
        let late = board(false).await;
        assert_eq!((late.due.len(), late.overdue), (1, 1));
        let due = &late.due[0];
        assert_eq!((due.owner.as_str(), due.waiting.as_str()), ("civil-affairs", "housing"));
        let clock = due.clock.as_ref().unwrap();
        assert!(clock.colour == "red" && clock.days_left < 0, "{clock:?}");
        // Longer time limits hold at once, for what waits too.
        let profile = registry::Profile { reply_conditional_days: 60, ..trust::directory::model::Profile::usual() };
        let request = wire::SetProfileRequest { profile: Some(profile), decision: None };
        assert!(!edge.set_profile(Request::new(request.clone())).await.unwrap().into_inner().unchanged);
        assert!(edge.set_profile(Request::new(request)).await.unwrap().into_inner().unchanged);
        assert!(board(false).await.due.is_empty());
        assert_eq!(board(true).await.due[0].clock.as_ref().unwrap().colour, "green");
    }

    #[tokio::test]
    async fn settings_that_break_the_rules_change_nothing() {
        let rooms = rooms().await;
        let edge = edge(&rooms).await;
        let shown = async || edge.show_profile(Request::new(wire::ShowProfileRequest {})).await.unwrap().into_inner();
        let before = shown().await;
        assert!(before.notes[0].contains("holiday calendar"), "{:?}", before.notes);
        let wrong = registry::Profile { supply_days: 1000, ..before.profile.clone().unwrap() };
        let request = wire::SetProfileRequest { profile: Some(wrong), decision: None };
        let status = edge.set_profile(Request::new(request)).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        assert!(status.message().contains("supply_days"), "{status}");
        assert_eq!(shown().await, before);
    }
}
