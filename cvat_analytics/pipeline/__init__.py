"""What happens to an event between its producer and the store: sent, kept in the journal, replayed, and what could not be stored."""
