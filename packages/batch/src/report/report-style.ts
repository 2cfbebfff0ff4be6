/** How a report looks: light and dark by the reader's setting, one column on a phone. */
export const REPORT_STYLE: string = `
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --line: #e3e6eb; --grid: #eceef2; --text: #1b2430; --soft: #66707f;
  --accent: #6d4aff; --good: #1f9d6b; --bad: #d6393f; --late: #c77700; --quiet: #98a1af;
  --held: #2f7fd6; --lapsing: #a9cdf2; --back: #7b8794; --shade: #f0edff; --spill: #c13f8f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #11151b; --card: #191f27; --line: #2b333e; --grid: #252c36; --text: #e6eaf0; --soft: #93a0b1;
    --accent: #a58fff; --good: #3ecf94; --bad: #ff6b6f; --late: #f2ad3d; --quiet: #6c7787;
    --held: #5aa5f5; --lapsing: #2d5580; --back: #9aa7b6; --shade: #241f3d; --spill: #f27cc0;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 28px 16px 56px; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; font-variant-numeric: tabular-nums;
}
main { max-width: 1120px; margin: 0 auto; display: grid; gap: 18px; }
main > * { min-width: 0; }
header h1 { font-size: 24px; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
header p { margin: 6px 0 0; color: var(--soft); }
h2 { font-size: 16px; margin: 0 0 12px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 18px 20px; }
.pill {
  display: inline-block; padding: 1px 10px; border-radius: 99px; font-size: 13px; font-weight: 600;
  border: 1px solid currentColor; margin-right: 8px;
}
.pill.succeeded, .is-succeeded { color: var(--good); }
.pill.failed, .pill.timedOut, .is-failed, .is-timedOut { color: var(--bad); }
.pill.cancelled, .is-cancelled { color: var(--late); }
.is-skipped { color: var(--soft); }
.tiles { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 12px 16px; }
.tile b { display: block; font-size: 21px; line-height: 1.3; font-weight: 650; }
.tile span { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch; }
.note, .legend { color: var(--soft); font-size: 13px; margin: 10px 0 0; }
.legend span { display: inline-block; margin-right: 14px; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; vertical-align: -1px; margin-right: 5px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; color: var(--soft); font-weight: 550; font-size: 13px; }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; } td:nth-child(2) { white-space: nowrap; }
td.name { font-weight: 550; overflow-wrap: anywhere; min-width: 130px; }
td.why { color: var(--soft); overflow-wrap: anywhere; min-width: 180px; }
tr:last-child td { border-bottom: 0; }
tr:target td { background: var(--shade); }
tr.critical td.name::before { content: "● "; color: var(--accent); }
ul.causes { margin: 0; padding: 0; list-style: none; display: grid; gap: 14px; }
ul.causes b { overflow-wrap: anywhere; }
ul.causes ol { margin: 4px 0 0; padding-left: 22px; color: var(--soft); font-size: 14px; overflow-wrap: anywhere; }
ul.causes p { margin: 4px 0 0; font-size: 14px; overflow-wrap: anywhere; }
.chain { display: grid; gap: 5px; grid-template-columns: fit-content(30%) 1fr max-content; align-items: center; font-size: 14px; }
.chain b { font-weight: 550; overflow-wrap: anywhere; }
a { color: inherit; text-decoration: none; } a:hover { text-decoration: underline; }
.chain .track { height: 12px; position: relative; background: var(--grid); border-radius: 4px; }
.chain .track i { position: absolute; top: 0; bottom: 0; min-width: 2px; border-radius: 3px; background: var(--accent); }
.chain .track u { position: absolute; top: 5px; height: 2px; background: var(--quiet); }
.chain span { color: var(--soft); font-size: 13px; white-space: nowrap; }
footer { color: var(--soft); font-size: 13px; text-align: center; }
svg { display: block; font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--text); }
svg a { text-decoration: none; }
svg .soft { fill: var(--soft); } svg .small { font-size: 11.5px; } svg .mid { text-anchor: middle; } svg .end { text-anchor: end; }
svg .heading { font-weight: 650; } svg .name { font-weight: 600; } svg .sign { text-anchor: end; font-weight: 700; fill: var(--quiet); }
svg .frame { fill: var(--card); stroke: var(--line); stroke-width: 1.5; }
svg .box.critical .frame { stroke: var(--accent); stroke-width: 2.5; fill: var(--shade); }
svg .box.skipped .frame { stroke-dasharray: 4 4; }
svg .status { fill: var(--quiet); }
svg .succeeded .status, svg .bar.succeeded { fill: var(--good); } svg .succeeded .sign { fill: var(--good); }
svg .failed .status, svg .bar.failed, svg .timedOut .status, svg .bar.timedOut { fill: var(--bad); }
svg .failed .sign, svg .timedOut .sign { fill: var(--bad); }
svg .cancelled .status, svg .bar.cancelled, svg .cancelled .sign { fill: var(--late); }
svg .bar.running { fill: var(--quiet); } svg .bar.held { fill: var(--held); } svg .bar.lapsing { fill: var(--lapsing); }
svg .edge { fill: none; stroke: var(--quiet); stroke-width: 1.5; } svg .edge.critical { stroke: var(--accent); stroke-width: 2.5; } svg .edge.barrier { stroke-dasharray: 6 4; }
svg .data { font-size: 11.5px; fill: var(--soft); paint-order: stroke; stroke: var(--card); stroke-width: 4px; stroke-linejoin: round; }
svg .grid { fill: none; stroke: var(--grid); } svg .settled { fill: none; stroke: var(--soft); stroke-dasharray: 4 3; }
svg .wait { fill: none; stroke: var(--quiet); stroke-width: 2; stroke-dasharray: 2 3; } svg .tick { fill: none; stroke: var(--card); }
svg .mark { fill: var(--accent); } svg .reclaimed { fill: var(--back); }
svg .spilled { fill: var(--spill); fill-opacity: 0.16; stroke: var(--spill); stroke-width: 1.5; }
svg .moved { fill: var(--spill); stroke: var(--card); stroke-width: 1.5; paint-order: stroke; } svg .away { fill: none; stroke: var(--spill); stroke-width: 2; stroke-dasharray: 2 3; }
svg .restored { fill: var(--card); stroke: var(--good); stroke-width: 2; }
svg .leased { fill: var(--held); opacity: 0.85; } svg .returning { fill: var(--back); opacity: 0.6; }
@media print { body { background: none; padding: 0; } section, .tile { break-inside: avoid; } }
@media (max-width: 560px) {
  body { padding: 18px 10px 40px; } section { padding: 14px; border-radius: 12px; } header h1 { font-size: 20px; }
  .tiles { grid-template-columns: repeat(2, 1fr); gap: 8px; } .tile { padding: 10px 12px; } .tile b { font-size: 18px; }
  .chain { grid-template-columns: 1fr; gap: 2px; } .chain span { white-space: normal; margin-bottom: 8px; }
}
`.trim();
