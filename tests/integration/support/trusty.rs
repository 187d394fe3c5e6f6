//! A control that never fails, and two candidates of which one always does; all simulated.

/// The catalog; a plan names `bad` where its candidate is to fail.
pub(crate) const CATALOGUE: &str = r#"
[providers.test]
base_url = "http://127.0.0.1:9/v1"
api_key_env = "TRUSTY_TEST_API_KEY"
[models.trusty]
provider = "test"
id = "trusty"
context = 32000
[models.good]
provider = "test"
id = "good"
context = 32000
[models.bad]
provider = "test"
id = "bad"
context = 32000
[tasks.chat]
control = ["trusty"]
candidate = ["good", "trusty"]
"#;
/// How they behave.
pub(crate) const SANDBOX: &str = "[default]\nlatency_ms = 3\n[models.bad]\nerror_rate = 1\n";
