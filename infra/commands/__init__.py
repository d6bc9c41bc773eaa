"""What operators and analysts do with a running bundle, a module for each `make` target, and what those share.

Each works on the stack that `stack.py` finds: one in AWS, or the bundle on this machine.
"""
