//! Wrong keys, counted by the address that they come from, so that nobody guesses fast.
//!
//! A right key always opens, also from an address that has sent wrong ones: programs share addresses, and a proxy
//! has one for all.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::rate::Rate;

/// Addresses that are remembered.
const MAX_ADDRESSES: usize = 4_096;
/// One who rents a server is given as many addresses as have this many first bits.
const V6_BITS: u32 = 64;

/// How often wrong keys have come from where.
pub struct WrongKeys {
    /// So many a minute are answered that they are wrong; all of them where it is 0.
    per_minute: u32,
    addresses: Mutex<HashMap<IpAddr, Rate>>,
}

impl WrongKeys {
    /// Lets so many a minute pass from each address; 0 sets no limit.
    pub fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            addresses: Mutex::default(),
        }
    }

    /// Counts a wrong key; how long to wait where there were too many.
    pub fn count(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        if self.per_minute == 0 {
            return None;
        }
        let network = network_of(address);
        let mut addresses = self.addresses.lock();
        if addresses.len() >= MAX_ADDRESSES && !addresses.contains_key(&network) {
            addresses.retain(|_, rate| !rate.is_full(now));
            // The one that has been quiet for longest makes room.
            let quiet = addresses.iter().min_by_key(|(_, rate)| rate.full_at());
            if let Some(quiet) = quiet.map(|(address, _)| *address)
                && addresses.len() >= MAX_ADDRESSES
            {
                addresses.remove(&quiet);
            }
        }
        let rate = addresses.entry(network).or_insert_with(|| Rate::new(now));
        rate.take(self.per_minute, now)
            .err()
            .map(|too_fast| too_fast.after)
    }
}

/// The address, or of IPv6 the network that one customer gets.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(it) => {
            let mask = u128::MAX << (Ipv6Addr::BITS - V6_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(it.to_bits() & mask))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_minute_are_told_and_then_they_have_to_wait() {
        let (wrong, now) = (WrongKeys::new(10), Instant::now());
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        assert!((0..10).all(|_| wrong.count(one, now).is_none()));
        assert_eq!(wrong.count(one, now), Some(Duration::from_secs(6)));
        assert!(wrong.count("192.0.2.2".parse().unwrap(), now).is_none());
        assert!(wrong.count(one, now + Duration::from_secs(6)).is_none());
        assert!((0..1_000).all(|_| WrongKeys::new(0).count(one, now).is_none()));
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert!(
            wrong.count(mapped, now + Duration::from_secs(6)).is_some(),
            "the same one"
        );
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_the_table_stays_small() {
        let (wrong, now) = (WrongKeys::new(1), Instant::now());
        let of = |network: u128, host: u128| IpAddr::V6(Ipv6Addr::from_bits(network << 64 | host));
        assert!(wrong.count(of(7, 1), now).is_none());
        assert!(wrong.count(of(7, 2), now).is_some());
        for network in 0..10_000 {
            wrong.count(of(1_000 + network, 1), now + Duration::from_millis(1));
        }
        assert_eq!(wrong.addresses.lock().len(), MAX_ADDRESSES);
    }
}
