//! Data services as entries of a data catalogue (政务数据共享条例 13): the fields that the national catalogue has, in one
//! table with the same columns in every program, so that the exchange is no parallel catalogue. Out of scope: files
//! (CSV, JSON), and a service's contract beyond what a catalogue holds.

use proto::registry::v1 as wire;

use super::{
    Service,
    words::{self, basis},
};
use crate::catalogue::service_standing;

/// One data item (数据项).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataItem {
    /// The attribute's name; empty where a catalogue knows only what people call it.
    pub name: String,
    /// What people call it.
    pub label: String,
    /// Its type; empty where it is not known.
    pub ty: String,
}

/// An entry. A text that is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// 目录代码.
    pub catalogue_code: String,
    /// 名称.
    pub name: String,
    /// The name in English.
    pub name_en: String,
    /// The providing department's name (提供单位).
    pub provider: String,
    /// Its id in the exchange.
    pub provider_id: String,
    /// The service's id within the department.
    pub service: String,
    /// Its version, for example `1.2`.
    pub version: String,
    /// 数据项.
    pub data_items: Vec<DataItem>,
    /// 格式.
    pub format: String,
    /// 更新频率: `daily`, …
    pub update_cycle: String,
    /// 共享属性: `conditional`, …
    pub sharing: String,
    /// 共享方式.
    pub mode: String,
    /// 使用条件.
    pub conditions: String,
    /// 分类分级.
    pub classification: String,
    /// 依据, each `instrument article`.
    pub legal_bases: Vec<String>,
    /// The law that forbids sharing.
    pub forbidden_by: String,
    /// 联系方式.
    pub contact: String,
    /// The paper proofs that it makes unnecessary.
    pub replaces_proofs: Vec<String>,
    /// `answering`, `suspended`, `withdrawn`, or `waiting` for the authority's review.
    pub state: String,
}

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its stable name, for JSON.
    pub key: &'static str,
    /// Its heading for people, for CSV.
    pub heading: &'static str,
    /// Whether its cells hold lists.
    pub is_list: bool,
}

macro_rules! columns {
    ($($key:literal $heading:literal $is_list:literal;)*) => {
        /// The columns, in order.
        pub const COLUMNS: &[Column] = &[$(Column { key: $key, heading: $heading, is_list: $is_list },)*];
    };
}

columns! {
    "catalogue_code" "目录代码" false;
    "name" "名称" false;
    "name_en" "英文名称" false;
    "provider" "提供单位" false;
    "provider_id" "提供单位标识" false;
    "service" "服务标识" false;
    "version" "版本" false;
    "data_items" "数据项" true;
    "format" "格式" false;
    "update_cycle" "更新频率" false;
    "sharing" "共享属性" false;
    "mode" "共享方式" false;
    "conditions" "使用条件" false;
    "classification" "分类分级" false;
    "legal_bases" "依据" true;
    "forbidden_by" "不予共享依据" false;
    "contact" "联系方式" false;
    "replaces_proofs" "免提交证明" true;
    "state" "状态" false;
}

/// Words of people for stable words, in the columns that have any.
const WORDS: &[(&str, &str, &str)] = &[
    ("format", "claims", "核验结论"),
    ("mode", "verification", "核验"),
    ("sharing", "conditional", "有条件共享"),
    ("sharing", "not_shared", "不予共享"),
    ("sharing", "unconditional", "无条件共享"),
    ("state", "answering", "在用"),
    ("state", "suspended", "暂停"),
    ("state", "waiting", "待审核"),
    ("state", "withdrawn", "已撤回"),
    ("update_cycle", "daily", "每日"),
    ("update_cycle", "monthly", "每月"),
    ("update_cycle", "real_time", "实时"),
    ("update_cycle", "weekly", "每周"),
    ("update_cycle", "yearly", "每年"),
];

/// A word of the column `key` as people write it in a catalogue; a word without one stays as it is.
pub fn word_for_people<'a>(key: &str, word: &'a str) -> &'a str {
    WORDS.iter().find(|(column, stable, _)| *column == key && *stable == word).map_or(word, |(.., people)| people)
}

