//! Dates as registers write them: year first, in any of the usual forms, alone or with a time behind. A form in which day
//! and month could be taken for each other is not among them.
//!
//! Out of scope: text clean-up (the caller has brought the text to NFKC), and what a date means.

use jiff::{
    civil::{Date, DateTime, Time},
    tz::Offset,
};

/// How dates are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateForm {
    /// 2018年5月21日
    Chinese,
    /// 20180521
    Compact,
    /// 2018-05-21 or 2018-5-21
    Dashes,
    /// 2018.5.21
    Dots,
    /// 2018/5/21
    Slashes,
    /// 2018-05-21T08:00:00+08:00, 2018-05-21 08:00:00.123
    Timestamp,
}

impl DateForm {
    /// Every form.
    pub const ALL: [Self; 6] = [Self::Chinese, Self::Compact, Self::Dashes, Self::Dots, Self::Slashes, Self::Timestamp];

    /// The name in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chinese => "年月日",
            Self::Compact => "yyyymmdd",
            Self::Dashes => "yyyy-mm-dd",
            Self::Dots => "yyyy.m.d",
            Self::Slashes => "yyyy/m/d",
            Self::Timestamp => "timestamp",
        }
    }

    /// The form of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.as_str() == name)
    }

    fn read(self, text: &str) -> Option<Date> {
        match self {
            Self::Chinese => {
                let (year, rest) = text.split_once('年')?;
                let (month, rest) = rest.split_once('月')?;
                date(year.trim(), month.trim(), rest.trim().strip_suffix('日')?.trim())
            }
            Self::Compact => match text.is_ascii() && text.len() == 8 {
                true => date(&text[..4], &text[4..6], &text[6..]),
                false => None,
            },
            Self::Dashes => parted(text, '-'),
            Self::Dots => parted(text, '.'),
            Self::Slashes => parted(text, '/'),
            Self::Timestamp => moment(text).map(DateTime::date),
        }
    }
}

/// Reads `text` in one of `forms`.
pub fn read(text: &str, forms: &[DateForm]) -> Option<Date> {
    forms.iter().find_map(|form| form.read(text))
}

/// A moment with its offset as the clocks of China show it.
pub fn in_china(moment: DateTime, offset_seconds: i32) -> Option<DateTime> {
    let instant = Offset::from_seconds(offset_seconds).ok()?.to_timestamp(moment).ok()?;
    Some(Offset::constant(8).to_datetime(instant))
}

fn parted(text: &str, by: char) -> Option<Date> {
    let mut parts = text.split(by);
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then(|| date(year, month, day))?
}

fn date(year: &str, month: &str, day: &str) -> Option<Date> {
    let is_number =
        |text: &str, lengths: &[usize]| lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(year, &[4]) || !is_number(month, &[1, 2]) || !is_number(day, &[1, 2]) || year == "0000" {
        return None;
    }
    Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()
}

/// A day, `T` or a space, a time, perhaps a fraction, perhaps an offset. One without an offset is China's.
fn moment(text: &str) -> Option<DateTime> {
    let (day, rest) = text.split_once(['T', ' '])?;
    let day = [DateForm::Dashes, DateForm::Slashes].into_iter().find_map(|form| form.read(day))?;
    let rest = rest.trim();
    let (time, offset) = match rest.find(['Z', '+', '-']) {
        Some(position) => (rest[..position].trim(), Some(offset(&rest[position..])?)),
        None => (rest, None),
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut parts = time.split(':').map(|part| match part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()) {
        true => part.parse::<i8>().ok(),
        false => None,
    });
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
    let moment = day.to_datetime(Time::new(hour, minute, second, 0).ok().filter(|_| parts.next().is_none())?);
    offset.map_or(Some(moment), |seconds| in_china(moment, seconds))
}

fn offset(text: &str) -> Option<i32> {
    if text == "Z" {
        return Some(0);
    }
    let digits = text[1..].replace(':', "");
    let two = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i32>().ok())?;
    let (hours, minutes) = match digits.len() {
        2 if digits.is_ascii() => (two(&digits)?, 0),
        4 if digits.is_ascii() => (two(&digits[..2])?, two(&digits[2..])?),
        _ => return None,
    };
    let seconds = hours * 3600 + minutes * 60;
    Some(if text.starts_with('-') { -seconds } else { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_forms_are_read() {
        let expected = jiff::civil::date(2018, 5, 21);
        for text in [
            "2018-05-21",
            "2018-5-21",
            "20180521",
            "2018/5/21",
            "2018/05/21",
            "2018.5.21",
            "2018年5月21日",
            "2018年05月21日",
            "2018-05-21 00:00:00",
            "2018-05-21T23:59:59.999",
            "2018-05-21T08:00+08:00",
            "2018-05-20T16:00:00Z",
            "2018/5/21 08:00",
            "2018-05-21 23:59:59+0800",
            "2018-05-20 18:00:00+02",
        ] {
            assert_eq!(read(text, &DateForm::ALL), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_could_be_another_day_is_not_read() {
        for text in [
            "21.5.2018",
            "05/21/2018",
            "2018-13-01",
            "2018-02-30",
            "0000-00-00",
            "18-05-21",
            "2018-05",
            "2018-05-21-1",
            "201805211",
            "2018-05-21 25:00:00",
            "2018-05-21 08",
            "2018-05-21 08:00:00 PM",
            "2018年5月",
            "",
            "2018-+5-21",
            "2018-05-21T08:00+8",
            "２０１８",
        ] {
            assert_eq!(read(text, &DateForm::ALL), None, "{text}");
        }
        // A form that was not named is not read.
        assert_eq!(read("20180521", &[DateForm::Dashes]), None);
        assert!(DateForm::ALL.into_iter().all(|form| DateForm::parse(form.as_str()) == Some(form)));
    }
}
