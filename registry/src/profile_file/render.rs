//! Writing profile files. Out of scope: reading them.

use std::fmt::Write;

use proto::registry::v1::{Calendar, CalendarYear, Profile, SubjectScheme};
use trust::directory::model;

use super::settings::{Kind, SETTINGS, Setting, TABLES};

pub(super) fn profile(profile: &Profile) -> String {
    let mut text =
        "# The exchange's settings, which every node follows. `registry profile set FILE` signs and publishes them.\n"
            .to_owned();
    for (table, about) in TABLES {
        if !table.is_empty() {
            let _ = write!(text, "\n# {about}\n[{table}]\n");
        }
        for setting in SETTINGS.iter().filter(|setting| setting.table == *table) {
            for line in setting.comment.lines() {
                let _ = writeln!(text, "# {line}");
            }
            let _ = writeln!(text, "{} = {}", setting.key, value(setting, profile));
        }
    }
    calendar(&mut text, profile.calendar.as_ref());
    schemes(&mut text, &profile.subject_schemes);
    text
}

fn schemes(text: &mut String, schemes: &[SubjectScheme]) {
    text.push_str(
        "\n# Subject schemes beside resident_id, uscc, certificate_no and passport: a name that begins with local_, a label, a\n\
         # pattern (regular expression) for the whole number, and where its last character checks the others, check: luhn,\n\
         # mod11_2, mod31_3 or mod37_36. The example, made up, must follow the rule. 另加的主体标识种类。\n",
    );
    if schemes.is_empty() {
        text.push_str(
            "# [[subject_schemes]]\n# name = \"local_social_card\"\n# label = \"社会保障卡号\"\n# pattern = '[A-Z][0-9]{8}'\n\
             # check = \"\"\n# example = \"A00000001\"\n",
        );
    }
    for scheme in schemes {
        let field = |key: &str, value: &str| format!("{key} = {}\n", toml::Value::String(value.to_owned()));
        text.push_str("\n[[subject_schemes]]\n");
        let SubjectScheme { name, label, pattern, check, example } = scheme;
        let fields = [("name", name), ("label", label), ("pattern", pattern), ("check", check), ("example", example)];
        fields.into_iter().for_each(|(key, value)| text.push_str(&field(key, value)));
    }
}

fn value(setting: &Setting, profile: &Profile) -> String {
    match &setting.kind {
        Kind::Flag { read, .. } => read(profile).to_string(),
        Kind::Number { usual, read, .. } => match read(profile) {
            0 => usual.to_string(),
            number => number.to_string(),
        },
        Kind::Words { read, .. } => list(&read(profile)),
    }
}

fn calendar(text: &mut String, calendar: Option<&Calendar>) {
    let minutes = calendar.and_then(|calendar| calendar.utc_offset_minutes).unwrap_or(480);
    let _ = write!(
        text,
        "\n# Which days are working days: Monday to Friday, but for the published holiday calendars. 工作日历。\n[calendar]\n\
         # Minutes east of UTC in which days begin and end. 时区（相对于 UTC 的分钟数）。\n\
         utc_offset_minutes = {minutes}\n\
         # One file a year, beside this one; `registry profile template --calendar 2027` writes a form. 每年一个文件。\n\
         files = []\n"
    );
    for year in calendar.iter().flat_map(|calendar| &calendar.years) {
        let _ = write!(text, "\n[[calendar.years]]\n{}", year_fields(year));
    }
}

fn year_fields(year: &CalendarYear) -> String {
    format!("year = {}\nholidays = {}\nworkdays = {}\n", year.year, list(&year.holidays), list(&year.workdays))
}

pub(super) fn template() -> String {
    profile(&model::Profile::usual())
}

pub(super) fn calendar_template(year: i16) -> String {
    format!(
        "# The holiday calendar of {year}, as the State Council's General Office publishes it (节假日安排). Compare it day by day\n\
         # with the notice. Weekends need not be listed.\n\
         year = {year}\n\
         # Days that are not worked: one day, or the first and last of several. 放假日。\n\
         holidays = [\"{year}-01-01\", \"{year}-10-01..{year}-10-07\"]\n\
         # Saturdays and Sundays that are worked instead (调休). 调休上班日。\n\
         workdays = []\n"
    )
}

/// A list of texts. None of them holds anything that TOML would escape: they were checked when they were read.
fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
    format!("[{}]", quoted.join(", "))
}
