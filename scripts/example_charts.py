"""Charts of the report: inline SVG that takes its colours from the page. All text is escaped here."""

import html
import math

BAR_LABEL_CHARS_MAX = 20
AXIS_LABEL_PIXELS = 52
# Room around the plot of upright bars: counts on the left, labels below, a mark's name above.
LEFT, RIGHT, TOP, BOTTOM = 40, 20, 22, 24


def escape(text):
    """Text as it may stand in HTML, between tags and in quoted attributes."""
    return html.escape(str(text), quote=True)


def short(number):
    """A number for people: `1,234.5`, `2.3M`."""
    if number is None:
        return "–"
    size = abs(number)
    if size >= 1e15 or 0 < size < 1e-3:
        return "{:.3g}".format(number)
    for limit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if size >= limit:
            return "{:.4g}{}".format(number / limit, letter)
    if number == int(number):
        return "{:,}".format(int(number))
    return "{:,.1f}".format(number) if size >= 1000 else "{:.4g}".format(number)


def clip(text, limit):
    """Text cut to a length, with a sign that it was."""
    text = str(text)
    return text if len(text) <= limit else text[:limit - 1] + "…"


def columns_chart(title, labels, counts, width=640, height=200):
    """Upright bars, one for each label, in the order given."""
    slot = (width - LEFT - RIGHT) / len(counts)
    inner = grid(max(counts), width, height) + upright_bars(counts, labels, slot, min(slot * 0.24, 10), height)
    return svg(title, width, height, inner + axis(labels, slot, 0.5, height))


def histogram_chart(title, edges, counts, mark, width=420, height=190):
    """Touching bars between edges; `mark` is a line's (name, value), such as the median's."""
    slot = (width - LEFT - RIGHT) / len(counts)
    names = ["{} to {}".format(short(low), short(high)) for low, high in zip(edges, edges[1:])]
    inner = grid(max(counts), width, height) + upright_bars(counts, names, slot, 1, height)
    name, value = mark
    x = LEFT + (value - edges[0]) / (edges[-1] - edges[0]) * slot * len(counts)
    anchor = "end" if x > width * 0.7 else "start"
    inner += (
        '<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{bottom}"/>'
        '<text class="mark-label" x="{text:.1f}" y="13" text-anchor="{anchor}">{label}</text>'.format(
            x=x, bottom=height - BOTTOM, text=x + (5 if anchor == "start" else -5), anchor=anchor,
            label=escape("{} {}".format(name, short(value)))))
    return svg(title, width, height, inner + axis([short(edge) for edge in edges], slot, 0, height))


def axis(labels, slot, shift, height):
    """Labels below the bars, as many as there is room for."""
    every = math.ceil(AXIS_LABEL_PIXELS / slot)
    return "".join('<text class="axis" x="{:.1f}" y="{}" text-anchor="middle">{}</text>'.format(
        LEFT + slot * (n + shift), height - 6, escape(clip(label, 11)))
        for n, label in enumerate(labels) if n % every == 0)


def upright_bars(counts, names, slot, gap, height):
    tall, most = height - TOP - BOTTOM, max(counts) or 1
    bars = []
    for n, (name, count) in enumerate(zip(names, counts)):
        size = tall * count / most
        bars.append(
            '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2"><title>{}</title></rect>'
            .format(LEFT + slot * n + gap / 2, TOP + tall - size, max(1.0, slot - gap), size,
                    escape("{}: {:,}".format(name, count))))
    return "".join(bars)


def grid(most, width, height):
    """The base line and two lines above it, with their counts."""
    tall, lines = height - TOP - BOTTOM, []
    for count in sorted({0, (most + 1) // 2, most}):
        y = TOP + tall - tall * count / (most or 1)
        lines.append(
            '<line class="{}" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>'
            '<text class="axis" x="{}" y="{:.1f}" text-anchor="end">{}</text>'.format(
                "base" if count == 0 else "grid", LEFT, width - RIGHT, LEFT - 6, y + 4, short(count), y=y))
    return "".join(lines)


def bars_chart(title, pairs, total, width=420):
    """Lying bars, longest first as given, each with its count and share of `total`."""
    left, right, row = 150, 92, 24
    longest = max(count for _, count in pairs) or 1
    parts = []
    for n, (label, count) in enumerate(pairs):
        y = n * row
        size = max(1.0, (width - left - right) * count / longest)
        parts.append(
            '<g><title>{full}</title><text class="label" x="{lx}" y="{ty}" text-anchor="end">{label}</text>'
            '<rect class="bar" x="{left}" y="{by}" width="{size:.1f}" height="14" rx="2"/>'
            '<text class="count" x="{cx:.1f}" y="{ty}">{count:,} · {share:.0%}</text></g>'.format(
                full=escape("{}: {:,}".format(clip(label, 300), count)), lx=left - 8, ty=y + 16,
                label=escape(clip(label, BAR_LABEL_CHARS_MAX)), left=left, by=y + 5, size=size,
                cx=left + size + 6, count=count, share=count / (total or 1)))
    return svg(title, width, row * len(pairs) + 4, "".join(parts))


def svg(title, width, height, inner):
    return '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'.format(
        width, height, escape(title), inner)
