"""Bring the events of an existing CVAT installation into the stack's own table: exactly once, in steps that can be resumed.

`columns` says which tables and dumps fit, `tables` counts and sends events, `files` makes a dump readable as a table,
`copying` moves the events day by day and compares both sides. `stock` converts a stock table where it stands.

Imports `pipeline` and what is below it. Begin with `copying`.
"""
