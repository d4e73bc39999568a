"""Reads JSON and YAML files: `parse.py FILE ...`. Exits with 1 if one can't be read, or has a key twice in one place."""

import json
import sys

import yaml


class Loader(yaml.SafeLoader):
    """Takes no key twice."""


def mapping(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.YAMLError(f"{key!r} stands twice,{node.start_mark}")
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


Loader.add_constructor("tag:yaml.org,2002:map", mapping)


def pairs(found):
    keys = [key for key, _ in found]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"{key!r} stands twice")
    return dict(found)


faults = 0
for name in sys.argv[1:]:
    try:
        with open(name, encoding="utf-8") as file:
            if name.endswith(".json"):
                json.load(file, object_pairs_hook=pairs)
            else:
                list(yaml.load_all(file, Loader=Loader))
    except (ValueError, yaml.YAMLError) as error:
        print(f"{name}: {error}")
        faults += 1
sys.exit(1 if faults else 0)
