"""The events API: `/api/events` as CVAT's users know it, beside a CVAT or without one.

Takes client events in and hands them to Vector; gives events out of ClickHouse to whoever may see them.

It runs on the hosts' own Python, which may be as old as 3.10: nothing here, nor in what it imports of this project
(`errors`, `users`), may need a newer one.

What it imports of the other rooms is listed in `rendering/events_api_archive.py`. Begin with `app`.
"""
