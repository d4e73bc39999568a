"""What shows the answers."""

from queries import *

GREEN, ORANGE, RED, BLUE, PURPLE = "green", "orange", "red", "blue", "purple"

# One word has one colour on all pages: green went well, blue is on its way, orange is a trouble that passes or that
# somebody else has to mend, red is ours.
COLOURS = {
    GREEN: ["stored", "accepted", "delivered", "ok", "well", "allowed", "read", "played", "idle", "current"],
    BLUE: ["sent", "unsaid", "not_now", "message", "received", "used"],
    ORANGE: [
        "throughput",
        "maintenance",
        "pair",
        "transient",
        "quota",
        "recipient",
        "template",
        "permanent",
        "refused",
        "limited",
        "unauthorized",
        "forbidden",
        "unknown_app",
        "too_large",
        "timeout",
        "broken",
        "missing",
    ],
    RED: [
        "token",
        "account",
        "in_doubt",
        "not_sent",
        "failed",
        "gone",
        "disabled",
        "no_secret",
        "unavailable",
        "slow",
        "full",
        "unstorable",
        "invalid",
        "errors",
    ],
}


class Panel:
    """One panel. `help` says what good looks like; `runbooks` are the alerts whose pages help."""

    def __init__(
        self,
        kind,
        title,
        help,
        queries,
        *,
        width,
        height=8,
        unit="short",
        runbooks=(),
        defaults=None,
        options=None,
        overrides=(),
        low=None,
        high=None,
        steps=None,
        decimals=None,
        empty=None,
        transformations=(),
        links=(),
    ):
        self.kind, self.title, self.help, self.queries = kind, title, help, queries
        self.width, self.height, self.runbooks = width, height, runbooks
        self.options, self.overrides = options or {}, list(overrides)
        self.transformations, self.links = list(transformations), list(links)
        self.defaults = {"unit": unit, "mappings": [], "thresholds": thresholds(steps), **(defaults or {})}
        for key, value in (("min", low), ("max", high), ("decimals", decimals), ("noValue", empty)):
            if value is not None:
                self.defaults[key] = value

    def json(self, number, x, y):
        refs = [query.json(chr(ord("A") + place)) for place, query in enumerate(self.queries)]
        text = self.help
        if self.runbooks:
            text += "\n\nRunbook: " + ", ".join(f"[{name}](${{runbooks}}{name}.md)" for name in self.runbooks)
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": text,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": refs,
            "fieldConfig": {"defaults": self.defaults, "overrides": self.overrides},
            "options": self.options,
            "transformations": self.transformations,
            "links": self.links,
        }


def thresholds(steps):
    """`[(60, ORANGE), (300, RED)]`: green below the first."""
    rows = [{"color": GREEN, "value": None}]
    if steps and steps[0][0] is None:
        rows = []
    rows += [{"color": colour, "value": value} for value, colour in steps or []]
    return {"mode": "absolute", "steps": rows}


