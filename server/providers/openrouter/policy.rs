//! Which of the hosts behind OpenRouter may get a request: its `provider` field.

use serde_json::{Map, Value, json, value::RawValue};

use crate::providers::ChatRequest;

/// What sends the conversation to others than the model.
const TO_OTHERS: [&str; 2] = ["plugins", "web_search_options"];

/// Kinds of tools that the caller itself runs. Others are run by OpenRouter or a host, such as
/// `openrouter:web_search`, and get what the model makes of the conversation.
const OF_CALLERS: [&str; 2] = ["function", "custom"];

/// What must hold of a host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// It neither stores prompts for its own ends nor trains on them.
    pub denies_collection: bool,
    /// It retains nothing.
    pub zdr: bool,
    /// It is one of these.
    pub hosts: Option<Vec<String>>,
}

impl Policy {
    /// Makes a request keep to it. What its caller asks for stays where it is no looser.
    pub fn apply(&self, request: &mut ChatRequest) {
        if *self == Self::default() {
            return;
        }
        let told = match &request.given {
            Some(given) => given.get("provider").and_then(read),
            None => request.rest.get("provider").cloned(),
        };
        let mut told = match told {
            Some(Value::Object(told)) => told,
            _ => Map::new(),
        };
        if let Some(hosts) = &self.hosts {
            for name in ["only", "order"] {
                keep_hosts(&mut told, name, hosts);
            }
        }
        self.set(request, told);
    }

    fn set(&self, request: &mut ChatRequest, mut told: Map<String, Value>) {
        if self.denies_collection {
            told.insert("data_collection".into(), "deny".into());
        }
        if self.zdr {
            told.insert("zdr".into(), true.into());
        }
        if let Some(hosts) = &self.hosts
            && !told.contains_key("only")
        {
            told.insert("only".into(), json!(hosts));
        }
        match &mut request.given {
            Some(given) => {
                // A map of values can be written.
                let _ = given.set("provider", &told);
                TO_OTHERS.iter().for_each(|name| given.remove(name));
                let asked = ["tools", "tool_choice"].map(|name| given.get(name).and_then(read));
                if let Some(kept) = kept_tools(asked) {
                    for (name, value) in kept {
                        match value {
                            // Values can be written.
                            Some(value) => _ = given.set(name, &value),
                            None => given.remove(name),
                        }
                    }
                }
            }
            None => {
                request.rest.insert("provider".into(), told.into());
                for name in TO_OTHERS {
                    request.rest.shift_remove(name);
                }
                let asked = ["tools", "tool_choice"].map(|name| request.rest.get(name).cloned());
                if let Some(kept) = kept_tools(asked) {
                    for (name, value) in kept {
                        match value {
                            Some(value) => _ = request.rest.insert(name.into(), value),
                            None => _ = request.rest.shift_remove(name),
                        }
                    }
                }
            }
        }
    }
}

fn read(value: &RawValue) -> Option<Value> {
    serde_json::from_str(value.get()).ok()
}

/// The tools that the caller runs, and the choice among them; nothing where it runs all of them.
fn kept_tools([tools, choice]: [Option<Value>; 2]) -> Option<[(&'static str, Option<Value>); 2]> {
    let is_callers = |it: &Value| {
        it["type"]
            .as_str()
            .is_none_or(|kind| OF_CALLERS.contains(&kind))
    };
    let Some(Value::Array(mut tools)) = tools else {
        return None;
    };
    let count = tools.len();
    tools.retain(is_callers);
    if tools.len() == count {
        return None;
    }
    let has_any = !tools.is_empty();
    let choice = choice.filter(|choice| has_any && is_callers(choice));
    let tools = has_any.then_some(tools.into());
    Some([("tools", tools), ("tool_choice", choice)])
}

/// Leaves hosts out of a list that may not be there. An empty one would allow all.
fn keep_hosts(told: &mut Map<String, Value>, name: &str, hosts: &[String]) {
    if let Some(Value::Array(listed)) = told.get_mut(name) {
        listed.retain(|host| host.as_str().is_some_and(|host| is_one(host, hosts)));
        if !listed.is_empty() {
            return;
        }
    }
    told.shift_remove(name);
}

/// Whether a host is one of these, or a variant of one (`azure/eu` of `azure`).
fn is_one(host: &str, hosts: &[String]) -> bool {
    let family = host.split_once('/').map_or(host, |(family, _)| family);
    let is =
        |known: &String| known.eq_ignore_ascii_case(host) || known.eq_ignore_ascii_case(family);
    hosts.iter().any(is)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::RawObject;

    fn applied(policy: &Policy, body: &Value) -> Value {
        let given = RawObject::parse(body.to_string().as_bytes()).unwrap();
        let mut request = ChatRequest::passing_on(given);
        policy.apply(&mut request);
        let passed = serde_json::from_str(&request.given.unwrap().to_json()).unwrap();
        let mut request = ChatRequest::new(Vec::new());
        request.rest = body.as_object().unwrap().clone();
        policy.apply(&mut request);
        assert_eq!(Value::from(request.rest), passed);
        passed
    }

    #[test]
    fn a_caller_makes_it_stricter_and_never_looser() {
        let policy = Policy {
            denies_collection: true,
            zdr: true,
            hosts: Some(vec!["mistral".into(), "azure".into()]),
        };
        let all = json!({"data_collection": "deny", "zdr": true, "only": ["mistral", "azure"]});
        for told in [
            json!(null),
            json!("any"),
            json!({}),
            json!({"data_collection": "allow", "zdr": false}),
            json!({"only": ["other"], "order": ["other"]}),
            json!({"only": []}),
            json!({"only": "other", "zdr": null}),
        ] {
            let body = json!({"provider": told, "plugins": [{"id": "web"}], "x": 1});
            let wanted = json!({"provider": all, "x": 1});
            assert_eq!(applied(&policy, &body), wanted, "{told}");
        }
        let told =
            json!({"only": ["Azure/eu", "other"], "order": ["azure"], "ignore": ["azure/us"]});
        let mut wanted = told.clone();
        wanted["only"] = json!(["Azure/eu"]);
        wanted["data_collection"] = "deny".into();
        wanted["zdr"] = true.into();
        assert_eq!(
            applied(&policy, &json!({"provider": told}))["provider"],
            wanted
        );
    }

    #[test]
    fn what_others_run_is_no_tool() {
        let policy = Policy {
            zdr: true,
            ..Policy::default()
        };
        let function = json!({"type": "function", "function": {"name": "f"}});
        let search = json!({"type": "openrouter:web_search"});
        let both = json!({"tools": [search, function], "tool_choice": "auto"});
        let told = applied(&policy, &both);
        assert_eq!(told["tools"], json!([function]));
        assert_eq!(told["tool_choice"], "auto");
        let chosen = json!({"tools": [search, function], "tool_choice": search});
        assert!(applied(&policy, &chosen).get("tool_choice").is_none());
        let alone = json!({"tools": [search], "tool_choice": "required", "x": 1});
        let wanted = json!({"provider": {"zdr": true}, "x": 1});
        assert_eq!(applied(&policy, &alone), wanted);
        let own = json!({"tools": [function], "tool_choice": function});
        assert_eq!(applied(&policy, &own)["tools"], json!([function]));
    }

    #[test]
    fn without_a_policy_nothing_is_other() {
        let body = json!({"provider": {"data_collection": "allow"}, "plugins": []});
        assert_eq!(applied(&Policy::default(), &body), body);
    }
}
