//! The graph of items and papers: item → the papers that it asks for → the items that issue those papers → … Where it
//! comes back to where it began, nobody can ever get the paper. Out of scope: drawing it; the text is Graphviz or Mermaid.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use proto::registry::v1::ItemPublished;

use super::{same_paper, service_of};
use crate::directory::{Directory, model::ItemVersion};

/// A paper of an item: its name, and the service that answers it, where one does.
type Paper = (String, Option<String>);

/// An item as far as the graph goes.
#[derive(Clone, Debug)]
struct Node {
    name: String,
    papers: Vec<Paper>,
    issues: Vec<String>,
}

impl Node {
    fn of(item: &ItemPublished, directory: &Directory) -> Self {
        let paper = |proof: &proto::registry::v1::ProofRequirement| {
            (proof.proof.clone(), service_of(directory, proof).map(|_| proof.answered_by.clone()))
        };
        Self {
            name: format!("{}/{}", item.department, item.item),
            papers: item.proofs.iter().map(paper).collect(),
            issues: item.issues.clone(),
        }
    }
}

/// The newest versions: what will hold counts too, or two items could be dated into a circle.
fn nodes(directory: &Directory) -> BTreeMap<String, Node> {
    directory
        .items()
        .filter_map(|(_, versions)| versions.last())
        .map(|version| Node::of(&version.published.read(), directory))
        .map(|node| (node.name.clone(), node))
        .collect()
}

/// A way from the item through its papers and the items that issue them back to itself, among the newest versions; every
/// paper counts, because one that a service answers is asked for on paper while that service is down.
pub(super) fn circle(directory: &Directory, item: &ItemPublished) -> Option<Vec<String>> {
    way_back(nodes(directory), Node::of(item, directory))
}

/// The same among the versions that hold together at some moment: from when the item holds, but not before `at_ms`, and
/// whenever a later version of another item takes effect.
pub(super) fn circle_for_a_time(directory: &Directory, item: &ItemPublished, at_ms: u64) -> Option<Vec<String>> {
    let start = Node::of(item, directory);
    let start_ms = item.effective_from_ms.max(at_ms);
    let others = directory
        .items()
        .filter(|((department, id), _)| department.as_str() != item.department || *id != item.item)
        .map(|(_, versions)| {
            // The one that holds at the start, and those that follow it.
            let first = versions.iter().rposition(|version| version.effective_from_ms <= start_ms).unwrap_or(0);
            let of =
                |version: &ItemVersion| (version.effective_from_ms, Node::of(&version.published.read(), directory));
            versions.iter().skip(first).map(of).collect::<Vec<_>>()
        })
        .collect::<Vec<_>>();
    let later = others.iter().flatten().map(|(from_ms, _)| *from_ms).filter(|from_ms| *from_ms > start_ms);
    let moments: BTreeSet<u64> = later.chain([start_ms]).collect();
    moments.into_iter().find_map(|moment_ms| {
        let holding =
            others.iter().filter_map(|versions| versions.iter().rev().find(|(from_ms, _)| *from_ms <= moment_ms));
        way_back(holding.map(|(_, node)| (node.name.clone(), node.clone())).collect(), start.clone())
    })
}

/// A way from `start` back to itself, which takes the place of whatever has its name.
fn way_back(mut nodes: BTreeMap<String, Node>, start: Node) -> Option<Vec<String>> {
    let name = start.name.clone();
    nodes.insert(name.clone(), start);
    let mut path = vec![name.clone()];
    let mut seen = BTreeSet::new();
    walk(&nodes, &name, &name, &mut path, &mut seen).then_some(path)
}

