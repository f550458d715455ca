"""The command `lm-eval-steer`: one file per command, its arguments beside what it does.

A module of a command has `add(group)`, which enters the command and its arguments into argparse, and a function `run`
or one per action, which does the work. What `run` needs is imported inside of it, so `--help` is quick.
"""
