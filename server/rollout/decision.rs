//! What follows from plan, status and evidence; pure.
