mod contract;
mod superjson;
