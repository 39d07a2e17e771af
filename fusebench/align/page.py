"""The doctor's findings as one self-contained, inert HTML page."""

from html import escape
from typing import TYPE_CHECKING

from fusebench.align.passage import SIGNS, Group, groups, visible
from fusebench.artifacts import OUTCOMES

if TYPE_CHECKING:
    from fusebench.align.doctor import Diagnosis, TextAlignment

PASSAGE = 400
"""Target positions shown of each text."""

TEXTS = 20
"""Texts shown."""

_STYLE = """
:root{color-scheme:light dark;--exact:#1a7f37;--mapped:#0969da;--tied:#9a6700;--one_to_many:#8250df;--fallback:#cf222e}
@media (prefers-color-scheme:dark){
:root{--exact:#3fb950;--mapped:#58a6ff;--tied:#d29922;--one_to_many:#bc8cff;--fallback:#ff7b72}}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:1rem}
h1{font-size:1.4rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin-top:2rem}
.scroll{overflow-x:auto}table{border-collapse:collapse}
th,td{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #8884;white-space:nowrap}
th:first-child,td:first-child,.t{text-align:left}td.t,.g{font-family:ui-monospace,monospace;font-size:.85rem}
.p{display:flex;flex-wrap:wrap;gap:.15rem .3rem}
.g{display:grid;grid-template-rows:auto auto auto;border-top:3px solid;padding:.1rem .2rem;overflow-wrap:anywhere}
.g i{font-style:normal;font-size:.7rem;line-height:1;text-align:center}.g b{font-weight:600}
.g u{text-decoration:none;opacity:.75}.s{opacity:.4}
"""


def page(diagnosis: "Diagnosis") -> str:
    """Return the page: shares, worst tokens, and both tokenizations of the texts with their links."""
    s = diagnosis.summary
    title = escape(f"{diagnosis.target} ← {diagnosis.source}")
    colours = "".join(f".g.{o}{{border-color:var(--{o})}}.{o} i,td.{o}{{color:var(--{o})}}" for o in OUTCOMES)
    lead = (
        f"{s.positions:,} target positions in {len(diagnosis.texts):,} texts; {s.with_row:.1%} get a source row; "
        f"{s.mass_lost:.2%} of the source's tokens stand for no target token. Sequence {escape(diagnosis.sequence)}, "
        f"vocabulary {escape(diagnosis.vocabulary)}, preset {escape(diagnosis.preset)}."
    )
    shown = [t for t in diagnosis.texts if t.target_ids][:TEXTS]
    body = [
        f"<h1>{title}</h1><p>{lead}</p>",
        f"<h2>Positions by outcome</h2>{shares_table(diagnosis)}",
        f"<h2>Tokens that most often get no source row</h2>{_worst(diagnosis)}" if s.worst else "",
        f"<h2>Both tokenizations</h2><p>{_legend()}</p>" if shown else "",
        *(_passage(text) for text in shown),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_STYLE}{colours}</style></head><body>{''.join(body)}</body></html>"
    )


def shares_table(diagnosis: "Diagnosis") -> str:
    """Return the table of shares by outcome and kind of text, as an HTML fragment."""
    s = diagnosis.summary
    head = "".join(f'<th scope="col">{SIGNS[o]} {o.replace("_", " ")}</th>' for o in OUTCOMES)
    lines = [("all", s.positions, s.shares)]
    lines += [(kind.replace("_", "-"), s.kind_positions[kind], shares) for kind, shares in s.kinds.items()]
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td>{count:,}</td>'
        + "".join(f'<td class="{o}">{shares[o]:.1%}</td>' for o in OUTCOMES)
        + "</tr>"
        for name, count, shares in lines
    )
    top = f'<tr><th scope="col">tokens of</th><th scope="col">positions</th>{head}</tr>'
    return f'<div class="scroll"><table><thead>{top}</thead><tbody>{rows}</tbody></table></div>'


def _worst(diagnosis: "Diagnosis") -> str:
    rows = "".join(
        f'<tr><td class="t">{_token(w.token)}</td><td>{w.lost:,}</td><td>{w.count:,}</td>'
        f'<td class="t">{_token(w.example).replace("▁", " ")}</td>'
        f'<td class="t">{" ".join(_token(t) for t in w.source)}</td></tr>'
        for w in diagnosis.summary.worst
    )
    head = "".join(
        f'<th scope="col"{kind}>{name}</th>'
        for name, kind in (
            ("target token", ""),
            ("without row", ""),
            ("of", ""),
            ("for example", ' class="t"'),
            ("source's tokens there", ' class="t"'),
        )
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _token(text: str) -> str:
    return escape(visible(text))


def _legend() -> str:
    parts = (f'<span class="{o}"><i>{SIGNS[o]}</i> {o.replace("_", " ")}</span>' for o in OUTCOMES)
    return "Target above, source below. " + ", ".join(parts) + "."


def _passage(text: "TextAlignment") -> str:
    last = min(PASSAGE, len(text.target_ids))
    more = f"<p>… {len(text.target_ids) - last:,} more positions</p>" if last < len(text.target_ids) else ""
    return f'<div class="p">{"".join(_group(g) for g in groups(text, 0, last))}</div>{more}<hr>'


def _group(group: Group) -> str:
    bar = '<span class="s">|</span>'
    above, below = (bar.join(_token(t) for t in side) for side in (group.target, group.source))
    return f'<span class="g {group.worst}"><b>{above}</b><i>{SIGNS[group.worst]}</i><u>{below}</u></span>'
