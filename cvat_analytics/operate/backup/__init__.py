"""Back a stack up and bring it back: the library's side. `agent` does the work on the machine where the data is. Begin with `agent.config`."""
