//! That the definition of GatewayParameters in the chart and its reader know the same fields. It starts nothing.

use headgate_provision::{GROUP, KIND, Parameters};
use serde_json::{Value, json};
use std::path::Path;

fn definition() -> Value {
    let path = "../../charts/headgate/crds/headgate.dev_gatewayparameters.yaml";
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a readable definition");
    serde_saphyr::from_str(&text).expect("YAML")
}

#[test]
fn each_field_that_the_definition_has_is_read() {
    let definition = definition();
    assert_eq!((&definition["spec"]["group"], &definition["spec"]["names"]["kind"]), (&json!(GROUP), &json!(KIND)));
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    let fields = spec.as_object().expect("fields");
    assert!(fields.len() > 15, "{fields:?}");
    for field in fields.keys() {
        // a value that no field may have
        let mut object = json!({"spec": {}});
        object["spec"][field] = json!(1.5);
        let problems = Parameters::decode(&object).expect_err(field);
        let path = format!("spec.{field}");
        assert!(problems.iter().all(|problem| problem.path.to_string() == path), "{field}: {problems:?}");
    }
}
