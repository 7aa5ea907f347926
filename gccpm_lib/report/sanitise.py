"""Markdown and cells' HTML -> HTML of harmless tags only, formulas as MathML: nothing in it loads or runs anything."""

import html
from collections.abc import Mapping

import bleach
from bleach.css_sanitizer import CSSSanitizer
from bs4 import BeautifulSoup
from latex2mathml.converter import convert
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
FORMULAS = {  # elements of MathML Core, and the attributes that each may have
    **dict.fromkeys(
        "math mrow mi mn mtext msup msub msubsup mfrac msqrt mroot munder munderover mtable mtr mtd".split(), ()
    ),
    **{"math": ("display",), "mo": ("stretchy", "fence", "form"), "mspace": ("width",), "mover": ("accent",)},
}
TAGS = (
    frozenset(
        "a b blockquote br caption code dd del details div dl dt em figcaption figure hr i img kbd li ol p pre s small "
        "span strong sub summary sup table tbody td tfoot th thead tr u ul".split()
    )
    | set(HEADINGS)
    | set(FORMULAS)
)
STYLES = CSSSanitizer(allowed_css_properties=["text-align", "font-weight", "color", "background-color", "width"])


class WithMathml(IPythonRenderer):
    """Markdown to HTML with formulas as MathML, which browsers show, print and read aloud without a script."""

    def inline_math(self, body: str) -> str:
        return formula_html(body)

    def block_math(self, body: str) -> str:
        return formula_html(body, "block")

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return super().image(text or "illustration", url, title)


def formula_html(formula: str, display: str = "inline") -> str:
    """A TeX formula -> MathML, display "inline" or "block"; one that can't be read is shown as it was written."""
    try:
        return convert(formula.strip(), display=display)
    except Exception:  # the converter has no common class of errors
        return f"<code>{html.escape(formula.strip())}</code>"


def markdown_html(text: str, attachments: Mapping | None = None) -> str:
    """Markdown -> HTML of harmless tags only, with ids on the headings."""
    renderer = WithMathml(escape=False, attachments=dict(attachments or {}), anchor_link_text="#")
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
    if tag in FORMULAS:
        return name in FORMULAS[tag]
    if name == "src":
        return tag == "img" and value.startswith("data:image/")
    if name == "href":
        return tag == "a" and not value.strip().lower().startswith("data:")
    if name == "start":  # the number that a list goes on with
        return tag == "ol"
    if name == "id":
        return tag in HEADINGS
    return name in ("class", "style", "alt", "title", "colspan", "rowspan", "width", "height", "scope", "open")
