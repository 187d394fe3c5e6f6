//! What a start prints for the person in front of the screen: what runs where, how to sign in, what to try.

use std::{io::Write, net::SocketAddr};

use chrono::Utc;
use secrecy::{ExposeSecret, SecretString};

use super::{App, sessions};
use crate::{
    _core::{caller::Role, environment::Environment},
    config::local_url,
    storage::Storage,
    transport::{self, trpc},
};

/// What other servers call the one that listens here: its machine and port. In a container the machine is that.
pub(super) fn name(port: u16) -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = match machine.trim() {
        "" => "localhost",
        machine => machine,
    };
    format!("{machine}:{port}")
}

impl App {
    /// A link by which the developer in front of the screen signs in; nowhere but in development.
    ///
    /// Somebody who signed in as user 1 is not impersonated, and nobody's role changes.
    #[expect(clippy::disallowed_methods, reason = "a start is now")]
    pub(super) async fn development_link(
        &self,
        address: SocketAddr,
    ) -> anyhow::Result<Option<SecretString>> {
        if self.config.environment != Environment::Development {
            return Ok(None);
        }
        let now = Utc::now();
        let user = match self.areas.storage.find_user(1).await? {
            Some(user) => user,
            // Deleted users stay deleted; then there is no link.
            None => match self
                .areas
                .storage
                .ensure_local_user(1, Role::Admin, now)
                .await
            {
                Ok(user) => user,
                Err(_) => return Ok(None),
            },
        };
        if user.login_method.as_deref() != Some("local") {
            return Ok(None);
        }
        let public_url = self.config.auth.site.public_url.clone();
        let public_url = public_url.unwrap_or_else(|| local_url(address));
        let key = self.authenticator.key();
        let link = sessions::new_link(&self.areas.storage, key, &public_url, user.id, now).await?;
        Ok(Some(link))
    }

    /// Tells a person what runs where, and what to try.
    pub(super) fn introduce(
        &self,
        address: SocketAddr,
        link: Option<SecretString>,
    ) -> std::io::Result<()> {
        let program = std::env::args()
            .next()
            .unwrap_or_else(|| "modelramp".into());
        let program = if program.ends_with("modelramp") {
            program
        } else {
            "modelramp".into()
        };
        let url = local_url(address);
        let mut out = std::io::stdout().lock();
        if address.ip().is_unspecified() {
            let all = "all addresses of this machine, here";
            writeln!(out, "modelramp serves on {all} {url}")?;
        } else {
            writeln!(out, "modelramp serves on {url}")?;
        }
        writeln!(
            out,
            "  tRPC        {url}{} (HTTP, SSE, WebSocket)",
            trpc::MOUNT
        )?;
        writeln!(out, "  JSON-RPC    {url}/rpc (HTTP, WebSocket)")?;
        writeln!(out, "  health      {url}/healthz, {url}/readyz")?;
        if let Some(old) = &self.config.legacy {
            writeln!(
                out,
                "  old server  {} is asked for what is not here",
                old.url
            )?;
            for (what, named) in [("procedures", &old.procedures), ("paths", &old.paths)] {
                if !named.is_empty() {
                    writeln!(out, "              and for the {what} {}", named.join(", "))?;
                }
            }
            writeln!(out, "  own paths   {}", transport::OWN_PATHS.join(", "))?;
        }
        let database = Storage::place(&self.config.database.url);
        let database = database.unwrap_or_else(|_| self.config.database.shown_url());
        writeln!(out, "  database    {database}")?;
        if let Some(link) = link {
            let link = link.expose_secret();
            writeln!(out, "  sign in     {link} (once, within five minutes)")?;
        }
        for (n, destination) in self.areas.destinations.iter().enumerate() {
            let label = if n == 0 { "models" } else { "" };
            writeln!(out, "  {label:<10}  {destination}")?;
        }
        writeln!(out, "Try:")?;
        writeln!(
            out,
            "  curl -H \"Authorization: Bearer $({program} token --user 1 --role admin)\" \\\n    '{url}{}/aiMetrics.getSummary?lastMinutes=60'",
            trpc::MOUNT
        )?;
        out.flush()
    }
}
