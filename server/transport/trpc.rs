pub mod superjson;
