//! What is bet about one move: four stakes, their place among those of all processes, and how they are kept.

use serde::{Deserialize, Serialize};

use crate::trial::betting::{BETS, BetSide, Bets};

/// What a stake has to become: four bets, with stakes of 2 in all processes together, lose 1 %.
pub(in crate::migration) const WINS: f64 = 800.0;
/// What a process begins with before it has its place, by logarithm: as the sixth one.
const UNPLACED: f64 = -5.0 * std::f64::consts::LN_2;

/// The bets about one move.
#[derive(Debug)]
pub(in crate::migration) struct Stakes {
    pub(super) fails: Bets,
    pub(super) refuses: Bets,
    pub(super) slower: Bets,
    pub(super) differs: Bets,
    /// What each began with, by logarithm.
    stake: f64,
    /// Of the bets as they are kept; none before they are.
    pub(in crate::migration) place: Option<i64>,
    /// The part of the compared answers that may differ.
    tolerated: f64,
}

/// Bets as they are kept: the logarithms of what is on each part.
#[derive(Serialize, Deserialize)]
struct KeptBets {
    fails: Vec<f64>,
    refuses: Vec<f64>,
    slower: Vec<f64>,
    differs: Vec<f64>,
    tolerated: f64,
}

/// What the bets have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MoveEvidence {
    /// That this server fails more.
    pub fails: f64,
    /// That it answers with errors more often, failures included.
    pub refuses: f64,
    /// That it is slower.
    pub slower: f64,
    /// That it differs.
    pub differs: f64,
}

impl MoveEvidence {
    /// Why the move is to be taken back, if it is.
    pub(in crate::migration) fn verdict(&self) -> Option<&'static str> {
        let all = [
            (self.fails, "this server fails more often than the old one"),
            (
                self.refuses,
                "this server refuses more calls than the old one",
            ),
            (
                self.differs,
                "this server's answers differ from the old one's",
            ),
            (self.slower, "this server is slower than the old one"),
        ];
        let won = all.into_iter().find(|(stake, _)| *stake >= WINS);
        won.map(|(_, why)| why)
    }
}

impl Stakes {
    /// `tolerated` is the part of the compared answers that may differ.
    pub(super) fn new(tolerated: f64) -> Self {
        Self {
            fails: Bets::new(BetSide::Above, 0.0),
            refuses: Bets::new(BetSide::Above, 0.0),
            slower: Bets::new(BetSide::Above, 0.0),
            differs: Bets::new(BetSide::Above, tolerated),
            stake: UNPLACED,
            place: None,
            tolerated,
        }
    }

    /// The most that the stakes ever were.
    pub(in crate::migration) fn evidence(&self) -> MoveEvidence {
        let most = |bets: &Bets| (bets.best() + self.stake).exp();
        MoveEvidence {
            fails: most(&self.fails),
            refuses: most(&self.refuses),
            slower: most(&self.slower),
            differs: most(&self.differs),
        }
    }

    /// The bets are at this place from now on. At their first one they get what belongs to it; at a later one they
    /// begin anew, as somebody else goes on with what they were.
    pub(in crate::migration) fn take(&mut self, place: i64) {
        if self.place == Some(place) {
            return;
        }
        if self.place.is_some() {
            *self = Self::new(self.tolerated);
        }
        self.place = Some(place);
        self.stake = -(place as f64) * std::f64::consts::LN_2;
    }

    /// What is there, to be kept.
    pub(in crate::migration) fn kept(&self) -> String {
        let parts = |bets: &Bets| bets.parts().iter().map(|log| log + self.stake).collect();
        let kept = KeptBets {
            fails: parts(&self.fails),
            refuses: parts(&self.refuses),
            slower: parts(&self.slower),
            differs: parts(&self.differs),
            tolerated: self.tolerated,
        };
        serde_json::to_string(&kept).unwrap_or_default()
    }

    /// Goes on with what another process kept and left behind; what cannot be read is lost.
    pub(in crate::migration) fn join(&mut self, kept: &str) {
        let Ok(kept) = serde_json::from_str::<KeptBets>(kept) else {
            return;
        };
        let stake = self.stake;
        let join = |bets: &mut Bets, parts: &[f64]| {
            let relative: Vec<f64> = parts.iter().map(|log| log - stake).collect();
            if let Ok(relative) = <&[f64; BETS]>::try_from(&*relative) {
                bets.join(relative);
            }
        };
        join(&mut self.fails, &kept.fails);
        join(&mut self.refuses, &kept.refuses);
        join(&mut self.slower, &kept.slower);
        // Of another setting it proves another thing.
        if kept.tolerated == self.tolerated {
            join(&mut self.differs, &kept.differs);
        }
    }
}
