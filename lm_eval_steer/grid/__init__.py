"""A study of parents x children x tasks: one file describes it, `lm-eval-steer grid` runs what of it is missing.

study.py     the file, checked; settings.py has its keys, check.py what stands in its way
stages.py    what has to be done, in order, each stage named by the digest of all that determines it
"""
