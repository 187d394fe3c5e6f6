//! Who may call what, as a table for people.

use std::fmt::Write as _;

use crate::_core::{procedure::Access, registry::Registry};

const HEAD: &str = "\
# Who may call what

Written by `modelramp schema` from the registry. A test calls every procedure as everybody whom this table leaves out, over tRPC by
HTTP, event stream and WebSocket, and over JSON-RPC by HTTP and WebSocket (`whoever_is_left_out_is_refused_on_every_wire`):
each is refused, with `UNAUTHORIZED` (10001) or `FORBIDDEN` (10002), before its input is read.

Roles include those before them: *anybody*, *signed in* (every user), *viewer*, *admin*. A key of the gateway is none of
them: it opens `/v1` and no procedure.

| procedure | kind | who |
|---|---|---|
";

/// The table, by name.
pub(super) fn table(registry: &Registry) -> String {
    let mut procedures: Vec<_> = registry.iter().collect();
    procedures.sort_by_key(|it| it.path);
    let mut table = HEAD.to_owned();
    for it in procedures {
        let who = match it.access {
            Access::Public => "anybody",
            Access::SignedIn => "signed in",
            Access::Viewer => "viewer",
            Access::Admin => "admin",
        };
        // Writing into a text cannot fail.
        let _ = writeln!(table, "| `{}` | {} | {who} |", it.path, it.kind.name());
    }
    table
}