/// The stable word for what people write in the column `key`; any other text stays as it is.
pub fn stable_word<'a>(key: &str, word: &'a str) -> &'a str {
    WORDS.iter().find(|(column, _, people)| *column == key && *people == word).map_or(word, |(_, stable, _)| stable)
}

impl Entry {
    /// The entry of a service at that time; `provider` is its department's name.
    pub fn of(service: &Service, provider: &str, now_ms: u64) -> Self {
        let state = service_standing(service, now_ms).state;
        Self { provider: provider.to_owned(), state: state.to_owned(), ..Self::of_description(&service.published) }
    }

    /// The entry of a description, without what the description does not say: the department's name, and the state.
    pub fn of_description(published: &wire::ServicePublished) -> Self {
        let name = published.name.clone().unwrap_or_default();
        let item = |attribute: &wire::Attribute| DataItem {
            name: attribute.name.clone(),
            label: attribute.label.as_ref().map(|label| label.zh.clone()).unwrap_or_default(),
            ty: attribute.r#type.clone(),
        };
        Self {
            catalogue_code: published.catalogue_code.clone(),
            name: name.zh,
            name_en: name.en,
            provider: String::new(),
            provider_id: published.department.clone(),
            service: published.service.clone(),
            version: format!("{}.{}", published.major_version, published.minor_version),
            data_items: published.attributes.iter().map(item).collect(),
            format: published.format.clone(),
            update_cycle: published.update_cycle.clone(),
            sharing: words::sharing(published.sharing()).to_owned(),
            mode: published.mode.clone(),
            conditions: published.conditions.clone(),
            classification: published.classification.clone(),
            legal_bases: published.legal_bases.iter().map(basis).collect(),
            forbidden_by: published.forbidden_by.as_ref().map(basis).unwrap_or_default(),
            contact: published.contact.clone(),
            replaces_proofs: published.replaces_proofs.clone(),
            state: String::new(),
        }
    }

    /// The cells in the order of [`COLUMNS`]; a cell that is no list holds one text at most.
    pub fn cells(&self) -> Vec<Vec<String>> {
        let one = |text: &String| if text.is_empty() { Vec::new() } else { vec![text.clone()] };
        vec![
            one(&self.catalogue_code),
            one(&self.name),
            one(&self.name_en),
            one(&self.provider),
            one(&self.provider_id),
            one(&self.service),
            one(&self.version),
            self.data_items.iter().map(DataItem::to_text).collect(),
            one(&self.format),
            one(&self.update_cycle),
            one(&self.sharing),
            one(&self.mode),
            one(&self.conditions),
            one(&self.classification),
            self.legal_bases.clone(),
            one(&self.forbidden_by),
            one(&self.contact),
            self.replaces_proofs.clone(),
            one(&self.state),
        ]
    }

    /// The cells with people's words in place of stable words.
    pub fn cells_for_people(&self) -> Vec<Vec<String>> {
        let translate = |(column, cell): (&Column, Vec<String>)| {
            cell.into_iter().map(|text| word_for_people(column.key, &text).to_owned()).collect()
        };
        COLUMNS.iter().zip(self.cells()).map(translate).collect()
    }

