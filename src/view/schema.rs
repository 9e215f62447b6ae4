//! The contract in JSON Schema (2020-12), made from the types themselves.

use crate::report::{Report, SCHEMA};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Of `--format json`: one document.
pub fn report() -> Value {
    let mut schema = generated();
    schema.insert("title".to_owned(), json!(SCHEMA));
    Value::Object(schema)
}

/// Of `--format ndjson`: one line. Lines of types that are not listed may be added; readers skip them.
pub fn line() -> Value {
    // Names of the lines, and of the types whose fields they carry.
    const LINES: [(&str, &str); 17] = [
        ("meta", "Meta"),
        ("input", "Input"),
        ("quality", "Quality"),
        ("flow", "FlowReport"),
        ("segment", "SegmentRecord"),
        ("loss", "Loss"),
        ("hole", "Hole"),
        ("stall", "Stall"),
        ("read", "ReadReport"),
        ("incident", "Incident"),
        ("finding", "Finding"),
        ("comparison", "Comparison"),
        ("crossing", "PairedFlow"),
        ("crossing-loss", "CrossingLoss"),
        ("missing", "Missing"),
        ("unpaired", "UnpairedFlow"),
        ("series", "Series"),
    ];
    let to = |name: &str| json!({"$ref": format!("#/$defs/{name}")});
    let mut kinds: Vec<Value> = LINES
        .iter()
        .map(|(tag, name)| {
            let mut properties = Map::from_iter([("type".to_owned(), json!({"const": tag}))]);
            let mut required = vec!["type"];
            match *tag {
                // lines that others refer to by index say their own
                "loss" | "hole" | "stall" | "read" | "incident" => {
                    properties.insert("id".to_owned(), json!({"type": "integer", "minimum": 0}));
                    required.push("id");
                }
                "meta" => {
                    properties.insert("span".to_owned(), to("Span"));
                    required.push("span");
                }
                _ => {}
            }
            json!({"allOf": [to(name)], "properties": properties, "required": required})
        })
        .collect();
    kinds.push(
        json!({"allOf": [to("RunInfo")], "properties": {"type": {"const": "run"}}, "required": ["type"]}),
    );
    kinds.push(json!({
        "properties": {"type": {"const": "end"}, "verdict": to("Verdict")},
        "required": ["type", "verdict"],
    }));
    let mut whole = generated();
    json!({
        "$schema": whole.remove("$schema"),
        "title": format!("{SCHEMA}, one line"),
        "type": "object",
        "oneOf": kinds,
        "$defs": whole.remove("$defs"),
    })
}

fn generated() -> Map<String, Value> {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    match generator.into_root_schema_for::<Report>().to_value() {
        Value::Object(o) => o,
        _ => Map::new(),
    }
}
