//! Rules about more than one setting. A setting that is wrong by itself breaks none of them.

use std::net::{IpAddr, Ipv4Addr};

use url::{Host, Url};

use super::{
    super::{
        faults::{ConfigFault, shown},
        settings::{self, *},
        sources::profile_file,
    },
    SettingValues,
};

/// The shortest `JWT_SECRET` of staging and production: as long as what HS256 makes of it.
const MIN_SECRET_BYTES: usize = 32;

impl SettingValues<'_> {
    /// What breaks a rule.
    pub(super) fn faults_together(&self) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        faults.extend(self.open_host_without_environment());
        faults.extend(self.own_address_as_old_server());
        faults.extend(self.everything_without_csrf_token());
        faults.extend(self.legacy_setting_without_server());
        faults.extend(self.missing_companions());
        if let Ok(environment) = self.environment() {
            if profile_file(environment) != self.0.profile {
                faults.push(ConfigFault::new(
                    self.0.profile,
                    format!(
                        "names an environment for which `{}` is read",
                        profile_file(environment)
                    ),
                    format!("`{}` in the environment or in `.env`", APP_ENV.row.name),
                ));
            }
            if !environment.is_local() {
                faults.extend(self.missing_secrets());
            }
        }
        faults
    }

    /// An address that others reach needs somebody to have said what this server is for.
    fn open_host_without_environment(&self) -> Option<ConfigFault> {
        let host = self.get(&HOST).ok()?;
        if self.is_given(&APP_ENV) || host.to_canonical().is_loopback() {
            return None;
        }
        Some(ConfigFault::new(
            HOST.row.name,
            format!("is `{host}` although `{}` is not set", APP_ENV.row.name),
            format!(
                "a loopback address, or `{}` set to {}",
                APP_ENV.row.name,
                APP_ENV.expected()
            ),
        ))
    }

    /// `/` exempts all paths, which `CSRF_TOKEN` says plainly.
    fn everything_without_csrf_token(&self) -> Option<ConfigFault> {
        let exempt = self.get(&CSRF_EXEMPT).unwrap_or_default();
        exempt.iter().any(|path| path == "/").then(|| {
            ConfigFault::new(
                CSRF_EXEMPT.row.name,
                "has `/`, at or below which every path is",
                format!(
                    "the paths that are meant, or `{}` set to `off`",
                    CSRF_TOKEN.row.name
                ),
            )
        })
    }

    /// Without the old server nobody would notice that a setting about it does nothing.
    fn legacy_setting_without_server(&self) -> Option<ConfigFault> {
        if self.is_given(&LEGACY_TRPC_URL) {
            return None;
        }
        let named = [
            (&LEGACY_PATHS.row, self.get(&LEGACY_PATHS)),
            (&LEGACY_PROCEDURES.row, self.get(&LEGACY_PROCEDURES)),
            (&LEGACY_MAY_DIFFER.row, self.get(&LEGACY_MAY_DIFFER)),
            (&LEGACY_UNORDERED.row, self.get(&LEGACY_UNORDERED)),
        ];
        let mut named = named.iter();
        let (row, _) =
            named.find(|(_, value)| value.as_ref().is_ok_and(|value| !value.is_empty()))?;
        Some(ConfigFault::new(
            LEGACY_TRPC_URL.row.name,
            format!("is not set although `{}` is", row.name),
            LEGACY_TRPC_URL.expected(),
        ))
    }

    /// Settings without those that they count with.
    fn missing_companions(&self) -> Vec<ConfigFault> {
        let email: [&Row; 3] = [&ALERT_EMAIL_TO.row, &ALERT_EMAIL_FROM.row, &SMTP_URL.row];
        let webhook: [&Row; 2] = [&ALERT_WEBHOOK_URL.row, &ALERT_WEBHOOK_SECRET.row];
        let service: [&Row; 2] = [&OIDC_ISSUER.row, &OIDC_CLIENT_ID.row];
        let proxy: [&Row; 2] = [&TRUSTED_USER_HEADER.row, &TRUSTED_USER_PROXIES.row];
        let mut faults = self.missing_among(&service);
        faults.extend(self.missing_among(&proxy));
        faults.extend(self.missing_for(&OIDC_CLIENT_SECRET.row, &OIDC_ISSUER.row));
        faults.extend(self.missing_for(&TRUSTED_ROLES_HEADER.row, &TRUSTED_USER_HEADER.row));
        if self.environment().is_ok_and(|it| !it.is_local()) {
            faults.extend(self.missing_for(&OIDC_ISSUER.row, &PUBLIC_URL.row));
        }
        faults.extend(self.missing_among(&email));
        faults.extend(self.missing_among(&webhook));
        faults
    }

    /// Requests that are passed on must not come back.
    fn own_address_as_old_server(&self) -> Option<ConfigFault> {
        let text = self.get(&LEGACY_TRPC_URL).ok()??;
        let url = Url::parse(&text).ok()?;
        let public = self.get(&PUBLIC_URL).ok().flatten();
        let public = public.and_then(|public| Url::parse(&public).ok());
        let is_public = public.is_some_and(|public| public.origin() == url.origin());
        let own: IpAddr = self.get(&HOST).ok()?;
        let is_local = |ip: IpAddr| ip.to_canonical().is_loopback() || ip.is_unspecified();
        let named = match url.host()? {
            Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
            Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
            Host::Domain("localhost") => Some(Ipv4Addr::LOCALHOST.into()),
            Host::Domain(_) => None,
        };
        let is_here = named.is_some_and(|ip| ip == own || is_local(ip) && is_local(own));
        let is_own = is_here && url.port_or_known_default() == self.get(&PORT).ok();
        (is_own || is_public).then(|| {
            ConfigFault::new(
                LEGACY_TRPC_URL.row.name,
                format!("is `{}`, which is this server itself", shown(&text)),
                "the address of the server that this one takes the place of",
            )
        })
    }

    /// What is missing where a setting is there that needs it.
    fn missing_for(&self, given: &Row, needed: &Row) -> Option<ConfigFault> {
        // One that is wrong itself is reported, and that is enough.
        let text = &self.0.get(given.name)?.text;
        let is_right = settings::find(given.name)?.check(text).is_ok();
        let is_missing = is_right && self.0.get(needed.name).is_none();
        let setting = settings::find(needed.name).filter(|_| is_missing)?;
        let found = format!("is not set although `{}` is", given.name);
        Some(ConfigFault::new(needed.name, found, setting.expected()))
    }

    /// Settings that count only together: what is missing where one of them is there.
    fn missing_among(&self, rows: &[&Row]) -> Vec<ConfigFault> {
        let given = |row: &Row| self.0.get(row.name);
        let is_right = |row: &&&Row| {
            let setting = settings::find(row.name);
            let text = given(row).map(|given| &given.text);
            setting
                .zip(text)
                .is_some_and(|(setting, text)| setting.check(text).is_ok())
        };
        let Some(first) = rows.iter().find(is_right) else {
            return Vec::new();
        };
        let missing = rows.iter().filter(|row| given(row).is_none());
        missing
            .filter_map(|row| {
                let found = format!("is not set although `{}` is", first.name);
                let expected = settings::find(row.name)?.expected();
                Some(ConfigFault::new(row.name, found, expected))
            })
            .collect()
    }

    fn missing_secrets(&self) -> Vec<ConfigFault> {
        let required = settings::all().filter(|setting| {
            let named_elsewhere = setting.row().name == OPENROUTER_API_KEY.row.name
                && self.is_given(&MODEL_CATALOGUE);
            setting.row().required && !named_elsewhere
        });
        let mut faults: Vec<_> = required
            .filter(|setting| self.0.get(setting.row().name).is_none())
            .map(|setting| {
                let found = "is not set, which only development and test allow";
                ConfigFault::new(setting.row().name, found, setting.expected())
            })
            .collect();
        for row in [&JWT_SECRET.row, &JWT_SECRET_PREVIOUS.row] {
            if let Some(secret) = self.0.get(row.name)
                && secret.text.len() < MIN_SECRET_BYTES
            {
                faults.push(ConfigFault::new(
                    row.name,
                    format!("has {} bytes", secret.text.len()),
                    format!(
                        "at least {MIN_SECRET_BYTES} bytes, such as `openssl rand -hex 32` prints"
                    ),
                ));
            }
        }
        faults
    }
}
