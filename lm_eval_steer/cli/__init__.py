"""The command `lm-eval-steer`: one file per command, its arguments beside what it does."""
