"""What lm_eval and sweep left, side by side: runs, arms, pairs, tests, verdicts. It renders nothing."""
