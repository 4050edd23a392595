"""SVG inside of HTML: a figure of the report, and a small curve."""

import re
from xml.etree import ElementTree

REFERENCE = re.compile(r"url\(#([^)]+)\)")
WIDTH, HEIGHT, EDGE = 96, 26, 2  # pixels of a sparkline
POINTS = 40  # of a sparkline, at most
NARROWEST = 0.8  # a figure gets no narrower than this share of its width, so that its text stays legible

Point = tuple[int, float]  # update, score


def inline_svg(text: str, name: str, label: str) -> str:
    """A figure's SVG file as an element of HTML. `label` is the id of the text that says what it shows.

    HTML needs no namespaces and no metadata. Ids are one space for a whole page, so the figure's name is in them, and those
    that nothing refers to are dropped. Each style is written once, as a class, which halves a figure of many lines.
    """
    root = ElementTree.fromstring(text)
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag.endswith("}metadata")]:
            parent.remove(child)
    elements = list(root.iter())
    for element in elements:
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
    references = [element.attrib["href"][1:] for element in elements if element.get("href", "").startswith("#")]
    references += [
        found for element in elements for text in element.attrib.values() for found in REFERENCE.findall(text)
    ]
    ids = {old: f"{name}-{number}" for number, old in enumerate(dict.fromkeys(references))}
    styles: dict[str, str] = {}
    for element in elements:
        old, style = element.attrib.pop("id", ""), element.attrib.pop("style", "")
        element.attrib = {
            key: REFERENCE.sub(lambda found: f"url(#{ids[found[1]]})", value) for key, value in element.attrib.items()
        }
        if element.get("href", "").startswith("#"):
            element.set("href", f"#{ids[element.attrib['href'][1:]]}")
        if old in ids:
            element.set("id", ids[old])
        if style:
            element.set("class", styles.setdefault(style, f"{name}-{len(styles)}"))
    rules = ElementTree.SubElement(root, "style")
    rules.text = "".join(f".{key}{{{style}}}" for style, key in styles.items())
    width = float(root.get("viewBox", "0 0 720 0").split()[2])  # points
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("style", f"max-width:{width:.0f}pt;min-width:{NARROWEST * width:.0f}pt")
    root.set("role", "img")
    root.set("aria-labelledby", label)
    return ElementTree.tostring(root, encoding="unicode")


def sparkline(curve: list[Point], updates: int, low: float, high: float) -> str:
    """Scores over updates as a small line, from 0 to `updates` and from `low` to `high`. Long curves are thinned."""
    step = -(-len(curve) // POINTS)
    kept = curve[::-1][::step][::-1]  # the last point stays
    span = high - low or 1.0
    places = [
        (EDGE + (WIDTH - 2 * EDGE) * update / updates, HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * (score - low) / span)
        for update, score in kept
    ]
    x, y = places[-1]
    label = f"{len(curve)} evaluations, from {curve[0][1]:.1f} to {curve[-1][1]:.1f}"
    line = " ".join(f"{x:.0f},{y:.0f}" for x, y in places)
    return (
        f'<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"><polyline points="{line}"/>'
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="2"/></svg>'
    )