    /// The entry with these cells, each with its column. Words of people become stable words; columns that nobody here
    /// knows are passed over, since catalogues have more than these.
    pub fn from_cells<'a>(cells: impl IntoIterator<Item = (&'a str, &'a [String])>) -> Self {
        let mut entry = Self::default();
        for (column, texts) in cells {
            let Some(column) = column_named(column) else { continue };
            let texts: Vec<String> =
                texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).map(str::to_owned).collect();
            let one = stable_word(column.key, &texts.join(" ")).to_owned();
            match column.key {
                "catalogue_code" => entry.catalogue_code = one,
                "name" => entry.name = one,
                "name_en" => entry.name_en = one,
                "provider" => entry.provider = one,
                "provider_id" => entry.provider_id = one,
                "service" => entry.service = one,
                "version" => entry.version = one,
                "data_items" => entry.data_items = texts.iter().map(|text| DataItem::from_text(text)).collect(),
                "format" => entry.format = one,
                "update_cycle" => entry.update_cycle = one,
                "sharing" => entry.sharing = one,
                "mode" => entry.mode = one,
                "conditions" => entry.conditions = one,
                "classification" => entry.classification = one,
                "legal_bases" => entry.legal_bases = texts,
                "forbidden_by" => entry.forbidden_by = one,
                "contact" => entry.contact = one,
                "replaces_proofs" => entry.replaces_proofs = texts,
                _ => entry.state = one,
            }
        }
        entry
    }

    /// Where `other`, from another catalogue, says something else: the column, what is said here, what is said there.
    /// What it does not say is no difference; nor are version, state and the ids, which belong to the exchange.
    pub fn differences(&self, other: &Self) -> Vec<(Column, String, String)> {
        let of_the_exchange = ["provider", "provider_id", "service", "state", "version"];
        let cells = self.cells().into_iter().zip(other.cells());
        COLUMNS
            .iter()
            .zip(cells)
            .filter(|(column, _)| !of_the_exchange.contains(&column.key))
            .filter(|(column, (here, there))| !there.is_empty() && !is_same(column, here, there))
            .map(|(column, (here, there))| (*column, here.join("; "), there.join("; ")))
            .collect()
    }
}

/// The column with this name or heading.
pub fn column_named(name: &str) -> Option<Column> {
    let name = name.trim();
    COLUMNS.iter().copied().find(|column| column.key == name || column.heading == name)
}

/// Lists are the same in any order. Of a data item a catalogue may know only what people call it.
fn is_same(column: &Column, here: &[String], there: &[String]) -> bool {
    if column.key != "data_items" {
        return here.len() == there.len() && there.iter().all(|text| here.contains(text));
    }
    let read = |texts: &[String]| texts.iter().map(|text| DataItem::from_text(text)).collect::<Vec<_>>();
    let (here, there) = (read(here), read(there));
    here.len() == there.len() && there.iter().all(|item| here.iter().any(|own| own.fits(item)))
}

impl DataItem {
    /// `label (name, type)`, as far as they are known.
    pub fn to_text(&self) -> String {
        let technical: Vec<&str> = [self.name.as_str(), &self.ty].into_iter().filter(|text| !text.is_empty()).collect();
        match (self.label.as_str(), technical.is_empty()) {
            (label, true) => label.to_owned(),
            ("", false) => format!("({})", technical.join(", ")),
            (label, false) => format!("{label} ({})", technical.join(", ")),
        }
    }

    /// Reads what [`DataItem::to_text`] writes; a text of any other form is what people call the item.
    pub fn from_text(text: &str) -> Self {
        let text = text.trim();
        let parts = text.strip_suffix([')', '）']).and_then(|text| text.rsplit_once(['(', '（']));
        let Some((label, technical)) = parts else {
            return Self { label: text.to_owned(), ..Self::default() };
        };
        let (name, ty) = technical.split_once([',', '，']).unwrap_or((technical, ""));
        if !crate::claim::is_attribute_name(name.trim()) {
            return Self { label: text.to_owned(), ..Self::default() };
        }
        Self { name: name.trim().to_owned(), label: label.trim().to_owned(), ty: ty.trim().to_owned() }
    }

    fn fits(&self, other: &Self) -> bool {
        let same = |own: &str, theirs: &str| theirs.is_empty() || own == theirs;
        same(&self.name, &other.name) && same(&self.label, &other.label) && same(&self.ty, &other.ty)
    }
}

