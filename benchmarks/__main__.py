"""Print the table and write it as JSON: ``make bench``."""

import json
import os
import platform
from pathlib import Path

from benchmarks import closed_forms, meter, sweeps

TARGET = Path(os.environ.get("BNLIB_BUILD", "_build")) / "benchmarks.json"


def main():
    trained, products = sweeps.measure()
    computed, title = closed_forms.measure()
    metered, held = meter.measure()
    table = []
    for rows, unit, factor, more in (
        (trained + computed + metered, "ms", 1e3, "times as long"),
        (held, "MiB", 2**-20, "times as much"),
    ):
        for what, amount, reference, reference_amount, relation, wanted in rows:
            ratio = reference_amount / amount if relation == "faster" else amount / reference_amount
            met = wanted is None or (ratio >= wanted if relation == "faster" else ratio <= wanted)
            table.append(
                {
                    "what": what,
                    "unit": unit,
                    "amount": factor * amount,
                    "against": reference,
                    "reference_amount": factor * reference_amount,
                    "relation": "times faster" if relation == "faster" else more,
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
            f"{row['what']}: {row['amount']:.3g} {row['unit']}; "
            f"{row['against']}: {row['reference_amount']:.3g} {row['unit']}; "
            f"{row['ratio']:.3g} {row['relation']}{wanted}"
        )
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps({"machine": machine, "table": table}, indent=1) + "\n")
    print(f"written to {TARGET}")


if __name__ == "__main__":
    main()
