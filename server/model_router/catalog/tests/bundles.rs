//! Bundles, and what is wrong with them.

use super::*;

#[test]
fn a_bundle_is_a_model_and_its_faults_are_told() {
    let with = |bundle: &str| format!("{GOOD}\n{bundle}");
    let text = with("[bundles.b]\nmodel = \"m\"\nprompt = \" Be brief. \"\nmax_tokens = 5");
    let catalog = Catalog::parse(&text).unwrap();
    let model = catalog.model("b").unwrap();
    assert_eq!(catalog.model(&model.name), Some(model));
    assert_eq!((&**model.base(), model.max_tokens), ("m", Some(5)));
    let bundle = model.bundle.as_ref().unwrap();
    assert_eq!(bundle.prompt.as_deref(), Some("Be brief."));
    for (bundle, expected) in [
        (
            "[bundles.m]\nmodel = \"m\"",
            "bundle `m` has the name of a model",
        ),
        (
            "[bundles.\"task/b\"]\nmodel = \"m\"",
            "a name without `task/`",
        ),
        ("[bundles.\"a@b\"]\nmodel = \"m\"", "has a `@` in its name"),
        (
            "[bundles.b]\nmodel = \"n\"",
            "unknown model `n`; known are m",
        ),
        (
            "[bundles.b]\nmodel = \"m\"\nprompt = \" \"",
            "expected a text that is not blank",
        ),
        (
            "[bundles.b]\nmodel = \"m\"\nprompt = \"a\"\nprompt_file = \"a\"",
            "stands beside `prompt`",
        ),
        (
            "[bundles.b]\nmodel = \"m\"\nprompt_file = \"a\"",
            "needs a catalog that is a file itself",
        ),
        (
            "[bundles.b]\nmodel = \"m\"\nparameters = { stream = true }",
            "`stream` is the server's or the caller's to say",
        ),
        (
            "[bundles.b]\nmodel = \"m\"\nparameters = { max_tokens = 1 }",
            "its own `max_tokens`",
        ),
        (
            "[bundles.b]\nmodel = \"m\"\nparameters = { seed = 2020-01-01 }",
            "expected a table of fields of the request",
        ),
    ] {
        let told = faults(&with(bundle)).join("\n");
        assert!(told.contains(expected), "{bundle}: {told}");
    }
}
