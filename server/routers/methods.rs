//! The procedures that clients within this crate call: the command line, the demo and the drive.

pub(crate) use super::rollout_router::placebo::MakePlacebo;
use super::{
    ai_metrics_router::WindowInput,
    alerts_router::{AlertList, ChannelRow, ListAlerts, TestChannels},
    chat_router::{
        CreateConversation, DeleteConversation, Deleted, GetMessages, MessagePage, SendMessage,
    },
    email_intelligence_router::CategorizeEmail,
    feature_flags_router::{
        self as flags, Kill, SetShare,
        answers::{FlagsChange, FlagsState},
    },
    migration_router::{Migration, SetMove, WhichProcedures},
    models_router::{Explain, ModelExplanation, ModelList},
    requests_router::{ListRequests, RequestList},
    rollout_router::{
        ChangeRollout, ListRollouts, MoveShare, StartRollout, ValidatePlan, WhichPast,
        WhichRollout,
        answers::{Checked, RolloutDetails, RolloutState, Started},
        history::HistoryEntry,
        placebo::PlaceboInfo,
        release::Release,
    },
    system_router::fleet::FleetState,
    trials_router::{
        RecordTrial, TrialArms, TrialInfo, WhichArms,
        asking::{AskModel, AskedModel},
    },
};
use crate::{
    _core::{method::Method, procedure::NoInput},
    ai_metrics::summary::Summary,
    alerting::TestResult,
    chat::store::{Conversation, ConversationSummary, Message},
    email_intelligence::Categorized,
    rollout::audit,
};

pub(crate) const FLAGS_GET: Method<NoInput, FlagsState> = Method::new("featureFlags.get");
pub(crate) const FLAGS_SET_SHARE: Method<SetShare, FlagsState> =
    Method::new("featureFlags.setShare");
pub(crate) const FLAGS_KILL: Method<Kill, FlagsState> = Method::new("featureFlags.kill");
pub(crate) const FLAGS_HISTORY: Method<flags::History, Vec<FlagsChange>> =
    Method::new("featureFlags.history");

pub(crate) const MIGRATION_LIST: Method<NoInput, Migration> = Method::new("migration.list");
pub(crate) const MIGRATION_REPORT: Method<WhichProcedures, Migration> =
    Method::new("migration.report");
pub(crate) const MIGRATION_SET: Method<SetMove, Migration> = Method::new("migration.set");

pub(crate) const ROLLOUT_LIST: Method<ListRollouts, Vec<RolloutState>> =
    Method::new("rollout.list");
pub(crate) const ROLLOUT_GET: Method<WhichRollout, RolloutDetails> = Method::new("rollout.get");
pub(crate) const ROLLOUT_VALIDATE: Method<ValidatePlan, Checked> = Method::new("rollout.validate");
pub(crate) const ROLLOUT_START: Method<StartRollout, Started> = Method::new("rollout.start");
pub(crate) const ROLLOUT_PAUSE: Method<ChangeRollout, RolloutState> = Method::new("rollout.pause");
pub(crate) const ROLLOUT_RESUME: Method<ChangeRollout, RolloutState> =
    Method::new("rollout.resume");
pub(crate) const ROLLOUT_ADVANCE: Method<ChangeRollout, RolloutState> =
    Method::new("rollout.advance");
pub(crate) const ROLLOUT_SET_SHARE: Method<MoveShare, RolloutState> =
    Method::new("rollout.setShare");
pub(crate) const ROLLOUT_ROLLBACK: Method<ChangeRollout, RolloutState> =
    Method::new("rollout.rollback");
pub(crate) const ROLLOUT_APPROVE: Method<ChangeRollout, RolloutState> =
    Method::new("rollout.approve");
pub(crate) const ROLLOUT_PLACEBO: Method<MakePlacebo, PlaceboInfo> = Method::new("rollout.placebo");
pub(crate) const ROLLOUT_RELEASE: Method<Release, RolloutState> = Method::new("rollout.release");
pub(crate) const ROLLOUT_HISTORY: Method<WhichPast, Vec<HistoryEntry>> =
    Method::new("rollout.history");
pub(crate) const ROLLOUT_WHY: Method<WhichPast, Vec<audit::Explanation>> =
    Method::new("rollout.why");

pub(crate) const SYSTEM_FLEET: Method<NoInput, FleetState> = Method::new("system.fleet");

pub(crate) const TRIALS_ARMS: Method<WhichArms, TrialArms> = Method::new("trials.arms");
pub(crate) const TRIALS_ASK: Method<AskModel, AskedModel> = Method::new("trials.ask");
pub(crate) const TRIALS_RECORD: Method<RecordTrial, TrialInfo> = Method::new("trials.record");

