"""Pages: rows of panels, what can be chosen at the top, marks, links to the others."""

from panels import *
from queries import *

RUNBOOKS = "https://runbooks.staffetta.invalid/"
TAG = "staffetta"


class Row:
    def __init__(self, title, *panels, folded=False):
        self.title, self.panels, self.folded = title, panels, folded


class Variable:
    """A choice at the top of the page, from a label's values."""

    def __init__(self, name, title, source):
        self.name, self.title, self.source = name, title, source

    def json(self):
        return {
            "type": "query",
            "name": self.name,
            "label": self.title,
            "datasource": DATASOURCE,
            "query": {"qryType": 1, "query": self.source, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
            "definition": self.source,
            "refresh": 2,
            "sort": 1,
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "current": {"text": ["All"], "value": ["$__all"]},
            "options": [],
            "hide": 0,
            "regex": "",
            "skipUrlSync": False,
        }


NAMESPACE = Variable("namespace", "Namespace", "label_values(staffetta_component_info, namespace)")
AT = 'namespace=~"$namespace"'
TENANT = Variable(
    "tenant", "Tenant", f'label_values({{__name__=~"staffetta_(channel|endpoint|tenant|key)_.+", {AT}}}, tenant)'
)
CHANNEL = Variable(
    "channel", "Channel", f'label_values({{__name__=~"staffetta_channel_.+", {AT}, tenant=~"$tenant"}}, channel)'
)
ENDPOINT = Variable(
    "endpoint_id", "Endpoint", f'label_values(staffetta_endpoint_state{{{AT}, tenant=~"$tenant"}}, endpoint_id)'
)


class Page:
    def __init__(self, uid, title, about, *rows, variables=(), hours=3):
        self.uid, self.title, self.about, self.rows, self.variables, self.hours = (
            uid,
            title,
            about,
            rows,
            variables,
            hours,
        )

    def json(self):
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.about,
            "tags": [TAG],
            "timezone": "browser",
            "editable": True,
            "graphTooltip": 1,
            "fiscalYearStartMonth": 0,
            "liveNow": False,
            "schemaVersion": 39,
            "version": 1,
            "weekStart": "",
            "refresh": "30s",
            "time": {"from": f"now-{self.hours}h", "to": "now"},
            "timepicker": {},
            "links": [
                {
                    "type": "dashboards",
                    "title": "Staffetta",
                    "tags": [TAG],
                    "asDropdown": False,
                    "includeVars": True,
                    "keepTime": True,
                    "targetBlank": False,
                    "icon": "external link",
                    "tooltip": "",
                    "url": "",
                }
            ],
            "annotations": {"list": _annotations()},
            "templating": {"list": self._variables()},
            "panels": self._panels(),
        }

    def _variables(self):
        source = {
            "type": "datasource",
            "name": "datasource",
            "label": "Prometheus",
            "query": "prometheus",
            "regex": "",
            "refresh": 1,
            "current": {},
            "options": [],
            "hide": 0,
            "includeAll": False,
            "multi": False,
            "skipUrlSync": False,
        }
        runbooks = {
            "type": "constant",
            "name": "runbooks",
            "label": "Runbooks",
            "query": RUNBOOKS,
            "hide": 2,
            "skipUrlSync": True,
            "current": {"text": RUNBOOKS, "value": RUNBOOKS},
            "options": [{"text": RUNBOOKS, "value": RUNBOOKS, "selected": True}],
        }
        return [source] + [variable.json() for variable in (NAMESPACE, *self.variables)] + [runbooks]

    def _panels(self):
        out, y, number = [], 0, 1
        for row in self.rows:
            inside = []
            header = {
                "id": number,
                "type": "row",
                "title": row.title,
                "collapsed": row.folded,
                "panels": [],
                "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
            }
            number, y = number + 1, y + 1
            x, tallest = 0, 0
            for panel in row.panels:
                if x + panel.width > 24:
                    x, y, tallest = 0, y + tallest, 0
                inside.append(panel.json(number, x, y))
                number, x, tallest = number + 1, x + panel.width, max(tallest, panel.height)
            y += tallest
            if row.folded:
                header["panels"] = inside
                out.append(header)
            else:
                out += [header, *inside]
        return out


def _annotations():
    def mark(name, colour, expr, title, text, on, step="60s"):
        return {
            "name": name,
            "datasource": DATASOURCE,
            "enable": on,
            "hide": False,
            "iconColor": colour,
            "expr": scoped(expr),
            "step": step,
            "titleFormat": title,
            "textFormat": text,
            "useValueForTime": False,
        }

    return [
        {
            "builtIn": 1,
            "datasource": {"type": "grafana", "uid": "-- Grafana --"},
            "enable": True,
            "hide": True,
            "iconColor": "rgba(0, 211, 255, 1)",
            "name": "Annotations & Alerts",
            "type": "dashboard",
        },
        mark(
            "Deploys",
            BLUE,
            """
             group by (component, version) (staffetta_component_info)
             unless group by (component, version) (staffetta_component_info offset 2m)""",
            "{{component}} {{version}}",
            "a version that was not there two minutes before",
            True,
        ),
        mark(
            "Critical alerts",
            RED,
            'ALERTS{alertname=~"Staffetta.+", alertstate="firing", severity="critical"}',
            "{{alertname}}",
            "{{component}} {{tenant}} {{channel}} {{endpoint_id}} {{stream}}",
            True,
        ),
        mark(
            "Warnings",
            ORANGE,
            'ALERTS{alertname=~"Staffetta.+", alertstate="firing", severity="warning"}',
            "{{alertname}}",
            "{{component}} {{tenant}} {{channel}} {{endpoint_id}} {{stream}}",
            False,
        ),
    ]
