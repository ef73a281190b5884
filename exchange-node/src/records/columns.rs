//! The columns of a service's records, as its description calls for them: one for each attribute but those that count
//! rows, one for each input, and those that say which row is latest or how fresh a row is.
//!
//! Out of scope: the subject's column, which is named by its scheme and has no type but the scheme's.

use trust::service::Service;
use trust::subject::Scheme;
use trust::value::{AttributeType, Type};

/// One typed column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    name: String,
    ty: AttributeType,
    selects: bool,
}

impl Column {
    /// A column as an import stored it.
    pub(super) fn stored(name: String, ty: AttributeType, selects: bool) -> Self {
        Self { name, ty, selects }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of its values.
    pub fn ty(&self) -> &AttributeType {
        &self.ty
    }

    /// Whether every value of the `other` column is a value of this one: the type is the same, and no member is gone.
    pub(super) fn reads(&self, other: &Self) -> bool {
        let (old, new) = (other.ty.members(), self.ty.members());
        let keeps = if old.is_empty() { new.is_empty() } else { old.iter().all(|member| new.contains(member)) };
        self.ty.ty() == other.ty.ty() && (keeps || (self.ty.ty() == Type::List && new.is_empty()))
    }

    /// Whether an input selects rows by it. No row may leave it empty: an empty cell would be selected by nothing, and
    /// the row would seem not to exist.
    pub fn selects(&self) -> bool {
        self.selects
    }
}

/// The columns that the records of one service have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    schemes: Vec<Scheme>,
    columns: Vec<Column>,
    counted: Vec<String>,
}

impl Columns {
    /// The columns of `service`.
    ///
    /// # Errors
    /// Where two uses of one column contradict each other.
    pub fn of(service: &Service) -> Result<Self, ColumnsError> {
        let mut columns = Self { schemes: Vec::new(), columns: Vec::new(), counted: Vec::new() };
        for scheme in &service.schemes {
            if !columns.schemes.contains(scheme) {
                columns.schemes.push(*scheme);
            }
        }
        for (name, rule) in &service.attributes {
            let field = format!("attributes.{name}");
            if rule.needs_column() {
                columns.add(name, rule.ty(), false, &field)?;
            } else {
                columns.counted.push(name.clone());
            }
        }
        for input in &service.inputs {
            columns.add(&input.name, &input.ty, true, &format!("inputs.{}", input.name))?;
        }
        let date = AttributeType::new(Type::Date, Vec::new())
            .map_err(|error| ColumnsError { field: String::new(), reason: error.to_string() })?;
        // A column that says which row is latest may be an attribute or an input too; otherwise it holds dates.
        for (attribute, by) in service.attributes.values().filter_map(|rule| match rule.rows() {
            trust::claim::RowRule::Latest { by } => Some((rule.name(), by)),
            _ => None,
        }) {
            let field = format!("attributes.{attribute}.rows");
            match columns.column(by) {
                Some(column) if !is_ordered(column.ty.ty()) => {
                    let reason = format!("the column {by} holds no dates or numbers, so no row is the latest by it");
                    return Err(ColumnsError { field, reason });
                }
                Some(_) => {}
                None => columns.add(by, &date, false, &field)?,
            }
        }
        match service.published.record_as_of_column.as_str() {
            "" => {}
            name => match columns.column(name) {
                Some(column) if column.ty != date => {
                    let reason = format!("the column {name} must hold dates");
                    return Err(ColumnsError { field: "record_as_of".to_owned(), reason });
                }
                Some(_) => {}
                None => columns.add(name, &date, false, "record_as_of")?,
            },
        }
        Ok(columns)
    }

    fn add(&mut self, name: &str, ty: &AttributeType, selects: bool, field: &str) -> Result<(), ColumnsError> {
        let wrong = |reason: &str| Err(ColumnsError { field: field.to_owned(), reason: reason.to_owned() });
        if self.schemes.iter().any(|scheme| scheme.as_str() == name) {
            return wrong("the column of that name holds the subject");
        }
        if self.counted.iter().any(|counted| counted == name) {
            return wrong("an attribute of that name counts rows and has no column");
        }
        match self.columns.iter_mut().find(|column| column.name == name) {
            Some(column) if column.ty == *ty => column.selects |= selects,
            Some(_) => return wrong("the column of that name has another type elsewhere in the description"),
            None => self.columns.push(Column { name: name.to_owned(), ty: ty.clone(), selects }),
        }
        Ok(())
    }

    /// The schemes that a subject's column may be named by.
    pub fn schemes(&self) -> &[Scheme] {
        &self.schemes
    }

    /// The columns beside the subject's.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Where the column called `name` stands among [`Columns::columns`].
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Whether `name` is an attribute whose value is the number of rows, so that it has no column.
    pub fn is_counted(&self, name: &str) -> bool {
        self.counted.iter().any(|counted| counted == name)
    }

    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether rows stored under the `stored` columns can be read as rows of these, which `service` calls for; and for
    /// which of its attributes they lack a column. An attribute that is new in a description costs nobody an answer who
    /// asks for the others. The order of columns does not matter: they are found by name.
    ///
    /// # Errors
    /// Why they cannot be read so.
    pub(super) fn lacking(&self, service: &Service, stored: &[Column]) -> Result<Vec<String>, String> {
        let held = |name: &str| stored.iter().find(|other| other.name == name);
        if let Some(column) = stored.iter().find(|other| self.column(&other.name).is_none()) {
            return Err(format!("column {} is gone", column.name));
        }
        let changed = self.columns.iter().find(|column| held(&column.name).is_some_and(|old| !column.reads(old)));
        if let Some(column) = changed {
            return Err(format!("column {} has another type or other members", column.name));
        }
        let as_of = service.published.record_as_of_column.as_str();
        if !as_of.is_empty() && held(as_of).is_none() {
            // Without it an old record would seem as fresh as its import.
            return Err(format!("column {as_of} is new"));
        }
        let lacks = |rule: &trust::claim::AttributeRule| {
            let latest = match rule.rows() {
                trust::claim::RowRule::Latest { by } => held(by).is_none(),
                _ => false,
            };
            latest || (rule.needs_column() && held(rule.name()).is_none())
        };
        Ok(service.attributes.values().filter(|rule| lacks(rule)).map(|rule| rule.name().to_owned()).collect())
    }
}

fn is_ordered(ty: Type) -> bool {
    matches!(ty, Type::Date | Type::Decimal | Type::Integer)
}

/// Why a service description has no columns that records could have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct ColumnsError {
    /// The field of the description, as a service file names it.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}
