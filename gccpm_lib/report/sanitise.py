"""Markdown and cells' HTML -> HTML of harmless tags only, formulas as text: nothing in it loads or runs anything."""

import html
import re
import unicodedata
from collections.abc import Mapping

import bleach
from bleach.css_sanitizer import CSSSanitizer
from bs4 import BeautifulSoup
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
TAGS = frozenset(
    "a b blockquote br caption code dd del details div dl dt em figcaption figure hr i img kbd li ol p pre s small "
    "span strong sub summary sup table tbody td tfoot th thead tr u ul".split()
) | set(HEADINGS)
STYLES = CSSSanitizer(allowed_css_properties=["text-align", "font-weight", "color", "background-color", "width"])
SYMBOLS = {
    **{"times": "×", "cdot": "·", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "neq": "≠", "ne": "≠", "approx": "≈"},
    **{"sum": "∑", "prod": "∏", "infty": "∞", "in": "∈", "pm": "±", "to": "→", "rightarrow": "→", "ldots": "…"},
    **{"dots": "…", "cdots": "⋯", "partial": "∂", "nabla": "∇", "lVert": "‖", "rVert": "‖", "Vert": "‖", "left": ""},
    **{"right": "", "quad": " ", "max": "max", "min": "min", "exp": "exp", "log": "log", "odot": "⊙", "oplus": "⊕"},
}


class PlainMath(IPythonRenderer):
    """Markdown to HTML with formulas as text: a formula renderer would have to be loaded from the network."""

    def inline_math(self, body: str) -> str:
        return f'<span class="math">{math_html(body)}</span>'

    def block_math(self, body: str) -> str:
        return f'<span class="math block">{math_html(body)}</span>'

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return super().image(text or "illustration", url, title)


def math_html(formula: str) -> str:
    """A simple TeX formula -> readable HTML text: Greek letters, sub- and superscripts, fractions with a slash."""
    text = html.escape(formula.strip())
    text = re.sub(r"\\[,;:!> ]|~", " ", text).replace("\\\\", " ").replace("\\{", "{").replace("\\|", "‖")
    previous = None
    while text != previous:  # from the inside out
        previous = text
        text = re.sub(r"\\(?:text|mathrm|mathbf|mathbb|mathcal|boldsymbol|operatorname)\{([^{}]*)\}", r"\1", text)
        text = re.sub(r"\\hat\{?(\w)\}?", "\\1\u0302", text)
        text = re.sub(r"\\sqrt\{([^{}]*)\}", r"√(\1)", text)
        text = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", _fraction, text)
        text = re.sub(r"_\{([^{}]*)\}", r"<sub>\1</sub>", text)
        text = re.sub(r"\^\{([^{}]*)\}", r"<sup>\1</sup>", text)
    text = re.sub(r"_(\\?\w+?(?![a-z])|\S)", _script("sub"), text)
    text = re.sub(r"\^(\\[A-Za-z]+|\S)", _script("sup"), text)
    return re.sub(r"\\([A-Za-z]+)", _symbol, text)


def _fraction(match: re.Match) -> str:
    above, below = (part if re.fullmatch(r"\w+", part) else f"({part})" for part in match.groups())
    return f"{above}/{below}"


def _script(tag: str):
    return lambda match: f"<{tag}>{match[1]}</{tag}>"


def _symbol(match: re.Match) -> str:
    name = match[1]
    if name in SYMBOLS:
        return SYMBOLS[name]
    size = "CAPITAL" if name[0].isupper() else "SMALL"
    try:
        return unicodedata.lookup(f"GREEK {size} LETTER {name.removeprefix('var').upper().replace('LAMBDA', 'LAMDA')}")
    except KeyError:
        return name


def markdown_html(text: str, attachments: Mapping | None = None) -> str:
    """Markdown -> HTML of harmless tags only, with ids on the headings."""
    renderer = PlainMath(escape=False, attachments=dict(attachments or {}), anchor_link_text="#")
    return harmless(MarkdownWithMath(renderer=renderer).render(text))


def harmless(markup: str) -> str:
    """HTML without scripts, styles, forms and anything that would load from elsewhere."""
    soup = BeautifulSoup(markup, "html.parser")
    for element in soup.find_all(["script", "style", "iframe", "object", "template"]):
        element.decompose()
    for picture in soup.find_all("img"):
        if not str(picture.get("src", "")).startswith("data:image/"):
            picture.replace_with(picture.get("alt", ""))
    protocols = ("http", "https", "mailto", "data")
    return bleach.clean(str(soup), TAGS, _is_harmless, protocols, strip=True, css_sanitizer=STYLES)


def _is_harmless(tag: str, name: str, value: str) -> bool:
    if name == "src":
        return tag == "img" and value.startswith("data:image/")
    if name == "href":
        return tag == "a" and not value.strip().lower().startswith("data:")
    if name == "id":
        return tag in HEADINGS
    return name in ("class", "style", "alt", "title", "colspan", "rowspan", "width", "height", "scope", "open")
