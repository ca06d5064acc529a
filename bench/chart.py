# SPDX-License-Identifier: Apache-2.0
"""The plot of bench/flyway: an SVG of bars, readable on light and dark ground.

A panel for each link and each of the two quantities; in it a group for each row, a bar for each
mover: as long as the median, with a line from the least to the most.
"""
from html import escape

PANEL, GAP, LEFT, TOP = 300, 28, 118, 74
BAR, GROUP_GAP, HEAD = 13, 14, 26
BARS = PANEL - 62       # room for the number at a bar's end

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 } .head { font-weight: 600 }
.number { font-size: 10.5px } .faint { fill: #57606a } .axis { stroke: #8c959f }
.range { stroke: #24292f; stroke-opacity: .55 }
.godwit { fill: #c8602b } .virsh { fill: #57708f } .parallel { fill: #7f97b2 }
.xbzrle { fill: #a9b9ca } .multifd-zstd { fill: #6f9a8d }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .faint { fill: #9aa4af } .axis { stroke: #6e7681 }
  .range { stroke: #e6edf3 }
  .godwit { fill: #e58a52 } .virsh { fill: #7c98ba } .parallel { fill: #5f7896 }
  .xbzrle { fill: #465a72 } .multifd-zstd { fill: #6fae9b }
}
"""


def short(value):
    """A number with as many digits as can be trusted."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


class Chart:
    """cells: {(link, row, kind): {quantity: (median, least, most)}}"""

    def __init__(self, cells, quantities, names):
        self.cells, self.quantities, self.names = cells, quantities, names
        self.links, self.rows, self.kinds = (
            list(dict.fromkeys(key[at] for key in cells)) for at in range(3))
        self.group = BAR * len(self.kinds) + GROUP_GAP
        self.panel_height = HEAD + self.group * len(self.rows) + 16
        self.out = []

    def _text(self, x, y, text, kind="", anchor="start"):
        self.out.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">'
                        f'{escape(text)}</text>')

    def _bar(self, x, y, kind, values, most):
        median, least, highest = values
        scale = BARS / most
        self.out.append(f'<rect x="{x}" y="{y}" width="{max(median * scale, 1):.1f}"'
                        f' height="{BAR - 2}" rx="1.5" class="{kind}"/>')
        middle = y + (BAR - 2) / 2
        self.out.append(f'<path d="M{x + least * scale:.1f} {middle}H{x + highest * scale:.1f}"'
                        ' class="range"/>')
        self._text(x + highest * scale + 5, y + BAR - 3.5, short(median), "number")

    def _panel(self, x, y, link, quantity):
        title, unit = self.quantities[quantity]
        self._text(x, y + 12, f"{self.names[link]}: {title}, {unit}", "head")
        most = max((cell[quantity][2] for key, cell in self.cells.items() if key[0] == link),
                   default=1) or 1
        for at, row in enumerate(self.rows):
            top = y + HEAD + at * self.group
            if link == self.links[0]:
                self._text(x - 10, top + self.group / 2 - 2, self.names[row], "faint", "end")
            for number, kind in enumerate(self.kinds):
                cell = self.cells.get((link, row, kind))
                if cell:
                    self._bar(x, top + number * BAR, kind, cell[quantity], most)
        self.out.append(f'<path d="M{x - .5} {y + HEAD - 5}v{self.group * len(self.rows) - 4}"'
                        ' class="axis"/>')

    def draw(self, title):
        """The whole picture."""
        width = LEFT + len(self.links) * (PANEL + GAP)
        height = TOP + len(self.quantities) * (self.panel_height + 10)
        self._text(16, 24, title, "title")
        x = 16
        for kind in self.kinds:
            self.out.append(f'<rect x="{x}" y="38" width="12" height="12" class="{kind}"/>')
            self._text(x + 17, 48.5, self.names[kind])
            x += 32 + 6.6 * len(self.names[kind])
        for down, quantity in enumerate(self.quantities):
            for across, link in enumerate(self.links):
                self._panel(LEFT + across * (PANEL + GAP), TOP + down * (self.panel_height + 10),
                            link, quantity)
        width = max(width, int(x))
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
                f' width="{width}" height="{height}" role="img">\n<title>{escape(title)}</title>\n'
                f"<style>{STYLE}</style>\n" + "\n".join(self.out) + "\n</svg>\n")
