"""CONTRIBUTING.md says how often each fault is tried: the numbers that the tests use."""

from pathlib import Path

from test_bad_inputs import TRIED
from test_disk import CACHES
from trials import TABLE

TEXT = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_counts_are_those_of_the_tests() -> None:
    section = TEXT.split("## Under faults\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    said = {row[0].strip(): row[1].strip() for row in rows}
    for fault, tries in TABLE.items():
        assert [count for row, count in said.items() if row.startswith(fault)] == [tries], fault
    assert f"bad input for each of {len(TRIED)} functions (hypothesis)" in said
    (caches,) = (count for row, count in said.items() if row.startswith("a cache that is a file"))
    assert int(caches) == len(CACHES) + 1, "and one without a home"
