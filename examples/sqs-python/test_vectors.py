"""The helpers equal Tidegate's own: `python -m unittest`."""

import json
import unittest
from pathlib import Path

from backoff import Backoff
from routing import partition

VECTORS = json.loads((Path(__file__).parent.parent / "vectors.json").read_text(encoding="utf-8"))


class Vectors(unittest.TestCase):
    def test_a_key_has_the_partition_that_it_has_everywhere(self):
        compared = 0
        for routed in VECTORS["routing"]:
            for partitions, expected in routed["partitions"]:
                self.assertEqual(partition(routed["key"], partitions), expected, (routed["key"], partitions))
                compared += 1
        self.assertGreater(compared, 600)

    def test_a_wait_is_as_long_as_it_is_everywhere(self):
        compared = 0
        for policy in VECTORS["backoff"]:
            backoff = Backoff(policy["initial_ms"], policy["multiplier"], policy["max_ms"])
            for retry, drawn, expected in policy["delays_ms"]:
                self.assertEqual(backoff.delay_ms(retry, drawn), expected, (backoff, retry, drawn))
                compared += 1
        self.assertGreater(compared, 700)

    def test_a_visibility_timeout_is_in_whole_seconds_that_sqs_allows(self):
        backoff = Backoff(1_000, 10.0, 100_000_000)
        seconds = [backoff.visibility_seconds(retry, drawn) for retry, drawn in [(1, 0.0), (1, 0.001), (2, 0.5), (9, 0.9)]]
        self.assertEqual(seconds, [0, 1, 5, 43_200])

    def test_no_partitions_are_refused(self):
        with self.assertRaises(ValueError):
            partition("key", 0)


if __name__ == "__main__":
    unittest.main()