def graph(title, help, *queries, width=12, stacked="none", marks=None, fill=10, legend="table", **more):
    """Lines over time. `marks` are thresholds, drawn as dashed lines."""
    custom = {
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": fill,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": stacked, "group": "A"},
        "axisSoftMin": 0,
        "thresholdsStyle": {"mode": "dashed" if marks else "off"},
    }
    options = {
        "legend": {
            "showLegend": legend != "none",
            "displayMode": "table" if legend == "table" else "list",
            "placement": "bottom",
            "calcs": ["lastNotNull", "max"] if legend == "table" else [],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    defaults = {"custom": custom, "color": {"mode": "palette-classic-by-name"}}
    more.setdefault("empty", "nothing")
    return Panel(
        "timeseries",
        title,
        help,
        _flat(queries),
        width=width,
        defaults=defaults,
        options=options,
        overrides=[_coloured(c, words) for c, words in COLOURS.items()] + more.pop("overrides", []),
        steps=marks,
        **more,
    )


def number(title, help, expr, width=4, height=4, spark=True, text="value", **more):
    """One figure, with its course behind it."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "area" if spark else "none",
        "textMode": text,
        "justifyMode": "auto",
        "orientation": "auto",
        "wideLayout": True,
    }
    more.setdefault("empty", "no data")
    return Panel(
        "stat",
        title,
        help,
        [Query(expr, title)],
        width=width,
        height=height,
        options=options,
        defaults={"color": {"mode": "thresholds"}},
        **more,
    )


# What a lamp's number means.
LAMP = {0: ("ok", GREEN), 1: ("late", ORANGE), 2: ("very late", RED), 3: ("down", RED), 4: ("no data", PURPLE)}


def lamp(title, help, component, age, late, very_late, width=4, height=4, dashboard=None, **more):
    """A stage's state: down if no process of `component` runs, else by the age of its oldest item."""
    expr = (
        f'max(3 * absent(staffetta_component_info{{component="{component}"}}))'
        f" or ({age} > bool {late}) + ({age} > bool {very_late}) or vector(4)"
    )
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background",
        "graphMode": "none",
        "textMode": "value",
        "justifyMode": "center",
        "orientation": "auto",
        "wideLayout": True,
    }
    mapping = {str(value): {"text": text, "color": colour, "index": value} for value, (text, colour) in LAMP.items()}
    links = [link_to(dashboard)] if dashboard else []
    return Panel(
        "stat",
        title,
        help,
        [Query(expr, title)],
        width=width,
        height=height,
        options=options,
        links=links,
        defaults={"color": {"mode": "thresholds"}, "mappings": [{"type": "value", "options": mapping}]},
        empty="no data",
        steps=[(1, ORANGE), (2, RED), (4, PURPLE)],
        **more,
    )


def bars(title, help, expr, name, width=12, **more):
    """One bar for each series, now."""
    options = {
        "displayMode": "lcd",
        "orientation": "horizontal",
        "showUnfilled": True,
        "valueMode": "color",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "namePlacement": "auto",
        "minVizHeight": 16,
        "minVizWidth": 8,
        "sizing": "auto",
    }
    more.setdefault("empty", "nothing")
    return Panel(
        "bargauge",
        title,
        help,
        [Query(expr, name, kind="instant")],
        width=width,
        options=options,
        defaults={"color": {"mode": "thresholds"}},
        **more,
    )


def heat(title, help, expr, width=12, unit="s", **more):
    """How a histogram's values are spread, over time."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "rowsFrame": {"layout": "auto"},
        "yAxis": {"axisPlacement": "left", "unit": unit},
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "fill": "dark-orange",
            "exponent": 0.5,
            "steps": 64,
            "reverse": False,
        },
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "showValue": "never",
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": False},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
    }
    more.setdefault("empty", "nothing")
    return Panel(
        "heatmap",
        title,
        help,
        [Query(expr, "{{le}}", form="heatmap")],
        width=width,
        unit=unit,
        options=options,
        defaults={
            "custom": {
                "scaleDistribution": {"type": "linear"},
                "hideFrom": {"legend": False, "tooltip": False, "viz": False},
            }
        },
        **more,
    )


class Column:
    """A column of a table: the label or `Value` that it shows, and how."""

    def __init__(self, source, title, unit=None, steps=None, link=None, width=None, texts=None):
        self.source, self.title, self.unit, self.steps = source, title, unit, steps
        self.link, self.width, self.texts = link, width, texts

    def override(self):
        properties = [{"id": "displayName", "value": self.title}]
        if self.unit:
            properties.append({"id": "unit", "value": self.unit})
        if self.width:
            properties.append({"id": "custom.width", "value": self.width})
        if self.steps is not None:
            properties.append({"id": "thresholds", "value": thresholds(self.steps)})
            properties.append({"id": "custom.cellOptions", "value": {"type": "color-text"}})
            properties.append({"id": "color", "value": {"mode": "thresholds"}})
        if self.texts:
            options = {
                value: {"color": colour, "index": place} for place, (value, colour) in enumerate(self.texts.items())
            }
            properties.append({"id": "mappings", "value": [{"type": "value", "options": options}]})
            properties.append({"id": "custom.cellOptions", "value": {"type": "color-text"}})
        if self.link:
            properties.append({"id": "links", "value": [self.link]})
        return {"matcher": {"id": "byName", "options": self.source}, "properties": properties}


def table(title, help, queries, columns, width=12, sort=None, **more):
    """A row for each series, now. Several queries are joined by their labels; their values are `Value #A`, `Value #B` …"""
    queries = [queries] if isinstance(queries, str) else queries
    shown = [column.source for column in columns]
    steps = [{"id": "merge", "options": {}}] if len(queries) > 1 else []
    steps.append({"id": "filterFieldsByName", "options": {"include": {"names": shown}}})
    steps.append(
        {
            "id": "organize",
            "options": {
                "indexByName": {name: place for place, name in enumerate(shown)},
                "excludeByName": {},
                "renameByName": {},
            },
        }
    )
    options = {
        "showHeader": True,
        "cellHeight": "sm",
        "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": ""},
    }
    if sort:
        options["sortBy"] = [{"displayName": sort, "desc": True}]
    more.setdefault("empty", "none")
    return Panel(
        "table",
        title,
        help,
        [Query(expr, "", "instant", "table") for expr in queries],
        width=width,
        options=options,
        transformations=steps,
        overrides=[column.override() for column in columns],
        defaults={
            "custom": {"align": "auto", "filterable": True, "cellOptions": {"type": "auto"}, "inspect": False},
            "color": {"mode": "thresholds"},
        },
        **more,
    )


def _flat(queries):
    out = []
    for query in queries:
        out += query if isinstance(query, list) else [query]
    return out


def _coloured(colour, words):
    return {
        "matcher": {"id": "byRegexp", "options": "^(?:" + "|".join(words) + ")$"},
        "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
    }


def coloured(name, colour, dashes=False):
    """An override: one line's colour."""
    properties = [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}]
    if dashes:
        properties += [
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}},
            {"id": "custom.fillOpacity", "value": 0},
            {"id": "custom.stacking", "value": {"mode": "none"}},
        ]
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def link_to(page, title=None, **fields):
    """A link to another page: time, data source and variables stay, and `fields` take the value of a row's column."""
    given = "".join(f"&var-{name}=${{__data.fields.{field}}}" for name, field in fields.items())
    url = f"/d/staffetta-{page}?${{__url_time_range}}&${{datasource:queryparam}}&${{namespace:queryparam}}{given}"
    return {"title": title or f"Open {page}", "url": url, "targetBlank": False}


RUNBOOK_LINK = {"title": "Open the runbook", "url": "${runbooks}${__data.fields.alertname}.md", "targetBlank": True}
