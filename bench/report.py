"""Tables of bench/run, as text and as Markdown."""

from collections import namedtuple
from statistics import median

# One column: a key of the samples, its heading, digits behind the point; `spread` shows the range over the rounds.
Figure = namedtuple("Figure", "key heading digits spread", defaults=(0, False))
# A column with ratios of one figure: `of` says for each peer whom it is compared with. Of several the one with the
# lowest median is taken, and `all` adds those that are no rivals of Wharf's.
Ratio = namedtuple("Ratio", "heading key of others", defaults=(False,))


def table(work, samples, rivals):
    """A heading, and a row for each peer that was measured."""
    samples = {name: rows for name, rows in samples.items() if rows}
    ratios = [(ratio, ratio_cells(ratio, samples, rivals)) for ratio in work.ratios]
    header = [""] + [figure.heading for figure in work.figures] + [ratio.heading for ratio in work.ratios]
    rows = []
    for name, measured in samples.items():
        cells = [cell(figure, [row[figure.key] for row in measured if figure.key in row]) for figure in work.figures]
        rows.append([name] + cells + [cells_of.get(name, "") for _, cells_of in ratios])
    return header, rows


def cell(figure, values):
    if not values:
        return ""
    middle = median(values)
    # A queue of seconds is not told by the microsecond.
    shown = f"{middle:,.{figure.digits if abs(middle) < 100 else min(figure.digits, 1)}f}"
    if not figure.spread:
        return shown
    return f"{shown} ({min(values):,.{figure.digits}f}-{max(values):,.{figure.digits}f})"


def ratio_cells(ratio, samples, rivals):
    values = {name: [row[ratio.key] for row in rows] for name, rows in samples.items()}
    cells = {}
    for name, candidates in ratio.of.items():
        present = [other for other in candidates if other in values and other != name]
        others = [min(present, key=lambda other: median(values[other]))] if present else []
        if ratio.others:
            others += [other for other in values if other not in rivals and other != name]
        if name in values:
            cells[name] = ", ".join(compared(values[name], values[other], other) for other in others)
    return cells


def compared(mine, theirs, name):
    """Both were measured in the same round, a minute apart at most: noise of the machine cancels out."""
    ratios = [mine / theirs for mine, theirs in zip(mine, theirs) if theirs]
    if not ratios:
        return ""
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) x {name}"


def as_text(work, header, rows):
    widths = [max(len(row[i]) for row in [header] + rows) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [header] + rows]
    return "\n".join([f"\n{work.name}: {work.what}"] + ["  " + line for line in lines])


def as_markdown(results, peers, rivals, about):
    """The works under load in one table, and one for each of the others."""
    main = [result for result in results if result[0].main]
    parts = [[about]]
    if main:
        head = ["work", *peers, "Wharf's cost to the best", "requests/s: Wharf, best", "p99 ms: Wharf, best"]
        parts.append(markdown_rows(head, [main_row(*result, peers, rivals) for result in main]))
    for work, samples, (header, rows) in results:
        if not work.main and rows:
            parts.append([f"**{work.what[0].upper()}{work.what[1:]}** (`{work.name}`)", ""] + markdown_rows(header, rows))
    return "\n\n".join("\n".join(part) for part in parts).replace(" us/", " µs/") + "\n"


def main_row(work, samples, table, peers, rivals):
    rows = {row[0]: row for row in table[1]}
    ratio = rows["wharf"][-1] if "wharf" in rows else ""
    unit = "s/GB" if work.per == "GB" else "µs"
    cells = [rows[name][1] if name in rows else "–" for name in peers]
    rate = beside(work, samples, rivals, "rate", max, "{:,.0f}") if saturated(samples, rivals) else "–"
    p99 = beside(work, samples, rivals, "p99", min, "{:.2f}") if work.per != "GB" else "–"
    return [f"{work.what} ({unit})", *cells, ratio, rate, p99]


def saturated(samples, rivals):
    """Whether the proxies were the limit; otherwise the rate is that of load generator and origin."""
    busy = [median(row["busy"] for row in rows) for name, rows in samples.items() if rows and name in ("wharf", *rivals)]
    return bool(busy) and min(busy) >= SATURATED


def beside(work, samples, rivals, key, best, form):
    middle = {name: median(row[key] for row in rows) for name, rows in samples.items() if rows}
    rival = best((name for name in middle if name in rivals), key=middle.get, default=None)
    cells = [form.format(middle[name]) for name in ("wharf", rival) if name in middle]
    return ", ".join(cells) + (f" ({rival})" if rival else "")


def markdown_rows(header, rows):
    lines = ["| " + " | ".join(row) + " |" for row in [header] + rows]
    return [lines[0], "|" + "---|" * len(header)] + lines[1:]


SATURATED = 90  # percent
