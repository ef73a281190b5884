//! YAML as a tree of texts with their lines. What a scalar means is left to whoever reads the tree: `1.10` is a version
//! here, and not the number 1.1.
//!
//! Made from the parser's events and not through serde, which stops at the first thing that is wrong. Anchors, aliases,
//! tags and several documents are refused: a description that is signed and published should be plain to read.

use granit_parser::{Event, Parser, ScalarStyle, Span};

/// How deep a description may be nested; the deepest that is called for is 4.
const DEPTH_LIMIT: usize = 8;

/// Where something is wrong, and what.
pub(crate) type Fault = (u64, String);

/// A value with the line it begins on.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: u64,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Nothing, or a plain null.
    Nothing,
    Text(String),
}

/// An entry of a map.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// The line of the key.
    pub(crate) line: u64,
    pub(crate) value: Node,
}

/// Reads the one document in `text`.
///
/// # Errors
/// The first thing that makes the text no plain YAML.
pub(crate) fn read(text: &str) -> Result<Node, Fault> {
    let options = granit_parser::options! { emit_comments: false, disallow_directives: true };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| (line_of(error.marker().line()), error.info()))?;
        builder.event(event, line(&span))?;
    }
    builder.root.ok_or_else(|| (1, "the file is empty".to_owned()))
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
}

/// A list or map that has not ended.
struct Open {
    node: Node,
    key: Option<(String, u64)>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, line: u64) -> Result<(), Fault> {
        let node = |kind| Node { line, kind };
        match event {
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                Err((line, "aliases (*) are not allowed: write it out".to_owned()))
            }
            Event::Scalar(text, style, anchor, tag) => {
                plain(line, anchor, tag.is_some())?;
                let is_null = style == ScalarStyle::Plain && matches!(text.as_ref(), "" | "~" | "null");
                let text = text.into_owned();
                if let Some(open) = self.open.last_mut()
                    && matches!(open.node.kind, Kind::Map(_))
                    && open.key.is_none()
                {
                    open.key = Some((text, line));
                    return Ok(());
                }
                self.place(node(if is_null { Kind::Nothing } else { Kind::Text(text) }))
            }
            Event::SequenceStart(_, anchor, tag) => {
                plain(line, anchor, tag.is_some())?;
                self.begin(node(Kind::List(Vec::new())))
            }
            Event::MappingStart(_, anchor, tag) => {
                plain(line, anchor, tag.is_some())?;
                self.begin(node(Kind::Map(Vec::new())))
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.place(open.node),
                None => Ok(()),
            },
            Event::DocumentStart(..) if self.root.is_some() => Err((line, "a file holds one description".to_owned())),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, node: Node) -> Result<(), Fault> {
        if let Some(open) = self.open.last()
            && matches!(open.node.kind, Kind::Map(_))
            && open.key.is_none()
        {
            return Err((node.line, "a field's name must be a text".to_owned()));
        }
        if self.open.len() >= DEPTH_LIMIT {
            return Err((node.line, "nested too deeply".to_owned()));
        }
        self.open.push(Open { node, key: None });
        Ok(())
    }

    fn place(&mut self, node: Node) -> Result<(), Fault> {
        let Some(open) = self.open.last_mut() else {
            self.root.get_or_insert(node);
            return Ok(());
        };
        match (&mut open.node.kind, open.key.take()) {
            (Kind::List(nodes), _) => nodes.push(node),
            (Kind::Map(entries), Some((key, line))) => entries.push(Entry { key, line, value: node }),
            _ => return Err((node.line, "a field's name must be a text".to_owned())),
        }
        Ok(())
    }
}

fn plain(line: u64, anchor: usize, is_tagged: bool) -> Result<(), Fault> {
    if anchor != 0 {
        return Err((line, "anchors (&) are not allowed: write it out".to_owned()));
    }
    if is_tagged {
        return Err((line, "tags (!) are not allowed: a text in quotation marks is a text".to_owned()));
    }
    Ok(())
}

fn line(span: &Span) -> u64 {
    line_of(span.start.line())
}

fn line_of(line: usize) -> u64 {
    u64::try_from(line).unwrap_or(u64::MAX).max(1)
}
