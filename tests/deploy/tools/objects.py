"""Checks Kubernetes objects against the schemas of Kubernetes itself.

    objects.py CUSTOM.json VERSION=RENDERED.yaml ...

Every object of each file must be one that this version of Kubernetes takes, with no field that it does not know. Kinds
that are not Kubernetes' own are written to CUSTOM.json, for `custom.mjs`. Exits with 1 if an object is not right, and
if a name stands twice in one file.
"""

import functools
import json
import sys

import kubernetes_validate
import yaml
from kubernetes_validate import utils

# Kinds of others, whose schemas `custom.mjs` knows: a kind that neither knows is a failure.
CUSTOM_GROUPS = ("gateway.networking.k8s.io/", "keda.sh/", "monitoring.coreos.com/")

# The package reads its schemas again for each object otherwise, which takes minutes for a chart.
utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)


def fault(obj, version):
    """What is wrong with an object, or None."""
    try:
        kubernetes_validate.validate(obj, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(str(part) for part in error.path) or 'the object'}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return error.message
    return None


def main(custom_file, files):
    custom, seen, faults = {}, {}, 0
    for argument in files:
        version, _, name = argument.partition("=")
        names = set()
        with open(name, encoding="utf-8") as rendered:
            objects = [obj for obj in yaml.safe_load_all(rendered) if obj]
        for obj in objects:
            title = f"{obj['kind']}/{obj['metadata']['name']}"
            if title in names:
                print(f"{name}: {title} stands there twice")
                faults += 1
            names.add(title)
            text = json.dumps(obj, sort_keys=True)
            if obj["apiVersion"].startswith(CUSTOM_GROUPS):
                custom[text] = obj
                continue
            if (version, text) not in seen:
                seen[version, text] = fault(obj, version)
            if seen[version, text]:
                print(f"{name}: {title} on Kubernetes {version}: {seen[version, text]}")
                faults += 1
    with open(custom_file, "w", encoding="utf-8") as out:
        json.dump(list(custom.values()), out)
    checked = f"{len(seen)} different objects of Kubernetes, {len(custom)} of others"
    print(f"{checked}, in {len(files)} renderings", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