/// Looks for a way from `at` to `goal`; each item is looked at once.
fn walk(
    nodes: &BTreeMap<String, Node>,
    at: &str,
    goal: &str,
    path: &mut Vec<String>,
    seen: &mut BTreeSet<String>,
) -> bool {
    let Some(node) = nodes.get(at) else { return false };
    for (paper, _) in &node.papers {
        for issuing in nodes.values().filter(|other| other.issues.iter().any(|issued| same_paper(issued, paper))) {
            path.extend([paper.clone(), issuing.name.clone()]);
            if issuing.name == goal || seen.insert(issuing.name.clone()) && walk(nodes, &issuing.name, goal, path, seen)
            {
                return true;
            }
            path.truncate(path.len() - 2);
        }
    }
    false
}

/// How the graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Graphviz.
    Dot,
    /// Mermaid.
    Mermaid,
}

impl Format {
    /// Reads its name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "dot" => Some(Self::Dot),
            "mermaid" => Some(Self::Mermaid),
            _ => None,
        }
    }
}

/// The graph as text: all items, or what `only` (an item's id) leads to.
pub fn text(directory: &Directory, only: Option<&str>, format: Format) -> String {
    let nodes = nodes(directory);
    let wanted: BTreeSet<&str> = match only {
        None => nodes.keys().map(String::as_str).collect(),
        Some(item) => reached(&nodes, item),
    };
    let mut edges: BTreeSet<(String, String, &str)> = BTreeSet::new();
    for node in nodes.values().filter(|node| wanted.contains(node.name.as_str())) {
        for (paper, service) in &node.papers {
            edges.insert((node.name.clone(), paper.clone(), ""));
            if let Some(service) = service {
                edges.insert((paper.clone(), service.clone(), "answered by"));
            }
            for issuing in nodes.values().filter(|other| other.issues.iter().any(|issued| same_paper(issued, paper))) {
                edges.insert((paper.clone(), issuing.name.clone(), "issued by"));
            }
        }
    }
    write(&edges, format)
}

fn reached<'a>(nodes: &'a BTreeMap<String, Node>, item: &str) -> BTreeSet<&'a str> {
    let is_it = |node: &&Node| node.name == item || node.name.split_once('/').is_some_and(|(_, id)| id == item);
    let mut open: Vec<&Node> = nodes.values().filter(is_it).collect();
    let mut found = BTreeSet::new();
    while let Some(node) = open.pop() {
        if !found.insert(node.name.as_str()) {
            continue;
        }
        let issues = |other: &&Node| {
            other.issues.iter().any(|issued| node.papers.iter().any(|(paper, _)| same_paper(issued, paper)))
        };
        open.extend(nodes.values().filter(issues));
    }
    found
}

fn write(edges: &BTreeSet<(String, String, &str)>, format: Format) -> String {
    // In an order of their own, so that the same graph is the same text.
    let names: BTreeSet<&str> = edges.iter().flat_map(|(from, to, _)| [from.as_str(), to.as_str()]).collect();
    let number: BTreeMap<&str, usize> = names.iter().enumerate().map(|(index, name)| (*name, index)).collect();
    let safe = |text: &str| text.replace('\\', " ").replace('"', "'");
    let mut out = String::new();
    // Writing to a text cannot fail.
    match format {
        Format::Dot => {
            let _ = writeln!(out, "digraph items {{\n  rankdir=LR;\n  node [shape=box];");
            for (name, index) in &number {
                let _ = writeln!(out, "  n{index} [label=\"{}\"];", safe(name));
            }
            for (from, to, label) in edges {
                let label = if label.is_empty() { String::new() } else { format!(" [label=\"{label}\"]") };
                let _ = writeln!(out, "  n{} -> n{}{label};", number[from.as_str()], number[to.as_str()]);
            }
            out.push_str("}\n");
        }
        Format::Mermaid => {
            let _ = writeln!(out, "graph LR");
            for (name, index) in &number {
                let _ = writeln!(out, "  n{index}[\"{}\"]", safe(name));
            }
            for (from, to, label) in edges {
                let label = if label.is_empty() { String::new() } else { format!("|{label}|") };
                let _ = writeln!(out, "  n{} -->{label} n{}", number[from.as_str()], number[to.as_str()]);
            }
        }
    }
    out
}
