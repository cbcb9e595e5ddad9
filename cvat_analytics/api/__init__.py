"""The events API: `/api/events` as CVAT's users know it, beside a CVAT or without one.

Takes client events in and hands them to Vector; gives events out of ClickHouse to whoever may see them.

It runs on the hosts' own Python, which may be as old as 3.10: nothing here, nor in what it imports of this project
(`errors`, `users`), may need a newer one.

Of the other rooms only `exporting` imports more than that. Begin with `app`.
"""
