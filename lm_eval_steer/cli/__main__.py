"""`python -m lm_eval_steer.cli`."""

import sys

from lm_eval_steer.cli.main import main

sys.exit(main())
