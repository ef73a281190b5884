//! The operators' service for public service items. Translates; what an item must contain, and what should be put right, is
//! `trust::item`'s.

use std::sync::Arc;

use proto::{
    admin::v1::{
        DescribeItemRequest, DescribeItemResponse, ItemFinding, ItemFindingsRequest, ItemFindingsResponse,
        ItemGraphRequest, ItemGraphResponse, ItemState, ListItemsRequest, ListItemsResponse, ShowItemRequest,
        StatementResponse,
        items_server::{Items, ItemsServer},
    },
    registry::v1::statement::Body,
};
use tonic::{Request, Response, Status};
use trust::{
    directory::{Object, model::ItemVersion},
    ids::DepartmentId,
    item::{self, graph},
    refusal::{Code, Refusal},
};

use super::{Answer, LARGEST_MESSAGE, answers::refused, stated};
use crate::parts::Parts;

/// The operators' service.
#[derive(Clone)]
pub struct ItemsEdge {
    parts: Arc<Parts>,
}

impl ItemsEdge {
    /// The service of a running node.
    pub fn server(parts: Parts) -> ItemsServer<Self> {
        ItemsServer::new(Self { parts: Arc::new(parts) }).max_decoding_message_size(LARGEST_MESSAGE)
    }

    fn me(&self) -> &DepartmentId {
        &self.parts.config.department
    }
}

#[tonic::async_trait]
impl Items for ItemsEdge {
    async fn describe(&self, request: Request<DescribeItemRequest>) -> Answer<DescribeItemResponse> {
        let DescribeItemRequest { item, publish } = request.into_inner();
        let mut item = item.ok_or_else(|| Status::invalid_argument("item: is missing"))?;
        let now_ms = self.parts.clock.now_ms();
        item.department = self.me().to_string();
        let (flaws, object) = {
            let seen = self.parts.view.seen();
            let directory = seen.directory();
            let before = directory.item_versions(self.me(), &item.item).last();
            item.version = before.map_or(1, |before| before.version + 1);
            if item.effective_from_ms == 0 {
                item.effective_from_ms = now_ms.max(before.map_or(0, |before| before.effective_from_ms));
            }
            let mut flaws = item::shape(&item);
            flaws.extend(item::standing(directory, &item, now_ms));
            flaws.extend(item::passing(directory, &item, now_ms));
            (flaws, Object::Item(self.me().clone(), item.item.clone()))
        };
        let response = DescribeItemResponse {
            statement: Some(StatementResponse::default()),
            version: item.version,
            effective_from_ms: item.effective_from_ms,
            wrong: flaws.iter().map(ToString::to_string).collect(),
        };
        if let Some(first) = flaws.first() {
            let why = response.wrong.join("; ");
            let refusal = Refusal::new(Code::StatementRefused).at(&first.field).because(why);
            return Ok(Response::new(DescribeItemResponse { statement: Some(refused(&refusal)), ..response }));
        }
        if !publish {
            return Ok(Response::new(response));
        }
        let statement = stated(self.parts.publisher.publish(&object, Body::ItemPublished(item)).await)?;
        Ok(Response::new(DescribeItemResponse { statement: Some(statement), ..response }))
    }

    async fn list(&self, request: Request<ListItemsRequest>) -> Answer<ListItemsResponse> {
        let wanted = request.into_inner().department;
        let seen = self.parts.view.seen();
        let now_ms = self.parts.clock.now_ms();
        let of = |((department, _), versions): (&(DepartmentId, String), &Vec<ItemVersion>)| {
            let in_force = versions.iter().rev().find(|version| version.effective_from_ms <= now_ms);
            let shown = in_force.or(versions.last())?;
            (wanted.is_empty() || department.as_str() == wanted).then(|| state(shown, versions, now_ms))
        };
        Ok(Response::new(ListItemsResponse { items: seen.directory().items().filter_map(of).collect() }))
    }

    async fn show(&self, request: Request<ShowItemRequest>) -> Answer<ItemState> {
        let ShowItemRequest { department, item, version } = request.into_inner();
        let department = match department.as_str() {
            "" => self.me().clone(),
            text => text.parse().map_err(|error| Status::invalid_argument(format!("department: {error}")))?,
        };
        let seen = self.parts.view.seen();
        let now_ms = self.parts.clock.now_ms();
        let versions = seen.directory().item_versions(&department, &item);
        let found = match version {
            0 => seen.directory().item_at(&department, &item, now_ms).or(versions.last()),
            version => versions.iter().find(|known| known.version == version),
        };
        let found =
            found.ok_or_else(|| Status::not_found("there is no such item or version: `item list` shows them"))?;
        Ok(Response::new(state(found, versions, now_ms)))
    }

    async fn findings(&self, request: Request<ItemFindingsRequest>) -> Answer<ItemFindingsResponse> {
        let department = match request.into_inner().department.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|error| Status::invalid_argument(format!("department: {error}")))?),
        };
        let seen = self.parts.view.seen();
        let found = item::findings(seen.directory(), department.as_ref(), self.parts.clock.now_ms());
        let findings = found.into_iter().map(|finding| ItemFinding {
            department: finding.department.to_string(),
            item: finding.item,
            version: finding.version,
            proof: finding.proof,
            kind: finding.kind.as_str().to_owned(),
            services: finding.services,
        });
        Ok(Response::new(ItemFindingsResponse { findings: findings.collect() }))
    }

    async fn graph(&self, request: Request<ItemGraphRequest>) -> Answer<ItemGraphResponse> {
        let ItemGraphRequest { item, format } = request.into_inner();
        let format = graph::Format::parse(&format).ok_or_else(|| Status::invalid_argument("format: dot or mermaid"))?;
        let only = (!item.is_empty()).then_some(item.as_str());
        let seen = self.parts.view.seen();
        Ok(Response::new(ItemGraphResponse { text: graph::text(seen.directory(), only, format) }))
    }
}

fn state(shown: &ItemVersion, versions: &[ItemVersion], now_ms: u64) -> ItemState {
    let in_force = versions.iter().rev().find(|version| version.effective_from_ms <= now_ms);
    ItemState {
        item: Some(shown.published.read()),
        statement: shown.statement.to_string(),
        in_force: in_force.is_some_and(|in_force| in_force.version == shown.version),
        versions: versions.iter().map(|version| version.version).collect(),
    }
}

impl std::fmt::Debug for ItemsEdge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ItemsEdge").finish_non_exhaustive()
    }
}
