"""What lands on a host, or below the directory of an embedded stack: the files that `templates/` become.

Imports `dashboards` and what is below. Begin with `render`; `files` says what a file is, the other modules what one part needs.
"""
