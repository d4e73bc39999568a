"""What is asked of Prometheus."""

import re

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# Names of metrics in a query. Each gets `namespace=~"$namespace"`, so that installations that one Prometheus watches
# are told apart; where Prometheus sets no such label, its value All matches everything. Alerts of what is absent have no
# namespace, and are everybody's.
METRIC = re.compile(
    r"(?<![\w:.$])(staffetta[_:][a-z][\w:]*|process_[a-z_]+|http_(?:server|client)_[a-z_]+|"
    r"messaging_client_[a-z_]+|db_client_(?:operation|connection)_(?!state)[a-z_]+|ALERTS(?:_FOR_STATE)?)\b(\{\}|\{)?"
)


def scoped(expr):
    def add(found):
        here = 'namespace=~"|$namespace"' if found[1].startswith("ALERTS") else 'namespace=~"$namespace"'
        return found[1] + ("{" + here + ", " if found[2] == "{" else "{" + here + "}")

    return METRIC.sub(add, " ".join(expr.split()))


class Query:
    """A query, and the name of its line. `kind`: a range over time, or one instant."""

    def __init__(self, expr, name="__auto", kind="range", form="time_series"):
        self.expr, self.name, self.kind, self.form = scoped(expr), name, kind, form

    def json(self, ref):
        return {
            "refId": ref,
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": self.expr,
            "legendFormat": self.name,
            "format": self.form,
            "range": self.kind == "range",
            "instant": self.kind == "instant",
        }


def per_second(metric, by=""):
    """How much a counter grows a second."""
    return f"sum{_by(by)} (rate({metric}[$__rate_interval]))"


def quantile(q, histogram, selector="", by=""):
    """A quantile of a histogram, over all processes."""
    labels = ", ".join(["le"] + ([by] if by else []))
    return f"histogram_quantile({q}, sum by ({labels}) (rate({histogram}_bucket{{{selector}}}[$__rate_interval])))"


def quantiles(histogram, selector="", name=""):
    """The median, and what one in twenty and one in a hundred exceed."""
    return [Query(quantile(q, histogram, selector), f"{name}p{q[2:]:0<2}") for q in ("0.50", "0.95", "0.99")]


def ours(expr):
    """Only of Staffetta's processes: others in the same Prometheus may have metrics of the same name."""
    return f"({expr} and on (job, instance) staffetta_component_info)"


def ours_rate(counter, selector=""):
    """How much a counter of Staffetta's processes grows a second."""
    return ours(f"rate({counter}{{{selector}}}[$__rate_interval])")


def _by(labels):
    return f" by ({labels})" if labels else ""
