"""What is done to a running stack: a password changed, a buffer set aside. Each can be cut off anywhere and run again.

Imports `checks` and what is below. Begin with `rotation`.
"""
