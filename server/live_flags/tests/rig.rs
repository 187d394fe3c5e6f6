//! A process over a store in memory that fails when the test wants.

use super::*;

/// How the next writes go.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Disk {
    #[default]
    Well,
    /// Reads, and does not write.
    Full,
    /// Neither reads nor writes.
    Away,
    /// Writes, and does not say so.
    Mute,
    /// Does not answer.
    Hangs,
    /// Reads, and does not answer to a write.
    Busy,
}

#[derive(Default)]
pub(super) struct Database {
    pub(super) flag: Option<StoredFlag>,
    pub(super) audit: Vec<FlagChange>,
    pub(super) alerts: Vec<Alert>,
    pub(super) disk: Disk,
}

/// Outlives the processes.
#[derive(Clone, Default)]
pub(super) struct MemoryStore(pub(super) Arc<Mutex<Database>>);

impl MemoryStore {
    pub(super) fn disk(&self, disk: Disk) {
        self.0.lock().disk = disk;
    }

    pub(super) async fn reads(&self) -> anyhow::Result<()> {
        let disk = self.0.lock().disk;
        match disk {
            Disk::Away => anyhow::bail!("the database is away"),
            Disk::Hangs => std::future::pending().await,
            _ => Ok(()),
        }
    }

    pub(super) fn kinds(&self) -> Vec<AlertKind> {
        self.0.lock().alerts.iter().map(|it| it.kind).collect()
    }

    pub(super) fn reasons(&self) -> Vec<String> {
        self.0
            .lock()
            .audit
            .iter()
            .map(|it| it.reason.clone())
            .collect()
    }
}

#[async_trait]
impl FlagStore for MemoryStore {
    async fn open_flag(&self, configured: Percent) -> anyhow::Result<StoredFlag> {
        self.reads().await?;
        let mut database = self.0.lock();
        let flag = database.flag.get_or_insert(StoredFlag {
            position: FlagPosition {
                share: configured,
                killed: false,
            },
            version: 0,
            configured,
            last: None,
        });
        Ok(flag.clone())
    }

    async fn flag(&self) -> anyhow::Result<StoredFlag> {
        self.reads().await?;
        Ok(self.0.lock().flag.clone().expect("a flag"))
    }

    async fn commit_flag(
        &self,
        flag: &StoredFlag,
        alert: Option<&Alert>,
    ) -> Result<(), FlagCommitError> {
        self.reads().await.map_err(FlagCommitError::Store)?;
        let is_busy = self.0.lock().disk == Disk::Busy;
        if is_busy {
            std::future::pending::<()>().await;
        }
        let mut database = self.0.lock();
        if database.disk == Disk::Full {
            return Err(FlagCommitError::Store(anyhow::anyhow!("the disk is full")));
        }
        let stored = database.flag.as_ref().expect("a flag").version;
        if stored != flag.version - 1 {
            return Err(FlagCommitError::Stale);
        }
        database.audit.extend(flag.last.clone());
        database.alerts.extend(alert.cloned());
        database.flag = Some(flag.clone());
        if database.disk == Disk::Mute {
            return Err(FlagCommitError::Store(anyhow::anyhow!("no answer")));
        }
        Ok(())
    }

    async fn flag_history(
        &self,
        from: i64,
        to: i64,
        limit: u32,
    ) -> anyhow::Result<Vec<FlagChange>> {
        self.reads().await?;
        let database = self.0.lock();
        let audit = database.audit.iter();
        let mut rows: Vec<_> = (audit.filter(|it| (from..=to).contains(&it.version)))
            .cloned()
            .collect();
        let surplus = rows.len().saturating_sub(limit as usize);
        Ok(rows.split_off(surplus))
    }
}

pub(super) fn percent(value: f64) -> Percent {
    Percent::new(value).expect("a percentage")
}

/// One process over the store.
pub(super) struct Process {
    pub(super) flags: Arc<FeatureFlags>,
    pub(super) live: Arc<LiveFlags>,
}

impl Process {
    pub(super) async fn start(store: &MemoryStore, configured: f64) -> Self {
        let flags = Arc::new(FeatureFlags::new(FlagsConfig {
            percentage: percent(configured),
            force_openrouter: false,
            force_server_side_chat: false,
            force_streaming: false,
            force_model_routing: false,
            force_utcp: false,
            model_routing: true,
            algorithm: Algorithm::Murmur3,
            salt: "salt".into(),
            forced_on: Vec::new(),
            forced_off: Vec::new(),
        }));
        let live = LiveFlags::open(
            Arc::new(store.clone()),
            flags.clone(),
            percent(configured),
            DateTime::UNIX_EPOCH,
        );
        let live = live.await.expect("a flag");
        Self { flags, live }
    }

    pub(super) async fn kill(
        &self,
        on: bool,
        based_on: Option<i64>,
    ) -> Result<FlagInForce, FlagError> {
        self.live
            .kill(on, ask(based_on, if on { "stop" } else { "go" }))
            .await
    }

    pub(super) async fn set(
        &self,
        share: f64,
        based_on: Option<i64>,
    ) -> Result<FlagInForce, FlagError> {
        self.live
            .set_share(percent(share), ask(based_on, "share"))
            .await
    }

    /// Share and switch, as a request meets them.
    pub(super) fn serves(&self) -> (f64, bool) {
        let live = self.flags.live();
        (live.steered.share.get(), live.steered.killed)
    }
}

pub(super) fn ask(based_on: Option<i64>, reason: &str) -> FlagSteering<'_> {
    FlagSteering {
        based_on,
        reason,
        actor: &Actor::User(7),
        at: DateTime::UNIX_EPOCH,
    }
}
