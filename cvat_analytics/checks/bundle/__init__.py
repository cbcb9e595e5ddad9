"""What one needs to ask for help, in one file, without a secret and without any person's data.

Nothing is taken out of a text by guessing what is secret in it. What goes in is either made for it (configuration that is rendered
with made-up passwords, names and addresses; counts, states and versions), or passes an allow list (`keeping.py`): of a line of a log
there is left what is written in this project's own source or in `known_phrases.txt`, and times and codes.
"""
