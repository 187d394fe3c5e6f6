//! E-mail, by SMTP: plain text, one message to all receivers.
//!
//! But on loopback, a password never travels in the clear: with one, a server that offers no TLS gets
//! neither that nor the message. A certificate that does not hold is refused in any case.

use std::{net::IpAddr, time::SystemTime};

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
    Alert, Channel, ChannelError, DELIVERY_TIMEOUT, DeliveryError, Notice, Severity,
    words::{cut, figures, one_line, severity},
};
use crate::config::{ChannelName, EmailConfig};

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
        // The same at every delivery, so that a mailbox recognises a repeat.
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
    lines.extend(notice.link.map(|link| format!("see: {link}")));
    lines.push(format!("severity: {}", severity(notice)));
    lines.push(format!("kind: {}", kind.name()));
    lines.extend(rollout_id.iter().map(|id| format!("rollout: {id}")));
    lines.push(format!("at: {}", at.format("%Y-%m-%d %H:%M:%S UTC")));
    lines.push(format!("alert: {id}"));
    lines.join("\n") + "\n"
}

/// When a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encryption {
    /// From the first byte.
    FromStart,
    /// By STARTTLS, or there is no connection.
    Required,
    /// By STARTTLS, where the server offers it.
    Offered,
}

impl Encryption {
    fn of(url: &Url, host: &str) -> Self {
        let address = host.parse::<IpAddr>();
        let is_loopback =
            host == "localhost" || address.is_ok_and(|ip| ip.to_canonical().is_loopback());
        match (url.scheme(), url.password()) {
            ("smtps", _) => Self::FromStart,
            (_, Some(_)) if !is_loopback => Self::Required,
            _ => Self::Offered,
        }
    }
}

fn transport(config: &EmailConfig) -> anyhow::Result<AsyncSmtpTransport<Tokio1Executor>> {
    let url = Url::parse(config.smtp_url.expose_secret()).context("the address is not a URL")?;
    let host = host(&url).context("the address names no host")?;
    let tls = TlsParameters::new_rustls(host.clone()).context("cannot prepare TLS")?;
    let (tls, port) = match Encryption::of(&url, &host) {
        Encryption::FromStart => (Tls::Wrapper(tls), 465),
        Encryption::Required => (Tls::Required(tls), 587),
        Encryption::Offered => (Tls::Opportunistic(tls), 587),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(url.port().unwrap_or(port))
        .tls(tls)
        .hello_name(ClientId::Domain(config.from.email.domain().to_owned()))
        .timeout(Some(DELIVERY_TIMEOUT));
    if let Some(password) = url.password() {
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let credentials = Credentials::new(decoded(url.username()), decoded(password));
        builder = builder.credentials(credentials);
    }
    Ok(builder.build())
}

/// Without the brackets of an IPv6 address.
fn host(url: &Url) -> Option<String> {
    Some(match url.host()? {
        Host::Ipv6(address) => address.to_string(),
        host => host.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_travels_encrypted_but_on_loopback() {
        for (url, encryption) in [
            ("smtps://mail.example.com", Encryption::FromStart),
            ("smtps://me:secret@127.0.0.1", Encryption::FromStart),
            (
                "smtp://me:secret@mail.example.com:587",
                Encryption::Required,
            ),
            (
                "smtp://me:secret@127.0.0.1.example.com",
                Encryption::Required,
            ),
            ("smtp://me:secret@10.0.0.1", Encryption::Required),
            ("smtp://me:secret@[2001:db8::1]", Encryption::Required),
            ("smtp://mail.example.com:25", Encryption::Offered),
            ("smtp://me:secret@127.0.0.1", Encryption::Offered),
            ("smtp://me:secret@[::1]:25", Encryption::Offered),
            ("smtp://me:secret@localhost", Encryption::Offered),
        ] {
            let url = Url::parse(url).expect("a URL");
            let host = host(&url).expect("a host");
            assert_eq!(Encryption::of(&url, &host), encryption, "{url}");
        }
    }
}
