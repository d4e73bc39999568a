"""The words that the pages are written in, and what Grafana makes of them.

A page has rows, a row has panels, a panel has queries. Panels are laid out from left to right, 24 units wide.
"""

from pages import *
from panels import *
from queries import *
