"""Numbers for displayed equations: "(6.3)" beside it, and an anchor to send somebody to."""

from docutils import nodes
from docutils.nodes import make_id
from sphinx.transforms import SphinxTransform


class NumberEquations(SphinxTransform):
    """Give every displayed equation without a label a label; Sphinx then numbers it."""

    default_priority = 300  # the parsers are done, and domains have not yet collected what a page has

    def apply(self, **keywords):
        page, domain = self.env.docname, self.env.get_domain("math")
        for place, block in enumerate(list(self.document.findall(nodes.math_block)), start=1):
            if block.get("label"):
                continue
            label = f"{page.rsplit('/')[-1]}-{place}"
            domain.note_equation(page, label, location=block)
            anchor = make_id(f"equation-{label}")
            block["label"], block["docname"], block["number"] = label, page, domain.get_equation_number_for(label)
            block["ids"].append(anchor)
            self.document.note_explicit_target(block)


def setup(app):
    app.add_transform(NumberEquations)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
