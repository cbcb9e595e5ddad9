"""What happens to an event between its producer and the store: sent, kept in the journal, replayed, and what could not be stored.

Imports `gateway` and what is below it. Begin with `journal`; the configuration that it is about is `templates/vector.toml.j2`.
"""
