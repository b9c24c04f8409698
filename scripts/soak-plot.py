#!/usr/bin/env python3
"""Draws a soak's CSV as SVG, readable on light and dark ground: scripts/soak-plot.py soak.csv >soak.svg"""
import csv
import sys
from statistics import median

LEFT, RIGHT, WIDTH, PANEL, GAP, TOP = 64, 150, 900, 150, 46, 64
# Readable on any ground as it is; better where the viewer says which it has.
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #757575 } .title { font-size: 15px; font-weight: 600 }
  .name { font-weight: 600 } .grid { stroke: #8884; stroke-width: 1 } .restart { stroke: #888; stroke-dasharray: 4 3 }
  path { fill: none; stroke-width: 1.6 }
  .cp { stroke: #2878d8 } .alone { stroke: #c2680c } .shared { stroke: #2a9147 } .errors { stroke: #e0484f }
  text.cp { fill: #2878d8; stroke: none } text.alone { fill: #c2680c; stroke: none }
  text.shared { fill: #2a9147; stroke: none } text.errors { fill: #e0484f; stroke: none }
  @media (prefers-color-scheme: light) { .title, .name { fill: #222 } .note { fill: #555 } }
  @media (prefers-color-scheme: dark) { .title, .name { fill: #eee } .note { fill: #bbb } }"""


def kind_of(process):
    return "cp" if process == "control-plane" else "alone" if process.startswith("alone") else "shared"


LABELS = {"cp": "control plane", "alone": "agent (4 processes)", "shared": "8 agents (2 processes)"}


def nice_ceiling(value):
    step = 1
    while True:
        for factor in (1, 1.2, 1.6, 2, 3, 4, 6, 8):
            if value <= step * factor:
                return step * factor
        step *= 10


class Plot:
    def __init__(self, rows):
        self.times = [float(row["minutes"]) for row in rows]
        self.runs = [int(row["run"]) for row in rows]
        self.out = []
        self.y = TOP

    def x(self, minutes):
        first, last = self.times[0], self.times[-1]
        share = (minutes - first) / (last - first) if last > first else 0
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def text(self, x, y, what, style="", anchor="start"):
        what = str(what).replace("&", "&amp;").replace("<", "&lt;")
        self.out.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{what}</text>')

    def panel(self, name, series, labels):
        """series: [(style, values)]; labels: {style: text}"""
        top, bottom = self.y, self.y + PANEL
        ceiling = nice_ceiling(max([max(values) for _, values in series] + [1]) * 1.05)
        height = lambda value: bottom - value / ceiling * PANEL
        self.text(LEFT, top - 10, name, "name")
        for part in range(0, 5):
            value = ceiling * part / 4
            self.out.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height(value):.1f}" y2="{height(value):.1f}"/>')
            self.text(LEFT - 8, height(value) + 4, f"{value:g}", "note", "end")
        for i in range(1, len(self.times)):
            if self.runs[i] != self.runs[i - 1]:
                at = self.x(self.times[i])
                self.out.append(f'<line class="restart" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{bottom}"/>')
        for style, values in series:
            commands = []
            for i, value in enumerate(values):
                new = i == 0 or self.runs[i] != self.runs[i - 1]
                commands.append(f"{'M' if new else 'L'}{self.x(self.times[i]):.1f} {height(value):.1f}")
            self.out.append(f'<path class="{style}" d="{" ".join(commands)}"/>')
        places = sorted((height(median([v[-1] for s, v in series if s == style])), style) for style in labels)
        last = top - 100.0
        for place, style in places:
            last = max(place, last + 15)
            self.text(WIDTH - RIGHT + 8, last + 4, labels[style], style)
        self.y = bottom + GAP

    def axis(self):
        bottom = self.y - GAP
        span = self.times[-1] - self.times[0]
        step = next((s for s in (1, 2, 5, 10, 15, 30, 60, 120, 240, 480) if span / s <= 8), 960)
        tick = 0
        while tick <= self.times[-1]:
            if tick >= self.times[0]:
                self.text(self.x(tick), bottom + 18, tick, "note", "middle")
            tick += step
        self.text((LEFT + WIDTH - RIGHT) / 2, bottom + 36, "minutes", "note", "middle")


def main():
    with open(sys.argv[1], encoding="ascii") as file:
        rows = [row for row in csv.DictReader(file) if row["minutes"] and None not in row.values()]
    if len(rows) < 2:
        sys.exit("soak-plot: fewer than two samples")
    processes = [name[: -len("_rss_mib")] for name in rows[0] if name.endswith("_rss_mib")]
    plot = Plot(rows)
    for what, member in (("Resident memory, MiB", "rss_mib"), ("Open descriptors", "descriptors"), ("Threads", "threads")):
        series = [(kind_of(p), [float(row[f"{p}_{member}"]) for row in rows]) for p in processes]
        plot.panel(what, series, LABELS)
    rates, errors = [], []
    for i, row in enumerate(rows):
        before = rows[i - 1] if i > 0 and rows[i - 1]["run"] == row["run"] else None
        minutes = float(row["minutes"]) - float(before["minutes"]) if before else 0
        since = lambda member: (int(row[member]) - int(before[member])) / (minutes * 60) if minutes > 0 else None
        rates.append(since("done"))
        errors.append(since("errors"))
    filled = lambda values: [v if v is not None else next((w for w in values[i:] if w is not None), 0)
                             for i, v in enumerate(values)]
    plot.panel("Requests and errors per second", [("cp", filled(rates)), ("errors", filled(errors))],
               {"cp": "requests", "errors": "errors"})
    plot.axis()
    height = plot.y
    restarts = int(rows[-1]["run"]) - 1
    title = f"Soak: {float(rows[-1]['minutes']):.0f} minutes, {int(rows[-1]['done']):,} requests, {rows[-1]['errors']} errors"
    if restarts:
        title += f", started anew {restarts} times (dashed)"
    plot.text(LEFT, 26, title, "title")
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">')
    print(f"<style>{STYLE}</style>")
    print("\n".join(plot.out))
    print("</svg>")


main()
