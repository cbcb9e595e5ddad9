"""The library behind the deploy, the operator's commands and the embedded stack. No terminal I/O here."""
