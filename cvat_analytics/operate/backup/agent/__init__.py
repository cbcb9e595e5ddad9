"""What backs up the parts of a stack that are on this machine. Standard library only, for Python 3.9 or newer: hosts run it with their own.

    python3 -m cvat_analytics.operate.backup.agent --config FILE create [--to TARGET]

On a host its files lie in a directory of their own with these very paths, which PYTHONPATH names. Each step is a line of JSON on
standard output (`report`), errors are one line that names thing, reason and next step. Begin with `__main__`.
"""
