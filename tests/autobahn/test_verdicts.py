"""The comparer must be able to fail: a broken server may not pass because of a lenient reader."""

import json
import pathlib
import unittest

import verdicts

HERE = pathlib.Path(__file__).parent
GOOD = {"behavior": "OK", "behaviorClose": "OK"}


def merged(entries, cases):
    return verdicts.merge([{"bellwether": entries}], cases)


class Verdicts(unittest.TestCase):
    def test_a_good_case_is_ok(self):
        self.assertEqual(merged({"1.1.1": GOOD}, ["1.1.1"]), {"1.1.1": "OK"})

    def test_a_case_without_a_verdict_is_missing(self):
        self.assertEqual(merged({}, ["1.1.1"]), {"1.1.1": "MISSING"})

    def test_a_wrong_close_fails_the_case(self):
        for close in ["FAILED", "WRONG CODE", "UNCLEAN", None]:
            entry = {"behavior": "OK", "behaviorClose": close}
            self.assertEqual(verdicts.verdict(entry), "FAILED", close)

    def test_an_unknown_word_fails_the_case(self):
        self.assertEqual(verdicts.verdict({"behavior": "GREAT", "behaviorClose": "OK"}), "FAILED")

    def test_shards_are_merged(self):
        indices = [{"bellwether": {"1.1.1": GOOD}}, {"bellwether": {"1.1.2": GOOD}}]
        self.assertEqual(set(verdicts.merge(indices, ["1.1.1", "1.1.2"]).values()), {"OK"})


class Comparison(unittest.TestCase):
    def test_anything_worse_is_told(self):
        for found in ["INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "FAILED", "MISSING"]:
            self.assertEqual(
                verdicts.worse({"1.1.1": found}, {"1.1.1": "OK"}), [("1.1.1", found, "OK")]
            )
        self.assertEqual(verdicts.worse({"1.1.1": "OK"}, {"1.1.1": "OK"}), [])

    def test_better_is_told_and_is_not_worse(self):
        found, expected = {"6.4.1": "OK"}, {"6.4.1": "NON-STRICT"}
        self.assertEqual(verdicts.worse(found, expected), [])
        self.assertEqual(verdicts.better(found, expected), [("6.4.1", "OK", "NON-STRICT")])

    def test_failures_and_many_non_strict_may_not_be_expected(self):
        self.assertTrue(verdicts.faults_of({"1.1.1": "FAILED"}))
        self.assertTrue(verdicts.faults_of({str(n): "NON-STRICT" for n in range(3)}))
        self.assertFalse(verdicts.faults_of({str(n): "NON-STRICT" for n in range(2)}))


class Selection(unittest.TestCase):
    def setUp(self):
        self.expected = json.loads((HERE / "expected.json").read_text())
        self.selections = json.loads((HERE / "selections.json").read_text())

    def test_the_committed_expectations_are_allowed(self):
        self.assertEqual(verdicts.faults_of(self.expected), [])
        self.assertEqual(len(self.expected), 517)

    def test_the_selections_have_their_sizes(self):
        sizes = {
            name: len(verdicts.select(patterns, self.expected))
            for name, patterns in self.selections.items()
        }
        self.assertEqual(sizes, {"quick": 247, "ci": 247 + 54 + 53, "all": 517})

    def test_a_pattern_names_whole_cases(self):
        self.assertEqual(verdicts.select(["12.*.1"], ["12.1.1", "12.1.11", "112.1.1"]), ["12.1.1"])

    def test_shards_share_all_cases(self):
        cases = list(self.expected)
        shards = verdicts.shard(cases, 2)
        self.assertEqual(sorted(sum(shards, [])), sorted(cases))

    def test_every_section_is_in_the_table(self):
        lines = verdicts.table(self.expected).splitlines()
        self.assertEqual(len(lines), len(verdicts.SECTIONS) + 2)
        self.assertIn("514", lines[-1])


if __name__ == "__main__":
    unittest.main()
