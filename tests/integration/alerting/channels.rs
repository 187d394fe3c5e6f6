//! What each channel sends, what it says when that fails, and `alert test`.

use modelramp::_core::tasks::Tasks;

use super::{smtp::MailServer, *};

#[tokio::test]
async fn slack_gets_blocks() {
    let receiver = Receiver::start(slack, &[]).await;
    Bench::new(&to_slack(&receiver.origin), &[rollback("a")])
        .turn()
        .await;
    let message = receiver.received()[0].json();
    assert_eq!(message["text"], "🚨 Rollback: chat &lt;b&gt; æøå");
    assert_eq!(
        message["blocks"][0]["text"]["text"],
        "🚨 Rollback: chat <b> æøå"
    );
    let fields: Vec<_> = message["blocks"][2]["fields"]
        .as_array()
        .unwrap()
        .iter()
        .collect();
    assert_eq!(fields.len(), 3, "single figures only");
    assert_eq!(fields[0]["text"], "*e*\n137.5");
}

#[tokio::test]
async fn pagerduty_gets_an_incident_under_the_alert_s_id() {
    let receiver = Receiver::start(pagerduty, &[]).await;
    Bench::new(&to_pagerduty(&receiver.origin), &[rollback("a")])
        .turn()
        .await;
    let event = receiver.received()[0].json();
    assert_eq!(
        (&event["dedup_key"], &event["event_action"]),
        (&json!("a"), &json!("trigger"))
    );
    assert_eq!(event["payload"]["severity"], "critical");
    assert_eq!(event["payload"]["class"], "rolled-back");
    assert_eq!(event["payload"]["custom_details"]["figures"]["e"], 137.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_gets_a_mail_after_a_login() {
    let Some(mut server) = MailServer::start(&json!({"user": "me@ramp", "password": "p@ss/word"}))
    else {
        return;
    };
    let url = format!("smtp://me%40ramp:p%40ss%2Fword@127.0.0.1:{}", server.port);
    let alert = rollback("a-1");
    let mut bench = Bench::new(&by_email(&url), std::slice::from_ref(&alert));
    bench.turn().await;
    assert_eq!(bench.outbox.delivery("a-1", "email").error, None);
    assert_eq!(
        server.next()["login"],
        json!({"user": "me@ramp", "password": "p@ss/word"})
    );
    let mail = server.next();
    assert_eq!(mail["hello"], "example.com");
    assert_eq!(mail["envelope"]["from"], "ramp@example.com");
    assert_eq!(
        mail["envelope"]["to"],
        json!(["me@example.com", "oncall@example.org"])
    );
    assert_eq!(mail["subject"], "[critical] Rollback: chat <b> æøå");
    assert_eq!(mail["messageId"], "<a-1@example.com>");
    assert_eq!(mail["headers"]["x-modelramp-alert-id"], "a-1");
    assert_eq!(mail["headers"]["auto-submitted"], "auto-generated");
    let text = mail["text"].as_str().unwrap();
    for line in [
        "Control failed 1 of 360.",
        "e: 137.5",
        "severity: critical",
        "rollout: rollout-1",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let date = mail["date"].as_str().unwrap();
    let date = chrono::DateTime::parse_from_rfc3339(date).unwrap();
    assert_eq!(
        date.timestamp(),
        alert.at.timestamp(),
        "when its cause happened"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_is_busy_gets_the_same_mail_later() {
    let Some(mut server) = MailServer::start(&json!({"refuse": 1})) else {
        return;
    };
    let url = format!("smtp://127.0.0.1:{}", server.port);
    let mut bench = Bench::new(&by_email(&url), &[rollback("a-1")]);
    bench.turn().await;
    let error = bench.outbox.delivery("a-1", "email").error.unwrap();
    assert_eq!(error, "e-mail: transient error (451): try again later");
    bench.turn_after(2).await;
    assert_eq!(server.next()["messageId"], "<a-1@example.com>");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_gets_neither_password_nor_mail() {
    for (tls, scheme) in [("starttls", "smtp"), ("smtps", "smtps")] {
        let options = json!({"tls": tls, "user": "me", "password": "hush-hush"});
        let Some(server) = MailServer::start(&options) else {
            return;
        };
        let url = format!("{scheme}://me:hush-hush@127.0.0.1:{}", server.port);
        let mut bench = Bench::new(&by_email(&url), &[rollback("a-1")]);
        bench.turn().await;
        let error = bench.outbox.delivery("a-1", "email").error.unwrap();
        assert!(
            error.contains("certificate") && !error.contains("hush"),
            "{error}"
        );
        let told = server.rest();
        assert!(
            told.iter().all(|line| line.get("error").is_some()),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn no_error_holds_an_address_or_a_key() {
    let refusing = [Answer(403, vec![])];
    let secrets = ["secret", ROUTING_KEY, SIGNING_SECRET, "127.0.0.1", "hush"];
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let closed = format!("http://{closed}");
    let receivers = [
        Receiver::start(slack, &refusing).await,
        Receiver::start(signed, &refusing).await,
        Receiver::start(pagerduty, &refusing).await,
    ];
    let [to_a, to_b, to_c] = &receivers;
    for config in [
        to_slack(&to_a.origin),
        to_webhook(&to_b.origin),
        to_pagerduty(&to_c.origin),
        to_slack(&closed),
        to_webhook(&closed),
        to_pagerduty(&closed),
        by_email(&format!("smtp://me:hush@{}", &closed["http://".len()..])),
    ] {
        let mut bench = Bench::new(&config, &[rollback("a")]);
        bench.turn().await;
        let channel = Dispatcher::new(bench.outbox.clone(), &config)
            .unwrap()
            .channels()[0];
        let error = bench.outbox.delivery("a", channel.name()).error.unwrap();
        for secret in secrets {
            assert!(!error.contains(secret), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_leads_to_the_decision_that_it_tells() {
    let receiver = Receiver::start(signed, &[]).await;
    let of_rollout = Alert {
        rollout_id: Some("r1".into()),
        details: json!({"version": 7}),
        ..rollback("a")
    };
    let of_flags = Alert {
        rollout_id: None,
        kind: AlertKind::Killed,
        ..rollback("b")
    };
    let outbox = MemoryOutbox::with(&[of_rollout, of_flags]);
    let dispatcher = Dispatcher::new(outbox, &to_webhook(&receiver.origin)).unwrap();
    let dispatcher = dispatcher.reached_at(Some("https://app.example/"));
    let mut lane = dispatcher.lanes().pop().unwrap();
    let mut random = StdRng::seed_from_u64(1);
    while lane.turn(now, &mut random).await {}
    let sent = receiver.received();
    let mut links: Vec<_> = sent.iter().map(|it| it.json()["link"].clone()).collect();
    links.sort_by_key(ToString::to_string);
    assert_eq!(
        links,
        [
            "https://app.example/dashboard/flags",
            "https://app.example/dashboard/rollouts/r1?at=7"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_goes_to_every_channel_and_says_what_became_of_it() {
    let slack_receiver = Receiver::start(slack, &[Answer(404, vec![])]).await;
    let webhook = Receiver::start(signed, &[]).await;
    let pagerduty_receiver = Receiver::start(pagerduty, &[]).await;
    let Some(mut server) = MailServer::start(&json!({})) else {
        return;
    };
    let config = AlertsConfig {
        slack: to_slack(&slack_receiver.origin).slack,
        email: by_email(&format!("smtp://127.0.0.1:{}", server.port)).email,
        webhook: to_webhook(&webhook.origin).webhook,
        pagerduty: to_pagerduty(&pagerduty_receiver.origin).pagerduty,
        info_channels: vec![],
        ..no_channels()
    };
    let dispatcher = Dispatcher::new(MemoryOutbox::with(&[]), &config).unwrap();
    assert_eq!(dispatcher.channels(), ChannelName::ALL);
    let results = dispatcher.send_test(&ChannelName::ALL, now()).await;
    let errors: Vec<_> = results
        .iter()
        .map(|result| result.error.as_deref())
        .collect();
    let refused = Some("the receiver answered 404 `answered_so`");
    assert_eq!(errors, [refused, None, None, None]);
    let id = webhook.received()[0].json()["id"].clone();
    assert_eq!(server.next()["headers"]["x-modelramp-alert-id"], id);
    let events: Vec<_> = pagerduty_receiver
        .received()
        .iter()
        .map(|r| r.json())
        .collect();
    let actions: Vec<_> = events.iter().map(|event| &event["event_action"]).collect();
    assert_eq!(
        actions,
        ["trigger", "resolve"],
        "no incident is left behind"
    );

    let none = Dispatcher::new(MemoryOutbox::with(&[]), &no_channels()).unwrap();
    let results = none.send_test(&[ChannelName::Slack], now()).await;
    assert_eq!(
        serde_json::to_value(&results).unwrap(),
        json!([
            {"channel": "slack", "error": "it is not set up"},
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_hangs_holds_up_no_other_and_not_for_long_the_stop() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook = Receiver::start(signed, &[]).await;
    let config = AlertsConfig {
        webhook: to_webhook(&webhook.origin).webhook,
        ..to_slack(&format!("http://{}", silent.local_addr().unwrap()))
    };
    let outbox = MemoryOutbox::with(&[rollback("a")]);
    let dispatcher = Dispatcher::new(outbox.clone(), &config).unwrap();
    let tasks = Tasks::default();
    dispatcher.start(&tasks, || true);
    outbox.at_mark.notified().await;
    outbox.enqueue(&rollback("b")).await.unwrap();
    dispatcher.wake();
    outbox.at_mark.notified().await;
    drop(silent);
    assert!(tasks.shutdown(Duration::from_secs(11)).await);
    assert!(outbox.delivery("b", "webhook").delivered_at.is_some());
    assert!(outbox.delivery("b", "slack").delivered_at.is_none());
}
