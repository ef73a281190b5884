//! `/docs`: the OpenAPI document as a page that people read. It stands in the program: nothing is fetched from anywhere, and
//! no script runs. Out of scope: the document itself (`office::http`).

use std::fmt::Write;

use serde_json::Value;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}\
h2{border-top:1px solid #ccc;padding-top:1rem;margin-top:2.5rem}code,pre{font-family:ui-monospace,monospace;font-size:.9em;\
background:#f3f3f3}pre{padding:.75rem;overflow-x:auto}table{border-collapse:collapse;width:100%;margin:.5rem 0 1rem}\
th,td{text-align:left;vertical-align:top;border-bottom:1px solid #ddd;padding:.25rem .75rem .25rem 0}\
.method{display:inline-block;min-width:4rem;font-weight:bold}@media(prefers-color-scheme:dark){body{background:#111;color:#eee}\
code,pre{background:#222}}";

/// The page of a document.
pub fn page(openapi: &Value) -> String {
    let info = &openapi["info"];
    let mut html = String::new();
    let title = text(&info["title"]);
    let _ = write!(
        html,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>\
         <p>Version {}</p><p>{}</p><p>The same for programs: <a href=\"/openapi.json\">/openapi.json</a> (OpenAPI {}).</p>",
        text(&info["version"]),
        prose(&info["description"]),
        text(&openapi["openapi"]),
    );
    let operations: Vec<_> = operations(openapi).collect();
    html.push_str("<nav><ul>");
    for (path, method, operation) in &operations {
        let anchor = text(&operation["operationId"]);
        let _ = write!(
            html,
            "<li><a href=\"#{anchor}\"><span class=\"method\">{}</span> <code>{}</code></a></li>",
            method.to_uppercase(),
            escaped(path),
        );
    }
    html.push_str("</ul></nav>");
    for (path, method, operation) in &operations {
        write_operation(&mut html, path, method, operation);
    }
    html.push_str("<h2 id=\"schemas\">What is sent and what comes back</h2>");
    let schemas = openapi["components"]["schemas"].as_object();
    for (name, schema) in schemas.into_iter().flatten() {
        write_schema(&mut html, name, schema);
    }
    html.push_str("</body></html>");
    html
}

fn operations(openapi: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let paths = openapi["paths"].as_object();
    paths.into_iter().flatten().flat_map(|(path, item)| {
        let methods = item.as_object();
        methods.into_iter().flatten().map(move |(method, operation)| (path, method, operation))
    })
}

fn write_operation(html: &mut String, path: &str, method: &str, operation: &Value) {
    let _ = write!(
        html,
        "<h2 id=\"{}\"><span class=\"method\">{}</span> <code>{}</code></h2><p>{}</p><p>{}</p>",
        text(&operation["operationId"]),
        method.to_uppercase(),
        escaped(path),
        prose(&operation["summary"]),
        prose(&operation["description"]),
    );
    let parameters = operation["parameters"].as_array();
    if let Some(parameters) = parameters.filter(|parameters| !parameters.is_empty()) {
        html.push_str("<h3>Parameters</h3><table><tr><th>Name</th><th>Where</th><th>Meaning</th></tr>");
        for parameter in parameters {
            let _ = write!(
                html,
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                text(&parameter["name"]),
                text(&parameter["in"]),
                prose(&parameter["description"]),
            );
        }
        html.push_str("</table>");
    }
    for (media_type, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
        let _ = write!(html, "<p>Body: <code>{}</code>, {}</p>", escaped(media_type), kind(&content["schema"]));
    }
    html.push_str("<h3>Answers</h3><table><tr><th>Status</th><th>Meaning</th><th>Body</th></tr>");
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let bodies = response["content"].as_object().into_iter().flatten();
        let bodies: Vec<String> = bodies
            .map(|(media_type, content)| format!("<code>{}</code> {}", escaped(media_type), kind(&content["schema"])))
            .collect();
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(status),
            prose(&response["description"]),
            bodies.join("<br>"),
        );
    }
    html.push_str("</table>");
}

fn write_schema(html: &mut String, name: &str, schema: &Value) {
    let name = escaped(name);
    let _ = write!(html, "<h3 id=\"schema-{name}\">{name}</h3><p>{}</p>", prose(&schema["description"]));
    if let Some(properties) = schema["properties"].as_object() {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        html.push_str("<table><tr><th>Field</th><th>Type</th><th>Meaning</th></tr>");
        for (field, property) in properties {
            let needed = if required.contains(&field.as_str()) { "" } else { ", may be left out" };
            let _ = write!(
                html,
                "<tr><td><code>{}</code></td><td>{}{needed}</td><td>{}</td></tr>",
                escaped(field),
                kind(property),
                prose(&property["description"]),
            );
        }
        html.push_str("</table>");
    }
    if let Some(example) = schema.get("example") {
        let example = serde_json::to_string_pretty(example).unwrap_or_default();
        let _ = write!(html, "<pre>{}</pre>", escaped(&example));
    }
    if !schema["oneOf"].is_null() || !schema["enum"].is_null() {
        let _ = write!(html, "<p>{}</p>", kind(schema));
    }
}

/// A schema in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        let name = escaped(name);
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    for alternatives in ["oneOf", "anyOf", "allOf"] {
        if let Some(several) = schema[alternatives].as_array() {
            return several.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("<code>{}</code>", text(value))).collect::<Vec<_>>().join(", ");
    }
    let ty = match &schema["type"] {
        Value::Array(types) => {
            types.iter().filter_map(Value::as_str).filter(|ty| *ty != "null").collect::<Vec<_>>().join(" or ")
        }
        ty => ty.as_str().unwrap_or("anything").to_owned(),
    };
    match ty.as_str() {
        "array" => format!("list of {}", kind(&schema["items"])),
        _ => escaped(&ty),
    }
}

/// Markdown's backticks become code; nothing else is marked up.
fn prose(value: &Value) -> String {
    let escaped = text(value);
    let parts = escaped.split('`').enumerate();
    parts.map(|(index, part)| if index % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }).collect()
}

fn text(value: &Value) -> String {
    escaped(value.as_str().unwrap_or_default())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
