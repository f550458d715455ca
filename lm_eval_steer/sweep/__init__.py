"""`lm-eval-steer sweep`: Algorithms 2 and 3, every strength and every control, in one resumable run."""

from lm_eval_steer.sweep.args import SweepArgs
from lm_eval_steer.sweep.run import run_sweep
from lm_eval_steer.sweep.table import make_metric_tables, make_notes, make_table
from lm_eval_steer.sweep.table_members import make_members_table

__all__ = ["SweepArgs", "make_members_table", "make_metric_tables", "make_notes", "make_table", "run_sweep"]
