// Checks objects of kinds that are not Kubernetes' own: `custom.mjs NODE_MODULES OBJECTS.json`. Exits with 1 if an
// object is not one of its kind, has a field that its kind does not know, or is of a kind that nobody knows.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const PACKAGES = {
  "gateway.networking.k8s.io": "gateway-api",
  "keda.sh": "keda",
  "monitoring.coreos.com": "prometheus-operator",
};

const [modules, objects] = process.argv.slice(2);

/** The compiled schema of an object's kind. The kind's own class would hand it a copy of what it is asked about. */
async function schemaOf({ apiVersion, kind }) {
  const [group, version] = apiVersion.split("/");
  const file = pathToFileURL(`${modules}/@kubernetes-models/${PACKAGES[group]}/${group}/${version}/${kind}.js`);
  const [, schema] = readFileSync(file, "utf8").match(/from"([./]+_schemas\/[^"]+)"/);
  return (await import(new URL(schema, file))).validate;
}

/**
 * The same value, which notes what is asked of it. The schemas are compiled and let unknown fields pass, as an API
 * server would drop them; but they ask for each field that they know, by name, and run over maps that may hold any.
 */
function watched(value, path, notes) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map((item, n) => watched(item, `${path}[${n}]`, notes));
  const note = { path, fields: Object.keys(value), asked: new Set(), isMap: false };
  notes.push(note);
  const inside = Object.fromEntries(
    Object.entries(value).map(([field, item]) => [field, watched(item, `${path}.${field}`, notes)]),
  );
  const ask = (field) => typeof field === "string" && note.asked.add(field);
  return new Proxy(inside, {
    get: (target, field) => (ask(field), target[field]),
    has: (target, field) => (ask(field), field in target),
    ownKeys: (target) => ((note.isMap = true), Reflect.ownKeys(target)),
  });
}

/** Fields that the schema never asked for, of objects whose fields it knows. */
function unknown(notes) {
  const closed = notes.filter(({ isMap, asked }) => !isMap && asked.size > 0);
  return closed.flatMap(({ path, fields, asked }) =>
    fields.filter((field) => !asked.has(field)).map((field) => `unknown field ${`${path}.`.slice(1)}${field}`),
  );
}

let faults = 0;
for (const object of JSON.parse(readFileSync(objects, "utf8"))) {
  const problems = [];
  try {
    const validate = await schemaOf(object);
    const notes = [];
    if (!validate(watched(object, "", notes))) {
      problems.push(...validate.errors.map(({ instancePath, message }) => `${instancePath}: ${message}`));
    }
    problems.push(...unknown(notes));
  } catch (error) {
    problems.push(error.message);
  }
  for (const problem of problems) {
    console.log(`${object.kind}/${object.metadata.name} (${object.apiVersion}): ${problem}`);
    faults += 1;
  }
}
process.exit(faults === 0 ? 0 : 1);
