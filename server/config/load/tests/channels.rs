//! Channels of alerts.

use super::*;

#[test]
fn alerts_go_nowhere_unless_a_channel_is_set_up() {
    let alerts = load(&[]).alerts;
    assert!(alerts.slack.is_none() && alerts.email.is_none());
    assert!(alerts.webhook.is_none() && alerts.pagerduty.is_none());
    assert_eq!(alerts.escalate_after, Duration::from_secs(30 * 60));
    let info = [ChannelName::Slack, ChannelName::Email, ChannelName::Webhook];
    assert_eq!(alerts.info_channels, info);
}

#[test]
fn every_channel_is_listed_under_its_serialised_name() {
    let schema = schemars::schema_for!(ChannelName);
    let variants = schema.get("oneOf").and_then(|all| all.as_array()).unwrap();
    let serialised: Vec<_> = variants.iter().map(|variant| &variant["const"]).collect();
    assert_eq!(serialised, ChannelName::ALL.map(ChannelName::name));
}

#[test]
fn every_channel_can_be_set_up() {
    let alerts = load(&[
        (
            "SLACK_WEBHOOK_URL",
            "https://hooks.slack.com/services/T0/B0/x",
        ),
        (
            "ALERT_EMAIL_TO",
            "me@example.com, On Call <oncall@example.com>",
        ),
        ("ALERT_EMAIL_FROM", "modelramp <ramp@example.com>"),
        ("SMTP_URL", "smtp://me:secret@mail.example.com:587"),
        ("ALERT_WEBHOOK_URL", "https://example.com/hook?key=1"),
        ("ALERT_WEBHOOK_SECRET", "signed"),
        ("PAGERDUTY_ROUTING_KEY", "0123456789abcdef"),
        ("PAGERDUTY_URL", "http://127.0.0.1:8080/"),
        ("ALERT_INFO_CHANNELS", "pagerduty"),
        ("ALERT_ESCALATE_AFTER", "5m"),
    ])
    .alerts;
    assert!(alerts.slack.is_some() && alerts.webhook.is_some());
    let email = alerts.email.expect("e-mail is set up");
    assert_eq!(email.to.iter().count(), 2);
    assert_eq!(email.from.email.to_string(), "ramp@example.com");
    let pagerduty = alerts.pagerduty.expect("PagerDuty is set up");
    assert_eq!(pagerduty.url, "http://127.0.0.1:8080");
    assert_eq!(alerts.info_channels, [ChannelName::PagerDuty]);
    assert_eq!(alerts.escalate_after, Duration::from_secs(300));
}

#[test]
fn half_a_channel_is_refused() {
    let faults = faults_of(&Folder::new(&[]), &[("ALERT_EMAIL_TO", "me@example.com")]);
    assert!(matches!(faults.as_slice(), [from, smtp]
        if from.starts_with("`ALERT_EMAIL_FROM` is not set although `ALERT_EMAIL_TO` is")
        && smtp.starts_with("`SMTP_URL` is not set although `ALERT_EMAIL_TO` is")));
    let unsigned = fault(&[("ALERT_WEBHOOK_URL", "https://example.com/hook")]);
    assert!(unsigned.starts_with("`ALERT_WEBHOOK_SECRET` is not set"));
}
