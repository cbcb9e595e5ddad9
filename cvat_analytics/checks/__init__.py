"""Whether all of it works: the smoke test and its cases, the state of every part."""
