"""Style sheet of the page, for light and dark mode."""

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")
"""What the reader's own machine has: no font is fetched."""

CSS = """
:root { --bts-share: 0.75; --bts-line: 1; --bts-zoom: 1; --bts-x: 0%; --bts-y: 0%; --bts-ink: #1b1f24; --bts-soft:
  #5b6570; --bts-rule: #e1e5e9; --bts-card: #ffffff; --bts-ground: #f6f7f9; --bts-accent: #1f5fa8; --bts-rail: #e8ecf0;
  --bts-bar: #97a3af; --bts-warn: #7a4700; --bts-warn-ground: #fff5e3; }
.dark { --bts-ink: #e8ebee; --bts-soft: #9aa4ad; --bts-rule: #2b323a; --bts-card: #1b2026; --bts-ground: #14171b;
  --bts-accent: #7fb4ee; --bts-rail: #2b323a; --bts-bar: #66717c; --bts-warn: #ffc15e; --bts-warn-ground: #33291a; }
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; padding: 28px 24px 40px !important; }
.gradio-container main, .gradio-container .app { padding: 0 !important; }
.gradio-container button[role=tab][aria-selected=true] { color: var(--bts-accent) !important; }
#bts-class label { padding: 6px 8px; }
#bts-class .wrap { gap: 4px 2px; }
.bts-controls + * { margin-top: -4px; }
footer { display: none !important; }
.html-container { padding: 0 !important; }
#bts-upload, #bts-files { background: var(--bts-card); }
#bts-upload .wrap, #bts-files .wrap { font-size: 14px; line-height: 1.5; color: var(--bts-soft); padding-top: 14px; }
#bts-upload .icon-wrap, #bts-files .icon-wrap { width: 20px; margin-bottom: 4px; }
.bts-examples { align-items: center; gap: 8px !important; flex-wrap: wrap; }
.bts-examples button { flex: 0 0 auto !important; min-width: 0 !important; padding: 6px 14px !important; font-weight:
  400 !important; border: 1px solid var(--bts-rule) !important; border-radius: 6px !important; color: var(--bts-ink)
  !important; }
.bts-examples button:hover { border-color: var(--bts-accent) !important; }
.bts-examples > :first-child { flex: 0 0 auto; width: auto; min-width: 0; }
.bts-row { gap: 32px !important; }
.bts-head { display: grid; grid-template-columns: 1fr auto; gap: 4px 24px; align-items: start; color: var(--bts-ink); }
.bts-head h1 { font-size: 24px; line-height: 1.2; margin: 0; font-weight: 650; letter-spacing: -0.01em; }
.bts-head p { margin: 2px 0 0; color: var(--bts-soft); font-size: 14px; }
.bts-head .bts-badge { color: var(--bts-warn); background: var(--bts-warn-ground); font-size: 13px; padding: 6px 12px;
  border-radius: 6px; }
.bts-head ul { grid-column: 1 / -1; list-style: none; margin: 14px 0 0; padding: 12px 0 0; border-top: 1px solid
  var(--bts-rule); display: flex; flex-wrap: wrap; gap: 4px 32px; font-size: 13px; }
.bts-head li { margin: 0; }
.bts-head li b { font-weight: 600; margin-right: 6px; }
.bts-head li span { color: var(--bts-soft); margin-left: 8px; }
.bts-soft { color: var(--bts-soft); font-size: 14px; margin: 0; }
.bts-stage { position: relative; margin: 0; background: #000; border-radius: 10px; overflow: hidden; color: #c6ccd2; }
.bts-stage.empty { display: grid; place-items: center; min-height: 420px; text-align: center; padding: 24px; }
.bts-stage.empty p { color: #8b95a0; font-size: 14px; line-height: 1.7; margin: 0; }
#bts-stage .pending, #bts-panel .pending { opacity: 1; }
#bts-stage .wrap.full, #bts-panel .wrap.full { bottom: 0; }
#bts-stage .wrap.full { background: #000; border-radius: 10px; --body-text-color: #e8ebee;
  --background-fill-primary: #14171b; --background-fill-secondary: #22272d; --border-color-primary: #4a535d;
  --loader-color: #7fb4ee; }
#bts-panel .wrap.full { background: var(--bts-ground); border-radius: 0; }
#bts-panel .wrap.full > * { visibility: hidden; }
.bts-view { display: grid; place-items: center; overflow: hidden; touch-action: pan-y; }
.bts-layers { position: relative; width: min(100%, calc(68vh * var(--bts-shape, 1))); transform: translate(var(--bts-x),
  var(--bts-y)) scale(var(--bts-zoom)); }
.bts-layers img { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; user-select: none; }
.bts-heat { opacity: var(--bts-share); }
.bts-contour { opacity: var(--bts-line); }
.bts-stage figcaption { display: flex; justify-content: space-between; align-items: center; gap: 12px;
  padding: 6px 6px 6px 14px; font-size: 12.5px; color: #9aa4ad; background: #0b0d0f; overflow-wrap: anywhere; }
.bts-stage figcaption span { color: #9aa4ad; }
.bts-legend em { white-space: nowrap; font-style: normal; }
.bts-tools { display: flex; gap: 4px; }
.bts-tools button { min-width: 34px; height: 32px; padding: 0 8px; border: 0; border-radius: 6px; background: #22272d;
  color: #e8ebee; font-size: 14px; cursor: pointer; }
.bts-tools button:hover { background: #4a535d; }
.bts-legend { display: flex; flex-wrap: wrap; gap: 4px 24px; padding: 10px 2px 0; font-size: 12.5px; color:
  var(--bts-soft); }
.bts-legend i { display: inline-block; vertical-align: middle; margin: 0 6px; }
.bts-legend i.line { width: 20px; height: 3px; margin-left: 0; outline: 1px solid rgba(0, 0, 0, .55); }
.bts-legend i.heat { width: 90px; height: 8px; border-radius: 2px; }
.bts-legend b { font-weight: 400; }
.bts-strip { padding: 12px 0 0; cursor: pointer; }
.bts-strip svg { display: block; width: 100%; height: 26px; background: var(--bts-rail); border-radius: 4px; }
.bts-strip rect { fill: var(--bts-accent); }
.bts-strip rect.now { fill: var(--bts-bar); opacity: .55; }
.bts-strip p { margin: 4px 2px 0; font-size: 12.5px; color: var(--bts-soft); }
.bts-panel { color: var(--bts-ink); }
.bts-panel h2 b { font-weight: inherit; display: inline-block; }
.bts-panel h2 b::first-letter { text-transform: uppercase; }
.bts-panel h2 { font-size: 26px; line-height: 1.2; margin: 0 0 14px; font-weight: 650; display: flex; justify-content:
  space-between; gap: 12px; }
.bts-panel h2 span { font-weight: 400; color: var(--bts-soft); font-variant-numeric: tabular-nums; }
.bts-kicker { font-size: 13px; color: var(--bts-soft); margin: 0 0 2px !important; }
dl + .bts-kicker { margin-top: 20px !important; }
.bts-bars { list-style: none; margin: 0 0 20px !important; padding: 0 !important; }
.bts-bars li { display: grid; grid-template-columns: 1fr auto; gap: 4px 12px; margin: 0 0 12px; font-size: 14px; color:
  var(--bts-soft); }
.bts-bars li::marker { content: none; }
.bts-bars b { font-weight: 400; font-variant-numeric: tabular-nums; }
.bts-bars li.best { color: var(--bts-ink); }
.bts-bars .best b, .bts-bars .best span { font-weight: 600; }
.bts-bars i { grid-column: 1 / -1; height: 6px; border-radius: 3px; background: var(--bts-rail); overflow: hidden; }
.bts-bars u { display: block; height: 100%; background: var(--bts-bar); }
.bts-bars .best u { background: var(--bts-accent); }
.bts-facts { display: grid; grid-template-columns: max-content 1fr; gap: 6px 20px; margin: 0; font-size: 14px; }
.bts-facts dt { color: var(--bts-soft); }
.bts-facts dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; }
.bts-note { margin: 0 0 10px !important; padding: 9px 12px; font-size: 13.5px; line-height: 1.45; border-radius: 6px;
  background: var(--bts-warn-ground); color: var(--bts-warn); overflow-wrap: anywhere; }
.bts-note.refer { font-weight: 600; border-left: 4px solid currentColor; }
.bts-note:last-of-type { margin-bottom: 16px !important; }
.bts-files { display: flex; flex-wrap: wrap; gap: 8px; margin-top: 22px; padding-top: 18px; border-top: 1px solid
  var(--bts-rule); }
.bts-files a, .bts-zip { font-size: 13px; padding: 7px 12px; border: 1px solid var(--bts-rule); border-radius: 6px;
  color: var(--bts-accent) !important; text-decoration: none !important; background: var(--bts-card); }
.bts-files a:hover, .bts-zip:hover { border-color: var(--bts-accent); }
.bts-batch { color: var(--bts-ink); font-size: 14px; }
.bts-batch p { margin: 0 0 8px; }
.bts-batch progress { appearance: none; display: block; width: 100%; height: 6px; margin: 0 0 14px; border: 0;
  border-radius: 3px; background: var(--bts-rail); overflow: hidden; }
.bts-batch progress::-webkit-progress-bar { background: var(--bts-rail); }
.bts-batch progress::-webkit-progress-value { background: var(--bts-accent); }
.bts-batch progress::-moz-progress-bar { background: var(--bts-accent); }
.bts-batch .scroll { overflow-x: auto; margin-top: 16px; contain: inline-size; }
#bts-stop { border: 1px solid var(--bts-rule); color: var(--bts-ink); font-weight: 400; }
.bts-batch table { width: 100%; border-collapse: collapse; }
.bts-batch :is(table, thead, tbody, tr) { border: 0 !important; background: none !important; }
.bts-batch th, .bts-batch td { border: 0; border-bottom: 1px solid var(--bts-rule); padding: 9px 14px 9px 0; text-align:
  left; vertical-align: top; }
.bts-batch .n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bts-batch th button { border: 0; background: none; padding: 0; font: inherit; font-weight: 600; color: var(--bts-soft);
  cursor: pointer; }
.bts-batch th[aria-sort=ascending] button::after { content: " ↑"; }
.bts-batch th[aria-sort=descending] button::after { content: " ↓"; }
.bts-batch .failed { color: var(--bts-warn); }
.bts-batch td:first-child { overflow-wrap: anywhere; min-width: 150px; }
.bts-batch td:last-child { color: var(--bts-soft); font-size: 13px; min-width: 220px; }
.bts-batch .failed td:last-child { color: var(--bts-warn); }
:is(button, a, input, .bts-strip):focus-visible { outline: 2px solid var(--bts-accent) !important; outline-offset: 2px;
  }
@media (max-width: 640px) {
  .gradio-container { padding: 18px 14px 32px !important; }
  .bts-head { grid-template-columns: 1fr; }
  .bts-head .bts-badge { justify-self: start; margin-top: 8px; }
  .bts-stage.empty { min-height: 240px; }
  .bts-head ul { flex-direction: column; }
  .bts-head li span { display: block; margin: 0; }
  .bts-batch td:last-child { min-width: 420px; }
  .bts-tools button { min-width: 42px; height: 42px; }
}
"""
