"""Runs checks and says what became of each."""

import sys
import traceback


def run(checks):
    """Prints `ok NAME` or `FAILED NAME` for each, and ends the program with 1 if one has failed."""
    failed = 0
    for check in checks:
        try:
            check()
            print(f"ok {check.__name__}", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {check.__name__}\n{traceback.format_exc()}", flush=True)
    sys.exit(1 if failed else 0)
