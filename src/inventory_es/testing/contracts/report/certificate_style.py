"""The style sheet of the certificate: light and dark, wide and narrow, on a screen and on paper."""

STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfb; --ink: #1c1f23; --quiet: #5a6068; --line: #dcdcd4; --sheet: #f3f3ee;
  --kept: #17693a; --broken: #b3261e; --known: #8a5300; --untried: #8a5300; --undeclared: #5a6068; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181b; --ink: #e6e6e1; --quiet: #a2a8af; --line: #33383e; --sheet: #1e2226;
    --kept: #6fcf97; --broken: #ff8a80; --known: #f2b866; --untried: #f2b866; --undeclared: #a2a8af; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 0 1.25rem 3rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif; overflow-wrap: anywhere; }
header { padding: 2.5rem 0 1.5rem; border-top: 0.4rem solid var(--kept); }
header.broken { border-top-color: var(--broken); }
header.known { border-top-color: var(--known); }
header p { margin: 0; color: var(--quiet); }
h1 { margin: 0.1rem 0 0.4rem; font-size: clamp(1.7rem, 6vw, 2.6rem); line-height: 1.15; font-weight: 650; letter-spacing: -0.015em; }
header .meaning { font-size: 1.15rem; font-weight: 600; color: var(--kept); }
header.broken .meaning { color: var(--broken); }
header.known .meaning { color: var(--known); }
h2 { margin: 2.6rem 0 0.3rem; font-size: 1.35rem; font-weight: 620; letter-spacing: -0.01em; }
h2 small { font-size: 1rem; font-weight: 400; color: var(--quiet); }
h2 + p { margin: 0 0 0.8rem; color: var(--quiet); }
.counts { display: flex; flex-wrap: wrap; gap: 0.35rem; margin: 1.4rem 0 0; padding: 0; list-style: none; }
.counts li { flex-basis: 8.5rem; padding: 0.45rem 0.7rem; border-left: 0.3rem solid; background: var(--sheet); white-space: nowrap; }
.counts b { font-size: 1.2rem; color: var(--ink); }
dl { margin: 0.8rem 0 0; display: grid; grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); gap: 0 2rem; }
dl div { display: grid; grid-template-columns: 6.5rem 1fr; padding: 0.4rem 0; border-bottom: 1px solid var(--line); }
dl div:first-child, dl div:last-child { grid-column: 1 / -1; }
dt { color: var(--quiet); }
dd { margin: 0; }
table { width: 100%; border-collapse: collapse; font-size: 0.93rem; overflow-wrap: break-word; }
caption { text-align: left; color: var(--quiet); padding-bottom: 0.5rem; }
th, td { text-align: left; vertical-align: top; padding: 0.4rem 1rem 0.4rem 0; border-bottom: 1px solid var(--line); }
th[scope="row"] { font: 500 0.86rem/1.6 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
td:last-child { width: 70%; }
td span { margin-right: 0.9em; white-space: nowrap; }
.promises { margin: 0; padding: 0; list-style: none; }
.promises li { display: grid; grid-template-columns: 1.6rem minmax(0, 1fr); padding: 0.6rem 0; border-top: 1px solid var(--line); }
.promises li div { display: grid; grid-template-columns: 4.2rem minmax(0, 1fr) auto; gap: 0 1rem; }
.promises h3 { margin: 0; grid-column: 1; grid-row: 1; font-size: 1rem; font-weight: 620; white-space: nowrap; }
.promises p { margin: 0; grid-column: 2; }
.promises .tried { grid-column: 3; grid-row: 1; font-size: 0.85rem; color: var(--quiet); text-align: right; white-space: nowrap; }
.promises .note { font-size: 0.93rem; color: var(--quiet); }
.mark { font-weight: 700; }
.kept .mark, .counts .kept { color: var(--kept); }
.broken .mark, .counts .broken { color: var(--broken); }
.known .mark, .counts .known { color: var(--known); }
.untried .mark, .counts .untried { color: var(--untried); }
.undeclared .mark, .counts .undeclared { color: var(--undeclared); }
pre { grid-column: 2 / -1; margin: 0.6rem 0 0.3rem; padding: 0.8rem 1rem; background: var(--sheet); border-left: 0.2rem solid var(--broken);
  font: 0.84rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; white-space: pre-wrap; }
footer { margin-top: 3rem; padding-top: 0.8rem; border-top: 1px solid var(--line); font-size: 0.9rem; color: var(--quiet); }
footer p { margin: 0.2rem 0; }
:focus-visible { outline: 2px solid var(--known); outline-offset: 2px; }
@media (max-width: 44rem) {
  body { padding: 0 1rem 2rem; }
  header { padding-top: 1.6rem; }
  .promises li div { display: block; }
  .promises .tried { text-align: left; margin-top: 0.15rem; }
  .promises .tried { white-space: normal; }
  th, td { padding-right: 0.6rem; }
  td:last-child { overflow-wrap: anywhere; }
  td:last-child { width: auto; padding-right: 0; }
  td span { margin-right: 0.2em; }
  th[scope="row"] { width: 8.5rem; font-size: 0.8rem; }
  pre { padding: 0.7rem; font-size: 0.8rem; }
  .counts li { flex-grow: 1 !important; }
}
@media print {
  :root { color-scheme: light; --paper: #fff; --ink: #000; --quiet: #444; --line: #bbb; --sheet: #fff;
    --kept: #17693a; --broken: #b3261e; --known: #8a5300; --untried: #8a5300; --undeclared: #444; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .promises li, dl div, tr { break-inside: avoid; }
  h2, h2 + p { break-after: avoid; }
  pre { border: 1px solid var(--line); }
}
"""