/// What a complete catalogue entry still lacks (政务数据共享条例 13–15), each with its field in a service file. Without
/// these a service can be published; the authority may return it.
pub fn missing(published: &wire::ServicePublished) -> Vec<(String, &'static str)> {
    let mut missing = Vec::new();
    let mut need = |is_there: bool, field: &str, what: &'static str| {
        if !is_there {
            missing.push((field.to_owned(), what));
        }
    };
    let is_said = |text: &str| !text.trim().is_empty();
    need(is_said(&published.contact), "contact", "whom to ask about it (联系方式)");
    need(is_said(&published.classification), "classification", "the department's grading of the data (分类分级)");
    need(is_said(&published.update_cycle), "update_cycle", "how often the records are brought up to date (更新频率)");
    need(
        published.sharing() != wire::SharingClass::Conditional || is_said(&published.conditions),
        "conditions",
        "scope and use that it is shared for (使用条件), which a conditionally shared service lists",
    );
    for attribute in &published.attributes {
        let is_named = attribute.label.as_ref().is_some_and(|label| is_said(&label.zh));
        need(is_named, &format!("attributes.{}.label", attribute.name), "what people call the data item (数据项)");
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture, ids::Digest};

    fn service() -> Service {
        let mut published = fixture::marriage_registration();
        published.contact = "民政局 0890-000-0201".into();
        published.replaces_proofs = vec!["婚姻状况证明".into()];
        published.update_cycle = "daily".into();
        Service::check(&published, Digest::new([0; 32])).unwrap()
    }

    #[test]
    fn an_entry_comes_back_from_its_cells() {
        let entry = Entry::of(&service(), "民政局", 1);
        assert_eq!(entry.state, "answering");
        let cells = entry.cells();
        assert_eq!(cells.len(), COLUMNS.len());
        for by_heading in [false, true] {
            let named = COLUMNS
                .iter()
                .zip(&cells)
                .map(|(column, cell)| (if by_heading { column.heading } else { column.key }, cell.as_slice()));
            assert_eq!(Entry::from_cells(named), entry);
        }
        for (column, cell) in COLUMNS.iter().zip(&cells) {
            assert!(column.is_list || cell.len() <= 1, "{}", column.key);
        }
    }

    #[test]
    fn peoples_words_are_understood() {
        let cells = [("共享属性", ["有条件共享".to_owned()]), ("更新频率", ["每日".to_owned()])];
        let entry = Entry::from_cells(cells.iter().map(|(column, cell)| (*column, cell.as_slice())));
        assert_eq!((entry.sharing.as_str(), entry.update_cycle.as_str()), ("conditional", "daily"));
        for (key, stable, people) in WORDS {
            assert_eq!((word_for_people(key, stable), stable_word(key, people)), (*people, *stable));
            assert!(column_named(key).is_some());
        }
        assert_eq!(stable_word("name", "每日"), "每日");
    }

    #[test]
    fn another_catalogue_differs_only_where_it_says_something_else() {
        let entry = Entry::of(&service(), "民政局", 1);
        let mut other = Entry { name: entry.name.clone(), sharing: "unconditional".into(), ..Entry::default() };
        other.catalogue_code = "890000-1".into();
        other.data_items = entry.data_items.iter().map(|item| DataItem { ty: String::new(), ..item.clone() }).collect();
        let keys: Vec<&str> = entry.differences(&other).iter().map(|(column, ..)| column.key).collect();
        assert_eq!(keys, ["catalogue_code", "sharing"]);
        other.data_items.pop();
        assert!(entry.differences(&other).iter().any(|(column, ..)| column.key == "data_items"));
    }

    #[test]
    fn data_items_are_read_as_they_are_written() {
        for (text, name, label, ty) in [
            ("婚姻状况 (marital_status, enum)", "marital_status", "婚姻状况", "enum"),
            ("(count, integer)", "count", "", "integer"),
            ("婚姻状况", "", "婚姻状况", ""),
            ("面积（平方米）", "", "面积（平方米）", ""),
        ] {
            let item = DataItem::from_text(text);
            assert_eq!((item.name.as_str(), item.label.as_str(), item.ty.as_str()), (name, label, ty));
            assert_eq!(item.to_text(), text);
        }
    }

    #[test]
    fn what_an_entry_lacks_is_said_at_once() {
        let fields: Vec<String> = missing(&service().published).into_iter().map(|(field, _)| field).collect();
        assert_eq!(
            fields,
            ["classification", "conditions", "attributes.marital_status.label", "attributes.registered_on.label"]
        );
    }
}