pub(crate) const MODELS_EXPLAIN: Method<Explain, ModelExplanation> = Method::new("models.explain");
pub(crate) const CHAT_CREATE: Method<CreateConversation, Conversation> =
    Method::new("chat.createConversation");
pub(crate) const CHAT_LIST: Method<NoInput, Vec<ConversationSummary>> =
    Method::new("chat.getConversations");
pub(crate) const CHAT_SEND: Method<SendMessage, Message> = Method::new("chat.sendMessage");
pub(crate) const CHAT_MESSAGES: Method<GetMessages, MessagePage> = Method::new("chat.getMessages");
pub(crate) const CHAT_DELETE: Method<DeleteConversation, Deleted> =
    Method::new("chat.deleteConversation");

pub(crate) const MODELS_LIST: Method<NoInput, ModelList> = Method::new("models.list");
pub(crate) const EMAIL_CATEGORIZE: Method<CategorizeEmail, Categorized> =
    Method::new("emailIntelligence.categorizeEmail");
pub(crate) const METRICS_SUMMARY: Method<WindowInput, Summary> =
    Method::new("aiMetrics.getSummary");
pub(crate) const REQUESTS_LIST: Method<ListRequests, RequestList> = Method::new("requests.list");
pub(crate) const ALERTS_LIST: Method<ListAlerts, AlertList> = Method::new("alerts.list");
pub(crate) const ALERTS_CHANNELS: Method<NoInput, Vec<ChannelRow>> = Method::new("alerts.channels");
pub(crate) const ALERTS_TEST: Method<TestChannels, Vec<TestResult>> = Method::new("alerts.test");

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde_json::json;

    use super::*;
    use crate::_core::{
        contract_side::{ContractSide, SchemaFn},
        procedure::ProcedureInput,
        registry::Registry,
    };

    fn check<I: ProcedureInput, O: JsonSchema>(registry: &Registry, method: &Method<I, O>) {
        let target = registry.resolve(method.path);
        let procedure = target.here().expect(method.path);
        let described = |side: ContractSide, schema: SchemaFn| {
            let mut generator = side.settings().into_generator();
            let root = schema(&mut generator);
            json!([root, generator.take_definitions(true)])
        };
        let output: SchemaFn = |generator| generator.subschema_for::<O>();
        for (side, here, there) in [
            (
                ContractSide::Input,
                I::schema as SchemaFn,
                procedure.input_schema,
            ),
            (ContractSide::Output, output, procedure.output_schema),
        ] {
            let path = method.path;
            assert_eq!(described(side, here), described(side, there), "{path}");
        }
    }

    #[test]
    fn each_has_the_types_of_its_procedure() {
        let mut registry = Registry::default();
        crate::routers::register(&mut registry, None);
        let registry = &registry;
        check(registry, &FLAGS_GET);
        check(registry, &FLAGS_SET_SHARE);
        check(registry, &FLAGS_KILL);
        check(registry, &FLAGS_HISTORY);
        check(registry, &MIGRATION_LIST);
        check(registry, &MIGRATION_REPORT);
        check(registry, &MIGRATION_SET);
        check(registry, &ROLLOUT_LIST);
        check(registry, &ROLLOUT_GET);
        check(registry, &ROLLOUT_VALIDATE);
        check(registry, &ROLLOUT_START);
        for method in [
            &ROLLOUT_PAUSE,
            &ROLLOUT_RESUME,
            &ROLLOUT_ADVANCE,
            &ROLLOUT_ROLLBACK,
            &ROLLOUT_APPROVE,
        ] {
            check(registry, method);
        }
        check(registry, &ROLLOUT_SET_SHARE);
        check(registry, &ROLLOUT_RELEASE);
        check(registry, &ROLLOUT_HISTORY);
        check(registry, &ROLLOUT_WHY);
        check(registry, &TRIALS_ARMS);
        check(registry, &TRIALS_ASK);
        check(registry, &TRIALS_RECORD);
        check(registry, &MODELS_EXPLAIN);
        check(registry, &CHAT_CREATE);
        check(registry, &CHAT_LIST);
        check(registry, &CHAT_SEND);
        check(registry, &CHAT_MESSAGES);
        check(registry, &CHAT_DELETE);
        check(registry, &MODELS_LIST);
        check(registry, &EMAIL_CATEGORIZE);
        check(registry, &METRICS_SUMMARY);
        check(registry, &REQUESTS_LIST);
        check(registry, &ALERTS_LIST);
        check(registry, &ALERTS_CHANNELS);
        check(registry, &ALERTS_TEST);
    }
}
