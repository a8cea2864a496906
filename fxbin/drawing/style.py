"""The style of each kind of node: kinds differ in colour and in shape.

The colours are those of Okabe and Ito, which people with any kind of colour vision can distinguish
(https://jfly.uni-koeln.de/color/).
"""

from fxbin.drawing.node_kind import NodeKind

INK = "#222222"
FAINT = "#666666"

GRAPH = {"rankdir": "TB", "nodesep": "0.25", "ranksep": "0.16", "labelloc": "t", "labeljust": "l"}
GRAPH |= {"fontname": "Helvetica", "fontsize": "16", "fontcolor": INK, "compound": "true"}
NODE = {"fontname": "Helvetica", "fontsize": "11", "fontcolor": INK, "height": "0.3", "margin": "0.12,0.05"}
EDGE = {"fontname": "Helvetica", "fontsize": "9", "fontcolor": FAINT, "color": "#555555", "arrowsize": "0.6"}
CLUSTER = {"fontsize": "11", "fontcolor": FAINT, "color": "#b0b0b0", "style": "rounded", "margin": "8"}

TITLE_CHARACTER = 6.3
"""Points that a character of a box's title takes on average, at the font size of `CLUSTER`."""

NODES = {
    NodeKind.INPUT: {"shape": "ellipse", "style": "filled", "fillcolor": "#ffffff", "color": INK},
    NodeKind.OUTPUT: {"shape": "ellipse", "style": "filled", "fillcolor": "#ffffff", "color": INK},
    NodeKind.OPERATOR: {
        "shape": "box",
        "style": "rounded,filled",
        "fillcolor": "#f2f2f2",
        "color": "#999999",
    },
    NodeKind.ACTIVATION_BINARIZER: {
        "shape": "hexagon",
        "style": "filled",
        "fillcolor": "#56b4e9",
        "color": "#0072b2",
        "margin": "0.02,0.02",
    },
    NodeKind.WEIGHT_BINARIZER: {
        "shape": "cds",
        "style": "filled",
        "fillcolor": "#f0e442",
        "color": "#8a8100",
        "margin": "0.16,0.08",
    },
    NodeKind.BINARIZED_CONV2D: {
        "shape": "box",
        "style": "filled,bold",
        "fillcolor": "#009e73",
        "color": "#00563f",
        "fontcolor": "#ffffff",
        "peripheries": "2",
    },
    NodeKind.FULL_PRECISION_CONV2D: {
        "shape": "octagon",
        "style": "filled",
        "fillcolor": "#fbe3d3",
        "color": "#d55e00",
        "penwidth": "2",
        "margin": "0.02,0.02",
    },
    NodeKind.MODULE: {"shape": "folder", "style": "filled", "fillcolor": "#e3e9f3", "color": "#5b6b84"},
    NodeKind.PARAMETER: {"shape": "plaintext", "fontsize": "9", "fontcolor": FAINT, "height": "0.2"},
}

LEGEND = {
    NodeKind.ACTIVATION_BINARIZER: "binarizes activations",
    NodeKind.WEIGHT_BINARIZER: "binarizes a weight",
    NodeKind.BINARIZED_CONV2D: "binarized conv2d",
    NodeKind.FULL_PRECISION_CONV2D: "conv2d in full precision:\nwhy",
    NodeKind.OPERATOR: "other operator",
    NodeKind.PARAMETER: "parameter or buffer",
    NodeKind.MODULE: "a module, folded",
}
"""Texts of the legend, for the kinds that need an explanation; a second line is shown in italics."""
