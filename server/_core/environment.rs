//! Where the server runs, and what is acceptable there.

/// `APP_ENV`, else `NODE_ENV`, else development.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// A developer's machine: loopback, sandbox provider, a secret made once.
    Development,
    /// Automated tests.
    Test,
    /// As production, for trying out.
    Staging,
    /// Real users.
    Production,
}

impl Environment {
    /// As the settings name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Test => "test",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }

    /// Whether the sandbox and a home-made secret are acceptable.
    pub fn is_local(self) -> bool {
        matches!(self, Self::Development | Self::Test)
    }
}
