/** The style of a report: for wide and narrow windows, light and dark, screen and paper. */
export const reportStyle = `
:root{color-scheme:light dark;--page:#fff;--card:#f5f7fa;--ink:#1c2430;--soft:#5b6675;--line:#dfe4eb;
--ink-0:#2563c9;--ink-1:#c4481f;--right:46,139,87;--wrong:208,84,43}
@media (prefers-color-scheme:dark){:root{--page:#12161c;--card:#1b2129;--ink:#e4e9f0;--soft:#9aa6b6;--line:#2f3844;
--ink-0:#79a9f5;--ink-1:#f0916c;--right:67,170,110;--wrong:224,104,64}}
*{box-sizing:border-box}
body{font:15px/1.45 system-ui,sans-serif;max-width:1100px;margin:0 auto;padding:1.5em 1em 4em;color:var(--ink);background:var(--page)}
h1{font-size:1.5em;line-height:1.25;margin:.3em 0 .8em}h2{font-size:1.15em;margin:2.2em 0 .6em}p{margin:.3em 0 .8em;color:var(--soft)}
figure{margin:0;min-width:0}figcaption{font-size:.9em;overflow-wrap:anywhere}.charts b{white-space:nowrap}
.charts,.clips{display:grid;gap:1em;grid-template-columns:repeat(auto-fit,minmax(min(100%,25em),1fr))}
.charts{margin-top:1.5em;grid-template-columns:repeat(auto-fit,minmax(min(100%,20em),1fr))}.charts figure{background:var(--card);border-radius:8px;padding:.7em .8em}
svg{display:block;width:100%;height:auto;font-size:12px}svg text{fill:var(--soft)}.grid{stroke:var(--line)}
table{border-collapse:collapse}th,td{text-align:left;vertical-align:top;overflow-wrap:anywhere}
.facts{width:100%}.facts th,.facts td{padding:.3em 1em .3em 0;border-bottom:1px solid var(--line)}
.facts th{font-weight:600}.facts thead th{color:var(--soft);font-weight:400;font-size:.9em}
.number{white-space:nowrap;font-variant-numeric:tabular-nums}
.bar{width:30%;vertical-align:middle}.bar i{display:block;height:.6em;min-width:1px;border-radius:2px;background:rgb(var(--right))}
.scroll{overflow:auto;max-height:26em}.wide{overflow-x:auto}
.matrix{font-size:10px}.matrix th{text-align:right;font-weight:400;padding-right:.6em;white-space:nowrap;color:var(--soft);
max-width:min(24em,32vw);overflow:hidden;text-overflow:ellipsis;position:sticky;left:0;background:var(--page)}
.matrix td{width:13px;height:13px;min-width:13px;border:1px solid var(--line);text-align:center;padding:0}
.matrix.counts{font-size:12px}.matrix.counts td{width:26px;height:22px;min-width:22px;vertical-align:middle}
.right{background:rgba(var(--right),var(--share))}.wrong{background:rgba(var(--wrong),var(--share))}
.clips img{display:block;width:100%;border-radius:6px;margin-bottom:.3em;outline:1px solid var(--line);outline-offset:-1px}
.clips .none{background:var(--card);border-radius:6px;padding:.8em;margin-bottom:.3em;color:var(--soft);font-size:.85em}
@media print{.scroll{max-height:none}figure,tr{break-inside:avoid}}`;
