

mod contract;
