//! E-mail, by SMTP: plain text, one message to all receivers.
//!
//! But on loopback, a password never travels in the clear: with one, a server that offers no TLS gets
//! neither that nor the message. A certificate that does not hold is refused in any case.

use std::time::SystemTime;

use anyhow::Context as _;
use async_trait::async_trait;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::header::{self, HeaderName, HeaderValue},
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
        extension::ClientId,
    },
};
use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret;
use url::{Host, Url};

use super::{
    Alert, Channel, ChannelError, DeliveryError, Notice, Severity,
    dispatcher::DELIVERY_TIMEOUT,
    words::{cut, figures, one_line, severity},
};
use crate::_core::config::{ChannelName, EmailConfig};

/// The longest subject, in characters.
const SUBJECT: usize = 200;

/// People with mailboxes.
pub struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    config: EmailConfig,
}

impl Email {
    /// Connects when there is something to send.
    pub fn new(config: &EmailConfig) -> Result<Self, ChannelError> {
        let transport = transport(config).map_err(|cause| ChannelError {
            channel: ChannelName::Email,
            cause,
        })?;
        Ok(Self {
            transport,
            config: config.clone(),
        })
    }

    fn message(&self, notice: &Notice<'_>) -> Result<Message, lettre::error::Error> {
        let alert = notice.alert;
        let subject = format!("[{}] {}", notice.severity.name(), one_line(&alert.title));
        let importance = match notice.severity {
            Severity::Critical => "high",
            Severity::Warning | Severity::Info => "normal",
        };
        let domain = self.config.from.email.domain();
        // The same at every delivery, so that a mailbox can tell a repeat.
        let message_id = format!("<{}@{domain}>", alert.id);
        Message::builder()
            .from(self.config.from.clone())
            .mailbox(header::To::from(self.config.to.clone()))
            .subject(cut(&subject, SUBJECT))
            .date(SystemTime::from(alert.at))
            .message_id(Some(message_id))
            .header(header::ContentType::TEXT_PLAIN)
            .raw_header(raw("X-Modelramp-Alert-Id", &one_line(&alert.id)))
            .raw_header(raw("Auto-Submitted", "auto-generated"))
            .raw_header(raw("Importance", importance))
            .body(body(notice))
    }
}

#[async_trait]
impl Channel for Email {
    fn name(&self) -> ChannelName {
        ChannelName::Email
    }

    async fn send(&self, notice: &Notice<'_>) -> Result<(), DeliveryError> {
        let message = self.message(notice);
        let message = message.map_err(|error| DeliveryError::Unwritable(error.into()))?;
        let sent = self.transport.send(message).await;
        sent.map_err(DeliveryError::Mail)?;
        Ok(())
    }
}

/// A header whose value is ASCII.
fn raw(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

fn body(notice: &Notice<'_>) -> String {
    let Alert {
        id,
        kind,
        rollout_id,
        text,
        at,
        ..
    } = notice.alert;
    let mut lines = vec![text.clone(), String::new()];
    lines.extend(
        figures(notice.alert)
            .into_iter()
            .map(|(name, value)| format!("{name}: {value}")),
    );
    lines.push(format!("severity: {}", severity(notice)));
    lines.push(format!("kind: {}", kind.name()));
    lines.extend(rollout_id.iter().map(|id| format!("rollout: {id}")));
    lines.push(format!("at: {}", at.format("%Y-%m-%d %H:%M:%S UTC")));
    lines.push(format!("alert: {id}"));
    lines.join("\n") + "\n"
}

fn transport(config: &EmailConfig) -> anyhow::Result<AsyncSmtpTransport<Tokio1Executor>> {
    let url = Url::parse(config.smtp_url.expose_secret()).context("the address is not a URL")?;
    let host = url.host().context("the address names no host")?;
    // `smtp` is no scheme of the web, so a host of digits is not yet read as an address.
    let bare = match &host {
        Host::Ipv6(address) => address.to_string(),
        host => host.to_string(),
    };
    let is_loopback = bare == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback());
    let tls = TlsParameters::new_rustls(bare.clone()).context("cannot prepare TLS")?;
    let (tls, port) = match (url.scheme(), url.password()) {
        ("smtps", _) => (Tls::Wrapper(tls), 465),
        (_, Some(_)) if !is_loopback => (Tls::Required(tls), 587),
        _ => (Tls::Opportunistic(tls), 587),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(bare)
        .port(url.port().unwrap_or(port))
        .tls(tls)
        .hello_name(ClientId::Domain(config.from.email.domain().to_owned()))
        .timeout(Some(DELIVERY_TIMEOUT));
    if let Some(password) = url.password() {
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        builder = builder.credentials(Credentials::new(decoded(url.username()), decoded(password)));
    }
    Ok(builder.build())
}
