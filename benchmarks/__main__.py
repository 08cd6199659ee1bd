"""Print the table and write it as JSON: ``make bench``."""

import json
import os
import platform
from pathlib import Path

from benchmarks import closed_forms, sweeps

TARGET = Path(os.environ.get("BNLIB_BUILD", "_build")) / "benchmarks.json"


def main():
    trained, products = sweeps.measure()
    computed, title = closed_forms.measure()
    table = []
    for what, seconds, reference, reference_seconds, relation, wanted in trained + computed:
        ratio = reference_seconds / seconds if relation == "faster" else seconds / reference_seconds
        met = wanted is None or (ratio >= wanted if relation == "faster" else ratio <= wanted)
        table.append(
            {
                "what": what,
                "milliseconds": 1e3 * seconds,
                "against": reference,
                "reference_milliseconds": 1e3 * reference_seconds,
                "relation": "times faster" if relation == "faster" else "times as long",
                "ratio": ratio,
                "wanted": wanted,
                "met": met,
            }
        )
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {products / 1e9:.0f} GFLOP/s of float32 products, {title}"
    print(machine)
    for row in table:
        wanted = "" if row["wanted"] is None else f", wanted {row['wanted']:g}: {'met' if row['met'] else 'MISSED'}"
        print(
            f"{row['what']}: {row['milliseconds']:.3g} ms; {row['against']}: {row['reference_milliseconds']:.3g} ms; "
            f"{row['ratio']:.3g} {row['relation']}{wanted}"
        )
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps({"machine": machine, "table": table}, indent=1) + "\n")
    print(f"written to {TARGET}")


if __name__ == "__main__":
    main()
