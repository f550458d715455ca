"""What lm_eval and sweep left, side by side: runs, arms, pairs, tests, verdicts. It renders nothing.

result_files.py, runs.py   what lm_eval wrote; samples.py its documents, conditions.py what must agree to compare
sweep_file.py, sweeps.py   what a sweep wrote, and a result file's place in it
arms.py      what was tested, and in which role
groups.py    which runs can be compared, and what tells the others apart
rows.py      vector x child x task x conditions: the baseline and the arms; joins.py which runs stand in one
pairs.py     two runs of the same documents
beside.py    a task's other metrics: score and change; own.py shares of the effect of the child's own vector
judge.py     families, verdicts, random controls; stats/ does the arithmetic
families.py  over which tests Holm goes; rivals.py a vector against what competes with it
outcome.py   an arm as sweep.json has it
costs.py     records, and tokens from them; responses.py every response to a row's documents
"""
