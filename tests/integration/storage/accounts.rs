//! Users as admins keep them.

use modelramp::{
    _core::caller::{Role, User},
    accounts::{AccountStore, ActingAdmin},
};

use super::{at, database::Database};

on_both!(of_two_admins_who_delete_each_other_one_stays);

fn by(user: &User) -> ActingAdmin<'_> {
    ActingAdmin { user, owner: None }
}

async fn of_two_admins_who_delete_each_other_one_stays(database: Database) {
    let storage = &database.storage;
    for first in [1, 3, 5, 7, 9] {
        let admin = async |number| {
            let user = storage.ensure_local_user(number, Role::Admin, at(0)).await;
            user.unwrap()
        };
        let (one, two) = (admin(first).await, admin(first + 1).await);
        let (a, b) = tokio::join!(
            storage.delete_account(two.id, by(&one), at(1)),
            storage.delete_account(one.id, by(&two), at(1)),
        );
        assert_ne!(a.is_ok(), b.is_ok(), "{a:?} {b:?}");
    }
}
