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
use crate::{authority::Authority, board, sequencer::Sequencer};

/// The service.
pub struct SupervisionEdge {
    sequencer: Sequencer,
    authority: Arc<Authority>,
    clock: Arc<dyn Clock>,
}

impl SupervisionEdge {
    /// The service over the registry's rooms.
    pub fn new(
        sequencer: Sequencer,
        authority: Arc<Authority>,
        clock: Arc<dyn Clock>,
    ) -> supervision_server::SupervisionServer<Self> {
        supervision_server::SupervisionServer::new(Self { sequencer, authority, clock })
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
            return Ok(Response::new(wire::SetProfileResponse { index, unchanged: true, notes }));
        }
        let index = changed(self.authority.set_profile(profile, decision).await)?.into_inner().index;
        let (_, _, notes) = self.profile();
        Ok(Response::new(wire::SetProfileResponse { index, unchanged: false, notes }))
    }

    async fn board(&self, request: Request<wire::BoardRequest>) -> Result<Response<wire::BoardResponse>, Status> {
        let board = board::board(&self.sequencer.directory(), self.clock.now_ms(), request.into_inner().all);
        Ok(Response::new(board))
    }
}
