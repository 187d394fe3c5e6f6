//! What a command needs that talks to a running server: where it is, and in whose name to ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use secrecy::SecretString;

use super::{
    faults::{ConfigFault, ConfigFaults},
    load::SettingValues,
    settings::{HOST, PORT},
    sources::{Merged, Sources, TOKEN_VARIABLE},
};

/// Where a command finds the server. Other settings are not looked at and may be wrong or missing,
/// because the server may run elsewhere.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `http://HOST:PORT` of the settings; loopback where the server listens on all addresses.
    pub url: String,
    /// `MODELRAMP_TOKEN`.
    pub token: Option<SecretString>,
}

impl ClientConfig {
    /// The address given, else that of the settings.
    pub fn load(sources: &Sources, url: Option<String>) -> Result<Self, ConfigFaults> {
        let token = sources.environment.get(TOKEN_VARIABLE);
        let token = token
            .map(|text| text.trim())
            .filter(|text| !text.is_empty());
        let url = match url {
            Some(url) => url,
            None => address(sources)?,
        };
        Ok(Self {
            url,
            token: token.map(SecretString::from),
        })
    }
}

/// `http://HOST:PORT` of a server that listens there, as it is reached from this machine.
pub fn local_url(address: SocketAddr) -> String {
    let host = match address.ip() {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    format!("http://{}", SocketAddr::new(host, address.port()))
}

fn address(sources: &Sources) -> Result<String, ConfigFaults> {
    let mut faults = Vec::new();
    let merged = Merged::read(sources, &mut faults);
    ConfigFaults::check(faults)?;
    let values = SettingValues(&merged);
    let port: u16 = values.get(&PORT)?;
    if port == 0 {
        let found = "is 0, so the server took a free port";
        let expected = "the address that it printed, as `--url http://…`";
        return Err(ConfigFault::new(PORT.row.name, found, expected).into());
    }
    let host: IpAddr = values.get(&HOST)?;
    Ok(local_url(SocketAddr::new(host, port)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use secrecy::ExposeSecret;

    use super::*;

    fn load(pairs: &[(&str, &str)], url: Option<&str>) -> Result<ClientConfig, ConfigFaults> {
        let folder = tempfile::tempdir().expect("a folder");
        let pairs = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        let sources = Sources {
            environment: pairs.collect::<BTreeMap<_, _>>(),
            working_dir: folder.path().to_owned(),
            config_file: None,
        };
        ClientConfig::load(&sources, url.map(Into::into))
    }

    #[test]
    fn the_address_is_that_of_the_settings_and_reachable_from_here() {
        for (host, port, url) in [
            ("", "", "http://127.0.0.1:3000"),
            ("0.0.0.0", "80", "http://127.0.0.1:80"),
            ("::", "4000", "http://[::1]:4000"),
            ("10.1.2.3", "", "http://10.1.2.3:3000"),
        ] {
            let config = load(&[("HOST", host), ("PORT", port)], None).expect("no fault");
            assert_eq!(config.url, url);
            assert!(config.token.is_none());
        }
    }

    #[test]
    fn a_given_address_needs_no_settings() {
        let config = load(
            &[
                ("PORT", "much"),
                ("APP_ENV", "production"),
                ("MODELRAMP_TOKEN", " abc\n"),
            ],
            Some("http://example:1"),
        );
        let config = config.expect("no fault");
        assert_eq!(config.url, "http://example:1");
        let token = config.token.expect("a token");
        assert_eq!(token.expose_secret(), "abc");
    }

    #[test]
    fn a_free_port_cannot_be_known() {
        let fault = load(&[("PORT", "0")], None).expect_err("a fault");
        assert!(fault.to_string().contains("--url"), "{fault}");
    }
}
