"""Print the table and write it as JSON: ``make bench``; ``python -m benchmarks sweeps`` makes a part of it."""

import json
import os
import platform
import sys
from pathlib import Path

from benchmarks import closed_forms, meter, sweeps

TARGET = Path(os.environ.get("BNLIB_BUILD", "_build")) / "benchmarks.json"
PARTS = ("sweeps", "closed_forms", "meter")


def main(chosen):
    tables, heads, limits = [], [], []
    if "sweeps" in chosen:
        steps, whole, products, limits = sweeps.measure()
        tables += [(steps, "ms", 1e3, "times as long"), (whole, "s", 1, "times as long")]
        heads += [f"{products / 1e9:.0f} GFLOP/s of the sweep's products on one thread"]
    if "closed_forms" in chosen:
        computed, title = closed_forms.measure()
        tables += [(computed, "ms", 1e3, "times as long")]
        heads += [title]
    if "meter" in chosen:
        metered, held = meter.measure()
        tables += [(metered, "ms", 1e3, "times as long"), (held, "MiB", 2**-20, "times as much")]
    table = [row_of(*row, unit, factor, more) for rows, unit, factor, more in tables for row in rows]
    machine = ", ".join([platform.machine(), f"{os.cpu_count()} cores", *heads])
    print(machine)
    for row in table:
        wanted = "" if row["wanted"] is None else f", wanted {row['wanted']:g}: {'met' if row['met'] else 'MISSED'}"
        print(
            f"{row['what']}: {row['amount']:.3g} {row['unit']}; "
            f"{row['against']}: {row['reference_amount']:.3g} {row['unit']}; "
            f"{row['ratio']:.3g} {row['relation']}{wanted}"
        )
    print(*limits, sep="\n")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps({"machine": machine, "table": table, "limits": limits}, indent=1) + "\n")
    print(f"written to {TARGET}")


def row_of(what, amount, reference, reference_amount, relation, wanted, unit, factor, more):
    ratio = amount / reference_amount if relation == "at most" else reference_amount / amount
    met = wanted is None or (ratio <= wanted if relation == "at most" else ratio >= wanted)
    words = {"faster": "times faster", "share": "of it is useful work", "at most": more}
    return {
        "what": what,
        "unit": unit,
        "amount": factor * amount,
        "against": reference,
        "reference_amount": factor * reference_amount,
        "relation": words[relation],
        "ratio": ratio,
        "wanted": wanted,
        "met": met,
    }


if __name__ == "__main__":
    main(sys.argv[1:] or PARTS)
