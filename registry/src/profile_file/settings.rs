//! Every setting of a profile: where it stands in the file, what it may be, and where it goes. Out of scope: the calendar,
//! which is no single value.

use proto::registry::v1::{Profile, ServiceReviews};

/// One setting.
pub(super) struct Setting {
    /// The table it stands in; empty for the top of the file.
    pub(super) table: &'static str,
    pub(super) key: &'static str,
    /// What it does, for whoever writes the file: English, then Chinese.
    pub(super) comment: &'static str,
    pub(super) kind: Kind,
}

/// What a setting may be, and where it goes.
pub(super) enum Kind {
    /// Yes or no.
    Flag { read: fn(&Profile) -> bool, write: fn(&mut Profile, bool) },
    /// A whole number; in the profile 0 stands for the usual one.
    Number { least: u32, most: u32, usual: u32, read: fn(&Profile) -> u32, write: fn(&mut Profile, u32) },
    /// Words out of a list.
    Words { allowed: &'static [&'static str], read: fn(&Profile) -> Vec<String>, write: fn(&mut Profile, Vec<String>) },
}

macro_rules! number {
    ($table:literal, $field:ident, $least:literal to $most:literal, $usual:literal, $comment:literal) => {
        Setting {
            table: $table,
            key: stringify!($field),
            comment: $comment,
            kind: Kind::Number {
                least: $least,
                most: $most,
                usual: $usual,
                read: |profile| profile.$field,
                write: |profile, number| profile.$field = number,
            },
        }
    };
}

/// The tables of the file, in their order, each with what its settings have in common.
pub(super) const TABLES: &[(&str, &str)] = &[
    ("", ""),
    ("clocks", "Time limits in working days (工作日), as the local rules have them."),
    ("services", "What data services need (数据服务): a review before they answer, and notice before they end."),
    ("tiles", "Who may read the directory's tiles (目录瓦片)."),
    ("decisions", "What the departments' decisions on access (共享申请的审核) need to count."),
];

/// All settings, in the order of the file.
pub(super) const SETTINGS: &[Setting] = &[
    number!("", view_lifetime_hours, 1 to 8760, 240,
        "How long a node goes on with its verified view while the registry is away, in hours: longer than the longest\nholiday. 登记机构不可用时，节点凭已核验的目录继续工作的时长（小时）。"),
    number!("", clock_skew_seconds, 1 to 3600, 60,
        "How much clocks may differ, in seconds. 允许的时钟偏差（秒）。"),
    number!("", request_validity_seconds, 5 to 300, 300,
        "How long a question may be valid at most, in seconds. 一次核验请求的最长有效期（秒）。"),
    number!("", witnesses_required, 0 to 16, 0,
        "How many other departments' cosignatures a directory checkpoint must bear; 0 for none. 目录检查点所需的见证数。"),
    number!("", evidence_retention_days, 1 to 36_500, 1096,
        "How long evidence is kept at least, in days (条例 29: three years). 存证的最短保存期（天）。"),
    number!("clocks", reply_unconditional_days, 1 to 366, 1,
        "To reply about an unconditional service (条例 21). Its own statement is the reply, so no clock runs. 无条件共享的答复时限；服务声明即为答复，不另计时。"),
    number!("clocks", reply_conditional_days, 1 to 366, 10,
        "To reply to an application (条例 21). 有条件共享的答复时限。"),
    number!("clocks", extension_days, 1 to 366, 10,
        "By how much a reply may be extended at most, once and with notice (条例 21). 可延长一次的最长天数。"),
    number!("clocks", supply_days, 1 to 366, 20,
        "From a grant until supply begins (条例 22). 同意后提供数据的时限。"),
    number!("clocks", correction_days, 1 to 366, 10,
        "To answer a request for correction (条例 26). 校核答复时限。"),
    number!("clocks", review_days, 1 to 366, 2,
        "To review a new service (条例 16). 目录审核时限。"),
    number!("clocks", clerk_days, 1 to 366, 10,
        "For a clerk to answer a question, where the service does not say otherwise. 人工核验的答复时限。"),
    number!("clocks", amber_days, 1 to 366, 2,
        "With so many days left a clock is amber. 剩余天数不多于此值时显示为黄色。"),
    Setting {
        table: "services",
        key: "review_new",
        comment: "Whether a new service, or a new major version of one, answers only once the authority has approved it (条例 16).\n新服务须经审核后方可提供。",
        kind: Kind::Flag {
            read: |profile| profile.service_reviews() != ServiceReviews::None,
            write: |profile, flag| match (profile.service_reviews(), flag) {
                (ServiceReviews::None, true) => profile.set_service_reviews(ServiceReviews::New),
                (_, false) => profile.set_service_reviews(ServiceReviews::None),
                (ServiceReviews::New | ServiceReviews::All, true) => {}
            },
        },
    },
    Setting {
        table: "services",
        key: "review_changes",
        comment: "Whether a compatible change counts only once it is approved too; until then the service answers as before. It\nimplies review_new. 变更亦须审核。",
        kind: Kind::Flag {
            read: |profile| profile.service_reviews() == ServiceReviews::All,
            write: |profile, flag| {
                if flag {
                    profile.set_service_reviews(ServiceReviews::All);
                } else if profile.service_reviews() == ServiceReviews::All {
                    profile.set_service_reviews(ServiceReviews::New);
                }
            },
        },
    },
    number!("services", withdrawal_notice_seconds, 1 to 31_536_000, 864_000,
        "How long before its end a service's withdrawal is told at least, in seconds: 864000 are ten days. 撤回服务须提前告知的时长（秒）。"),
    Setting {
        table: "tiles",
        key: "tiles_members_only",
        comment: "Whether only nodes of the exchange read them, over mutual TLS; otherwise anybody does, and any HTTP cache may serve\nthem. 仅限本交换体系的节点读取；否则公开，可由任何 HTTP 缓存提供。",
        kind: Kind::Flag {
            read: |profile| profile.tiles_members_only,
            write: |profile, flag| profile.tiles_members_only = flag,
        },
    },
    Setting {
        table: "decisions",
        key: "decisions_named",
        comment: "Whether a decision counts only with its officer and document (--officer, --document). 须注明经办人和依据文件。",
        kind: Kind::Flag {
            read: |profile| profile.decisions_named,
            write: |profile, flag| profile.decisions_named = flag,
        },
    },
    Setting {
        table: "decisions",
        key: "four_eyes",
        comment: "The kinds of decision that a second officer has to confirm. 须由第二名经办人确认的决定种类。",
        kind: Kind::Words {
            allowed: &trust::official::KINDS,
            read: |profile| profile.four_eyes.clone(),
            write: |profile, words| profile.four_eyes = words,
        },
    },
];
