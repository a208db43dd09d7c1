"""The style sheet of the pages that evaluations write; one column on a phone, as many as fit elsewhere."""

STYLE = """
:root { --ink: #1b1d20; --paper: #ffffff; --line: #c9cdd3; --soft: #f3f4f6; --good: #17692f; --bad: #a3221c; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e9eb; --paper: #15171a; --line: #3d4249; --soft: #202329; --good: #7fd497; --bad: #ff9b92; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 90rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.25rem; } h3 { font-size: 1.1rem; display: inline; }
h4 { font-size: 1rem; margin: 0 0 .5rem; }
a { color: inherit; }
:focus-visible { outline: 3px solid currentColor; outline-offset: 2px; }
.skip { position: absolute; left: -100vw; } .skip:focus { left: 1rem; background: var(--paper); padding: .5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; } dd { margin: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .2rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child { text-align: left; } tr.category th { padding-left: 1.5rem; font-weight: normal; }
tr.overall, tr.family { font-weight: bold; background: var(--soft); }
fieldset { border: 1px solid var(--line); display: flex; gap: 1.5rem; flex-wrap: wrap; margin: 0 0 1rem; }
label, summary { padding: .4rem 0; cursor: pointer; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
article { border: 1px solid var(--line); border-left-width: .4rem; padding: .75rem; background: var(--soft); }
article.passed { border-left-color: var(--good); } article.failed { border-left-color: var(--bad); }
article.passed strong { color: var(--good); } article.failed strong { color: var(--bad); }
article p { margin: .5rem 0 0; }
.strip { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); gap: .5rem; }
figure { margin: 0; } figcaption { font-size: .8rem; }
img { width: 100%; height: auto; display: block; }
body:has(#show-passed:checked) article.failed, body:has(#show-failed:checked) article.passed { display: none; }
"""
