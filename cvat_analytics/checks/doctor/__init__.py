"""What is wrong with a stack, or about to be. Here: what `status` knows; each other module looks at one thing more.

What somebody else has found already (`status`, the views of background work, the deploy's note) is taken from there. A check that
cannot be made says why, and keeps no other from being made.
"""
