//! Which settings of the old server refuse to start.

use modelramp::app::App;

use crate::support::app::TestApp;

#[test]
fn an_address_that_cannot_be_meant_names_its_setting() {
    for (url, more) in [
        ("not a url", vec![]),
        ("ftp://old.example/api/trpc", vec![]),
        ("http://user:geheim@old.example/api/trpc", vec![]),
        ("http://old.example/api/trpc?token=geheim", vec![]),
        ("http://127.0.0.1:3000/api/trpc", vec![("PORT", "3000")]),
        ("http://localhost:3000", vec![("PORT", "3000")]),
        (
            "http://[::1]:3000",
            vec![("PORT", "3000"), ("HOST", "0.0.0.0")],
        ),
        (
            "http://10.1.2.3:3000",
            vec![("PORT", "3000"), ("HOST", "10.1.2.3")],
        ),
        (
            "https://app.example/api/trpc",
            vec![("PUBLIC_URL", "https://app.example")],
        ),
    ] {
        let builder = TestApp::builder().with_settings(more);
        let builder = builder.with_setting("LEGACY_TRPC_URL", url);
        let error = builder.try_config().expect_err(url).to_string();
        assert!(error.contains("LEGACY_TRPC_URL"), "{url}: {error}");
        assert!(!error.contains("geheim"), "{error}");
    }
    for (paths, url) in [
        ("api", "http://old.example"),
        ("/a/../b", "http://old.example"),
        ("/a,//b", "http://old.example"),
        ("/a?b", "http://old.example"),
        ("/a", ""),
        ("", ""),
    ] {
        let builder = TestApp::builder().with_setting("LEGACY_PATHS", paths);
        let builder = builder.with_setting("LEGACY_PROCEDURES", "chat.*");
        let error = builder.with_setting("LEGACY_TRPC_URL", url).try_config();
        assert!(error.expect_err(paths).to_string().contains("LEGACY_"));
    }
    for url in ["http://127.0.0.1:4000", "https://old.example:3000/trpc/"] {
        let builder = TestApp::builder().with_setting("PORT", "3000");
        let config = builder.with_setting("LEGACY_TRPC_URL", url).try_config();
        assert!(config.unwrap().legacy.is_some(), "{url}");
    }
}

#[tokio::test]
async fn a_procedure_that_is_to_stay_at_the_old_server_must_be_one_of_ours() {
    for (names, is_right) in [
        ("*", true),
        ("auth.*, chat.sendMessage", true),
        ("auth.*,chat.sendMesage", false),
        ("emails.*", false),
        ("chat", false),
        ("chat.*.x", false),
        ("cha*", false),
    ] {
        let builder = TestApp::builder()
            .with_setting("LEGACY_TRPC_URL", "http://old.example")
            .with_setting("LEGACY_PROCEDURES", names);
        let built = match builder.try_config() {
            Ok(config) => App::build(config).await.map(drop),
            Err(error) => Err(error),
        };
        assert_eq!(built.is_ok(), is_right, "{names}");
        if let Err(error) = built {
            assert!(error.to_string().contains("LEGACY_PROCEDURES"), "{error}");
        }
    }
}
