"""What Autobahn said against what we expect. Pure: no files, no processes, no clock."""

import re

# From good to bad. A case that was selected and has no verdict is MISSING: the tool itself says
# nothing when the server dies under it.
ORDER = ["OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "FAILED", "MISSING"]
EXPECTABLE = ["OK", "INFORMATIONAL", "NON-STRICT"]
NON_STRICT_MAX = 2

SECTIONS = {
    "1": "framing",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "close handshake",
    "9": "limits and performance",
    "10": "auto-fragmentation",
    "12": "compression",
    "13": "compression, parameters",
}


def select(patterns, cases):
    """The cases, in their order, that a pattern names; `*` stands for anything."""
    shapes = [re.compile(re.escape(pattern).replace(r"\*", ".*")) for pattern in patterns]
    return [case for case in cases if any(shape.fullmatch(case) for shape in shapes)]


def shard(cases, count):
    """Deals the cases out like cards, so that neighbours of equal weight part."""
    return [cases[index::count] for index in range(count)]


def verdict(entry):
    """One word for a case of an Autobahn index. A wrong close makes the case fail."""
    behavior = entry.get("behavior", "MISSING")
    if behavior in EXPECTABLE and entry.get("behaviorClose") not in ("OK", "INFORMATIONAL"):
        return "FAILED"
    return behavior if behavior in ORDER else "FAILED"


def merge(indices, cases):
    """The verdict of each selected case, out of the indices of all shards."""
    said = {}
    for index in indices:
        for by_case in index.values():
            said.update(by_case)
    return {case: verdict(said.get(case, {})) for case in cases}


def worse(verdicts, expected):
    """The cases that came out worse than expected, as (case, verdict, expected)."""
    return [
        (case, found, expected[case])
        for case, found in verdicts.items()
        if ORDER.index(found) > ORDER.index(expected[case])
    ]


def better(verdicts, expected):
    """The cases that came out better: their expectation should be raised."""
    return [
        (case, found, expected[case])
        for case, found in verdicts.items()
        if ORDER.index(found) < ORDER.index(expected[case])
    ]


def faults_of(expected):
    """What is wrong with the expectations themselves, as sentences."""
    faults = [
        f"expected.json hopes for {found} in case {case}; allowed are {', '.join(EXPECTABLE)}"
        for case, found in expected.items()
        if found not in EXPECTABLE
    ]
    non_strict = sum(found == "NON-STRICT" for found in expected.values())
    if non_strict > NON_STRICT_MAX:
        faults.append(f"expected.json accepts {non_strict} NON-STRICT cases, at most {NON_STRICT_MAX}")
    return faults


def table(verdicts):
    """A line for each section with the count of each verdict."""
    rows = [["section", ""] + ORDER]
    for section, title in SECTIONS.items():
        found = [v for case, v in verdicts.items() if case.split(".")[0] == section]
        if found:
            rows.append([section, title] + [str(found.count(word) or "-") for word in ORDER])
    counts = list(verdicts.values())
    rows.append(["all", ""] + [str(counts.count(word) or "-") for word in ORDER])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row):
        words = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
        words += [word.rjust(width) for word, width in zip(row[2:], widths[2:])]
        return "  ".join(words).rstrip()

    return "\n".join(line(row) for row in rows)
