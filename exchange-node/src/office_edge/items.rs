//! The offices' service for public service items, on the office port. Translates; what an office may see is `office::items`.
//! Out of scope: making and publishing items, which is the operators' (`admin_edge::items`).

use std::sync::Arc;

use proto::office::v1::{
    ListItemsRequest, ListItemsResponse,
    items_server::{Items, ItemsServer},
};
use tonic::{Request, Response, Status};

use super::{LARGEST_MESSAGE, signed_in};
use crate::office::{Office, sign_in::SignIn};

/// The service for office systems.
#[derive(Clone)]
pub struct OfficeItems {
    office: Arc<Office>,
    sign_in: SignIn,
}

impl OfficeItems {
    /// As a tonic service with its limit on messages, with the same keys as the service for verifications.
    pub fn server(office: &Arc<Office>, sign_in: SignIn) -> ItemsServer<Self> {
        ItemsServer::new(Self { office: Arc::clone(office), sign_in }).max_decoding_message_size(LARGEST_MESSAGE)
    }
}

#[tonic::async_trait]
impl Items for OfficeItems {
    async fn list(&self, request: Request<ListItemsRequest>) -> Result<Response<ListItemsResponse>, Status> {
        let caller = signed_in(Some(&self.sign_in), &request)?;
        Ok(Response::new(ListItemsResponse { items: self.office.items(&caller) }))
    }
}

impl std::fmt::Debug for OfficeItems {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("OfficeItems").finish_non_exhaustive()
    }
}
