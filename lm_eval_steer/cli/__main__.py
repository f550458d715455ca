"""`python -m lm_eval_steer.cli`."""

from lm_eval_steer.cli.main import main

main()
