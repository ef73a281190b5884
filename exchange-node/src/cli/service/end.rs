//! `service withdraw` and `service notices`: how services end, told from both sides.

use clap::Args;
use proto::admin::v1::{ListServiceNoticesRequest, ServiceNotice, WithdrawServiceRequest};
use serde_json::{Value, json};

use super::{
    super::{
        Error, Exit,
        node::Folder,
        output::{self, Output},
        text,
    },
    client,
};

/// What `service withdraw` needs.
#[derive(Debug, Args)]
pub struct WithdrawArgs {
    /// The own service.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Its last day; without it the service ends as soon as the authority's profile allows.
    #[arg(long, value_name = "DATE", value_parser = text::end_of_day)]
    last_day: Option<u64>,
    /// Its major version; without it the newest.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    major: u32,
}

pub(super) async fn withdraw(args: WithdrawArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let request = WithdrawServiceRequest {
        service: args.service,
        major_version: args.major,
        reason: args.reason,
        from_ms: args.last_day.unwrap_or(0),
    };
    let response = client(folder).await?.withdraw(request).await?.into_inner();
    let statement = response.statement.unwrap_or_default();
    if let Some(refusal) = statement.refused {
        return Err(Error::Refused(refusal));
    }
    let machine = json!({
        "object": statement.object,
        "index": statement.index,
        "digest": statement.digest,
        "from_ms": response.from_ms,
        "told": response.told,
    });
    output.show(&machine, || {
        let told = match response.told.as_slice() {
            [] => "Nobody holds a grant for it.".to_owned(),
            told => format!("The departments that hold grants for it are told: {}.", told.join(", ")),
        };
        format!(
            "The service ends on {} (statement {} of the directory, about {}). Until then it answers. {told}",
            output::moment(response.from_ms),
            statement.index,
            statement.object
        )
    });
    Ok(Exit::Done)
}

/// What became of the services that this department holds grants for.
pub(in crate::cli) async fn notices(folder: &Folder) -> Result<Vec<ServiceNotice>, Error> {
    Ok(client(folder).await?.list_notices(ListServiceNoticesRequest {}).await?.into_inner().notices)
}

pub(in crate::cli) fn notices_json(notices: &[ServiceNotice]) -> Value {
    let notice = |notice: &ServiceNotice| {
        json!({
            "provider": notice.provider,
            "service": notice.service,
            "major_version": notice.major_version,
            "access": notice.access,
            "state": notice.state,
            "text": notice.text,
            "ends_ms": notice.ends_ms,
            "successor": notice.successor,
        })
    };
    Value::from(notices.iter().map(notice).collect::<Vec<_>>())
}

/// Service, grant, what becomes of it, why, what takes its place.
pub(in crate::cli) fn notice_row(notice: &ServiceNotice) -> [String; 5] {
    let state = match notice.ends_ms {
        0 => notice.state.clone(),
        at_ms => format!("{} {}", notice.state, output::moment(at_ms)),
    };
    let successor = if notice.successor == 0 { String::new() } else { format!("version {}", notice.successor) };
    [
        format!("{}/{} v{}", notice.provider, notice.service, notice.major_version),
        notice.access.clone(),
        state,
        notice.text.clone(),
        successor,
    ]
}

pub(super) async fn list(folder: &Folder, output: Output) -> Result<Exit, Error> {
    let notices = notices(folder).await?;
    output.show(&json!({ "notices": notices_json(&notices) }), || {
        if notices.is_empty() {
            return "Every service that this department holds a grant for goes on as it was.".to_owned();
        }
        output::table(["service", "grant", "state", "why", "instead"], notices.iter().map(notice_row))
    });
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_says_when_and_what_instead() {
        let notice = ServiceNotice {
            provider: "civil-affairs".into(),
            service: "marriage-registration".into(),
            major_version: 1,
            access: "0011223344556677".into(),
            state: "ends".into(),
            text: "replaced".into(),
            ends_ms: 1_767_225_600_000,
            successor: 2,
        };
        let row = notice_row(&notice);
        assert_eq!(row[0], "civil-affairs/marriage-registration v1");
        assert_eq!((row[2].as_str(), row[4].as_str()), ("ends 2026-01-01 08:00:00 +08:00", "version 2"));
        assert_eq!(notices_json(&[notice])[0]["access"], "0011223344556677");
    }
}
