"""Draw the figures again from the records under analysis/results: figures/bound_vs_measured.{pdf,png}.

analysis/results/demo.jsonl is the records.jsonl that `lqtheory demo` writes. The same records give the same bytes.
"""

from pathlib import Path

from lqtheory import plot, records
from lqtheory.demo import KEEP_RULE

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    found = records.read(ROOT / "analysis" / "results" / "demo.jsonl")
    for path in plot.save(plot.bound_vs_measured(found, KEEP_RULE.name), ROOT / "figures" / "bound_vs_measured"):
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
