"""A harness that breaks the pipeline in every way it promises to survive, and counts events (docs/why/faults.md)."""
