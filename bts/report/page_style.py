"""How does a report look? One style sheet: light and dark by the reader's own choice, readable on paper."""

STYLE = """
:root { --ground: #ffffff; --ink: #1b1f24; --soft: #5b6570; --line: #d9dee3; --card: #f5f7f9; --mark: #1f5fa8; --warn: #8a4b00;
  --warn-ground: #fff4e0; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b; --ink: #e6e9ec; --soft: #9aa4ad; --line: #333a42;
  --card: #1c2127; --mark: #7fb4ee; --warn: #ffc15e; --warn-ground: #33291a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 28px 24px 60px; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 40px 0 6px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 22px 0 4px; }
p { margin: 6px 0 10px; max-width: 78ch; }
.soft, figcaption, caption { color: var(--soft); font-size: 13px; }
.note { background: var(--warn-ground); color: var(--warn); border-left: 4px solid var(--warn); padding: 8px 12px;
  margin: 10px 0; border-radius: 3px; }
nav { font-size: 13px; margin: 12px 0; } nav a { margin-right: 14px; white-space: nowrap; }
a { color: var(--mark); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 10px 0 6px; font-size: 14px; }
caption { caption-side: bottom; text-align: left; padding-top: 6px; max-width: 78ch; }
th, td { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: baseline; }
th { font-weight: 600; font-size: 13px; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.number .range { color: var(--soft); font-size: 12.5px; padding-left: 6px; }
table.wide td.number .range { display: block; padding: 0; }
table.wide td:first-child { min-width: 110px; }
table.headline td:first-child { font-weight: 600; }
.charts { display: flex; flex-wrap: wrap; gap: 18px 24px; align-items: flex-start; }
figure { margin: 8px 0; max-width: 100%; break-inside: avoid; }
.charts figure { flex: 0 1 auto; max-width: min(100%, 520px); }
.charts figure.wide { max-width: 100%; }
svg { max-width: 100%; height: auto; color: var(--ink); display: block; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 14px; }
.tiles figure { margin: 0; background: var(--card); border-radius: 5px; padding: 8px; }
.tiles img { width: 100%; display: block; border-radius: 3px; }
.key { display: inline-block; width: 18px; height: 3px; vertical-align: middle; margin: 0 4px 2px 10px; }
code { font: 12.5px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; font-size: 14px; }
dt { color: var(--soft); } dd { margin: 0; }
@media print {
  :root { --ground: #ffffff; --ink: #000000; --soft: #444444; --line: #bbbbbb; --card: #ffffff; --mark: #000000;
    --warn: #000000; --warn-ground: #ffffff; }
  body { max-width: none; padding: 0; font-size: 11px; } nav { display: none; } h2 { break-after: avoid; }
  .tiles { grid-template-columns: repeat(3, 1fr); } .charts figure { max-width: 48%; }
  .scroll { overflow: visible; } table { font-size: 10.5px; } th, td { padding-right: 9px; }
  table.wide { font-size: 9.5px; } table.wide th, table.wide td { font-size: 9px; padding: 3px 7px 3px 0; }
  td.number .range, table.wide td.number .range { font-size: 8.5px; } table.wide td:first-child { min-width: 60px; }
  tr, figure { break-inside: avoid; } * { print-color-adjust: exact; }
}
"""
